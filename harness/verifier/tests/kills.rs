//! What the scenario's own kills excuse, and what they do not.

mod story;

use std::time::Duration;

use story::{Ids, Story, assert_findings, consumer_in, contract, end, environment, producer, server, span_id};
use verifier::contract::{NameRule, SpanContract, TraceContract};
use verifier::event::{Fault, InvocationOutcome, Peer, RefusalKind, ResetReason};
use verifier::finding::Cause;
use verifier::tally::Equation;
use verifier::{Conclusion, EnvironmentId, EventKind, FindingCode, InvocationId, Judgement, Span, SpanKind};

const ID: Ids = Ids(0);

fn other() -> EnvironmentId {
    EnvironmentId::new("worker-2")
}

/// A run whose only request was delivered to the first environment.
fn delivered() -> Story {
    let mut story = Story::begun(1);
    story.ledger_until_delivery(ID);
    story
}

/// What follows once the first delivery is lost: the message is delivered again, elsewhere and well.
fn redelivered(mut story: Story) -> Story {
    story.give_back(ID);
    story.start_environment(&other());
    handled_again(&mut story, &other());
    story.ended()
}

/// The second delivery, with all that belongs to it.
fn handled_again(story: &mut Story, environment: &EnvironmentId) {
    story.deliver_to(environment, ID, 2);
    story.tell_span(consumer_in(environment, ID, 2));
    story.succeed(ID, 2);
    story.freeze(environment, 0, 0);
    story.delete(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
}

/// The first delivery's environment is killed on the scenario's order.
fn killed() -> Story {
    let mut story = delivered();
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.die(&environment(), ID, 1, true);
    story
}

fn assert_books_balance(judgement: &Judgement) {
    assert!(judgement.statements.iter().all(Equation::balances), "{:?}", judgement.statements);
}

#[test]
fn span_of_a_kill_that_was_ordered_is_excused_and_shown_apart() {
    let judgement = assert_findings(&redelivered(killed()), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Passed);
    let spans = judgement.tally.spans;
    assert_eq!((spans.expected, spans.matched, spans.missing, spans.excused), (4, 3, 0, 1));
    let traces = judgement.tally.traces;
    assert_eq!((traces.expected, traces.complete, traces.excused), (1, 0, 1));
    assert_eq!(judgement.tally.per["delivery"].excused, 1);
    assert_books_balance(&judgement);
    let deliveries = judgement.statements.iter().find(|statement| statement.text == "deliveries").unwrap();
    assert!(deliveries.right.contains(&("excused".to_owned(), 1)), "{deliveries:?}");
}

#[test]
fn order_may_be_recorded_before_its_invocation_has_begun() {
    let mut story = Story::begun(1);
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.ledger_until_delivery(ID);
    story.die(&environment(), ID, 1, true);
    let judgement = assert_findings(&redelivered(story), &[]);
    assert_eq!(judgement.tally.spans.excused, 1);
}

#[test]
fn kill_after_the_flush_excuses_nothing_because_nothing_is_missing() {
    let mut story = delivered();
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.tell_span(consumer_in(&environment(), ID, 1));
    story.die(&environment(), ID, 1, true);
    let judgement = assert_findings(&redelivered(story), &[]);
    let tally = judgement.tally;
    assert_eq!((tally.spans.matched, tally.spans.excused), (4, 0));
    assert_eq!((tally.traces.complete, tally.traces.excused), (1, 0));
}

#[test]
fn loss_bound_claims_only_what_is_complete() {
    let mut story = killed();
    story.healthy_requests(1..4, &EnvironmentId::new("worker-4"));
    let judgement = assert_findings(&redelivered(story), &[]);
    assert_eq!(judgement.tally.loss_bound(), Some(1.0), "three complete traces");
    assert_eq!(assert_findings(&redelivered(killed()), &[]).tally.loss_bound(), None, "no complete trace");
    let mut story = killed();
    story.healthy_requests(1..4, &EnvironmentId::new("worker-4"));
    assert_eq!(redelivered(story).excusing(0).judge().tally.loss_bound(), None, "one at fault");
}

#[test]
fn run_of_which_nothing_is_left_but_excuses_verifies_nothing() {
    let mut contract = contract();
    contract.spans.retain(|role, _| role == "consumer");
    contract.spans.values_mut().for_each(|span| span.parent = None);
    let mut story = killed();
    story.bury(ID);
    let story = story.under(contract).ended().with_spans(|_| None);
    assert_eq!(assert_findings(&story, &[]).conclusion, Conclusion::NothingVerified);
}

#[test]
fn run_in_which_every_delivery_was_killed_says_nothing_about_deliveries() {
    let mut story = killed();
    story.bury(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    let judgement = assert_findings(&story.clone().ended(), &[]);
    assert_eq!((judgement.tally.spans.matched, judgement.tally.spans.excused), (2, 1));
    assert_eq!(judgement.conclusion, Conclusion::NothingVerified);

    story.healthy_requests(1..2, &other());
    assert_eq!(assert_findings(&story.ended(), &[]).conclusion, Conclusion::Passed);
}

#[test]
fn only_the_very_invocation_that_was_killed_is_excused() {
    for invocation in [None, Some(InvocationId::new("another"))] {
        let mut story = delivered();
        story.order_kill(&environment(), invocation);
        story.die(&environment(), ID, 1, true);
        let expected = [(FindingCode::SpanMissing, Cause::EnvironmentDied, "consumer", 1)];
        assert_findings(&redelivered(story), &expected);
    }
}

#[test]
fn invocation_that_ended_otherwise_than_by_the_kill_is_not_excused() {
    let ended = |outcome: InvocationOutcome| {
        let mut story = delivered();
        story.order_kill(&environment(), Some(ID.invocation(1)));
        story.finish_invocation(ID, 1, outcome);
        story.tell(EventKind::EnvironmentEnded { environment: environment(), end: end(true) });
        redelivered(story)
    };
    let missing = |cause| [(FindingCode::SpanMissing, cause, "consumer", 1)];
    assert_findings(&ended(InvocationOutcome::Succeeded { failed: Vec::new() }), &missing(Cause::NotFlushed));
    assert_findings(&ended(InvocationOutcome::TimedOut), &missing(Cause::InvocationTimedOut));
}

#[test]
fn environment_that_dies_by_itself_is_not_excused() {
    let mut story = delivered();
    story.die(&environment(), ID, 1, false);
    let expected = [(FindingCode::ProcessDied, Cause::ProcessEnded, "function worker", 1)];
    let judgement = assert_findings(&redelivered(story), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
    assert_eq!(judgement.tally.spans.excused, 0);
}

#[test]
fn death_elsewhere_does_not_explain_what_a_kill_took() {
    let mut story = delivered();
    story.start_environment(&EnvironmentId::new("worker-3"));
    story.tell(EventKind::EnvironmentEnded { environment: EnvironmentId::new("worker-3"), end: end(false) });
    story.order_kill(&environment(), None);
    story.die(&environment(), ID, 1, true);
    let expected = [
        (FindingCode::ProcessDied, Cause::ProcessEnded, "function worker", 1),
        (FindingCode::SpanMissing, Cause::EnvironmentDied, "consumer", 1),
    ];
    assert_findings(&redelivered(story), &expected);
}

#[test]
fn kills_beyond_the_allowance_are_not_excused() {
    let at_most = |excused| redelivered(killed()).excusing(excused);
    assert_eq!(assert_findings(&at_most(1), &[]).conclusion, Conclusion::Passed);
    let expected = [(FindingCode::SpanMissing, Cause::ExcusesUsedUp, "consumer", 1)];
    let judgement = assert_findings(&at_most(0), &expected);
    assert_eq!((judgement.tally.spans.excused, judgement.tally.spans.missing), (0, 1));
    assert_eq!(judgement.conclusion, Conclusion::Failed);
}

#[test]
fn other_spans_of_the_request_are_not_excused() {
    let story = redelivered(killed()).with_spans(|span| (span.name != "sqs.send").then_some(span));
    let expected = [(FindingCode::SpanMissing, Cause::NotExported, "producer", 1)];
    let judgement = assert_findings(&story, &expected);
    assert_eq!((judgement.tally.spans.excused, judgement.tally.traces.excused), (1, 0));
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::ParentLost), Some(&1));
}

#[test]
fn second_delivery_is_not_excused_with_the_first() {
    let mut story = redelivered(killed());
    story.events.retain(|event| {
        !matches!(&event.kind, EventKind::ExportAnswered(export)
        if export.peer == Peer::Environment(other()))
    });
    let judgement = assert_findings(&story, &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)]);
    assert_eq!((judgement.tally.spans.excused, judgement.tally.spans.missing), (1, 1));
    let expected = &judgement.findings[0].examples[0].expected;
    let notes: Vec<_> = expected.iter().filter_map(|line| line.note.as_deref()).collect();
    assert_eq!(notes, ["excused", "span-missing"]);
}

#[test]
fn span_that_was_refused_is_not_lost_through_the_kill() {
    let mut story = delivered();
    story.tell_export(consumer_in(&environment(), ID, 1), verifier::event::ExportAnswer::Unauthenticated);
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.die(&environment(), ID, 1, true);
    let expected = [(FindingCode::ExportUnauthenticated, Cause::KeyRefused, "function worker", 1)];
    let judgement = assert_findings(&redelivered(story), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

/// The same environment is started again and gets the message again: the spans are told apart by its life.
#[test]
fn environment_that_is_killed_and_started_again_has_its_second_span_for_its_second_delivery() {
    let mut story = delivered();
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.finish_invocation(ID, 1, InvocationOutcome::EnvironmentDied);
    story.reset(&environment(), ResetReason::Exited, true);
    story.give_back(ID);
    story.start_environment(&environment());
    handled_again(&mut story, &environment());
    let judgement = assert_findings(&story.ended(), &[]);
    assert_eq!((judgement.tally.spans.matched, judgement.tally.spans.excused), (3, 1));
    assert_eq!(judgement.conclusion, Conclusion::Passed);
}

#[test]
fn span_that_fits_either_delivery_takes_the_place_that_is_not_excused() {
    // Behind a collector, nobody can say which environment sent it.
    let mut story = redelivered(killed());
    for event in &mut story.events {
        if let EventKind::ExportAnswered(export) = &mut event.kind {
            export.peer = Peer::Anyone;
        }
    }
    assert_eq!(assert_findings(&story, &[]).tally.spans.excused, 1);
}

#[test]
fn span_that_came_before_a_delivery_cannot_be_its_and_hides_no_loss() {
    // What the killed process had sent comes when the environment has a new one, which flushes nothing.
    let mut story = delivered();
    story.order_kill(&environment(), Some(ID.invocation(1)));
    story.finish_invocation(ID, 1, InvocationOutcome::EnvironmentDied);
    story.reset(&environment(), ResetReason::Exited, true);
    story.give_back(ID);
    story.start_environment(&environment());
    story.tell_span(consumer_in(&environment(), ID, 1));
    handled_again(&mut story, &environment());
    let story = story.ended().with_spans(|span| (span.span_id != ID.consumer(2)).then_some(span));
    let judgement = assert_findings(&story, &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)]);
    assert_eq!((judgement.tally.spans.missing, judgement.tally.spans.excused), (1, 0));
}

#[test]
fn excused_span_that_comes_after_its_request_was_settled_is_matched() {
    let late = |waits: Duration| {
        let mut story = killed();
        story.give_back(ID);
        story.start_environment(&other());
        handled_again(&mut story, &other());
        story.wait(Duration::from_secs(25));
        let before = story.judge().tally;
        assert_eq!((before.spans.excused, before.traces.excused, before.traces.complete), (1, 1, 0));
        let (peer, mut span) = consumer_in(&environment(), ID, 1);
        span.end = story.now() - waits;
        story.tell_span((peer, span));
        story.ended()
    };
    let judgement = assert_findings(&late(Duration::from_secs(10)), &[]);
    let (spans, traces) = (judgement.tally.spans, judgement.tally.traces);
    assert_eq!((spans.matched, spans.excused, judgement.tally.per["delivery"].excused), (4, 0, 0));
    assert_eq!((traces.complete, traces.excused), (1, 0));
    assert_books_balance(&judgement);
    let expected = [(FindingCode::SpanLate, Cause::Delayed, "consumer", 1)];
    assert_findings(&late(Duration::from_secs(11)), &expected);
}

#[test]
fn flaw_of_an_excused_span_that_came_after_all_ends_the_excuse() {
    let mut story = killed();
    story.give_back(ID);
    story.start_environment(&other());
    handled_again(&mut story, &other());
    story.wait(Duration::from_secs(25));
    let (peer, mut span) = consumer_in(&environment(), ID, 1);
    (span.kind, span.end) = (SpanKind::Internal, story.now());
    story.tell_span((peer, span));
    let expected = [(FindingCode::KindWrong, Cause::Instrumentation, "consumer", 1)];
    let traces = assert_findings(&story.ended(), &expected).tally.traces;
    assert_eq!((traces.complete, traces.excused), (0, 0));
}

/// The contract with a span below the consumer's, in the same delivery.
fn contract_with_work() -> TraceContract {
    let mut contract = contract();
    let (service, name, parent) = ("worker".to_owned(), "db.insert".to_owned(), Some("consumer".to_owned()));
    let name = NameRule::Exact(name);
    let work = SpanContract { service, name, kind: SpanKind::Client, parent, ..contract.spans["consumer"].clone() };
    contract.spans.insert("work".to_owned(), work);
    contract
}

fn work(environment: &EnvironmentId, delivery: u32) -> (Peer, Span) {
    let (peer, mut span) = consumer_in(environment, ID, delivery);
    span.parent_span_id = Some(span.span_id);
    span.span_id = span_id(500, delivery);
    "db.insert".clone_into(&mut span.name);
    span.kind = SpanKind::Client;
    (peer, span)
}

#[test]
fn child_that_outlived_its_killed_parent_is_excused_for_its_orphanhood() {
    let judged = |first: bool, parent_of_first: Option<verifier::SpanId>| {
        let mut story = delivered();
        if first {
            let (peer, mut span) = work(&environment(), 1);
            span.parent_span_id = parent_of_first.or(span.parent_span_id);
            story.tell_span((peer, span));
        }
        story.order_kill(&environment(), Some(ID.invocation(1)));
        story.die(&environment(), ID, 1, true);
        story.give_back(ID);
        story.start_environment(&other());
        story.deliver_to(&other(), ID, 2);
        story.tell_span(work(&other(), 2));
        story.tell_span(consumer_in(&other(), ID, 2));
        story.succeed(ID, 2);
        story.delete(ID);
        story.tell_span(server(ID));
        story.tell_span(producer(ID));
        story.ended().under(contract_with_work())
    };
    assert_eq!(assert_findings(&judged(false, None), &[]).tally.spans.excused, 2);
    let judgement = assert_findings(&judged(true, None), &[]);
    assert_eq!((judgement.tally.spans.excused, judgement.tally.traces.excused), (1, 1));
}

#[test]
fn child_of_the_surviving_delivery_is_held_to_its_own_parent() {
    let mut story = killed();
    story.give_back(ID);
    story.start_environment(&other());
    story.deliver_to(&other(), ID, 2);
    story.tell_span(consumer_in(&other(), ID, 2));
    let (peer, mut span) = work(&other(), 2);
    span.parent_span_id = Some(span_id(55, 55));
    story.tell_span((peer, span));
    story.succeed(ID, 2);
    story.delete(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    let story = story.ended().under(contract_with_work());
    assert_findings(&story, &[(FindingCode::PhantomParent, Cause::GatewayAsParent, "work", 1)]);
}

#[test]
fn what_else_a_kill_shows_is_no_finding() {
    // An export cut in half; a kill in the Init phase, for which a message had been received.
    let mut story = killed();
    let (peer, why) = (Peer::Environment(environment()), "cut off".to_owned());
    story.tell(EventKind::ExportRefused { peer, refusal: RefusalKind::CutOff, why });
    let early = EnvironmentId::new("worker-3");
    story.tell(EventKind::MessageReceived { message: ID.message(), receive_count: 2 });
    story.tell(EventKind::EnvironmentStarted { environment: early.clone(), function: "worker".to_owned(), pid: 13 });
    story.order_kill(&early, None);
    story.tell(EventKind::EnvironmentEnded { environment: early, end: end(true) });
    assert_eq!(assert_findings(&redelivered(story), &[]).conclusion, Conclusion::Passed);
}

#[test]
fn reset_of_a_process_that_ended_by_itself_is_its_death() {
    for (reason, cause) in [
        (ResetReason::Exited, Cause::ProcessEnded),
        (ResetReason::OutOfMemory, Cause::OutOfMemory),
        (ResetReason::ExtensionFailed, Cause::ExtensionFailed),
    ] {
        let mut story = delivered();
        story.finish_invocation(ID, 1, InvocationOutcome::EnvironmentDied);
        story.reset(&environment(), reason, false);
        story.give_back(ID);
        story.start_environment(&environment());
        handled_again(&mut story, &environment());
        let judgement = assert_findings(&story.ended(), &[(FindingCode::ProcessDied, cause, "function worker", 1)]);
        assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
    }
}

#[test]
fn reset_in_the_init_phase_says_what_was_wrong_with_it() {
    for (reason, cause) in [
        (ResetReason::InitFailed, Cause::InitFailed),
        (ResetReason::InitTimedOut, Cause::InitTimedOut),
        (ResetReason::Exited, Cause::InitFailed),
    ] {
        let mut story = Story::begun(1);
        story.tell(EventKind::EnvironmentStarted { environment: other(), function: "worker".to_owned(), pid: 12 });
        story.reset(&other(), reason, false);
        story.healthy_request(ID);
        assert_findings(&story.ended(), &[(FindingCode::ProcessDied, cause, "function worker", 1)]);
    }
}

#[test]
fn reset_that_the_scenario_ordered_is_no_death() {
    for reason in [ResetReason::Exited, ResetReason::InitFailed, ResetReason::ExtensionFailed] {
        let mut story = Story::begun(1);
        story.tell(EventKind::EnvironmentStarted { environment: other(), function: "worker".to_owned(), pid: 12 });
        story.reset(&other(), reason, true);
        story.healthy_request(ID);
        assert_findings(&story.ended(), &[]);
    }
}

#[test]
fn environment_that_was_reset_dies_once_and_lives_on() {
    let mut story = Story::begun(1);
    story.start_environment(&other());
    story.reset(&other(), ResetReason::Exited, false);
    story.tell(EventKind::EnvironmentEnded { environment: other(), end: end(false) });
    story.healthy_request(ID);
    let died = |count| [(FindingCode::ProcessDied, Cause::ProcessEnded, "function worker", count)];
    assert_findings(&story.clone().ended(), &died(1));

    let end_of_run = story.events.iter().position(|event| matches!(event.kind, EventKind::EnvironmentEnded { .. }));
    story.events.truncate(end_of_run.unwrap());
    story.start_environment(&other());
    story.tell(EventKind::EnvironmentEnded { environment: other(), end: end(false) });
    story.healthy_request(ID);
    assert_findings(&story.ended(), &died(2));
}

#[test]
fn invocation_that_timed_out_is_the_cause_of_its_lost_span_and_no_finding_itself() {
    let timed_out = |exported: bool| {
        let mut story = delivered();
        if exported {
            story.tell_span(consumer_in(&environment(), ID, 1));
        }
        story.finish_invocation(ID, 1, InvocationOutcome::TimedOut);
        story.reset(&environment(), ResetReason::TimedOut, false);
        story.give_back(ID);
        story.start_environment(&environment());
        handled_again(&mut story, &environment());
        story.ended()
    };
    assert_findings(&timed_out(true), &[]);
    let expected = [(FindingCode::SpanMissing, Cause::InvocationTimedOut, "consumer", 1)];
    assert_findings(&timed_out(false), &expected);
}

/// A message that fails as often as it is delivered, and goes to the dead-letter queue.
fn dead_lettered(deliveries: u32, corrupted: bool, spans: u32) -> Story {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    if corrupted {
        story.tell(EventKind::FaultInjected(Fault::BodyCorrupted { message: ID.message() }));
    }
    story.answer(ID, 202);
    for delivery in 1..=deliveries {
        story.thaw(&environment());
        story.deliver(ID, delivery);
        if delivery <= spans {
            story.tell_span(consumer_in(&environment(), ID, delivery));
        }
        story.finish_invocation(ID, delivery, InvocationOutcome::Succeeded { failed: vec![ID.message()] });
        story.freeze(&environment(), 0, 0);
        story.give_back(ID);
    }
    story.bury(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    story.ended()
}

#[test]
fn trace_of_a_dead_letter_is_complete_with_a_consumer_span_for_each_delivery() {
    let judgement = assert_findings(&dead_lettered(3, true, 3), &[]);
    assert_eq!(judgement.conclusion, Conclusion::Passed);
    assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.matched), (1, 5));
    assert_books_balance(&judgement);
    let expected = [(FindingCode::TailLoss, Cause::LeftInBatch, "consumer", 1)];
    assert_findings(&dead_lettered(3, false, 2), &expected);
}

#[test]
fn span_missing_for_a_corrupted_body_is_the_harnesss_doing() {
    let expected = [(FindingCode::SpanMissing, Cause::FaultCorruptBody, "consumer", 1)];
    assert_findings(&dead_lettered(3, true, 2), &expected);
}

#[test]
fn dead_letter_that_nobody_was_given_needs_a_reason() {
    let undelivered = |reason: Option<EventKind>| {
        let mut story = dead_lettered(0, false, 0);
        let buried = |event: &verifier::Event| matches!(event.kind, EventKind::MessageDeadLettered { .. });
        if let Some(kind) = reason {
            let before = story.events.iter().position(buried).unwrap();
            let at = story.events[before].at;
            story.events.insert(before, verifier::Event { at, kind });
        }
        story
    };
    let never = [(FindingCode::SpanMissing, Cause::NeverDelivered, "consumer", 1)];
    assert_findings(&undelivered(None), &never);
    let throttled = EventKind::InvocationThrottled { function: "worker".to_owned(), records: 1 };
    assert_eq!(assert_findings(&undelivered(Some(throttled.clone())), &[]).conclusion, Conclusion::Passed);
    let killed = Fault::EnvironmentKilled { environment: other(), invocation: None };
    assert_findings(&undelivered(Some(EventKind::FaultInjected(killed))), &[]);

    // One that came before the message was sent explains nothing.
    let mut story = undelivered(None);
    let at = story.events[0].at;
    story.events.insert(1, verifier::Event { at, kind: throttled });
    assert_findings(&story, &never);
}

#[test]
fn kill_is_no_reason_for_a_dead_letter_where_the_function_cannot_start() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.tell(EventKind::EnvironmentStarted { environment: other(), function: "worker".to_owned(), pid: 12 });
    story.reset(&other(), ResetReason::InitFailed, false);
    story.order_kill(&other(), None);
    story.bury(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    let expected = [(FindingCode::ProcessDied, Cause::InitFailed, "function worker", 1)];
    let judgement = assert_findings(&story.ended(), &expected);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
    assert_eq!(judgement.tally.traces.complete, 0);
}

/// A message that is received again while it waits for its environment: the second copy is handled and
/// deleted first, and then the first one's environment is ready.
fn overtaken(is_flushed: bool) -> Story {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.receive(ID, 1);
    story.give_back(ID);
    story.receive(ID, 2);
    story.start_environment(&other());
    handled_again(&mut story, &other());
    story.wait(Duration::from_secs(5));
    story.thaw(&environment());
    story.deliver(ID, 1);
    if is_flushed {
        story.tell_fresh_span(consumer_in(&environment(), ID, 1));
    }
    story.succeed(ID, 1);
    story.freeze(&environment(), 0, 0);
    story.ended()
}

#[test]
fn copy_of_a_deleted_message_that_is_still_in_hand_is_a_delivery_like_any_other() {
    let judgement = assert_findings(&overtaken(true), &[]);
    assert_eq!((judgement.conclusion, judgement.tally.spans.matched), (Conclusion::Passed, 4));
    assert_books_balance(&judgement);
    assert_findings(&overtaken(false), &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)]);
}

#[test]
fn copy_that_is_never_handed_over_is_not_waited_for() {
    let mut story = Story::begun(1);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.receive(ID, 1);
    story.give_back(ID);
    story.receive(ID, 2);
    story.start_environment(&other());
    handled_again(&mut story, &other());
    assert_eq!(story.verifier().open_requests(), 1, "the first copy may still be in somebody's hands");
    assert_eq!(story.verifier().pending(), []);
    story.wait(Duration::from_secs(25));
    assert_eq!(story.verifier().open_requests(), 0);
    assert_eq!(assert_findings(&story.ended(), &[]).conclusion, Conclusion::Passed);
}

#[test]
fn message_that_a_service_receives_and_deletes_is_settled_at_once() {
    let mut contract = contract();
    contract.spans.remove("consumer");
    let mut story = Story::begun(1).under(contract);
    story.start_request(ID);
    story.send(ID, Some(ID.traceparent()));
    story.answer(ID, 202);
    story.receive(ID, 1);
    story.delete(ID);
    story.tell_span(server(ID));
    story.tell_span(producer(ID));
    assert_eq!(story.verifier().open_requests(), 0);
}
