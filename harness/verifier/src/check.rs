//! The rules: one small function each. They see one request's ledger record and its spans.

use std::cmp::Reverse;

use crate::assemble::{AssembledSpan, SeenSpan};
use crate::contract::Per;
use crate::event::Patience;
use crate::expect::{Fact, Slot, expected_slots};
use crate::finding::{Cause, Filing, FindingCode, FindingKey};
use crate::id::{RequestId, TraceId};
use crate::ledger::{DeliveryEnd, DeliveryRecord, MessageRecord, RequestRecord};
use crate::processes::{Host, Processes};
use crate::roles::{Role, RoleId, Roles};
use crate::tally::PlaceState;

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
    /// How many more spans the scenario excuses.
    pub(crate) excuses_left: u64,
}

/// Which span takes which place.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    pub(crate) slots: Vec<Slot>,
    /// For each slot, the place of its span in the case.
    taken: Vec<Option<usize>>,
    /// For each slot, whether it is empty and excused.
    excused: Vec<bool>,
    /// Stored spans without a slot, by their places in the case.
    pub(crate) surplus: Vec<usize>,
}

/// Something that a rule found in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    pub(crate) subject: String,
    /// The findings whose consequence it is, if there are such, the strongest first.
    pub(crate) roots: Vec<FindingKey>,
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

    /// Its place among the findings.
    pub(crate) fn filing(&self) -> Filing {
        Filing { key: self.key(), roots: self.roots.clone() }
    }
}

impl Matching {
    /// Gives every stored span its place, those that fit best first. Where a span fits two places equally
    /// well, the one that is not excused needs it more.
    pub(crate) fn new(case: &Case<'_>) -> Self {
        let slots = expected_slots(case.record, case.roles);
        let count = slots.len();
        let mut free: Vec<_> = case.spans.iter().map(|span| span.span.is_stored()).collect();
        let mut matching = Self { slots, taken: vec![None; count], excused: vec![false; count], surplus: Vec::new() };
        for (slot, span) in matching.fitting(case, &free) {
            if matching.taken[slot].is_none() && std::mem::take(&mut free[span]) {
                matching.taken[slot] = Some(span);
            }
        }
        matching.surplus = (0..free.len()).filter(|&span| free[span]).collect();
        matching.excuse(case);
        matching
    }

    /// The pairs of a slot and a free span that fit each other, in the order in which they are made.
    fn fitting(&self, case: &Case<'_>, free: &[bool]) -> impl Iterator<Item = (usize, usize)> + use<> {
        let mut pairs = Vec::with_capacity(self.slots.len());
        for (place, slot) in self.slots.iter().enumerate() {
            let fits =
                (0..free.len()).filter(|&span| free[span]).filter_map(|span| Some((fit(case, slot, span)?, span)));
            pairs.extend(fits.map(|(fit, span)| (Reverse(fit), slot.excusable, place, span)));
        }
        pairs.sort_unstable();
        pairs.into_iter().map(|(_, _, slot, span)| (slot, span))
    }

    /// Excuses what the kill took along. A span that was exported and refused is not lost through that.
    fn excuse(&mut self, case: &Case<'_>) {
        let refused: Vec<_> = (0..case.spans.len()).filter(|&span| !case.spans[span].span.is_stored()).collect();
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

    /// The slots that must be taken, are not, and are not excused.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (usize, Slot)> {
        self.absent().filter(|&(place, _)| !self.excused[place])
    }

    /// The slots that are taken, with the places of their spans.
    pub(crate) fn matched(&self) -> impl Iterator<Item = (Slot, usize)> {
        self.slots.iter().zip(&self.taken).filter_map(|(slot, taken)| Some((*slot, (*taken)?)))
    }
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

/// How well a span fits a place; not at all if its role is another.
fn fit(case: &Case<'_>, slot: &Slot, span: usize) -> Option<Fit> {
    let span = &case.spans[span].span;
    if span.role != Some(slot.role) {
        return None;
    }
    let carried = slot.fact.message(case.record).and_then(MessageRecord::traceparent);
    let Some(delivery) = slot.fact.delivery(case.record) else {
        let own = (span.trace_id, span.span_id);
        let named = carried.is_some_and(|carried| (carried.trace_id, carried.span_id) == own);
        return Some(if named || !matches!(slot.fact, Fact::Message(_)) { Fit::Exact } else { Fit::Role });
    };
    if span.received < delivery.started {
        return Some(Fit::Role);
    }
    // What hangs below another span of its delivery does not name the carrier.
    let parent = case.roles.get(slot.role).parent.map(|parent| case.roles.get(parent).span.per);
    let continues = parent == Some(Per::Delivery) || carried.is_none_or(|carried| span.parent == Some(carried.span_id));
    Some(match (delivery.host.is(&span.peer), continues) {
        (true, true) if span.cycle == delivery.host.cycle => Fit::Exact,
        (true, true) => Fit::EnvironmentAndCarrier,
        (false, true) => Fit::Carrier,
        (true, false) => Fit::Environment,
        (false, false) => Fit::Role,
    })
}

/// Applies every rule.
pub(crate) fn violations(case: &Case<'_>, matching: &Matching) -> Vec<Violation> {
    let checker = Checker { case, matching, anchor: anchor(case, matching) };
    let mut found = checker.carriers();
    found.extend(checker.presence());
    found.extend(checker.connections());
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
        Violation {
            code: FindingCode::TraceMissing,
            cause: Cause::NothingExported,
            subject: "trace".to_owned(),
            roots: self.roots_of_missing_trace(),
            place: Place::Trace,
            evidence: "the request was accepted, and no span of it was stored".to_owned(),
        }
    }

    fn roots_of_missing_trace(&self) -> Vec<FindingKey> {
        let of_spans: Vec<_> = self.matching.missing().map(|(_, slot)| self.missing_cause(slot).1).collect();
        let explains = |root: &&FindingKey| match root.code {
            // That is a part of what this finding says.
            FindingCode::SpanMissing => false,
            // That explains nothing but the spans of one function.
            FindingCode::ExportOpenAtFreeze | FindingCode::LateByThaw => {
                of_spans.iter().all(|roots| roots.contains(root))
            }
            _ => true,
        };
        of_spans.iter().flatten().filter(explains).cloned().collect()
    }

    fn span_missing(&self, place: usize, slot: Slot) -> Violation {
        let (cause, roots) = self.missing_cause(slot);
        let Role { name, span, .. } = self.role(slot);
        Violation {
            code: FindingCode::SpanMissing,
            cause,
            subject: name.clone(),
            roots,
            place: Place::Slot(place),
            evidence: format!(
                "no span {:?} of {}: {}",
                span.name.as_str(),
                span.service,
                self.fact_in_words(slot.fact)
            ),
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
                    delivery.host.environment, delivery.invocation, delivery.receive_count
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

    /// `export-open-at-freeze`, where it is a connection that was open: that alone is nothing wrong, and it
    /// explains a span that had not come by then.
    fn connections(&self) -> Vec<Violation> {
        let missing = self.matching.missing().map(|(_, slot)| slot.fact);
        let late = self.matching.matched().filter(|(slot, span)| self.host_of_late(*slot, *span).is_some());
        let mut facts: Vec<_> = missing.chain(late.map(|(slot, _)| slot.fact)).collect();
        facts.sort_unstable();
        facts.dedup();
        facts.into_iter().filter_map(|fact| self.connection(fact.delivery(self.case.record)?)).collect()
    }

    fn connection(&self, delivery: &DeliveryRecord) -> Option<Violation> {
        let DeliveryRecord { host, invocation, .. } = delivery;
        // Whoever has given a connection up already leaves the next one behind when its time is over. And a
        // connection of a later invocation may be for what an earlier one has left.
        let is_for_it = delivery.connecting && host.is_first && !host.refused;
        let key = host.flush_not_awaited().filter(|_| is_for_it)?;
        let evidence = format!(
            "{} was still connecting to the endpoint when it asked for the next invocation after {invocation}",
            host.environment
        );
        let FindingKey { code, cause, subject } = key;
        Some(Violation { code, cause, subject, roots: Vec::new(), place: Place::Trace, evidence })
    }

    /// Why a span is missing, and the findings that this follows from, the strongest first.
    fn missing_cause(&self, slot: Slot) -> (Cause, Vec<FindingKey>) {
        if let Some(refused) = self.refused_span(slot) {
            return (Cause::ExportRefused, vec![refused]);
        }
        match slot.fact {
            Fact::Delivery(..) => self.missing_delivery_cause(slot.fact),
            Fact::Undelivered(None) => (Cause::NothingSent, self.unsent_message()),
            Fact::Undelivered(Some(_)) => {
                (Cause::NeverDelivered, self.case.processes.death_of_any_function().cloned().into_iter().collect())
            }
            Fact::UnsentMessage => (Cause::NothingSent, self.death_of(slot).into_iter().collect()),
            Fact::Request | Fact::Message(_) | Fact::RefusedSend => match self.death_of(slot) {
                Some(death) => (Cause::ProcessEnded, vec![death]),
                None if self.service_exported(slot) => (Cause::NotExported, Vec::new()),
                None => (Cause::StoppedWithoutExport, Vec::new()),
            },
        }
    }

    fn missing_delivery_cause(&self, fact: Fact) -> (Cause, Vec<FindingKey>) {
        let Some(delivery) = fact.delivery(self.case.record) else { return (Cause::NeverDelivered, Vec::new()) };
        let (cause, roots) = self.lost_delivery_cause(delivery);
        let corrupted = fact.message(self.case.record).is_some_and(|message| message.corrupted);
        (if corrupted { Cause::FaultCorruptBody } else { cause }, roots)
    }

    fn lost_delivery_cause(&self, delivery: &DeliveryRecord) -> (Cause, Vec<FindingKey>) {
        let host = &delivery.host;
        match delivery.end {
            Some(DeliveryEnd::Answered) => {
                (host.obstacle().unwrap_or(Cause::NotFlushed), host.explanations().collect())
            }
            Some(DeliveryEnd::TimedOut) => (Cause::InvocationTimedOut, Vec::new()),
            Some(DeliveryEnd::EnvironmentDied) if delivery.killed => (Cause::ExcusesUsedUp, Vec::new()),
            Some(DeliveryEnd::EnvironmentDied) | None => {
                (Cause::EnvironmentDied, self.case.processes.death_of_host(host).cloned().into_iter().collect())
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

    /// The findings that the message was never sent, for what follows from it.
    fn unsent_message(&self) -> Vec<FindingKey> {
        let unsent = self.matching.missing().find(|(_, slot)| slot.fact == Fact::UnsentMessage);
        unsent.map_or_else(Vec::new, |(_, unsent)| self.explanations(unsent))
    }

    /// The findings that explain why a slot is empty: those that it follows from, and its own.
    fn explanations(&self, slot: Slot) -> Vec<FindingKey> {
        let (cause, mut explanations) = self.missing_cause(slot);
        let subject = self.role(slot).name.clone();
        explanations.push(FindingKey { code: FindingCode::SpanMissing, cause, subject });
        explanations
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

    /// `late-by-thaw` and `span-late`: at most one of them for a span.
    fn lateness(&self, slot: Slot, span: usize) -> Option<Violation> {
        if let Some(host) = self.host_of_late(slot, span) {
            return Some(self.late_by_thaw(host, span));
        }
        let seen = &self.case.spans[span].span;
        let after = seen.received.since(seen.end);
        let limit = self.case.patience.late_after;
        let evidence = || format!("it came {after:.1?} after its end, the limit is {limit:?}");
        (after > limit).then(|| self.at_span(FindingCode::SpanLate, Cause::Delayed, slot, span, evidence()))
    }

    /// Where a span should have been exported, if only a later thaw of that environment let it out.
    fn host_of_late(&self, slot: Slot, span: usize) -> Option<&Host> {
        let seen = &self.case.spans[span].span;
        let host = &slot.fact.delivery(self.case.record)?.host;
        host.thawed_before(&seen.peer, seen.cycle).then_some(host)
    }

    fn late_by_thaw(&self, host: &Host, span: usize) -> Violation {
        let FindingKey { code, cause, subject } = host.late_by_thaw();
        let roots = host.flush_not_awaited().into_iter().collect();
        let evidence = late_by_thaw_evidence(&self.case.spans[span].span, host);
        Violation { code, cause, subject, roots, place: Place::Span(span), evidence }
    }

    /// `span-unexpected`.
    fn surplus(&self, span: usize) -> Violation {
        let seen = &self.case.spans[span].span;
        let cause = if seen.role.is_some() { Cause::MoreThanFacts } else { Cause::NoSuchRole };
        let subject = self.case.roles.subject(seen.role, &seen.service, &seen.name);
        let evidence = format!("span {} {:?} of {} came from {}", seen.span_id, seen.name, seen.service, seen.peer);
        let roots = Vec::new();
        Violation { code: FindingCode::SpanUnexpected, cause, subject, roots, place: Place::Span(span), evidence }
    }

    /// `trace-fragmented`, `parent-lost` and `parent-wrong`: at most one of them for a span.
    fn linkage(&self, slot: Slot, span: usize, broken_carrier: Option<&FindingKey>) -> Option<Violation> {
        let role = self.role(slot);
        let seen = &self.case.spans[span].span;
        let parent = self.case.spans.iter().find(|other| {
            other.span.is_stored() && other.span.trace_id == seen.trace_id && Some(other.span.span_id) == seen.parent
        });
        let roots = || broken_carrier.filter(|_| role.span.per == Per::Delivery).cloned().into_iter().collect();
        if parent.is_none() && self.anchor != Some(seen.trace_id) {
            return Some(self.fragmented(slot, span, roots()));
        }
        let (code, cause) = match (role.parent, seen.parent, parent) {
            (None, None, _) => return None,
            (None, Some(_), _) => (FindingCode::ParentWrong, Cause::ParentOfRoot),
            (Some(_), None, _) => (FindingCode::ParentWrong, Cause::NoParent),
            (Some(expected), Some(_), Some(parent)) if parent.span.role == Some(expected) => return None,
            (Some(_), Some(_), Some(_)) => (FindingCode::ParentWrong, Cause::OtherParent),
            // Its parent went with the kill that it survived itself.
            (Some(expected), Some(_), None) if self.is_excused(expected, slot.fact) => return None,
            (Some(expected), Some(_), None) => match self.lost_parent(expected, slot.fact) {
                Some(lost) => return Some(self.parent_lost(slot, span, lost)),
                None => (FindingCode::ParentWrong, Cause::UnknownParent),
            },
        };
        let named = seen.parent.map_or("none".to_owned(), |parent| parent.to_string());
        let actual = parent.map_or(String::new(), |parent| format!(" ({:?})", parent.span.name));
        let expected = role.parent.map_or("none", |parent| self.case.roles.get(parent).name.as_str());
        let evidence = format!("its parent is {named}{actual}, the contract names {expected}");
        Some(Violation { roots: roots(), ..self.at_span(code, cause, slot, span, evidence) })
    }

    fn parent_lost(&self, slot: Slot, span: usize, lost: Slot) -> Violation {
        let evidence = format!("its parent, the span {:?}, never came", self.role(lost).span.name.as_str());
        let violation = self.at_span(FindingCode::ParentLost, Cause::ParentMissing, slot, span, evidence);
        Violation { roots: self.explanations(lost), ..violation }
    }

    /// Whether the place in this role for this fact is excused.
    fn is_excused(&self, role: RoleId, fact: Fact) -> bool {
        let mut places = self.matching.places();
        places.any(|(slot, state)| (slot.role, slot.fact, state) == (role, fact, PlaceState::Excused))
    }

    /// An empty slot of the parent's role, for the same fact if there is one.
    fn lost_parent(&self, role: RoleId, fact: Fact) -> Option<Slot> {
        let lost = || self.matching.missing().map(|(_, slot)| slot).filter(|slot| slot.role == role);
        lost().find(|slot| slot.fact == fact).or_else(|| lost().next())
    }

    fn fragmented(&self, slot: Slot, span: usize, roots: Vec<FindingKey>) -> Violation {
        let seen = &self.case.spans[span].span;
        let anchor = self.anchor.map_or("?".to_owned(), |anchor| anchor.to_string());
        let evidence = format!("it is in trace {}, its request's is {anchor}", seen.trace_id);
        let cause = self.fragmentation_cause(slot, span);
        Violation { roots, ..self.at_span(FindingCode::TraceFragmented, cause, slot, span, evidence) }
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
        let (subject, roots) = (self.role(slot).name.clone(), Vec::new());
        Violation { code, cause, subject, roots, place: Place::Span(span), evidence }
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
    Violation { code, cause, subject: "message".to_owned(), roots: Vec::new(), place: Place::Trace, evidence }
}

/// What was seen of a span that only a later thaw let out.
pub(crate) fn late_by_thaw_evidence(span: &SeenSpan, host: &Host) -> String {
    let SeenSpan { span_id, name, .. } = span;
    format!("span {span_id} {name:?} left {} only after it had been thawed for a later invocation", host.environment)
}

/// The trace id in an X-Ray header: `Root=1-<8 hex digits>-<24 hex digits>;...`
/// (AWS X-Ray, "Tracing header"), as OpenTelemetry's X-Ray propagator reads it.
fn xray_trace(header: &str) -> Option<TraceId> {
    let root = header.split(';').find_map(|part| part.trim().strip_prefix("Root=1-"))?;
    root.replace('-', "").parse().ok()
}
