//! How the spans of one trace hang together: rules that hold for any trace, whoever made it.
//!
//! Nothing here recurses, and everything is linear or sorts once: a trace of 100,000 spans in one chain is
//! a trace like any other. What is told comes in the order of the spans, rule by rule.
//!
//! # A parent that is not there
//! Without a ledger, a parent that is not there is *lost* only where it would have been seen: in the child's
//! own process, which exported the child (so say OTLP's flags or, where they say nothing, the child's kind),
//! or elsewhere in a trace whose root is there, so that the trace began where spans are recorded. A remote
//! parent of a trace that has no root lies outside of what was recorded, and nothing is wrong with it. That
//! an id is *nobody's* (`phantom-parent`) only a ledger or a contract can tell.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cause::Cause;
use crate::code::FindingCode;
use crate::id::{SpanId, TraceId};
use crate::span::SpanKind;
use crate::time::Timestamp;

/// How much earlier than its parent a child may start. In healthy captures of one host, 7 % of the children
/// start up to 0.65 ms early.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_millis(1);

/// OTLP's flag that it is known whether the parent is remote.
const PARENT_PLACE_IS_KNOWN: u32 = 0x100;
/// OTLP's flag that the parent is remote.
const PARENT_IS_REMOTE: u32 = 0x200;

/// A process, as far as resources tell processes apart, by its number among those that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u32);

/// A span's name with the service that it comes from, by its number among those that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameId(pub(crate) u32);

/// A span of a trace as far as the rules ask; 64 bytes, because there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceSpan {
    pub(crate) span_id: SpanId,
    /// None for a root.
    pub(crate) parent: Option<SpanId>,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// The fingerprint of all that the span says.
    pub(crate) content: u64,
    pub(crate) process: ProcessId,
    pub(crate) name: NameId,
    /// OTLP's flags.
    pub(crate) flags: u32,
    pub(crate) kind: SpanKind,
}

/// Where a span's parent is, as the span itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentPlace {
    /// In its own process.
    Local,
    /// In another process.
    Remote,
}

impl TraceSpan {
    /// Where its parent is by its flags, or by its kind where they say nothing.
    pub(crate) const fn parent_place(&self) -> ParentPlace {
        match (self.flags & PARENT_PLACE_IS_KNOWN != 0, self.flags & PARENT_IS_REMOTE != 0, self.kind) {
            (true, true, _) | (false, _, SpanKind::Server | SpanKind::Consumer) => ParentPlace::Remote,
            _ => ParentPlace::Local,
        }
    }

    /// Whether its flags say that its parent is in its own process.
    const fn says_parent_is_local(&self) -> bool {
        self.flags & PARENT_PLACE_IS_KNOWN != 0 && self.flags & PARENT_IS_REMOTE == 0
    }

    /// Whether it names itself as its parent.
    fn is_its_own_parent(&self) -> bool {
        self.parent == Some(self.span_id)
    }
}

/// A link from a span of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceLink {
    /// The span that has it.
    pub(crate) from: SpanId,
    /// The trace of the span that it names.
    pub(crate) trace_id: TraceId,
    /// The span that it names.
    pub(crate) span_id: SpanId,
}

/// Something that a rule found in a trace. What it says in words is made where it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceViolation {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    /// Where it shows, by the span's place in the trace.
    pub(crate) span: usize,
    /// The span that it clashes with: its parent, the copy that came first, the other root.
    pub(crate) other: Option<usize>,
}

impl TraceViolation {
    const fn new(code: FindingCode, cause: Cause, span: usize, other: Option<usize>) -> Self {
        Self { code, cause, span, other }
    }
}

/// The spans of one trace, with who is whose parent.
#[derive(Debug, Clone)]
pub(crate) struct Trace<'a> {
    spans: &'a [TraceSpan],
    /// The places of the spans, by their ids; first copies first.
    by_id: Vec<(SpanId, usize)>,
    /// What is known of the span at each place.
    nodes: Vec<Node>,
    /// The first root, and the first one of another process than that.
    first_roots: [Option<usize>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The place of its first copy; its own, if it is that.
    first: usize,
    /// The place of its parent's first copy, if that is there and not itself.
    parent: Option<usize>,
}

impl<'a> Trace<'a> {
    /// Finds every span's parent.
    pub(crate) fn new(spans: &'a [TraceSpan]) -> Self {
        let mut by_id: Vec<_> = spans.iter().enumerate().map(|(place, span)| (span.span_id, place)).collect();
        by_id.sort_unstable();
        let mut trace = Self { spans, by_id, nodes: Vec::with_capacity(spans.len()), first_roots: [None; 2] };
        for span in spans {
            let parent = span.parent.filter(|_| !span.is_its_own_parent()).and_then(|parent| trace.find(parent));
            let first = trace.find(span.span_id).unwrap_or_default();
            trace.nodes.push(Node { first, parent });
        }
        let first = trace.roots().next();
        let second = first.and_then(|first| trace.roots().find(|&root| spans[root].process != spans[first].process));
        trace.first_roots = [first, second];
        trace
    }

    /// The place of the first copy of the span with this id.
    pub(crate) fn find(&self, id: SpanId) -> Option<usize> {
        let at = self.by_id.partition_point(|&(other, _)| other < id);
        self.by_id.get(at).filter(|&&(other, _)| other == id).map(|&(_, place)| place)
    }

    /// The span at a place.
    pub(crate) const fn span(&self, place: usize) -> &'a TraceSpan {
        &self.spans[place]
    }

    /// The place of a span's parent, if that is there and not the span itself.
    pub(crate) fn parent(&self, place: usize) -> Option<usize> {
        self.nodes[place].parent
    }

    /// The place of the span that a span is a copy of, or at least has the id of; none, if it is the first.
    pub(crate) fn copy_of(&self, place: usize) -> Option<usize> {
        Some(self.nodes[place].first).filter(|&first| first != place)
    }

    /// Whether the spans at two places say the same.
    pub(crate) const fn is_same(&self, place: usize, other: usize) -> bool {
        self.spans[place].content == self.spans[other].content
    }

    /// The places of the spans, each span once.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = usize> {
        (0..self.spans.len()).filter(|&place| self.copy_of(place).is_none())
    }

    /// The places of the spans that have no parent by what they say.
    pub(crate) fn roots(&self) -> impl Iterator<Item = usize> {
        self.distinct().filter(|&place| self.spans[place].parent.is_none())
    }

    /// The first root that another process has made.
    fn root_elsewhere(&self, process: ProcessId) -> Option<usize> {
        self.first_roots.into_iter().flatten().find(|&root| self.spans[root].process != process)
    }

    /// The places of a cycle's spans, from one of them along its parents.
    pub(crate) fn cycle(&self, start: usize) -> impl Iterator<Item = usize> {
        let next = move |&place: &usize| self.nodes[place].parent.filter(|&parent| parent != start);
        std::iter::successors(Some(start), next).take(self.spans.len())
    }
}

/// Applies the rules that hold for any trace, and tells `sink` of each violation.
pub(crate) fn judge(trace: &Trace<'_>, sink: &mut impl FnMut(TraceViolation)) {
    for place in 0..trace.spans.len() {
        copy(trace, place).into_iter().for_each(&mut *sink);
    }
    kinship(trace, sink);
    parents_lost(trace).into_iter().for_each(&mut *sink);
    root_multiple(trace).into_iter().for_each(sink);
}

/// Applies the rules about parents that are there.
pub(crate) fn kinship(trace: &Trace<'_>, sink: &mut impl FnMut(TraceViolation)) {
    for place in trace.distinct() {
        self_parent(trace, place).into_iter().for_each(&mut *sink);
        kind_pair(trace, place).into_iter().for_each(&mut *sink);
        remote_flag_missing(trace, place).into_iter().for_each(&mut *sink);
        clock_disordered(trace, place).into_iter().for_each(&mut *sink);
    }
    parent_cycles(trace).into_iter().for_each(sink);
}

/// `span-duplicated`, `span-conflict`: another span has come before it with the same ids.
fn copy(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    // Ids that are no ids are a matter of their own.
    let first = trace.copy_of(place).filter(|_| trace.span(place).span_id.is_valid())?;
    let (code, cause) = match trace.is_same(place, first) {
        true => (FindingCode::SpanDuplicated, Cause::ExporterRetry),
        false => (FindingCode::SpanConflict, Cause::IdsReused),
    };
    Some(TraceViolation::new(code, cause, place, Some(first)))
}

/// `self-parent`: it names itself as its parent.
fn self_parent(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    let violation = TraceViolation::new(FindingCode::SelfParent, Cause::OwnSpan, place, None);
    trace.span(place).is_its_own_parent().then_some(violation)
}

/// `parent-lost`: once for each parent that is not there, at the first of its children.
fn parents_lost(trace: &Trace<'_>) -> Vec<TraceViolation> {
    let mut told = BTreeSet::new();
    let is_first = |violation: &TraceViolation| told.insert(trace.span(violation.span).parent);
    trace.distinct().filter_map(|place| parent_lost(trace, place)).filter(is_first).collect()
}

/// Whether a span's parent is not there, and would have been seen.
fn parent_lost(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    let span = trace.span(place);
    let is_absent = span.parent.is_some_and(SpanId::is_valid) && trace.parent(place).is_none();
    if !is_absent || span.is_its_own_parent() {
        return None;
    }
    let witness = match span.parent_place() {
        ParentPlace::Local => None,
        ParentPlace::Remote => Some(trace.root_elsewhere(span.process)?),
    };
    Some(TraceViolation::new(FindingCode::ParentLost, Cause::ParentMissing, place, witness))
}

/// The place of a span's parent, if that is in another process.
fn remote_parent(trace: &Trace<'_>, place: usize) -> Option<usize> {
    trace.parent(place).filter(|&parent| trace.span(parent).process != trace.span(place).process)
}

/// `kind-pair`: in another process, the parent of a CONSUMER is a PRODUCER, and that of a SERVER a CLIENT.
fn kind_pair(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    let wanted = match trace.span(place).kind {
        SpanKind::Consumer => SpanKind::Producer,
        SpanKind::Server => SpanKind::Client,
        _ => return None,
    };
    let parent = remote_parent(trace, place).filter(|&parent| trace.span(parent).kind != wanted)?;
    Some(TraceViolation::new(FindingCode::KindPair, Cause::KindsDoNotPair, place, Some(parent)))
}

/// `remote-flag-missing`: it says that its parent is in its own process, and that is in another.
fn remote_flag_missing(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    let parent = remote_parent(trace, place).filter(|_| trace.span(place).says_parent_is_local())?;
    Some(TraceViolation::new(FindingCode::RemoteFlagMissing, Cause::ParentSaidLocal, place, Some(parent)))
}

/// `clock-disordered`: it starts before its parent by more than the tolerance.
fn clock_disordered(trace: &Trace<'_>, place: usize) -> Option<TraceViolation> {
    let (start, unset) = (trace.span(place).start, Timestamp::default());
    let is_early = |&parent: &usize| trace.span(parent).start.since(start) > CLOCK_TOLERANCE;
    let parent = trace.parent(place).filter(|_| start != unset).filter(is_early)?;
    Some(TraceViolation::new(FindingCode::ClockDisordered, Cause::ClockSkew, place, Some(parent)))
}

/// `parent-cycle`: each cycle once, at the first of its spans. A span that is its own parent is none.
fn parent_cycles(trace: &Trace<'_>) -> Vec<TraceViolation> {
    let mut walked_from = vec![None; trace.spans.len()];
    let mut cycles = Vec::new();
    for start in trace.distinct() {
        let mut at = Some(start);
        while let Some(place) = at.filter(|&place| walked_from[place].is_none()) {
            walked_from[place] = Some(start);
            at = trace.parent(place);
        }
        let closed = at.filter(|&place| walked_from[place] == Some(start));
        cycles.extend(closed.and_then(|place| trace.cycle(place).min()));
    }
    cycles.sort_unstable();
    let of_cycle = |place| TraceViolation::new(FindingCode::ParentCycle, Cause::Cycle, place, trace.parent(place));
    cycles.into_iter().map(of_cycle).collect()
}

/// `root-multiple`: once for a trace, at its second root.
fn root_multiple(trace: &Trace<'_>) -> Option<TraceViolation> {
    let mut roots = trace.roots();
    let (first, second) = (roots.next()?, roots.next()?);
    Some(TraceViolation::new(FindingCode::RootMultiple, Cause::SecondRoot, second, Some(first)))
}

/// `link-dangling`: links to spans that are not in their traces, although those were seen as a whole. `holds`
/// tells whether a trace holds a span, and nothing of a trace that was not seen.
pub(crate) fn dangling_links<'a>(
    links: &'a [TraceLink],
    holds: impl Fn(TraceId, SpanId) -> Option<bool> + 'a,
) -> impl Iterator<Item = &'a TraceLink> + 'a {
    links.iter().filter(move |link| holds(link.trace_id, link.span_id) == Some(false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::notation::spans;

    /// Judges a trace. Each finding is written as its code, the span's id and the other's: `self-parent 2`.
    fn check(text: &str, expected: &[&str]) {
        let spans = spans(text);
        let trace = Trace::new(&spans);
        let id = |place: usize| u64::from_str_radix(&spans[place].span_id.to_string(), 16).unwrap();
        let mut found = Vec::new();
        judge(&trace, &mut |TraceViolation { code, span, other, .. }| {
            let other = other.map(|other| format!(" {}", id(other))).unwrap_or_default();
            found.push(format!("{code} {}{other}", id(span)));
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn span_takes_64_bytes() {
        assert_eq!(size_of::<TraceSpan>(), 64);
    }

    #[test]
    fn healthy_trace_breaks_no_rule() {
        check(
            "api SERVER 1
               api PRODUCER 2
                 worker CONSUMER 3 flags=0x301
                   worker CLIENT 4 flags=0x101",
            &[],
        );
        check("", &[]);
    }

    #[test]
    fn span_that_names_itself_is_its_own_parent_and_no_cycle() {
        check("api SERVER 1\n api INTERNAL 2 parent=2", &["self-parent 2"]);
    }

    #[test]
    fn each_cycle_is_told_once_whatever_hangs_below_it() {
        check(
            "api INTERNAL 1 parent=2
             api INTERNAL 2 parent=1
             api INTERNAL 3 parent=1
             api INTERNAL 4 parent=6
             api INTERNAL 5 parent=4
             api INTERNAL 6 parent=5",
            &["parent-cycle 1 2", "parent-cycle 4 6"],
        );
        check("api INTERNAL 1\n api INTERNAL 2\n  api INTERNAL 3", &[]);
    }

    #[test]
    fn second_root_is_told_once() {
        check("api SERVER 1\napi INTERNAL 2\napi INTERNAL 3", &["root-multiple 2 1"]);
        check("api SERVER 1\napi SERVER 1", &["span-duplicated 1 1"]);
    }

    #[test]
    fn local_parent_that_is_not_there_is_lost() {
        check("api INTERNAL 2 parent=9", &["parent-lost 2"]);
        check("worker CONSUMER 2 parent=9 flags=0x101", &["parent-lost 2"]);
    }

    #[test]
    fn parent_of_many_is_lost_once() {
        check(
            "api INTERNAL 2 parent=9\napi INTERNAL 3 parent=9\napi INTERNAL 4 parent=8",
            &["parent-lost 2", "parent-lost 4"],
        );
    }

    #[test]
    fn remote_parent_is_lost_only_in_a_trace_that_began_elsewhere_in_the_recording() {
        check("api SERVER 1\nworker CONSUMER 2 parent=9", &["parent-lost 2 1"]);
        check("api SERVER 1\napi INTERNAL 2 parent=9 flags=0x301", &[]);
        check("api SERVER 1 parent=9\n api PRODUCER 2\n  worker CONSUMER 3", &[]);
        check("api SERVER 1 parent=8\nworker CONSUMER 2 parent=9", &[]);
    }

    #[test]
    fn parent_id_that_is_no_id_is_no_lost_parent() {
        check("api INTERNAL 2 parent=0", &[]);
    }

    #[test]
    fn remote_parent_of_a_consumer_is_a_producer_and_that_of_a_server_a_client() {
        check("api PRODUCER 1\n worker CONSUMER 2", &[]);
        check("api CLIENT 1\n worker SERVER 2", &[]);
        check("api SERVER 1\n worker CONSUMER 2", &["kind-pair 2 1"]);
        check("api INTERNAL 1\n worker SERVER 2", &["kind-pair 2 1"]);
        check("api UNSPECIFIED 1\n worker SERVER 2", &["kind-pair 2 1"]);
    }

    #[test]
    fn kinds_of_one_process_need_not_pair_and_nor_need_those_of_other_kinds() {
        check("worker SERVER 1\n worker CONSUMER 2", &[]);
        check("api SERVER 1\n worker INTERNAL 2", &[]);
        check("worker CONSUMER 2 parent=9", &[]);
    }

    #[test]
    fn child_that_says_that_a_remote_parent_is_local_lacks_the_flag() {
        check("api PRODUCER 1\n worker CONSUMER 2 flags=0x101", &["remote-flag-missing 2 1"]);
        check("api PRODUCER 1\n worker CONSUMER 2 flags=0x301", &[]);
        check("api PRODUCER 1\n worker CONSUMER 2 flags=0x1", &[]);
        check("api PRODUCER 1\n api INTERNAL 2 flags=0x101", &[]);
    }

    #[test]
    fn child_may_start_a_millisecond_before_its_parent_and_no_more() {
        check("api CLIENT 1 start=5000000\n api INTERNAL 2 start=3999999", &["clock-disordered 2 1"]);
        check("api CLIENT 1 start=5000000\n api INTERNAL 2 start=4000000", &[]);
        check("api CLIENT 1 start=5000000\n api INTERNAL 2 start=unset", &[]);
    }

    #[test]
    fn copy_of_a_span_is_a_duplicate_if_it_says_the_same_and_a_conflict_if_not() {
        check("api SERVER 1\n api CLIENT 2\n api CLIENT 2", &["span-duplicated 2 2"]);
        check("api SERVER 1\n api CLIENT 2\n api CLIENT 2 content=7", &["span-conflict 2 2"]);
        check("api INTERNAL 0\napi INTERNAL 0 content=7", &[]);
    }

    #[test]
    fn link_dangles_if_its_trace_is_there_and_its_span_is_not() {
        let (trace, other) = (TraceId::from_bytes([1; 16]), TraceId::from_bytes([2; 16]));
        let [here, gone] = [[1; 8], [9; 8]].map(SpanId::from_bytes);
        let link = |trace_id, span_id| TraceLink { from: here, trace_id, span_id };
        let links = [link(trace, here), link(trace, gone), link(other, gone)];
        let holds = |id, span| (id == trace).then_some(span == here);
        assert_eq!(dangling_links(&links, holds).collect::<Vec<_>>(), [&links[1]]);
    }

    #[test]
    fn chain_of_a_hundred_thousand_spans_is_judged_like_any_other() {
        let mut chain = spans("api SERVER 1\n api INTERNAL 2");
        let link = chain[1];
        let id = |number: u64| SpanId::from_bytes(number.to_be_bytes());
        chain.extend((3..=100_000).map(|n| TraceSpan { span_id: id(n), parent: Some(id(n - 1)), ..link }));
        chain[0].parent = Some(id(100_000));
        let mut found = Vec::new();
        judge(&Trace::new(&chain), &mut |violation| found.push((violation.code, violation.span)));
        assert_eq!(found, [(FindingCode::ParentCycle, 0)]);
    }

    proptest! {
        #[test]
        fn any_parents_can_be_judged_and_every_violation_names_a_span(
            wild in proptest::collection::vec((0_u8..6, proptest::option::of(0_u8..6), 0_u32..4, 0_u8..3), 0..24),
        ) {
            let template = spans("api SERVER 1")[0];
            let id = |number: u8| SpanId::from_bytes(u64::from(number).to_be_bytes());
            let spans: Vec<_> = wild.iter().map(|&(span, parent, flags, process)| TraceSpan {
                span_id: id(span), parent: parent.map(id), flags: flags << 8, process: ProcessId(process.into()), ..template
            }).collect();
            judge(&Trace::new(&spans), &mut |violation| assert!(violation.span < spans.len()));
        }
    }
}
