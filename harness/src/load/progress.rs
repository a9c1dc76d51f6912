//! How far the load is, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a load. They only grow, and reading them costs the load nothing.
#[derive(Debug, Default)]
pub struct Progress {
    scheduled: AtomicU64,
    started: AtomicU64,
    finished: AtomicU64,
    accepted: AtomicU64,
}

impl Progress {
    /// How many requests the schedule holds. Zero until the load begins.
    pub fn scheduled(&self) -> u64 {
        self.scheduled.load(Ordering::Relaxed)
    }

    /// How many requests were sent, those included whose answer is still out.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// How many requests came to their end, answered or not.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// How many requests were answered with a status that promises a trace.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> u64 {
        // In this order: a request that ends in between must not count as less than none.
        let finished = self.finished();
        self.started().saturating_sub(finished)
    }

    pub(super) fn begin(&self, scheduled: u64) {
        self.scheduled.store(scheduled, Ordering::Relaxed);
    }

    pub(super) fn start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, accepted: bool) {
        self.accepted.fetch_add(u64::from(accepted), Ordering::Relaxed);
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}
