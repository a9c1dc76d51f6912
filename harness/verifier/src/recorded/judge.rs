//! One recorded trace, judged.

use std::collections::BTreeSet;

use crate::cause::Cause;
use crate::code::FindingCode;
use crate::contract::Per;
use crate::finding::FindingKey;
use crate::id::TraceId;
use crate::recorded::store::{RecordedTrace, Store, Targets};
use crate::roles::{Part, Role, RoleId, Roles};
use crate::rules::conformance::{At, Checker, Conformance, Nonconformity, Slot};
use crate::rules::trace::{Trace, TraceLink, TraceSpan, TraceViolation, dangling_links, judge};

/// What a trace is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Court<'a> {
    pub(crate) store: &'a Store,
    pub(crate) roles: Option<&'a Roles>,
    pub(crate) targets: &'a Targets,
}

/// Something that was found in a trace.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) key: FindingKey,
    /// What it follows from, the strongest first.
    pub(crate) roots: Vec<FindingKey>,
    /// The role that it is about, if there is one.
    pub(crate) role: Option<RoleId>,
    pub(crate) at: At,
    pub(crate) other: Option<usize>,
    pub(crate) link: Option<TraceLink>,
}

/// A trace with all that was found in it.
pub(crate) struct Judged<'a> {
    pub(crate) trace: Trace<'a>,
    pub(crate) parts: Vec<Part>,
    /// Whether it is judged: not if the contract has nothing to say of it.
    pub(crate) concerned: bool,
    /// The places for spans that the contract asks for.
    pub(crate) slots: Vec<Slot>,
    pub(crate) found: Vec<Found>,
}

impl<'a> Court<'a> {
    /// What each span of a trace is to the contract.
    fn parts(&self, trace: &RecordedTrace) -> Vec<Part> {
        trace.spans.iter().map(|span| self.store.part(span)).collect()
    }

    /// Whether the contract has anything to say of a trace.
    fn concerns(&self, parts: &[Part]) -> bool {
        self.roles.is_none() || parts.iter().any(|part| matches!(part, Part::Role(_) | Part::Unnamed(_)))
    }

    /// The role of the span that begins a trace although something should be above it.
    pub(crate) fn fragment(&self, trace: &RecordedTrace) -> Option<RoleId> {
        let roles = self.roles?;
        let is_below = |span: &TraceSpan| match self.store.part(span) {
            Part::Role(role) => roles.get(role).parent.is_some(),
            _ => false,
        };
        // Most traces need no second look.
        if !trace.spans.iter().any(|span| span.parent.is_none() && is_below(span)) {
            return None;
        }
        let (parts, spans) = (self.parts(trace), Trace::new(&trace.spans));
        let fit = Conformance::new(&spans, roles, &parts);
        fit.fragment().map(|slot| fit.slots[slot].role)
    }

    /// Judges a trace; not one that is no concern of the contract.
    pub(crate) fn judge(&self, id: TraceId, recorded: &'a RecordedTrace) -> Judged<'a> {
        let (trace, parts) = (Trace::new(&recorded.spans), self.parts(recorded));
        let concerned = self.concerns(&parts);
        let mut judged = Judged { trace, parts, concerned, slots: Vec::new(), found: Vec::new() };
        if concerned {
            let mut violations = Vec::new();
            judge(&judged.trace, &mut |violation| violations.push(violation));
            match self.roles {
                Some(roles) => self.judge_by(roles, &mut judged, &violations),
                None => judged.found.extend(violations.iter().map(|found| self.found(&judged.trace, found))),
            }
            self.judge_links(id, recorded, &mut judged);
        }
        judged
    }

    /// A violation of a rule that holds for any trace.
    fn found(&self, trace: &Trace<'_>, found: &TraceViolation) -> Found {
        let TraceViolation { code, cause, span, other } = *found;
        let key = FindingKey { code, cause, subject: self.subject(trace, span) };
        Found { key, roots: Vec::new(), role: None, at: At::Span(span), other, link: None }
    }

    /// What a finding is about that is about a span without a role.
    fn subject(&self, trace: &Trace<'_>, place: usize) -> String {
        let named = self.store.names.get(trace.span(place).name);
        format!("{} {:?}", named.service, named.name)
    }

    /// Judges a trace by the contract, and by what holds for any trace as far as that says more.
    fn judge_by(&self, roles: &Roles, judged: &mut Judged<'a>, violations: &[TraceViolation]) {
        let Judged { trace, parts, .. } = &*judged;
        let fit = Conformance::new(trace, roles, parts);
        let subject = |place: usize| self.subject(trace, place);
        let cycles = members(trace, violations);
        let checker = Checker::new(&fit, &cycles, &subject);
        let of_contract = checker.nonconformities();
        let mut found: Vec<_> = of_contract.iter().map(|found| nonconforming(&checker, found)).collect();
        let explained = Explained::new(&found);
        for violation in violations.iter().filter(|found| !is_of_contract(found, parts)) {
            let key = FindingKey { subject: checker.subject(violation.span), ..self.found(trace, violation).key };
            let roots = explained.roots(&found, violation);
            found.push(Found { key, roots, ..self.found(trace, violation) });
        }
        (judged.slots, judged.found) = (fit.slots, found);
    }

    /// `link-dangling`, `link-missing`, and what should link to a span of the trace.
    fn judge_links(&self, id: TraceId, recorded: &RecordedTrace, judged: &mut Judged<'a>) {
        let holds = |trace: TraceId, span| {
            let is_there = self.targets.get(&(trace, span)).is_some_and(|target| target.name.is_some());
            self.store.traces.contains_key(&trace).then_some(is_there)
        };
        for link in dangling_links(&recorded.links, holds) {
            if let Some(span) = judged.trace.find(link.from) {
                let found = self.link_violation(judged, FindingCode::LinkDangling, Cause::LinkToNobody, span);
                judged.found.push(Found { link: Some(*link), ..found });
            }
        }
        let mut found = Vec::new();
        for slot in &judged.slots {
            found.extend(self.unlinked(recorded, judged, slot));
            found.extend(self.unanswered(id, judged, slot));
        }
        judged.found.append(&mut found);
    }

    fn link_violation(&self, judged: &Judged<'_>, code: FindingCode, cause: Cause, span: usize) -> Found {
        let subject = match (self.roles, judged.parts[span]) {
            (Some(roles), Part::Role(role)) => roles.get(role).name.clone(),
            _ => self.subject(&judged.trace, span),
        };
        let key = FindingKey { code, cause, subject };
        Found { key, roots: Vec::new(), role: None, at: At::Span(span), other: None, link: None }
    }

    /// A span in a slot whose role links to another, and which does not. A link to what was not recorded may
    /// be the right one.
    fn unlinked(&self, recorded: &RecordedTrace, judged: &Judged<'_>, slot: &Slot) -> Option<Found> {
        let wanted = self.roles?.get(slot.role).link?;
        let span = slot.span?;
        let id = judged.trace.span(span).span_id;
        let may_be_right = |link: &TraceLink| {
            let target = self.targets.get(&(link.trace_id, link.span_id));
            let name = target.and_then(|target| target.name);
            name.is_none_or(|name| self.store.names.get(name).part == Part::Role(wanted))
        };
        let from = recorded.links.partition_point(|link| link.from < id);
        let is_linked = recorded.links[from..].iter().take_while(|link| link.from == id).any(may_be_right);
        let found = || self.link_violation(judged, FindingCode::LinkMissing, Cause::NotLinked, span);
        (!is_linked).then(found)
    }

    /// `span-missing`: nothing links to a span to which something should, and which has no trace of its own that
    /// would tell that it is missing: nobody has handled the message.
    fn unanswered(&self, id: TraceId, judged: &Judged<'_>, slot: &Slot) -> Vec<Found> {
        let (Some(roles), Some(span)) = (self.roles, slot.span) else { return Vec::new() };
        let target = self.targets.get(&(id, judged.trace.span(span).span_id));
        let is_linked = |by: RoleId| target.is_some_and(|target| target.linked_by.contains(&by));
        let own_root = roles.get(slot.role).root;
        let waited_for = roles.iter().filter(|(_, role)| {
            role.link == Some(slot.role) && role.root != own_root && role.span.per == Per::Delivery
        });
        // One that is there and does not link as it should is the likelier reason.
        let key = |code, cause, role: &Role| FindingKey { code, cause, subject: role.name.clone() };
        let missing = waited_for.filter(|(role, _)| !is_linked(*role)).map(|(role, contract)| Found {
            key: key(FindingCode::SpanMissing, Cause::NotRecorded, contract),
            roots: vec![
                key(FindingCode::LinkMissing, Cause::NotLinked, contract),
                key(FindingCode::LinkDangling, Cause::LinkToNobody, contract),
            ],
            role: Some(role),
            at: At::Span(span),
            other: None,
            link: None,
        });
        missing.collect()
    }
}

/// The spans of cycles, each with the place at which its cycle is told.
fn members(trace: &Trace<'_>, violations: &[TraceViolation]) -> Vec<(usize, usize)> {
    let cycles = violations.iter().filter(|found| found.code == FindingCode::ParentCycle);
    let mut members: Vec<_> =
        cycles.flat_map(|cycle| trace.cycle(cycle.span).map(|member| (member, cycle.span))).collect();
    members.sort_unstable();
    members
}

fn nonconforming(checker: &Checker<'_>, found: &Nonconformity) -> Found {
    let Nonconformity { code, cause, role, at, ref roots } = *found;
    let key = FindingKey { code, cause, subject: checker.about(found) };
    Found { key, roots: roots.clone(), role, at, other: None, link: None }
}

/// Whether the contract has said more of it: what the parent of a span in a role must be.
fn is_of_contract(found: &TraceViolation, parts: &[Part]) -> bool {
    found.code == FindingCode::ParentLost && matches!(parts[found.span], Part::Role(_))
}

/// What violations of the contract explain of what else is wrong with a trace.
struct Explained {
    /// The places of spans that are not what or where the contract wants them, with the violation's own.
    spans: BTreeSet<(usize, usize)>,
    /// The violations that tell of missing spans.
    missing: Vec<usize>,
}

impl Explained {
    fn new(found: &[Found]) -> Self {
        let mut explained = Self { spans: BTreeSet::new(), missing: Vec::new() };
        for (place, found) in found.iter().enumerate() {
            match (found.key.code, found.at) {
                (FindingCode::SpanMissing, _) => explained.missing.push(place),
                (
                    FindingCode::SpanUnexpected
                    | FindingCode::KindWrong
                    | FindingCode::ParentWrong
                    | FindingCode::TraceFragmented,
                    At::Span(span),
                ) => {
                    explained.spans.insert((span, place));
                }
                _ => {}
            }
        }
        explained
    }

    /// The findings that a violation follows from.
    fn roots(&self, found: &[Found], violation: &TraceViolation) -> Vec<FindingKey> {
        let of_span = |span: usize| self.spans.range((span, 0)..(span + 1, 0)).map(|&(_, place)| place);
        let places: Vec<_> = match violation.code {
            FindingCode::ParentLost => self.missing.iter().take(ROOTS).copied().collect(),
            FindingCode::KindPair
            | FindingCode::RootMultiple
            | FindingCode::RemoteFlagMissing
            | FindingCode::ClockDisordered => {
                [Some(violation.span), violation.other].into_iter().flatten().flat_map(of_span).collect()
            }
            _ => Vec::new(),
        };
        places.into_iter().map(|place| found[place].key.clone()).collect()
    }
}

/// How many missing spans are taken into account for a parent that was lost: any of them can be it.
const ROOTS: usize = 4;
