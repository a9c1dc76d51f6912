//! The vocabulary of the verifier's tests: a healthy run of the three-span system, told event by
//! event, and ways to spoil it.

#![allow(dead_code, reason = "each test binary uses its own part of the vocabulary")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use verifier::contract::{ForeignSpans, Per, SpanContract, StatusRule, TraceContract};
use verifier::event::{
    Carrier, Correlation, Delivery, Export, ExportAnswer, Fault, InvocationOutcome, JOURNAL_VERSION, OpenExchanges,
    Patience, ProcessEnd, RequestOutcome, ResetReason, RunStarted,
};
use verifier::finding::Cause;
use verifier::otlp::Payload;
use verifier::span::{Attribute, Resource, ResourceSpans, SpanStatus};
use verifier::{
    EnvironmentId, Event, EventKind, FindingCode, InvocationId, Judgement, MessageId, Peer, RequestId, Span, SpanId,
    SpanKind, Timestamp, TraceId, Verifier,
};

/// The tag of every story's run.
pub(crate) const TAG: u32 = 0x7f3a_9c2e;
/// When every story begins.
pub(crate) const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

/// The contract of the reference system.
pub(crate) fn contract() -> TraceContract {
    let span = |service: &str, name: &str, kind, parent: Option<&str>, per| SpanContract {
        service: service.to_owned(),
        name: name.into(),
        kind,
        parent: parent.map(str::to_owned),
        link: None,
        per,
        queue: None,
        function: None,
        attributes: BTreeMap::new(),
        resource: BTreeMap::new(),
        status: StatusRule::Any,
        max_duration: None,
    };
    TraceContract {
        name: "story".to_owned(),
        spans: BTreeMap::from([
            ("server".to_owned(), span("api", "POST /onboard", SpanKind::Server, None, Per::Request)),
            ("producer".to_owned(), span("api", "sqs.send", SpanKind::Producer, Some("server"), Per::Message)),
            ("consumer".to_owned(), span("worker", "sqs.process", SpanKind::Consumer, Some("producer"), Per::Delivery)),
        ]),
        extras: BTreeMap::new(),
        resource: BTreeMap::new(),
        foreign: ForeignSpans::Count,
        sampling: None,
        severity: BTreeMap::new(),
    }
}

/// A run, as the events that tell it.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
}

/// The identifiers in the story of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids(pub(crate) u32);

impl Ids {
    pub(crate) fn request(self) -> RequestId {
        RequestId::new(TAG, self.0)
    }

    pub(crate) fn message(self) -> MessageId {
        MessageId::new(format!("message-{}", self.0))
    }

    pub(crate) fn invocation(self, delivery: u32) -> InvocationId {
        InvocationId::new(format!("invocation-{}-{delivery}", self.0))
    }

    pub(crate) fn trace(self) -> TraceId {
        trace_id(self.0 + 1)
    }

    pub(crate) fn server(self) -> SpanId {
        span_id(self.0, 1)
    }

    pub(crate) fn producer(self) -> SpanId {
        span_id(self.0, 2)
    }

    pub(crate) fn consumer(self, delivery: u32) -> SpanId {
        span_id(self.0, 2 + delivery)
    }

    pub(crate) fn traceparent(self) -> String {
        format!("00-{}-{}-01", self.trace(), self.producer())
    }
}

pub(crate) fn trace_id(number: u32) -> TraceId {
    format!("{number:032x}").parse().unwrap()
}

pub(crate) fn span_id(request: u32, number: u32) -> SpanId {
    format!("{:08x}{number:08x}", request + 1).parse().unwrap()
}

pub(crate) fn environment() -> EnvironmentId {
    EnvironmentId::new("worker-1")
}

/// How a story's process ends.
pub(crate) fn end(ordered: bool) -> ProcessEnd {
    let output = if ordered { Vec::new() } else { vec!["panicked at main.rs".to_owned()] };
    ProcessEnd { code: Some(1), signal: None, ordered, output }
}

impl Story {
    /// A run in which that many requests became exactly one trace each.
    pub(crate) fn healthy(requests: u32) -> Self {
        let mut story = Self::begun(requests);
        for number in 0..requests {
            story.healthy_request(Ids(number));
        }
        story.ended()
    }

    /// A run in which nothing has happened yet.
    pub(crate) fn begun(requests: u32) -> Self {
        let mut story = Self { events: Vec::new() };
        story.tell(EventKind::RunStarted(Box::new(run_started())));
        let (service, pid) = ("api".to_owned(), 10);
        story.tell(EventKind::ServiceStarted { service, pid });
        let function = "worker".to_owned();
        story.tell(EventKind::EnvironmentStarted { environment: environment(), function, pid: 11 });
        let init = Duration::from_millis(9);
        story.tell(EventKind::EnvironmentInitialized { environment: environment(), init });
        story.tell(EventKind::LoadStarted { scheduled: u64::from(requests), rate: 100.0 });
        story
    }

    pub(crate) fn ended(mut self) -> Self {
        self.tell(EventKind::EnvironmentEnded { environment: environment(), end: end(true) });
        self.tell(EventKind::ServiceEnded { service: "api".to_owned(), end: end(true) });
        self.tell(EventKind::RunFinished);
        self
    }

    /// One request from its start to the last of its spans.
    pub(crate) fn healthy_request(&mut self, ids: Ids) {
        self.ledger_until_delivery(ids);
        self.tell_span(consumer(ids, 1));
        self.finish_request(ids);
    }

    /// Requests that are healthy in another environment.
    pub(crate) fn healthy_requests(&mut self, requests: std::ops::Range<u32>, environment: &EnvironmentId) {
        self.start_environment(environment);
        for ids in requests.map(Ids) {
            self.start_request(ids);
            self.send(ids, Some(ids.traceparent()));
            self.answer(ids, 202);
            self.thaw(environment);
            self.deliver_to(environment, ids, 1);
            self.tell_span(consumer_in(environment, ids, 1));
            self.succeed(ids, 1);
            self.freeze(environment, 0, 0);
            self.delete(ids);
            self.tell_span(server(ids));
            self.tell_span(producer(ids));
        }
    }

    /// What follows the first delivery's own span: the end of the ledger, and the API's spans.
    pub(crate) fn finish_request(&mut self, ids: Ids) {
        self.finish_delivery(ids, 1);
        self.delete(ids);
        self.tell_span(server(ids));
        self.tell_span(producer(ids));
    }

    pub(crate) fn ledger_until_delivery(&mut self, ids: Ids) {
        self.start_request(ids);
        self.send(ids, Some(ids.traceparent()));
        self.answer(ids, 202);
        self.deliver(ids, 1);
    }

    pub(crate) fn start_request(&mut self, ids: Ids) {
        let intended = self.now();
        self.tell(EventKind::RequestStarted { request: ids.request(), intended });
    }

    pub(crate) fn send(&mut self, ids: Ids, traceparent: Option<String>) {
        let carrier = Carrier { traceparent, ..Carrier::default() };
        let (queue, request) = ("onboarding".to_owned(), Some(ids.request()));
        self.tell(EventKind::MessageSent { queue, message: ids.message(), request, carrier });
    }

    pub(crate) fn answer(&mut self, ids: Ids, status: u16) {
        let accepted = status == 202;
        let trace_id = accepted.then(|| ids.trace());
        let outcome = RequestOutcome::Answered { status, accepted, trace_id };
        let intended = self.now();
        self.tell(EventKind::RequestFinished { request: ids.request(), intended, outcome });
    }

    pub(crate) fn deliver(&mut self, ids: Ids, delivery: u32) {
        let deliveries = vec![Delivery { message: ids.message(), receive_count: delivery }];
        let (invocation, cold) = (ids.invocation(delivery), false);
        self.tell(EventKind::InvocationStarted { invocation, environment: environment(), cold, deliveries });
    }

    pub(crate) fn finish_delivery(&mut self, ids: Ids, delivery: u32) {
        let outcome = InvocationOutcome::Succeeded { failed: Vec::new() };
        self.tell(EventKind::InvocationFinished { invocation: ids.invocation(delivery), outcome });
        self.tell(EventKind::EnvironmentFrozen { environment: environment(), open: OpenExchanges::default() });
    }

    /// Starts another environment.
    pub(crate) fn start_environment(&mut self, environment: &EnvironmentId) {
        let (environment, function) = (environment.clone(), "worker".to_owned());
        self.tell(EventKind::EnvironmentStarted { environment: environment.clone(), function, pid: 12 });
        let init = Duration::from_millis(9);
        self.tell(EventKind::EnvironmentInitialized { environment, init });
    }

    pub(crate) fn thaw(&mut self, environment: &EnvironmentId) {
        self.tell(EventKind::EnvironmentThawed { environment: environment.clone() });
    }

    pub(crate) fn freeze(&mut self, environment: &EnvironmentId, exports: u32, connections: u32) {
        let open = OpenExchanges { exports, connections };
        self.tell(EventKind::EnvironmentFrozen { environment: environment.clone(), open });
    }

    /// Delivers a message somewhere.
    pub(crate) fn deliver_to(&mut self, environment: &EnvironmentId, ids: Ids, delivery: u32) {
        let deliveries = vec![Delivery { message: ids.message(), receive_count: delivery }];
        let (invocation, environment) = (ids.invocation(delivery), environment.clone());
        self.tell(EventKind::InvocationStarted { invocation, environment, cold: false, deliveries });
    }

    pub(crate) fn finish_invocation(&mut self, ids: Ids, delivery: u32, outcome: InvocationOutcome) {
        self.tell(EventKind::InvocationFinished { invocation: ids.invocation(delivery), outcome });
    }

    /// The runtime answers and asks for the next invocation.
    pub(crate) fn succeed(&mut self, ids: Ids, delivery: u32) {
        self.finish_invocation(ids, delivery, InvocationOutcome::Succeeded { failed: Vec::new() });
    }

    /// The scenario orders a kill in the invocation of a delivery, or in none.
    pub(crate) fn order_kill(&mut self, environment: &EnvironmentId, invocation: Option<InvocationId>) {
        let environment = environment.clone();
        self.tell(EventKind::FaultInjected(Fault::EnvironmentKilled { environment, invocation }));
    }

    /// The process of an environment ends while it has a delivery.
    pub(crate) fn die(&mut self, environment: &EnvironmentId, ids: Ids, delivery: u32, ordered: bool) {
        self.finish_invocation(ids, delivery, InvocationOutcome::EnvironmentDied);
        let environment = environment.clone();
        self.tell(EventKind::EnvironmentEnded { environment, end: end(ordered) });
    }

    /// An environment is reset.
    pub(crate) fn reset(&mut self, environment: &EnvironmentId, reason: ResetReason, ordered: bool) {
        let environment = environment.clone();
        self.tell(EventKind::EnvironmentReset { environment, reason, end: end(ordered) });
    }

    /// A message is received, whoever gets it in the end.
    pub(crate) fn receive(&mut self, ids: Ids, receive_count: u32) {
        self.tell(EventKind::MessageReceived { message: ids.message(), receive_count });
    }

    pub(crate) fn give_back(&mut self, ids: Ids) {
        self.tell(EventKind::MessageReturned { message: ids.message() });
    }

    pub(crate) fn bury(&mut self, ids: Ids) {
        self.tell(EventKind::MessageDeadLettered { message: ids.message(), queue: "dead".to_owned() });
    }

    /// How many spans the scenario excuses.
    pub(crate) fn excusing(mut self, excused_at_most: u64) -> Self {
        if let EventKind::RunStarted(run) = &mut self.events[0].kind {
            run.excused_at_most = Some(excused_at_most);
        }
        self
    }

    /// With that much time between the end of a function's last span and its request for the next invocation.
    pub(crate) fn with_flush_budget(mut self, budget: Duration) -> Self {
        if let EventKind::RunStarted(run) = &mut self.events[0].kind {
            run.patience.flush_budget = budget;
        }
        self
    }

    /// With this contract.
    pub(crate) fn under(mut self, contract: TraceContract) -> Self {
        if let EventKind::RunStarted(run) = &mut self.events[0].kind {
            run.contract = contract;
        }
        self
    }

    pub(crate) fn delete(&mut self, ids: Ids) {
        self.tell(EventKind::MessageDeleted { message: ids.message() });
    }

    /// One span in an export of its own.
    pub(crate) fn tell_span(&mut self, span: (Peer, Span)) {
        self.tell_export(span, ExportAnswer::Stored);
    }

    /// One span that has just ended, in an export of its own.
    pub(crate) fn tell_fresh_span(&mut self, (peer, mut span): (Peer, Span)) {
        span.end = self.now();
        // What a function does begins in the invocation in which it ends.
        if matches!(peer, Peer::Environment(_)) {
            span.start = span.end - Duration::from_millis(1);
        }
        self.tell_span((peer, span));
    }

    pub(crate) fn tell_export(&mut self, (peer, span): (Peer, Span), answer: ExportAnswer) {
        self.tell_batch(peer, vec![span], answer);
    }

    /// Several spans in one export.
    pub(crate) fn tell_spans(&mut self, peer: Peer, spans: Vec<Span>) {
        self.tell_batch(peer, spans, ExportAnswer::Stored);
    }

    fn tell_batch(&mut self, peer: Peer, spans: Vec<Span>, answer: ExportAnswer) {
        let service = if matches!(peer, Peer::Environment(_)) { "worker" } else { "api" };
        let attributes = vec![Attribute { key: "service.name".to_owned(), value: service.to_owned() }];
        let resource_spans = vec![ResourceSpans { resource: Resource { attributes }, spans }];
        let export = self.events.len() as u64;
        let payload = Payload::of(&resource_spans);
        self.tell(EventKind::ExportAnswered(Box::new(Export { export, peer, answer, payload })));
    }

    /// Tells the next event, a millisecond after the last.
    pub(crate) fn tell(&mut self, kind: EventKind) {
        self.events.push(Event { at: self.now(), kind });
    }

    /// Lets what was told last have happened then.
    pub(crate) fn delay_last(&mut self, at: Timestamp) {
        self.events.last_mut().unwrap().at = at;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.events.last().map_or(START, |event| event.at + Duration::from_millis(1))
    }

    /// Lets time pass, with a tick every 100 ms.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            let at = self.now() + Duration::from_millis(99);
            self.events.push(Event { at, kind: EventKind::Ticked });
        }
    }

    /// Tells every exported span in another way, or not at all.
    pub(crate) fn with_spans(mut self, mut change: impl FnMut(Span) -> Option<Span>) -> Self {
        for event in &mut self.events {
            if let EventKind::ExportAnswered(export) = &mut event.kind {
                let mut resource_spans = export.payload.to_resource_spans();
                for batch in &mut resource_spans {
                    batch.spans = std::mem::take(&mut batch.spans).into_iter().filter_map(&mut change).collect();
                }
                export.payload = Payload::of(&resource_spans);
            }
        }
        self
    }

    pub(crate) fn judge(&self) -> Judgement {
        self.verifier().judgement()
    }

    /// The verifier, after it has been told everything.
    pub(crate) fn verifier(&self) -> Verifier {
        let mut verifier = Verifier::default();
        self.events.iter().for_each(|event| verifier.handle(event));
        verifier
    }
}

fn run_started() -> RunStarted {
    RunStarted {
        version: JOURNAL_VERSION,
        run: "story".to_owned(),
        tag: TAG,
        seed: 0,
        harness: "0".to_owned(),
        system: "story".to_owned(),
        entry: "api".to_owned(),
        scenario: "story".to_owned(),
        faults: Vec::new(),
        contract: contract(),
        correlation: Correlation { request: vec!["customer.id".to_owned()], ..Correlation::default() },
        patience: Patience::default(),
        excused_at_most: None,
    }
}

pub(crate) fn server(ids: Ids) -> (Peer, Span) {
    let span = span(ids, ids.server(), None, "POST /onboard", SpanKind::Server);
    (Peer::Service("api".to_owned()), span)
}

pub(crate) fn producer(ids: Ids) -> (Peer, Span) {
    let span = span(ids, ids.producer(), Some(ids.server()), "sqs.send", SpanKind::Producer);
    (Peer::Service("api".to_owned()), span)
}

pub(crate) fn consumer(ids: Ids, delivery: u32) -> (Peer, Span) {
    let span = span(ids, ids.consumer(delivery), Some(ids.producer()), "sqs.process", SpanKind::Consumer);
    (Peer::Environment(environment()), span)
}

pub(crate) fn consumer_in(environment: &EnvironmentId, ids: Ids, delivery: u32) -> (Peer, Span) {
    (Peer::Environment(environment.clone()), consumer(ids, delivery).1)
}

fn span(ids: Ids, span_id: SpanId, parent_span_id: Option<SpanId>, name: &str, kind: SpanKind) -> Span {
    Span {
        trace_id: ids.trace(),
        span_id,
        parent_span_id,
        name: name.to_owned(),
        kind,
        start: START,
        end: START + Duration::from_millis(1),
        status: SpanStatus::Unset,
        flags: 0,
        dropped: 0,
        attributes: vec![Attribute { key: "customer.id".to_owned(), value: ids.request().to_string() }],
        links: Vec::new(),
    }
}

/// What a story should come to: each finding's code, cause, subject and count, and nothing else.
#[track_caller]
pub(crate) fn assert_findings(story: &Story, expected: &[(FindingCode, Cause, &str, u64)]) -> Judgement {
    let judgement = story.judge();
    let found: Vec<_> =
        judgement.findings.iter().map(|found| (found.code, found.cause, found.subject.as_str(), found.count)).collect();
    assert_eq!(found, expected, "{judgement:#?}");
    for identity in &judgement.identities {
        assert!(identity.balances(), "{identity:?}");
    }
    assert_eq!(judgement.tally.traces.expected, judgement.tally.requests.accepted);
    judgement
}
