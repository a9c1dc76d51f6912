//! How the spans of a request hang together, beside what the contract wants.

use super::carrier::is_in_xray_trace;
use super::request::Checker;
use crate::assemble::SeenSpan;
use crate::contract::Per;
use crate::expect::{Fact, Slot};
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::{RequestId, SpanId, TraceId};
use crate::ledger::MessageRecord;
use crate::roles::RoleId;
use crate::tally::PlaceState;
use crate::violation::Violation;

/// The parent that a span names.
enum Parent<'a> {
    /// A span of the request, or of an invocation that handled a message of it.
    Seen(&'a SeenSpan),
    /// A span of another request.
    OfRequest(RequestId),
    /// The span that a message of the request carries; it was not seen.
    Carried,
    /// Nobody has seen it.
    Unknown,
}

impl Checker<'_> {
    /// What is wrong with a span's trace and parent: at most one finding for a span.
    pub(super) fn linkage(&self, slot: Slot, span: usize, broken_carrier: Option<&FindingKey>) -> Option<Violation> {
        let seen = &self.case.spans[span].span;
        // What is its own parent is told by the rule for that.
        if seen.parent == Some(seen.span_id) {
            return None;
        }
        let is_carried = matches!(slot.fact, Fact::Delivery(..));
        let roots = || broken_carrier.filter(|_| is_carried).cloned().into_iter().collect();
        let violation = match (self.role(slot).parent, seen.parent) {
            (None, None) if self.is_fragment(slot, seen) => Some(self.fragmented(slot, span)),
            (None, None) => None,
            (None, Some(id)) => self.parent_of_root(slot, span, id),
            (Some(_), None) if self.is_fragment(slot, seen) => Some(self.fragmented(slot, span)),
            (Some(_), None) => {
                let evidence = "it has no parent".to_owned();
                Some(self.at_span(FindingCode::ParentWrong, Cause::NoParent, slot, span, evidence))
            }
            (Some(expected), Some(id)) => self.child(slot, span, expected, id),
        }?;
        let roots = if violation.roots.is_empty() { roots() } else { violation.roots };
        Some(Violation { roots, ..violation })
    }

    /// A root that names a parent.
    fn parent_of_root(&self, slot: Slot, span: usize, id: SpanId) -> Option<Violation> {
        let seen = &self.case.spans[span].span;
        let evidence = format!("its parent is {id}, the contract names none");
        let (code, cause) = match self.find_parent(seen, id) {
            Parent::Seen(parent) if self.is_above(seen, parent) => (FindingCode::ParentCycle, Cause::Cycle),
            Parent::Seen(_) => (FindingCode::ParentWrong, Cause::ParentOfRoot),
            Parent::OfRequest(_) => (FindingCode::ParentCrossRequest, Cause::OtherRequest),
            Parent::Carried => (FindingCode::ParentWrong, Cause::ParentOfRoot),
            Parent::Unknown => (FindingCode::PhantomParent, Cause::GatewayAsParent),
        };
        Some(self.at_span(code, cause, slot, span, evidence))
    }

    /// A span that should have a parent in the role `expected`, and names one.
    fn child(&self, slot: Slot, span: usize, expected: RoleId, id: SpanId) -> Option<Violation> {
        let seen = &self.case.spans[span].span;
        // An invocation's own trace is that of all its requests, whoever of them it was known by first.
        let is_shared =
            self.case.roles.per_of(self.role(slot).root) == Per::Invocation && !self.is_fragment(slot, seen);
        let parent = match self.find_parent(seen, id) {
            Parent::OfRequest(_) if is_shared => Parent::Unknown,
            parent => parent,
        };
        match parent {
            Parent::Seen(parent) if self.is_parent_for(slot, expected, parent) => None,
            Parent::Seen(parent) if self.is_above(seen, parent) => {
                let evidence = format!("its parent is {id} ({:?}), which is below it", parent.name);
                Some(self.at_span(FindingCode::ParentCycle, Cause::Cycle, slot, span, evidence))
            }
            Parent::Seen(parent) => Some(self.parent_wrong(slot, span, expected, parent)),
            Parent::OfRequest(other) => Some(self.cross_request(slot, span, other)),
            Parent::Carried => self.parent_not_there(slot, span, expected),
            Parent::Unknown if self.is_fragment(slot, seen) => Some(self.fragmented(slot, span)),
            Parent::Unknown if self.may_be_lost(slot, expected) => self.parent_not_there(slot, span, expected),
            Parent::Unknown => {
                let evidence = format!("its parent is {id}, which no process issued and no message carries");
                Some(self.at_span(FindingCode::PhantomParent, Cause::GatewayAsParent, slot, span, evidence))
            }
        }
    }

    /// Looks for the parent that a span names, in its trace.
    fn find_parent(&self, seen: &SeenSpan, id: SpanId) -> Parent<'_> {
        let key = (seen.trace_id, id);
        let carried = self.case.record.messages.iter().filter_map(MessageRecord::traceparent);
        let own = self.case.stored().find(|other| other.key() == key);
        if let Some(parent) = own.or_else(|| self.span_of_invocations(key)) {
            return Parent::Seen(parent);
        }
        match self.case.assembly.request_of(seen.trace_id) {
            Some(other) if other != self.case.request && self.anchor != Some(seen.trace_id) => Parent::OfRequest(other),
            _ if carried.into_iter().any(|carried| carried.span() == key) => Parent::Carried,
            _ => Parent::Unknown,
        }
    }

    /// A span of an invocation that handled a message of the request.
    fn span_of_invocations(&self, key: (TraceId, SpanId)) -> Option<&SeenSpan> {
        let deliveries = self.case.record.messages.iter().flat_map(|message| &message.deliveries);
        deliveries.into_iter().find_map(|delivery| self.case.accounts.span(&delivery.invocation, key))
    }

    /// Whether a span is the parent that a slot's span should have: in that role, and for the same, or for
    /// what that is a part of.
    fn is_parent_for(&self, slot: Slot, expected: RoleId, parent: &SeenSpan) -> bool {
        if parent.role() != Some(expected) && !self.takes_role(expected, parent) {
            return false;
        }
        let carried = slot.fact.message(self.case.record).and_then(MessageRecord::traceparent);
        match self.case.roles.per_of(expected) {
            Per::Request | Per::Environment => true,
            // The message says which of them it is; one that an SDK sent twice has but one.
            Per::Message => match (self.case.roles.per_of(slot.role), carried) {
                (Per::Message, _) | (_, None) => true,
                (_, Some(carried)) => carried.span() == parent.key() || !self.is_carrier_of_another(slot.fact, parent),
            },
            Per::Delivery => self.is_in_slot_for(expected, slot.fact, parent),
            Per::Invocation => slot
                .fact
                .delivery(self.case.record)
                .is_none_or(|delivery| self.case.accounts.span(&delivery.invocation, parent.key()).is_some()),
        }
    }

    /// Whether a span takes a place in a role although its name is another.
    fn takes_role(&self, role: RoleId, span: &SeenSpan) -> bool {
        let mut matched = self.matching.matched();
        matched.any(|(slot, place)| slot.role == role && self.case.spans[place].span.key() == span.key())
    }

    fn is_in_slot_for(&self, role: RoleId, fact: Fact, span: &SeenSpan) -> bool {
        let place = self.matching.span_in(role, fact);
        place.is_none_or(|place| self.case.spans[place].span.key() == span.key())
    }

    /// Whether a span is the one whose context another message carries.
    fn is_carrier_of_another(&self, fact: Fact, span: &SeenSpan) -> bool {
        let own = fact.message(self.case.record).map(|message| &message.message);
        let mut others = self.case.record.messages.iter().filter(|message| Some(&message.message) != own);
        others.any(|message| message.traceparent().is_some_and(|carried| carried.span() == span.key()))
    }

    /// Whether following the parents from `below` leads to `above`.
    fn is_above(&self, above: &SeenSpan, below: &SeenSpan) -> bool {
        let parent = |span: &&SeenSpan| {
            let id = span.parent?;
            self.case.stored().find(|other| other.key() == (span.trace_id, id))
        };
        let line = std::iter::successors(Some(below), parent).take(self.case.spans.len() + 1);
        line.into_iter().any(|span| span.key() == above.key())
    }

    fn parent_wrong(&self, slot: Slot, span: usize, expected: RoleId, parent: &SeenSpan) -> Violation {
        let expected = &self.case.role(expected).name;
        let evidence = format!("its parent is {} ({:?}), the contract names {expected}", parent.span_id, parent.name);
        self.at_span(FindingCode::ParentWrong, Cause::OtherParent, slot, span, evidence)
    }

    fn cross_request(&self, slot: Slot, span: usize, other: RequestId) -> Violation {
        let trace = self.case.spans[span].span.trace_id;
        let evidence = format!("it is in trace {trace}, that of request {other}");
        self.at_span(FindingCode::ParentCrossRequest, Cause::OtherRequest, slot, span, evidence)
    }

    /// The parent should be there and is not: excused, not sampled, open, or lost.
    fn parent_not_there(&self, slot: Slot, span: usize, expected: RoleId) -> Option<Violation> {
        let mut places =
            self.matching.slots_above(expected, slot.fact).map(|place| (place, self.matching.state(place)));
        let of_invocation = self.case.roles.per_of(expected) == Per::Invocation;
        match places.next() {
            Some((_, PlaceState::Excused | PlaceState::Unsampled)) => None,
            Some((_, PlaceState::Open)) => {
                let evidence = "its parent's operation was not answered".to_owned();
                Some(self.at_span(FindingCode::ParentOpen, Cause::NotEnded, slot, span, evidence))
            }
            Some((place, PlaceState::Missing)) => Some(self.parent_lost(slot, span, self.matching.slots[place])),
            Some((_, PlaceState::Matched)) | None if of_invocation => {
                self.parent_lost_with_invocation(slot, span, expected)
            }
            // The message carries a context, and the place of the span that it names is taken by another.
            Some((_, PlaceState::Matched)) | None => None,
        }
    }

    /// Whether the place of the parent is empty, so that the unknown one may be what should be there.
    fn may_be_lost(&self, slot: Slot, expected: RoleId) -> bool {
        let carries_another = self.case.roles.per_of(expected) == Per::Message
            && slot.fact.message(self.case.record).and_then(MessageRecord::traceparent).is_some()
            && matches!(slot.fact, Fact::Delivery(..));
        let of_invocation = self.case.roles.per_of(expected) == Per::Invocation;
        let mut above = self.matching.slots_above(expected, slot.fact).map(|place| self.matching.state(place));
        !carries_another && (of_invocation || above.any(|state| state != PlaceState::Matched))
    }

    fn parent_lost(&self, slot: Slot, span: usize, lost: Slot) -> Violation {
        let evidence = format!("its parent, the span {:?}, never came", self.role(lost).span.name.as_str());
        let violation = self.at_span(FindingCode::ParentLost, Cause::ParentMissing, slot, span, evidence);
        Violation { roots: self.explanations(lost), ..violation }
    }

    /// The invocation's own span is missing, which is told with the invocation; or excused.
    fn parent_lost_with_invocation(&self, slot: Slot, span: usize, expected: RoleId) -> Option<Violation> {
        let evidence = "its parent, the invocation's span, never came".to_owned();
        let violation = self.at_span(FindingCode::ParentLost, Cause::ParentMissing, slot, span, evidence);
        let invocation = slot.fact.delivery(self.case.record).map(|delivery| &delivery.invocation);
        let is_excused = |invocation| self.case.accounts.is_excused(invocation, expected);
        let roots = invocation.map_or_else(Vec::new, |invocation| self.case.accounts.losses_in(invocation));
        (!invocation.is_some_and(is_excused)).then_some(Violation { roots, ..violation })
    }

    /// Whether a span is in another trace than the one that its slot's spans should be in.
    fn is_fragment(&self, slot: Slot, seen: &SeenSpan) -> bool {
        self.trace_of(slot).is_some_and(|trace| trace != seen.trace_id)
    }

    /// The trace that the span of a slot should be in, as far as others tell.
    fn trace_of(&self, slot: Slot) -> Option<TraceId> {
        let root = self.role(slot).root;
        match self.case.roles.per_of(root) {
            _ if self.is_in_own_trace(slot.role) => self.anchor,
            Per::Invocation => self.case.accounts.trace_of(&slot.fact.delivery(self.case.record)?.invocation, root),
            _ if root == slot.role => None,
            _ => self.matching.span_in(root, slot.fact).map(|span| self.case.spans[span].span.trace_id),
        }
    }

    fn fragmented(&self, slot: Slot, span: usize) -> Violation {
        let seen = &self.case.spans[span].span;
        let expected = self.trace_of(slot).map_or("?".to_owned(), |trace| trace.to_string());
        let evidence = format!("it is in trace {}, its request's is {expected}", seen.trace_id);
        self.at_span(FindingCode::TraceFragmented, self.fragmentation_cause(slot, span), slot, span, evidence)
    }

    fn fragmentation_cause(&self, slot: Slot, span: usize) -> Cause {
        let seen = &self.case.spans[span].span;
        let message = slot.fact.message(self.case.record);
        match (self.role(slot).span.per, seen.parent) {
            (Per::Delivery, _) if message.is_some_and(|message| is_in_xray_trace(message, seen)) => Cause::XrayAsParent,
            (Per::Delivery, _) => Cause::ContextNotExtracted,
            (Per::Message, None) => Cause::ContextNotAttached,
            (_, None) => Cause::NoParent,
            (_, Some(_)) => Cause::UnknownParent,
        }
    }

    /// `link-missing` and `link-dangling`: at most one of them for a span.
    pub(super) fn links(&self, slot: Slot, span: usize, broken_carrier: Option<&FindingKey>) -> Option<Violation> {
        let linked = self.role(slot).link?;
        let seen = &self.case.spans[span].span;
        let target = self.link_target(slot, linked);
        if target.is_some_and(|target| seen.links.contains(&target)) {
            return None;
        }
        let dangling = seen.links.iter().find(|link| self.is_nobodys(**link));
        let (code, cause, evidence) = match (dangling, target) {
            (Some((trace, id)), _) => (
                FindingCode::LinkDangling,
                Cause::LinkToNobody,
                format!("it links to span {id} of trace {trace}, which is nobody's"),
            ),
            (None, Some((trace, id))) => {
                (FindingCode::LinkMissing, Cause::NotLinked, format!("it has no link to span {id} of trace {trace}"))
            }
            // There is nothing to link to: the carrier is broken, or the span that it links to is missing.
            (None, None) if broken_carrier.is_none() => return None,
            (None, None) => {
                (FindingCode::LinkMissing, Cause::NotLinked, "its message carries nothing to link to".to_owned())
            }
        };
        let roots = broken_carrier.cloned().into_iter().collect();
        Some(Violation { roots, ..self.at_span(code, cause, slot, span, evidence) })
    }

    /// What a span should link to: what its message carries, or the span in the linked role.
    fn link_target(&self, slot: Slot, linked: RoleId) -> Option<(TraceId, SpanId)> {
        let carried = slot.fact.message(self.case.record).and_then(MessageRecord::traceparent);
        let of_slot = || self.matching.span_in(linked, slot.fact).map(|span| self.case.spans[span].span.key());
        carried.map(|carried| carried.span()).or_else(of_slot)
    }

    /// Whether a link names a span that nobody exported and no message carries.
    fn is_nobodys(&self, link: (TraceId, SpanId)) -> bool {
        let is_own = self.case.stored().any(|span| span.key() == link);
        !is_own && self.case.assembly.request_of(link.0).is_none()
    }
}
