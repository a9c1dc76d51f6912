//! The verifier: told what happened, it judges.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::assemble::{Assembly, MatchedBy, SeenSpan};
use crate::check::{Case, Matching, Place, Violation, carrier_missing, late_by_thaw_evidence, violations};
use crate::contract::Per;
use crate::event::{
    Carrier, Correlation, Event, EventKind, Export, ExportAnswer, Patience, Peer, RequestOutcome, RunStarted,
};
use crate::expect::{Slot, is_sent_again};
use crate::finding::{Cause, Example, Filing, FindingCode, FindingKey, Findings, Severity};
use crate::id::{RequestId, SpanId, TraceId};
use crate::ledger::{Ledger, MessageRecord, RequestRecord};
use crate::processes::{Host, Processes};
use crate::roles::{Role, RoleId, Roles};
use crate::span::{Resource, Span};
use crate::tally::{PlaceState, Tally, TraceState};
use crate::time::Timestamp;
use crate::traceparent::TraceParent;
use crate::tree::example;
use crate::verdict::Judgement;
use crate::watch::{Watch, Watched};

/// Judges one run from its events.
///
/// Memory is bounded by the requests in flight and those that were settled within
/// [`Patience::remembered_for`].
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    setup: Setup,
    now: Timestamp,
    ledger: Ledger,
    assembly: Assembly,
    processes: Processes,
    settled: Settled,
    findings: Findings,
    tally: Tally,
    /// The evidence that was lost: what, and how much of it.
    lost: BTreeMap<String, u64>,
    /// The highest number of a request that was sent.
    newest: Option<u32>,
    /// When the load began.
    load_began: Option<Timestamp>,
    finished: bool,
}

/// What the run's first event says.
#[derive(Debug, Clone, Default)]
struct Setup {
    started: bool,
    tag: u32,
    correlation: Correlation,
    roles: Roles,
    patience: Patience,
    excused_at_most: Option<u64>,
}

/// Settled requests that are still remembered, so that what comes late or twice is recognised.
#[derive(Debug, Clone, Default)]
struct Settled {
    requests: HashMap<RequestId, Tombstone>,
    in_order: VecDeque<(Timestamp, RequestId)>,
}

/// What is remembered of a settled request.
#[derive(Debug, Clone, Default)]
struct Tombstone {
    traces: Vec<TraceId>,
    spans: Vec<(TraceId, SpanId)>,
    /// The places of spans that have not come and still could.
    places: Vec<SpanPlace>,
    /// The cases that follow from there being missing spans at all.
    incomplete: Vec<Filing>,
    /// Whether it was accepted, and nothing but what has not come keeps its trace from being complete.
    otherwise_complete: bool,
}

/// A place for a span, and how it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SpanPlace {
    role: RoleId,
    /// The kind of ledger row that it is for, if it is for one.
    row: Option<Per>,
    state: PlaceState,
    /// Where its delivery was handled, if it is for one.
    host: Option<Host>,
    /// The case that says that its span is missing.
    missing: Option<Filing>,
}

/// Something that the verifier still waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What it waits for, in words.
    pub what: &'static str,
    /// How much of it.
    pub count: usize,
    /// The one that has waited longest, if it has a name.
    pub first: Option<String>,
}

impl Verifier {
    /// One that keeps everything that it finds about this request, and not only the first cases.
    pub fn watching(request: RequestId) -> Self {
        let mut verifier = Self::default();
        verifier.findings.watch = Some(Watch::new(request));
        verifier
    }

    /// Everything that was found about the request that is watched, if one is. Provisional until the last event
    /// was handled.
    pub fn watched(&self) -> Option<Watched> {
        self.findings.watched()
    }

    /// The request that a trace belongs to, as far as is known by now and still remembered.
    pub fn request_of(&self, trace: TraceId) -> Option<RequestId> {
        self.assembly.request_of(trace)
    }

    /// Takes one event, in the order of the journal.
    pub fn handle(&mut self, event: &Event) {
        self.now = self.now.max(event.at);
        self.count(event);
        if let Some((key, evidence)) = self.processes.post(event) {
            self.findings.add(key, || Example { evidence, ..Example::default() });
        }
        let changed = self.ledger.post(event, &self.processes);
        if let EventKind::MessageSent { request, carrier, .. } = &event.kind {
            match request {
                Some(request) => self.reopen(*request),
                None => self.adopt_message(carrier),
            }
        }
        changed.into_iter().for_each(|request| self.bind_and_settle(request));
        match &event.kind {
            EventKind::RunStarted(run) => self.start(run),
            EventKind::ExportAnswered(export) => self.take_export(export, event.at),
            EventKind::Ticked => self.handle_timeout(),
            EventKind::EvidenceLost { what, count } => *self.lost.entry(what.clone()).or_default() += count,
            EventKind::RunFinished => self.finish(),
            _ => {}
        }
    }

    /// Gives a message that does not say whose it is to the request whose trace it carries.
    fn adopt_message(&mut self, carrier: &Carrier) {
        let carried: Option<TraceParent> = carrier.traceparent.as_deref().and_then(|text| text.parse().ok());
        let Some(trace) = carried.map(|parent| parent.trace_id) else { return };
        if let Some(request) = self.assembly.request_of(trace) {
            self.ledger.adopt(request, trace);
        }
    }

    fn start(&mut self, run: &RunStarted) {
        self.setup = Setup {
            started: true,
            tag: run.tag,
            correlation: run.correlation.clone(),
            roles: Roles::new(&run.contract),
            patience: run.patience,
            excused_at_most: run.excused_at_most,
        };
        self.processes = Processes::new(&run.entry);
        for (_, role) in self.setup.roles.iter() {
            self.tally.per_mut(role.span.per).roles += 1;
        }
    }

    /// Counts ledger rows.
    fn count(&mut self, event: &Event) {
        let requests = &mut self.tally.requests;
        match &event.kind {
            EventKind::LoadStarted { scheduled, .. } => {
                requests.scheduled = *scheduled;
                self.load_began = Some(event.at);
            }
            EventKind::RequestStarted { request, intended } => {
                requests.sent += 1;
                requests.late_starts += u64::from(event.at.since(*intended) > self.setup.patience.late_start_after);
                self.newest = self.newest.max(Some(request.number()));
            }
            EventKind::RequestFinished { outcome, .. } => match outcome {
                RequestOutcome::Answered { accepted: true, .. } => {
                    requests.accepted += 1;
                    self.tally.traces.expected += 1;
                }
                RequestOutcome::Answered { accepted: false, .. } => requests.refused += 1,
                RequestOutcome::Unanswered { .. } => requests.unanswered += 1,
            },
            EventKind::MessageSent { .. } => self.tally.messages += 1,
            EventKind::InvocationStarted { deliveries, .. } => self.tally.deliveries += deliveries.len() as u64,
            _ => {}
        }
    }

    /// Learns the traces of a request whose record changed, and settles it if nothing is missing.
    fn bind_and_settle(&mut self, request: RequestId) {
        let Some(record) = self.ledger.request(request) else { return };
        let carried = record.messages.iter().filter_map(MessageRecord::traceparent).map(|parent| parent.trace_id);
        let traces: Vec<_> = carried.chain(record.answered_trace()).collect();
        traces.into_iter().for_each(|trace| self.bind(trace, request));
        self.settle_if_complete(request);
    }

    fn take_export(&mut self, export: &Export, received: Timestamp) {
        self.processes.answered(&export.peer, export.answer);
        if export.answer == ExportAnswer::Unauthenticated {
            let key = self.processes.refusal_of(&export.peer);
            let evidence = format!("export {} of {} was answered UNAUTHENTICATED", export.export, export.peer);
            self.findings.add(key, || Example { evidence: vec![evidence], ..Example::default() });
        }
        for batch in &export.resource_spans {
            if let Some(service) = batch.resource.service_name() {
                self.processes.learn(service, &export.peer);
            }
            for span in &batch.spans {
                let seen = self.seen(span, &batch.resource, export, received);
                self.take_span(seen);
            }
        }
    }

    fn seen(&self, span: &Span, resource: &Resource, export: &Export, received: Timestamp) -> SeenSpan {
        let service = resource.service_name().unwrap_or_default();
        let named = self.setup.correlation.request.iter().filter_map(|key| span.attribute(key));
        let names = named.filter_map(RequestId::find_in).find(|request| request.run() == self.setup.tag);
        SeenSpan {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent_span_id,
            role: self.setup.roles.of_span(service, &span.name),
            service: service.to_owned(),
            name: span.name.clone(),
            kind: span.kind,
            peer: export.peer.clone(),
            cycle: self.processes.cycle_of(&export.peer),
            end: span.end,
            received,
            answer: export.answer,
            names,
        }
    }

    fn take_span(&mut self, span: SeenSpan) {
        self.tally.spans.exported += 1;
        match span.answer {
            ExportAnswer::Stored => self.tally.spans.received += 1,
            ExportAnswer::Unauthenticated => self.tally.spans.rejected += 1,
        }
        match self.owner_of(&span) {
            Some((request, matched_by)) => self.assign(request, span, matched_by),
            None if span.is_stored() => self.assembly.keep(span),
            None => {}
        }
    }

    /// The request that a span belongs to, and the key that says so.
    fn owner_of(&self, span: &SeenSpan) -> Option<(RequestId, MatchedBy)> {
        let by_trace = || Some((self.assembly.request_of(span.trace_id)?, MatchedBy::TraceId));
        let by_invocation = || match &span.peer {
            Peer::Environment(environment) => Some((self.ledger.request_in(environment)?, MatchedBy::Invocation)),
            Peer::Service(_) | Peer::Anyone => None,
        };
        span.names.map(|request| (request, MatchedBy::RequestId)).or_else(by_trace).or_else(by_invocation)
    }

    fn assign(&mut self, request: RequestId, span: SeenSpan, matched_by: MatchedBy) {
        if self.ledger.request(request).is_none() {
            self.assign_settled(request, span);
            return;
        }
        let again = self.assembly.spans_of(request).iter().filter(|known| known.span.is_again(&span));
        let known = again.map(|known| known.span.is_stored()).max();
        match known {
            Some(true) if span.is_stored() => self.duplicated(Some(request), &span),
            // Refused again, or refused after it was stored: it is known already.
            Some(_) if !span.is_stored() => {}
            _ => {
                let trace = span.trace_id;
                self.assembly.assign(request, span, matched_by);
                self.bind(trace, request);
                self.settle_if_complete(request);
            }
        }
    }

    /// Learns that a trace belongs to a request, and gives it what has waited for that.
    fn bind(&mut self, trace: TraceId, request: RequestId) {
        for span in self.assembly.bind(trace, request) {
            self.assign(request, span, MatchedBy::TraceId);
        }
        if self.assembly.request_of(trace) == Some(request) {
            self.ledger.adopt(request, trace);
        }
    }

    /// A span of a request that was settled before, or never sent.
    fn assign_settled(&mut self, request: RequestId, span: SeenSpan) {
        if !span.is_stored() {
            return;
        }
        let Some(tombstone) = self.settled.requests.get_mut(&request) else {
            self.stray(span);
            return;
        };
        if tombstone.spans.contains(&(span.trace_id, span.span_id)) {
            self.duplicated(Some(request), &span);
            return;
        }
        tombstone.spans.push((span.trace_id, span.span_id));
        let before = tombstone.state();
        match tombstone.take_place(&span) {
            Some(place) => self.came_after_all(request, before, &place, &span),
            None => {
                let cause = if span.role.is_some() { Cause::MoreThanFacts } else { Cause::NoSuchRole };
                self.unexpected(Some(request), cause, &span);
            }
        }
    }

    /// A span took its place when its request had been judged. If the place was not an open one, it is
    /// held against the contract all the same.
    fn came_after_all(&mut self, request: RequestId, before: TraceState, place: &SpanPlace, span: &SeenSpan) {
        self.tally.fill_place(place.state, place.row);
        if place.state == PlaceState::Open {
            return;
        }
        let lateness = self.lateness(place, span);
        let is_flaw = |filing: &Filing| filing.key.code.severity() == Severity::Failure;
        let Some(tombstone) = self.settled.requests.get_mut(&request) else { return };
        let flaw = late_flaw(self.setup.roles.get(place.role), tombstone, span);
        let flawed = flaw.is_some() || lateness.as_ref().is_some_and(|(filing, _)| is_flaw(filing));
        tombstone.otherwise_complete &= !flawed;
        let all_came = !tombstone.has(PlaceState::Missing);
        let refuted = if all_came { std::mem::take(&mut tombstone.incomplete) } else { Vec::new() };
        for filing in refuted.iter().chain(&place.missing) {
            self.findings.retract(filing, request);
        }
        self.tally.traces.recount(before, tombstone.state());
        if let Some((filing, evidence)) = lateness {
            self.add(filing, Some(request), span, evidence);
        }
        if let Some((code, cause)) = flaw {
            let evidence = format!("span {} came after its request was judged", span.span_id);
            self.add(self.about(code, cause, span), Some(request), span, evidence);
        }
    }

    /// `late-by-thaw` or `span-late`, of a span that came after its request was judged. It is late if it
    /// had been judged missing; one that was excused only beyond the limit.
    fn lateness(&self, place: &SpanPlace, span: &SeenSpan) -> Option<(Filing, String)> {
        let after = span.received.since(span.end);
        match place.host.as_ref().filter(|host| host.thawed_before(&span.peer, span.cycle)) {
            Some(host) => {
                let roots = host.flush_not_awaited().into_iter().collect();
                Some((Filing { key: host.late_by_thaw(), roots }, late_by_thaw_evidence(span, host)))
            }
            None if place.state == PlaceState::Excused && after <= self.setup.patience.late_after => None,
            None => {
                let evidence = format!("span {} came {after:.1?} after its end", span.span_id);
                Some((self.about(FindingCode::SpanLate, Cause::Delayed, span), evidence))
            }
        }
    }

    /// A message for a request that was settled: what it leads to can still come.
    fn reopen(&mut self, request: RequestId) {
        let Some(tombstone) = self.settled.requests.get_mut(&request) else { return };
        for per in [Per::Message, Per::Delivery] {
            let open = |role| SpanPlace { role, row: Some(per), state: PlaceState::Open, host: None, missing: None };
            tombstone.places.extend(self.setup.roles.per(per).map(open));
        }
    }

    fn duplicated(&mut self, request: Option<RequestId>, span: &SeenSpan) {
        self.tally.spans.duplicated += 1;
        let evidence = format!("span {} {:?} came again from {}", span.span_id, span.name, span.peer);
        let mut filing = self.about(FindingCode::SpanDuplicated, Cause::ExporterRetry, span);
        if let Peer::Environment(_) = span.peer {
            // An answer that nobody waited for is read after the next thaw, too late for the exporter.
            filing.roots.push(FindingKey::flush_not_awaited(self.processes.name_of(&span.peer)));
        }
        self.add(filing, request, span, evidence);
    }

    fn unexpected(&mut self, request: Option<RequestId>, cause: Cause, span: &SeenSpan) {
        self.tally.spans.unexpected += 1;
        let evidence = format!("span {} {:?} of {} came from {}", span.span_id, span.name, span.service, span.peer);
        self.add(self.about(FindingCode::SpanUnexpected, cause, span), request, span, evidence);
    }

    /// A case about a span's role.
    fn about(&self, code: FindingCode, cause: Cause, span: &SeenSpan) -> Filing {
        let subject = self.setup.roles.subject(span.role, &span.service, &span.name);
        FindingKey { code, cause, subject }.into()
    }

    /// A finding about one span that came outside its request's settling.
    fn add(&mut self, filing: Filing, request: Option<RequestId>, span: &SeenSpan, evidence: String) {
        let trace = Some(span.trace_id);
        if let Some(watch) = &mut self.findings.watch {
            watch.mark(request, filing.key.code, span);
        }
        self.findings.add(filing, || Example { request, trace, evidence: vec![evidence], ..Example::default() });
    }

    /// A span whose request is neither open nor remembered.
    fn stray(&mut self, span: SeenSpan) {
        let was_sent = |request: RequestId| Some(request.number()) <= self.newest;
        let old = span.received.since(span.end) > self.setup.patience.remembered_for;
        if old || span.names.is_some_and(was_sent) {
            self.tally.spans.forgotten += 1;
        } else if span.peer == Peer::Anyone || self.load_began.is_none_or(|began| span.end < began) {
            // Before the first request, a service may well tell of its own start, and of health checks.
            self.tally.spans.foreign += 1;
        } else {
            self.unexpected(None, Cause::NoSuchRequest, &span);
        }
    }

    fn case(&self, request: RequestId) -> Option<Case<'_>> {
        Some(Case {
            request,
            record: self.ledger.request(request)?,
            spans: self.assembly.spans_of(request),
            roles: &self.setup.roles,
            processes: &self.processes,
            patience: self.setup.patience,
            excuses_left: self.excuses_left(),
        })
    }

    /// How many more spans the scenario excuses.
    fn excuses_left(&self) -> u64 {
        self.setup.excused_at_most.map_or(u64::MAX, |most| most.saturating_sub(self.tally.spans.excused))
    }

    fn settle_if_complete(&mut self, request: RequestId) {
        let Some(case) = self.case(request) else { return };
        // Where the answer promises nothing, what is open stays open until the deadline. So does what somebody
        // still holds in hand: it may be handed over, or never.
        if case.record.accepted() && case.record.is_over_for_good() && Matching::new(&case).is_complete() {
            self.settle(request);
        }
    }

    /// Judges a request for good and forgets all but its tombstone.
    fn settle(&mut self, request: RequestId) {
        let mut findings = std::mem::take(&mut self.findings);
        let settlement = self.case(request).map(|case| Settlement::new(&case, &mut findings));
        self.findings = findings;
        let Some(Settlement { matching, tombstone }) = settlement else { return };
        self.count_settled(request, &matching);
        self.tally.traces.recount(TraceState::Flawed, tombstone.state());
        self.ledger.close(request);
        self.assembly.close(request);
        self.settled.remember(self.now, request, tombstone);
    }

    fn count_settled(&mut self, request: RequestId, matching: &Matching) {
        let spans = self.assembly.spans_of(request);
        for (_, span) in matching.matched() {
            *self.tally.matched_by.entry(spans[span].matched_by.as_str().to_owned()).or_default() += 1;
        }
        for (slot, state) in matching.places() {
            self.tally.count_place(state, row_of(slot, &self.setup.roles));
        }
        self.tally.spans.unexpected += matching.surplus.len() as u64;
        if let Some(record) = self.ledger.request(request) {
            let again = (0..record.messages.len()).filter(|&message| is_sent_again(record, message));
            self.tally.messages_sent_again += again.count() as u64;
        }
    }

    /// Lets the time that has passed take effect.
    fn handle_timeout(&mut self) {
        let Patience { missing_after, remembered_for, .. } = self.setup.patience;
        let now = self.now;
        let is_due = |at: Timestamp| now.since(at) >= missing_after;
        let due: Vec<_> = self
            .ledger
            .requests()
            .filter(|(_, record)| record.is_over() && is_due(record.last_row))
            .map(|(id, _)| id)
            .collect();
        due.into_iter().for_each(|request| self.settle(request));
        let long_ago = now - missing_after;
        self.assembly.give_up(long_ago).into_iter().for_each(|span| self.stray(span));
        let ownerless = self.ledger.give_up_ownerless(Some(long_ago));
        ownerless.iter().for_each(|message| self.judge_ownerless(message));
        self.settled.forget(now - remembered_for, &mut self.assembly);
        self.processes.forget(now - remembered_for.max(missing_after * 2));
    }

    /// Judges everything that is left: nothing more will come.
    fn finish(&mut self) {
        self.finished = true;
        let open: Vec<_> = self.ledger.requests().map(|(request, _)| request).collect();
        open.into_iter().for_each(|request| self.settle(request));
        self.assembly.give_up(self.now + Duration::from_nanos(1)).into_iter().for_each(|span| self.stray(span));
        let ownerless = self.ledger.give_up_ownerless(None);
        ownerless.iter().for_each(|message| self.judge_ownerless(message));
    }

    /// A message that nobody could be found for is still a message: it should carry a context.
    fn judge_ownerless(&mut self, message: &MessageRecord) {
        self.tally.ownerless_messages += 1;
        if let Some(violation) = carrier_missing(message) {
            self.findings.add(violation.key(), || Example { evidence: vec![violation.evidence], ..Example::default() });
        }
    }

    /// What the verifier still waits for from the ledger: while there is any, the run is not over.
    pub fn pending(&self) -> Vec<Pending> {
        let unanswered = self.ledger.requests().filter(|(_, record)| record.outcome.is_none());
        let unanswered: Vec<_> = unanswered.map(|(request, _)| request.to_string()).collect();
        let of_requests = self.ledger.requests().flat_map(|(_, record)| &record.messages);
        let queued = of_requests.chain(self.ledger.ownerless()).filter(|message| message.end.is_none());
        let queued: Vec<_> = queued.map(|message| message.message.to_string()).collect();
        let is_awaited = |record: &RequestRecord| {
            record.accepted() && record.messages.is_empty() && record.refused_sends == 0 && self.promises_messages()
        };
        let unsent = self.ledger.requests().filter(|(_, record)| is_awaited(record));
        let unsent: Vec<_> = unsent.map(|(request, _)| request.to_string()).collect();
        let counts = [
            Pending {
                what: "accepted requests to send their message",
                count: unsent.len(),
                first: unsent.into_iter().next(),
            },
            Pending { what: "requests to be answered", count: unanswered.len(), first: unanswered.into_iter().next() },
            Pending { what: "messages to leave their queues", count: queued.len(), first: queued.into_iter().next() },
            Pending { what: "invocations to end", count: self.ledger.running_invocations(), first: None },
        ];
        counts.into_iter().filter(|pending| pending.count > 0).collect()
    }

    /// Whether an accepted request leads to a message, by the contract.
    fn promises_messages(&self) -> bool {
        [Per::Message, Per::Delivery].into_iter().any(|per| self.setup.roles.per(per).next().is_some())
    }

    /// How many requests have not been judged yet.
    pub fn open_requests(&self) -> usize {
        self.ledger.requests().count()
    }

    /// What was counted until now.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many cases of all findings together there are until now.
    pub fn cases(&self) -> u64 {
        self.findings.cases()
    }

    /// Judges the run. Provisional until the last event was handled.
    pub fn judgement(&self) -> Judgement {
        let mut doubts: Vec<_> =
            self.lost.iter().map(|(what, count)| format!("evidence lost: {count} {what}")).collect();
        if !self.setup.started {
            doubts.push("the journal does not tell how the run was set up".to_owned());
        }
        if !self.finished {
            doubts.push("the journal has no end: the run was cut off".to_owned());
        }
        if self.tally.spans.forgotten > 0 {
            doubts.push(format!("{} spans came after their requests were forgotten", self.tally.spans.forgotten));
        }
        let mut tally = self.tally.clone();
        tally.spans.pending = self.assembly.kept() as u64;
        Judgement::new(tally, self.findings.to_vec(), doubts)
    }
}

/// What a request came to.
struct Settlement {
    matching: Matching,
    tombstone: Tombstone,
}

impl Settlement {
    /// Judges a request.
    fn new(case: &Case<'_>, findings: &mut Findings) -> Self {
        let matching = Matching::new(case);
        let found = violations(case, &matching);
        let example = || example(case, &matching, &found);
        found.iter().for_each(|violation| findings.add(violation.filing(), example));
        if let Some(watch) = &mut findings.watch {
            watch.settle(case, &matching, &found);
        }
        let tombstone = Tombstone::new(case, &matching, &found);
        Self { matching, tombstone }
    }
}

/// The kind of ledger row that a place is for, if it is for one.
fn row_of(slot: Slot, roles: &Roles) -> Option<Per> {
    (slot.required && slot.fact.is_ledger_row()).then(|| roles.get(slot.role).span.per)
}

/// What is wrong with a span that came after its request was judged, as far as is still known.
fn late_flaw(role: &Role, tombstone: &Tombstone, span: &SeenSpan) -> Option<(FindingCode, Cause)> {
    let is_known = |parent: SpanId| tombstone.spans.contains(&(span.trace_id, parent));
    let others_are_there = !tombstone.has(PlaceState::Missing) && !tombstone.has(PlaceState::Excused);
    if span.kind != role.span.kind {
        return Some((FindingCode::KindWrong, Cause::Instrumentation));
    }
    if !tombstone.traces.is_empty() && !tombstone.traces.contains(&span.trace_id) {
        return Some((FindingCode::TraceFragmented, Cause::ContextNotExtracted));
    }
    match (role.parent, span.parent) {
        (None, Some(_)) => Some((FindingCode::ParentWrong, Cause::ParentOfRoot)),
        (Some(_), None) => Some((FindingCode::ParentWrong, Cause::NoParent)),
        (Some(_), Some(parent)) if others_are_there && !is_known(parent) => {
            Some((FindingCode::ParentWrong, Cause::UnknownParent))
        }
        _ => None,
    }
}

impl Tombstone {
    fn new(case: &Case<'_>, matching: &Matching, found: &[Violation]) -> Self {
        let stored = case.spans.iter().filter(|span| span.span.is_stored());
        let mut traces: Vec<_> = stored.clone().map(|span| span.span.trace_id).collect();
        traces.extend(case.record.answered_trace());
        traces.extend(case.record.messages.iter().filter_map(MessageRecord::traceparent).map(|parent| parent.trace_id));
        traces.sort_unstable();
        traces.dedup();
        let missing = [FindingCode::SpanMissing, FindingCode::TraceMissing, FindingCode::ParentLost];
        let (says_missing, others): (Vec<_>, Vec<_>) = found.iter().partition(|found| missing.contains(&found.code));
        let is_flaw = |found: &&Violation| found.code.severity() == Severity::Failure;
        let of_slot = |slot: usize| move |found: &&&Violation| found.place == Place::Slot(slot);
        let place = |(place, (slot, state)): (usize, (Slot, PlaceState))| SpanPlace {
            role: slot.role,
            row: row_of(slot, case.roles),
            state,
            host: slot.fact.delivery(case.record).map(|delivery| delivery.host.clone()),
            missing: says_missing.iter().find(of_slot(place)).map(|found| found.filing()),
        };
        let is_not_matched = |(_, (_, state)): &(usize, (Slot, PlaceState))| *state != PlaceState::Matched;
        let is_of_all = |found: &&&Violation| found.code != FindingCode::SpanMissing;
        Self {
            traces,
            spans: stored.map(|span| (span.span.trace_id, span.span.span_id)).collect(),
            places: matching.places().enumerate().filter(is_not_matched).map(place).collect(),
            otherwise_complete: case.record.accepted() && !others.iter().any(is_flaw),
            incomplete: says_missing.iter().filter(is_of_all).map(|found| found.filing()).collect(),
        }
    }

    fn has(&self, state: PlaceState) -> bool {
        self.places.iter().any(|place| place.state == state)
    }

    /// What its trace amounts to.
    fn state(&self) -> TraceState {
        match self.otherwise_complete && !self.has(PlaceState::Missing) {
            false => TraceState::Flawed,
            true if self.has(PlaceState::Excused) => TraceState::Excused,
            true => TraceState::Complete,
        }
    }

    /// Takes out the place that a span fills: one in its environment if there is one, and the one that
    /// needs it most.
    fn take_place(&mut self, span: &SeenSpan) -> Option<SpanPlace> {
        let is_elsewhere = |place: &SpanPlace| !place.host.as_ref().is_some_and(|host| host.is(&span.peer));
        let places = self.places.iter().enumerate().filter(|(_, place)| Some(place.role) == span.role);
        let (best, _) = places.min_by_key(|(_, place)| (is_elsewhere(place), place.state))?;
        Some(self.places.remove(best))
    }
}

impl Settled {
    fn remember(&mut self, at: Timestamp, request: RequestId, tombstone: Tombstone) {
        self.requests.insert(request, tombstone);
        self.in_order.push_back((at, request));
    }

    /// Forgets the requests that were settled before an instant, and their traces.
    fn forget(&mut self, settled_before: Timestamp, assembly: &mut Assembly) {
        while let Some((_, request)) = self.in_order.pop_front_if(|(at, _)| *at < settled_before) {
            let tombstone = self.requests.remove(&request).unwrap_or_default();
            tombstone.traces.iter().for_each(|trace| assembly.forget(*trace, request));
        }
    }
}
