//! Traces drawn as trees: the expected one beside the one that was seen.

use crate::expect::Fact;
use crate::finding::{Example, TreeLine};
use crate::id::TraceId;
use crate::matching::{Case, Matching};
use crate::roles::RoleId;
use crate::rules::request::anchor;
use crate::tally::PlaceState;
use crate::violation::{Place, Violation};

/// A case of a finding with everything that shows it.
pub(crate) fn example(case: &Case<'_>, matching: &Matching, violations: &[Violation]) -> Example {
    let anchor = anchor(case, matching);
    Example {
        request: Some(case.request),
        trace: anchor,
        evidence: violations.iter().map(|violation| format!("{}: {}", violation.code, violation.evidence)).collect(),
        expected: Expected { case, matching, violations }.lines(),
        seen: Seen { case, violations, anchor, drawn: vec![false; case.spans.len()], lines: Vec::new() }.draw(),
    }
}

/// The codes of the violations at a place.
fn note(violations: &[Violation], place: Place) -> Option<String> {
    let codes: Vec<_> =
        violations.iter().filter(|found| found.place == place).map(|found| found.code.as_str()).collect();
    (!codes.is_empty()).then(|| codes.join(", "))
}

struct Expected<'a> {
    case: &'a Case<'a>,
    matching: &'a Matching,
    violations: &'a [Violation],
}

impl Expected<'_> {
    fn lines(&self) -> Vec<TreeLine> {
        let mut lines = Vec::new();
        for (role, _) in self.case.roles.iter().filter(|(_, role)| role.parent.is_none()) {
            self.draw(role, None, &mut lines);
        }
        lines
    }

    /// Draws the slots of a role and, below each of them, those that are for the same message.
    fn draw(&self, role: RoleId, message: Option<usize>, lines: &mut Vec<TreeLine>) {
        for (place, slot) in self.matching.slots.iter().enumerate() {
            let of_slot = message_of(slot.fact);
            let related = message.is_none() || of_slot.is_none() || of_slot == message;
            if slot.role != role || !slot.required || !related {
                continue;
            }
            let contract = self.case.roles.get(role);
            let text = format!("{} {} ({})", contract.span.kind, contract.span.name, contract.span.service);
            let absent = match self.matching.state(place) {
                PlaceState::Missing => Some("missing".to_owned()),
                PlaceState::Excused => Some("excused".to_owned()),
                PlaceState::Unsampled => Some("not sampled".to_owned()),
                PlaceState::Matched | PlaceState::Open => None,
            };
            let note = note(self.violations, Place::Slot(place)).or(absent);
            lines.push(TreeLine { depth: contract.depth, text, note });
            for (child, _) in self.case.roles.iter().filter(|(_, child)| child.parent == Some(role)) {
                self.draw(child, of_slot.or(message), lines);
            }
        }
    }
}

/// The message that a fact is about, by its place in the record.
fn message_of(fact: Fact) -> Option<usize> {
    match fact {
        Fact::Message(message) | Fact::Delivery(message, _) | Fact::Undelivered(Some(message)) => Some(message),
        _ => None,
    }
}

struct Seen<'a> {
    case: &'a Case<'a>,
    violations: &'a [Violation],
    /// The trace that needs no mention.
    anchor: Option<TraceId>,
    drawn: Vec<bool>,
    lines: Vec<TreeLine>,
}

impl Seen<'_> {
    /// Draws the roots with what is below them, and then what telemetry may have put into a cycle.
    fn draw(mut self) -> Vec<TreeLine> {
        let count = self.case.spans.len();
        let has_parent = |child| (0..count).any(|parent| self.is_child(child, parent));
        let roots: Vec<_> = (0..count).filter(|&span| !has_parent(span)).collect();
        for span in roots.into_iter().chain(0..count) {
            self.draw_span(span, 0);
        }
        self.lines
    }

    fn draw_span(&mut self, place: usize, depth: usize) {
        if std::mem::replace(&mut self.drawn[place], true) {
            return;
        }
        let span = &self.case.spans[place].span;
        let other = Some(span.trace_id) != self.anchor;
        let trace = if other { format!(" in trace {}", span.trace_id) } else { String::new() };
        let text = format!("{} {} ({}) {}{trace}", span.kind, span.name, span.service, span.span_id);
        let refused = (!span.stored).then(|| "in an export that was refused".to_owned());
        self.lines.push(TreeLine { depth, text, note: note(self.violations, Place::Span(place)).or(refused) });
        for child in 0..self.drawn.len() {
            if self.is_child(child, place) {
                self.draw_span(child, depth + 1);
            }
        }
    }

    fn is_child(&self, child: usize, parent: usize) -> bool {
        let (child_span, parent_span) = (&self.case.spans[child].span, &self.case.spans[parent].span);
        child != parent && child_span.parent == Some(parent_span.span_id) && child_span.trace_id == parent_span.trace_id
    }
}
