//! Recorded telemetry, judged without a ledger.

use std::collections::{BTreeMap, HashSet};

use crate::cause::Cause;
use crate::code::{FindingCode, Severity};
use crate::contract::{ForeignSpans, TraceContract};
use crate::event::Correlation;
use crate::finding::{Example, Filing, Finding, FindingKey, Findings, weigh, weight};
use crate::id::{SpanId, TraceId};
use crate::losses::Losses;
use crate::otlp::{Payload, ResourceRef, SpanRef};
use crate::recorded::drawing::Drawing;
use crate::recorded::judge::{Court, Found, Judged};
use crate::recorded::store::{RecordedTrace, Store};
use crate::roles::{Part, RoleId, Roles};
use crate::rules::conformance::fragment_cause;
use crate::rules::span::{Said, SpanRules};
use crate::rules::trace::{ProcessId, TraceLink, TraceSpan};
use crate::tally::Tally;
use crate::text::InvalidPattern;
use crate::verdict::Judgement;

/// How many findings about resources are told apart, so that each is told once.
const TOLD: usize = 1_024;

/// What tells one process from another (OpenTelemetry semantic conventions, "Service", "Process", "FaaS", "Host",
/// "Kubernetes"). Other attributes may be added to some exports and not to others, by a collector for one.
const IDENTIFYING: [&str; 8] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "process.pid",
    "faas.instance",
    "host.id",
    "host.name",
    "k8s.pod.uid",
];

/// A fingerprint of what tells a resource's process from others.
fn fingerprint(resource: &ResourceRef<'_>) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for key in IDENTIFYING {
        hash.update(resource.attribute(key).unwrap_or_default().as_bytes());
        hash.update(&[0]);
    }
    hash.digest()
}

/// Judges recorded telemetry: spans alone, without a ledger.
///
/// Without a contract, it applies what must hold of any trace. With one, each trace that holds a span of the
/// contract's services must have its roles; traces of other services are counted as foreign. Without a ledger,
/// a trace that is missing as a whole cannot be told from one that never was.
///
/// It keeps about 64 bytes a span.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    roles: Option<Roles>,
    weights: BTreeMap<FindingCode, Severity>,
    foreign: ForeignSpans,
    store: Store,
    findings: Findings,
    /// What is wrong with single spans by what they say of themselves, where an example shows it.
    said: BTreeMap<TraceId, Vec<(SpanId, FindingCode)>>,
    /// What was found about resources, so that it is told once for each service.
    told: HashSet<(String, String)>,
    rules: SpanRules,
    doubts: Vec<String>,
    tally: Tally,
}

impl Recorded {
    /// Judges by a contract that [`TraceContract::validate`] accepts, or by what must hold of any trace.
    ///
    /// More than one root is normal in other people's systems: without a contract, that is told and fails
    /// nothing.
    ///
    /// # Errors
    /// If a pattern of the contract is no regular expression.
    pub fn new(contract: Option<TraceContract>) -> Result<Self, InvalidPattern> {
        let Some(contract) = contract else {
            let weights = BTreeMap::from([(FindingCode::RootMultiple, Severity::Info)]);
            return Ok(Self { weights, ..Self::default() });
        };
        let roles = Roles::new(&contract)?;
        let rules = SpanRules::new(Some(&contract), &roles, &Correlation::default(), 0)?;
        let (roles, foreign) = (Some(roles), contract.foreign);
        Ok(Self { roles, rules, weights: contract.severity, foreign, ..Self::default() })
    }

    /// Notes that a part of the recording is not there, so that it proves nothing.
    pub fn doubt(&mut self, doubt: String) {
        self.doubts.push(doubt);
    }

    /// Takes the spans of an export in. Nobody knows when it was received.
    pub fn take(&mut self, payload: &Payload) {
        for resource in payload.resources() {
            let service = resource.service_name().unwrap_or_default();
            let process = self.store.process(fingerprint(&resource));
            let flawed = self.judge_resource(&resource, None, &service);
            for span in resource.spans() {
                self.take_span(&span, &resource, (&service, process, flawed));
            }
        }
    }

    fn take_span(
        &mut self,
        span: &SpanRef<'_>,
        resource: &ResourceRef<'_>,
        (service, process, flawed): (&str, ProcessId, bool),
    ) {
        let roles = self.roles.as_ref();
        let name = self
            .store
            .names
            .id(service, span.name, || roles.map_or(Part::Foreign, |roles| roles.part(service, span.name)));
        let role = if let Part::Role(role) = self.store.names.get(name).part { Some(role) } else { None };
        let (_, said) = self.rules.span(span, role, None);
        let of_role = role.is_some() && self.judge_resource(resource, role, service);
        let (trace, span_id) = (span.trace_id(), span.span_id());
        let is_failure = |said: &Said| weight(said.code, &self.weights) == Severity::Failure;
        if flawed || of_role || said.iter().any(is_failure) {
            self.store.traces.entry(trace).or_default().flawed = true;
        }
        let subject = self.subject(role, service, span.name);
        said.into_iter().for_each(|said| self.tell(said, &subject, Some((trace, span_id))));
        let link = |(trace_id, linked)| TraceLink { from: span_id, trace_id, span_id: linked };
        let recorded = TraceSpan {
            span_id,
            parent: span.parent(),
            start: span.start,
            end: span.end,
            content: xxhash_rust::xxh3::xxh3_64(span.raw),
            process,
            name,
            flags: span.flags,
            kind: span.kind,
        };
        self.keep(trace, recorded, span.links().map(|found| link(found.target())));
    }

    fn subject(&self, role: Option<RoleId>, service: &str, name: &str) -> String {
        match &self.roles {
            Some(roles) => roles.subject(role, service, name),
            None => format!("{service} {name:?}"),
        }
    }

    /// Tells what is wrong with a resource, once for each service; answers whether that fails a recording.
    fn judge_resource(&mut self, resource: &ResourceRef<'_>, role: Option<RoleId>, service: &str) -> bool {
        let said = self.rules.resource(resource, role);
        let flawed = said.iter().any(|said| weight(said.code, &self.weights) == Severity::Failure);
        let subject = if service.is_empty() { "resource".to_owned() } else { format!("service {service}") };
        for said in said {
            if self.told.len() < TOLD && self.told.insert((subject.clone(), said.evidence.clone())) {
                self.tell(said, &subject, None);
            }
        }
        flawed
    }

    /// Files what is wrong with what a span or a resource says of itself.
    fn tell(&mut self, Said { code, cause, evidence }: Said, subject: &str, span: Option<(TraceId, SpanId)>) {
        let key = FindingKey { code, cause, subject: subject.to_owned() };
        let trace = span.map(|(trace, _)| trace);
        let said = &mut self.said;
        self.findings.add(key, || {
            if let Some((trace, span)) = span {
                said.entry(trace).or_default().push((span, code));
            }
            Example { trace, evidence: vec![format!("{code}: {evidence}")], ..Example::default() }
        });
    }

    /// Keeps a span until its trace is judged.
    fn keep(&mut self, trace: TraceId, span: TraceSpan, links: impl IntoIterator<Item = TraceLink>) {
        let trace = self.store.traces.entry(trace).or_default();
        trace.spans.push(span);
        trace.links.extend(links);
    }

    /// Judges all that was taken in.
    pub fn finish(mut self) -> Judgement {
        let order = self.store.settle();
        let targets = self.store.targets();
        let court = Court { store: &self.store, roles: self.roles.as_ref(), targets: &targets };
        let traces = || order.iter().filter_map(|id| Some((*id, self.store.traces.get(id)?)));
        let mut session = Session {
            court,
            weights: &self.weights,
            foreign: self.foreign,
            fragments: fragments(court, traces().map(|(_, trace)| trace)),
            findings: self.findings,
            tally: self.tally,
        };
        traces().for_each(|(id, trace)| session.judge(id, trace));
        let mut findings = session.findings.to_vec(&Losses::default());
        draw(court, &self.said, &mut findings);
        weigh(&mut findings, &self.weights);
        Judgement::new(session.tally, findings, self.doubts)
    }
}

/// How many traces begin with a span in each role that should have a parent in another trace.
fn fragments<'a>(court: Court<'a>, traces: impl Iterator<Item = &'a RecordedTrace>) -> BTreeMap<RoleId, u64> {
    let mut fragments = BTreeMap::new();
    for role in traces.filter_map(|trace| court.fragment(trace)) {
        *fragments.entry(role).or_default() += 1;
    }
    fragments
}

/// Draws the traces of the examples.
fn draw(court: Court<'_>, said: &BTreeMap<TraceId, Vec<(SpanId, FindingCode)>>, findings: &mut [Finding]) {
    for example in findings.iter_mut().flat_map(|finding| &mut finding.examples) {
        let trace = example.trace.and_then(|id| Some((id, court.store.traces.get(&id)?)));
        if let Some((id, trace)) = trace {
            let judged = court.judge(id, trace);
            let drawing = Drawing::new(court, &judged, said.get(&id).map_or(&[], Vec::as_slice));
            (example.expected, example.seen) = (drawing.expected(), drawing.seen());
        }
    }
}

/// All traces are judged, one after the other.
struct Session<'a> {
    court: Court<'a>,
    weights: &'a BTreeMap<FindingCode, Severity>,
    foreign: ForeignSpans,
    /// How many fragments there still are that may be what another trace lacks.
    fragments: BTreeMap<RoleId, u64>,
    findings: Findings,
    tally: Tally,
}

impl<'a> Session<'a> {
    fn judge(&mut self, id: TraceId, recorded: &'a RecordedTrace) {
        let judged = self.court.judge(id, recorded);
        let is_fragment = judged.found.iter().any(|found| found.key.code == FindingCode::TraceFragmented);
        self.count_spans(&judged);
        if judged.concerned && !is_fragment {
            self.tally.traces.expected += 1;
            self.tally.traces.complete += u64::from(!recorded.flawed && !self.fails(&judged));
        }
        for found in &judged.found {
            let fragment = if is_fragment { None } else { self.fragment_of(found) };
            self.file(id, &judged, found, fragment);
        }
        if !judged.concerned && self.foreign == ForeignSpans::Forbid {
            self.forbid(id, &judged);
        }
    }

    /// Whether anything was found in a trace that fails a run.
    fn fails(&self, judged: &Judged<'_>) -> bool {
        judged.found.iter().any(|found| weight(found.key.code, self.weights) == Severity::Failure)
    }

    /// The finding that what a trace lacks is in a trace of its own, if there is one left that can be it.
    fn fragment_of(&mut self, found: &Found) -> Option<FindingKey> {
        let (role, roles) = (found.role?, self.court.roles?);
        let left = self.fragments.get_mut(&role).filter(|_| found.key.code == FindingCode::SpanMissing)?;
        *left = left.checked_sub(1)?;
        let contract = roles.get(role);
        let cause = fragment_cause(contract.span.per);
        Some(FindingKey { code: FindingCode::TraceFragmented, cause, subject: contract.name.clone() })
    }

    fn file(&mut self, id: TraceId, judged: &Judged<'_>, found: &Found, fragment: Option<FindingKey>) {
        let roots = found.roots.iter().cloned().chain(fragment).collect();
        let evidence = || vec![format!("{}: {}", found.key.code, self.court.evidence(judged, found))];
        let example = || Example { trace: Some(id), evidence: evidence(), ..Example::default() };
        self.findings.add(Filing { key: found.key.clone(), roots }, example);
    }

    /// `span-foreign`: the spans of a trace that is no concern of a contract which forbids such.
    fn forbid(&mut self, id: TraceId, judged: &Judged<'_>) {
        let is_foreign = |place: &usize| judged.parts[*place] == Part::Foreign;
        for place in judged.trace.distinct().filter(is_foreign) {
            let service = &self.court.store.names.get(judged.trace.span(place).name).service;
            let (code, cause) = (FindingCode::SpanForeign, Cause::ForbiddenForeigner);
            let evidence = || vec![format!("{code}: {}", self.court.span(judged, place))];
            let example = || Example { trace: Some(id), evidence: evidence(), ..Example::default() };
            self.findings.add(FindingKey { code, cause, subject: service.to_string() }, example);
        }
    }

    fn count_spans(&mut self, judged: &Judged<'_>) {
        let spans = &mut self.tally.spans;
        let mut taken = vec![self.court.roles.is_none(); judged.parts.len()];
        judged.slots.iter().filter_map(|slot| slot.span).for_each(|span| taken[span] = true);
        for (place, part) in judged.parts.iter().enumerate() {
            let counter = match (judged.trace.copy_of(place), taken[place], part) {
                (Some(first), ..) if judged.trace.is_same(place, first) => &mut spans.duplicated,
                (Some(_), ..) => &mut spans.unexpected,
                (None, true, _) => &mut spans.matched,
                (None, false, Part::Role(_) | Part::Unnamed(_)) => &mut spans.unexpected,
                (None, false, Part::Extra(_) | Part::Foreign) => &mut spans.foreign,
            };
            *counter += 1;
        }
        let missing = judged.found.iter().filter(|found| found.key.code == FindingCode::SpanMissing).count();
        spans.missing += missing as u64;
        spans.expected = spans.matched + spans.missing;
        for counter in [&mut spans.received, &mut spans.exported] {
            *counter += judged.parts.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::notation::{ONBOARDING, contract, lines, span_id, spans, trace_id};
    use crate::tally::Equation;
    use crate::verdict::Conclusion;

    const HEALTHY: &str = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n  worker CONSUMER 3 \"process\"";

    /// The contract of a system whose consumer links to what it handles, in a trace of its own.
    const LINKED: &str = "server api SERVER \"POST /x\" per=request
        producer api PRODUCER \"send\" parent=server per=message
        consumer worker CONSUMER \"process\" link=producer per=delivery";

    /// A recording of these traces, numbered from 1.
    fn recording(of: Option<&str>, traces: &[&str]) -> Recorded {
        let mut recorded = Recorded::new(of.map(contract)).unwrap();
        for (number, text) in (1..).zip(traces) {
            for (line, span) in lines(text).iter().zip(spans(text)) {
                let part =
                    || recorded.roles.as_ref().map_or(Part::Foreign, |roles| roles.part(line.service, line.name));
                let name = recorded.store.names.id(line.service, line.name, part);
                let link =
                    |(trace, id)| TraceLink { from: span.span_id, trace_id: trace_id(trace), span_id: span_id(id) };
                recorded.keep(trace_id(number), TraceSpan { name, ..span }, line.link().map(link));
            }
        }
        recorded
    }

    /// Judges traces. Each finding is written as its code, its subject and its count, then what follows from it.
    fn check(of: Option<&str>, traces: &[&str], conclusion: Conclusion, expected: &[&str]) -> Judgement {
        let judgement = recording(of, traces).finish();
        let written = |finding: &Finding| {
            let consequences = finding.consequences.iter().map(|(code, count)| format!(" > {code} {count}"));
            format!("{} {} {}{}", finding.code, finding.subject, finding.count, consequences.collect::<String>())
        };
        let found: Vec<_> = judgement.findings.iter().map(written).collect();
        assert_eq!(found, expected, "{traces:#?}");
        assert_eq!(judgement.conclusion, conclusion, "{traces:#?}");
        assert!(judgement.identities.iter().all(Equation::balances), "{:?}", judgement.identities);
        judgement
    }

    #[test]
    fn empty_recording_verifies_nothing() {
        check(None, &[], Conclusion::NothingVerified, &[]);
        check(Some(ONBOARDING), &[], Conclusion::NothingVerified, &[]);
        check(Some(ONBOARDING), &["other SERVER 1 \"x\""], Conclusion::NothingVerified, &[]);
    }

    #[test]
    fn healthy_recording_passes_with_and_without_its_contract() {
        let judgement = check(Some(ONBOARDING), &[HEALTHY, HEALTHY], Conclusion::Passed, &[]);
        assert_eq!((judgement.tally.traces.complete, judgement.tally.spans.matched), (2, 6));
        check(None, &[HEALTHY, "other CLIENT 1 \"x\""], Conclusion::Passed, &[]);
    }

    #[test]
    fn many_roots_fail_no_recording_without_a_contract() {
        check(None, &["a SERVER 1 \"x\"\na SERVER 2 \"y\""], Conclusion::Passed, &["root-multiple a \"y\" 1"]);
    }

    #[test]
    fn missing_span_is_one_finding_with_what_follows_from_it_and_both_trees() {
        let trace = "api SERVER 1 \"POST /x\"\nworker CONSUMER 3 \"process\" parent=2";
        let expected = ["span-missing producer 1 > parent-lost 1"];
        let judgement = check(Some(ONBOARDING), &[HEALTHY, trace], Conclusion::Failed, &expected);
        let example = &judgement.findings[0].examples[0];
        assert_eq!(example.trace, Some(trace_id(2)));
        assert_eq!(
            example.evidence,
            ["span-missing: no span \"send\" of api below SERVER POST /x (api) 0000000000000001"]
        );
        let tree = |lines: &[crate::finding::TreeLine]| -> Vec<String> {
            lines.iter().map(|line| format!("{}{} {:?}", "-".repeat(line.depth), line.text, line.note)).collect()
        };
        assert_eq!(
            tree(&example.expected),
            [
                "SERVER POST /x (api) None",
                "-PRODUCER send (api) Some(\"span-missing\")",
                "--CONSUMER process (worker) None",
            ]
        );
        assert_eq!(
            tree(&example.seen),
            [
                "SERVER POST /x (api) 0000000000000001 None",
                "CONSUMER process (worker) 0000000000000003 Some(\"parent-lost\")",
            ]
        );
        assert_eq!((judgement.tally.traces.expected, judgement.tally.traces.complete), (2, 1));
    }

    #[test]
    fn fragment_explains_what_another_trace_lacks() {
        let head = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"";
        let expected = ["trace-fragmented consumer 1 > span-missing 3"];
        check(Some(ONBOARDING), &[head, "worker CONSUMER 3 \"process\""], Conclusion::Failed, &expected);
        let twice = ["span-missing consumer 1", "trace-fragmented consumer 1 > span-missing 3"];
        check(Some(ONBOARDING), &[head, head, "worker CONSUMER 3 \"process\""], Conclusion::Failed, &twice);
    }

    #[test]
    fn wrong_kind_of_a_producer_explains_that_its_child_does_not_pair_with_it() {
        let trace = "api SERVER 1 \"POST /x\"\n api INTERNAL 2 \"send\"\n  worker CONSUMER 3 \"process\"";
        check(Some(ONBOARDING), &[trace], Conclusion::Failed, &["kind-wrong producer 1 > kind-pair 1"]);
    }

    #[test]
    fn consumer_below_the_server_is_one_finding() {
        let trace = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\n worker CONSUMER 3 \"process\"";
        check(Some(ONBOARDING), &[trace], Conclusion::Failed, &["parent-wrong consumer 1 > kind-pair 1"]);
    }

    #[test]
    fn second_root_of_a_contracts_trace_follows_from_its_lack_of_a_parent() {
        let trace = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"\nworker CONSUMER 3 \"process\"";
        check(Some(ONBOARDING), &[trace], Conclusion::Failed, &["parent-wrong consumer 1 > root-multiple 1"]);
    }

    #[test]
    fn copy_of_a_span_is_counted_and_does_not_fail() {
        let trace = format!("{HEALTHY}\n  worker CONSUMER 3 \"process\"");
        let judgement = check(Some(ONBOARDING), &[&trace], Conclusion::Passed, &["span-duplicated consumer 1"]);
        assert_eq!((judgement.tally.spans.matched, judgement.tally.spans.duplicated), (3, 1));
    }

    #[test]
    fn contract_changes_what_a_finding_weighs() {
        let trace = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"sent\"\n  worker CONSUMER 3 \"process\"";
        let mut recorded = recording(Some(ONBOARDING), &[trace]);
        recorded.weights.insert(FindingCode::NameWrong, Severity::Warning);
        let judgement = recorded.finish();
        assert_eq!(judgement.conclusion, Conclusion::Passed);
        assert_eq!(judgement.findings[0].severity, Severity::Warning);
    }

    #[test]
    fn foreign_traces_are_counted_or_forbidden() {
        let other = "other SERVER 1 \"x\"\n other CLIENT 2 \"y\" parent=9";
        let judgement = check(Some(ONBOARDING), &[HEALTHY, other], Conclusion::Passed, &[]);
        assert_eq!(judgement.tally.spans.foreign, 2);
        let mut recorded = recording(Some(ONBOARDING), &[HEALTHY, other]);
        recorded.foreign = ForeignSpans::Forbid;
        let judgement = recorded.finish();
        assert_eq!((judgement.findings[0].code, judgement.findings[0].count), (FindingCode::SpanForeign, 2));
    }

    #[test]
    fn consumer_that_links_may_be_in_a_trace_of_its_own() {
        let head = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"";
        let linked = "worker CONSUMER 3 \"process\" link=1:2";
        check(Some(LINKED), &[head, linked], Conclusion::Passed, &[]);
        check(Some(LINKED), &[head], Conclusion::Failed, &["span-missing consumer 1"]);
        let astray = "worker CONSUMER 3 \"process\" link=1:9";
        check(Some(LINKED), &[head, astray], Conclusion::Failed, &["link-dangling consumer 1 > span-missing 1"]);
    }

    #[test]
    fn consumer_without_its_link_lacks_it_and_one_to_another_role_is_not_it() {
        let head = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"";
        for consumer in ["worker CONSUMER 3 \"process\"", "worker CONSUMER 3 \"process\" link=1:1"] {
            let expected = ["link-missing consumer 1 > span-missing 1"];
            check(Some(LINKED), &[head, consumer], Conclusion::Failed, &expected);
        }
    }

    #[test]
    fn consumer_that_should_link_and_is_below_its_producer_is_there_without_the_link() {
        let both = format!("{ONBOARDING} link=producer");
        check(Some(&both), &[HEALTHY], Conclusion::Failed, &["link-missing consumer 1"]);
    }

    #[test]
    fn trace_in_two_parts_is_counted_once() {
        let head = "api SERVER 1 \"POST /x\"\n api PRODUCER 2 \"send\"";
        let traces = recording(Some(ONBOARDING), &[head, "worker CONSUMER 3 \"process\""]).finish().tally.traces;
        assert_eq!((traces.expected, traces.complete), (1, 0));
    }

    #[test]
    fn link_to_a_trace_that_was_not_recorded_may_be_right() {
        check(None, &["worker CONSUMER 3 \"process\" link=7:2"], Conclusion::Passed, &[]);
        check(Some(LINKED), &["worker CONSUMER 3 \"process\" link=7:2"], Conclusion::Passed, &[]);
    }

    #[test]
    fn link_that_dangles_is_found_without_a_contract() {
        let trace = "worker CONSUMER 3 \"process\" link=1:9";
        check(None, &[trace], Conclusion::Failed, &["link-dangling worker \"process\" 1"]);
    }

    fn fingerprint(text: &str) -> u64 {
        text.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    }

    /// Trace, id, parent, kind and name, flags, and a link.
    type Wild = (u64, u64, Option<u64>, usize, u32, Option<(u64, u64)>);

    proptest! {
        #[test]
        fn any_spans_can_be_judged_in_any_order_and_the_books_balance(
            wild in proptest::collection::vec((1_u64..4, 0_u64..6, proptest::option::of(0_u64..6), 0_usize..6, 0_u32..4, proptest::option::of((1_u64..4, 0_u64..6))), 0..40),
            with_contract: bool,
        ) {
            let kinds = ["SERVER", "PRODUCER", "CONSUMER", "INTERNAL", "CLIENT", "UNSPECIFIED"];
            let names = [("api", "POST /x"), ("api", "send"), ("worker", "process"), ("worker", "?"), ("other", "x"), ("api", "y")];
            let line = |(_, id, parent, kind, flags, link): &Wild| {
                let parent = parent.map(|parent| format!(" parent={parent}")).unwrap_or_default();
                let link = link.map(|(trace, id)| format!(" link={trace}:{id}")).unwrap_or_default();
                let (service, name) = names[*kind];
                let text = format!("{service} {} {id} \"{name}\" flags={}{parent}{link} start=5", kinds[*kind], flags << 8);
                format!("{text} content={}", fingerprint(&text))
            };
            let trace = |number| wild.iter().filter(|span| span.0 == number).map(line).collect::<Vec<_>>();
            let mut traces: Vec<_> = (1..4).map(trace).collect();
            let judge = |traces: &[Vec<String>]| {
                let texts: Vec<_> = traces.iter().map(|lines| lines.join("\n")).collect();
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                recording(with_contract.then_some(LINKED), &texts).finish()
            };
            let judgement = judge(&traces);
            prop_assert!(judgement.identities.iter().all(Equation::balances), "{:?}", judgement.identities);
            prop_assert_eq!(judgement.tally.spans.received, wild.len() as u64);
            traces.iter_mut().for_each(|lines| lines.reverse());
            prop_assert_eq!(judge(&traces).tally, judgement.tally);
        }
    }
}
