//! A recorded trace in words, and drawn as a tree.

use std::collections::BTreeMap;

use crate::code::FindingCode;
use crate::finding::TreeLine;
use crate::id::SpanId;
use crate::recorded::judge::{Court, Found, Judged};
use crate::rules::conformance::{At, Slot};

/// How many lines of a trace are drawn; it may have any number of spans.
const LINES: usize = 100;

/// A trace with the codes of what is wrong at each of its spans.
pub(crate) struct Drawing<'a> {
    court: Court<'a>,
    judged: &'a Judged<'a>,
    at_slots: BTreeMap<usize, Vec<FindingCode>>,
    at_spans: BTreeMap<usize, Vec<FindingCode>>,
}

impl<'a> Drawing<'a> {
    /// Prepares a drawing; `said` is what is wrong with single spans by what they say of themselves.
    pub(crate) fn new(court: Court<'a>, judged: &'a Judged<'a>, said: &[(SpanId, FindingCode)]) -> Self {
        let mut drawing = Self { court, judged, at_slots: BTreeMap::new(), at_spans: BTreeMap::new() };
        let of_spans = said.iter().filter_map(|(span, code)| Some((At::Span(judged.trace.find(*span)?), *code)));
        for (at, code) in judged.found.iter().map(|found| (found.at, found.key.code)).chain(of_spans) {
            let (codes, place) = match at {
                At::Slot(slot) => (&mut drawing.at_slots, slot),
                At::Span(span) => (&mut drawing.at_spans, span),
            };
            let codes = codes.entry(place).or_default();
            codes.extend((!codes.contains(&code)).then_some(code));
        }
        drawing
    }

    /// The trace as the contract expects it.
    pub(crate) fn expected(&self) -> Vec<TreeLine> {
        let Some(roles) = self.court.roles else { return Vec::new() };
        let slots = &self.judged.slots;
        let text = |slot: usize| {
            let span = &roles.get(slots[slot].role).span;
            format!("{} {} ({})", span.kind, span.name, span.service)
        };
        let note = |slot: usize| note(self.at_slots.get(&slot));
        let parents: Vec<_> = slots.iter().map(|slot: &Slot| slot.parent).collect();
        tree(&parents, |slot, depth| TreeLine { depth, text: text(slot), note: note(slot) })
    }

    /// The trace as it was recorded.
    pub(crate) fn seen(&self) -> Vec<TreeLine> {
        let trace = &self.judged.trace;
        let parents: Vec<_> = (0..self.judged.parts.len()).map(|place| trace.parent(place)).collect();
        let note = |place: usize| note(self.at_spans.get(&place));
        tree(&parents, |place, depth| TreeLine { depth, text: self.court.span(self.judged, place), note: note(place) })
    }
}

fn note(codes: Option<&Vec<FindingCode>>) -> Option<String> {
    let codes: Vec<_> = codes?.iter().map(|code| code.as_str()).collect();
    Some(codes.join(", "))
}

/// Draws what has these parents, each below its own: first what has none, then what is in a cycle.
fn tree(parents: &[Option<usize>], line: impl Fn(usize, usize) -> TreeLine) -> Vec<TreeLine> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    for (place, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(place);
        }
    }
    let (mut drawn, mut lines) = (vec![false; parents.len()], Vec::new());
    let tops = (0..parents.len()).filter(|&place| parents[place].is_none());
    for top in tops.chain(0..parents.len()) {
        let mut open = vec![(top, 0)];
        while let Some((place, depth)) = open.pop().filter(|_| lines.len() < LINES) {
            if !std::mem::replace(&mut drawn[place], true) {
                lines.push(line(place, depth));
                open.extend(children[place].iter().rev().map(|&child| (child, depth + 1)));
            }
        }
    }
    lines
}

impl Court<'_> {
    /// A span in words.
    pub(crate) fn span(&self, judged: &Judged<'_>, place: usize) -> String {
        let span = judged.trace.span(place);
        let named = self.store.names.get(span.name);
        format!("{} {} ({}) {}", span.kind, named.name, named.service, span.span_id)
    }

    /// What was seen of a finding, in a line.
    pub(crate) fn evidence(&self, judged: &Judged<'_>, found: &Found) -> String {
        match found.at {
            At::Slot(slot) => self.missing(judged, slot),
            At::Span(place) => format!("{} {}", self.span(judged, place), self.predicate(judged, found, place)),
        }
    }

    fn missing(&self, judged: &Judged<'_>, slot: usize) -> String {
        let Slot { role, parent, .. } = judged.slots[slot];
        let Some(roles) = self.roles else { return String::new() };
        let contract = &roles.get(role).span;
        let above = parent.and_then(|parent| judged.slots[parent].span);
        let below = above.map(|above| format!(" below {}", self.span(judged, above))).unwrap_or_default();
        format!("no span {:?} of {}{below}", contract.name.as_str(), contract.service)
    }

    /// What is wrong with the span at a place.
    fn predicate(&self, judged: &Judged<'_>, found: &Found, place: usize) -> String {
        let span = judged.trace.span(place);
        let other = found.other.map_or_else(|| "?".to_owned(), |other| self.span(judged, other));
        let parent = span.parent.map_or_else(|| "none".to_owned(), |parent| parent.to_string());
        let wanted = self.wanted(found);
        match found.key.code {
            FindingCode::SelfParent => "names itself as its parent".to_owned(),
            FindingCode::ParentCycle => format!("is its own ancestor, by way of {other}"),
            FindingCode::ParentLost | FindingCode::PhantomParent => {
                format!("has the parent {parent}, which was not recorded")
            }
            FindingCode::RootMultiple => format!("has no parent, and neither has {other}"),
            FindingCode::KindPair => format!("has a parent in another process, {other}"),
            FindingCode::RemoteFlagMissing => {
                format!("has the flags {:#x}, and its parent is in another process: {other}", span.flags)
            }
            FindingCode::ClockDisordered => format!("starts at {}, before its parent {other}", span.start),
            FindingCode::SpanDuplicated => "came again, the same in all".to_owned(),
            FindingCode::SpanConflict => format!("has the ids of another span: {other}"),
            FindingCode::LinkDangling => {
                let link = found.link.map(|link| format!(" {} in trace {}", link.span_id, link.trace_id));
                format!("links to a span that was not recorded:{}", link.unwrap_or_default())
            }
            FindingCode::LinkMissing => "has no link that the contract asks for".to_owned(),
            FindingCode::ParentWrong | FindingCode::TraceFragmented => {
                format!("has the parent {parent}, the contract wants {wanted}")
            }
            FindingCode::SpanMissing => "has no span that links to it".to_owned(),
            _ => format!("is not what the contract wants: {wanted}"),
        }
    }

    /// What the contract wants where something else was found.
    fn wanted(&self, found: &Found) -> String {
        let role = found.role.and_then(|role| Some(self.roles?.get(role)));
        let Some(role) = role else { return "no such span".to_owned() };
        match found.key.code {
            FindingCode::KindWrong => format!("the kind {}", role.span.kind),
            FindingCode::NameWrong => format!("the name {}", role.span.name),
            FindingCode::SpanUnexpected => "no further one".to_owned(),
            _ => role.span.parent.clone().unwrap_or_else(|| "none".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws a tree with the places as its texts.
    fn drawn(parents: &[Option<usize>]) -> Vec<String> {
        let line = |place: usize, depth| TreeLine { depth, text: place.to_string(), note: None };
        tree(parents, line).into_iter().map(|line| format!("{}{}", "-".repeat(line.depth), line.text)).collect()
    }

    #[test]
    fn children_stand_below_their_parents_in_their_order() {
        assert_eq!(drawn(&[None, Some(0), Some(3), Some(0), None]), ["0", "-1", "-3", "--2", "4"]);
    }

    #[test]
    fn what_is_in_a_cycle_is_drawn_once() {
        assert_eq!(drawn(&[Some(1), Some(0), Some(1)]), ["0", "-1", "--2"]);
    }

    #[test]
    fn long_chain_is_drawn_as_far_as_a_page_goes() {
        let chain: Vec<_> = (0..100_000_usize).map(|place| place.checked_sub(1)).collect();
        assert_eq!(drawn(&chain).len(), LINES);
    }
}
