//! What a run measured: latencies, rates, cold starts, resources. A fold over its events.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use verifier::event::{RequestOutcome, ResourceUsage};
use verifier::{Event, EventKind, Timestamp};

/// The longest duration that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Durations, with three significant digits.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts; without them it could only grow.
        let micros = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_max(micros, 3).unwrap_or_else(|_| unreachable!("the bounds are valid")))
    }
}

impl Durations {
    /// Takes one more.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration below which this share of them is; none if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }

    /// The longest of them; none if there are none.
    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }
}

/// What a run measured.
#[derive(Debug, Clone, Default)]
pub struct Measurements {
    /// From the intended start of a request to the end of its answer; of answered requests.
    pub latency: Durations,
    /// From the intended to the actual start of a request.
    pub lateness: Durations,
    /// From the start of an environment's process to its first `/next`.
    pub init: Durations,
    /// The arrival rate that was asked for, in requests per second.
    pub target_rate: f64,
    /// What happened to functions.
    pub lambda: LambdaCounts,
    /// What the endpoint was sent.
    pub exports: ExportCounts,
    /// What harness and system used.
    pub resources: Resources,
    starts: Option<Starts>,
    /// How many minutes since the first request the samples reach.
    sampled_minutes: usize,
}

/// What happened to functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LambdaCounts {
    /// Invocations that started.
    pub invocations: u64,
    /// Invocations that were the first of their environment.
    pub cold_starts: u64,
    /// Environments that were started.
    pub environments: u64,
    /// Freezes that were confirmed.
    pub freezes: u64,
}

/// What the endpoint was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ExportCounts {
    /// Exports that were read and answered.
    pub answered: u64,
    /// What was refused before it could be read as an export.
    pub refused: u64,
}

/// What harness and system used, at the end and over time.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// The harness, at the end.
    pub harness: ResourceUsage,
    /// The system, at the end.
    pub system: ResourceUsage,
    /// The resident memory of the harness, in bytes: the most in each minute since the load began.
    pub harness_rss_by_minute: Vec<u64>,
}

/// The first and the last start of a request.
#[derive(Debug, Clone, Copy)]
struct Starts {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

impl Measurements {
    /// Takes the next event.
    pub(crate) fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::LoadStarted { rate, .. } => self.target_rate = *rate,
            EventKind::RequestStarted { intended, .. } => self.take_start(event.at, *intended),
            EventKind::RequestFinished { intended, outcome: RequestOutcome::Answered { .. }, .. } => {
                self.latency.record(event.at.since(*intended));
            }
            EventKind::EnvironmentStarted { .. } => self.lambda.environments += 1,
            EventKind::EnvironmentInitialized { init, .. } => self.init.record(*init),
            EventKind::EnvironmentFrozen { .. } => self.lambda.freezes += 1,
            EventKind::InvocationStarted { cold, .. } => {
                self.lambda.invocations += 1;
                self.lambda.cold_starts += u64::from(*cold);
            }
            EventKind::ExportAnswered(_) => self.exports.answered += 1,
            EventKind::ExportRefused { .. } => self.exports.refused += 1,
            EventKind::ResourcesSampled { harness, system } => self.take_sample(event.at, *harness, *system),
            _ => {}
        }
    }

    fn take_start(&mut self, at: Timestamp, intended: Timestamp) {
        self.lateness.record(at.since(intended));
        let starts = self.starts.get_or_insert(Starts { first: at, last: at, count: 0 });
        starts.last = starts.last.max(at);
        starts.count += 1;
    }

    fn take_sample(&mut self, at: Timestamp, harness: ResourceUsage, system: ResourceUsage) {
        (self.resources.harness, self.resources.system) = (harness, system);
        let Some(starts) = self.starts else { return };
        let minutes = usize::try_from(at.since(starts.first).as_secs() / 60).unwrap_or(usize::MAX);
        let by_minute = &mut self.resources.harness_rss_by_minute;
        match by_minute.last_mut() {
            // Minutes without a sample are left out, so the list cannot run away.
            Some(most) if minutes < self.sampled_minutes => *most = (*most).max(harness.rss),
            _ => {
                by_minute.push(harness.rss);
                self.sampled_minutes = minutes + 1;
            }
        }
    }

    /// How many invocations were the first of their environment.
    pub fn cold_starts(&self) -> u64 {
        self.lambda.cold_starts
    }

    /// The arrival rate that was achieved: starts after the first, over the time that they took, in
    /// requests per second. None for fewer than two.
    pub fn achieved_rate(&self) -> Option<f64> {
        let Starts { first, last, count } = self.starts?;
        let seconds = last.since(first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people; no run has 2^52 requests")]
        (count > 1 && seconds > 0.0).then(|| (count - 1) as f64 / seconds)
    }
}
