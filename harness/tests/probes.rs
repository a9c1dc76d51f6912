//! Ways in which Lambda functions export their spans, each under the freeze: what is lost, what is late,
//! and what the harness calls it. The whole harness with real processes; the function is this very
//! program, with the real `lambda_runtime` and OpenTelemetry's own SDK and exporter.
//!
//! The strategies and their outcomes were first measured with a simulator of sixty lines.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tempfile::TempDir;

/// What a function does to get its spans out.
const STRATEGY: &str = "STRATEGY";
/// It leaves that to the batch processor's timer.
const NO_FLUSH: &str = "no-flush";
/// It starts a flush and does not wait for it.
const NOT_AWAITED: &str = "not-awaited";
/// It flushes before it answers.
const AWAITED: &str = "awaited";

/// The test that is the function as well.
const FUNCTION: &str = "function_that_awaits_its_flush_loses_nothing";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

async fn run_function() {
    PROVIDER.set(provider()).unwrap();
    lambda_runtime::run(service_fn(handle)).await.unwrap();
}

fn provider() -> SdkTracerProvider {
    let variable = |name| env::var(name).unwrap();
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {}", variable("CORALOGIX_API_KEY")).parse().unwrap());
    let ca = Certificate::from_pem(fs::read(variable("OTEL_EXPORTER_OTLP_CERTIFICATE")).unwrap());
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_tls_config(ClientTlsConfig::new().ca_certificate(ca))
        .with_metadata(metadata)
        .build()
        .unwrap();
    let resource = Resource::builder().with_service_name("onboarding-lambda").build();
    SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()
}

async fn handle(event: LambdaEvent<SqsEvent>) -> Result<(), Error> {
    event.payload.records.iter().for_each(make_span);
    let flush = || tokio::task::spawn_blocking(|| PROVIDER.get().unwrap().force_flush());
    match env::var(STRATEGY).as_deref() {
        // A flush that fails fails nobody else: its spans are lost, and that is what is probed.
        Ok(AWAITED) => _ = flush().await?,
        Ok(NOT_AWAITED) => drop(flush()),
        _ => {}
    }
    Ok(())
}

fn make_span(record: &SqsMessage) {
    let text = |name: &str| record.message_attributes.get(name)?.string_value.clone();
    let carrier = ["traceparent", "tracestate"].into_iter().filter_map(|name| Some((name.to_owned(), text(name)?)));
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier.collect::<HashMap<_, _>>());
    let tracer = PROVIDER.get().unwrap().tracer("probe");
    let span = tracer.span_builder("sqs.process").with_kind(SpanKind::Consumer);
    let mut span = tracer.build_with_context(span, &parent);
    span.set_attribute(KeyValue::new("messaging.system", "aws_sqs"));
    span.end();
}

/// A run of the reference API with a function of another strategy behind its queue.
struct Probe {
    folder: TempDir,
    strategy: &'static str,
    batch_delay: Duration,
    rate: u32,
    requests: u32,
    timeout: Duration,
    lambda: &'static str,
    network: &'static str,
}

impl Probe {
    fn new(strategy: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            strategy,
            // Longer than any run: nothing leaves by the timer.
            batch_delay: Duration::from_secs(600),
            rate: 20,
            requests: 20,
            timeout: Duration::from_secs(3),
            lambda: "",
            network: "",
        }
    }

    fn run(&self) -> Summary {
        let scenario = self.folder.path().join("probe.toml");
        fs::write(&scenario, self.scenario()).unwrap();
        fs::write(self.folder.path().join("system.toml"), self.system()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .current_dir(repository())
            .args(["run", scenario.to_str().unwrap(), "--out"])
            .arg(self.folder.path())
            .output()
            .unwrap();
        let summary = self.folder.path().join("latest/summary.json");
        let text =
            fs::read_to_string(summary).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Summary(serde_json::from_str(&text).unwrap())
    }

    fn scenario(&self) -> String {
        let duration = Duration::from_millis(u64::from(self.requests) * 1_000 / u64::from(self.rate));
        format!(
            "name = \"probe\"\nsystem = \"system.toml\"\n[load]\nrate = {}\nduration = \"{duration:?}\"\n\
             [lambda]\n{}\n[network]\n{}\n[patience]\nlate_after = \"60s\"\nmissing_after = \"60s\"\n\
             remembered_for = \"120s\"\n",
            self.rate, self.lambda, self.network,
        )
    }

    /// The reference system's manifest, with the function replaced by this program.
    fn system(&self) -> String {
        let system = repository().join("system");
        fs::write(self.folder.path().join("contract.toml"), CONTRACT).unwrap();
        let build = format!("\"cargo\", \"build\", \"--manifest-path\", {:?}", repository().join("Cargo.toml"));
        let manifest = fs::read_to_string(system.join("system.toml")).unwrap().replace("\"cargo\", \"build\"", &build);
        let (before, rest) = manifest.split_once("[function.worker]").unwrap();
        let (_, after) = rest.split_once("[request]").unwrap();
        let before = before.replace("visibility_timeout = \"6s\"", "visibility_timeout = \"60s\"");
        format!("{before}{}[request]{after}", self.function())
    }

    fn function(&self) -> String {
        let program = env::current_exe().unwrap();
        format!(
            "[function.worker]\ncommand = [{program:?}, \"--exact\", {FUNCTION:?}, \"--nocapture\"]\n\
             queue = \"onboarding\"\ntimeout = \"{:?}\"\nbatch_size = 1\nmax_concurrency = 1\n\
             env = {{ {STRATEGY} = {:?}, OTEL_BSP_SCHEDULE_DELAY = \"{}\" }}\n",
            self.timeout,
            self.strategy,
            self.batch_delay.as_millis(),
        )
    }
}

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// What a run came to.
struct Summary(Value);

impl Summary {
    fn verdict(&self) -> &str {
        self.0["verdict"].as_str().unwrap()
    }

    fn missing(&self) -> u64 {
        self.0["spans"]["missing"].as_u64().unwrap()
    }

    /// Code and cause of the findings that fail the run.
    fn failures(&self) -> Vec<(&str, &str)> {
        let findings = self.0["findings"].as_array().unwrap().iter();
        let failures = findings.filter(|found| found["severity"] == "failure");
        failures.map(|found| (found["code"].as_str().unwrap(), found["cause"].as_str().unwrap())).collect()
    }

    #[track_caller]
    fn assert_passed(&self) {
        assert_eq!((self.verdict(), self.failures()), ("pass", Vec::new()), "{:#}", self.0);
    }

    #[track_caller]
    fn assert_only_failure(&self, code: &str, cause: &str) {
        assert_eq!(self.failures(), [(code, cause)], "{:#}", self.0);
    }
}

/// What matters here is which spans come: the functions say less of themselves than the reference system's.
const CONTRACT: &str = r#"
name = "probes"

[span.server]
service = "onboarding-api"
name    = "POST /onboard"
kind    = "server"
per     = "request"

[span.producer]
service = "onboarding-api"
name    = "sqs.send"
kind    = "producer"
parent  = "server"
per     = "message"

[span.consumer]
service = "onboarding-lambda"
name    = "sqs.process"
kind    = "consumer"
parent  = "producer"
per     = "delivery"
"#;

#[tokio::test]
async fn function_that_awaits_its_flush_loses_nothing() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return run_function().await;
    }
    Probe::new(AWAITED).run().assert_passed();
}

#[test]
fn function_that_awaits_its_flush_loses_nothing_over_a_slow_network() {
    Probe { network: "latency = \"20ms\"", ..Probe::new(AWAITED) }.run().assert_passed();
    let one_each = "recycle_after = 1";
    Probe { lambda: one_each, network: "latency = \"20ms\"", ..Probe::new(AWAITED) }.run().assert_passed();
}

#[test]
fn function_that_never_flushes_loses_every_span() {
    let summary = Probe::new(NO_FLUSH).run();
    summary.assert_only_failure("span-missing", "not-flushed");
    assert_eq!(summary.missing(), 20);
}

#[test]
fn function_that_never_flushes_loses_every_span_even_if_it_is_not_frozen() {
    let summary = Probe { lambda: "freezer = \"off\"", ..Probe::new(NO_FLUSH) }.run();
    summary.assert_only_failure("span-missing", "not-flushed");
    assert_eq!(summary.missing(), 20);
}

#[test]
fn spans_that_leave_by_a_timer_are_late_by_a_thaw() {
    let probe = Probe { batch_delay: Duration::from_millis(300), rate: 4, requests: 12, ..Probe::new(NO_FLUSH) };
    let summary = probe.run();
    summary.assert_only_failure("late-by-thaw", "sent-after-thaw");
    assert!((1..12).contains(&summary.missing()), "the last of them is lost: {:#}", summary.0);
}

#[test]
fn flush_that_nobody_awaits_is_open_at_the_freeze() {
    // What an environment's first invocation leaves open is a flush; later, one export waits for the other.
    let lambda = "freeze_delay = \"5ms\"\nrecycle_after = 5";
    let probe = Probe { lambda, network: "latency = \"20ms\"", ..Probe::new(NOT_AWAITED) };
    probe.run().assert_only_failure("export-open-at-freeze", "flush-not-awaited");
}

#[test]
fn flush_that_nobody_awaits_is_open_at_the_freeze_of_environments_with_one_invocation() {
    let lambda = "freeze_delay = \"5ms\"\nrecycle_after = 1";
    let probe = Probe { lambda, network: "latency = \"20ms\"", ..Probe::new(NOT_AWAITED) };
    probe.run().assert_only_failure("export-open-at-freeze", "flush-not-awaited");
}

#[test]
fn connection_that_was_closed_while_frozen_is_replaced() {
    for network in
        ["cut = \"fin\"\ncut_after = 5", "cut = \"reset\"\ncut_after = 5", "cut = \"half-close\"\ncut_after = 5"]
    {
        Probe { network, ..Probe::new(AWAITED) }.run().assert_passed();
    }
}

/// OpenTelemetry's flush waits for 5 s, and its client never gives the dead connection up.
fn into_a_black_hole(lambda: &'static str) -> Summary {
    let timeout = Duration::from_secs(20);
    let network = "cut = \"black-hole\"\ncut_after = 2";
    Probe { requests: 5, timeout, lambda, network, ..Probe::new(AWAITED) }.run()
}

#[test]
fn connection_into_a_black_hole_swallows_every_later_span_of_its_environment() {
    let summary = into_a_black_hole("");
    summary.assert_only_failure("span-missing", "fault-cut-connections");
    assert_eq!(summary.missing(), 3);
}

#[test]
fn black_hole_swallows_as_much_without_any_freeze() {
    let summary = into_a_black_hole("freezer = \"off\"");
    summary.assert_only_failure("span-missing", "fault-cut-connections");
    assert_eq!(summary.missing(), 3);
}
