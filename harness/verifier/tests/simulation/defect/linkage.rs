//! Parents, traces and links.

use std::time::Duration;

use verifier::contract::Per;
use verifier::span::SpanLink;
use verifier::{Event, EventKind, RequestId, SpanId, TraceId};

use super::super::dice::Dice;
use super::super::journal::{Journal, Seen, change, name_request};
use super::super::spans::{Key, span_id, trace_id};

pub(super) fn hang_higher(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let grandparent = |seen: &Seen| journal.find(seen.parent()?)?.span.parent_span_id;
    let is_of_request = |seen: &Seen| seen.request.is_some() || seen.contract.per == Per::Invocation;
    let seen = journal.any(dice, |seen| is_of_request(seen) && grandparent(seen).is_some())?;
    let parent = grandparent(seen);
    change(events, seen.place, |span| span.parent_span_id = parent);
    Some(())
}

/// A span of an accepted request below which nothing hangs, and that has a parent.
fn any_child<'a>(journal: &'a Journal, dice: &mut Dice) -> Option<&'a Seen> {
    journal.any_leaf(dice, |seen| seen.span.parent_span_id.is_some())
}

pub(super) fn cut_off(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_child(journal, dice)?;
    change(events, seen.place, |span| span.parent_span_id = None);
    Some(())
}

pub(super) fn hang_below_itself(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |_| true)?;
    change(events, seen.place, |span| span.parent_span_id = Some(span.span_id));
    Some(())
}

pub(super) fn close_circle(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let of_request = |seen: &Seen| seen.request.is_some();
    let is_own = |seen: &Seen| seen.parent().and_then(|parent| journal.find(parent)).is_some_and(of_request);
    let child = journal.any(dice, |seen| of_request(seen) && is_own(seen))?;
    let parent = journal.find(child.parent()?)?;
    change(events, parent.place, |span| span.parent_span_id = Some(child.span.span_id));
    Some(())
}

pub(super) fn hang_below_nobody(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_child(journal, dice)?;
    let nobody = span_id(dice);
    change(events, seen.place, |span| span.parent_span_id = Some(nobody));
    Some(())
}

pub(super) fn hang_below_another_request(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let is_in_request = |seen: &Seen| journal.find(seen.parent()?)?.request;
    let seen = journal.any_leaf(dice, |seen| is_in_request(seen).is_some())?;
    let role = &journal.find(seen.parent()?)?.role;
    let other =
        journal.any(dice, |other| other.role == *role && other.request.is_some() && other.request != seen.request)?;
    let (request, (trace, parent)) = (seen.request?, other.key());
    change(events, seen.place, |span| {
        (span.trace_id, span.parent_span_id) = (trace, Some(parent));
        name_request(span, request);
    });
    Some(())
}

/// A consumer that continues what its message carries, below which nothing hangs.
fn any_consumer<'a>(journal: &'a Journal, dice: &mut Dice) -> Option<&'a Seen> {
    let is_carried = |key: Key| journal.carriers.iter().any(|(_, _, carried)| *carried == key);
    journal.any_leaf(dice, move |seen| seen.contract.per == Per::Delivery && seen.parent().is_some_and(is_carried))
}

/// Puts a span into a trace of its own.
pub(super) fn isolate(events: &mut [Event], seen: &Seen, trace: TraceId, parent: Option<SpanId>) -> Option<()> {
    let request = seen.request?;
    change(events, seen.place, |span| {
        (span.trace_id, span.parent_span_id) = (trace, parent);
        name_request(span, request);
    });
    Some(())
}

pub(super) fn do_not_extract(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_consumer(journal, dice)?;
    isolate(events, seen, trace_id(dice), None)
}

pub(super) fn take_xray(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_consumer(journal, dice)?;
    let (trace, parent) = (trace_id(dice), span_id(dice));
    let (place, _, _) = journal.carriers.iter().find(|(_, _, carried)| Some(*carried) == seen.parent())?;
    set_xray(&mut events[*place], trace, parent);
    isolate(events, seen, trace, Some(parent))
}

/// Writes an X-Ray header.
pub(super) fn set_xray(event: &mut Event, trace: TraceId, parent: SpanId) {
    if let EventKind::MessageSent { carrier, .. } = &mut event.kind {
        let trace = trace.to_string();
        carrier.xray = Some(format!("Root=1-{}-{};Parent={parent};Sampled=1", &trace[..8], &trace[8..]));
    }
}

/// Moves spans to another trace, and what messages and links say of them.
fn move_to(events: &mut [Event], journal: &Journal, keys: &[Key], trace: TraceId) {
    for seen in &journal.spans {
        change(events, seen.place, |span| {
            if keys.contains(&seen.key()) {
                span.trace_id = trace;
            }
            let is_moved = |link: &&mut SpanLink| keys.contains(&(link.trace_id, link.span_id));
            span.links.iter_mut().filter(is_moved).for_each(|link| link.trace_id = trace);
        });
    }
    for (place, _, carried) in journal.carriers.iter().filter(|(_, _, carried)| keys.contains(carried)) {
        let EventKind::MessageSent { carrier, .. } = &mut events[*place].kind else { continue };
        carrier.traceparent = Some(format!("00-{trace}-{}-01", carried.1));
    }
}

pub(super) fn do_not_attach(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let is_carried = |key: Key| journal.carriers.iter().any(|(_, _, carried)| *carried == key);
    let is_producer = |seen: &Seen| seen.contract.per == Per::Message && is_carried(seen.key());
    let seen = journal.any(dice, |seen| seen.request.is_some() && is_producer(seen))?;
    let keys: Vec<_> = journal.subtree(seen.key()).iter().map(|below| below.key()).collect();
    let trace = trace_id(dice);
    move_to(events, journal, &keys, trace);
    isolate(events, seen, trace, None)
}

pub(super) fn share_trace(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let requests: Vec<(RequestId, TraceId)> =
        journal.traces.iter().map(|(request, trace)| (*request, *trace)).collect();
    let (first, shared) = requests[dice.place(requests.len())?];
    let (request, trace) = *requests.iter().find(|(_, trace)| *trace != shared)?;
    let keys: Vec<_> = journal.having(|seen| seen.span.trace_id == trace).iter().map(|seen| seen.key()).collect();
    move_to(events, journal, &keys, shared);
    for (trace, place) in &journal.others {
        let of = requests.iter().find(|(_, of)| of == trace).map(|(of, _)| *of);
        change(events, *place, |span| {
            span.trace_id = if of == Some(request) { shared } else { span.trace_id };
            of.into_iter().for_each(|of| name_request(span, of));
        });
    }
    // In one trace, nothing else tells them apart.
    for seen in journal.having(|seen| [Some(first), Some(request)].contains(&seen.request)) {
        seen.request.into_iter().for_each(|of| change(events, seen.place, |span| name_request(span, of)));
    }
    events.iter_mut().for_each(|event| echo(event, request, shared));
    Some(())
}

/// The answer to a request tells another trace.
fn echo(event: &mut Event, of: RequestId, trace: TraceId) {
    if let EventKind::RequestFinished { request, outcome, .. } = &mut event.kind
        && *request == of
        && let verifier::event::RequestOutcome::Answered { trace_id, .. } = outcome
    {
        *trace_id = Some(trace);
    }
}

/// A span that links, and what it is for.
fn any_linking<'a>(journal: &'a Journal, dice: &mut Dice) -> Option<&'a Seen> {
    journal.any(dice, |seen| {
        !seen.span.links.is_empty() && (seen.request.is_some() || seen.contract.per == Per::Invocation)
    })
}

pub(super) fn drop_links(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_linking(journal, dice)?;
    change(events, seen.place, |span| {
        span.links.clear();
        seen.request.into_iter().for_each(|request| name_request(span, request));
    });
    Some(())
}

pub(super) fn link_to_nobody(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = any_linking(journal, dice)?;
    let link = SpanLink { trace_id: trace_id(dice), span_id: span_id(dice) };
    change(events, seen.place, |span| {
        span.links = vec![link];
        seen.request.into_iter().for_each(|request| name_request(span, request));
    });
    Some(())
}

pub(super) fn say_local(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| seen.request.is_some() && seen.span.flags & 0x200 != 0)?;
    change(events, seen.place, |span| span.flags &= !0x200);
    Some(())
}

pub(super) fn start_early(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal
        .any(dice, |seen| seen.request.is_some() && seen.parent().is_some_and(|key| journal.find(key).is_some()))?;
    let start = journal.find(seen.parent()?)?.span.start - Duration::from_micros(1_001);
    change(events, seen.place, |span| span.start = start);
    Some(())
}
