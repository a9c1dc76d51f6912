//! What a run measured: latencies, rates, cold starts, resources. A fold over its events.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use verifier::event::{Delivery, Fault, InvocationOutcome, RequestOutcome, ResetReason, ResourceUsage};
use verifier::{EnvironmentId, Event, EventKind, InvocationId, Timestamp};

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
    /// What the platform took before it started a process, where that is modelled. No part of `init`.
    pub platform_delay: Durations,
    /// From the delivery of an invocation to its end, its flush included.
    pub invocation: Durations,
    /// The arrival rate that was asked for, in requests per second.
    pub target_rate: f64,
    /// What happened to functions.
    pub lambda: LambdaCounts,
    /// What happened to messages beside being handled at once.
    pub queue: QueueCounts,
    /// What the endpoint was sent.
    pub exports: ExportCounts,
    /// What harness and system used.
    pub resources: Resources,
    starts: Option<Starts>,
    /// How many minutes since the first request the samples reach.
    sampled_minutes: usize,
    /// When the invocations that run were delivered.
    running: HashMap<InvocationId, Timestamp>,
    /// Environments that were reset and have no process yet.
    reset: HashSet<EnvironmentId>,
}

/// What happened to functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LambdaCounts {
    /// Invocations that started.
    pub invocations: u64,
    /// Invocations that were the first of their environment.
    pub cold_starts: u64,
    /// Environments that were started; those that were only started again after a reset are not counted.
    pub environments: u64,
    /// Freezes that were confirmed.
    pub freezes: u64,
    /// Invocations that ended with an error of the function.
    pub failed: u64,
    /// Invocations that were refused because the function had no concurrency left.
    pub throttled: u64,
    /// Environments that were killed because the scenario ordered it.
    pub killed: u64,
    /// Resets, by their reason.
    pub resets: ResetCounts,
    /// Processes that left their process group.
    pub escaped: u64,
    /// Calls that the Runtime API or the Extensions API refused.
    pub refused_calls: u64,
}

/// Resets of environments, by their reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ResetCounts {
    /// The Init phase took too long.
    pub init_timed_out: u64,
    /// The Init phase failed.
    pub init_failed: u64,
    /// An invocation took too long.
    pub timed_out: u64,
    /// The runtime ended.
    pub exited: u64,
    /// The memory did not suffice.
    pub out_of_memory: u64,
    /// An extension ended or reported an error.
    pub extension_failed: u64,
}

impl ResetCounts {
    fn count(&mut self, reason: ResetReason) {
        *match reason {
            ResetReason::InitTimedOut => &mut self.init_timed_out,
            ResetReason::InitFailed => &mut self.init_failed,
            ResetReason::TimedOut => &mut self.timed_out,
            ResetReason::Exited => &mut self.exited,
            ResetReason::OutOfMemory => &mut self.out_of_memory,
            ResetReason::ExtensionFailed => &mut self.extension_failed,
        } += 1;
    }

    /// Each reason in words, and how often it was one.
    pub fn by_reason(&self) -> [(&'static str, u64); 6] {
        [
            ("invocation timed out", self.timed_out),
            ("exited", self.exited),
            ("out of memory", self.out_of_memory),
            ("init timed out", self.init_timed_out),
            ("init failed", self.init_failed),
            ("extension failed", self.extension_failed),
        ]
    }
}

/// What happened to messages beside being handled at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct QueueCounts {
    /// Deliveries of messages that had been received before.
    pub redelivered: u64,
    /// Messages that were moved to a dead-letter queue.
    pub dead_lettered: u64,
    /// Messages whose body the harness spoilt on purpose.
    pub corrupted: u64,
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
            EventKind::ExportAnswered(_) => self.exports.answered += 1,
            EventKind::ExportRefused { .. } => self.exports.refused += 1,
            EventKind::ResourcesSampled { harness, system } => self.take_sample(event.at, *harness, *system),
            EventKind::MessageDeadLettered { .. } => self.queue.dead_lettered += 1,
            EventKind::FaultInjected(Fault::BodyCorrupted { .. }) => self.queue.corrupted += 1,
            EventKind::FaultInjected(Fault::EnvironmentKilled { .. }) => self.lambda.killed += 1,
            _ => self.take_lambda(event),
        }
    }

    /// Takes what happens to a function.
    fn take_lambda(&mut self, event: &Event) {
        match &event.kind {
            EventKind::PlatformDelayed { delay, .. } => self.platform_delay.record(*delay),
            EventKind::EnvironmentStarted { environment, .. } => {
                self.lambda.environments += u64::from(!self.reset.remove(environment));
            }
            EventKind::EnvironmentInitialized { init, .. } => self.init.record(*init),
            EventKind::EnvironmentFrozen { .. } => self.lambda.freezes += 1,
            EventKind::EnvironmentReset { environment, reason, .. } => {
                self.lambda.resets.count(*reason);
                self.reset.insert(environment.clone());
            }
            EventKind::EnvironmentEnded { environment, .. } => _ = self.reset.remove(environment),
            EventKind::InvocationStarted { invocation, cold, deliveries, .. } => {
                // A runtime that asks again gets the same one again: it has begun before.
                if let Entry::Vacant(running) = self.running.entry(invocation.clone()) {
                    running.insert(event.at);
                    self.lambda.invocations += 1;
                    self.lambda.cold_starts += u64::from(*cold);
                }
                let is_again = |delivery: &&Delivery| delivery.receive_count > 1;
                self.queue.redelivered += deliveries.iter().filter(is_again).count() as u64;
            }
            EventKind::InvocationFinished { invocation, outcome } => {
                self.lambda.failed += u64::from(matches!(outcome, InvocationOutcome::Failed { .. }));
                if let Some(started) = self.running.remove(invocation) {
                    self.invocation.record(event.at.since(started));
                }
            }
            EventKind::InvocationThrottled { .. } => self.lambda.throttled += 1,
            EventKind::ProcessEscaped { .. } => self.lambda.escaped += 1,
            EventKind::CallRefused { .. } => self.lambda.refused_calls += 1,
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

#[cfg(test)]
mod tests {
    use super::*;
    use verifier::MessageId;
    use verifier::event::ProcessEnd;

    fn measured(kinds: impl IntoIterator<Item = EventKind>) -> Measurements {
        let mut measurements = Measurements::default();
        for (number, kind) in (1..).zip(kinds) {
            measurements.take(&Event { at: Timestamp::from_unix_nanos(number * 1_000_000), kind });
        }
        measurements
    }

    fn environment() -> EnvironmentId {
        EnvironmentId::new("worker-1")
    }

    fn started() -> EventKind {
        EventKind::EnvironmentStarted { environment: environment(), function: "worker".to_owned(), pid: 1 }
    }

    fn invoked(receive_count: u32) -> EventKind {
        let deliveries = vec![Delivery { message: MessageId::new("m"), receive_count }];
        let invocation = InvocationId::new("i");
        EventKind::InvocationStarted { invocation, environment: environment(), cold: false, deliveries }
    }

    fn reset(reason: ResetReason) -> EventKind {
        let end = ProcessEnd { code: None, signal: Some(9), ordered: false, output: Vec::new() };
        EventKind::EnvironmentReset { environment: environment(), reason, end }
    }

    #[test]
    fn environment_that_is_started_again_after_a_reset_is_counted_once() {
        let measured = measured([started(), reset(ResetReason::TimedOut), started(), reset(ResetReason::Exited)]);
        assert_eq!(measured.lambda.environments, 1);
        let resets = ResetCounts { timed_out: 1, exited: 1, ..ResetCounts::default() };
        assert_eq!(measured.lambda.resets, resets);
        assert_eq!(resets.by_reason().iter().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn invocation_lasts_from_its_first_delivery_to_its_end() {
        let finished = || {
            let outcome = InvocationOutcome::TimedOut;
            EventKind::InvocationFinished { invocation: InvocationId::new("i"), outcome }
        };
        let measured = measured([invoked(1), invoked(1), finished(), finished()]);
        assert_eq!((measured.lambda.invocations, measured.invocation.count()), (1, 1));
        assert!(measured.invocation.max() >= Some(Duration::from_millis(2)));
    }

    #[test]
    fn platform_delay_is_no_part_of_init() {
        let (delay, init) = (Duration::from_millis(250), Duration::from_millis(9));
        let measured = measured([
            EventKind::PlatformDelayed { environment: environment(), delay },
            started(),
            EventKind::EnvironmentInitialized { environment: environment(), init },
        ]);
        assert_eq!((measured.platform_delay.count(), measured.init.count()), (1, 1));
        assert!(measured.init.max() < Some(delay) && measured.platform_delay.max() >= Some(delay));
    }

    #[test]
    fn only_deliveries_after_the_first_receive_are_redeliveries() {
        let dead = EventKind::MessageDeadLettered { message: MessageId::new("m"), queue: "dead".to_owned() };
        let corrupted = EventKind::FaultInjected(Fault::BodyCorrupted { message: MessageId::new("m") });
        let measured = measured([corrupted, invoked(1), invoked(2), invoked(3), dead]);
        assert_eq!(measured.queue, QueueCounts { redelivered: 2, dead_lettered: 1, corrupted: 1 });
    }
}
