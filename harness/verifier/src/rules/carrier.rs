//! What messages carry, judged at the queue.

use super::request::Checker;
use crate::assemble::SeenSpan;
use crate::contract::Per;
use crate::finding::{Cause, FindingCode};
use crate::id::TraceId;
use crate::ledger::MessageRecord;
use crate::roles::Part;
use crate::violation::{Place, Violation};

impl Checker<'_> {
    /// What is wrong with what the messages carry, if the contract has a span that is made from that.
    pub(super) fn carriers(&self) -> Vec<Violation> {
        if !self.case.roles.needs_carriers() {
            return Vec::new();
        }
        let messages = &self.case.record.messages;
        let wrong = messages.iter().filter_map(|message| self.carrier(message));
        wrong.chain(messages.iter().filter_map(carriers_conflict)).collect()
    }

    fn carrier(&self, message: &MessageRecord) -> Option<Violation> {
        carrier_missing(message).or_else(|| carrier_malformed(message)).or_else(|| self.carrier_mismatch(message))
    }

    /// `carrier-mismatch`: what the message carries is not its producer span's context.
    fn carrier_mismatch(&self, message: &MessageRecord) -> Option<Violation> {
        let carried = message.traceparent()?.span();
        let named = self.case.stored().find(|span| span.key() == carried).map(|span| span.part);
        let cause = match named {
            Some(Part::Role(role)) if self.case.roles.per_of(role) == Per::Message => return None,
            Some(_) if !self.sends() => return None,
            Some(_) => Cause::InjectedOutsideProducer,
            // The one that it names may be the one that is missing, or was not sampled.
            None if self.lacks_a_producer() => return None,
            None => Cause::CarrierUnknownSpan,
        };
        let text = message.carrier.traceparent.as_deref().unwrap_or_default();
        let evidence = format!("message {} carries traceparent {text:?}", message.message);
        Some(carrier_violation(FindingCode::CarrierMismatch, cause, evidence))
    }

    /// Whether the contract has a span for each message, whose context messages should carry.
    fn sends(&self) -> bool {
        self.case.roles.per(Per::Message).next().is_some()
    }

    fn lacks_a_producer(&self) -> bool {
        let is_sender = |per| per == Per::Message || (per == Per::Request && !self.sends());
        let absent = self.case.is_unsampled() || !self.matching.misnamed.is_empty();
        absent || self.matching.missing().any(|(_, slot)| is_sender(self.case.roles.per_of(slot.role)))
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

/// `carrier-malformed`: what the message carries is not valid W3C Trace Context.
pub(crate) fn carrier_malformed(message: &MessageRecord) -> Option<Violation> {
    let text = message.carrier.traceparent.as_deref().filter(|_| message.traceparent().is_none())?;
    let evidence = format!("message {} carries traceparent {text:?}", message.message);
    Some(carrier_violation(FindingCode::CarrierMalformed, Cause::CarrierInvalid, evidence))
}

/// `carriers-conflict`: the two headers of a message name different traces.
fn carriers_conflict(message: &MessageRecord) -> Option<Violation> {
    let carried = message.traceparent()?.trace_id;
    let xray = message.carrier.xray.as_deref().and_then(xray_trace).filter(|xray| *xray != carried)?;
    let evidence =
        format!("message {} carries trace {carried} in traceparent and {xray} in AWSTraceHeader", message.message);
    Some(carrier_violation(FindingCode::CarriersConflict, Cause::CarriersDiffer, evidence))
}

fn carrier_violation(code: FindingCode, cause: Cause, evidence: String) -> Violation {
    Violation { code, cause, subject: "message".to_owned(), roots: Vec::new(), place: Place::Trace, evidence }
}

/// Whether a span is in the trace that the X-Ray header of a message names.
pub(super) fn is_in_xray_trace(message: &MessageRecord, span: &SeenSpan) -> bool {
    message.carrier.xray.as_deref().and_then(xray_trace) == Some(span.trace_id)
}

/// The trace id in an X-Ray header: `Root=1-<8 hex digits>-<24 hex digits>;...`
/// (AWS X-Ray, "Tracing header"), as OpenTelemetry's X-Ray propagator reads it.
fn xray_trace(header: &str) -> Option<TraceId> {
    let root = header.split(';').find_map(|part| part.trim().strip_prefix("Root=1-"))?;
    root.replace('-', "").parse().ok()
}
