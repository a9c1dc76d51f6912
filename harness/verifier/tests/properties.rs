//! What must hold of any run.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod story;
mod world;

use std::time::Duration;

use proptest::prelude::*;
use story::{Story, assert_findings};
use verifier::event::{Fault, OpenExchanges, Peer};
use verifier::finding::Cause;
use verifier::tally::Equation;
use verifier::{Conclusion, EnvironmentId, Event, EventKind, FindingCode, RequestId, Span, SpanId, Verifier};
use world::World;

/// A healthy story whose exports come in another order, each at most as late as an exporter may be.
fn shuffled(requests: u32, delays: &[u16]) -> Story {
    let mut story = Story::healthy(requests);
    let end = story.events.pop().unwrap();
    for (event, delay) in story.events.iter_mut().filter(|event| is_export(event)).zip(delays) {
        event.at = event.at + Duration::from_millis(u64::from(*delay));
    }
    story.events.sort_by_key(|event| event.at);
    let last = story.events.last().map_or(end.at, |event| event.at);
    story.events.push(Event { at: last.max(end.at), kind: end.kind });
    story
}

fn is_export(event: &Event) -> bool {
    matches!(event.kind, EventKind::ExportAnswered(_))
}

/// Where in the journal a span was exported, and from which environment.
fn export_of(story: &Story, span: SpanId) -> Option<(usize, EnvironmentId)> {
    story.events.iter().enumerate().find_map(|(place, event)| match &event.kind {
        EventKind::ExportAnswered(export) => match &export.peer {
            Peer::Environment(environment) if export.payload.to_resource_spans()[0].spans[0].span_id == span => {
                Some((place, environment.clone()))
            }
            _ => None,
        },
        _ => None,
    })
}

/// Keeps an export back until its environment's next thaw and answers whether there is one.
fn hold_until_thaw(story: &mut Story, span: SpanId) -> bool {
    let Some((export, environment)) = export_of(story, span) else { return false };
    let of_environment = |kind: &EventKind| match kind {
        EventKind::EnvironmentThawed { environment: thawed } => (*thawed == environment).then_some(true),
        EventKind::EnvironmentEnded { environment: ended, .. }
        | EventKind::EnvironmentReset { environment: ended, .. } => (*ended == environment).then_some(false),
        _ => None,
    };
    let after = &story.events[export..];
    let next = after.iter().enumerate().find_map(|(place, event)| Some((place, of_environment(&event.kind)?)));
    let Some((thaw, true)) = next else { return false };
    let event = story.events.remove(export);
    let at = story.events[export + thaw - 1].at;
    story.events.insert(export + thaw, Event { at, kind: event.kind });
    true
}

/// Takes the order from one of the kills in an invocation. Answers whether there is such a kill.
fn disown_kill(story: &mut Story, nth: usize) -> bool {
    let killed = |event: &Event| match &event.kind {
        EventKind::FaultInjected(Fault::EnvironmentKilled { environment, invocation: Some(_) }) => {
            Some(environment.clone())
        }
        _ => None,
    };
    let kills: Vec<_> = (0..story.events.len()).filter(|&event| killed(&story.events[event]).is_some()).collect();
    if kills.is_empty() {
        return false;
    }
    let place = kills[nth % kills.len()];
    let environment = killed(&story.events[place]);
    story.events.remove(place);
    let end = story.events[place..].iter_mut().find_map(|event| match &mut event.kind {
        EventKind::EnvironmentEnded { environment: ended, end }
        | EventKind::EnvironmentReset { environment: ended, end, .. } => {
            (Some(&*ended) == environment.as_ref()).then_some(end)
        }
        _ => None,
    });
    end.is_some_and(|end| {
        end.ordered = false;
        true
    })
}

/// The number of the request that a span names.
fn request_of(span: &Span) -> u32 {
    span.attributes.iter().find_map(|attribute| RequestId::find_in(&attribute.value)).unwrap().number()
}

/// A journal's line and back.
fn through_json(event: &Event) -> Event {
    serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn healthy_run_passes_in_any_order_of_its_exports(delays in prop::collection::vec(0u16..9_000, 36)) {
        let judgement = assert_findings(&shuffled(12, &delays), &[]);
        prop_assert_eq!(judgement.conclusion, Conclusion::Passed);
        prop_assert_eq!(judgement.tally.traces.complete, 12);
    }

    #[test]
    fn any_one_lost_span_is_found_in_any_order(lost in 0usize..36, delays in prop::collection::vec(0u16..9_000, 36)) {
        let mut number = 0;
        let mut name = String::new();
        let mut request = 0;
        let story = shuffled(12, &delays).with_spans(|span| {
            let keep = number != lost;
            number += 1;
            if !keep {
                name.clone_from(&span.name);
                request = request_of(&span);
            }
            keep.then_some(span)
        });
        let missing = |cause| (FindingCode::SpanMissing, cause);
        let (role, (code, cause)) = match (name.as_str(), request) {
            ("sqs.process", 0) => ("consumer", (FindingCode::ColdStartLoss, Cause::ColdStart)),
            ("sqs.process", 11) => ("consumer", (FindingCode::TailLoss, Cause::LeftInBatch)),
            ("sqs.process", _) => ("consumer", missing(Cause::NotFlushed)),
            ("sqs.send", 11) => ("producer", (FindingCode::TailLoss, Cause::LeftInBatch)),
            ("sqs.send", _) => ("producer", missing(Cause::NotExported)),
            (_, 11) => ("server", (FindingCode::TailLoss, Cause::LeftInBatch)),
            _ => ("server", missing(Cause::NotExported)),
        };
        let judgement = assert_findings(&story, &[(code, cause, role, 1)]);
        prop_assert_eq!(judgement.tally.spans.missing, 1);
        prop_assert_eq!(judgement.tally.traces.complete, 11);
    }

    #[test]
    fn any_span_sent_again_is_found_and_hides_nothing(again in 0usize..36, at in 0usize..36) {
        let mut story = Story::healthy(12);
        let exports: Vec<_> = (0..story.events.len()).filter(|&event| is_export(&story.events[event])).collect();
        let (copy, place) = (story.events[exports[again]].clone(), exports[again.max(at)] + 1);
        story.events.insert(place, copy);
        let judgement = story.judge();
        prop_assert_eq!(judgement.tally.spans.duplicated, 1);
        prop_assert_eq!(judgement.conclusion, Conclusion::Passed);
        prop_assert_eq!(judgement.tally.traces.complete, 12);
    }

    #[test]
    fn replayed_journal_gives_the_same_judgement(delays in prop::collection::vec(0u16..30_000, 36), cut in 1usize..140) {
        let mut story = shuffled(12, &delays);
        story.events.truncate(cut);
        let mut replayed = Verifier::default();
        story.events.iter().map(through_json).for_each(|event| replayed.handle(&event));
        prop_assert_eq!(replayed.judgement(), story.judge());
    }

    #[test]
    fn rough_world_gives_no_finding_and_its_books_balance(rolls in rolls()) {
        let world = World::rough(12, &rolls);
        let judgement = assert_findings(&world.story, &[]);
        prop_assert_eq!(judgement.conclusion, Conclusion::Passed);
        let (spans, traces) = (judgement.tally.spans, judgement.tally.traces);
        prop_assert_eq!(spans.excused, world.excused);
        prop_assert_eq!(spans.matched, 2 * world.requests + world.deliveries - world.excused);
        prop_assert_eq!(traces.complete + traces.excused, world.requests);
        prop_assert_eq!(traces.excused > 0, world.excused > 0);
        prop_assert!(judgement.statements.iter().all(Equation::balances), "{:?}", judgement.statements);
    }

    #[test]
    fn span_that_is_lost_in_a_rough_world_is_found(rolls in rolls(), nth: usize) {
        let World { story, flushed, excused, .. } = World::rough(12, &rolls);
        prop_assume!(!flushed.is_empty());
        let lost = flushed[nth % flushed.len()];
        let story = story.with_spans(|span| (span.span_id != lost).then_some(span));
        // Where in the life of its process it was, gives it its name.
        let names = [FindingCode::SpanMissing, FindingCode::ColdStartLoss, FindingCode::TailLoss];
        let judgement = story.judge();
        let found: Vec<_> = judgement.findings.iter().map(|found| (found.code, &*found.subject, found.count)).collect();
        prop_assert!(names.map(|name| vec![(name, "consumer", 1)]).contains(&found), "{judgement:#?}");
        prop_assert_eq!(judgement.tally.spans.excused, excused);
        prop_assert!(judgement.identities.iter().all(Equation::balances));
    }

    #[test]
    fn span_that_waits_for_a_thaw_in_a_rough_world_is_found(rolls in rolls(), nth: usize) {
        let World { mut story, flushed, .. } = World::rough(12, &rolls);
        let from = if flushed.is_empty() { 0 } else { nth % flushed.len() };
        let held = flushed.iter().cycle().skip(from).take(flushed.len()).any(|span| hold_until_thaw(&mut story, *span));
        prop_assume!(held);
        assert_findings(&story, &[(FindingCode::LateByThaw, Cause::SentAfterThaw, "function worker", 1)]);
    }

    #[test]
    fn flush_that_is_not_awaited_in_a_rough_world_is_found(rolls in rolls(), nth: usize) {
        let World { mut story, flushed, .. } = World::rough(12, &rolls);
        prop_assume!(!flushed.is_empty());
        let is_end = |event: &Event| matches!(event.kind, EventKind::InvocationFinished { .. });
        let open = story.events.windows(2).enumerate().filter_map(|(place, pair)| {
            (is_end(&pair[0]) && matches!(pair[1].kind, EventKind::EnvironmentFrozen { .. })).then_some(place + 1)
        });
        let open: Vec<_> = open.collect();
        let EventKind::EnvironmentFrozen { open: exchanges, .. } = &mut story.events[open[nth % open.len()]].kind else {
            unreachable!("they are freezes");
        };
        *exchanges = OpenExchanges { exports: 1, connections: 0 };
        let expected = [(FindingCode::ExportOpenAtFreeze, Cause::FlushNotAwaited, "function worker", 1)];
        assert_findings(&story, &expected);
    }

    #[test]
    fn death_that_nobody_ordered_in_a_rough_world_is_found(rolls in rolls(), nth: usize) {
        let World { mut story, excused, .. } = World::rough(12, &rolls);
        prop_assume!(disown_kill(&mut story, nth));
        let expected = [(FindingCode::ProcessDied, Cause::ProcessEnded, "function worker", 1)];
        let judgement = assert_findings(&story, &expected);
        prop_assert_eq!(judgement.tally.spans.excused + judgement.tally.spans.missing, excused);
    }

    #[test]
    fn rough_journal_gives_the_same_judgement_again(rolls in rolls(), cut in 1usize..400) {
        let World { mut story, .. } = World::rough(12, &rolls);
        story.events.truncate(cut);
        let mut replayed = Verifier::default();
        story.events.iter().map(through_json).for_each(|event| replayed.handle(&event));
        prop_assert_eq!(replayed.judgement(), story.judge());
    }
}

/// The choices of a rough world.
fn rolls() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 64..256)
}
