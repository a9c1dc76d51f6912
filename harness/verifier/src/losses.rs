//! Where in the life of a process its spans were lost: that tells why.

use std::collections::{BTreeMap, HashMap};

use crate::cause::Cause;
use crate::code::FindingCode;
use crate::finding::FindingKey;
use crate::id::{EnvironmentId, RequestId};

/// So many spans in a row that are missing are a burst: more than a few requests at the same time.
const BURST: usize = 8;

/// How many losses of one finding are looked at. Who loses more has no pattern worth a name.
const LOOKED_AT: usize = 16_384;

/// How many losses of one process of an environment are looked at.
const IN_A_PROCESS: usize = 256;

/// The losses of a run, by where in the lives of their processes they were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses {
    /// Of environments whose process has not ended, or that have losses.
    processes: HashMap<ProcessId, ProcessLosses>,
    /// Of spans that are not in any environment, by the request's place in the schedule.
    series: BTreeMap<FindingKey, Vec<u32>>,
    /// The least and the greatest number of a request of which a role's span came.
    seen: BTreeMap<String, (u32, u32)>,
}

/// A process of an environment: one that is reset has another afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId {
    pub(crate) environment: EnvironmentId,
    /// How many processes the environment had before.
    pub(crate) process: u32,
}

/// The losses of one process.
#[derive(Debug, Clone, Default)]
struct ProcessLosses {
    /// The last invocation whose spans came, counted from 1.
    last_seen: u32,
    /// The first whose spans came; 0 if none did.
    first_seen: u32,
    /// The invocations that lack spans, with their findings.
    lost: Vec<(u32, FindingKey)>,
    ended: bool,
}

/// How the losses of a finding are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// All are of first invocations.
    ColdStart,
    /// All are of the last before the end.
    Tail,
    /// All are in bursts.
    Burst,
}

impl Pattern {
    /// What a finding is that has this pattern.
    pub(crate) const fn finding(self) -> (FindingCode, Cause) {
        match self {
            Self::ColdStart => (FindingCode::ColdStartLoss, Cause::ColdStart),
            Self::Tail => (FindingCode::TailLoss, Cause::LeftInBatch),
            Self::Burst => (FindingCode::BurstLoss, Cause::QueueOverflow),
        }
    }
}

impl Losses {
    /// Notes that the span of an invocation came; the first of its process is number 1.
    pub(crate) fn came_in(&mut self, process: ProcessId, invocation: u32) {
        let known = self.processes.entry(process).or_default();
        known.last_seen = known.last_seen.max(invocation);
        known.first_seen = if known.first_seen == 0 { invocation } else { known.first_seen.min(invocation) };
    }

    /// Notes that the span of an invocation is missing.
    pub(crate) fn lost_in(&mut self, process: ProcessId, invocation: u32, key: FindingKey) {
        let known = self.processes.entry(process).or_default();
        if known.lost.len() < IN_A_PROCESS {
            known.lost.push((invocation, key));
        }
    }

    /// Notes that the span of an invocation came after it was missed.
    pub(crate) fn came_after_all(&mut self, process: ProcessId, invocation: u32) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.lost.retain(|(lost, _)| *lost != invocation);
        }
        self.came_in(process, invocation);
    }

    /// Notes that a process ended.
    pub(crate) fn end(&mut self, process: ProcessId) {
        // What it did may only be judged later.
        self.processes.entry(process).or_default().ended = true;
    }

    /// Forgets a process that has ended long ago, if it has lost nothing.
    pub(crate) fn forget(&mut self, environment: &EnvironmentId) {
        self.processes.retain(|process, known| process.environment != *environment || !known.lost.is_empty());
    }

    /// Notes that a role's span of a request came.
    pub(crate) fn came(&mut self, role: &str, request: RequestId) {
        let number = request.number();
        match self.seen.get_mut(role) {
            Some((least, greatest)) => (*least, *greatest) = ((*least).min(number), (*greatest).max(number)),
            None => _ = self.seen.insert(role.to_owned(), (number, number)),
        }
    }

    /// Notes that a role's span of a request is missing.
    pub(crate) fn lost(&mut self, key: FindingKey, request: RequestId) {
        let lost = self.series.entry(key).or_default();
        if lost.len() <= LOOKED_AT {
            lost.push(request.number());
        }
    }

    /// Takes back that a role's span of a request is missing.
    pub(crate) fn found(&mut self, key: &FindingKey, request: RequestId) {
        if let Some(lost) = self.series.get_mut(key) {
            lost.retain(|number| *number != request.number());
        }
    }

    /// How the losses of a finding are spread, if all `count` of them are spread in the same way.
    ///
    /// Where the evidence names a cause already, that says more.
    pub(crate) fn pattern(&self, key: &FindingKey, count: u64) -> Option<Pattern> {
        if !matches!(key.cause, Cause::NotFlushed | Cause::NotExported | Cause::StoppedWithoutExport) {
            return None;
        }
        self.pattern_in_processes(key, count).or_else(|| self.pattern_in_series(key, count))
    }

    fn pattern_in_processes(&self, key: &FindingKey, count: u64) -> Option<Pattern> {
        let mut cold = 0;
        let mut tail = 0;
        for known in self.processes.values() {
            cold += known.of_the_first(key);
            tail += known.of_the_last(key);
        }
        match count {
            0 => None,
            _ if cold == count => Some(Pattern::ColdStart),
            _ if tail == count => Some(Pattern::Tail),
            _ => None,
        }
    }

    fn pattern_in_series(&self, key: &FindingKey, count: u64) -> Option<Pattern> {
        let mut lost = self.series.get(key)?.clone();
        lost.sort_unstable();
        lost.dedup();
        let (least, greatest) = *self.seen.get(&key.subject)?;
        if lost.len() as u64 != count {
            return None;
        }
        let runs: Vec<_> = lost.chunk_by(|earlier, later| later - earlier == 1).collect();
        let is_inside = |run: &[u32]| run[0] > least && run[run.len() - 1] < greatest;
        match lost.first()? {
            first if *first > greatest => Some(Pattern::Tail),
            _ if runs.iter().all(|run| run.len() >= BURST && is_inside(run)) => Some(Pattern::Burst),
            _ => None,
        }
    }
}

impl ProcessLosses {
    /// How many losses of a finding there are, if the first invocation alone has lost anything.
    fn of_the_first(&self, key: &FindingKey) -> u64 {
        let only_first = self.lost.iter().all(|(invocation, _)| *invocation == 1) && self.first_seen > 1;
        if only_first { self.of(key) } else { 0 }
    }

    /// How many losses of a finding there are, if only the last invocations before the end have lost anything.
    fn of_the_last(&self, key: &FindingKey) -> u64 {
        let is_last = |invocation: u32| invocation > self.last_seen;
        let only_last = self.ended && self.first_seen > 0 && self.lost.iter().all(|(lost, _)| is_last(*lost));
        if only_last { self.of(key) } else { 0 }
    }

    fn of(&self, key: &FindingKey) -> u64 {
        self.lost.iter().filter(|(_, lost)| lost == key).count() as u64
    }
}
