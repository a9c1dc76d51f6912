//! What is not there, and why; what came too late; what is there and should not be.

use super::request::Checker;
use crate::assemble::SeenSpan;
use crate::expect::{Fact, Slot};
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::ledger::{DeliveryEnd, DeliveryRecord};
use crate::processes::Host;
use crate::roles::{Part, Role};
use crate::tally::PlaceState;
use crate::violation::{Place, Violation};

impl Checker<'_> {
    /// `trace-missing` and `span-missing`.
    pub(super) fn presence(&self) -> Vec<Violation> {
        let nothing = self.case.stored().next().is_none();
        let first = self.matching.missing().next();
        match first {
            Some(_) if nothing && self.case.record.accepted() => vec![self.trace_missing()],
            _ => self.matching.missing().map(|(place, slot)| self.span_missing(place, slot)).collect(),
        }
    }

    /// `unsampled`: what is not there, and was not to be.
    pub(super) fn unsampled(&self) -> Option<Violation> {
        let mut states = self.matching.places().map(|(_, state)| state);
        let cause = if self.case.record.is_sampled_out() { Cause::SampledOut } else { Cause::Sampler };
        states.any(|state| state == PlaceState::Unsampled).then(|| Violation {
            code: FindingCode::Unsampled,
            cause,
            subject: "trace".to_owned(),
            roots: Vec::new(),
            place: Place::Trace,
            evidence: "spans are not there, and were not to be".to_owned(),
        })
    }

    /// `export-rejected`, where an export was answered with an error: only what was lost by that shows whether
    /// the exporter got over it. (What a partial success rejects is lost at once, and told at once.)
    pub(super) fn refusals(&self) -> Vec<Violation> {
        let mut keys: Vec<_> = self.matching.missing().filter_map(|(_, slot)| self.refused_span(slot)).collect();
        keys.retain(|key| key.code == FindingCode::ExportRejected && key.cause != Cause::PartialSuccess);
        keys.sort();
        keys.dedup();
        keys.into_iter().map(rejected).collect()
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
    pub(super) fn connections(&self) -> Vec<Violation> {
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
        let of_role = self.case.spans.iter().map(|span| &span.span).filter(|span| span.role() == Some(slot.role));
        let refused = of_role.filter_map(|span| Some((span, span.refusal?))).next();
        let of_this_span = refused.map(|(span, cause)| self.case.processes.refusal(&span.peer, cause));
        let of_its_process = || self.case.processes.refusal_of_service_name(&self.role(slot).span.service).cloned();
        // What a function has exported can be told by its invocation, and is.
        let is_of_function =
            matches!(slot.fact, Fact::Delivery(..)) && !self.case.processes.knows(&self.role(slot).span.service);
        of_this_span.or_else(|| of_its_process().filter(|_| !is_of_function))
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
    pub(super) fn explanations(&self, slot: Slot) -> Vec<FindingKey> {
        let (cause, mut explanations) = self.missing_cause(slot);
        let subject = self.role(slot).name.clone();
        explanations.push(FindingKey { code: FindingCode::SpanMissing, cause, subject });
        explanations
    }

    /// Whether the service of a slot's role exported any span of this request.
    fn service_exported(&self, slot: Slot) -> bool {
        let service = &self.role(slot).span.service;
        self.case.spans.iter().any(|span| span.span.stored && *span.span.service == **service)
    }

    /// `late-by-thaw` and `span-late`: at most one of them for a span.
    pub(super) fn lateness(&self, slot: Slot, span: usize) -> Option<Violation> {
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
    pub(super) fn surplus(&self, span: usize) -> Violation {
        let seen = &self.case.spans[span].span;
        let cause =
            if seen.part == Part::Foreign || seen.is_unnamed() { Cause::NoSuchRole } else { Cause::MoreThanFacts };
        let subject = self.case.roles.subject(seen.role(), &seen.service, &seen.name);
        let evidence = format!("span {} {:?} of {} came from {}", seen.span_id, seen.name, seen.service, seen.peer);
        let roots = Vec::new();
        Violation { code: FindingCode::SpanUnexpected, cause, subject, roots, place: Place::Span(span), evidence }
    }
}

fn rejected(FindingKey { code, cause, subject }: FindingKey) -> Violation {
    let evidence = format!("an export of {subject} was not stored, and what it held did not come again");
    Violation { code, cause, subject, roots: Vec::new(), place: Place::Trace, evidence }
}

/// What was seen of a span that only a later thaw let out.
pub(crate) fn late_by_thaw_evidence(span: &SeenSpan, host: &Host) -> String {
    let SeenSpan { span_id, name, .. } = span;
    format!("span {span_id} {name:?} left {} only after it had been thawed for a later invocation", host.environment)
}
