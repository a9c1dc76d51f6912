//! Every rule: a defect and the finding that it must raise, beside cases that must raise none.

mod story;

use std::time::Duration;

use story::{Ids, START, Story, assert_findings, consumer, end, environment, producer, server, span_id, trace_id};
use verifier::contract::{StatusRule, ValueRule};
use verifier::event::{ExportAnswer, Fault, InvocationOutcome, RequestOutcome};
use verifier::finding::Cause;
use verifier::span::SpanStatus;
use verifier::{Conclusion, EventKind, FindingCode, Peer, SpanKind};

const ID: Ids = Ids(0);

fn is(name: &'static str) -> impl Fn(&verifier::Span) -> bool {
    move |span| span.name == name
}

/// One request whose trace lacks the spans with these names.
fn without(names: &[&str]) -> Story {
    Story::healthy(1).with_spans(|span| (!names.contains(&span.name.as_str())).then_some(span))
}

/// One healthy request, its consumer span changed.
fn consumer_with(change: impl Fn(&mut verifier::Span)) -> Story {
    Story::healthy(1).with_spans(|mut span| {
        if is("sqs.process")(&span) {
            change(&mut span);
        }
        Some(span)
    })
}

#[test]
fn healthy_run_passes_and_its_books_balance() {
    let judgement = assert_findings(&Story::healthy(50), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Passed);
    assert_eq!(judgement.tally.traces.complete, 50);
    assert_eq!((judgement.tally.spans.expected, judgement.tally.spans.matched), (150, 150));
    assert!(judgement.statements.iter().all(verifier::tally::Equation::balances), "{:?}", judgement.statements);
    assert_eq!(judgement.statements.len(), 3);
}

#[test]
fn run_without_an_accepted_request_is_never_a_pass() {
    let story = Story::begun(0).ended();
    assert_eq!(assert_findings(&story, &[]).conclusion, Conclusion::NothingVerified);
}

#[test]
fn run_that_was_cut_off_is_inconclusive() {
    let mut story = Story::healthy(2);
    story.events.pop();
    assert_eq!(story.judge().conclusion, Conclusion::Inconclusive);
}

#[test]
fn lost_evidence_makes_a_run_inconclusive() {
    let mut story = Story::healthy(2);
    let last = story.events.pop().unwrap();
    story.tell(EventKind::EvidenceLost { what: "events refused by the recorder".to_owned(), count: 3 });
    story.events.push(last);
    assert_eq!(story.judge().conclusion, Conclusion::Inconclusive);
}

#[test]
fn missing_consumer_span_of_an_answered_invocation_was_not_flushed() {
    let judgement =
        assert_findings(&without(&["sqs.process"]), &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)]);
    assert_eq!(judgement.conclusion, Conclusion::Failed);
    assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.missing), (0, 1));
}

#[test]
fn missing_producer_takes_its_childs_lost_parent_along() {
    let judgement =
        assert_findings(&without(&["sqs.send"]), &[(FindingCode::SpanMissing, Cause::NotExported, "producer", 1)]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::ParentLost), Some(&1));
}

#[test]
fn missing_api_spans_were_not_exported_when_it_stopped() {
    assert_findings(
        &without(&["sqs.send", "POST /onboard"]),
        &[
            (FindingCode::SpanMissing, Cause::StoppedWithoutExport, "producer", 1),
            (FindingCode::SpanMissing, Cause::StoppedWithoutExport, "server", 1),
        ],
    );
}

#[test]
fn accepted_request_without_any_span_is_one_missing_trace() {
    let story = without(&["sqs.process", "sqs.send", "POST /onboard"]);
    let judgement = assert_findings(&story, &[(FindingCode::TraceMissing, Cause::NothingExported, "trace", 1)]);
    assert_eq!(judgement.tally.spans.missing, 3);
}

#[test]
fn accepted_request_whose_message_nobody_saw_lacks_its_message() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.answer(ID, 202);
    story.tell_span(server(ID));
    let judgement = assert_findings(&story.ended(), &[(FindingCode::SpanMissing, Cause::NothingSent, "producer", 1)]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

#[test]
fn accepted_request_that_left_nothing_behind_is_a_missing_trace() {
    let mut story = Story::begun(2);
    story.healthy_request(Ids(1));
    story.start_request(ID);
    story.answer(ID, 202);
    let expected = [(FindingCode::TraceMissing, Cause::NothingExported, "trace", 1)];
    let judgement = assert_findings(&story.ended(), &expected);
    assert_eq!(judgement.conclusion, Conclusion::Failed);
}

#[test]
fn accepted_request_without_its_message_is_waited_for() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.answer(ID, 202);
    let pending =
        |story: &Story| -> Vec<&str> { story.verifier().pending().iter().map(|pending| pending.what).collect() };
    assert_eq!(pending(&story), ["accepted requests to send their message"]);
    story.send(ID, Some(ID.traceparent()));
    assert_eq!(pending(&story), ["messages to leave their queues"]);
    story.deliver(ID, 1);
    assert_eq!(pending(&story), ["messages to leave their queues", "invocations to end"]);
    story.finish_delivery(ID, 1);
    story.delete(ID);
    assert_eq!(pending(&story), [""; 0]);
}

#[test]
fn message_that_an_sdk_sends_again_needs_no_second_producer_span() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    let again = verifier::MessageId::new("again");
    let carrier = verifier::event::Carrier { traceparent: Some(ID.traceparent()), ..Default::default() };
    let (queue, request) = ("onboarding".to_owned(), Some(ID.request()));
    story.tell(EventKind::MessageSent { queue, message: again.clone(), request, carrier });
    story.answer(ID, 202);
    story.deliver(ID, 1);
    story.tell_span(consumer(ID, 1));
    story.finish_delivery(ID, 1);
    story.delete(ID);
    let deliveries = vec![verifier::event::Delivery { message: again.clone(), receive_count: 1 }];
    let (invocation, cold) = (ID.invocation(2), false);
    story.tell(EventKind::InvocationStarted { invocation, environment: environment(), cold, deliveries });
    story.tell_span(consumer(ID, 2));
    story.finish_delivery(ID, 2);
    story.tell(EventKind::MessageDeleted { message: again });
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    let judgement = assert_findings(&story.ended(), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Passed, "{judgement:#?}");
}

#[test]
fn trace_is_learnt_from_a_span_that_names_its_request() {
    // No echo of the trace id, no request id in the message: the server span alone tells.
    let mut story = Story::begun(1);
    story.start_request(ID);
    let outcome = RequestOutcome::Answered { status: 202, accepted: true, trace_id: None };
    story.tell(EventKind::RequestFinished { request: ID.request(), intended: START, outcome });
    let carrier = verifier::event::Carrier { traceparent: Some(ID.traceparent()), ..Default::default() };
    story.tell(EventKind::MessageSent { queue: "q".to_owned(), message: ID.message(), request: None, carrier });
    story.deliver(ID, 1);
    let without_attributes = |(peer, mut span): (Peer, verifier::Span)| {
        span.attributes.clear();
        (peer, span)
    };
    story.tell_span(without_attributes(consumer(ID, 1)));
    story.finish_delivery(ID, 1);
    story.delete(ID);
    story.tell_span(without_attributes(producer(ID)));
    story.tell_span(server(ID));
    let judgement = assert_findings(&story.ended(), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Passed, "{judgement:#?}");
}

#[test]
fn span_of_an_unanswered_request_may_come_long_after_and_need_not() {
    for comes in [false, true] {
        let mut story = Story::begun(2);
        story.healthy_request(Ids(1));
        story.start_request(ID);
        let outcome = RequestOutcome::Unanswered { error: "time-out".to_owned() };
        story.tell(EventKind::RequestFinished { request: ID.request(), intended: START, outcome });
        story.wait(Duration::from_secs(30));
        if comes {
            story.tell_span(server(ID));
        }
        assert_findings(&story.ended(), &[]);
    }
}

#[test]
fn message_that_is_never_delivered_lacks_its_consumer_span() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    assert_findings(&story.ended(), &[(FindingCode::SpanMissing, Cause::NeverDelivered, "consumer", 1)]);
}

#[test]
fn redelivered_message_expects_two_consumer_spans() {
    let redelivered = |spans: u32| {
        let mut story = Story::begun(1);
        story.ledger_until_delivery(ID);
        let (error_type, error_message) = ("Runtime.Unknown".to_owned(), "no".to_owned());
        let outcome = InvocationOutcome::Failed { error_type, error_message };
        story.tell(EventKind::InvocationFinished { invocation: ID.invocation(1), outcome });
        story.tell(EventKind::MessageReturned { message: ID.message() });
        story.deliver(ID, 2);
        (1..=spans).for_each(|delivery| story.tell_span(consumer(ID, delivery)));
        story.finish_delivery(ID, 2);
        story.delete(ID);
        story.tell_span(server(ID));
        story.tell_span(producer(ID));
        story.ended()
    };
    assert_findings(&redelivered(2), &[]);
    assert_findings(&redelivered(1), &[(FindingCode::TailLoss, Cause::LeftInBatch, "consumer", 1)]);
    assert_findings(&redelivered(3), &[(FindingCode::SpanUnexpected, Cause::MoreThanFacts, "consumer", 1)]);
}

#[test]
fn second_span_in_a_role_is_unexpected() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.tell_span(consumer(ID, 1));
    story.tell_span(consumer(ID, 2));
    story.finish_request(ID);
    let judgement =
        assert_findings(&story.ended(), &[(FindingCode::SpanUnexpected, Cause::MoreThanFacts, "consumer", 1)]);
    assert_eq!(judgement.tally.spans.unexpected, 1);
}

#[test]
fn span_without_a_role_is_unexpected() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    let (peer, mut span) = server(ID);
    span.span_id = span_id(9, 9);
    span.name = "tower.request".to_owned();
    story.tell_span((peer, span));
    story.tell_span(consumer(ID, 1));
    story.finish_request(ID);
    assert_findings(&story.ended(), &[(FindingCode::SpanUnexpected, Cause::NoSuchRole, "api \"tower.request\"", 1)]);
}

#[test]
fn span_of_no_request_is_unexpected_from_the_system_and_foreign_from_others() {
    let mut story = Story::begun(1);
    story.healthy_request(ID);
    let (peer, mut span) = server(Ids(77));
    span.attributes.clear();
    span.end = story.now();
    story.tell_span((peer, span.clone()));
    span.span_id = span_id(78, 1);
    story.tell_span((Peer::Anyone, span));
    let judgement =
        assert_findings(&story.ended(), &[(FindingCode::SpanUnexpected, Cause::NoSuchRequest, "server", 1)]);
    assert_eq!((judgement.tally.spans.unexpected, judgement.tally.spans.foreign), (1, 1));
}

#[test]
fn refused_request_needs_no_trace_and_may_have_a_server_span() {
    for exported in [false, true] {
        let mut story = Story::begun(2);
        story.healthy_request(Ids(1));
        story.start_request(ID);
        story.answer(ID, 400);
        if exported {
            story.tell_span(server(ID));
        }
        let judgement = assert_findings(&story.ended(), &[]);
        assert_eq!(judgement.conclusion, Conclusion::Passed);
        assert_eq!(judgement.tally.spans.expected, 3 + u64::from(exported));
    }
}

#[test]
fn unanswered_request_that_was_handled_still_owes_the_rest_of_its_trace() {
    let unanswered = |consumed: bool| {
        let mut story = Story::begun(2);
        story.healthy_request(Ids(1));
        story.start_request(ID);
        story.send(ID, Some(ID.traceparent()));
        let outcome = RequestOutcome::Unanswered { error: "time-out".to_owned() };
        story.tell(EventKind::RequestFinished { request: ID.request(), intended: START, outcome });
        story.deliver(ID, 1);
        story.finish_request(ID);
        if consumed {
            story.tell_span(consumer(ID, 1));
        }
        story.ended()
    };
    assert_findings(&unanswered(true), &[]);
    assert_findings(&unanswered(false), &[(FindingCode::TailLoss, Cause::LeftInBatch, "consumer", 1)]);
}

#[test]
fn same_span_twice_is_a_warning_before_and_after_its_request_settled() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.tell_span(consumer(ID, 1));
    story.tell_span(consumer(ID, 1));
    story.finish_request(ID);
    story.tell_span(consumer(ID, 1));
    let expected = [(FindingCode::SpanDuplicated, Cause::ExporterRetry, "consumer", 2)];
    let judgement = assert_findings(&story.ended(), &expected);
    assert_eq!(judgement.conclusion, Conclusion::Passed);
    assert_eq!(judgement.tally.spans.duplicated, 2);
}

#[test]
fn duplicate_does_not_hide_a_loss() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.finish_request(ID);
    story.tell_span(producer(ID));
    assert_findings(
        &story.ended(),
        &[
            (FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1),
            (FindingCode::SpanDuplicated, Cause::ExporterRetry, "producer", 1),
        ],
    );
}

#[test]
fn consumer_in_a_trace_of_its_own_did_not_extract_the_context() {
    let story = consumer_with(|span| {
        span.trace_id = trace_id(999);
        span.parent_span_id = None;
    });
    assert_findings(&story, &[(FindingCode::TraceFragmented, Cause::ContextNotExtracted, "consumer", 1)]);
}

#[test]
fn fragment_is_found_without_the_request_id_by_its_environment() {
    let story = consumer_with(|span| {
        span.trace_id = trace_id(999);
        span.parent_span_id = None;
        span.attributes.clear();
    });
    let expected = [(FindingCode::TraceFragmented, Cause::ContextNotExtracted, "consumer", 1)];
    let judgement = assert_findings(&story, &expected);
    assert_eq!(judgement.tally.matched_by.get("environment"), Some(&1));
}

#[test]
fn spans_without_the_request_id_are_found_by_their_trace() {
    let story = Story::healthy(3).with_spans(|mut span| {
        span.attributes.clear();
        Some(span)
    });
    let judgement = assert_findings(&story, &[]);
    assert_eq!(judgement.tally.matched_by.get("trace id"), Some(&9));
}

#[test]
fn producer_in_a_trace_of_its_own_is_where_the_chain_breaks() {
    let other = trace_id(999);
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(format!("00-{other}-{}-01", ID.producer())));
    story.answer(ID, 202);
    story.deliver(ID, 1);
    let (peer, mut span) = consumer(ID, 1);
    span.trace_id = other;
    story.tell_span((peer, span));
    story.finish_delivery(ID, 1);
    story.delete(ID);
    story.tell_span(server(ID));
    let (peer, mut span) = producer(ID);
    (span.trace_id, span.parent_span_id) = (other, None);
    story.tell_span((peer, span));
    let expected = [(FindingCode::TraceFragmented, Cause::ContextNotAttached, "producer", 1)];
    assert_findings(&story.ended(), &expected);
}

#[test]
fn consumer_below_the_server_has_the_wrong_parent() {
    let story = consumer_with(|span| span.parent_span_id = Some(ID.server()));
    assert_findings(&story, &[(FindingCode::ParentWrong, Cause::OtherParent, "consumer", 1)]);
}

#[test]
fn parent_that_nobody_exported_is_a_phantom() {
    let story = consumer_with(|span| span.parent_span_id = Some(span_id(55, 55)));
    assert_findings(&story, &[(FindingCode::PhantomParent, Cause::GatewayAsParent, "consumer", 1)]);
}

#[test]
fn root_in_the_right_trace_lacks_its_parent() {
    let story = consumer_with(|span| span.parent_span_id = None);
    assert_findings(&story, &[(FindingCode::ParentWrong, Cause::NoParent, "consumer", 1)]);
}

#[test]
fn root_with_a_parent_that_is_nobodys_is_below_a_phantom() {
    let story = Story::healthy(1).with_spans(|mut span| {
        if is("POST /onboard")(&span) {
            span.parent_span_id = Some(span_id(55, 55));
        }
        Some(span)
    });
    assert_findings(&story, &[(FindingCode::PhantomParent, Cause::GatewayAsParent, "server", 1)]);
}

#[test]
fn each_wrong_kind_is_found_in_its_role() {
    for (name, role) in [("POST /onboard", "server"), ("sqs.send", "producer")] {
        let story = Story::healthy(1).with_spans(|mut span| {
            if is(name)(&span) {
                span.kind = SpanKind::Internal;
            }
            Some(span)
        });
        assert_findings(&story, &[(FindingCode::KindWrong, Cause::Instrumentation, role, 1)]);
    }
}

/// A request whose message carries this, and whose consumer span follows what it carries.
fn carrying(traceparent: Option<String>, stripped: bool, consumer_parent: Option<verifier::SpanId>) -> Story {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, traceparent);
    if stripped {
        story.tell(EventKind::FaultInjected(Fault::ContextStripped { message: ID.message() }));
    }
    story.answer(ID, 202);
    story.deliver(ID, 1);
    let (peer, mut span) = consumer(ID, 1);
    span.parent_span_id = consumer_parent;
    if consumer_parent.is_none() {
        span.trace_id = trace_id(999);
    }
    story.tell_span((peer, span));
    story.finish_request(ID);
    story.ended()
}

#[test]
fn message_without_context_is_the_cause_and_the_fragment_its_consequence() {
    let expected = [(FindingCode::CarrierMissing, Cause::ContextNotInjected, "message", 1)];
    let judgement = assert_findings(&carrying(None, false, None), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::TraceFragmented), Some(&1));
}

#[test]
fn context_that_the_harness_took_away_is_the_harnesss_doing() {
    let story = carrying(Some(ID.traceparent()), true, None);
    let expected = [(FindingCode::CarrierMissing, Cause::FaultStripContext, "message", 1)];
    let judgement = assert_findings(&story, &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::TraceFragmented), Some(&1));
    assert_eq!(judgement.conclusion, Conclusion::Failed);
}

#[test]
fn context_of_the_server_span_was_injected_outside_the_producer() {
    let traceparent = format!("00-{}-{}-01", ID.trace(), ID.server());
    let expected = [(FindingCode::CarrierMismatch, Cause::InjectedOutsideProducer, "message", 1)];
    let judgement = assert_findings(&carrying(Some(traceparent), false, Some(ID.server())), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::ParentWrong), Some(&1));
}

#[test]
fn context_of_no_span_of_the_request_is_a_mismatch() {
    let traceparent = format!("00-{}-{}-01", ID.trace(), span_id(55, 55));
    let expected = [(FindingCode::CarrierMismatch, Cause::CarrierUnknownSpan, "message", 1)];
    assert_findings(&carrying(Some(traceparent), false, Some(span_id(55, 55))), &expected);
}

#[test]
fn traceparent_that_is_none_is_malformed() {
    let expected = [(FindingCode::CarrierMalformed, Cause::CarrierInvalid, "message", 1)];
    assert_findings(&carrying(Some("00-nonsense".to_owned()), false, None), &expected);
}

#[test]
fn refused_exports_are_one_finding_with_the_missing_traces_under_it() {
    for (fault, cause) in [(false, Cause::KeyRefused), (true, Cause::FaultWrongKey)] {
        let mut story = Story::begun(1);
        if fault {
            story.tell(EventKind::FaultInjected(Fault::WrongKey));
        }
        story.ledger_until_delivery(ID);
        story.tell_export(consumer(ID, 1), ExportAnswer::Unauthenticated);
        story.finish_delivery(ID, 1);
        story.delete(ID);
        story.tell_export(server(ID), ExportAnswer::Unauthenticated);
        story.tell_export(producer(ID), ExportAnswer::Unauthenticated);
        story.tell_export(producer(ID), ExportAnswer::Unauthenticated);
        let code = FindingCode::ExportUnauthenticated;
        let judgement =
            assert_findings(&story.ended(), &[(code, cause, "service api", 3), (code, cause, "function worker", 1)]);
        assert_eq!(judgement.findings[0].consequences.get(&FindingCode::TraceMissing), Some(&1));
        assert_eq!((judgement.tally.spans.rejected, judgement.tally.spans.missing), (4, 3));
    }
}

#[test]
fn spans_that_wait_behind_a_refused_export_are_its_consequence_and_not_after_one_is_stored() {
    let waiting = |stored: bool| {
        let mut story = Story::begun(2);
        story.ledger_until_delivery(Ids(1));
        story.tell_span(consumer(Ids(1), 1));
        story.finish_delivery(Ids(1), 1);
        story.delete(Ids(1));
        story.tell_export(server(Ids(1)), ExportAnswer::Unauthenticated);
        if stored {
            story.tell_span(server(Ids(1)));
            story.tell_span(producer(Ids(1)));
        }
        story.ledger_until_delivery(ID);
        story.tell_span(consumer(ID, 1));
        story.finish_delivery(ID, 1);
        story.delete(ID);
        story.ended().judge().findings
    };
    let refused = waiting(false);
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert_eq!(refused[0].code, FindingCode::ExportUnauthenticated);
    assert_eq!(refused[0].consequences.get(&FindingCode::SpanMissing), Some(&4));
    let codes: Vec<_> = waiting(true).iter().map(|finding| (finding.code, finding.count)).collect();
    let expected =
        [(FindingCode::ExportUnauthenticated, 1), (FindingCode::SpanMissing, 1), (FindingCode::SpanMissing, 1)];
    assert_eq!(codes, expected);
}

#[test]
fn span_that_was_refused_and_then_stored_is_not_missing() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.tell_export(server(ID), ExportAnswer::Unauthenticated);
    story.tell_span(consumer(ID, 1));
    story.finish_request(ID);
    let expected = [(FindingCode::ExportUnauthenticated, Cause::KeyRefused, "service api", 1)];
    let judgement = assert_findings(&story.ended(), &expected);
    assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.missing), (1, 0));
}

#[test]
fn service_that_died_is_the_cause_of_the_spans_that_died_with_it() {
    let mut story = Story::begun(2);
    story.healthy_request(Ids(1));
    story.ledger_until_delivery(ID);
    story.tell_span(consumer(ID, 1));
    story.finish_delivery(ID, 1);
    story.delete(ID);
    story.tell(EventKind::ServiceEnded { service: "api".to_owned(), end: end(false) });
    story.tell(EventKind::RunFinished);
    let judgement = assert_findings(&story, &[(FindingCode::ProcessDied, Cause::ProcessEnded, "service api", 1)]);
    let consequences = &judgement.findings[0].consequences;
    assert_eq!(consequences.get(&FindingCode::SpanMissing), Some(&2));
    assert_eq!(consequences.get(&FindingCode::ParentLost), Some(&1));
    assert!(judgement.findings[0].examples[0].evidence.iter().any(|line| line.contains("panicked at main.rs")));
}

#[test]
fn environment_that_died_in_its_invocation_is_the_cause_of_its_lost_span() {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.tell(EventKind::EnvironmentEnded { environment: environment(), end: end(false) });
    let outcome = InvocationOutcome::EnvironmentDied;
    story.tell(EventKind::InvocationFinished { invocation: ID.invocation(1), outcome });
    story.tell(EventKind::MessageDeadLettered { message: ID.message(), queue: "dead".to_owned() });
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    story.tell(EventKind::RunFinished);
    let expected = [(FindingCode::ProcessDied, Cause::ProcessEnded, "function worker", 1)];
    let judgement = assert_findings(&story, &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

#[test]
fn function_that_dies_at_start_is_the_cause_of_what_was_never_delivered() {
    let mut story = Story::begun(1);
    let (other, function) = (verifier::EnvironmentId::new("worker-2"), "worker".to_owned());
    story.tell(EventKind::EnvironmentStarted { environment: other.clone(), function, pid: 12 });
    story.tell(EventKind::EnvironmentEnded { environment: other, end: end(false) });
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    let expected = [(FindingCode::ProcessDied, Cause::InitFailed, "function worker", 1)];
    let judgement = assert_findings(&story.ended(), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

/// A healthy story whose consumer span ended that long before it was received.
fn server_received_after(delay: Duration) -> Story {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story.tell_span(consumer(ID, 1));
    story.finish_delivery(ID, 1);
    story.delete(ID);
    story.tell_span(producer(ID));
    let (peer, mut span) = server(ID);
    let ended = story.now();
    span.end = ended;
    story.tell_span((peer, span));
    story.delay_last(ended + delay);
    story.ended()
}

#[test]
fn span_is_late_beyond_its_limit_and_not_at_it() {
    assert_findings(&server_received_after(Duration::from_secs(10)), &[]);
    let late = server_received_after(Duration::from_secs(10) + Duration::from_nanos(1));
    let judgement = assert_findings(&late, &[(FindingCode::SpanLate, Cause::Delayed, "server", 1)]);
    assert_eq!(judgement.conclusion, Conclusion::Passed);
}

#[test]
fn span_is_missing_once_its_time_is_over_and_late_if_it_comes_after_all() {
    let late = |comes: bool, waits: Duration| {
        let mut story = Story::begun(1);
        story.ledger_until_delivery(ID);
        story.finish_request(ID);
        story.wait(waits);
        let missing = story.judge().tally.spans.missing;
        if comes {
            story.tell_span(consumer(ID, 1));
        }
        (missing, story.ended())
    };
    let (missing, story) = late(true, Duration::from_secs(25));
    assert_eq!(missing, 1, "its time was over");
    let judgement = assert_findings(&story, &[(FindingCode::SpanLate, Cause::Delayed, "consumer", 1)]);
    assert_eq!((judgement.tally.spans.missing, judgement.tally.spans.matched), (0, 3));
    assert_eq!((judgement.tally.traces.complete, judgement.conclusion), (1, Conclusion::Passed));

    let of_a_wrong_kind = story.with_spans(|mut span| {
        if is("sqs.process")(&span) {
            span.kind = SpanKind::Internal;
        }
        Some(span)
    });
    let expected = [
        (FindingCode::KindWrong, Cause::Instrumentation, "consumer", 1),
        (FindingCode::SpanLate, Cause::Delayed, "consumer", 1),
    ];
    assert_eq!(assert_findings(&of_a_wrong_kind, &expected).tally.traces.complete, 0);

    let (missing, story) = late(false, Duration::from_secs(19));
    assert_eq!(missing, 0, "its time was not over yet");
    assert_findings(&story, &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)]);
}

#[test]
fn what_comes_beyond_the_horizon_is_counted_and_makes_the_run_inconclusive() {
    let mut story = Story::begun(1);
    story.healthy_request(ID);
    story.wait(Duration::from_secs(90));
    story.tell_span(consumer(ID, 1));
    let judgement = assert_findings(&story.ended(), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Inconclusive);
    assert_eq!(judgement.tally.spans.forgotten, 1);
}

#[test]
fn names_without_end_are_counted_together_beyond_a_number() {
    let mut story = Story::begun(1);
    for number in 0..200 {
        let (peer, mut span) = server(Ids(1_000 + number));
        span.attributes.clear();
        span.name = format!("GET /users/{number}");
        span.end = story.now();
        story.tell_span((peer, span));
    }
    story.healthy_request(ID);
    let judgement = story.ended().judge();
    assert_eq!(judgement.findings.len(), 51);
    assert_eq!(judgement.findings.iter().map(|finding| finding.count).sum::<u64>(), 200);
    assert_eq!((judgement.findings[0].subject.as_str(), judgement.findings[0].count), ("others", 150));
}

#[test]
fn late_start_is_counted_beyond_its_limit() {
    let mut story = Story::begun(2);
    for (number, lateness) in [(0, 50), (1, 51)] {
        let intended = story.now() - Duration::from_millis(lateness);
        story.tell(EventKind::RequestStarted { request: Ids(number).request(), intended });
    }
    assert_eq!(story.judge().tally.requests.late_starts, 1);
}

#[test]
fn finding_shows_the_expected_trace_beside_the_seen_one() {
    let judgement = without(&["sqs.process"]).judge();
    let example = &judgement.findings[0].examples[0];
    let texts = |lines: &[verifier::finding::TreeLine]| -> Vec<String> {
        lines.iter().map(|line| format!("{}{}", "  ".repeat(line.depth), line.text)).collect()
    };
    let expected = ["SERVER POST /onboard (api)", "  PRODUCER sqs.send (api)", "    CONSUMER sqs.process (worker)"];
    assert_eq!(texts(&example.expected), expected);
    assert_eq!(example.expected[2].note.as_deref(), Some("span-missing"));
    assert_eq!(example.seen.len(), 2);
    assert_eq!(example.request, Some(ID.request()));
}

#[test]
fn telemetry_in_a_cycle_is_drawn_and_judged() {
    let story = Story::healthy(1).with_spans(|mut span| {
        span.parent_span_id = Some(match span.name.as_str() {
            "POST /onboard" => ID.consumer(1),
            "sqs.send" => ID.server(),
            _ => ID.producer(),
        });
        Some(span)
    });
    let judgement = assert_findings(&story, &[(FindingCode::ParentCycle, Cause::Cycle, "server", 1)]);
    assert_eq!(judgement.findings[0].examples[0].seen.len(), 3);
}

#[test]
fn resource_of_a_role_is_looked_at_even_if_its_spans_are_wrong_themselves() {
    let mut contract = story::contract();
    let consumer = contract.spans.get_mut("consumer").unwrap();
    consumer.attributes.insert("messaging.system".to_owned(), ValueRule::Present);
    consumer.resource.insert("faas.name".to_owned(), ValueRule::Present);
    let judgement = Story::healthy(1).under(contract).judge();
    let codes: Vec<_> = judgement.findings.iter().map(|finding| (finding.code, finding.count)).collect();
    assert!(codes.contains(&(FindingCode::AttributeMissing, 1)), "{codes:?}");
    assert!(codes.contains(&(FindingCode::ResourceMissing, 1)), "{codes:?}");
}

#[test]
fn status_of_a_send_is_held_against_its_outcome_only_where_that_is_known() {
    let failing_send = |status: u16, accepted: bool| {
        let mut contract = story::contract();
        contract.spans.get_mut("producer").unwrap().status = StatusRule::Outcome;
        let mut story = Story::healthy(1).under(contract).with_spans(|mut span| {
            if is("sqs.send")(&span) {
                span.status = SpanStatus::Error("nobody answered".to_owned());
            }
            Some(span)
        });
        for event in &mut story.events {
            if let EventKind::RequestFinished { outcome, .. } = &mut event.kind {
                *outcome = RequestOutcome::Answered { status, accepted, trace_id: None };
            }
        }
        let judgement = story.judge();
        judgement.findings.iter().any(|finding| finding.code == FindingCode::StatusWrong)
    };
    assert!(failing_send(202, true), "the answer promises that it was sent");
    assert!(!failing_send(503, false), "the message is in the queue, and its sender never heard of it");
}

#[test]
fn spans_of_another_queue_are_not_asked_for_and_the_books_balance() {
    let mut contract = story::contract();
    contract.spans.get_mut("consumer").unwrap().queue = Some("elsewhere".to_owned());
    let without_consumer = Story::healthy(1).with_spans(|span| (!is("sqs.process")(&span)).then_some(span));
    let judgement = assert_findings(&without_consumer.under(contract), &[]);
    assert!(judgement.statements.iter().all(verifier::tally::Equation::balances), "{:#?}", judgement.statements);
}

#[test]
fn spans_of_another_function_are_not_asked_for_and_the_books_balance() {
    let mut contract = story::contract();
    contract.spans.get_mut("consumer").unwrap().function = Some("elsewhere".to_owned());
    let without_consumer = Story::healthy(1).with_spans(|span| (!is("sqs.process")(&span)).then_some(span));
    let judgement = assert_findings(&without_consumer.under(contract), &[]);
    assert!(judgement.statements.iter().all(verifier::tally::Equation::balances), "{:#?}", judgement.statements);
}
