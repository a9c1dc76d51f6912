//! What spans say, beside what happened.

use super::request::Checker;
use crate::contract::StatusRule;
use crate::event::RequestOutcome;
use crate::expect::{Fact, Slot};
use crate::finding::{Cause, FindingCode};
use crate::violation::Violation;

/// From this status on, a server's span must be an error (OpenTelemetry HTTP conventions, "Status").
const SERVER_ERROR: u16 = 500;

impl Checker<'_> {
    /// `kind-wrong`.
    pub(super) fn kind(&self, slot: Slot, span: usize) -> Option<Violation> {
        let (expected, seen) = (self.role(slot).span.kind, self.case.spans[span].span.kind);
        let evidence = || format!("its kind is {seen}, the contract names {expected}");
        (seen != expected).then(|| self.at_span(FindingCode::KindWrong, Cause::Instrumentation, slot, span, evidence()))
    }

    /// `name-wrong`, for a span that is in its place in all but its name.
    pub(super) fn name(&self, slot: Slot, span: usize) -> Option<Violation> {
        let seen = &self.case.spans[span].span;
        let is_misnamed = self.matching.misnamed.contains(&span) && !seen.service.is_empty();
        let evidence =
            || format!("its name is {:?}, the contract names {:?}", seen.name, self.role(slot).span.name.as_str());
        is_misnamed.then(|| self.at_span(FindingCode::NameWrong, Cause::OtherName, slot, span, evidence()))
    }

    /// `status-wrong`, beside the real outcome.
    pub(super) fn outcome(&self, slot: Slot, span: usize) -> Option<Violation> {
        if self.role(slot).span.status != StatusRule::Outcome {
            return None;
        }
        let (failed, seen) = (self.failed(slot.fact)?, self.case.spans[span].span.failed);
        let word = |failed| if failed { "an error" } else { "no error" };
        let evidence = || format!("its status is {}, and what really came of it is {}", word(seen), word(failed));
        (failed != seen).then(|| self.at_span(FindingCode::StatusWrong, Cause::OutcomeDiffers, slot, span, evidence()))
    }

    /// Whether what a fact tells of failed, if the ledger knows.
    fn failed(&self, fact: Fact) -> Option<bool> {
        match (fact, self.case.record.outcome.as_ref()) {
            (Fact::Request, Some(RequestOutcome::Answered { status, .. })) => Some(*status >= SERVER_ERROR),
            // Whose request was not accepted may never have heard that the message was queued.
            (Fact::Message(_), Some(RequestOutcome::Answered { accepted: true, .. })) => Some(false),
            (Fact::Delivery(..), _) => {
                let delivery = fact.delivery(self.case.record)?;
                delivery.is_answered().then_some(delivery.failed)
            }
            _ => None,
        }
    }
}
