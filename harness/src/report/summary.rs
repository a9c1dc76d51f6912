//! `summary.json`: what a run came to, for programs.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use verifier::event::ResourceUsage;
use verifier::tally::{Equation, RequestTally, SpanTally, TraceTally};
use verifier::{Conclusion, Finding, Verdict};

use crate::measure::{Durations, ExportCounts, LambdaCounts, QueueCounts};
use crate::outcome::Outcome;

/// The file's name in a run's folder.
pub const FILE: &str = "summary.json";

/// The content of `summary.json`. Times are in milliseconds, memory in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    verdict: Verdict,
    conclusion: Conclusion,
    doubts: Vec<String>,
    run: Option<String>,
    system: Option<String>,
    scenario: Option<String>,
    seed: Option<u64>,
    faults: Vec<String>,
    interrupted: bool,
    requests: RequestTally,
    traces: Traces,
    spans: SpanTally,
    lambda: Lambda,
    queue: QueueCounts,
    exports: ExportCounts,
    latency_ms: Quantiles,
    rate: Rate,
    resources: ResourcesUsed,
    findings: Vec<Finding>,
    identities: Vec<Equation>,
    statements: Vec<Equation>,
}

#[derive(Debug, Clone, Serialize)]
struct Traces {
    #[serde(flatten)]
    counts: TraceTally,
    /// The 95 % upper bound of the rate at which traces are lost, if none was; of the complete ones alone.
    loss_rate_below: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
struct Lambda {
    #[serde(flatten)]
    counts: LambdaCounts,
    /// From the start of a process to its first `/next`.
    init_ms: Quantiles,
    /// What the platform took before that, where it is modelled.
    platform_delay_ms: Quantiles,
    /// From the delivery of an invocation to its end, its flush included.
    invocation_ms: Quantiles,
}

/// Milliseconds; null where there is nothing to measure.
#[derive(Debug, Clone, Serialize)]
struct Quantiles {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
struct Rate {
    target: f64,
    achieved: Option<f64>,
    /// How late requests started.
    late_ms: Quantiles,
}

#[derive(Debug, Clone, Serialize)]
struct ResourcesUsed {
    harness: Used,
    system: Used,
    /// The most resident memory of the harness in each minute since the first request.
    harness_rss_by_minute: Vec<u64>,
}

#[derive(Debug, Clone, Serialize)]
struct Used {
    cpu_seconds: f64,
    rss: u64,
}

impl Summary {
    /// The summary of a run.
    pub fn new(outcome: &Outcome) -> Self {
        let Outcome { setup, interrupted, judgement, measurements } = outcome;
        let tally = &judgement.tally;
        Self {
            verdict: judgement.conclusion.verdict(),
            conclusion: judgement.conclusion,
            doubts: judgement.doubts.clone(),
            run: setup.as_ref().map(|setup| setup.run.clone()),
            system: setup.as_ref().map(|setup| setup.system.clone()),
            scenario: setup.as_ref().map(|setup| setup.scenario.clone()),
            seed: setup.as_ref().map(|setup| setup.seed),
            faults: setup.as_ref().map_or_else(Vec::new, |setup| setup.faults.clone()),
            interrupted: *interrupted,
            requests: tally.requests,
            traces: Traces { counts: tally.traces, loss_rate_below: tally.loss_bound() },
            spans: tally.spans,
            lambda: Lambda {
                counts: measurements.lambda,
                init_ms: Quantiles::of(&measurements.init),
                platform_delay_ms: Quantiles::of(&measurements.platform_delay),
                invocation_ms: Quantiles::of(&measurements.invocation),
            },
            queue: measurements.queue,
            exports: measurements.exports,
            latency_ms: Quantiles::of(&measurements.latency),
            rate: Rate {
                target: measurements.target_rate,
                achieved: measurements.achieved_rate(),
                late_ms: Quantiles::of(&measurements.lateness),
            },
            resources: ResourcesUsed {
                harness: Used::of(measurements.resources.harness),
                system: Used::of(measurements.resources.system),
                harness_rss_by_minute: measurements.resources.harness_rss_by_minute.clone(),
            },
            findings: judgement.findings.clone(),
            identities: judgement.identities.clone(),
            statements: judgement.statements.clone(),
        }
    }

    /// The summary as indented JSON with a line's end.
    ///
    /// # Errors
    /// None in practice: every part can be written as JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes `summary.json` into a run's folder.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), self.to_json()?)
    }
}

impl Quantiles {
    fn of(durations: &Durations) -> Self {
        let quantile = |share| durations.quantile(share).map(milliseconds);
        Self { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: durations.max().map(milliseconds) }
    }
}

impl Used {
    fn of(usage: ResourceUsage) -> Self {
        Self { cpu_seconds: usage.cpu.as_secs_f64(), rss: usage.rss }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
