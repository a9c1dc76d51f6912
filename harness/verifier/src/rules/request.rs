//! Judges one request.

use crate::contract::Per;
use crate::expect::{Fact, Slot};
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::TraceId;
use crate::ledger::MessageRecord;
use crate::matching::{Case, Matching};
use crate::roles::{Role, RoleId};
use crate::violation::{Place, Violation};

pub(crate) use super::carrier::{carrier_malformed, carrier_missing};
pub(crate) use super::presence::late_by_thaw_evidence;

/// The rules' common view of a request.
pub(super) struct Checker<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) matching: &'a Matching,
    pub(super) anchor: Option<TraceId>,
}

/// Applies every rule.
pub(crate) fn violations(case: &Case<'_>, matching: &Matching) -> Vec<Violation> {
    let checker = Checker { case, matching, anchor: anchor(case, matching) };
    let mut found = checker.carriers();
    found.extend(checker.refusals());
    found.extend(checker.presence());
    found.extend(checker.unsampled());
    found.extend(checker.connections());
    found.extend(checker.collision());
    let broken_carriers: Vec<_> = found.iter().map(Violation::key).filter(is_about_a_carrier).collect();
    for (slot, span) in matching.matched() {
        found.extend(checker.kind(slot, span));
        found.extend(checker.name(slot, span));
        found.extend(checker.outcome(slot, span));
        found.extend(checker.linkage(slot, span, broken_carriers.first()));
        found.extend(checker.links(slot, span, broken_carriers.first()));
        found.extend(checker.lateness(slot, span));
    }
    found.extend(checker.kinship(&found));
    found.extend(matching.surplus.iter().map(|&span| checker.surplus(span)));
    found.into_iter().map(|violation| checker.doubted(violation)).collect()
}

fn is_about_a_carrier(key: &FindingKey) -> bool {
    use FindingCode::{CarrierMalformed, CarrierMismatch, CarrierMissing};
    matches!(key.code, CarrierMissing | CarrierMalformed | CarrierMismatch)
}

/// The trace that the request's spans should be in, but for those below a root of their own: its root's, or the
/// one that was promised.
pub(crate) fn anchor(case: &Case<'_>, matching: &Matching) -> Option<TraceId> {
    let is_root = |slot: &Slot| slot.fact == Fact::Request && case.role(slot.role).parent.is_none();
    let root = matching.matched().find(|(slot, _)| is_root(slot)).map(|(_, span)| case.spans[span].span.trace_id);
    let carried = || case.record.messages.iter().find_map(MessageRecord::traceparent).map(|parent| parent.trace_id);
    let any = || case.stored().next().map(|span| span.trace_id);
    root.or_else(|| case.record.answered_trace()).or_else(carried).or_else(any)
}

impl Checker<'_> {
    pub(super) fn role(&self, slot: Slot) -> &Role {
        self.case.role(slot.role)
    }

    /// Whether a role is a part of the request's own trace, and not of one that begins with a message or an
    /// invocation.
    pub(super) fn is_in_own_trace(&self, role: RoleId) -> bool {
        self.case.roles.per_of(self.case.role(role).root) == Per::Request
    }

    /// `trace-id-collision`: the trace of the request is another request's.
    fn collision(&self) -> Option<Violation> {
        let anchor = self.anchor?;
        let owner = self.case.assembly.request_of(anchor)?;
        let evidence = format!("trace {anchor} is that of request {owner}, too");
        (owner != self.case.request).then(|| Violation {
            code: FindingCode::TraceIdCollision,
            cause: Cause::TraceReused,
            subject: "trace".to_owned(),
            roots: Vec::new(),
            place: Place::Trace,
            evidence,
        })
    }

    pub(super) fn at_span(
        &self,
        code: FindingCode,
        cause: Cause,
        slot: Slot,
        span: usize,
        evidence: String,
    ) -> Violation {
        let (subject, roots) = (self.role(slot).name.clone(), Vec::new());
        Violation { code, cause, subject, roots, place: Place::Span(span), evidence }
    }

    /// The violation itself; or, if it is one of time and the machine stalled then, that nothing can be said.
    fn doubted(&self, violation: Violation) -> Violation {
        let is_of_time = violation.is_of_time()
            && !violation.is_explained()
            && self.fact_at(violation.place).is_some_and(|fact| self.stalled(fact));
        if !is_of_time {
            return violation;
        }
        Violation { cause: Cause::MachineStalled, roots: Vec::new(), ..violation }
    }

    /// The delivery that a violation shows at; the first, if it shows at the whole trace.
    fn fact_at(&self, place: Place) -> Option<Fact> {
        match place {
            Place::Slot(slot) => self.matching.slots.get(slot).map(|slot| slot.fact),
            Place::Span(span) => self.matching.matched().find(|(_, taken)| *taken == span).map(|(slot, _)| slot.fact),
            Place::Trace => {
                self.matching.slots.iter().map(|slot| slot.fact).find(|fact| matches!(fact, Fact::Delivery(..)))
            }
        }
    }

    fn stalled(&self, fact: Fact) -> bool {
        let delivery = fact.delivery(self.case.record);
        delivery.is_some_and(|delivery| self.case.stalls.are_doubtful(delivery.started, delivery.ended))
    }
}
