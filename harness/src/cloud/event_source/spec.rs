//! What a mapping is told.

use std::time::Duration;

/// What AWS adds to batching window and function time-out where a visibility time-out is shorter than
/// both together.
const VISIBILITY_MARGIN: Duration = Duration::from_secs(30);

/// How a queue is mapped to a function.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSourceSpec {
    /// The queue's name.
    pub queue: String,
    /// The queue's ARN, as records bear it.
    pub queue_arn: String,
    /// The queue's visibility time-out.
    pub visibility_timeout: Duration,
    /// How many records an event has at most, 1 to 10,000. More than 10 take a batch window, because no
    /// receive gives more than 10.
    pub batch_size: usize,
    /// How many invocations run at the same time at most, and so how many pollers there are.
    pub max_concurrency: usize,
    /// Whether a response can report single messages as failed (`ReportBatchItemFailures`). If not,
    /// responses are not looked at.
    pub reports_item_failures: bool,
    /// How it takes messages to environments.
    pub behaviour: Behaviour,
}

impl EventSourceSpec {
    /// The visibility time-out that the mapping asks for when it receives; nothing means the queue's own.
    ///
    /// A message may wait for the whole batch window before a function of this time-out gets it. Where the
    /// queue's own is too short for both, it is both and a margin (AWS Lambda developer guide, "Batching
    /// behavior").
    pub(super) fn longer_visibility_timeout(&self, function_timeout: Duration) -> Option<Duration> {
        let window = self.behaviour.batch_window;
        let needed = window + function_timeout;
        let is_too_short = !window.is_zero() && needed > self.visibility_timeout;
        is_too_short.then(|| whole_seconds(needed + VISIBILITY_MARGIN))
    }
}

/// Rounded up: SQS counts in seconds.
fn whole_seconds(time: Duration) -> Duration {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(seconds)
}

/// How a mapping takes messages to environments. The default is the quickest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behaviour {
    /// How long a batch that is not full waits for more (`MaximumBatchingWindowInSeconds`).
    pub batch_window: Duration,
    /// Which idle environment is used.
    pub choice: Choice,
    /// How concurrency grows; without it, all of it is there at once.
    pub scaling: Option<Scaling>,
    /// How long an environment may be idle before it is ended; without it, for ever.
    pub idle_timeout: Option<Duration>,
    /// How many environments may be busy before invocations are throttled (reserved concurrency).
    pub reserved_concurrency: Option<u32>,
}

/// Which idle environment an invocation goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The one that was used last, as AWS is seen to do.
    #[default]
    MostRecentlyUsed,
    /// The one that has been idle longest: all of them age, and their connections with them.
    LeastRecentlyUsed,
    /// Any, drawn from the seed.
    Random {
        /// The run's seed.
        seed: u64,
    },
}

/// How concurrency grows while there is a backlog (AWS Lambda developer guide, "Scaling behaviour" of
/// SQS event source mappings).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// How many batches are in the function's hands at the beginning, 5 on AWS.
    pub start: u32,
    /// By how many more a minute, 300 on AWS.
    pub per_minute: u32,
    /// How many minutes pass in a minute: to see in a short run what takes long.
    pub time_scale: f64,
}

impl Scaling {
    /// As AWS documents it.
    pub const AWS: Self = Self { start: 5, per_minute: 300, time_scale: 1.0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(visibility: u64, window: u64, function_timeout: Duration) -> Option<u64> {
        let spec = EventSourceSpec {
            queue: String::new(),
            queue_arn: String::new(),
            visibility_timeout: Duration::from_secs(visibility),
            batch_size: 10,
            max_concurrency: 1,
            reports_item_failures: true,
            behaviour: Behaviour { batch_window: Duration::from_secs(window), ..Behaviour::default() },
        };
        spec.longer_visibility_timeout(function_timeout).map(|time| time.as_secs())
    }

    #[test]
    fn visibility_timeout_covers_window_and_invocation() {
        let function_timeout = Duration::from_millis(2_500);
        assert_eq!(asked(8, 5, function_timeout), None, "the queue's own is long enough");
        assert_eq!(asked(7, 5, function_timeout), Some(38), "5 s + 2.5 s + 30 s, in whole seconds");
        assert_eq!(asked(1, 0, function_timeout), None, "without a window, the queue's own counts");
    }
}
