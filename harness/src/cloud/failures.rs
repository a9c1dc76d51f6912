//! Failures of the harness's own, as evidence that is lost: what it could not do, nobody can judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use verifier::EventKind;

use crate::journal::Recorder;

/// How many reasons are told of one thing that fails, until it works again.
const TOLD_REASONS: usize = 8;

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// To start an environment.
    Start,
    /// To receive messages.
    Receive,
    /// To delete messages.
    Delete,
}

/// Records failures: each reason once until what failed works again, because what fails is tried
/// again and again.
#[derive(Debug)]
pub(super) struct Failures {
    recorder: Recorder,
    told: Mutex<BTreeMap<Work, BTreeSet<String>>>,
}

impl Failures {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder, told: Mutex::default() }
    }

    /// Something failed. `what` says what could not be done, and why; without anything that differs
    /// from one attempt to the next.
    pub(super) fn record(&self, work: Work, what: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons = told.entry(work).or_default();
        if reasons.len() < TOLD_REASONS && reasons.insert(what.clone()) {
            self.recorder.record(EventKind::EvidenceLost { what, count: 1 });
        }
    }

    /// It works again.
    pub(super) fn over(&self, work: Work) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(record: impl FnOnce(&Failures)) -> Vec<String> {
        let (recorder, mut events) = Recorder::new();
        record(&Failures::new(recorder));
        let what = |event| match event {
            EventKind::EvidenceLost { what, count: 1 } => what,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| events.try_recv().ok()).map(|event| what(event.kind)).collect()
    }

    #[test]
    fn each_reason_is_told_once_until_the_work_succeeds() {
        let told = told(|failures| {
            let fail = |work, what: &str| failures.record(work, what.to_owned());
            fail(Work::Receive, "a");
            fail(Work::Receive, "a");
            fail(Work::Receive, "b");
            failures.over(Work::Start);
            fail(Work::Receive, "a");
            failures.over(Work::Receive);
            fail(Work::Receive, "a");
        });
        assert_eq!(told, ["a", "b", "a"]);
    }

    #[test]
    fn reasons_that_never_end_are_bounded() {
        let told = told(|failures| (0..100).for_each(|number| failures.record(Work::Delete, number.to_string())));
        assert_eq!(told.len(), TOLD_REASONS);
    }
}
