//! What spans say.

use std::time::Duration;

use verifier::contract::{Per, StatusRule, ValueRule};
use verifier::span::SpanStatus;
use verifier::{Event, EventKind, SpanId, SpanKind, Timestamp};

use super::super::dice::Dice;
use super::super::journal::{Journal, Seen, add, change, change_resource};
use super::super::spans::attribute;

pub(super) fn reuse_ids(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| seen.request.is_some())?;
    let mut other = seen.span.clone();
    other.attributes.push(attribute("app.other", "yes"));
    add(events, seen.place, other);
    Some(())
}

pub(super) fn zero_id(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |_| true)?;
    change(events, seen.place, |span| span.span_id = SpanId::from_bytes([0; 8]));
    Some(())
}

pub(super) fn change_kind(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| seen.request.is_some())?;
    let kind = if seen.span.kind == SpanKind::Internal { SpanKind::Client } else { SpanKind::Internal };
    change(events, seen.place, |span| span.kind = kind);
    Some(())
}

pub(super) fn rename(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |_| true)?;
    change(events, seen.place, |span| "renamed".clone_into(&mut span.name));
    Some(())
}

pub(super) fn change_status(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| seen.request.is_some() && seen.contract.status == StatusRule::Outcome)?;
    let is_error = matches!(seen.span.status, SpanStatus::Error(_));
    change(events, seen.place, |span| {
        span.status = if is_error { SpanStatus::Ok } else { SpanStatus::Error("made up".to_owned()) };
    });
    Some(())
}

/// A span of a request with an attribute that the contract asks for, and that key.
fn any_with_attribute<'a>(
    journal: &'a Journal,
    dice: &mut Dice,
    is_wanted: impl Fn(&ValueRule) -> bool,
) -> Option<(&'a Seen, &'a String)> {
    let key = |seen: &'a Seen| seen.contract.attributes.iter().find(|(_, rule)| is_wanted(rule)).map(|(key, _)| key);
    let wanted = journal.spans.iter().filter(|seen| seen.request.is_some());
    let wanted: Vec<_> = wanted.filter_map(|seen| Some((seen, key(seen)?))).collect();
    dice.place(wanted.len()).map(|place| wanted[place])
}

pub(super) fn unset_attribute(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (seen, key) = any_with_attribute(journal, dice, |_| true)?;
    change(events, seen.place, |span| span.attributes.retain(|attribute| attribute.key != *key));
    Some(())
}

pub(super) fn change_attribute(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let (seen, key) = any_with_attribute(journal, dice, |rule| *rule != ValueRule::Present)?;
    change(events, seen.place, |span| {
        let own = span.attributes.iter_mut().find(|attribute| attribute.key == *key).unwrap();
        "something else".clone_into(&mut own.value);
    });
    Some(())
}

pub(super) fn unset_resource(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let key = journal.contract.resource.keys().next()?;
    let seen = journal.any(dice, |_| true)?;
    change_resource(events, seen.place, |resource| resource.attributes.retain(|attribute| attribute.key != *key));
    Some(())
}

pub(super) fn drop_attributes(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |_| true)?;
    change(events, seen.place, |span| span.dropped = 3);
    Some(())
}

pub(super) fn expose_secret(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |_| true)?;
    change(events, seen.place, |span| {
        span.attributes.push(attribute("http.request.header.authorization", "Bearer cxtp_0123456789abcdef"));
    });
    Some(())
}

pub(super) fn end_before_start(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| matches!(seen.contract.per, Per::Request | Per::Message))?;
    change(events, seen.place, |span| span.end = span.start - Duration::from_nanos(1));
    Some(())
}

pub(super) fn unset_time(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |seen| matches!(seen.contract.per, Per::Request | Per::Message))?;
    change(events, seen.place, |span| span.start = Timestamp::from_unix_nanos(0));
    Some(())
}

pub(super) fn end_in_future(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let is_open = |seen: &Seen| seen.contract.max_duration.is_none();
    let seen = journal.any(dice, |seen| is_open(seen) && matches!(seen.contract.per, Per::Request | Per::Message))?;
    let end = events[seen.place.event].at + Duration::from_millis(1_001);
    change(events, seen.place, |span| span.end = end);
    Some(())
}

pub(super) fn last_too_long(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any(dice, |seen| seen.request.is_some() && seen.contract.max_duration.is_some())?;
    let start = seen.span.end - Duration::from_millis(60_001);
    // Whoever starts that early does so with all that is above it.
    let above = std::iter::successors(Some(seen), |seen| journal.find(seen.parent()?));
    let places: Vec<_> = above.filter(|seen| seen.contract.max_duration.is_none()).map(|seen| seen.place).collect();
    let is_alone = places.len() + 1 == std::iter::successors(Some(seen), |seen| journal.find(seen.parent()?)).count();
    is_alone.then_some(())?;
    places.into_iter().chain([seen.place]).for_each(|place| change(events, place, |span| span.start = start));
    Some(())
}

pub(super) fn last_across_freeze(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let seen = journal.any_leaf(dice, |seen| frozen_before(events, seen).is_some())?;
    let start = frozen_before(events, seen)?;
    // It may hang below nothing that was not there yet.
    let parent = seen.parent().and_then(|parent| journal.find(parent));
    parent.is_none_or(|parent| parent.span.start <= start).then_some(())?;
    change(events, seen.place, |span| span.start = start);
    Some(())
}

/// The instant before the freeze that came before the last thaw of the environment that exported a span.
fn frozen_before(events: &[Event], seen: &Seen) -> Option<Timestamp> {
    let environment = seen.environment()?;
    let before = &events[..seen.place.event];
    let thaw = before.iter().rposition(|event| is_thaw(event, environment))?;
    let freeze = before[..thaw].iter().rposition(|event| is_freeze(event, environment))?;
    (events[thaw].at > events[freeze].at).then_some(events[freeze].at - Duration::from_nanos(1))
}

fn is_thaw(event: &Event, of: &verifier::EnvironmentId) -> bool {
    matches!(&event.kind, EventKind::EnvironmentThawed { environment } if environment == of)
}

fn is_freeze(event: &Event, of: &verifier::EnvironmentId) -> bool {
    matches!(&event.kind, EventKind::EnvironmentFrozen { environment, .. } if environment == of)
}
