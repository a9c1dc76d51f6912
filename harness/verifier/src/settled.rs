//! Requests that were judged, as far as they are remembered, and what comes after that.

use std::collections::{HashMap, VecDeque};

use crate::assemble::{Assembly, SeenSpan};
use crate::contract::Per;
use crate::expect::Slot;
use crate::finding::{Cause, Filing, FindingCode, Findings, Severity};
use crate::id::{RequestId, SpanId, TraceId};
use crate::ledger::MessageRecord;
use crate::matching::{Case, Matching};
use crate::processes::Host;
use crate::roles::{Role, RoleId, Roles};
use crate::rules::request::violations;
use crate::tally::{PlaceState, TraceState};
use crate::time::Timestamp;
use crate::tree::example;
use crate::violation::{Place, Violation};

/// Settled requests that are still remembered, so that what comes late or twice is recognised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settled {
    pub(crate) requests: HashMap<RequestId, Tombstone>,
    in_order: VecDeque<(Timestamp, RequestId)>,
}

/// What is remembered of a settled request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstone {
    pub(crate) traces: Vec<TraceId>,
    /// Its spans that were stored, each with a fingerprint of all that it said.
    pub(crate) spans: Vec<(TraceId, SpanId, u64)>,
    /// The places of spans that have not come and still could.
    pub(crate) places: Vec<SpanPlace>,
    /// The cases that follow from there being missing spans at all.
    pub(crate) incomplete: Vec<Filing>,
    /// Whether it was accepted, and nothing but what has not come keeps its trace from being complete.
    pub(crate) otherwise_complete: bool,
}

/// A place for a span, and how it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanPlace {
    pub(crate) role: RoleId,
    /// The kind of ledger row that it is for, if it is for one.
    pub(crate) row: Option<Per>,
    pub(crate) state: PlaceState,
    /// Where its delivery was handled, if it is for one.
    pub(crate) host: Option<Host>,
    /// The case that says that its span is missing.
    pub(crate) missing: Option<Filing>,
}

/// What a request came to.
pub(crate) struct Settlement {
    pub(crate) matching: Matching,
    pub(crate) tombstone: Tombstone,
    pub(crate) found: Vec<Violation>,
}

impl Settlement {
    /// Judges a request.
    pub(crate) fn new(case: &Case<'_>, findings: &mut Findings) -> Self {
        let matching = Matching::new(case);
        let found = violations(case, &matching);
        let example = || example(case, &matching, &found);
        found.iter().for_each(|violation| findings.add(violation.filing(), example));
        if let Some(watch) = &mut findings.watch {
            watch.settle(case, &matching, &found);
        }
        let tombstone = Tombstone::new(case, &matching, &found, findings);
        Self { matching, tombstone, found }
    }
}

/// The kind of ledger row that a place is for, if it is for one.
pub(crate) fn row_of(slot: Slot, roles: &Roles) -> Option<Per> {
    (slot.required && slot.fact.is_ledger_row()).then(|| roles.get(slot.role).span.per)
}

/// What is wrong with a span that came after its request was judged, as far as is still known.
pub(crate) fn late_flaw(role: &Role, tombstone: &Tombstone, span: &SeenSpan) -> Option<(FindingCode, Cause)> {
    let is_known = |parent: SpanId| tombstone.content_of((span.trace_id, parent)).is_some();
    let others_are_there = ![PlaceState::Missing, PlaceState::Excused, PlaceState::Unsampled]
        .into_iter()
        .any(|state| tombstone.has(state));
    if span.kind != role.span.kind {
        return Some((FindingCode::KindWrong, Cause::Instrumentation));
    }
    if !tombstone.traces.is_empty() && !tombstone.traces.contains(&span.trace_id) {
        return Some((FindingCode::TraceFragmented, Cause::ContextNotExtracted));
    }
    match (role.parent, span.parent) {
        (None, Some(_)) => Some((FindingCode::ParentWrong, Cause::ParentOfRoot)),
        (Some(_), None) => Some((FindingCode::ParentWrong, Cause::NoParent)),
        (Some(_), Some(parent)) if others_are_there && !is_known(parent) => {
            Some((FindingCode::ParentWrong, Cause::UnknownParent))
        }
        _ => None,
    }
}

impl Tombstone {
    fn new(case: &Case<'_>, matching: &Matching, found: &[Violation], findings: &Findings) -> Self {
        let mut traces: Vec<_> = case.stored().map(|span| span.trace_id).collect();
        traces.extend(case.record.answered_trace());
        traces.extend(case.record.messages.iter().filter_map(MessageRecord::traceparent).map(|parent| parent.trace_id));
        traces.sort_unstable();
        traces.dedup();
        let missing = [FindingCode::SpanMissing, FindingCode::TraceMissing, FindingCode::ParentLost];
        let (says_missing, others): (Vec<_>, Vec<_>) = found.iter().partition(|found| missing.contains(&found.code));
        let is_flaw = |found: &&Violation| findings.severity_of(found.code) == Severity::Failure;
        let is_flawed = others.iter().copied().any(|found| is_flaw(&found)) || case.stored().any(|span| span.flawed);
        let of_slot = |slot: usize| move |found: &&&Violation| found.place == Place::Slot(slot);
        let place = |(place, (slot, state)): (usize, (Slot, PlaceState))| SpanPlace {
            role: slot.role,
            row: row_of(slot, case.roles),
            state,
            host: slot.fact.delivery(case.record).map(|delivery| delivery.host.clone()),
            missing: says_missing.iter().find(of_slot(place)).map(|found| found.filing()),
        };
        let is_not_matched = |(_, (_, state)): &(usize, (Slot, PlaceState))| *state != PlaceState::Matched;
        let is_of_all = |found: &&&Violation| found.code != FindingCode::SpanMissing;
        Self {
            traces,
            spans: case.stored().map(|span| (span.trace_id, span.span_id, span.content)).collect(),
            places: matching.places().enumerate().filter(is_not_matched).map(place).collect(),
            otherwise_complete: case.record.accepted() && !is_flawed,
            incomplete: says_missing.iter().filter(is_of_all).map(|found| found.filing()).collect(),
        }
    }

    /// The fingerprint of the span with these ids, if it came.
    pub(crate) fn content_of(&self, (trace, span): (TraceId, SpanId)) -> Option<u64> {
        let known = self.spans.iter().find(|(other_trace, other, _)| (*other_trace, *other) == (trace, span));
        known.map(|(_, _, content)| *content)
    }

    pub(crate) fn has(&self, state: PlaceState) -> bool {
        self.places.iter().any(|place| place.state == state)
    }

    /// What its trace amounts to.
    pub(crate) fn state(&self) -> TraceState {
        // What hangs below an invocation's span that never came is not complete, though its own spans are there.
        match self.otherwise_complete && !self.has(PlaceState::Missing) && self.incomplete.is_empty() {
            false => TraceState::Flawed,
            true if self.has(PlaceState::Excused) => TraceState::Excused,
            true if self.has(PlaceState::Unsampled) => TraceState::Unsampled,
            true => TraceState::Complete,
        }
    }

    /// Takes out the place that a span fills: one in its environment if there is one, and the one that
    /// needs it most.
    pub(crate) fn take_place(&mut self, span: &SeenSpan) -> Option<SpanPlace> {
        let is_elsewhere = |place: &SpanPlace| !place.host.as_ref().is_some_and(|host| host.is(&span.peer));
        let places = self.places.iter().enumerate().filter(|(_, place)| Some(place.role) == span.role());
        let (best, _) = places.min_by_key(|(_, place)| (is_elsewhere(place), place.state))?;
        Some(self.places.remove(best))
    }
}

impl Settled {
    pub(crate) fn remember(&mut self, at: Timestamp, request: RequestId, tombstone: Tombstone) {
        self.requests.insert(request, tombstone);
        self.in_order.push_back((at, request));
    }

    /// Forgets the requests that were settled before an instant, and their traces.
    pub(crate) fn forget(&mut self, settled_before: Timestamp, assembly: &mut Assembly) {
        while let Some((_, request)) = self.in_order.pop_front_if(|(at, _)| *at < settled_before) {
            let tombstone = self.requests.remove(&request).unwrap_or_default();
            tombstone.traces.iter().for_each(|trace| assembly.forget(*trace, request));
        }
    }
}
