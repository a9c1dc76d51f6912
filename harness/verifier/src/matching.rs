//! Which span takes which place.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::accounts::Accounts;
use crate::assemble::{AssembledSpan, Assembly, SeenSpan};
use crate::contract::Per;
use crate::event::Patience;
use crate::expect::{Fact, Slot, expected_slots};
use crate::id::{RequestId, SpanId, TraceId};
use crate::ledger::{MessageRecord, RequestRecord};
use crate::processes::Processes;
use crate::roles::{Part, Role, RoleId, Roles};
use crate::stalls::Stalls;
use crate::tally::PlaceState;

/// A request with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) request: RequestId,
    pub(crate) record: &'a RequestRecord,
    /// Its spans; each of them once.
    pub(crate) spans: &'a [AssembledSpan],
    pub(crate) roles: &'a Roles,
    /// Whether the contract says that only a part of all traces is sampled.
    pub(crate) is_sampling: bool,
    pub(crate) processes: &'a Processes,
    pub(crate) accounts: &'a Accounts,
    /// The spans of others.
    pub(crate) assembly: &'a Assembly,
    pub(crate) stalls: &'a Stalls,
    pub(crate) patience: Patience,
    /// How many more spans the scenario excuses.
    pub(crate) excuses_left: u64,
}

impl<'a> Case<'a> {
    /// Its spans that the endpoint keeps.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &'a SeenSpan> + use<'a> {
        self.spans.iter().map(|span| &span.span).filter(|span| span.stored)
    }

    /// Whether its trace is not sampled: its carrier says so, or the contract does and there is nothing of it.
    pub(crate) fn is_unsampled(&self) -> bool {
        self.record.is_sampled_out() || (self.is_sampling && self.stored().next().is_none())
    }

    pub(crate) fn role(&self, id: RoleId) -> &'a Role {
        self.roles.get(id)
    }
}

/// Which span takes which place.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    pub(crate) slots: Vec<Slot>,
    /// For each slot, the place of its span in the case.
    taken: Vec<Option<usize>>,
    /// For each slot, whether it is empty and excused.
    excused: Vec<bool>,
    /// Whether what is not there was not sampled.
    unsampled: bool,
    /// Spans that took a slot although their names are others, or their service has none.
    pub(crate) misnamed: Vec<usize>,
    /// Stored spans without a slot that the contract allows, by their places in the case.
    pub(crate) extra: Vec<usize>,
    /// Other stored spans without a slot.
    pub(crate) surplus: Vec<usize>,
}

impl Matching {
    /// Gives every stored span its place, those that fit best first. Where a span fits two places equally
    /// well, the one that is not excused needs it more.
    pub(crate) fn new(case: &Case<'_>) -> Self {
        let slots = expected_slots(case.record, case.roles);
        let count = slots.len();
        let mut free: Vec<_> = case.spans.iter().map(|span| span.span.stored).collect();
        let mut matching = Self {
            slots,
            taken: vec![None; count],
            excused: vec![false; count],
            unsampled: case.is_unsampled(),
            misnamed: Vec::new(),
            extra: Vec::new(),
            surplus: Vec::new(),
        };
        // Parents first: what hangs below a span goes where that has gone.
        for (role, _) in case.roles.iter() {
            matching.take(case, role, &mut free);
        }
        matching.take_misnamed(case, &mut free);
        let left = (0..free.len()).filter(|&span| free[span]);
        (matching.extra, matching.surplus) = left.partition(|&span| matching.is_allowed(case, span));
        matching.excuse(case);
        matching
    }

    /// Gives the spans in a role their places, those that fit best first.
    fn take(&mut self, case: &Case<'_>, role: RoleId, free: &mut [bool]) {
        let mut pairs = Vec::new();
        for (place, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.role == role) {
            let fits = (0..free.len()).filter(|&span| free[span]);
            let fits = fits.filter_map(|span| Some((fit(case, slot, span)?, span)));
            pairs.extend(fits.map(|(fit, span)| {
                let descent = self.descent(case, slot, &case.spans[span].span);
                (Reverse((fit, descent)), slot.excusable, place, span)
            }));
        }
        pairs.sort_unstable();
        for (_, _, slot, span) in pairs {
            if self.taken[slot].is_none() && std::mem::take(&mut free[span]) {
                self.taken[slot] = Some(span);
            }
        }
    }

    /// What a span's parent says of whether it is for a slot. Records of one invocation differ in nothing else.
    fn descent(&self, case: &Case<'_>, slot: &Slot, span: &SeenSpan) -> Descent {
        let Some(parent) = case.role(slot.role).parent else { return Descent::Open };
        let named = span.parent.map(|parent| (span.trace_id, parent));
        let is_there = match (case.roles.per_of(parent), slot.fact.delivery(case.record)) {
            (Per::Delivery, _) => {
                self.span_in(parent, slot.fact).map(|above| Some(case.spans[above].span.key()) == named)
            }
            (Per::Invocation, Some(delivery)) => {
                let has_any = case.accounts.trace_of(&delivery.invocation, parent).is_some();
                let is_own = |key| case.accounts.span(&delivery.invocation, key).is_some();
                has_any.then(|| named.is_some_and(is_own))
            }
            _ => None,
        };
        is_there.map_or(Descent::Open, |is_own| if is_own { Descent::Own } else { Descent::Other })
    }

    /// Gives empty places to spans that are there in all but their name.
    fn take_misnamed(&mut self, case: &Case<'_>, free: &mut [bool]) {
        for place in 0..self.slots.len() {
            if self.taken[place].is_some() || !self.slots[place].required {
                continue;
            }
            let found =
                (0..free.len()).find(|&span| free[span] && self.is_in_place(case, place, &case.spans[span].span));
            if let Some(span) = found {
                free[span] = false;
                self.taken[place] = Some(span);
                self.misnamed.push(span);
            }
        }
    }

    /// Whether a span that the contract does not name is where the span of a slot should be.
    fn is_in_place(&self, case: &Case<'_>, place: usize, span: &SeenSpan) -> bool {
        let slot = &self.slots[place];
        let role = case.role(slot.role);
        let is_nameless = match span.part {
            Part::Unnamed(service) => service == role.service,
            Part::Foreign => span.service.is_empty() && role.span.name.as_str() == &*span.name,
            Part::Role(_) | Part::Extra(_) => false,
        };
        let in_environment = slot.fact.delivery(case.record).is_none_or(|delivery| delivery.host.is(&span.peer));
        is_nameless && span.kind == role.span.kind && in_environment && self.hangs_right(case, slot, span)
    }

    /// Whether a span hangs where the span of a slot should: below the span of its parent's role, or nowhere.
    fn hangs_right(&self, case: &Case<'_>, slot: &Slot, span: &SeenSpan) -> bool {
        match case.role(slot.role).parent {
            None => span.parent.is_none(),
            Some(parent) => span.parent.is_some_and(|id| {
                let carried = slot.fact.message(case.record).and_then(MessageRecord::traceparent);
                let by_slot = self.span_in(parent, slot.fact).map(|above| case.spans[above].span.span_id);
                by_slot == Some(id) || carried.is_some_and(|carried| carried.span() == (span.trace_id, id))
            }),
        }
    }

    /// Whether the contract allows one more of these than there are already.
    fn is_allowed(&self, case: &Case<'_>, span: usize) -> bool {
        let Part::Extra(extra) = case.spans[span].span.part else { return false };
        let extra = case.roles.extra(extra);
        let facts = match extra.per {
            Per::Message => case.record.messages.len(),
            Per::Delivery | Per::Invocation => {
                case.record.messages.iter().map(|message| message.deliveries.len()).sum()
            }
            Per::Request => 1,
            // Those that handled it; one for what no delivery tells of.
            Per::Environment => processes_of(case.record).max(1),
        };
        let before = case.spans[..span].iter().filter(|other| other.span.part == case.spans[span].span.part).count();
        before < facts.saturating_mul(extra.at_most as usize)
    }

    /// Excuses what the kill took along. A span that was exported and refused is not lost through that.
    fn excuse(&mut self, case: &Case<'_>) {
        let refused: Vec<_> = (0..case.spans.len()).filter(|&span| !case.spans[span].span.stored).collect();
        let is_refused = |slot| refused.iter().any(|&span| fit(case, slot, span) >= Some(Fit::Environment));
        let is_excusable = |place: &usize| {
            let slot = &self.slots[*place];
            slot.excusable && self.taken[*place].is_none() && !is_refused(slot)
        };
        let excusable: Vec<_> = (0..self.slots.len()).filter(is_excusable).collect();
        for (place, _) in excusable.into_iter().zip(0..case.excuses_left) {
            self.excused[place] = true;
        }
    }

    /// Whether every span is there that was asked for, those included that are excused.
    pub(crate) fn is_complete(&self) -> bool {
        self.absent().next().is_none()
    }

    /// What became of a slot.
    pub(crate) fn state(&self, place: usize) -> PlaceState {
        match (self.taken[place], self.slots[place].required) {
            (Some(_), _) => PlaceState::Matched,
            (None, false) => PlaceState::Open,
            (None, true) if self.excused[place] => PlaceState::Excused,
            (None, true) if self.unsampled => PlaceState::Unsampled,
            (None, true) => PlaceState::Missing,
        }
    }

    /// The slots and what became of them.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Slot, PlaceState)> {
        self.slots.iter().enumerate().map(|(place, slot)| (*slot, self.state(place)))
    }

    /// The slots that must be taken and are not, excused or not.
    fn absent(&self) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.slots.iter().copied().enumerate();
        slots.filter(|&(place, slot)| slot.required && self.taken[place].is_none())
    }

    /// The slots that must be taken, are not, and have no excuse.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (usize, Slot)> {
        self.absent().filter(|&(place, _)| self.state(place) == PlaceState::Missing)
    }

    /// The slots that are taken, with the places of their spans.
    pub(crate) fn matched(&self) -> impl Iterator<Item = (Slot, usize)> {
        self.slots.iter().zip(&self.taken).filter_map(|(slot, taken)| Some((*slot, (*taken)?)))
    }

    /// The slots in a role that a fact's span could have above it: those for the same, or for what that is
    /// a part of.
    pub(crate) fn slots_above(&self, role: RoleId, fact: Fact) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(move |&place| self.slots[place].role == role && self.slots[place].fact.holds(fact))
    }

    /// The span that takes the place in a role for a fact, or for what that is a part of.
    pub(crate) fn span_in(&self, role: RoleId, fact: Fact) -> Option<usize> {
        self.slots_above(role, fact).find_map(|place| self.taken[place])
    }
}

/// How many processes of environments were given messages of a request.
fn processes_of(record: &RequestRecord) -> usize {
    let deliveries = record.messages.iter().flat_map(|message| &message.deliveries);
    deliveries.map(|delivery| delivery.host.process_id()).collect::<BTreeSet<_>>().len()
}

/// How well a span fits a place, by what else than its role speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Nothing does.
    Role,
    /// It came from the environment that had the delivery.
    Environment,
    /// It continues the context that the message carries.
    Carrier,
    /// Both.
    EnvironmentAndCarrier,
    /// It came from there in that very stretch of the environment's life. Or, where there is no
    /// delivery: it is the very one that the ledger's row speaks of, as far as that can tell.
    Exact,
}

/// Whether a span hangs below the one that has the place above its own, of the same delivery or invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Descent {
    /// It hangs below another.
    Other,
    /// There is none, or there is no telling which it is.
    Open,
    /// It does.
    Own,
}

/// How well a span fits a place; not at all if its role is another.
fn fit(case: &Case<'_>, slot: &Slot, span: usize) -> Option<Fit> {
    let span = &case.spans[span].span;
    if span.part != Part::Role(slot.role) {
        return None;
    }
    let carried = slot.fact.message(case.record).and_then(MessageRecord::traceparent).map(|parent| parent.span());
    let Some(delivery) = slot.fact.delivery(case.record) else {
        let named = carried.is_some_and(|carried| is_or_hangs_below(span, carried));
        // A send that no queue has accepted, if there was one, must not take the span of one that has its row.
        let may_be_another = matches!(slot.fact, Fact::Message(_) | Fact::RefusedSend);
        return Some(if named || !may_be_another { Fit::Exact } else { Fit::Role });
    };
    if span.received < delivery.started {
        return Some(Fit::Role);
    }
    let continues = carried.is_none_or(|carried| continues(case, case.role(slot.role), span, carried));
    Some(match (delivery.host.is(&span.peer), continues) {
        (true, true) if span.cycle == delivery.host.cycle => Fit::Exact,
        (true, true) => Fit::EnvironmentAndCarrier,
        (false, true) => Fit::Carrier,
        (true, false) => Fit::Environment,
        (false, false) => Fit::Role,
    })
}

/// Whether a span is the one with these ids, or its child.
fn is_or_hangs_below(span: &SeenSpan, (trace, id): (TraceId, SpanId)) -> bool {
    span.trace_id == trace && (span.span_id == id || span.parent == Some(id))
}

/// Whether a span is made from what its message carries. What hangs below another span of its delivery, or of
/// its invocation, does not name that, but for a link.
fn continues(case: &Case<'_>, role: &Role, span: &SeenSpan, carried: (TraceId, SpanId)) -> bool {
    let above = role.parent.map(|parent| case.roles.per_of(parent));
    match (role.link, above) {
        (Some(_), _) => span.links.contains(&carried),
        (None, Some(Per::Delivery | Per::Invocation)) => true,
        (None, _) => span.parent == Some(carried.1),
    }
}
