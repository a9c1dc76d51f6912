//! What a mapping is busy with, as numbers.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::growth::Load;

/// What a mapping is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Batches that have messages already, and wait for more.
    pub waiting: usize,
    /// Batches that are closed and not settled: their cold starts, and those that are throttled, included.
    pub batches: usize,
    /// Those of them that are throttled just now.
    pub throttled: usize,
    /// Environments that are idle, frozen.
    pub idle_environments: usize,
}

impl Activity {
    /// Whether the mapping has no message in its hands.
    pub const fn is_idle(&self) -> bool {
        self.waiting == 0 && self.batches == 0
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, batches, throttled, idle_environments } = self;
        write!(f, "{batches} batches in the function's hands")?;
        if *throttled > 0 {
            write!(f, " ({throttled} of them throttled)")?;
        }
        if *waiting > 0 {
            write!(f, ", {waiting} batches waiting for more messages")?;
        }
        write!(f, ", {idle_environments} environments idle")
    }
}

/// Keeps the numbers.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    activity: watch::Sender<Activity>,
    /// The most batches that there were at a time, since the last [`Self::take_load`].
    peak: AtomicUsize,
    /// Batches that failed since then.
    failed: AtomicUsize,
}

impl Gauge {
    pub(super) fn now(&self) -> Activity {
        *self.activity.borrow()
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, is_so: impl FnMut(&Activity) -> bool) {
        // The sender lives as long as this future.
        let _ = self.activity.subscribe().wait_for(is_so).await;
    }

    /// A batch is begun.
    pub(super) fn begin(&self) -> InHand<'_> {
        self.change(|activity| activity.waiting += 1);
        InHand { gauge: self, is_closed: false }
    }

    /// A batch has failed, for whatever reason.
    pub(super) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_idle_environments(&self, count: usize) {
        self.change(|activity| activity.idle_environments = count);
    }

    /// What concurrency depends on, since the last time.
    pub(super) fn take_load(&self) -> Load {
        let peak = self.peak.swap(self.now().batches, Ordering::Relaxed);
        Load { peak, failed: self.failed.swap(0, Ordering::Relaxed) }
    }

    fn change(&self, change: impl FnOnce(&mut Activity)) {
        self.activity.send_modify(change);
    }
}

/// A batch in the mapping's hands, until it is dropped.
#[derive(Debug)]
pub(super) struct InHand<'a> {
    gauge: &'a Gauge,
    is_closed: bool,
}

impl<'a> InHand<'a> {
    /// It waits no longer for more messages.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.gauge.change(|activity| {
            activity.waiting -= 1;
            activity.batches += 1;
            self.gauge.peak.fetch_max(activity.batches, Ordering::Relaxed);
        });
    }

    /// It is throttled, until the answer is dropped.
    pub(super) fn throttle(&self) -> Throttled<'a> {
        self.gauge.change(|activity| activity.throttled += 1);
        Throttled(self.gauge)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.gauge.change(|activity| match self.is_closed {
            true => activity.batches -= 1,
            false => activity.waiting -= 1,
        });
    }
}

/// A batch that is throttled.
#[derive(Debug)]
pub(super) struct Throttled<'a>(&'a Gauge);

impl Drop for Throttled<'_> {
    fn drop(&mut self) {
        self.0.change(|activity| activity.throttled -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_waits_then_is_in_hand_until_it_is_let_go() {
        let gauge = Gauge::default();
        let mut in_hand = gauge.begin();
        assert_eq!(gauge.now(), Activity { waiting: 1, ..Activity::default() });
        in_hand.close();
        assert_eq!(gauge.now(), Activity { batches: 1, ..Activity::default() });
        let throttled = in_hand.throttle();
        assert_eq!(gauge.now(), Activity { batches: 1, throttled: 1, ..Activity::default() });
        drop(throttled);
        drop(in_hand);
        assert_eq!(gauge.now(), Activity::default());
        drop(gauge.begin());
        assert_eq!(gauge.now(), Activity::default());
    }

    #[test]
    fn load_is_the_most_batches_at_a_time_since_the_last_look() {
        let gauge = Gauge::default();
        let closed = || {
            let mut in_hand = gauge.begin();
            in_hand.close();
            in_hand
        };
        let first = closed();
        drop(closed());
        gauge.fail();
        assert_eq!(gauge.take_load(), Load { peak: 2, failed: 1 });
        assert_eq!(gauge.take_load(), Load { peak: 1, failed: 0 }, "one is still in hand");
        drop(first);
        assert_eq!(gauge.take_load(), Load { peak: 1, failed: 0 }, "and was until just now");
        assert_eq!(gauge.take_load(), Load { peak: 0, failed: 0 });
    }

    #[test]
    fn activity_tells_what_there_is() {
        let quiet = Activity { batches: 2, idle_environments: 3, ..Activity::default() };
        assert_eq!(quiet.to_string(), "2 batches in the function's hands, 3 environments idle");
        let busy = Activity { waiting: 1, batches: 4, throttled: 2, idle_environments: 0 };
        assert_eq!(
            busy.to_string(),
            "4 batches in the function's hands (2 of them throttled), 1 batches waiting for more messages, \
             0 environments idle"
        );
    }
}
