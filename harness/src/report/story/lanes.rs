//! What the request and its environments were doing meanwhile: a lane for each in the margin of the time line.

use verifier::{EnvironmentId, EventKind};

use crate::story::Story;
use crate::story::model::{Row, What};

/// What the marks in the margin mean.
pub(super) const LEGEND: &str = "│ under way or awake  ┃ in an invocation  ░ frozen";

/// How many environments have a lane.
const MOST: usize = 6;

/// What each of them is doing at the present row.
#[derive(Debug)]
pub(super) struct Lanes {
    request: Lane,
    environments: Vec<(EnvironmentId, Lane)>,
}

/// What one of them is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Absent,
    Begins,
    Awake,
    Invoked,
    Frozen,
    Ends,
}

impl Lanes {
    /// One for the request, and one for each environment of the story.
    pub(super) fn new(story: &Story) -> Self {
        let mut environments: Vec<(EnvironmentId, Lane)> = Vec::new();
        for environment in story.rows.iter().filter_map(|row| change(row)?.0) {
            if !environments.iter().any(|(known, _)| known == environment) {
                environments.push((environment.clone(), Lane::Absent));
            }
        }
        environments.truncate(MOST);
        Self { request: Lane::Absent, environments }
    }

    /// How they stand at this row.
    pub(super) fn at(&mut self, row: &Row) -> String {
        self.settle();
        if let Some((environment, lane)) = change(row) {
            match environment {
                None => self.request = lane,
                Some(environment) => self.set(environment, lane),
            }
        }
        self.draw()
    }

    fn set(&mut self, environment: &EnvironmentId, lane: Lane) {
        for (_, known) in self.environments.iter_mut().filter(|(known, _)| known == environment) {
            *known = lane;
        }
    }

    /// How they stand between two rows.
    pub(super) fn between(&mut self) -> String {
        self.settle();
        self.draw()
    }

    /// What began goes on, and what ended is no more.
    fn settle(&mut self) {
        let lanes = self.environments.iter_mut().map(|(_, lane)| lane);
        for lane in lanes.chain([&mut self.request]) {
            *lane = match *lane {
                Lane::Begins => Lane::Awake,
                Lane::Ends => Lane::Absent,
                other => other,
            };
        }
    }

    fn draw(&self) -> String {
        [self.request].into_iter().chain(self.environments.iter().map(|(_, lane)| *lane)).map(Lane::glyph).collect()
    }
}

impl Lane {
    const fn glyph(self) -> char {
        match self {
            Self::Absent => ' ',
            Self::Begins => '┌',
            Self::Awake => '│',
            Self::Invoked => '┃',
            Self::Frozen => '░',
            Self::Ends => '└',
        }
    }
}

/// Whose lane a row changes, and to what; the request's if it names no environment.
fn change(row: &Row) -> Option<(Option<&EnvironmentId>, Lane)> {
    let What::Ledger(kind) = &row.what else { return None };
    Some(match &**kind {
        EventKind::RequestStarted { .. } => (None, Lane::Begins),
        EventKind::RequestFinished { .. } => (None, Lane::Ends),
        EventKind::EnvironmentStarted { environment, .. } | EventKind::EnvironmentThawed { environment } => {
            (Some(environment), Lane::Begins)
        }
        EventKind::InvocationStarted { environment, .. } => (Some(environment), Lane::Invoked),
        EventKind::EnvironmentFrozen { environment, .. } => (Some(environment), Lane::Frozen),
        EventKind::EnvironmentEnded { environment, .. } | EventKind::EnvironmentReset { environment, .. } => {
            (Some(environment), Lane::Ends)
        }
        _ => return None,
    })
}
