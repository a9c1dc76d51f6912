//! The contracts that are shipped, in the verifier: what they describe passes, and what they ask for is missed.

#[path = "../verifier/tests/story/mod.rs"]
mod story;

use std::path::Path;

use story::{Ids, Story, assert_findings, environment, producer, server, span_id, trace_id};
use verifier::contract::{SpanContract, TraceContract, ValueRule};
use verifier::event::{Correlation, Delivery, InvocationOutcome};
use verifier::finding::Cause;
use verifier::span::{Attribute, SpanLink};
use verifier::{EventKind, FindingCode, Peer, Span, SpanKind};

/// The requests of a story. A batch holds the messages of both.
const IDS: [Ids; 2] = [Ids(0), Ids(1)];

/// A shipped contract for the services of stories, `api` and `worker`.
fn shipped(name: &str) -> TraceContract {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/contracts").join(name);
    let mut contract = harness::contract::read(&file).unwrap_or_else(|error| panic!("{error}"));
    for span in contract.spans.values_mut() {
        span.service = span.service.replace("my-", "");
    }
    contract
}

/// A run under a contract that looks for identities where manifests look if they say nothing.
fn begun(contract: TraceContract) -> Story {
    let mut story = Story::begun(2).under(contract);
    if let EventKind::RunStarted(run) = &mut story.events[0].kind {
        let list = |name: &str| vec![name.to_owned()];
        let (request, message, invocation) = (Vec::new(), list("messaging.message.id"), list("faas.invocation_id"));
        run.correlation = Correlation { request, message, invocation };
    }
    story
}

/// A span that says what its contract asks for.
fn fitting(contract: &SpanContract, ids: Ids, span: Span) -> Span {
    let attribute = |(key, rule): (&String, &ValueRule)| {
        let value = match (key.as_str(), rule) {
            ("messaging.message.id", _) => ids.message().to_string(),
            ("faas.invocation_id", _) => ids.invocation(1).to_string(),
            ("messaging.batch.message_count", _) => IDS.len().to_string(),
            (_, ValueRule::Exact(text)) => text.clone(),
            (_, ValueRule::Present) => "jobs".to_owned(),
            (key, ValueRule::Pattern(pattern)) => panic!("what fits {pattern} for {key}?"),
        };
        Attribute { key: key.clone(), value }
    };
    Span {
        name: contract.name.as_str().replace(".*", "jobs"),
        kind: contract.kind,
        attributes: contract.attributes.iter().map(attribute).collect(),
        ..span
    }
}

fn link_to_message(ids: Ids) -> SpanLink {
    SpanLink { trace_id: ids.trace(), span_id: ids.producer() }
}

/// What the API does for each request.
fn tell_requests(story: &mut Story, contract: &TraceContract) {
    for ids in IDS {
        story.start_request(ids);
        story.send(ids, Some(ids.traceparent()));
        story.answer(ids, 202);
        for (role, (peer, span)) in [("server", server(ids)), ("send", producer(ids))] {
            story.tell_span((peer, fitting(&contract.spans[role], ids, span)));
        }
    }
}

/// The span that is the worker's number `number` for a request, in a trace of the worker's own.
fn of_worker(ids: Ids, trace: u32, number: u32, parent: Option<u32>) -> Span {
    let parent_span_id = parent.map(|parent| span_id(trace, parent));
    Span { trace_id: trace_id(trace), span_id: span_id(trace, number), parent_span_id, ..server(ids).1 }
}

/// A run in which consumers are roots that link to their producers.
fn linked(change: impl Fn(&mut Span)) -> Story {
    let contract = shipped("messaging-links.toml");
    let mut story = begun(contract.clone());
    tell_requests(&mut story, &contract);
    for ids in IDS {
        story.thaw(&environment());
        story.deliver(ids, 1);
        let trace = 100 + ids.0;
        let mut process = fitting(&contract.spans["process"], ids, of_worker(ids, trace, 1, None));
        process.links.push(link_to_message(ids));
        let work = fitting(&contract.spans["work"], ids, of_worker(ids, trace, 2, Some(1)));
        let mut spans = vec![work, process];
        spans.iter_mut().for_each(&change);
        story.tell_spans(Peer::Environment(environment()), spans);
        story.finish_delivery(ids, 1);
        story.delete(ids);
    }
    story.ended()
}

/// A run in which one invocation is given the messages of all requests.
fn batched(change: impl Fn(&mut Span)) -> Story {
    let contract = shipped("batch.toml");
    let mut story = begun(contract.clone());
    tell_requests(&mut story, &contract);
    let (invocation, first) = (IDS[0].invocation(1), IDS[0]);
    let deliveries = IDS.map(|ids| Delivery { message: ids.message(), receive_count: 1 }).to_vec();
    story.thaw(&environment());
    story.tell(EventKind::InvocationStarted {
        invocation: invocation.clone(),
        environment: environment(),
        cold: false,
        deliveries,
    });
    let mut batch = fitting(&contract.spans["batch"], first, of_worker(first, 100, 1, None));
    batch.links.extend(IDS.map(link_to_message));
    let record = |ids: Ids| {
        let mut record = fitting(&contract.spans["record"], ids, of_worker(ids, 100, 2 + ids.0, Some(1)));
        record.links.push(link_to_message(ids));
        record
    };
    let mut spans: Vec<_> = IDS.map(record).into_iter().chain([batch]).collect();
    spans.iter_mut().for_each(change);
    story.tell_spans(Peer::Environment(environment()), spans);
    let outcome = InvocationOutcome::Succeeded { failed: Vec::new() };
    story.tell(EventKind::InvocationFinished { invocation, outcome });
    story.freeze(&environment(), 0, 0);
    IDS.into_iter().for_each(|ids| story.delete(ids));
    story.ended()
}

/// Whether a span has this name.
fn is(span: &Span, name: &str) -> bool {
    span.name == name
}

#[test]
fn consumers_that_link_to_their_producers_pass() {
    let judgement = assert_findings(&linked(|_| {}), &[]);
    assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.matched), (2, 8));
}

#[test]
fn consumers_without_their_links_are_found() {
    let story = linked(|span| span.links.clear());
    assert_findings(&story, &[(FindingCode::LinkMissing, Cause::NotLinked, "process", 2)]);
}

#[test]
fn work_below_another_span_than_its_consumers_is_found() {
    let story = linked(|span| {
        if span.kind == SpanKind::Client {
            span.parent_span_id = None;
        }
    });
    assert_findings(&story, &[(FindingCode::ParentWrong, Cause::NoParent, "work", 2)]);
}

#[test]
fn batch_with_a_link_for_each_record_passes() {
    let judgement = assert_findings(&batched(|_| {}), &[]);
    assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.matched), (2, 7));
}

#[test]
fn batch_that_lacks_the_link_of_one_record_is_found() {
    let story = batched(|span| span.links.truncate(1));
    assert_findings(&story, &[(FindingCode::LinkMissing, Cause::NotLinked, "batch", 1)]);
}

#[test]
fn record_that_links_to_the_message_of_another_is_found() {
    let story = batched(|span| {
        if is(span, "process job") {
            span.links = vec![link_to_message(IDS[0])];
        }
    });
    assert_findings(&story, &[(FindingCode::LinkMissing, Cause::NotLinked, "record", 1)]);
}

#[test]
fn record_that_is_not_below_its_batch_is_found() {
    let story = batched(|span| {
        if is(span, "process job") {
            span.parent_span_id = None;
        }
    });
    assert_findings(&story, &[(FindingCode::ParentWrong, Cause::NoParent, "record", 2)]);
}
