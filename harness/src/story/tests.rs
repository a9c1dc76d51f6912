//! Hand-made runs, and the stories that they must give.

use std::collections::BTreeMap;
use std::time::Duration;

use verifier::contract::{ForeignSpans, Per, SpanContract, StatusRule, TraceContract};
use verifier::event::{
    Carrier, Correlation, Delivery, Export, ExportAnswer, Fault, InvocationOutcome, JOURNAL_VERSION, OpenExchanges,
    Patience, Peer, ProcessEnd, RefusalKind, RequestOutcome, RunStarted,
};
use verifier::otlp::Payload;
use verifier::span::{Attribute, Resource, ResourceSpans, SpanLink, SpanStatus};
use verifier::{
    EnvironmentId, Event, EventKind, FindingCode, InvocationId, MessageId, RequestId, Span, SpanId, SpanKind,
    Timestamp, TraceId, Verdict,
};

use super::keys::Keys;
use super::model::{MatchedBy, What};
use super::read::Journal;
use super::{RequestQuery, Story, StoryError};

/// The tag of every run.
const TAG: u32 = 0x7f3a_9c2e;

/// An instant of the run, in microseconds since its beginning.
pub(crate) const fn at(micros: u64) -> Timestamp {
    Timestamp::from_unix_nanos(1_700_000_000_000_000_000 + micros * 1_000)
}

pub(crate) fn request(number: u32) -> RequestId {
    RequestId::new(TAG, number)
}

pub(crate) fn trace(number: u32) -> TraceId {
    format!("{:032x}", number + 1).parse().unwrap()
}

fn message(number: u32) -> MessageId {
    MessageId::new(format!("message-{number}"))
}

fn invocation(name: &str) -> InvocationId {
    InvocationId::new(name)
}

fn environment(name: &str) -> EnvironmentId {
    EnvironmentId::new(name)
}

fn span_id(number: u32, role: u32) -> SpanId {
    format!("{:08x}{role:08x}", number + 1).parse().unwrap()
}

fn attribute(key: &str, value: impl ToString) -> Attribute {
    Attribute { key: key.to_owned(), value: value.to_string() }
}

/// The server, producer and consumer spans of a request, healthy, from one instant to another.
pub(crate) fn server(number: u32, from: u64, to: u64) -> Span {
    let attributes = vec![attribute("customer.id", request(number))];
    Span { attributes, ..span(number, 1, SpanKind::Server, "POST /onboard", from, to) }
}

pub(crate) fn producer(number: u32, from: u64, to: u64) -> Span {
    Span { parent_span_id: Some(span_id(number, 1)), ..span(number, 2, SpanKind::Producer, "sqs.send", from, to) }
}

/// The consumer span of the nth delivery.
pub(crate) fn consumer(number: u32, delivery: u32, from: u64, to: u64) -> Span {
    Span {
        parent_span_id: Some(span_id(number, 2)),
        ..span(number, 2 + delivery, SpanKind::Consumer, "sqs.process", from, to)
    }
}

fn span(number: u32, role: u32, kind: SpanKind, name: &str, from: u64, to: u64) -> Span {
    Span {
        trace_id: trace(number),
        span_id: span_id(number, role),
        parent_span_id: None,
        name: name.to_owned(),
        kind,
        start: at(from),
        end: at(to),
        status: SpanStatus::Unset,
        flags: 0,
        dropped: 0,
        attributes: Vec::new(),
        links: Vec::new(),
    }
}

fn contract() -> TraceContract {
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
        name: "tale".to_owned(),
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

fn run_started() -> RunStarted {
    let names = |name: &str| vec![name.to_owned()];
    RunStarted {
        version: JOURNAL_VERSION,
        run: "tale".to_owned(),
        tag: TAG,
        seed: 7,
        harness: "0.1.0".to_owned(),
        system: "onboarding".to_owned(),
        entry: "api".to_owned(),
        scenario: "soak".to_owned(),
        faults: Vec::new(),
        contract: contract(),
        correlation: Correlation {
            request: names("customer.id"),
            message: names("messaging.message.id"),
            invocation: names("faas.invocation_id"),
        },
        patience: Patience::default(),
        excused_at_most: None,
    }
}

/// A run that is told event by event.
#[derive(Debug, Clone)]
pub(crate) struct Tale {
    pub(crate) events: Vec<Event>,
    exports: u64,
}

impl Tale {
    pub(crate) fn begun() -> Self {
        let mut tale = Self { events: Vec::new(), exports: 0 };
        tale.tell(0, EventKind::RunStarted(Box::new(run_started())));
        tale.tell(0, EventKind::ServiceStarted { service: "api".to_owned(), pid: 10 });
        tale.tell(0, EventKind::LoadStarted { scheduled: 2, rate: 1.0 });
        tale
    }

    pub(crate) fn tell(&mut self, micros: u64, kind: EventKind) {
        self.events.push(Event { at: at(micros), kind });
    }

    pub(crate) fn send(&mut self, micros: u64, number: u32) {
        let intended = at(micros);
        self.tell(micros, EventKind::RequestStarted { request: request(number), intended });
    }

    pub(crate) fn queue(&mut self, micros: u64, number: u32) {
        let traceparent = Some(format!("00-{}-{}-01", trace(number), span_id(number, 2)));
        self.queue_as(micros, number, Some(request(number)), traceparent);
    }

    fn queue_as(&mut self, micros: u64, number: u32, request: Option<RequestId>, traceparent: Option<String>) {
        let carrier = Carrier { traceparent, ..Carrier::default() };
        let queue = "onboarding".to_owned();
        self.tell(micros, EventKind::MessageSent { queue, message: message(number), request, carrier });
    }

    pub(crate) fn answer(&mut self, micros: u64, number: u32) {
        let outcome = RequestOutcome::Answered { status: 202, accepted: true, trace_id: None };
        self.tell(micros, EventKind::RequestFinished { request: request(number), intended: at(micros), outcome });
    }

    pub(crate) fn receive(&mut self, micros: u64, number: u32, receive_count: u32) {
        self.tell(micros, EventKind::MessageReceived { message: message(number), receive_count });
    }

    pub(crate) fn start_environment(&mut self, micros: u64, name: &str) {
        let function = "worker".to_owned();
        self.tell(micros, EventKind::EnvironmentStarted { environment: environment(name), function, pid: 11 });
        let init = Duration::from_millis(9);
        self.tell(micros + 9_000, EventKind::EnvironmentInitialized { environment: environment(name), init });
    }

    pub(crate) fn thaw(&mut self, micros: u64, name: &str) {
        self.tell(micros, EventKind::EnvironmentThawed { environment: environment(name) });
    }

    pub(crate) fn freeze(&mut self, micros: u64, name: &str) {
        let open = OpenExchanges::default();
        self.tell(micros, EventKind::EnvironmentFrozen { environment: environment(name), open });
    }

    pub(crate) fn invoke(&mut self, micros: u64, name: &str, in_environment: &str, records: &[(u32, u32)]) {
        let delivery = |&(number, receive_count): &(u32, u32)| Delivery { message: message(number), receive_count };
        self.tell(
            micros,
            EventKind::InvocationStarted {
                invocation: invocation(name),
                environment: environment(in_environment),
                cold: false,
                deliveries: records.iter().map(delivery).collect(),
            },
        );
    }

    pub(crate) fn succeed(&mut self, micros: u64, name: &str) {
        self.finish_invocation(micros, name, InvocationOutcome::Succeeded { failed: Vec::new() });
    }

    fn finish_invocation(&mut self, micros: u64, name: &str, outcome: InvocationOutcome) {
        self.tell(micros, EventKind::InvocationFinished { invocation: invocation(name), outcome });
    }

    pub(crate) fn delete(&mut self, micros: u64, number: u32) {
        self.tell(micros, EventKind::MessageDeleted { message: message(number) });
    }

    pub(crate) fn export_from_api(&mut self, micros: u64, spans: Vec<Span>) {
        self.export(micros, Peer::Service("api".to_owned()), "api", ExportAnswer::Stored, spans);
    }

    pub(crate) fn export_from(&mut self, micros: u64, name: &str, spans: Vec<Span>) {
        self.export(micros, Peer::Environment(environment(name)), "worker", ExportAnswer::Stored, spans);
    }

    fn export(&mut self, micros: u64, peer: Peer, service: &str, answer: ExportAnswer, spans: Vec<Span>) {
        let resource = Resource { attributes: vec![attribute("service.name", service)] };
        let payload = Payload::of(&[ResourceSpans { resource, spans }]);
        let export = Export { export: self.exports, peer, answer, payload };
        self.exports += 1;
        self.tell(micros, EventKind::ExportAnswered(Box::new(export)));
    }

    /// A request that is accepted at 4 ms after its start and whose message is queued at 2 ms; the API's spans
    /// come at 90 ms.
    pub(crate) fn accept(&mut self, micros: u64, number: u32) {
        self.send(micros, number);
        self.queue(micros + 2_000, number);
        self.answer(micros + 4_000, number);
    }

    pub(crate) fn export_of_accepted(&mut self, micros: u64, began: u64, number: u32) {
        let spans = vec![producer(number, began + 1_500, began + 2_500), server(number, began + 1_000, began + 3_000)];
        self.export_from_api(micros, spans);
    }

    /// Another request, in an environment that is frozen, from its thaw to its freeze: 6 ms in all.
    pub(crate) fn other_request(&mut self, micros: u64, number: u32, name: &str) {
        self.accept(micros, number);
        let invocation = format!("invocation-{number}");
        self.receive(micros + 4_100, number, 1);
        self.thaw(micros + 4_200, name);
        self.invoke(micros + 4_300, &invocation, name, &[(number, 1)]);
        self.export_from(micros + 4_800, name, vec![consumer(number, 1, micros + 4_400, micros + 4_700)]);
        self.succeed(micros + 5_000, &invocation);
        self.freeze(micros + 5_100, name);
        self.delete(micros + 5_200, number);
        self.export_of_accepted(micros + 6_000, micros, number);
    }

    pub(crate) fn ended(mut self, micros: u64) -> Self {
        let end = ProcessEnd { code: Some(0), signal: None, ordered: true, output: Vec::new() };
        self.tell(micros, EventKind::ServiceStopping { service: "api".to_owned() });
        self.tell(micros + 1_000, EventKind::ServiceEnded { service: "api".to_owned(), end });
        self.tell(micros + 2_000, EventKind::RunFinished);
        self
    }

    pub(crate) fn story(&self, number: u32) -> Story {
        self.story_of(RequestQuery::Number(number)).unwrap()
    }

    fn story_of(&self, query: RequestQuery) -> Result<Story, StoryError> {
        let open = || Ok(self.events.clone().into_iter().map(Ok));
        Journal { open }.tell(query)
    }
}

/// The rows of the ledger that a story has, as the names of their kinds.
fn ledger(story: &Story) -> Vec<String> {
    let name = |kind: &EventKind| match serde_json::to_value(kind).unwrap() {
        serde_json::Value::Object(object) => object.keys().next().unwrap().clone(),
        other => other.to_string(),
    };
    let rows = story.rows.iter().filter_map(|row| match &row.what {
        What::Ledger(kind) => Some(name(kind)),
        _ => None,
    });
    rows.collect()
}

/// The exports of a story: how many spans of the request each holds, and how many others.
fn exports(story: &Story) -> Vec<(usize, usize)> {
    let rows = story.rows.iter().filter_map(|row| match &row.what {
        What::Exported(export) => Some((export.spans.len(), export.others)),
        _ => None,
    });
    rows.collect()
}

fn names(story: &Story) -> Vec<(usize, &str)> {
    story.spans.iter().map(|span| (span.depth, span.span.name.as_str())).collect()
}

#[test]
fn story_has_each_row_of_its_request_once_and_in_order() {
    let mut tale = Tale::begun();
    tale.start_environment(1_000, "worker-1");
    tale.freeze(11_000, "worker-1");
    tale.other_request(20_000, 0, "worker-1");
    tale.accept(30_000, 1);
    tale.receive(34_100, 1, 1);
    tale.thaw(34_200, "worker-1");
    tale.invoke(34_300, "own", "worker-1", &[(1, 1)]);
    tale.export_from(34_800, "worker-1", vec![consumer(1, 1, 34_400, 34_700)]);
    tale.succeed(35_000, "own");
    tale.freeze(35_100, "worker-1");
    tale.delete(35_200, 1);
    tale.export_of_accepted(36_000, 30_000, 1);
    tale.other_request(40_000, 2, "worker-1");
    let story = tale.ended(60_000).story(1);
    assert_eq!(
        ledger(&story),
        [
            "request_started",
            "message_sent",
            "request_finished",
            "message_received",
            "environment_thawed",
            "invocation_started",
            "invocation_finished",
            "environment_frozen",
            "message_deleted",
        ]
    );
    assert!(story.rows.is_sorted_by_key(|row| row.at));
    assert_eq!(exports(&story), [(1, 0), (2, 0)]);
    assert_eq!(names(&story), [(0, "POST /onboard"), (1, "sqs.send"), (2, "sqs.process")]);
    assert_eq!(story.began, at(30_000));
    assert_eq!((story.judged.verdict(), story.judged.cases.len()), (Verdict::Pass, 0));
    assert_eq!(story.absent, []);
}

#[test]
fn cold_start_belongs_to_the_story_of_its_first_invocation_alone() {
    let mut tale = Tale::begun();
    tale.accept(0, 0);
    tale.start_environment(5_000, "worker-1");
    tale.receive(4_100, 0, 1);
    tale.invoke(14_300, "first", "worker-1", &[(0, 1)]);
    tale.export_from(14_800, "worker-1", vec![consumer(0, 1, 14_400, 14_700)]);
    tale.succeed(15_000, "first");
    tale.freeze(15_100, "worker-1");
    tale.delete(15_200, 0);
    tale.export_of_accepted(16_000, 0, 0);
    tale.other_request(20_000, 1, "worker-1");
    let tale = tale.ended(60_000);
    let has_start = |number| ledger(&tale.story(number)).contains(&"environment_started".to_owned());
    assert!(has_start(0));
    assert!(!has_start(1));
}

/// Two requests whose messages are delivered together, to the invocation `batch`.
fn batch_of_two(consumers: Vec<Span>) -> Tale {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.accept(20_000, 0);
    tale.accept(20_000, 1);
    tale.receive(24_100, 0, 1);
    tale.receive(24_100, 1, 1);
    tale.invoke(24_300, "batch", "worker-1", &[(0, 1), (1, 1)]);
    tale.export_from(24_800, "worker-1", consumers);
    tale.succeed(25_000, "batch");
    tale.freeze(25_100, "worker-1");
    tale.delete(25_200, 0);
    tale.delete(25_200, 1);
    let of = |number| [producer(number, 21_500, 22_500), server(number, 21_000, 23_000)];
    tale.export_from_api(26_000, [of(0), of(1)].concat());
    tale.ended(60_000)
}

#[test]
fn batch_shows_only_the_records_of_its_request() {
    let of_record = |number| {
        let ids = [("faas.invocation_id", "batch".to_owned()), ("messaging.message.id", message(number).to_string())];
        let attributes = ids.map(|(key, value)| attribute(key, value)).to_vec();
        Span { attributes, ..consumer(number, 1, 24_400, 24_700) }
    };
    let tale = batch_of_two(vec![of_record(0), of_record(1)]);
    for number in [0, 1] {
        let story = tale.story(number);
        assert_eq!(exports(&story), [(1, 1), (2, 2)]);
        assert!(story.spans.iter().all(|span| span.span.trace_id == trace(number)), "{:?}", story.spans);
        let messages = ledger(&story).iter().filter(|kind| kind.starts_with("message_")).count();
        assert_eq!(messages, 3, "sent, received and deleted, of one message");
    }
}

#[test]
fn record_of_another_request_is_told_by_its_trace_where_it_names_no_message() {
    let of_record = |number| Span {
        attributes: vec![attribute("faas.invocation_id", "batch")],
        ..consumer(number, 1, 24_400, 24_700)
    };
    let story = batch_of_two(vec![of_record(0), of_record(1)]).story(1);
    assert_eq!(exports(&story), [(1, 1), (2, 2)]);
    assert_eq!(story.traces(), [trace(1)]);
}

#[test]
fn span_for_a_whole_batch_is_shown_by_its_link_without_the_records_of_others() {
    let link = |number| SpanLink { trace_id: trace(number), span_id: span_id(number, 2) };
    let batch = Span { links: vec![link(0), link(1)], ..span(77, 1, SpanKind::Consumer, "batch", 24_310, 24_790) };
    let record = |number, role| Span {
        parent_span_id: Some(batch.span_id),
        attributes: vec![attribute("messaging.message.id", message(number))],
        ..span(77, role, SpanKind::Internal, "record", 24_400, 24_700)
    };
    let shared =
        Span { parent_span_id: Some(batch.span_id), ..span(77, 4, SpanKind::Internal, "parse", 24_320, 24_330) };
    let (own, others) = (record(0, 2), record(1, 3));
    let story = batch_of_two(vec![shared, own.clone(), others.clone(), batch]).story(0);
    let shown: Vec<_> = story.spans.iter().map(|span| span.span.span_id).collect();
    assert!(shown.contains(&own.span_id) && !shown.contains(&others.span_id));
    assert_eq!(names(&story), [(0, "POST /onboard"), (1, "sqs.send"), (0, "batch"), (1, "parse"), (1, "record")]);
}

#[test]
fn redelivery_in_another_environment_shows_both_and_nothing_of_what_they_did_in_between() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.freeze(10_000, "worker-1");
    tale.accept(20_000, 1);
    tale.receive(24_100, 1, 1);
    tale.thaw(24_200, "worker-1");
    tale.invoke(24_300, "one", "worker-1", &[(1, 1)]);
    tale.export_from(24_800, "worker-1", vec![consumer(1, 1, 24_400, 24_700)]);
    let (error_type, error_message) = ("Boom".to_owned(), "no".to_owned());
    tale.finish_invocation(25_000, "one", InvocationOutcome::Failed { error_type, error_message });
    tale.freeze(25_100, "worker-1");
    tale.export_of_accepted(26_000, 20_000, 1);
    tale.other_request(30_000, 2, "worker-1");
    tale.tell(6_024_100, EventKind::MessageReturned { message: message(1) });
    tale.receive(6_024_200, 1, 2);
    tale.start_environment(6_024_300, "worker-2");
    tale.invoke(6_034_300, "two", "worker-2", &[(1, 2)]);
    tale.export_from(6_034_800, "worker-2", vec![consumer(1, 2, 6_034_400, 6_034_700)]);
    tale.succeed(6_035_000, "two");
    tale.freeze(6_035_100, "worker-2");
    tale.delete(6_035_200, 1);
    let story = tale.ended(6_100_000).story(1);
    let count = |name: &str| ledger(&story).iter().filter(|kind| *kind == name).count();
    assert_eq!((count("invocation_started"), count("invocation_finished")), (2, 2));
    assert_eq!((count("environment_thawed"), count("environment_started"), count("environment_frozen")), (1, 1, 2));
    assert_eq!(names(&story)[2..], [(2, "sqs.process"), (2, "sqs.process")]);
    assert_eq!(story.judged.verdict(), Verdict::Pass);
}

/// The consumer's span comes only when the environment is thawed for another request.
pub(crate) fn late_by_thaw() -> Tale {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.freeze(10_000, "worker-1");
    tale.accept(20_000, 1);
    tale.receive(24_100, 1, 1);
    tale.thaw(24_200, "worker-1");
    tale.invoke(24_300, "own", "worker-1", &[(1, 1)]);
    tale.succeed(25_000, "own");
    tale.freeze(25_100, "worker-1");
    tale.delete(25_200, 1);
    tale.export_of_accepted(26_000, 20_000, 1);
    tale.accept(1_230_000, 2);
    tale.receive(1_234_100, 2, 1);
    tale.thaw(1_234_200, "worker-1");
    tale.invoke(1_234_300, "other", "worker-1", &[(2, 1)]);
    let spans = vec![consumer(1, 1, 24_400, 24_700), consumer(2, 1, 1_234_400, 1_234_700)];
    tale.export_from(1_234_800, "worker-1", spans);
    tale.succeed(1_235_000, "other");
    tale.freeze(1_235_100, "worker-1");
    tale.delete(1_235_200, 2);
    tale.export_of_accepted(1_236_000, 1_230_000, 2);
    tale.ended(1_300_000)
}

#[test]
fn late_span_shows_the_thaw_that_let_it_out_and_not_what_that_was_for() {
    let story = late_by_thaw().story(1);
    let environment: Vec<_> = ledger(&story).into_iter().filter(|kind| kind.starts_with("environment_")).collect();
    assert_eq!(environment, ["environment_thawed", "environment_frozen", "environment_thawed"]);
    assert_eq!(ledger(&story).iter().filter(|kind| *kind == "invocation_started").count(), 1);
    assert_eq!(exports(&story), [(2, 0), (1, 1)]);
    assert_eq!(story.spans[2].codes, [FindingCode::LateByThaw]);
    assert_eq!(story.judged.verdict(), Verdict::Fail);
}

#[test]
fn late_span_is_kept_although_its_request_was_judged_without_it() {
    let mut tale = late_by_thaw();
    // Time passes before the second thaw: the request is settled, its span missing.
    let place = tale.events.iter().position(|event| event.at >= at(1_230_000)).unwrap();
    for event in &mut tale.events[place..] {
        event.at = event.at + Duration::from_secs(30);
    }
    tale.events.insert(place, Event { at: at(25_000_000), kind: EventKind::Ticked });
    let story = tale.story(1);
    assert_eq!(names(&story)[2], (2, "sqs.process"));
    assert_eq!(story.judged.absent.len(), 1, "it was missing when the request was judged");
    assert_eq!(story.absent, [], "and has come since");
    let codes: Vec<_> = story.judged.cases.iter().map(|case| case.code).collect();
    assert_eq!(codes, [FindingCode::LateByThaw], "what was found before is taken back");
    assert_eq!(story.spans[2].codes, [FindingCode::LateByThaw]);
}

/// The scenario kills the environment in the middle of the invocation; the message comes again.
pub(crate) fn killed() -> Tale {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.freeze(10_000, "worker-1");
    tale.accept(20_000, 1);
    tale.receive(24_100, 1, 1);
    tale.thaw(24_200, "worker-1");
    tale.invoke(24_300, "one", "worker-1", &[(1, 1)]);
    let invocation = Some(invocation("one"));
    let kill = Fault::EnvironmentKilled { environment: environment("worker-1"), invocation };
    tale.tell(24_500, EventKind::FaultInjected(kill));
    tale.finish_invocation(24_600, "one", InvocationOutcome::EnvironmentDied);
    let end = ProcessEnd { code: None, signal: Some(9), ordered: true, output: Vec::new() };
    tale.tell(24_610, EventKind::EnvironmentEnded { environment: environment("worker-1"), end });
    tale.export_of_accepted(26_000, 20_000, 1);
    tale.start_environment(6_000_000, "worker-2");
    tale.freeze(6_010_000, "worker-2");
    tale.tell(6_024_100, EventKind::MessageReturned { message: message(1) });
    tale.receive(6_024_150, 1, 2);
    tale.thaw(6_024_200, "worker-2");
    tale.invoke(6_024_300, "two", "worker-2", &[(1, 2)]);
    tale.export_from(6_024_800, "worker-2", vec![consumer(1, 2, 6_024_400, 6_024_700)]);
    tale.succeed(6_025_000, "two");
    tale.freeze(6_025_100, "worker-2");
    tale.delete(6_025_200, 1);
    tale.ended(6_100_000)
}

#[test]
fn kill_is_told_with_its_end_and_the_span_that_it_took_is_excused() {
    let story = killed().story(1);
    let rows = ledger(&story);
    let kill = rows.iter().position(|kind| kind == "fault_injected").unwrap();
    assert_eq!(rows[kill + 1..kill + 3], ["invocation_finished", "environment_ended"]);
    let absent: Vec<_> = story.absent.iter().map(|absent| (absent.name.as_str(), absent.excused)).collect();
    assert_eq!(absent, [("sqs.process", true)]);
    assert_eq!(story.absent[0].environment, Some(environment("worker-1")));
    assert_eq!(story.judged.verdict(), Verdict::Pass);
}

#[test]
fn span_in_another_trace_is_tied_by_the_request_id_alone() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.accept(20_000, 1);
    tale.tell(22_001, EventKind::FaultInjected(Fault::ContextStripped { message: message(1) }));
    tale.receive(24_100, 1, 1);
    tale.invoke(24_300, "own", "worker-1", &[(1, 1)]);
    let attributes = vec![attribute("customer.id", format!("customer-{}", request(1)))];
    let root = Span { trace_id: trace(99), parent_span_id: None, attributes, ..consumer(1, 1, 24_400, 24_700) };
    let sibling = Span { trace_id: trace(99), ..span(98, 1, SpanKind::Client, "GET /crm", 24_500, 24_600) };
    tale.export_from(24_800, "worker-1", vec![root.clone(), sibling.clone()]);
    tale.succeed(25_000, "own");
    tale.freeze(25_100, "worker-1");
    tale.delete(25_200, 1);
    tale.export_of_accepted(26_000, 20_000, 1);
    let tale = tale.ended(60_000);

    // The keys alone, without what the verifier has found.
    let mut keys = Keys::new(request(1));
    tale.events.iter().for_each(|event| keys.learn(event));
    assert_eq!(keys.tie(&root), Some(MatchedBy::RequestId));
    assert_eq!(keys.tie(&sibling), Some(MatchedBy::TraceId), "what is only in the same trace is shown, too");
    assert_eq!(keys.tie(&consumer(2, 1, 0, 0)), None);

    let story = tale.story(1);
    assert_eq!(story.traces(), [trace(1), trace(99)]);
    assert_eq!(story.spans.len(), 4);
    let sent = story
        .rows
        .iter()
        .find(|row| matches!(&row.what, What::Ledger(kind) if matches!(**kind, EventKind::MessageSent { .. })));
    assert_eq!(sent.unwrap().codes, [FindingCode::CarrierMissing]);
    let of_root = story.spans.iter().find(|span| span.span.span_id == root.span_id).unwrap();
    assert_eq!(of_root.codes, [FindingCode::TraceFragmented]);
    assert_eq!(story.judged.verdict(), Verdict::Fail);
}

#[test]
fn message_is_found_by_its_trace_although_only_a_later_span_tells_whose_that_is() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.send(20_000, 1);
    tale.queue_as(22_000, 1, None, Some(format!("00-{}-{}-01", trace(1), span_id(1, 2))));
    tale.answer(24_000, 1);
    tale.receive(24_100, 1, 1);
    tale.invoke(24_300, "own", "worker-1", &[(1, 1)]);
    tale.export_from(24_800, "worker-1", vec![consumer(1, 1, 24_400, 24_700)]);
    tale.succeed(25_000, "own");
    tale.freeze(25_100, "worker-1");
    tale.delete(25_200, 1);
    // This one names the request.
    tale.export_of_accepted(26_000, 20_000, 1);
    let story = tale.ended(60_000).story(1);
    let count = |prefix: &str| ledger(&story).iter().filter(|kind| kind.starts_with(prefix)).count();
    assert_eq!((count("message_"), count("invocation_"), count("environment_")), (3, 2, 3));
    assert_eq!(story.spans.len(), 3);
}

#[test]
fn spans_of_other_requests_in_the_same_trace_are_shown_up_to_a_limit() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 1, "worker-1");
    let of_others = |number| Span { trace_id: trace(1), ..server(number, 21_000, 23_000) };
    tale.export_from_api(30_000, (100..200).map(of_others).collect());
    let story = tale.ended(60_000).story(1);
    let others = story.spans.iter().filter(|span| matches!(span.matched_by, MatchedBy::OtherRequest(_))).count();
    assert_eq!((others, story.spans.len(), story.left_out.spans), (20, 23, 80));
}

#[test]
fn span_that_came_twice_is_one_span_with_two_receipts() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 1, "worker-1");
    tale.export_from_api(30_000, vec![server(1, 21_000, 23_000)]);
    let story = tale.ended(60_000).story(1);
    assert_eq!(names(&story).len(), 3);
    assert_eq!(story.spans[0].receipts.iter().map(|receipt| receipt.export).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(story.spans[0].codes, [FindingCode::SpanDuplicated]);
    assert_eq!(story.judged.verdict(), Verdict::Pass, "a warning fails nobody");
}

#[test]
fn spans_that_are_each_others_parents_are_all_shown() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 1, "worker-1");
    let one = Span { parent_span_id: Some(span_id(50, 2)), ..span(1, 8, SpanKind::Internal, "one", 1, 2) };
    let one = Span { span_id: span_id(50, 1), ..one };
    let two = Span { span_id: span_id(50, 2), parent_span_id: Some(span_id(50, 1)), ..one.clone() };
    let own = Span { span_id: span_id(50, 3), parent_span_id: Some(span_id(50, 3)), ..one.clone() };
    tale.export_from_api(30_000, vec![one, two, own]);
    assert_eq!(tale.ended(60_000).story(1).spans.len(), 6);
}

#[test]
fn missing_span_is_absent_and_the_stop_of_its_service_is_told() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 1, "worker-1");
    let no_server = |event: &Event| match &event.kind {
        EventKind::ExportAnswered(export) => export.peer != Peer::Service("api".to_owned()),
        _ => true,
    };
    tale.events.retain(no_server);
    let story = tale.ended(60_000).story(1);
    let absent: Vec<_> = story.absent.iter().map(|absent| absent.role.as_str()).collect();
    assert_eq!(absent, ["server", "producer"]);
    assert_eq!(story.absent[0].codes, [FindingCode::SpanMissing]);
    assert_eq!(ledger(&story)[ledger(&story).len() - 2..], ["service_stopping", "service_ended"]);
    assert_eq!(story.judged.verdict(), Verdict::Fail);
}

#[test]
fn refused_exports_are_told_with_their_spans_and_what_the_endpoint_could_not_read_by_its_time() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    let refused = |why: &str| {
        let (peer, refusal) = (Peer::Service("api".to_owned()), RefusalKind::TooLarge);
        EventKind::ExportRefused { peer, refusal, why: why.to_owned() }
    };
    tale.tell(19_000, refused("before"));
    tale.other_request(20_000, 1, "worker-1");
    tale.tell(24_500, refused("within"));
    tale.export(
        27_000,
        Peer::Service("api".to_owned()),
        "api",
        ExportAnswer::Unauthenticated,
        vec![server(1, 21_000, 23_000)],
    );
    tale.tell(28_000, refused("after"));
    tale.events.sort_by_key(|event| event.at);
    let story = tale.ended(60_000).story(1);
    let whys = story.rows.iter().filter_map(|row| match &row.what {
        What::Ledger(kind) => match &**kind {
            EventKind::ExportRefused { why, .. } => Some(why.as_str()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(whys.collect::<Vec<_>>(), ["within"]);
    let refused = story.rows.iter().find(|row| row.codes == [FindingCode::ExportUnauthenticated]).unwrap();
    assert!(matches!(&refused.what, What::Exported(export) if export.answer == ExportAnswer::Unauthenticated));
}

#[test]
fn request_is_found_by_any_of_its_names() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 0, "worker-1");
    tale.other_request(30_000, 1, "worker-1");
    let tale = tale.ended(60_000);
    for query in [RequestQuery::Id(request(1)), RequestQuery::Number(1), RequestQuery::Trace(trace(1))] {
        assert_eq!(tale.story_of(query).unwrap().request, request(1), "{query}");
    }
    for query in [RequestQuery::Id(request(2)), RequestQuery::Number(2), RequestQuery::Trace(trace(2))] {
        let error = tale.story_of(query).unwrap_err().to_string();
        let holds = "it holds 2 requests, from 7f3a9c2e-00000000 to 7f3a9c2e-00000001";
        assert!(error.starts_with(&format!("no {query} is in this journal: {holds}")), "{error}");
    }
}

#[test]
fn recording_without_a_ledger_is_said_to_have_none() {
    let mut tale = Tale::begun();
    tale.export_from_api(1_000, vec![server(0, 100, 200)]);
    let error = tale.story_of(RequestQuery::Number(0)).unwrap_err();
    assert!(matches!(error, StoryError::NoLedger));
    let empty = Tale { events: Vec::new(), exports: 0 };
    assert!(matches!(empty.story_of(RequestQuery::Number(0)), Err(StoryError::NoLedger)));
}

#[test]
fn request_that_was_not_over_when_the_journal_was_cut_off_proves_nothing() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.accept(20_000, 1);
    let story = tale.story(1);
    assert_eq!((story.judged.verdict(), story.judged.settled), (Verdict::Inconclusive, false));
}

#[test]
fn span_that_a_partial_success_rejects_is_marked_until_it_is_stored_after_all() {
    let mut tale = Tale::begun();
    tale.start_environment(0, "worker-1");
    tale.other_request(20_000, 1, "worker-1");
    let partial = ExportAnswer::PartialSuccess { rejected: vec![1] };
    let spans = vec![server(2, 1, 2), Span { span_id: span_id(1, 9), ..server(1, 21_000, 23_000) }];
    let api = || Peer::Service("api".to_owned());
    tale.export(27_000, api(), "api", partial, spans.clone());
    let codes = |tale: &Tale| {
        let story = tale.clone().ended(60_000).story(1);
        story.rows.iter().flat_map(|row| row.codes.clone()).filter(|code| *code == FindingCode::ExportRejected).count()
    };
    assert_eq!(codes(&tale), 1);
    tale.export(28_000, api(), "api", ExportAnswer::Stored, spans);
    assert_eq!(codes(&tale), 0);
}
