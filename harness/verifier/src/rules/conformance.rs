//! A trace beside its contract, without a ledger: which roles it must hold is told by the roles that it has.
//!
//! The roles that hang together by `parent` are one trace. Of a trace that holds a span in one of them, every
//! role is asked for: one for each span of its parent's role if both are for the same (a request, a message,
//! a delivery), at least one otherwise. Spans for invocations and environments need not be there.

use std::collections::{BTreeMap, BTreeSet};

use crate::cause::Cause;
use crate::code::FindingCode;
use crate::contract::Per;
use crate::finding::FindingKey;
use crate::roles::{Part, Role, RoleId, Roles, ServiceId};
use crate::rules::trace::{ParentPlace, Trace};

/// A place for a span in a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) role: RoleId,
    /// The slot of its parent.
    pub(crate) parent: Option<usize>,
    /// The span that takes it, by its place in the trace.
    pub(crate) span: Option<usize>,
    /// Whether that span fits by everything but its name.
    pub(crate) misnamed: bool,
}

/// Where a violation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// At a slot that nothing takes.
    Slot(usize),
    /// At a span, by its place in the trace.
    Span(usize),
}

/// Something that a trace lacks or has too much of, or that is not where the contract wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nonconformity {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    /// The role that it is about; none, if the span has none.
    pub(crate) role: Option<RoleId>,
    pub(crate) at: At,
    /// What it follows from, the strongest first.
    pub(crate) roots: Vec<FindingKey>,
}

/// A trace laid beside the contract.
#[derive(Debug)]
pub(crate) struct Conformance<'a> {
    trace: &'a Trace<'a>,
    roles: &'a Roles,
    /// What each span is, by its place in the trace.
    parts: &'a [Part],
    /// The places for spans, parents before their children.
    pub(crate) slots: Vec<Slot>,
    /// For each span, the slot that it takes.
    taken: Vec<Option<usize>>,
    /// The spans that the contract does not name, by the places of their parents.
    unnamed: Vec<(Option<usize>, usize)>,
}

impl<'a> Conformance<'a> {
    /// Gives every span its slot. `parts` tells of each span of the trace what it is.
    pub(crate) fn new(trace: &'a Trace<'a>, roles: &'a Roles, parts: &'a [Part]) -> Self {
        let is_unnamed = |place: &usize| matches!(parts[*place], Part::Unnamed(_));
        let mut unnamed: Vec<_> =
            trace.distinct().filter(is_unnamed).map(|place| (trace.parent(place), place)).collect();
        unnamed.sort_unstable();
        let mut conformance = Self { trace, roles, parts, slots: Vec::new(), taken: vec![None; parts.len()], unnamed };
        let roots = conformance.roots_present();
        for (role, contract) in roles.iter().filter(|(_, role)| roots.contains(&role.root)) {
            conformance.fill(role, contract);
        }
        conformance
    }

    /// The root roles of the traces of which this one holds a part.
    fn roots_present(&self) -> Vec<RoleId> {
        let of_part = |part: &Part| match part {
            Part::Role(role) => Some(self.roles.get(*role).root),
            _ => None,
        };
        let mut roots: Vec<_> = self.parts.iter().filter_map(of_part).collect();
        roots.sort_unstable();
        roots.dedup();
        if roots.is_empty() { self.misnamed_alone().into_iter().collect() } else { roots }
    }

    /// The role that a whole trace should consist of, if a span of another name is in its place.
    fn misnamed_alone(&self) -> Option<RoleId> {
        let is_alone = |root: RoleId| self.roles.iter().filter(|(_, role)| role.root == root).count() == 1;
        let roles = self.roles.iter().filter(|(role, _)| is_alone(*role));
        roles.map(|(role, _)| role).find(|role| self.misnamed(*role, None).is_some())
    }

    /// Makes the slots of a role and fills them: with the spans that are below the right parent, then with
    /// those that are elsewhere, then with those that have another name.
    fn fill(&mut self, role: RoleId, contract: &Role) {
        let parents = self.parent_slots(contract);
        let single = self.is_single(contract);
        let (below, strays) = self.spans_in(role, &parents);
        let mut strays = strays.into_iter();
        for &parent in &parents {
            let from = below.partition_point(|(above, _)| *above < parent);
            let mut spans: Vec<_> = below[from..].iter().take_while(|(above, _)| *above == parent).collect();
            spans.truncate(if single { 1 } else { spans.len() });
            match spans.is_empty() {
                true => self.fill_empty(role, parent, strays.next()),
                false => spans.into_iter().for_each(|&(_, span)| self.take(role, parent, span, false)),
            }
        }
        if !single || parents.is_empty() {
            strays.for_each(|span| self.take(role, None, span, false));
        }
    }

    /// Fills a slot for which no span is in the right place.
    fn fill_empty(&mut self, role: RoleId, parent: Option<usize>, stray: Option<usize>) {
        match (stray, self.misnamed(role, parent)) {
            (Some(stray), _) => self.take(role, parent, stray, false),
            (None, Some(misnamed)) => self.take(role, parent, misnamed, true),
            (None, None) if self.is_optional(role) => {}
            (None, None) => self.slots.push(Slot { role, parent, span: None, misnamed: false }),
        }
    }

    fn take(&mut self, role: RoleId, parent: Option<usize>, span: usize, misnamed: bool) {
        self.taken[span] = Some(self.slots.len());
        self.slots.push(Slot { role, parent, span: Some(span), misnamed });
    }

    /// The slots under which there is a slot of the role, in their order; none for a root, which stands by itself.
    fn parent_slots(&self, contract: &Role) -> Vec<Option<usize>> {
        let Some(parent) = contract.parent else { return vec![None] };
        (0..self.slots.len()).filter(|&slot| self.slots[slot].role == parent).map(Some).collect()
    }

    /// Whether there is only one of the role for each of its parent, or in the whole trace for a root.
    fn is_single(&self, contract: &Role) -> bool {
        contract.parent.is_none_or(|parent| self.roles.get(parent).span.per == contract.span.per)
    }

    /// Whether nothing in the trace tells that there should be such a span.
    fn is_optional(&self, role: RoleId) -> bool {
        let contract = self.roles.get(role);
        contract.parent.is_some() && matches!(contract.span.per, Per::Invocation | Per::Environment)
    }

    /// The spans in a role: those below these slots, by them, and those elsewhere.
    fn spans_in(&self, role: RoleId, parents: &[Option<usize>]) -> (Vec<(Option<usize>, usize)>, Vec<usize>) {
        let has_role = |place: &usize| self.parts[*place] == Part::Role(role);
        let mut spans: Vec<_> = self.trace.distinct().filter(has_role).collect();
        // Who has no parent is the likelier root.
        spans.sort_by_key(|&place| self.trace.span(place).parent.is_some());
        let above = |place| self.trace.parent(place).and_then(|parent| self.taken[parent]);
        let (mut below, elsewhere): (Vec<_>, Vec<_>) = spans
            .into_iter()
            .map(|place| (above(place), place))
            .partition(|(above, _)| parents.binary_search(above).is_ok());
        below.sort_by_key(|(above, _)| *above);
        (below, elsewhere.into_iter().map(|(_, place)| place).collect())
    }

    /// A span that could take a slot, but for its name: of the same service and kind, in the same place.
    fn misnamed(&self, role: RoleId, parent: Option<usize>) -> Option<usize> {
        let above = parent.and_then(|parent| self.slots[parent].span);
        let contract = self.roles.get(role);
        let from = self.unnamed.partition_point(|(parent, _)| *parent < above);
        let there = self.unnamed[from..].iter().take_while(|(parent, _)| *parent == above).map(|(_, place)| *place);
        there
            .filter(|&place| self.taken[place].is_none() && self.trace.span(place).kind == contract.span.kind)
            .find(|&place| self.parts[place] == Part::Unnamed(contract.service))
    }
}

/// The rules, on a trace whose spans have their slots.
pub(crate) struct Checker<'a> {
    fit: &'a Conformance<'a>,
    /// What a finding is about that is about a span in no role.
    subject: &'a dyn Fn(usize) -> String,
    /// The cycles' spans with the places at which the cycles are told, in order.
    cycles: &'a [(usize, usize)],
    /// For each role, the first slot that nothing takes.
    missing: Vec<Option<usize>>,
    /// The services of which there are spans in the slots.
    services: BTreeSet<ServiceId>,
    /// The span that begins the trace although something should be above it, by its slot.
    fragment: Option<usize>,
}

impl<'a> Checker<'a> {
    /// Looks for what explains other things.
    pub(crate) fn new(
        fit: &'a Conformance<'a>,
        cycles: &'a [(usize, usize)],
        subject: &'a dyn Fn(usize) -> String,
    ) -> Self {
        let mut missing = vec![None; fit.roles.len()];
        for (place, slot) in fit.slots.iter().enumerate().filter(|(_, slot)| slot.span.is_none()) {
            missing[slot.role.place()].get_or_insert(place);
        }
        let taken = fit.slots.iter().filter(|slot| slot.span.is_some());
        let services = taken.map(|slot| fit.roles.get(slot.role).service).collect();
        Self { fit, subject, cycles, missing, services, fragment: fit.fragment() }
    }

    /// Applies every rule.
    pub(crate) fn nonconformities(&self) -> Vec<Nonconformity> {
        let mut found = Vec::new();
        for (slot, Slot { span, .. }) in self.fit.slots.iter().enumerate() {
            match span {
                None => found.push(self.span_missing(slot)),
                Some(span) => found.extend(self.placed(slot, *span)),
            }
        }
        found.extend(self.unexpected());
        found
    }

    fn placed(&self, slot: usize, span: usize) -> impl Iterator<Item = Nonconformity> {
        let rules = [self.name_wrong(slot, span), self.kind_wrong(slot, span), self.linkage(slot, span)];
        rules.into_iter().flatten()
    }

    fn role(&self, slot: usize) -> &Role {
        self.fit.roles.get(self.fit.slots[slot].role)
    }

    fn key(&self, code: FindingCode, cause: Cause, slot: usize) -> FindingKey {
        FindingKey { code, cause, subject: self.role(slot).name.clone() }
    }

    fn at_span(&self, code: FindingCode, cause: Cause, slot: usize, span: usize) -> Nonconformity {
        let role = Some(self.fit.slots[slot].role);
        Nonconformity { code, cause, role, at: At::Span(span), roots: Vec::new() }
    }

    /// `span-missing`: no span takes the slot.
    fn span_missing(&self, slot: usize) -> Nonconformity {
        let roots = self.fragment.map(|fragment| self.fragment_key(fragment)).into_iter().collect();
        let (code, cause, role) = (FindingCode::SpanMissing, self.missing_cause(slot), self.fit.slots[slot].role);
        Nonconformity { code, cause, role: Some(role), at: At::Slot(slot), roots }
    }

    fn missing_key(&self, slot: usize) -> FindingKey {
        self.key(FindingCode::SpanMissing, self.missing_cause(slot), slot)
    }

    fn missing_cause(&self, slot: usize) -> Cause {
        match self.services.contains(&self.role(slot).service) {
            true => Cause::NotExported,
            false => Cause::NotRecorded,
        }
    }

    /// `name-wrong`: it fits its place by everything but its name.
    fn name_wrong(&self, slot: usize, span: usize) -> Option<Nonconformity> {
        let violation = self.at_span(FindingCode::NameWrong, Cause::OtherName, slot, span);
        self.fit.slots[slot].misnamed.then_some(violation)
    }

    /// `kind-wrong`: it has another kind than its role.
    fn kind_wrong(&self, slot: usize, span: usize) -> Option<Nonconformity> {
        let violation = self.at_span(FindingCode::KindWrong, Cause::Instrumentation, slot, span);
        (self.fit.trace.span(span).kind != self.role(slot).span.kind).then_some(violation)
    }

    /// Whether its parent is what the contract names. A span that is its own parent is a matter of its own.
    fn linkage(&self, slot: usize, span: usize) -> Option<Nonconformity> {
        let says = self.fit.trace.span(span);
        if says.parent == Some(says.span_id) {
            return None;
        }
        match (self.role(slot).parent, says.parent, self.fit.trace.parent(span)) {
            (None, None, _) => None,
            (None, Some(_), above) => self.parent_of_root(slot, span, above),
            (Some(_), None, _) => Some(self.no_parent(slot, span)),
            (Some(wanted), Some(_), Some(above)) => self.parent_wrong(slot, span, wanted, above),
            (Some(wanted), Some(parent), None) if parent.is_valid() => Some(self.parent_absent(slot, span, wanted)),
            (Some(_), Some(_), None) => None,
        }
    }

    /// `parent-wrong`: a root has a parent. One that is remote and not there lies outside of the recording.
    fn parent_of_root(&self, slot: usize, span: usize, above: Option<usize>) -> Option<Nonconformity> {
        let is_outside = above.is_none() && self.fit.trace.span(span).parent_place() == ParentPlace::Remote;
        let violation = self.at_span(FindingCode::ParentWrong, Cause::ParentOfRoot, slot, span);
        (!is_outside).then(|| Nonconformity { roots: self.explanations(span, above), ..violation })
    }

    /// `trace-fragmented` or `parent-wrong`: it has no parent, in a trace of its own or beside the root.
    fn no_parent(&self, slot: usize, span: usize) -> Nonconformity {
        match self.fragment {
            Some(_) => self.at_span(FindingCode::TraceFragmented, self.fragment_cause(slot), slot, span),
            None => self.at_span(FindingCode::ParentWrong, Cause::NoParent, slot, span),
        }
    }

    fn fragment_key(&self, slot: usize) -> FindingKey {
        self.key(FindingCode::TraceFragmented, self.fragment_cause(slot), slot)
    }

    fn fragment_cause(&self, slot: usize) -> Cause {
        fragment_cause(self.role(slot).span.per)
    }

    /// `parent-wrong`: its parent is there and is in another role.
    fn parent_wrong(&self, slot: usize, span: usize, wanted: RoleId, above: usize) -> Option<Nonconformity> {
        let role_above = self.fit.taken[above].map(|slot| self.fit.slots[slot].role);
        if role_above == Some(wanted) {
            return None;
        }
        let beside_it = role_above.is_some() && role_above == self.fit.roles.get(wanted).parent;
        let cause = match self.role(slot).span.per {
            Per::Delivery if beside_it => Cause::InjectedOutsideProducer,
            _ => Cause::OtherParent,
        };
        let roots = self.missing_in(wanted).chain(self.explanations(span, Some(above))).collect();
        Some(Nonconformity { roots, ..self.at_span(FindingCode::ParentWrong, cause, slot, span) })
    }

    /// What explains a parent that should not be one: a cycle, or that nobody asked for that span.
    fn explanations(&self, span: usize, above: Option<usize>) -> Vec<FindingKey> {
        let in_cycle = self.cycles.binary_search_by_key(&span, |(member, _)| *member).ok();
        let cycle = in_cycle.map(|at| FindingKey {
            code: FindingCode::ParentCycle,
            cause: Cause::Cycle,
            subject: self.subject(self.cycles[at].1),
        });
        let unexpected = above.and_then(|above| self.unexpected_cause(above).map(|cause| (above, cause)));
        let unexpected = unexpected.map(|(above, cause)| FindingKey {
            code: FindingCode::SpanUnexpected,
            cause,
            subject: self.subject(above),
        });
        cycle.into_iter().chain(unexpected).collect()
    }

    /// What a finding is about.
    pub(crate) fn about(&self, found: &Nonconformity) -> String {
        match found.at {
            At::Slot(slot) => self.role(slot).name.clone(),
            At::Span(span) => self.subject(span),
        }
    }

    /// What a finding at a span is about: its role, or what it says of itself.
    pub(crate) fn subject(&self, span: usize) -> String {
        match (self.fit.taken[span], self.fit.parts[span]) {
            (Some(slot), _) => self.role(slot).name.clone(),
            (None, Part::Role(role)) => self.fit.roles.get(role).name.clone(),
            (None, Part::Extra(extra)) => self.fit.roles.extra(extra).name.clone(),
            (None, _) => (self.subject)(span),
        }
    }

    /// The findings that spans in a role are missing.
    fn missing_in(&self, role: RoleId) -> impl Iterator<Item = FindingKey> {
        self.missing[role.place()].map(|slot| self.missing_key(slot)).into_iter()
    }

    /// `parent-lost` or `phantom-parent`: its parent is not there. It is nobody's if a span in the parent's
    /// role is there that has no other child in this role; else it may be a further one, which was lost.
    fn parent_absent(&self, slot: usize, span: usize, wanted: RoleId) -> Nonconformity {
        let lost: Vec<_> = self.missing_in(wanted).collect();
        let childless = self.fit.slots[slot].parent.and_then(|parent| self.fit.slots[parent].span);
        if lost.is_empty() && childless.is_some() {
            return self.at_span(FindingCode::PhantomParent, Cause::GatewayAsParent, slot, span);
        }
        let violation = self.at_span(FindingCode::ParentLost, Cause::ParentMissing, slot, span);
        Nonconformity { roots: lost, ..violation }
    }

    /// `span-unexpected`: spans of the contract's services for which there is no slot.
    fn unexpected(&self) -> impl Iterator<Item = Nonconformity> {
        let surplus = self.fit.trace.distinct().filter_map(|span| Some((span, self.unexpected_cause(span)?)));
        surplus.map(|(span, cause)| self.surplus(span, cause)).chain(self.extras_beyond())
    }

    fn unexpected_cause(&self, span: usize) -> Option<Cause> {
        match (self.fit.taken[span], self.fit.parts[span]) {
            (None, Part::Role(_)) => Some(Cause::MoreThanFacts),
            (None, Part::Unnamed(_)) => Some(Cause::NoSuchRole),
            _ => None,
        }
    }

    fn surplus(&self, span: usize, cause: Cause) -> Nonconformity {
        let role = match self.fit.parts[span] {
            Part::Role(role) => Some(role),
            _ => None,
        };
        Nonconformity { code: FindingCode::SpanUnexpected, cause, role, at: At::Span(span), roots: Vec::new() }
    }

    /// Extras beyond what a request may have. Of those for something else a trace does not tell how many
    /// there may be.
    fn extras_beyond(&self) -> impl Iterator<Item = Nonconformity> {
        let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
        let is_beyond = move |span: &usize| match self.fit.parts[*span] {
            Part::Extra(extra) if self.fit.roles.extra(extra).per == Per::Request => {
                let count = seen.entry(extra).or_default();
                *count += 1;
                *count > self.fit.roles.extra(extra).at_most
            }
            _ => false,
        };
        self.fit.trace.distinct().filter(is_beyond).map(|span| self.surplus(span, Cause::MoreThanFacts))
    }
}

impl Conformance<'_> {
    /// The slot whose span begins the trace although something should be above it, where nothing else begins it.
    pub(crate) fn fragment(&self) -> Option<usize> {
        let begins = |slot: &Slot| slot.span.is_some_and(|span| self.trace.span(span).parent.is_none());
        let is_below = |slot: &Slot| self.roles.get(slot.role).parent.is_some();
        let headless = |slot: &Slot| self.is_headless(self.roles.get(slot.role).root);
        self.slots.iter().position(|slot| is_below(slot) && begins(slot) && headless(slot))
    }

    /// Whether nothing takes the slot of a root.
    fn is_headless(&self, root: RoleId) -> bool {
        self.slots.iter().take_while(|slot| slot.role <= root).any(|slot| slot.role == root && slot.span.is_none())
    }
}

/// Why a trace begins with a span that should have a parent, by what there is one of them for.
pub(crate) const fn fragment_cause(per: Per) -> Cause {
    match per {
        Per::Delivery | Per::Invocation => Cause::ContextNotExtracted,
        Per::Message => Cause::ContextNotAttached,
        Per::Request | Per::Environment => Cause::NoParent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::notation::{ONBOARDING, contract, lines, spans};
    use crate::rules::trace::judge;

    /// Lays a trace beside a contract. Each finding is written as its code, what it is about, its cause and the
    /// codes that it follows from.
    fn check(of: &str, text: &str, expected: &[&str]) {
        let (roles, spans, lines) = (Roles::new(&contract(of)).unwrap(), spans(text), lines(text));
        let parts: Vec<_> = lines.iter().map(|line| roles.part(line.service, line.name)).collect();
        let trace = Trace::new(&spans);
        let mut cycles = Vec::new();
        judge(&trace, &mut |found| {
            let is_cycle = found.code == FindingCode::ParentCycle;
            cycles.extend(trace.cycle(found.span).filter(|_| is_cycle).map(|member| (member, found.span)));
        });
        let subject = |place: usize| format!("{} {:?}", lines[place].service, lines[place].name);
        cycles.sort_unstable();
        let fit = Conformance::new(&trace, &roles, &parts);
        let checker = Checker::new(&fit, &cycles, &subject);
        let written = |found: &Nonconformity| {
            let about = checker.about(found);
            let roots: Vec<_> = found.roots.iter().map(|root| format!(" < {}", root.code)).collect();
            format!("{} {about} {:?}{}", found.code, found.cause, roots.concat())
        };
        let found: Vec<_> = checker.nonconformities().iter().map(written).collect();
        assert_eq!(found, expected, "{text}");
    }

    /// A trace of the onboarding contract.
    fn onboarding(text: &str, expected: &[&str]) {
        check(ONBOARDING, text, expected);
    }

    #[test]
    fn trace_with_all_its_roles_conforms() {
        onboarding("api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"", &[]);
    }

    #[test]
    fn redelivered_and_further_messages_have_their_spans() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               api PRODUCER 2 \"send\"
                 worker CONSUMER 3 \"process\"
                 worker CONSUMER 4 \"process\"
               api PRODUCER 5 \"send\"
                 worker CONSUMER 6 \"process\"",
            &[],
        );
    }

    #[test]
    fn each_message_is_delivered_at_least_once() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               api PRODUCER 2 \"send\"
               api PRODUCER 3 \"send\"
                 worker CONSUMER 4 \"process\"",
            &["span-missing consumer NotExported"],
        );
    }

    #[test]
    fn missing_span_takes_its_childs_lost_parent_along() {
        onboarding(
            "api SERVER 1 \"POST /x\"\nworker CONSUMER 3 \"process\" parent=2",
            &["span-missing producer NotExported", "parent-lost consumer ParentMissing < span-missing"],
        );
        onboarding("api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"", &["span-missing consumer NotRecorded"]);
    }

    #[test]
    fn lost_parent_of_one_more_delivery_is_one_more_message() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               api PRODUCER 2 \"send\"
                 worker CONSUMER 3 \"process\"
             worker CONSUMER 4 \"process\" parent=9",
            &["parent-lost consumer ParentMissing"],
        );
    }

    #[test]
    fn parent_that_is_nobodys_is_a_phantom() {
        onboarding(
            "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\nworker CONSUMER 3 \"process\" parent=9",
            &["phantom-parent consumer GatewayAsParent"],
        );
    }

    #[test]
    fn consumer_below_the_server_was_given_the_servers_context() {
        onboarding(
            "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n worker CONSUMER 3 \"process\"",
            &["parent-wrong consumer InjectedOutsideProducer"],
        );
    }

    #[test]
    fn root_beside_the_root_has_no_parent_and_a_trace_of_its_own_is_a_fragment() {
        onboarding(
            "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\nworker CONSUMER 3 \"process\"",
            &["parent-wrong consumer NoParent"],
        );
        onboarding(
            "worker CONSUMER 3 \"process\"",
            &[
                "span-missing server NotRecorded < trace-fragmented",
                "span-missing producer NotRecorded < trace-fragmented",
                "trace-fragmented consumer ContextNotExtracted",
            ],
        );
    }

    #[test]
    fn root_may_have_a_remote_parent_outside_of_the_recording_and_no_other() {
        let rest = "\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"";
        onboarding(&format!("api SERVER 1 \"POST /x\" parent=9{rest}"), &[]);
        let local = format!("api SERVER 1 \"POST /x\" parent=9 flags=0x101{rest}");
        onboarding(&local, &["parent-wrong server ParentOfRoot"]);
    }

    #[test]
    fn span_of_another_name_in_the_right_place_has_the_wrong_name() {
        onboarding(
            "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"sent\"\n  worker CONSUMER 3 \"process\"",
            &["name-wrong producer OtherName"],
        );
        onboarding(
            "api SERVER 1 \"GET /x\"\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"",
            &["name-wrong server OtherName"],
        );
        check("only api SERVER \"a\" per=request", "api SERVER 1 \"b\"", &["name-wrong only OtherName"]);
    }

    #[test]
    fn kind_is_the_contracts() {
        onboarding(
            "api SERVER 1 \"POST /x\"\n api INTERNAL 2 \"send\"\n  worker CONSUMER 3 \"process\"",
            &["kind-wrong producer Instrumentation"],
        );
    }

    #[test]
    fn span_between_others_is_unexpected_and_explains_the_wrong_parent() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               api INTERNAL 4 \"sdk\"
                 api PRODUCER 2 \"send\"
                   worker CONSUMER 3 \"process\"",
            &["parent-wrong producer OtherParent < span-unexpected", "span-unexpected api \"sdk\" NoSuchRole"],
        );
    }

    #[test]
    fn second_span_where_there_is_one_is_unexpected() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               api SERVER 4 \"POST /x\"
               api PRODUCER 2 \"send\"
                 worker CONSUMER 3 \"process\"",
            &["span-unexpected server MoreThanFacts"],
        );
    }

    #[test]
    fn there_is_one_child_for_each_parent_of_the_same_thing() {
        let with_store = format!("{ONBOARDING}\nstore worker CLIENT \"put\" parent=consumer per=delivery");
        let trace = |stores: &str| {
            format!(
                "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"\n{stores}  worker CONSUMER 4 \"process\"\n   worker CLIENT 6 \"put\""
            )
        };
        let store = "   worker CLIENT 5 \"put\"\n";
        check(&with_store, &trace(store), &[]);
        check(&with_store, &trace(""), &["span-missing store NotExported"]);
        let twice = format!("{store}   worker CLIENT 7 \"put\"\n");
        check(&with_store, &trace(&twice), &["span-unexpected store MoreThanFacts"]);
    }

    #[test]
    fn further_child_is_unexpected_wherever_it_is() {
        let with_store = format!("{ONBOARDING}\nstore worker CLIENT \"put\" parent=consumer per=delivery");
        check(
            &with_store,
            "api SERVER 1 \"POST /x\"
               api PRODUCER 2 \"send\"
                 worker CONSUMER 3 \"process\"
                   worker CLIENT 4 \"put\"
               worker CLIENT 5 \"put\"",
            &["span-unexpected store MoreThanFacts"],
        );
    }

    #[test]
    fn span_of_another_service_is_not_one_with_the_wrong_name() {
        onboarding(
            "api SERVER 1 \"POST /x\"
               worker PRODUCER 2 \"sent\"
                 worker CONSUMER 3 \"process\"",
            &[
                "span-missing producer NotExported",
                "parent-wrong consumer OtherParent < span-missing < span-unexpected",
                "span-unexpected worker \"sent\" NoSuchRole",
            ],
        );
    }

    #[test]
    fn of_two_roots_the_one_without_a_parent_is_the_root() {
        onboarding(
            "api SERVER 4 \"POST /x\" parent=9
api SERVER 1 \"POST /x\"
  api PRODUCER 2 \"send\"
    worker CONSUMER 3 \"process\"",
            &["span-unexpected server MoreThanFacts"],
        );
    }

    #[test]
    fn cycle_explains_the_parents_of_its_spans() {
        onboarding(
            "api SERVER 1 \"POST /x\"\napi PRODUCER 2 \"send\" parent=3\nworker CONSUMER 3 \"process\" parent=2",
            &["parent-wrong producer OtherParent < parent-cycle"],
        );
        onboarding(
            "api SERVER 1 \"POST /x\"\napi PRODUCER 2 \"send\" parent=2\n worker CONSUMER 3 \"process\" parent=2",
            &[],
        );
    }

    #[test]
    fn spans_for_invocations_need_not_be_there_and_extras_may() {
        let contract_text = format!(
            "{ONBOARDING}
             invoke worker SERVER \"invoke\" parent=consumer per=invocation
             extra canary worker \"canary\" per=request"
        );
        let trace = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"\n";
        check(&contract_text, trace, &[]);
        let canary = |id| format!("   worker INTERNAL {id} \"canary\"\n");
        check(&contract_text, &format!("{trace}   worker SERVER 4 \"invoke\"\n{}", canary(5)), &[]);
        let twice = format!("{trace}{}{}", canary(5), canary(6));
        check(&contract_text, &twice, &["span-unexpected canary MoreThanFacts"]);
    }

    #[test]
    fn spans_of_other_services_are_not_judged() {
        onboarding("other SERVER 1 \"x\"\n other CLIENT 2 \"y\"", &[]);
    }
}
