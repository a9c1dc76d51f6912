//! Parents and children of a request, by the rules that hold for any trace.

use std::collections::BTreeMap;

use super::request::Checker;
use super::trace::{NameId, ProcessId, Trace, TraceSpan, TraceViolation, kinship};
use crate::assemble::SeenSpan;
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::TraceId;
use crate::violation::{Place, Violation};

/// A span in one of the request's traces.
#[derive(Clone, Copy)]
struct Relative<'a> {
    span: &'a SeenSpan,
    /// Its place in the case; none, if it belongs to an invocation.
    place: Option<usize>,
}

impl Checker<'_> {
    /// `self-parent`, `parent-cycle`, `kind-pair`, `remote-flag-missing` and `clock-disordered`. What `found`
    /// says of a span's parent already is not told once more in another way.
    pub(super) fn kinship(&self, found: &[Violation]) -> Vec<Violation> {
        self.families().values().flat_map(|family| self.kinship_in(family, found)).collect()
    }

    /// The spans of the request and of its invocations, by their traces.
    fn families(&self) -> BTreeMap<TraceId, Vec<Relative<'_>>> {
        let own = self.case.spans.iter().enumerate().filter(|(_, span)| span.span.stored);
        let own = own.map(|(place, span)| Relative { span: &span.span, place: Some(place) });
        let deliveries = self.case.record.messages.iter().flat_map(|message| &message.deliveries);
        let of_invocations = deliveries.flat_map(|delivery| self.case.accounts.spans_of(&delivery.invocation));
        let mut families: BTreeMap<TraceId, Vec<Relative<'_>>> = BTreeMap::new();
        for relative in own.chain(of_invocations.map(|span| Relative { span, place: None })) {
            families.entry(relative.span.trace_id).or_default().push(relative);
        }
        families
    }

    fn kinship_in(&self, family: &[Relative<'_>], found: &[Violation]) -> Vec<Violation> {
        let spans = trace_spans(family);
        let mut told = Vec::new();
        kinship(&Trace::new(&spans), &mut |violation| told.push(violation));
        // In a circle, nobody is rightly below anybody.
        let is_circle =
            |violation: &TraceViolation| matches!(violation.code, FindingCode::ParentCycle | FindingCode::SelfParent);
        if told.iter().any(is_circle) {
            told.retain(is_circle);
        }
        if found.iter().any(|found| found.code == FindingCode::ParentCycle) {
            told.clear();
        }
        told.iter().filter_map(|violation| self.of_relatives(family, *violation, found)).collect()
    }

    fn of_relatives(
        &self,
        family: &[Relative<'_>],
        TraceViolation { code, cause, span, other }: TraceViolation,
        found: &[Violation],
    ) -> Option<Violation> {
        let place = family[span].place?;
        let is_told = found.iter().any(|found| found.place == Place::Span(place) && found.is_about_the_parent());
        if is_told {
            return None;
        }
        let child = family[span].span;
        let parent = other.map(|other| family[other].span);
        let evidence = match parent {
            Some(parent) => format!("{} {:?} below {} {:?}", child.kind, child.name, parent.kind, parent.name),
            None => format!("{} {:?} with the parent {}", child.kind, child.name, child.span_id),
        };
        let subject = self.subject(child);
        let roots = if code == FindingCode::KindPair { self.kind_roots(child, parent) } else { Vec::new() };
        Some(Violation { code, cause, subject, roots, place: Place::Span(place), evidence })
    }

    fn subject(&self, span: &SeenSpan) -> String {
        self.case.roles.subject(span.role(), &span.service, &span.name)
    }

    /// Two kinds do not go together because one of them is wrong by the contract.
    fn kind_roots(&self, child: &SeenSpan, parent: Option<&SeenSpan>) -> Vec<FindingKey> {
        let wrong = |span: &SeenSpan| FindingKey {
            code: FindingCode::KindWrong,
            cause: Cause::Instrumentation,
            subject: self.subject(span),
        };
        [Some(child), parent].into_iter().flatten().map(wrong).collect()
    }
}

fn trace_spans(family: &[Relative<'_>]) -> Vec<TraceSpan> {
    let process = |span: &SeenSpan| family.iter().position(|other| *other.span.peer == *span.peer);
    let trace_span = |relative: &Relative<'_>| {
        let SeenSpan { span_id, parent, start, end, content, flags, kind, .. } = *relative.span;
        let process = ProcessId(process(relative.span).and_then(|place| u32::try_from(place).ok()).unwrap_or_default());
        TraceSpan { span_id, parent, start, end, content, process, name: NameId(0), flags, kind }
    };
    family.iter().map(trace_span).collect()
}
