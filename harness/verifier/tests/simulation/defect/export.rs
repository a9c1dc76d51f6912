//! Exports and processes.

use std::time::Duration;

use verifier::event::{ExportAnswer, GrpcCode, OpenExchanges, Peer, RefusalKind};
use verifier::{Event, EventKind};

use super::super::dice::Dice;
use super::super::journal::{Journal, export_mut, pause, postpone};

/// The freeze of an environment that follows an invocation's end at once.
fn freeze_after(events: &[Event], finished: usize) -> Option<usize> {
    let next = finished + 1;
    matches!(events.get(next)?.kind, EventKind::EnvironmentFrozen { .. }).then_some(next)
}

pub(super) fn leave_open(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let has_exported =
        |invocation: &&super::super::journal::Invocation| journal.exported_in(invocation).next().is_some();
    let invocations = journal.invocations.iter().filter(has_exported);
    let freezes: Vec<_> = invocations.filter_map(|invocation| freeze_after(events, invocation.finished)).collect();
    let freeze = freezes[dice.place(freezes.len())?];
    if let EventKind::EnvironmentFrozen { open, .. } = &mut events[freeze].kind {
        *open = OpenExchanges { exports: 1, connections: 0 };
    }
    Some(())
}

pub(super) fn slow_down(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let lives = journal.lives();
    let last: Vec<_> = lives.values().filter_map(|life| life.last()).collect();
    let invocation = last[dice.place(last.len())?];
    journal.exported_in(invocation).next()?;
    let freeze = freeze_after(events, invocation.finished)?;
    let is_about = |event: &Event| match &event.kind {
        EventKind::MessageDeleted { message } => invocation.messages.contains(message),
        _ => false,
    };
    let ends: Vec<_> = (freeze..events.len()).filter(|place| is_about(&events[*place])).collect();
    // The run's own end waits for it, too.
    let stop = events.iter().position(|event| matches!(event.kind, EventKind::EnvironmentEnded { .. }))?;
    let tail = events.split_off(stop);
    events.push(tail[0].clone());
    let end = pause(events, Duration::from_secs(2));
    for (moved, place) in [invocation.finished, freeze].into_iter().chain(ends).enumerate() {
        postpone(events, place - moved, end);
    }
    let (began, ended) = (tail[0].at, events.pop()?.at);
    events.extend(tail.into_iter().map(|event| Event { at: event.at + ended.since(began), ..event }));
    Some(())
}

/// The place of an export of a service.
fn export_of_service(journal: &Journal, dice: &mut Dice) -> Option<usize> {
    Some(journal.any(dice, |seen| matches!(seen.peer, Peer::Service(_)) && seen.request.is_some())?.place.event)
}

fn answer(events: &mut [Event], export: usize, answer: ExportAnswer) -> Option<()> {
    export_mut(&mut events[export])?.answer = answer;
    Some(())
}

pub(super) fn refuse_key(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    answer(events, export_of_service(journal, dice)?, ExportAnswer::Unauthenticated)
}

pub(super) fn refuse(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    answer(events, export_of_service(journal, dice)?, ExportAnswer::Refused { code: GrpcCode::Internal })
}

pub(super) fn reject_a_part(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    answer(events, export_of_service(journal, dice)?, ExportAnswer::PartialSuccess { rejected: vec![0] })
}

/// Only of the last export of a process is it known for certain what was in it.
pub(super) fn grow_too_large(events: &mut Vec<Event>, journal: &Journal, dice: &mut Dice) -> Option<()> {
    let peer = journal.any(dice, |seen| matches!(seen.peer, Peer::Service(_)))?.peer.clone();
    let last = journal.spans.iter().filter(|seen| seen.peer == peer).map(|seen| seen.place.event).max()?;
    let (refusal, why) = (RefusalKind::TooLarge, "4 MiB".to_owned());
    events[last].kind = EventKind::ExportRefused { peer, refusal, why };
    Some(())
}

/// The end of a service.
fn end_of_service<'a>(events: &'a mut [Event], dice: &mut Dice) -> Option<&'a mut verifier::event::ProcessEnd> {
    let ends = events.iter_mut().filter_map(|event| match &mut event.kind {
        EventKind::ServiceEnded { end, .. } => Some(end),
        _ => None,
    });
    let mut ends: Vec<_> = ends.collect();
    let place = dice.place(ends.len())?;
    Some(ends.swap_remove(place))
}

pub(super) fn die(events: &mut Vec<Event>, _: &Journal, dice: &mut Dice) -> Option<()> {
    let end = end_of_service(events, dice)?;
    (end.code, end.ordered) = (Some(101), false);
    Some(())
}

pub(super) fn ignore_stop(events: &mut Vec<Event>, _: &Journal, dice: &mut Dice) -> Option<()> {
    let end = end_of_service(events, dice)?;
    (end.code, end.signal) = (None, Some(9));
    Some(())
}
