//! What messages carry.

use verifier::contract::Per;
use verifier::{Event, EventKind};

use super::super::dice::Dice;
use super::super::journal::{Journal, Seen, change};
use super::super::spans::{span_id, trace_id};
use super::linkage::{isolate, set_xray};

/// A message of an accepted request: the event of its sending, and the spans that continue or link to it.
fn any_message<'a>(journal: &'a Journal, dice: &mut Dice) -> Option<(usize, Vec<&'a Seen>)> {
    let is_whole = |(_, _, carried): &&(usize, verifier::MessageId, (verifier::TraceId, verifier::SpanId))| {
        let mut heirs = journal.children(*carried).filter(|seen| seen.contract.per != Per::Message);
        heirs.all(|seen| seen.request.is_some() && journal.is_leaf(seen)) && !is_linked(journal, *carried)
    };
    let whole: Vec<_> = journal.carriers.iter().filter(is_whole).collect();
    let (place, _, carried) = whole[dice.place(whole.len())?];
    Some((*place, journal.children(*carried).filter(|seen| seen.contract.per == Per::Delivery).collect()))
}

fn is_linked(journal: &Journal, (trace, span): (verifier::TraceId, verifier::SpanId)) -> bool {
    let mut links = journal.spans.iter().flat_map(|seen| &seen.span.links);
    links.any(|link| (link.trace_id, link.span_id) == (trace, span))
}

fn carry(event: &mut Event, traceparent: Option<String>) {
    if let EventKind::MessageSent { carrier, .. } = &mut event.kind {
        carrier.traceparent = traceparent;
    }
}

pub(super) fn do_not_inject(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (place, consumers) = any_message(journal, dice)?;
    carry(&mut events[place], None);
    consumers.into_iter().try_for_each(|seen| isolate(events, seen, trace_id(dice), None))
}

pub(super) fn malform(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (place, consumers) = any_message(journal, dice)?;
    carry(&mut events[place], Some("00-xyz-01".to_owned()));
    consumers.into_iter().try_for_each(|seen| isolate(events, seen, trace_id(dice), None))
}

pub(super) fn inject_outside(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (place, consumers) = any_message(journal, dice)?;
    let (_, _, (trace, producer)) = journal.carriers.iter().find(|(of, _, _)| *of == place)?;
    let around = journal.find((*trace, *producer))?.span.parent_span_id?;
    // What is around it may be a span per message, too.
    journal.find((*trace, around)).filter(|seen| seen.contract.per == Per::Request)?;
    carry(&mut events[place], Some(format!("00-{trace}-{around}-01")));
    consumers.iter().for_each(|seen| change(events, seen.place, |span| span.parent_span_id = Some(around)));
    Some(())
}

pub(super) fn conflict(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (place, _, _) = journal.carriers.get(dice.place(journal.carriers.len())?)?;
    let (trace, parent) = (trace_id(dice), span_id(dice));
    set_xray(&mut events[*place], trace, parent);
    Some(())
}
