//! What comes, when, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use verifier::contract::{ForeignSpans, Per};
use verifier::event::Peer;
use verifier::{Event, EventKind, RequestId, SpanKind};

use super::super::dice::Dice;
use super::super::journal::{Invocation, Journal, Seen, add, drop_spans, export_of, pause, postpone};
use super::super::spans::{span_id, trace_id};

/// So many spans in a row are a burst, with some to spare.
const BURST: usize = 10;

/// The spans of an invocation's deliveries.
fn of_deliveries<'a>(journal: &'a Journal, invocation: &'a Invocation) -> Vec<&'a Seen> {
    let exported = journal.exported_in(invocation).filter(|seen| seen.contract.per == Per::Delivery);
    exported.collect()
}

/// One of the invocations whose deliveries have spans, of an environment's at least three.
fn invocation_of<'a>(
    journal: &'a Journal,
    dice: &mut Dice,
    choose: impl Fn(&[&'a Invocation], &mut Dice) -> &'a Invocation,
) -> Option<&'a Invocation> {
    let lives = journal.lives();
    let long: Vec<_> = lives.values().filter(|life| life.len() >= 3).collect();
    let life = long[dice.place(long.len())?];
    Some(choose(life, dice)).filter(|invocation| !of_deliveries(journal, invocation).is_empty())
}

pub(super) fn lose_in_mid_life(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let invocation = invocation_of(journal, dice, |life, dice| life[1 + dice.below(life.len() - 2)])?;
    let spans = of_deliveries(journal, invocation);
    drop_spans(events, vec![dice.pick(&spans).place]);
    Some(())
}

pub(super) fn lose_at_the_end(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let invocation = invocation_of(journal, dice, |life, _| life[life.len() - 1])?;
    drop_spans(events, of_deliveries(journal, invocation).iter().map(|seen| seen.place).collect());
    Some(())
}

pub(super) fn lose_at_cold_start(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let invocation = invocation_of(journal, dice, |life, _| life[0])?;
    drop_spans(events, of_deliveries(journal, invocation).iter().map(|seen| seen.place).collect());
    Some(())
}

/// Whether a span is one that a service makes for each request.
fn is_of_service(seen: &Seen) -> bool {
    matches!(seen.peer, Peer::Service(_)) && seen.contract.per == Per::Request && seen.request.is_some()
}

pub(super) fn lose_by_service(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let last = *journal.traces.keys().next_back()?;
    let has_sibling = |seen: &Seen| {
        let mut others = journal.spans.iter().filter(|other| other.request == seen.request && other.peer == seen.peer);
        others.any(|other| other.key() != seen.key())
    };
    let lost = journal.any(dice, |seen| is_of_service(seen) && seen.request < Some(last) && has_sibling(seen))?;
    drop_spans(events, vec![lost.place]);
    Some(())
}

/// The role of a span that a service makes for each request, and that is not all that there is of one.
fn role_among_others<'a>(journal: &'a Journal, dice: &mut Dice) -> Option<&'a String> {
    let is_own = |per| matches!(per, Per::Request | Per::Message | Per::Delivery);
    let own = journal.contract.spans.values().filter(|span| is_own(span.per)).count();
    (own > 1).then_some(())?;
    Some(&journal.any(dice, is_of_service)?.role)
}

/// The spans in a service's role, of these requests.
fn in_a_role(journal: &Journal, role: &str, requests: &[RequestId]) -> Vec<super::super::journal::Place> {
    let is_lost = |seen: &&Seen| seen.role == role && seen.request.is_some_and(|request| requests.contains(&request));
    journal.spans.iter().filter(is_lost).map(|seen| seen.place).collect()
}

pub(super) fn lose_in_burst(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let requests: Vec<_> = journal.traces.keys().copied().collect();
    if requests.len() < BURST + 4 {
        return None;
    }
    let first = 1 + dice.below(requests.len() - BURST - 3);
    let role = role_among_others(journal, dice)?;
    drop_spans(events, in_a_role(journal, role, &requests[first..first + BURST]));
    Some(())
}

pub(super) fn lose_at_stop(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let requests: Vec<_> = journal.traces.keys().copied().collect();
    let first = requests.len().checked_sub(1 + dice.below(6))?;
    let role = role_among_others(journal, dice)?;
    drop_spans(events, in_a_role(journal, role, &requests[first..]));
    Some(())
}

/// All spans of a request, but for those of invocations.
fn of_request(journal: &Journal, request: RequestId) -> Vec<super::super::journal::Place> {
    let own = journal.spans.iter().filter(|seen| seen.request == Some(request)).map(|seen| seen.place);
    let others = journal.others.iter().filter(|(trace, _)| Some(trace) == journal.traces.get(&request));
    own.chain(others.map(|(_, place)| *place)).collect()
}

pub(super) fn lose_trace(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let request = journal.any(dice, |seen| seen.request.is_some())?.request?;
    drop_spans(events, of_request(journal, request));
    Some(())
}

pub(super) fn hold_until_thaw(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let is_thaw = |event: &Event, of: &Invocation| match &event.kind {
        EventKind::EnvironmentThawed { environment } => *environment == of.environment,
        _ => false,
    };
    let thaw_after = |invocation: &Invocation| {
        let after = &events[invocation.finished..];
        after.iter().position(|event| is_thaw(event, invocation)).map(|place| invocation.finished + place)
    };
    let has_spans =
        |invocation: &Invocation| journal.exported_in(invocation).any(|seen| seen.contract.per != Per::Environment);
    let held = journal.invocations.iter().filter(|invocation| has_spans(invocation));
    let held: Vec<_> = held.filter_map(|invocation| Some((invocation, thaw_after(invocation)?))).collect();
    let (invocation, thaw) = held[dice.place(held.len())?];
    let exports: BTreeSet<_> = journal.exported_in(invocation).map(|seen| seen.place.event).collect();
    for export in exports.into_iter().rev() {
        postpone(events, export, thaw + 2);
    }
    Some(())
}

pub(super) fn come_late(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let export = journal.any(dice, is_of_service)?.place.event;
    let end = pause(events, Duration::from_secs(18));
    postpone(events, export, end);
    Some(())
}

pub(super) fn repeat(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let export = journal.any(dice, |_| true)?.place.event;
    events.insert(export + 1, events[export].clone());
    Some(())
}

pub(super) fn double(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |_| true)?;
    add(events, seen.place, verifier::Span { span_id: span_id(dice), ..seen.span.clone() });
    Some(())
}

pub(super) fn add_nameless(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |_| true)?;
    let name = "tower.request".to_owned();
    let span = verifier::Span { span_id: span_id(dice), name, kind: SpanKind::Internal, ..seen.span.clone() };
    let parent_span_id = Some(seen.span.span_id);
    add(events, seen.place, verifier::Span { parent_span_id, flags: 0x101, ..span });
    Some(())
}

pub(super) fn add_for_nobody(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, is_of_service)?;
    let span = verifier::Span {
        trace_id: trace_id(dice),
        span_id: span_id(dice),
        parent_span_id: None,
        attributes: seen
            .span
            .attributes
            .iter()
            .filter(|attribute| attribute.key != super::super::system::REQUEST_KEY)
            .cloned()
            .collect(),
        ..seen.span.clone()
    };
    add(events, seen.place, span);
    Some(())
}

pub(super) fn add_foreign(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |_| true)?;
    if let EventKind::RunStarted(run) = &mut events[0].kind {
        run.contract.foreign = ForeignSpans::Forbid;
    }
    let span = verifier::Span {
        trace_id: trace_id(dice),
        span_id: span_id(dice),
        attributes: Vec::new(),
        ..seen.span.clone()
    };
    let span = verifier::Span { parent_span_id: None, links: Vec::new(), ..span };
    let event = export_of(&events[seen.place.event], Peer::Anyone, "stranger", span);
    events.insert(seen.place.event, event);
    Some(())
}

pub(super) fn sample_out(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (_, _, (trace, _)) = journal.carriers.get(dice.place(journal.carriers.len())?)?;
    let (request, _) = journal.traces.iter().find(|(_, of)| *of == trace)?;
    drop_spans(events, of_request(journal, *request));
    for (place, _, _) in journal.carriers.iter().filter(|(_, _, (of, _))| of == trace) {
        let EventKind::MessageSent { carrier, .. } = &mut events[*place].kind else { continue };
        carrier.traceparent = carrier.traceparent.as_ref().map(|text| format!("{}00", &text[..text.len() - 2]));
    }
    Some(())
}
