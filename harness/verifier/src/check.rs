//! The rules: one small function each. They see one request's ledger record and its spans.

use crate::assemble::AssembledSpan;
use crate::contract::Per;
use crate::event::Patience;
use crate::expect::{Fact, Slot, expected_slots};
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::{RequestId, TraceId};
use crate::ledger::{DeliveryEnd, MessageRecord, RequestRecord};
use crate::processes::Processes;
use crate::roles::{Role, Roles};

/// A request with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) request: RequestId,
    pub(crate) record: &'a RequestRecord,
    /// Its spans; each of them once.
    pub(crate) spans: &'a [AssembledSpan],
    pub(crate) roles: &'a Roles,
    pub(crate) processes: &'a Processes,
    pub(crate) patience: Patience,
}

/// Which span takes which place.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    pub(crate) slots: Vec<Slot>,
    /// For each slot, the place of its span in the case.
    pub(crate) taken: Vec<Option<usize>>,
    /// Stored spans without a slot, by their places in the case.
    pub(crate) surplus: Vec<usize>,
}

/// Something that a rule found in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    pub(crate) subject: String,
    /// The finding whose consequence it is.
    pub(crate) root: Option<FindingKey>,
    /// Where it shows.
    pub(crate) place: Place,
    /// What was seen, in a line.
    pub(crate) evidence: String,
}

/// Where a violation shows in a drawn trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an expected span, by its slot.
    Slot(usize),
    /// At a span that was seen, by its place in the case.
    Span(usize),
    /// At the whole trace.
    Trace,
}

impl Violation {
    /// The key of the finding that it is on its own.
    pub(crate) fn key(&self) -> FindingKey {
        FindingKey { code: self.code, cause: self.cause, subject: self.subject.clone() }
    }
}

impl Matching {
    /// Gives every stored span its place: first those that fit it by evidence, then those that fit by role.
    pub(crate) fn new(case: &Case<'_>) -> Self {
        let slots = expected_slots(case.record, case.roles);
        let mut matching = Self { taken: vec![None; slots.len()], slots, surplus: Vec::new() };
        let mut free: Vec<usize> = (0..case.spans.len()).filter(|&span| case.spans[span].span.is_stored()).collect();
        matching.fill(&mut free, |slot, span| role_fits(case, slot, span) && evidence_fits(case, slot, span));
        matching.fill(&mut free, |slot, span| role_fits(case, slot, span));
        matching.surplus = free;
        matching
    }

    fn fill(&mut self, free: &mut Vec<usize>, fits: impl Fn(&Slot, usize) -> bool) {
        for (slot, taken) in self.slots.iter().zip(&mut self.taken).filter(|(_, taken)| taken.is_none()) {
            if let Some(place) = free.iter().position(|&span| fits(slot, span)) {
                *taken = Some(free.remove(place));
            }
        }
    }

    /// Whether every span that must be there is.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The slots that must be taken and are not.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.slots.iter().copied().enumerate();
        slots.filter(|&(place, slot)| slot.required && self.taken[place].is_none())
    }

    /// The slots, and whether they are taken.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Slot, bool)> {
        self.slots.iter().zip(self.taken.iter().map(Option::is_some))
    }

    /// The slots that are taken, with the places of their spans.
    pub(crate) fn matched(&self) -> impl Iterator<Item = (Slot, usize)> {
        self.slots.iter().zip(&self.taken).filter_map(|(slot, taken)| Some((*slot, (*taken)?)))
    }
}

fn role_fits(case: &Case<'_>, slot: &Slot, span: usize) -> bool {
    case.spans[span].span.role == Some(slot.role)
}

/// Whether a span is the very one that the ledger's row speaks of, as far as the row can tell.
fn evidence_fits(case: &Case<'_>, slot: &Slot, span: usize) -> bool {
    let span = &case.spans[span].span;
    let carried = slot.fact.message(case.record).and_then(MessageRecord::traceparent);
    match slot.fact {
        Fact::Message(_) => {
            carried.is_some_and(|parent| (parent.trace_id, parent.span_id) == (span.trace_id, span.span_id))
        }
        Fact::Delivery(..) => {
            let delivery = slot.fact.delivery(case.record);
            let same_environment = delivery
                .is_some_and(|delivery| span.peer == crate::event::Peer::Environment(delivery.environment.clone()));
            same_environment && carried.is_none_or(|parent| span.parent == Some(parent.span_id))
        }
        _ => true,
    }
}

/// Applies every rule.
pub(crate) fn violations(case: &Case<'_>, matching: &Matching) -> Vec<Violation> {
    let checker = Checker { case, matching, anchor: anchor(case, matching) };
    let mut found = checker.carriers();
    found.extend(checker.presence());
    let broken_carriers: Vec<_> = found.iter().map(Violation::key).filter(is_about_a_carrier).collect();
    for (slot, span) in matching.matched() {
        found.extend(checker.kind(slot, span));
        found.extend(checker.linkage(slot, span, broken_carriers.first()));
        found.extend(checker.lateness(slot, span));
    }
    found.extend(matching.surplus.iter().map(|&span| checker.surplus(span)));
    found
}

fn is_about_a_carrier(key: &FindingKey) -> bool {
    matches!(key.code, FindingCode::CarrierMissing | FindingCode::CarrierMismatch)
}

/// The trace that the request's spans should be in: its root's, or the one that was promised.
pub(crate) fn anchor(case: &Case<'_>, matching: &Matching) -> Option<TraceId> {
    let is_root = |slot: &Slot| case.roles.get(slot.role).parent.is_none();
    let root = matching.matched().find(|(slot, _)| is_root(slot)).map(|(_, span)| case.spans[span].span.trace_id);
    let carried = || case.record.messages.iter().find_map(MessageRecord::traceparent).map(|parent| parent.trace_id);
    let any = || case.spans.iter().find(|span| span.span.is_stored()).map(|span| span.span.trace_id);
    root.or_else(|| case.record.answered_trace()).or_else(carried).or_else(any)
}

/// The rules' common view of a case.
struct Checker<'a> {
    case: &'a Case<'a>,
    matching: &'a Matching,
    anchor: Option<TraceId>,
}

impl Checker<'_> {
    fn role(&self, slot: Slot) -> &Role {
        self.case.roles.get(slot.role)
    }

    /// `carrier-missing` and `carrier-mismatch`, if the contract has a span that is made from a carrier.
    fn carriers(&self) -> Vec<Violation> {
        let is_carried = |role: &Role| role.span.per == Per::Delivery && role.parent.is_some();
        if !self.case.roles.iter().any(|(_, role)| is_carried(role)) {
            return Vec::new();
        }
        self.case.record.messages.iter().filter_map(|message| self.carrier(message)).collect()
    }

    fn carrier(&self, message: &MessageRecord) -> Option<Violation> {
        if let Some(violation) = carrier_missing(message) {
            return Some(violation);
        }
        let cause = self.carrier_mismatch(message)?;
        let carried = message.carrier.traceparent.as_deref().unwrap_or_default();
        let evidence = format!("message {} carries traceparent {carried:?}", message.message);
        Some(carrier_violation(FindingCode::CarrierMismatch, cause, evidence))
    }

    /// `carrier-mismatch`: what the message carries is not its producer span's context.
    fn carrier_mismatch(&self, message: &MessageRecord) -> Option<Cause> {
        let Some(carried) = message.traceparent() else { return Some(Cause::CarrierInvalid) };
        let is_named = |span: &&AssembledSpan| {
            span.span.is_stored() && (span.span.trace_id, span.span.span_id) == (carried.trace_id, carried.span_id)
        };
        let named = self.case.spans.iter().find(is_named).map(|span| span.span.role);
        let producers: Vec<_> = self.case.roles.per(Per::Message).collect();
        match named {
            Some(Some(role)) if producers.contains(&role) => None,
            Some(_) => Some(Cause::InjectedOutsideProducer),
            // The one that it names may be the one that is missing.
            None if self.matching.missing().any(|(_, slot)| producers.contains(&slot.role)) => None,
            None => Some(Cause::CarrierUnknownSpan),
        }
    }

    /// `trace-missing` and `span-missing`.
    fn presence(&self) -> Vec<Violation> {
        let nothing = !self.case.spans.iter().any(|span| span.span.is_stored());
        let first = self.matching.missing().next();
        match first {
            Some(_) if nothing && self.case.record.accepted() => vec![self.trace_missing()],
            _ => self.matching.missing().map(|(place, slot)| self.span_missing(place, slot)).collect(),
        }
    }

    fn trace_missing(&self) -> Violation {
        // A root that is itself a missing span is part of what this finding says.
        let roots = self.matching.missing().filter_map(|(_, slot)| self.missing_cause(slot).1);
        let root = roots.into_iter().find(|root| root.code != FindingCode::SpanMissing);
        Violation {
            code: FindingCode::TraceMissing,
            cause: Cause::NothingExported,
            subject: "trace".to_owned(),
            root,
            place: Place::Trace,
            evidence: "the request was accepted, and no span of it was stored".to_owned(),
        }
    }

    fn span_missing(&self, place: usize, slot: Slot) -> Violation {
        let (cause, root) = self.missing_cause(slot);
        let Role { name, span, .. } = self.role(slot);
        Violation {
            code: FindingCode::SpanMissing,
            cause,
            subject: name.clone(),
            root,
            place: Place::Slot(place),
            evidence: format!("no span {:?} of {}: {}", span.name, span.service, self.fact_in_words(slot.fact)),
        }
    }

    fn fact_in_words(&self, fact: Fact) -> String {
        let message = fact.message(self.case.record).map_or("?", |message| message.message.as_str());
        match fact {
            Fact::Request => "the request was accepted".to_owned(),
            Fact::Message(_) => format!("message {message} was queued"),
            Fact::Delivery(..) => match fact.delivery(self.case.record) {
                Some(delivery) => format!(
                    "message {message} was delivered to {} in invocation {} (receive count {})",
                    delivery.environment, delivery.invocation, delivery.receive_count
                ),
                None => format!("message {message} was delivered"),
            },
            Fact::UnsentMessage | Fact::Undelivered(None) => {
                "the request was accepted, and no message was queued".to_owned()
            }
            Fact::Undelivered(Some(_)) => format!("message {message} was queued, and never delivered"),
            Fact::RefusedSend => "a send was refused".to_owned(),
        }
    }

    /// Why a span is missing, and the finding that this follows from.
    fn missing_cause(&self, slot: Slot) -> (Cause, Option<FindingKey>) {
        if let Some(refused) = self.refused_span(slot) {
            return (Cause::ExportRefused, Some(refused));
        }
        match slot.fact {
            Fact::Delivery(..) => self.missing_delivery_cause(slot.fact),
            Fact::Undelivered(None) => (Cause::NothingSent, self.unsent_message()),
            Fact::Undelivered(Some(_)) => (Cause::NeverDelivered, self.case.processes.death_of_any_function().cloned()),
            Fact::UnsentMessage => (Cause::NothingSent, self.death_of(slot)),
            Fact::Request | Fact::Message(_) | Fact::RefusedSend => match self.death_of(slot) {
                Some(death) => (Cause::ProcessEnded, Some(death)),
                None if self.service_exported(slot) => (Cause::NotExported, None),
                None => (Cause::StoppedWithoutExport, None),
            },
        }
    }

    fn missing_delivery_cause(&self, fact: Fact) -> (Cause, Option<FindingKey>) {
        let delivery = fact.delivery(self.case.record);
        let function = delivery.and_then(|delivery| delivery.function.as_deref());
        match delivery.and_then(|delivery| delivery.end) {
            Some(DeliveryEnd::Answered) => (Cause::NotFlushed, None),
            Some(DeliveryEnd::TimedOut | DeliveryEnd::EnvironmentDied) | None => {
                let death = function.and_then(|function| self.case.processes.death_of_function(function));
                (Cause::EnvironmentDied, death.cloned())
            }
        }
    }

    /// The finding that an export with a span in this role was refused, or that all exports of its
    /// process are: then the span may still wait in the process for its turn.
    fn refused_span(&self, slot: Slot) -> Option<FindingKey> {
        let is_refused = |span: &&AssembledSpan| !span.span.is_stored() && span.span.role == Some(slot.role);
        let refused = self.case.spans.iter().find(is_refused);
        let of_this_span = refused.map(|refused| self.case.processes.refusal_of(&refused.span.peer));
        let of_its_process = || self.case.processes.refusal_of_service_name(&self.role(slot).span.service).cloned();
        of_this_span.or_else(of_its_process)
    }

    fn death_of(&self, slot: Slot) -> Option<FindingKey> {
        self.case.processes.death_of_service_name(&self.role(slot).span.service).cloned()
    }

    /// The finding that the message was never sent, for what follows from it.
    fn unsent_message(&self) -> Option<FindingKey> {
        let (_, unsent) = self.matching.missing().find(|(_, slot)| slot.fact == Fact::UnsentMessage)?;
        self.explanation(unsent)
    }

    /// The finding that explains why a slot is empty: its own, or the one that it follows from.
    fn explanation(&self, slot: Slot) -> Option<FindingKey> {
        let (cause, root) = self.missing_cause(slot);
        let own = FindingKey { code: FindingCode::SpanMissing, cause, subject: self.role(slot).name.clone() };
        Some(root.unwrap_or(own))
    }

    /// Whether the service of a slot's role exported any span of this request.
    fn service_exported(&self, slot: Slot) -> bool {
        let service = &self.role(slot).span.service;
        self.case.spans.iter().any(|span| span.span.is_stored() && span.span.service == *service)
    }

    /// `kind-wrong`.
    fn kind(&self, slot: Slot, span: usize) -> Option<Violation> {
        let (expected, seen) = (self.role(slot).span.kind, self.case.spans[span].span.kind);
        let evidence = || format!("its kind is {seen}, the contract names {expected}");
        (seen != expected).then(|| self.at_span(FindingCode::KindWrong, Cause::Instrumentation, slot, span, evidence()))
    }

    /// `span-late`.
    fn lateness(&self, slot: Slot, span: usize) -> Option<Violation> {
        let seen = &self.case.spans[span].span;
        let after = seen.received.since(seen.end);
        let limit = self.case.patience.late_after;
        let evidence = || format!("it came {after:.1?} after its end, the limit is {limit:?}");
        (after > limit).then(|| self.at_span(FindingCode::SpanLate, Cause::Delayed, slot, span, evidence()))
    }

    /// `span-unexpected`.
    fn surplus(&self, span: usize) -> Violation {
        let seen = &self.case.spans[span].span;
        let cause = if seen.role.is_some() { Cause::MoreThanFacts } else { Cause::NoSuchRole };
        let subject = self.case.roles.subject(seen.role, &seen.service, &seen.name);
        let evidence = format!("span {} {:?} of {} came from {}", seen.span_id, seen.name, seen.service, seen.peer);
        Violation { code: FindingCode::SpanUnexpected, cause, subject, root: None, place: Place::Span(span), evidence }
    }

    /// `trace-fragmented`, `parent-lost` and `parent-wrong`: at most one of them for a span.
    fn linkage(&self, slot: Slot, span: usize, broken_carrier: Option<&FindingKey>) -> Option<Violation> {
        let role = self.role(slot);
        let seen = &self.case.spans[span].span;
        let parent = self.case.spans.iter().find(|other| {
            other.span.is_stored() && other.span.trace_id == seen.trace_id && Some(other.span.span_id) == seen.parent
        });
        let root = || broken_carrier.filter(|_| role.span.per == Per::Delivery).cloned();
        if parent.is_none() && self.anchor != Some(seen.trace_id) {
            return Some(self.fragmented(slot, span, root()));
        }
        let (code, cause) = match (role.parent, seen.parent, parent) {
            (None, None, _) => return None,
            (None, Some(_), _) => (FindingCode::ParentWrong, Cause::ParentOfRoot),
            (Some(_), None, _) => (FindingCode::ParentWrong, Cause::NoParent),
            (Some(expected), Some(_), Some(parent)) if parent.span.role == Some(expected) => return None,
            (Some(_), Some(_), Some(_)) => (FindingCode::ParentWrong, Cause::OtherParent),
            (Some(expected), Some(_), None) => match self.lost_parent(expected) {
                Some(lost) => return Some(self.parent_lost(slot, span, lost)),
                None => (FindingCode::ParentWrong, Cause::UnknownParent),
            },
        };
        let named = seen.parent.map_or("none".to_owned(), |parent| parent.to_string());
        let actual = parent.map_or(String::new(), |parent| format!(" ({:?})", parent.span.name));
        let expected = role.parent.map_or("none", |parent| self.case.roles.get(parent).name.as_str());
        let evidence = format!("its parent is {named}{actual}, the contract names {expected}");
        Some(Violation { root: root(), ..self.at_span(code, cause, slot, span, evidence) })
    }

    fn parent_lost(&self, slot: Slot, span: usize, lost: Slot) -> Violation {
        let evidence = format!("its parent, the span {:?}, never came", self.role(lost).span.name);
        let violation = self.at_span(FindingCode::ParentLost, Cause::ParentMissing, slot, span, evidence);
        Violation { root: self.explanation(lost), ..violation }
    }

    /// An empty slot of the parent's role.
    fn lost_parent(&self, role: crate::roles::RoleId) -> Option<Slot> {
        self.matching.missing().map(|(_, slot)| slot).find(|slot| slot.role == role)
    }

    fn fragmented(&self, slot: Slot, span: usize, root: Option<FindingKey>) -> Violation {
        let seen = &self.case.spans[span].span;
        let anchor = self.anchor.map_or("?".to_owned(), |anchor| anchor.to_string());
        let evidence = format!("it is in trace {}, its request's is {anchor}", seen.trace_id);
        let cause = self.fragmentation_cause(slot, span);
        Violation { root, ..self.at_span(FindingCode::TraceFragmented, cause, slot, span, evidence) }
    }

    fn fragmentation_cause(&self, slot: Slot, span: usize) -> Cause {
        let seen = &self.case.spans[span].span;
        let message = slot.fact.message(self.case.record);
        let xray = message.and_then(|message| message.carrier.xray.as_deref()).and_then(xray_trace);
        match (self.role(slot).span.per, seen.parent) {
            (Per::Delivery, _) if xray == Some(seen.trace_id) => Cause::XrayAsParent,
            (Per::Delivery, _) => Cause::ContextNotExtracted,
            (Per::Message, None) => Cause::ContextNotAttached,
            (_, None) => Cause::NoParent,
            (_, Some(_)) => Cause::UnknownParent,
        }
    }

    fn at_span(&self, code: FindingCode, cause: Cause, slot: Slot, span: usize, evidence: String) -> Violation {
        Violation { code, cause, subject: self.role(slot).name.clone(), root: None, place: Place::Span(span), evidence }
    }
}

/// `carrier-missing`: a message without trace context, or one that the harness took it from.
pub(crate) fn carrier_missing(message: &MessageRecord) -> Option<Violation> {
    let cause = match (message.stripped, &message.carrier.traceparent) {
        (true, _) => Cause::FaultStripContext,
        (false, None) => Cause::ContextNotInjected,
        (false, Some(_)) => return None,
    };
    let sender = message.carrier.traceparent.as_deref().unwrap_or("none");
    let evidence = format!("message {} carries no traceparent (its sender attached: {sender})", message.message);
    Some(carrier_violation(FindingCode::CarrierMissing, cause, evidence))
}

fn carrier_violation(code: FindingCode, cause: Cause, evidence: String) -> Violation {
    Violation { code, cause, subject: "message".to_owned(), root: None, place: Place::Trace, evidence }
}

/// The trace id in an X-Ray header: `Root=1-<8 hex digits>-<24 hex digits>;...`
/// (AWS X-Ray, "Tracing header"), as OpenTelemetry's X-Ray propagator reads it.
fn xray_trace(header: &str) -> Option<TraceId> {
    let root = header.split(';').find_map(|part| part.trim().strip_prefix("Root=1-"))?;
    root.replace('-', "").parse().ok()
}
