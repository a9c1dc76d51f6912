//! The verifier: told what happened, it judges.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::{AccountId, Accounts};
use crate::assemble::Assembly;
use crate::contract::{ForeignSpans, Per};
use crate::event::{Carrier, Event, EventKind, Patience, Peer, RequestOutcome, RunStarted};
use crate::expect::is_sent_again;
use crate::finding::{Example, FindingCode, FindingKey, Findings};
use crate::id::{RequestId, TraceId};
use crate::ledger::{Ledger, MessageRecord, RequestRecord};
use crate::losses::Losses;
use crate::matching::{Case, Matching};
use crate::names::Names;
use crate::processes::{ProcessFinding, Processes};
use crate::roles::Roles;
use crate::rules::account::{AccountCase, AccountVerdict};
use crate::rules::request::{carrier_malformed, carrier_missing};
use crate::rules::span::SpanRules;
use crate::settled::{Settled, Settlement, SpanPlace, row_of};
use crate::stalls::Stalls;
use crate::tally::{PlaceState, Tally, TraceState};
use crate::time::Timestamp;
use crate::traceparent::TraceParent;
use crate::verdict::Judgement;
use crate::violation::{Place, Violation};
use crate::watch::{Watch, Watched};

/// Judges one run from its events.
///
/// Memory is bounded by the requests in flight and those that were settled within
/// [`Patience::remembered_for`].
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    pub(crate) setup: Setup,
    now: Timestamp,
    pub(crate) ledger: Ledger,
    pub(crate) assembly: Assembly,
    pub(crate) accounts: Accounts,
    pub(crate) processes: Processes,
    pub(crate) settled: Settled,
    pub(crate) findings: Findings,
    pub(crate) tally: Tally,
    pub(crate) names: Names,
    losses: Losses,
    stalls: Stalls,
    /// What was found about resources, so that it is told once for each process.
    pub(crate) told: HashSet<(FindingKey, String)>,
    /// How many spans of each kind that the contract allows have come from whom, and from which process of an
    /// environment, without a request.
    pub(crate) extras: HashMap<(u16, Arc<Peer>, u32), u32>,
    /// The evidence that was lost: what, and how much of it.
    lost: BTreeMap<String, u64>,
    /// The highest number of a request that was sent.
    pub(crate) newest: Option<u32>,
    /// When the load began.
    pub(crate) load_began: Option<Timestamp>,
    finished: bool,
}

/// What the run's first event says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    started: bool,
    /// What is wrong with the contract, if it cannot be used.
    unusable: Option<String>,
    pub(crate) roles: Roles,
    pub(crate) rules: SpanRules,
    pub(crate) foreign: ForeignSpans,
    is_sampling: bool,
    pub(crate) patience: Patience,
    excused_at_most: Option<u64>,
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
        if let Some(found) = self.processes.post(event) {
            self.add_process_finding(found);
        }
        self.accounts.post(event, &self.ledger, &self.processes);
        let changed = self.ledger.post(event, &self.processes);
        changed.into_iter().for_each(|request| self.bind_and_settle(request));
        match &event.kind {
            EventKind::RunStarted(run) => self.start(run),
            EventKind::MessageSent { request: Some(request), .. } => self.reopen(*request),
            EventKind::MessageSent { request: None, carrier, .. } => self.adopt_message(carrier),
            EventKind::InvocationFinished { invocation, .. } => {
                self.judge_account_if_complete(&AccountId::Invocation(invocation.clone()));
            }
            EventKind::EnvironmentReset { environment, .. } | EventKind::EnvironmentEnded { environment, .. } => {
                self.losses.end(self.processes.host(environment).process_id());
            }
            EventKind::ExportAnswered(export) => self.take_export(export, event.at),
            EventKind::Ticked => self.handle_timeout(),
            EventKind::EvidenceLost { what, count } => *self.lost.entry(what.clone()).or_default() += count,
            EventKind::RunFinished => self.finish(),
            _ => {}
        }
    }

    /// A finding about a process; if it is a matter of time and the machine stalled then, nothing can be said.
    fn add_process_finding(&mut self, ProcessFinding { filing, evidence, stretch }: ProcessFinding) {
        let stalled = stretch.is_some_and(|(from, to)| self.stalls.are_doubtful(from, to));
        let filing = if stalled { filing.doubted() } else { filing };
        self.findings.add(filing, || Example { evidence, ..Example::default() });
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
        let prepared = Roles::new(&run.contract).and_then(|roles| {
            let rules = SpanRules::new(Some(&run.contract), &roles, &run.correlation, run.tag)?;
            Ok((roles, rules))
        });
        let ((roles, rules), unusable) = match prepared {
            Ok(prepared) => (prepared, None),
            Err(error) => (Default::default(), Some(error.to_string())),
        };
        self.setup = Setup {
            started: true,
            unusable,
            roles,
            rules,
            foreign: run.contract.foreign,
            is_sampling: run.contract.sampling.is_some(),
            patience: run.patience,
            excused_at_most: run.excused_at_most,
        };
        self.processes = Processes::new(&run.entry, run.patience.flush_budget);
        self.accounts = Accounts::new(&self.setup.roles);
        let watch = self.findings.watch.take();
        self.findings = Findings::weighing(run.contract.severity.clone());
        self.findings.watch = watch;
        for (_, role) in self.setup.roles.iter() {
            self.tally.per_mut(role.span.per).roles += 1;
        }
    }

    /// Counts ledger rows, and the spans that they ask for.
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
                    self.ask(Per::Request, |_, _| true);
                }
                RequestOutcome::Answered { accepted: false, .. } => requests.refused += 1,
                RequestOutcome::Unanswered { .. } => requests.unanswered += 1,
            },
            EventKind::MessageSent { queue, .. } => {
                self.tally.messages += 1;
                self.ask(Per::Message, |of_queue, _| of_queue.is_none_or(|wanted| wanted == queue));
            }
            EventKind::EnvironmentInitialized { environment, .. } => {
                let host = self.processes.host(environment);
                if !self.processes.was_initialized(environment) {
                    self.ask(Per::Environment, |_, function| host.is_of(function));
                }
            }
            EventKind::InvocationStarted { environment, deliveries, .. } => {
                self.tally.deliveries += deliveries.len() as u64;
                let host = self.processes.host(environment);
                for delivery in deliveries {
                    let queue = self.ledger.message(&delivery.message).map(|message| &*message.queue);
                    let is_of = |wanted: Option<&str>| wanted.is_none() || queue.is_none() || queue == wanted;
                    let asked = self.asked(Per::Delivery, |queue, function| is_of(queue) && host.is_of(function));
                    self.count_asked(Per::Delivery, asked);
                }
                self.ask(Per::Invocation, |_, function| host.is_of(function));
            }
            _ => {}
        }
    }

    /// Counts the spans that a ledger row asks for, by the queue and the function of each role.
    fn ask(&mut self, per: Per, is_asked: impl Fn(Option<&str>, Option<&str>) -> bool) {
        let asked = self.asked(per, is_asked);
        self.count_asked(per, asked);
    }

    /// How many spans a ledger row asks for.
    fn asked(&self, per: Per, is_asked: impl Fn(Option<&str>, Option<&str>) -> bool) -> u64 {
        let roles = self.setup.roles.iter().filter(|(_, role)| role.span.per == per);
        let asked = roles.filter(|(_, role)| is_asked(role.span.queue.as_deref(), role.span.function.as_deref()));
        asked.count() as u64
    }

    fn count_asked(&mut self, per: Per, asked: u64) {
        if asked > 0 {
            self.tally.per_mut(per).asked += asked;
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

    fn case(&self, request: RequestId) -> Option<Case<'_>> {
        Some(Case {
            request,
            record: self.ledger.request(request)?,
            spans: self.assembly.spans_of(request),
            roles: &self.setup.roles,
            is_sampling: self.setup.is_sampling,
            processes: &self.processes,
            accounts: &self.accounts,
            assembly: &self.assembly,
            stalls: &self.stalls,
            patience: self.setup.patience,
            excuses_left: self.excuses_left(),
        })
    }

    /// How many more spans the scenario excuses.
    fn excuses_left(&self) -> u64 {
        self.setup.excused_at_most.map_or(u64::MAX, |most| most.saturating_sub(self.tally.spans.excused))
    }

    pub(crate) fn settle_if_complete(&mut self, request: RequestId) {
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
        let Some(Settlement { matching, tombstone, found }) = settlement else { return };
        self.count_settled(request, &matching);
        self.note_losses(request, &matching, &found);
        self.tally.traces.recount(TraceState::Flawed, tombstone.state());
        self.ledger.close(request);
        self.assembly.close(request);
        self.settled.remember(self.now, request, tombstone);
    }

    fn count_settled(&mut self, request: RequestId, matching: &Matching) {
        let spans = self.assembly.spans_of(request);
        for (_, span) in matching.matched() {
            self.tally.count_match(spans[span].matched_by.as_str());
        }
        for (slot, state) in matching.places() {
            self.tally.count_place(state, row_of(slot, &self.setup.roles));
        }
        self.tally.spans.unexpected += matching.surplus.len() as u64;
        self.tally.spans.extra += matching.extra.len() as u64;
        if let Some(record) = self.ledger.request(request) {
            self.tally.messages_sent_again += self.sent_again(record);
        }
    }

    /// How many producer spans there need not be, because an SDK sent a message again.
    fn sent_again(&self, record: &RequestRecord) -> u64 {
        let again = (0..record.messages.len()).filter(|&message| is_sent_again(record, message));
        let roles_of = |message: usize| {
            let queue = &*record.messages[message].queue;
            let is_of_queue = |wanted: &str| wanted == queue;
            let roles = self.setup.roles.iter().map(|(_, role)| &role.span).filter(|span| span.per == Per::Message);
            roles.filter(|span| span.queue.as_deref().is_none_or(is_of_queue)).count() as u64
        };
        again.map(roles_of).sum()
    }

    /// Notes where in the lives of their processes a request's spans came, and where they were lost.
    fn note_losses(&mut self, request: RequestId, matching: &Matching, found: &[Violation]) {
        let Some(record) = self.ledger.request(request) else { return };
        for (place, (slot, state)) in matching.places().enumerate() {
            let role = &self.setup.roles.get(slot.role).name;
            let is_missing = |violation: &&Violation| violation.place == Place::Slot(place);
            let missing = found.iter().find(is_missing).map(Violation::key);
            let host = slot.fact.delivery(record).map(|delivery| &delivery.host);
            match (state, host, missing) {
                (PlaceState::Matched, Some(host), _) => self.losses.came_in(host.process_id(), host.invocation),
                (PlaceState::Matched, None, _) => self.losses.came(role, request),
                (PlaceState::Missing, Some(host), Some(key)) => {
                    self.losses.lost_in(host.process_id(), host.invocation, key);
                }
                (PlaceState::Missing, None, Some(key)) => self.losses.lost(key, request),
                _ => {}
            }
        }
    }

    /// Notes that a span came after it was missed.
    pub(crate) fn note_late_loss(&mut self, request: RequestId, place: &SpanPlace) {
        match (&place.host, &place.missing) {
            (Some(host), _) => self.losses.came_after_all(host.process_id(), host.invocation),
            (None, Some(missing)) => self.losses.found(&missing.key, request),
            (None, None) => {}
        }
    }

    /// Judges an invocation or environment as soon as it is over and nothing is missing.
    pub(crate) fn judge_account_if_complete(&mut self, id: &AccountId) {
        let Some(case) = self.account_case(id) else { return };
        let is_over = case.account.asks && case.account.ended.is_some();
        // What is wrong now may be so because the spans of others have not come yet.
        if case.account.judged.is_none() && is_over && case.is_complete() && case.judge().found.is_empty() {
            self.judge_account(id);
        }
    }

    fn account_case<'a>(&'a self, id: &'a AccountId) -> Option<AccountCase<'a>> {
        Some(AccountCase {
            id,
            account: self.accounts.get(id)?,
            roles: &self.setup.roles,
            processes: &self.processes,
            assembly: &self.assembly,
            settled: &self.settled,
            stalls: &self.stalls,
            excuses_left: self.excuses_left(),
        })
    }

    /// Judges an invocation or environment for good.
    fn judge_account(&mut self, id: &AccountId) {
        let Some(AccountVerdict { places, found, surplus }) = self.account_case(id).map(|case| case.judge()) else {
            return;
        };
        self.tally.spans.unexpected += surplus;
        let mut missing = Vec::new();
        let asks = self.accounts.get(id).is_some_and(|account| account.asks);
        for (role, state) in places {
            self.tally.count_place(state, asks.then(|| self.setup.roles.per_of(role)));
            let name = &self.setup.roles.get(role).name;
            let is_it = |found: &&Violation| found.code == FindingCode::SpanMissing && found.subject == *name;
            match state {
                PlaceState::Missing => missing.push((role, found.iter().find(is_it).map(Violation::filing))),
                PlaceState::Excused => missing.push((role, None)),
                _ => self.tally.count_match("invocation id"),
            }
        }
        for violation in found {
            self.findings.add(violation.filing(), || Example {
                evidence: vec![format!("{}: {}", violation.code, violation.evidence)],
                ..Example::default()
            });
        }
        if let Some(account) = self.accounts.get_mut(id) {
            account.judged = Some(missing);
        }
    }

    /// Lets the time that has passed take effect.
    fn handle_timeout(&mut self) {
        let Patience { missing_after, remembered_for, .. } = self.setup.patience;
        let now = self.now;
        self.stalls.tick(now);
        let is_due = |at: Timestamp| now.since(at) >= missing_after;
        let due: Vec<_> = self
            .ledger
            .requests()
            .filter(|(_, record)| record.is_over() && is_due(record.last_row))
            .map(|(id, _)| id)
            .collect();
        let long_ago = now - missing_after;
        // An invocation first: what hangs below its span follows from that.
        self.accounts.due(Some(long_ago)).iter().for_each(|id| self.judge_account(id));
        due.into_iter().for_each(|request| self.settle(request));
        self.assembly.give_up(long_ago).into_iter().for_each(|span| self.stray(span));
        let ownerless = self.ledger.give_up_ownerless(Some(long_ago));
        ownerless.iter().for_each(|message| self.judge_ownerless(message));
        self.settled.forget(now - remembered_for, &mut self.assembly);
        self.accounts.forget(now - remembered_for, &self.ledger);
        for environment in self.processes.forget(now - remembered_for.max(missing_after * 2)) {
            self.losses.forget(&environment);
            self.extras.retain(|(_, peer, _), _| **peer != Peer::Environment(environment.clone()));
        }
    }

    /// Judges everything that is left: nothing more will come.
    fn finish(&mut self) {
        self.finished = true;
        self.accounts.due(None).iter().for_each(|id| self.judge_account(id));
        let open: Vec<_> = self.ledger.requests().map(|(request, _)| request).collect();
        open.into_iter().for_each(|request| self.settle(request));
        self.assembly.give_up(self.now + Duration::from_nanos(1)).into_iter().for_each(|span| self.stray(span));
        let ownerless = self.ledger.give_up_ownerless(None);
        ownerless.iter().for_each(|message| self.judge_ownerless(message));
    }

    /// A message that nobody could be found for is still a message: it should carry a context.
    fn judge_ownerless(&mut self, message: &MessageRecord) {
        self.tally.ownerless_messages += 1;
        if let Some(violation) = carrier_missing(message).or_else(|| carrier_malformed(message)) {
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
        let mut tally = self.tally.clone();
        tally.spans.pending = (self.assembly.kept() + self.accounts.unjudged_spans()) as u64;
        Judgement::new(tally, self.findings.to_vec(&self.losses), self.doubts())
    }

    /// Why the evidence does not suffice, where it does not.
    fn doubts(&self) -> Vec<String> {
        let mut doubts: Vec<_> =
            self.lost.iter().map(|(what, count)| format!("evidence lost: {count} {what}")).collect();
        if !self.setup.started {
            doubts.push("the journal does not tell how the run was set up".to_owned());
        }
        doubts.extend(self.setup.unusable.clone());
        if !self.finished {
            doubts.push("the journal has no end: the run was cut off".to_owned());
        }
        if self.tally.spans.forgotten > 0 {
            doubts.push(format!("{} spans came after their requests were forgotten", self.tally.spans.forgotten));
        }
        let stalled = self.findings.doubted().into_iter();
        doubts.extend(stalled.map(|(code, count)| {
            format!("{count} cases of {code} cannot be judged: the machine stalled while they happened")
        }));
        doubts
    }
}
