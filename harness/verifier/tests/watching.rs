//! One request that is watched: everything that is found about it is kept.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod story;

use story::{Ids, Story};
use verifier::watch::Watched;
use verifier::{FindingCode, Verdict, Verifier};

fn watched(story: &Story, number: u32) -> Watched {
    let mut verifier = Verifier::watching(Ids(number).request());
    story.events.iter().for_each(|event| verifier.handle(event));
    verifier.watched().unwrap()
}

/// A run in which no message carries a context.
fn without_context(requests: u32) -> Story {
    let mut story = Story::begun(requests);
    for ids in (0..requests).map(Ids) {
        story.start_request(ids);
        story.send(ids, None);
        story.answer(ids, 202);
        story.deliver(ids, 1);
        story.tell_span(story::consumer(ids, 1));
        story.finish_request(ids);
    }
    story.ended()
}

#[test]
fn cases_of_a_watched_request_are_kept_however_many_others_there_are() {
    let story = without_context(20);
    for number in [0, 19] {
        let watched = watched(&story, number);
        let codes: Vec<_> = watched.cases.iter().map(|case| case.code).collect();
        assert_eq!(codes, [FindingCode::CarrierMissing]);
        assert_eq!(watched.cases[0].example.request, Some(Ids(number).request()));
        assert_eq!((watched.verdict(), watched.settled), (Verdict::Fail, true));
    }
}

#[test]
fn healthy_request_is_watched_with_how_each_span_was_matched() {
    let watched = watched(&Story::healthy(3), 1);
    assert_eq!((watched.verdict(), watched.cases.len(), watched.absent.len()), (Verdict::Pass, 0, 0));
    assert_eq!(watched.spans.len(), 3);
    assert!(watched.spans.iter().all(|span| span.trace_id == Ids(1).trace() && !span.matched_by.is_empty()));
}

#[test]
fn watching_changes_no_judgement() {
    let story = without_context(20);
    let mut verifier = Verifier::watching(Ids(7).request());
    story.events.iter().for_each(|event| verifier.handle(event));
    assert_eq!(verifier.judgement(), story.judge());
}

#[test]
fn request_that_is_not_over_is_not_settled_and_proves_nothing() {
    let mut story = Story::begun(1);
    story.start_request(Ids(0));
    let watched = watched(&story, 0);
    assert_eq!((watched.verdict(), watched.settled), (Verdict::Inconclusive, false));
}
