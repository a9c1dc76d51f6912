//! What a run came to: its judgement and its measurements, folded from its events.

use std::path::PathBuf;

use verifier::event::RunStarted;
use verifier::{Event, EventKind, Judgement, TraceContract, Verifier};

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

/// Judges a recorded run again, by the contract that it has or by another.
///
/// # Errors
/// If the paths hold no journal that can be read.
pub fn replay(paths: &[PathBuf], contract: Option<TraceContract>) -> Result<Outcome, JournalError> {
    let mut reading = Reading::default();
    for event in file::read(paths)? {
        let mut event = event?;
        if let (EventKind::RunStarted(setup), Some(contract)) = (&mut event.kind, &contract) {
            setup.contract = contract.clone();
        }
        if reading.setup.is_none() && !matches!(event.kind, EventKind::RunStarted(_)) {
            return Err(JournalError::NoStart(paths.first().cloned().unwrap_or_default()));
        }
        reading.take(&event);
    }
    Ok(reading.outcome())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use verifier::Conclusion;
    use verifier::contract::TraceContract;

    use super::*;
    use crate::recording::is_journal;
    use crate::story::tests::Tale;

    /// The journal of a run with one healthy request, under another name than the harness gives.
    fn journal() -> (tempfile::TempDir, [PathBuf; 1]) {
        let mut tale = Tale::begun();
        tale.start_environment(1_000, "worker-1");
        tale.freeze(11_000, "worker-1");
        tale.other_request(20_000, 0, "worker-1");
        let lines: Vec<_> =
            tale.ended(40_000).events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renamed.bin");
        let mut file = zstd::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        file.finish().unwrap();
        (folder, [path])
    }

    #[test]
    fn journal_is_known_by_its_content_and_is_not_judged_together_with_a_recording() {
        let (folder, [journal]) = journal();
        assert!(is_journal(std::slice::from_ref(&journal)).unwrap());
        let recording = folder.path().join("journal-1.json");
        std::fs::write(&recording, "{\"resourceSpans\":[]}").unwrap();
        assert!(!is_journal(std::slice::from_ref(&recording)).unwrap());
        let error = is_journal(&[recording, journal]).unwrap_err().to_string();
        assert!(
            error.contains("renamed.bin: this is a journal, and") && error.contains("journal-1.json is none"),
            "{error}"
        );
    }

    #[test]
    fn run_is_judged_by_its_own_contract_or_by_another() {
        let (_folder, paths) = journal();
        let own = replay(&paths, None).unwrap();
        assert_eq!(own.judgement.conclusion, Conclusion::Passed, "{:?}", own.judgement.findings);
        let own = own.setup.unwrap().contract;
        let mut stricter = own.clone();
        stricter.spans.get_mut("consumer").unwrap().service = "nobody".to_owned();
        let judged = |contract: TraceContract| replay(&paths, Some(contract)).unwrap().judgement.conclusion;
        assert_eq!(judged(own), Conclusion::Passed);
        assert_eq!(judged(stricter), Conclusion::Failed);
    }
}
