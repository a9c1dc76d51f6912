//! What must hold of any run.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod story;

use std::time::Duration;

use proptest::prelude::*;
use story::{Story, assert_findings};
use verifier::finding::Cause;
use verifier::{Conclusion, Event, EventKind, FindingCode, Verifier};

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
        let story = shuffled(12, &delays).with_spans(|span| {
            let keep = number != lost;
            number += 1;
            if !keep {
                name.clone_from(&span.name);
            }
            keep.then_some(span)
        });
        let (cause, role) = match name.as_str() {
            "sqs.process" => (Cause::NotFlushed, "consumer"),
            "sqs.send" => (Cause::NotExported, "producer"),
            _ => (Cause::NotExported, "server"),
        };
        let judgement = assert_findings(&story, &[(FindingCode::SpanMissing, cause, role, 1)]);
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
}
