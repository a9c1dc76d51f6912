//! What it costs to judge spans, beside decoding them with the protobuf library: CPU time per span, in one run.
//!
//! `cargo bench --profile release -p mock-coralogix --bench judge`
//!
//! Exports of 512 spans with 12 attributes each, three spans to a trace, as the reference system makes them. The
//! ledger's rows of their requests are told before, so that each trace is complete, and judged, with its last span.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it has measured")]
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is how it fails")]

#[path = "support/exports.rs"]
mod exports;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use exports::{SPANS, TAG, at, payload, request, span_id, trace_id};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use verifier::contract::{ForeignSpans, Per, SpanContract, StatusRule, TraceContract, ValueRule};
use verifier::event::{
    Carrier, Correlation, Delivery, Export, ExportAnswer, InvocationOutcome, JOURNAL_VERSION, Patience, Peer,
    RequestOutcome, RunStarted,
};
use verifier::otlp::Payload;
use verifier::{EnvironmentId, Event, EventKind, InvocationId, MessageId, SpanKind, Verifier};

/// Exports in the corpus.
const EXPORTS: usize = 60;
const TRACES: usize = SPANS * EXPORTS / 3;
/// Each is measured so often, and the best counts: the machine is shared.
const ROUNDS: usize = 7;

fn main() {
    let payloads: Vec<_> = (0..EXPORTS).map(payload).collect();
    let spans = (SPANS * EXPORTS) as f64;
    let bytes: usize = payloads.iter().map(|payload| payload.bytes().len()).sum();
    println!(
        "{EXPORTS} exports of {SPANS} spans with 12 attributes, {:.0} bytes a span; ns of CPU per span:",
        bytes as f64 / spans
    );
    let decode = best(|| payloads.iter().for_each(|payload| _ = black_box(decode(payload)))) / spans;
    let validate = best(|| payloads.iter().for_each(|payload| payload.validate().unwrap())) / spans;
    let walk = best(|| payloads.iter().for_each(walk)) / spans;
    let judge = judged(&payloads) / spans;
    for (what, nanos) in [
        ("prost decode", decode),
        ("validate", validate),
        ("walk, 5 of 12 attributes", walk),
        ("walk, contract and verdict", judge),
    ] {
        println!("  {what:<28} {nanos:>7.0}  {:>5.2} of prost's decode", nanos / decode);
    }
}

/// The least CPU time of some work, in nanoseconds.
fn best(mut work: impl FnMut()) -> f64 {
    let measure = |_| {
        let before = cpu();
        work();
        (cpu() - before).as_secs_f64() * 1e9
    };
    (0..ROUNDS).map(measure).fold(f64::INFINITY, f64::min)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::new(time.tv_sec().try_into().unwrap(), time.tv_nsec().try_into().unwrap())
}

fn decode(payload: &Payload) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(payload.bytes().clone()).unwrap()
}

/// Reads what a judge needs of each span: ids, kind, times and five attributes.
fn walk(payload: &Payload) {
    const WANTED: [&str; 5] = ["customer.id", "messaging.system", "messaging.message.id", "key.4", "key.5"];
    for span in payload.resources().flat_map(|resource| resource.spans()) {
        black_box((span.trace_id(), span.span_id(), span.parent(), span.kind, span.start, span.end));
        for attribute in span.attributes().filter(|attribute| WANTED.contains(&attribute.key)) {
            black_box(attribute.value.text());
        }
    }
}

/// The CPU time of judging all exports, their ledger rows not included, in nanoseconds.
fn judged(payloads: &[Payload]) -> f64 {
    let exports: Vec<_> = (0..).zip(payloads).map(|(number, payload)| export(number, payload)).collect();
    let mut prepared = Verifier::default();
    ledger().for_each(|event| prepared.handle(&event));
    let mut measure = |_| {
        let mut verifier = prepared.clone();
        let before = cpu();
        exports.iter().for_each(|event| verifier.handle(event));
        let took = (cpu() - before).as_secs_f64() * 1e9;
        let tally = verifier.tally();
        assert_eq!(tally.traces.complete, TRACES as u64, "every trace was judged: {tally:?}");
        took
    };
    (0..ROUNDS).map(&mut measure).fold(f64::INFINITY, f64::min)
}

fn export(number: u64, payload: &Payload) -> Event {
    let (peer, answer, payload) = (Peer::Service("all".to_owned()), ExportAnswer::Stored, payload.clone());
    let kind = EventKind::ExportAnswered(Box::new(Export { export: number, peer, answer, payload }));
    Event { at: at(5_000), kind }
}

/// The rows of every request, from its start to the end of its message.
fn ledger() -> impl Iterator<Item = Event> {
    let started = EventKind::RunStarted(Box::new(run_started()));
    let environment = EnvironmentId::new("worker-1");
    let before = [
        started,
        EventKind::EnvironmentStarted { environment: environment.clone(), function: "worker".to_owned(), pid: 1 },
        EventKind::LoadStarted { scheduled: TRACES as u64, rate: 100.0 },
    ];
    let rows = (0..TRACES).flat_map(move |trace| rows(trace, &environment));
    before.into_iter().chain(rows).map(|kind| Event { at: at(1_000), kind })
}

fn rows(trace: usize, environment: &EnvironmentId) -> [EventKind; 6] {
    let message = MessageId::new(format!("00000000-0000-4000-8000-{trace:012x}"));
    let invocation = InvocationId::new(format!("00000000-0000-4000-9000-{trace:012x}"));
    let traceparent = Some(format!("00-{}-{}-01", trace_id(trace), span_id(trace, 1)));
    let outcome = RequestOutcome::Answered { status: 202, accepted: true, trace_id: Some(trace_id(trace)) };
    let deliveries = vec![Delivery { message: message.clone(), receive_count: 1 }];
    [
        EventKind::RequestStarted { request: request(trace), intended: at(1_000) },
        EventKind::MessageSent {
            queue: "jobs".to_owned(),
            message: message.clone(),
            request: Some(request(trace)),
            carrier: Carrier { traceparent, ..Carrier::default() },
        },
        EventKind::RequestFinished { request: request(trace), intended: at(1_000), outcome },
        EventKind::InvocationStarted {
            invocation: invocation.clone(),
            environment: environment.clone(),
            cold: false,
            deliveries,
        },
        EventKind::InvocationFinished { invocation, outcome: InvocationOutcome::Succeeded { failed: Vec::new() } },
        EventKind::MessageDeleted { message },
    ]
}

fn run_started() -> RunStarted {
    RunStarted {
        version: JOURNAL_VERSION,
        run: "bench".to_owned(),
        tag: TAG,
        seed: 0,
        harness: "0".to_owned(),
        system: "bench".to_owned(),
        entry: "all".to_owned(),
        scenario: "bench".to_owned(),
        faults: Vec::new(),
        contract: contract(),
        correlation: Correlation { request: vec!["customer.id".to_owned()], ..Correlation::default() },
        patience: Patience::default(),
        excused_at_most: None,
    }
}

fn contract() -> TraceContract {
    let attributes = || {
        let exact = ValueRule::Exact("aws_sqs".to_owned());
        BTreeMap::from([
            ("messaging.system".to_owned(), exact),
            ("messaging.message.id".to_owned(), ValueRule::Present),
        ])
    };
    let span = |name: &str, kind, parent: Option<&str>, per| SpanContract {
        service: "all".to_owned(),
        name: name.into(),
        kind,
        parent: parent.map(str::to_owned),
        link: None,
        per,
        queue: None,
        function: None,
        attributes: attributes(),
        resource: BTreeMap::new(),
        status: StatusRule::NoError,
        max_duration: None,
    };
    TraceContract {
        name: "bench".to_owned(),
        spans: BTreeMap::from([
            ("server".to_owned(), span("POST /onboard", SpanKind::Server, None, Per::Request)),
            ("producer".to_owned(), span("sqs.send", SpanKind::Producer, Some("server"), Per::Message)),
            ("consumer".to_owned(), span("sqs.process", SpanKind::Consumer, Some("producer"), Per::Delivery)),
        ]),
        extras: BTreeMap::new(),
        resource: BTreeMap::new(),
        foreign: ForeignSpans::Count,
        sampling: None,
        severity: BTreeMap::new(),
    }
}
