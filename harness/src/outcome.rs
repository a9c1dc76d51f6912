//! What a run came to: its judgement and its measurements, folded from its events.

use std::path::PathBuf;

use verifier::event::RunStarted;
use verifier::{Event, EventKind, Judgement, Verifier};

use crate::journal::JournalError;
use crate::journal::file;
use crate::measure::Measurements;

/// The folds over a run's events, as far as it has been read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The judge.
    pub verifier: Verifier,
    /// What was measured.
    pub measurements: Measurements,
    setup: Option<RunStarted>,
    interrupted: bool,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it was set up; none if its journal does not tell.
    pub setup: Option<RunStarted>,
    /// Whether its user ended it early.
    pub interrupted: bool,
    /// The judgement.
    pub judgement: Judgement,
    /// What was measured.
    pub measurements: Measurements,
}

impl Reading {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted(setup) => self.setup = Some((**setup).clone()),
            EventKind::Interrupted => self.interrupted = true,
            _ => {}
        }
        self.verifier.handle(event);
        self.measurements.take(event);
    }

    /// What the run has come to.
    pub fn outcome(self) -> Outcome {
        Outcome {
            setup: self.setup,
            interrupted: self.interrupted,
            judgement: self.verifier.judgement(),
            measurements: self.measurements,
        }
    }
}

/// Judges a recorded run again.
///
/// # Errors
/// If the paths hold no journal that can be read.
pub fn replay(paths: &[PathBuf]) -> Result<Outcome, JournalError> {
    let mut reading = Reading::default();
    for event in file::read(paths)? {
        let event = event?;
        if reading.setup.is_none() && !matches!(event.kind, EventKind::RunStarted(_)) {
            return Err(JournalError::NoStart(paths.first().cloned().unwrap_or_default()));
        }
        reading.take(&event);
    }
    Ok(reading.outcome())
}
