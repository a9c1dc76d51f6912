//! What a freeze shows of a flush: one that nobody awaits, and one that is not there.

mod story;

use std::time::Duration;

use story::{Ids, Story, assert_findings, consumer, consumer_in, contract, environment, producer, server};
use verifier::event::{Cut, Delivery, Fault, InvocationOutcome, Peer, RefusalKind, ResetReason};
use verifier::finding::Cause;
use verifier::{Conclusion, EnvironmentId, EventKind, FindingCode};

const ID: Ids = Ids(0);

const NOT_AWAITED: (FindingCode, Cause, &str, u64) =
    (FindingCode::ExportOpenAtFreeze, Cause::FlushNotAwaited, "function worker", 1);
const LATE: (FindingCode, Cause, &str, u64) = (FindingCode::LateByThaw, Cause::SentAfterThaw, "function worker", 1);

/// A request of which nothing but the consumer span and its freeze are left to tell.
fn delivered(story: &mut Story, ids: Ids) {
    story.start_request(ids);
    story.send(ids, Some(ids.traceparent()));
    story.answer(ids, 202);
    story.tell_fresh_span(server(ids));
    story.tell_fresh_span(producer(ids));
    story.thaw(&environment());
    story.deliver(ids, 1);
}

/// The delivery ends well, with that many exports and connections still open.
fn frozen(story: &mut Story, ids: Ids, exports: u32, connections: u32) {
    story.succeed(ids, 1);
    story.freeze(&environment(), exports, connections);
    story.delete(ids);
}

#[test]
fn export_that_is_open_at_the_freeze_is_found_even_if_it_arrives() {
    let open = |exports| {
        let mut story = Story::begun(1);
        delivered(&mut story, ID);
        story.tell_fresh_span(consumer(ID, 1));
        frozen(&mut story, ID, exports, 0);
        story.ended()
    };
    assert_findings(&open(0), &[]);
    let judgement = assert_findings(&open(1), &[NOT_AWAITED]);
    assert_eq!(judgement.conclusion, Conclusion::Failed);
    assert_eq!(judgement.tally.traces.complete, 1);
    let evidence = &judgement.findings[0].examples[0].evidence[0];
    for part in ["1 exports", "worker-1", "invocation-0-1"] {
        assert!(evidence.contains(part), "{evidence}");
    }
}

#[test]
fn exports_that_are_open_after_init_are_nobodys_flush() {
    let mut story = Story::begun(1);
    story.freeze(&environment(), 1, 1);
    delivered(&mut story, ID);
    story.tell_span(consumer(ID, 1));
    frozen(&mut story, ID, 0, 0);
    assert_findings(&story.ended(), &[]);
}

#[test]
fn flush_that_nobody_awaits_explains_what_is_missing_late_and_duplicated() {
    let mut story = Story::begun(3);
    // The first is never exported, the second after a thaw, the third twice.
    delivered(&mut story, Ids(0));
    frozen(&mut story, Ids(0), 0, 0);
    delivered(&mut story, Ids(1));
    frozen(&mut story, Ids(1), 1, 0);
    delivered(&mut story, Ids(2));
    story.tell_span(consumer(Ids(1), 1));
    story.tell_span(consumer(Ids(2), 1));
    frozen(&mut story, Ids(2), 0, 0);
    story.thaw(&environment());
    story.tell_span(consumer(Ids(2), 1));
    let judgement = assert_findings(&story.ended(), &[NOT_AWAITED]);
    let consequences: Vec<_> = judgement.findings[0].consequences.iter().map(|(code, count)| (*code, *count)).collect();
    let expected = [(FindingCode::LateByThaw, 1), (FindingCode::SpanMissing, 1), (FindingCode::SpanDuplicated, 1)];
    assert_eq!(consequences, expected);
    assert!(judgement.findings[0].examples.iter().any(|example| !example.seen.is_empty()), "a trace shows it");
}

/// Requests in one environment; what each leaves behind is exported when the next one thaws it, and is on
/// its way at the freeze after that.
fn left_to_a_timer(requests: u32, open: impl Fn(u32) -> u32) -> Story {
    let mut story = Story::begun(requests);
    for number in 0..requests {
        delivered(&mut story, Ids(number));
        if let Some(last) = number.checked_sub(1) {
            story.tell_span(consumer(Ids(last), 1));
        }
        frozen(&mut story, Ids(number), open(number), 0);
    }
    story.ended()
}

#[test]
fn timer_whose_export_is_open_at_a_freeze_is_no_flush_that_nobody_awaits() {
    let judgement =
        assert_findings(&left_to_a_timer(3, |number| u32::from(number > 0)), &[(LATE.0, LATE.1, LATE.2, 2)]);
    let consequences: Vec<_> = judgement.findings[0].consequences.iter().map(|(code, count)| (*code, *count)).collect();
    assert_eq!(consequences, [(FindingCode::ExportOpenAtFreeze, 2), (FindingCode::SpanMissing, 1)]);
}

#[test]
fn timer_whose_export_also_holds_the_present_span_is_no_flush_that_nobody_awaits() {
    let mut story = Story::begun(2);
    delivered(&mut story, Ids(0));
    frozen(&mut story, Ids(0), 0, 0);
    delivered(&mut story, Ids(1));
    let (peer, mut present) = consumer(Ids(1), 1);
    (present.start, present.end) = (story.now(), story.now());
    story.tell_spans(peer, vec![consumer(Ids(0), 1).1, present]);
    frozen(&mut story, Ids(1), 1, 0);
    assert_findings(&story.ended(), &[LATE]);
}

#[test]
fn flush_that_was_seen_once_explains_the_exports_that_lag_behind_it() {
    let mut story = Story::begun(3);
    delivered(&mut story, Ids(0));
    story.tell_fresh_span(consumer(Ids(0), 1));
    frozen(&mut story, Ids(0), 1, 0);
    delivered(&mut story, Ids(1));
    frozen(&mut story, Ids(1), 0, 0);
    delivered(&mut story, Ids(2));
    story.tell_span(consumer(Ids(1), 1));
    frozen(&mut story, Ids(2), 1, 0);
    let judgement = assert_findings(&story.ended(), &[NOT_AWAITED]);
    let consequences: Vec<_> = judgement.findings[0].consequences.iter().map(|(code, count)| (*code, *count)).collect();
    let expected = [(FindingCode::ExportOpenAtFreeze, 1), (FindingCode::LateByThaw, 1), (FindingCode::SpanMissing, 1)];
    assert_eq!(consequences, expected);
}

#[test]
fn connection_of_a_later_invocation_may_be_for_what_an_earlier_one_has_left() {
    let mut story = Story::begun(2);
    delivered(&mut story, Ids(0));
    frozen(&mut story, Ids(0), 0, 0);
    delivered(&mut story, Ids(1));
    frozen(&mut story, Ids(1), 0, 1);
    assert_findings(&story.ended(), &[(FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 2)]);
}

#[test]
fn open_connection_alone_is_nothing_wrong() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.tell_span(consumer(ID, 1));
    frozen(&mut story, ID, 0, 1);
    assert_findings(&story.ended(), &[]);
}

#[test]
fn open_connection_is_the_cause_of_a_span_that_had_not_come_by_the_freeze() {
    let mut story = Story::begun(2);
    delivered(&mut story, ID);
    frozen(&mut story, ID, 0, 1);
    let missing = assert_findings(&story.clone().ended(), &[NOT_AWAITED]);
    assert_eq!(missing.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));

    delivered(&mut story, Ids(1));
    story.tell_span(consumer(ID, 1));
    story.tell_span(consumer(Ids(1), 1));
    frozen(&mut story, Ids(1), 0, 0);
    let late = assert_findings(&story.ended(), &[NOT_AWAITED]);
    assert_eq!(late.findings[0].consequences.get(&FindingCode::LateByThaw), Some(&1));
}

/// Two requests in one environment; the first one's span comes within the second one's invocation.
fn hidden_by_traffic(thaws: bool) -> Story {
    let mut story = Story::begun(2);
    for ids in [Ids(0), Ids(1)] {
        delivered(&mut story, ids);
        if ids.0 == 1 {
            story.tell_span(consumer(Ids(0), 1));
            story.tell_span(consumer(Ids(1), 1));
        }
        frozen(&mut story, ids, 0, 0);
    }
    if !thaws {
        let freezer = |kind: &EventKind| {
            matches!(kind, EventKind::EnvironmentThawed { .. } | EventKind::EnvironmentFrozen { .. })
        };
        story.events.retain(|event| !freezer(&event.kind));
    }
    story.ended()
}

#[test]
fn span_that_a_later_thaw_let_out_is_late_by_thaw() {
    let judgement = assert_findings(&hidden_by_traffic(true), &[LATE]);
    assert_eq!(judgement.conclusion, Conclusion::Failed);
    let tally = judgement.tally;
    assert_eq!((tally.spans.matched, tally.spans.missing, tally.traces.complete), (6, 0, 1));
}

#[test]
fn span_is_not_late_by_thaw_where_nothing_is_frozen() {
    assert_findings(&hidden_by_traffic(false), &[]);
}

#[test]
fn span_that_comes_before_the_next_thaw_is_in_time() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.succeed(ID, 1);
    story.delete(ID);
    story.tell_span(consumer(ID, 1));
    story.freeze(&environment(), 0, 0);
    story.thaw(&environment());
    assert_findings(&story.ended(), &[]);
}

#[test]
fn tail_that_is_lost_follows_from_the_flush_that_traffic_hides() {
    let story = hidden_by_traffic(true).with_spans(|span| (span.span_id != Ids(1).consumer(1)).then_some(span));
    let judgement = assert_findings(&story, &[LATE]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

#[test]
fn missing_span_is_filed_anew_when_its_cause_shows_only_later() {
    // The first is judged missing long before the second shows what is wrong with the function.
    let mut story = Story::begun(3);
    delivered(&mut story, Ids(2));
    frozen(&mut story, Ids(2), 0, 0);
    story.wait(Duration::from_secs(25));
    let before = story.judge().findings;
    assert_eq!((before.len(), before[0].code), (1, FindingCode::SpanMissing));
    for ids in [Ids(0), Ids(1)] {
        delivered(&mut story, ids);
        if ids.0 == 1 {
            story.tell_fresh_span(consumer(Ids(0), 1));
            story.tell_fresh_span(consumer(Ids(1), 1));
        }
        frozen(&mut story, ids, 0, 0);
    }
    let judgement = assert_findings(&story.ended(), &[LATE]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

#[test]
fn span_that_a_thaw_lets_out_after_its_request_was_judged_is_late_by_thaw() {
    let mut story = Story::begun(2);
    delivered(&mut story, ID);
    frozen(&mut story, ID, 0, 0);
    story.wait(Duration::from_secs(25));
    assert_eq!(story.judge().tally.spans.missing, 1);
    delivered(&mut story, Ids(1));
    story.tell_fresh_span(consumer(ID, 1));
    story.tell_fresh_span(consumer(Ids(1), 1));
    frozen(&mut story, Ids(1), 0, 0);
    let judgement = assert_findings(&story.ended(), &[LATE]);
    assert_eq!((judgement.tally.spans.missing, judgement.tally.spans.matched), (0, 6));
    assert_eq!((judgement.tally.traces.complete, judgement.conclusion), (1, Conclusion::Failed));
}

#[test]
fn invocation_that_was_delivered_twice_is_not_late_for_its_first_delivery() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.deliver(ID, 1);
    story.tell_span(consumer(ID, 1));
    story.tell_span(consumer(ID, 2));
    frozen(&mut story, ID, 0, 0);
    let judgement = assert_findings(&story.ended(), &[]);
    assert_eq!(judgement.tally.spans.matched, 4);
}

#[test]
fn each_record_of_a_batch_is_held_to_its_own_freeze() {
    let batch = |late: bool| {
        let mut story = Story::begun(3);
        for ids in [Ids(0), Ids(1)] {
            story.start_request(ids);
            story.send(ids, Some(ids.traceparent()));
            story.answer(ids, 202);
            story.tell_span(server(ids));
            story.tell_span(producer(ids));
        }
        story.thaw(&environment());
        let of = |ids: Ids| Delivery { message: ids.message(), receive_count: 1 };
        let (invocation, deliveries) = (Ids(0).invocation(1), vec![of(Ids(0)), of(Ids(1))]);
        story.tell(EventKind::InvocationStarted { invocation, environment: environment(), cold: true, deliveries });
        story.tell_span(consumer(Ids(0), 1));
        if !late {
            story.tell_span(consumer(Ids(1), 1));
        }
        frozen(&mut story, Ids(0), 0, 0);
        story.delete(Ids(1));
        delivered(&mut story, Ids(2));
        if late {
            story.tell_span(consumer(Ids(1), 1));
        }
        story.tell_span(consumer(Ids(2), 1));
        frozen(&mut story, Ids(2), 0, 0);
        story.ended()
    };
    assert_findings(&batch(false), &[]);
    assert_findings(&batch(true), &[LATE]);
}

#[test]
fn message_that_the_same_environment_gets_again_has_its_spans_in_their_own_invocations() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.tell_span(consumer(ID, 1));
    story.finish_invocation(ID, 1, InvocationOutcome::Succeeded { failed: vec![ID.message()] });
    story.freeze(&environment(), 0, 0);
    story.give_back(ID);
    story.thaw(&environment());
    story.deliver(ID, 2);
    story.tell_span(consumer(ID, 2));
    story.succeed(ID, 2);
    story.freeze(&environment(), 0, 0);
    story.delete(ID);
    assert_findings(&story.ended(), &[]);
}

#[test]
fn process_of_a_reset_environment_is_not_late_for_the_one_before() {
    let mut story = Story::begun(2);
    delivered(&mut story, ID);
    story.finish_invocation(ID, 1, InvocationOutcome::TimedOut);
    story.reset(&environment(), ResetReason::TimedOut, false);
    story.bury(ID);
    story.start_environment(&environment());
    delivered(&mut story, Ids(1));
    story.tell_span(consumer(Ids(1), 1));
    frozen(&mut story, Ids(1), 0, 0);
    let expected = [(FindingCode::SpanMissing, Cause::InvocationTimedOut, "consumer", 1)];
    assert_findings(&story.ended(), &expected);
}

#[test]
fn span_that_its_process_had_sent_before_a_reset_is_not_let_out_by_the_next_ones_thaw() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.finish_invocation(ID, 1, InvocationOutcome::TimedOut);
    story.reset(&environment(), ResetReason::TimedOut, false);
    story.bury(ID);
    story.start_environment(&environment());
    story.freeze(&environment(), 0, 0);
    story.thaw(&environment());
    story.freeze(&environment(), 0, 0);
    story.thaw(&environment());
    story.tell_span(consumer(ID, 1));
    assert_findings(&story.ended(), &[]);
}

#[test]
fn late_span_takes_the_place_in_its_own_environment() {
    let other = EnvironmentId::new("worker-2");
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    story.finish_invocation(ID, 1, InvocationOutcome::Succeeded { failed: vec![ID.message()] });
    story.freeze(&environment(), 0, 0);
    story.give_back(ID);
    story.start_environment(&other);
    story.deliver_to(&other, ID, 2);
    story.succeed(ID, 2);
    story.freeze(&other, 0, 0);
    story.delete(ID);
    story.wait(Duration::from_secs(25));
    story.thaw(&other);
    story.tell_fresh_span(consumer_in(&other, ID, 2));
    let judgement = assert_findings(&story.ended(), &[LATE]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::SpanMissing), Some(&1));
}

#[test]
fn missing_span_that_comes_after_all_is_late_however_new_it_is() {
    let mut story = Story::begun(1);
    delivered(&mut story, ID);
    frozen(&mut story, ID, 0, 0);
    story.wait(Duration::from_secs(25));
    story.tell_fresh_span(consumer(ID, 1));
    assert_findings(&story.ended(), &[(FindingCode::SpanLate, Cause::Delayed, "consumer", 1)]);
}

#[test]
fn whole_trace_that_is_missing_follows_from_a_flush_only_if_all_of_it_does() {
    let nothing_of_the_second = |alone: bool| {
        let mut story = Story::begun(2);
        delivered(&mut story, Ids(0));
        story.tell_fresh_span(consumer(Ids(0), 1));
        frozen(&mut story, Ids(0), 1, 0);
        delivered(&mut story, Ids(1));
        frozen(&mut story, Ids(1), 0, 0);
        let mut contract = contract();
        if alone {
            contract.spans.retain(|role, _| role == "consumer");
            contract.spans.values_mut().for_each(|span| span.parent = None);
        }
        story.ended().under(contract).with_spans(|mut span| {
            let is_of_the_function = span.name == "sqs.process";
            span.parent_span_id = span.parent_span_id.filter(|_| !alone);
            (span.trace_id == Ids(0).trace() && (is_of_the_function || !alone)).then_some(span)
        })
    };
    let missing = (FindingCode::TraceMissing, Cause::NothingExported, "trace", 1);
    assert_findings(&nothing_of_the_second(false), &[NOT_AWAITED, missing]);
    let judgement = assert_findings(&nothing_of_the_second(true), &[NOT_AWAITED]);
    assert_eq!(judgement.findings[0].consequences.get(&FindingCode::TraceMissing), Some(&1));
}

#[test]
fn each_function_answers_for_its_own_flush() {
    let mut story = Story::begun(2);
    delivered(&mut story, ID);
    story.tell_fresh_span(consumer(ID, 1));
    frozen(&mut story, ID, 1, 0);
    let (other, function) = (EnvironmentId::new("mailer-1"), "mailer".to_owned());
    story.tell(EventKind::EnvironmentStarted { environment: other.clone(), function, pid: 20 });
    let ids = Ids(1);
    story.start_request(ids);
    story.send(ids, Some(ids.traceparent()));
    story.answer(ids, 202);
    story.tell_span(server(ids));
    story.tell_span(producer(ids));
    story.deliver_to(&other, ids, 1);
    story.succeed(ids, 1);
    story.freeze(&other, 0, 0);
    story.delete(ids);
    let expected = [NOT_AWAITED, (FindingCode::SpanMissing, Cause::NotFlushed, "consumer", 1)];
    assert_findings(&story.ended(), &expected);
}

/// The connections of the frozen environment are cut; the next span comes in time, late or never.
fn cut(how: Cut, exports: u32, comes: Option<bool>) -> Story {
    let mut story = Story::begun(3);
    delivered(&mut story, Ids(0));
    story.tell_fresh_span(consumer_in(&environment(), Ids(0), 1));
    frozen(&mut story, Ids(0), 0, 0);
    story.tell(EventKind::FaultInjected(Fault::ConnectionsCut { environment: environment(), cut: how }));
    delivered(&mut story, Ids(1));
    if comes == Some(true) {
        story.tell_fresh_span(consumer(Ids(1), 1));
    }
    frozen(&mut story, Ids(1), exports, 0);
    delivered(&mut story, Ids(2));
    if comes == Some(false) {
        story.tell_span(consumer(Ids(1), 1));
    }
    story.tell_fresh_span(consumer(Ids(2), 1));
    frozen(&mut story, Ids(2), exports, 0);
    story.ended()
}

#[test]
fn exporter_that_gets_over_a_cut_is_healthy_whatever_hangs_in_the_black_hole() {
    assert_findings(&cut(Cut::BlackHole, 1, Some(true)), &[]);
    assert_findings(&cut(Cut::HalfClose, 1, Some(true)), &[]);
    let told = (FindingCode::ExportOpenAtFreeze, Cause::FlushNotAwaited, "function worker", 2);
    assert_findings(&cut(Cut::Reset, 1, Some(true)), &[told]);
}

#[test]
fn spans_that_a_cut_delays_or_takes_are_the_harnesss_doing() {
    let late = (FindingCode::LateByThaw, Cause::FaultCutConnections, "function worker", 1);
    let missing = (FindingCode::SpanMissing, Cause::FaultCutConnections, "consumer", 1);
    assert_findings(&cut(Cut::BlackHole, 1, Some(false)), &[late]);
    assert_findings(&cut(Cut::BlackHole, 1, None), &[missing]);
}

#[test]
fn cut_is_not_to_blame_any_more_once_an_export_got_through() {
    let story = cut(Cut::Reset, 0, Some(true));
    let story = story.with_spans(|span| (span.span_id != Ids(2).consumer(1)).then_some(span));
    assert_findings(&story, &[(FindingCode::TailLoss, Cause::LeftInBatch, "consumer", 1)]);
}

/// A connection of the environment fails in the first invocation; its span comes after the next thaw, or never.
fn refused(comes: bool, connections: u32) -> Story {
    let mut story = Story::begun(2);
    delivered(&mut story, Ids(0));
    let why = "TLS handshake failed: tls handshake eof".to_owned();
    story.tell(EventKind::ExportRefused {
        peer: Peer::Environment(environment()),
        refusal: RefusalKind::Connection,
        why,
    });
    frozen(&mut story, Ids(0), 0, connections);
    delivered(&mut story, Ids(1));
    if comes {
        story.tell_span(consumer(Ids(0), 1));
    }
    story.tell_fresh_span(consumer(Ids(1), 1));
    frozen(&mut story, Ids(1), 0, 0);
    story.ended()
}

#[test]
fn flush_whose_connection_failed_is_not_called_a_flush_that_was_not_made() {
    let late = (FindingCode::LateByThaw, Cause::ConnectionFailed, "function worker", 1);
    let missing = (FindingCode::SpanMissing, Cause::ConnectionFailed, "consumer", 1);
    for connections in [0, 1] {
        assert_findings(&refused(true, connections), &[late]);
        assert_findings(&refused(false, connections), &[missing]);
    }
}
