//! The accounts of invocations and environments, for contracts that ask for spans of theirs.
//!
//! A span for an invocation may be made from the messages of several requests, so it belongs to none of them.

use std::collections::{HashMap, VecDeque};

use crate::assemble::SeenSpan;
use crate::contract::Per;
use crate::event::{Event, EventKind, Fault};
use crate::finding::{Filing, FindingKey};
use crate::id::{EnvironmentId, InvocationId, RequestId, SpanId, TraceId};
use crate::ledger::{DeliveryEnd, Ledger, MessageRecord};
use crate::losses::ProcessId;
use crate::processes::{Host, Processes};
use crate::roles::{Role, RoleId, Roles};
use crate::time::Timestamp;

/// What an account is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AccountId {
    /// An invocation.
    Invocation(InvocationId),
    /// A process of an environment: one that is reset is initialised again, by another.
    Environment(ProcessId),
}

/// All that is known of an invocation, or of an environment, and its spans.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) host: Host,
    /// Whether there must be spans of it: not of a process that has not asked for its first invocation.
    pub(crate) asks: bool,
    /// When it began, and when it ended.
    pub(crate) began: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// How an invocation ended.
    pub(crate) end: Option<DeliveryEnd>,
    /// Whether the scenario ordered the kill in which it ended.
    pub(crate) killed: bool,
    /// Whether its process has been through an invocation: what was to come of its Init should have come then.
    pub(crate) served: bool,
    /// The messages of an invocation, in the event's order.
    pub(crate) records: Vec<Record>,
    /// Its spans, each of them once.
    pub(crate) spans: Vec<SeenSpan>,
    /// The roles whose spans were not there when it was judged, those that are excused without a finding; none
    /// before.
    pub(crate) judged: Option<Vec<(RoleId, Option<Filing>)>>,
}

/// A message of an invocation.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) request: Option<RequestId>,
    /// The context that it carries, if that is a valid one.
    pub(crate) carried: Option<(TraceId, SpanId)>,
}

impl Account {
    const fn new(host: Host, began: Timestamp, records: Vec<Record>) -> Self {
        let (asks, ended, end, judged) = (true, None, None, None);
        let (killed, served) = (false, false);
        Self { host, asks, began, ended, end, killed, served, records, spans: Vec::new(), judged }
    }

    /// Whether its spans need not be there: the scenario itself had its process killed.
    pub(crate) fn is_excusable(&self) -> bool {
        self.killed && !self.served && matches!(self.end, None | Some(DeliveryEnd::EnvironmentDied))
    }

    /// The spans of the account in a role.
    pub(crate) fn spans_in(&self, role: RoleId) -> impl Iterator<Item = &SeenSpan> {
        self.spans.iter().filter(move |span| span.stored && span.role() == Some(role))
    }

    fn is_for(&self, at: Timestamp) -> bool {
        self.began <= at && self.ended.is_none_or(|ended| at <= ended)
    }
}

/// The accounts that are open, or that open requests still need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    /// The roles per invocation and per environment.
    kept_for: Vec<(Per, Option<String>)>,
    open: HashMap<AccountId, Account>,
    /// The invocations of each environment, in their order.
    of_environment: HashMap<EnvironmentId, VecDeque<InvocationId>>,
    /// The latest invocation that was given a message with this context.
    by_context: HashMap<(TraceId, SpanId), InvocationId>,
}

impl Accounts {
    /// Those that a contract asks for.
    pub(crate) fn new(roles: &Roles) -> Self {
        let is_kept = |role: &&Role| matches!(role.span.per, Per::Invocation | Per::Environment);
        let kept = roles.iter().map(|(_, role)| role).filter(is_kept);
        Self { kept_for: kept.map(|role| (role.span.per, role.span.function.clone())).collect(), ..Self::default() }
    }

    /// Whether the contract asks for spans of this kind for a host.
    fn is_kept(&self, per: Per, host: &Host) -> bool {
        self.kept_for.iter().any(|(kept, function)| *kept == per && host.is_of(function.as_deref()))
    }

    /// Posts an event.
    pub(crate) fn post(&mut self, event: &Event, ledger: &Ledger, processes: &Processes) {
        if self.kept_for.is_empty() {
            return;
        }
        match &event.kind {
            EventKind::EnvironmentStarted { environment, .. } => {
                self.open_environment(processes.host(environment), event.at);
            }
            EventKind::EnvironmentInitialized { environment, .. } => {
                let host = processes.host(environment);
                self.open_environment(host.clone(), event.at);
                self.change(&AccountId::Environment(host.process_id()), |account| account.asks = true);
            }
            EventKind::InvocationStarted { invocation, environment, deliveries, .. } => {
                let messages = deliveries.iter().filter_map(|delivery| ledger.message(&delivery.message));
                let records = messages.map(|message| record(message, ledger)).collect();
                self.open_invocation(invocation, processes.host(environment), records, event.at);
            }
            EventKind::FaultInjected(Fault::EnvironmentKilled { environment, invocation }) => {
                self.kill(processes.host(environment).process_id(), invocation.as_ref());
            }
            EventKind::InvocationFinished { invocation, outcome } => {
                let end = DeliveryEnd::from(outcome);
                self.change(&AccountId::Invocation(invocation.clone()), |account| {
                    (account.ended, account.end) = (Some(event.at), Some(end));
                });
            }
            EventKind::EnvironmentFrozen { environment, .. } => {
                let host = processes.host(environment);
                if host.invocation > 0 {
                    self.change(&AccountId::Environment(host.process_id()), |account| account.served = true);
                }
            }
            EventKind::EnvironmentReset { environment, .. } | EventKind::EnvironmentEnded { environment, .. } => {
                let id = AccountId::Environment(processes.host(environment).process_id());
                self.change(&id, |account| account.ended = Some(event.at));
            }
            _ => {}
        }
    }

    fn open_environment(&mut self, host: Host, at: Timestamp) {
        if self.is_kept(Per::Environment, &host) {
            let id = AccountId::Environment(host.process_id());
            let account = || Account { asks: false, ..Account::new(host, at, Vec::new()) };
            self.open.entry(id).or_insert_with(account);
        }
    }

    fn open_invocation(&mut self, invocation: &InvocationId, host: Host, records: Vec<Record>, at: Timestamp) {
        if !self.is_kept(Per::Invocation, &host) {
            return;
        }
        for carried in records.iter().filter_map(|record| record.carried) {
            self.by_context.insert(carried, invocation.clone());
        }
        self.of_environment.entry(host.environment.clone()).or_default().push_back(invocation.clone());
        self.open.insert(AccountId::Invocation(invocation.clone()), Account::new(host, at, records));
    }

    fn kill(&mut self, process: ProcessId, invocation: Option<&InvocationId>) {
        self.change(&AccountId::Environment(process), |account| account.killed = true);
        if let Some(invocation) = invocation {
            self.change(&AccountId::Invocation(invocation.clone()), |account| account.killed = true);
        }
    }

    fn change(&mut self, id: &AccountId, change: impl FnOnce(&mut Account)) {
        self.open.get_mut(id).map(change);
    }

    /// The account of a span in a role per invocation or environment; `named` is the invocation that it names.
    pub(crate) fn account_of(&self, per: Per, span: &SeenSpan, named: Option<&InvocationId>) -> Option<AccountId> {
        let environment = span.environment();
        if per == Per::Environment {
            let process = ProcessId { environment: environment?.clone(), process: span.cycle.process };
            return Some(AccountId::Environment(process)).filter(|id| self.open.contains_key(id));
        }
        let contexts = span.parent.map(|parent| (span.trace_id, parent)).into_iter().chain(span.links.iter().copied());
        // A message may be delivered to several at a time: to be sure, it is the one that this environment had then.
        let is_own = |id: &InvocationId| {
            let account = self.invocation(id);
            account.is_some_and(|account| account.host.is(&span.peer) && account.is_for(span.start))
        };
        let by_context = contexts.into_iter().find_map(|context| self.by_context.get(&context));
        let had_then = || self.invocation_at(environment?, span.start);
        let named = named.or(by_context.filter(|id| is_own(id))).cloned();
        let invocation = named.or_else(had_then).or_else(|| by_context.cloned())?;
        Some(AccountId::Invocation(invocation)).filter(|id| self.open.contains_key(id))
    }

    /// The invocation that an environment had at an instant, by the clock that both share; else its latest.
    fn invocation_at(&self, environment: &EnvironmentId, at: Timestamp) -> Option<InvocationId> {
        let invocations = self.of_environment.get(environment)?;
        let had_it = |id: &&InvocationId| self.invocation(id).is_some_and(|account| account.is_for(at));
        invocations.iter().rev().find(had_it).or_else(|| invocations.back()).cloned()
    }

    fn invocation(&self, invocation: &InvocationId) -> Option<&Account> {
        self.open.get(&AccountId::Invocation(invocation.clone()))
    }

    /// An account.
    pub(crate) fn get(&self, id: &AccountId) -> Option<&Account> {
        self.open.get(id)
    }

    /// An account, to change it.
    pub(crate) fn get_mut(&mut self, id: &AccountId) -> Option<&mut Account> {
        self.open.get_mut(id)
    }

    /// A span of an invocation.
    pub(crate) fn span(&self, invocation: &InvocationId, key: (TraceId, SpanId)) -> Option<&SeenSpan> {
        self.invocation(invocation)?.spans.iter().find(|span| span.stored && span.key() == key)
    }

    /// The spans of an invocation.
    pub(crate) fn spans_of(&self, invocation: &InvocationId) -> impl Iterator<Item = &SeenSpan> {
        self.invocation(invocation).into_iter().flat_map(|account| &account.spans).filter(|span| span.stored)
    }

    /// The trace that the span in a role per invocation is in.
    pub(crate) fn trace_of(&self, invocation: &InvocationId, role: RoleId) -> Option<TraceId> {
        self.invocation(invocation)?.spans_in(role).next().map(|span| span.trace_id)
    }

    /// The request whose message alone an invocation was given, if a trace is that of its spans.
    pub(crate) fn request_of_trace(&self, environment: &EnvironmentId, trace: TraceId) -> Option<RequestId> {
        let invocations = self.of_environment.get(environment)?;
        let accounts = invocations.iter().rev().filter_map(|invocation| self.invocation(invocation));
        let own = accounts.into_iter().find(|account| account.spans.iter().any(|span| span.trace_id == trace))?;
        let mut requests = own.records.iter().map(|record| record.request);
        let first = requests.next()??;
        requests.all(|request| request == Some(first)).then_some(first)
    }

    /// Whether the span in a role of an invocation is not there, and excused.
    pub(crate) fn is_excused(&self, invocation: &InvocationId, role: RoleId) -> bool {
        self.invocation(invocation).is_some_and(|account| match &account.judged {
            Some(missing) => missing.contains(&(role, None)),
            None => account.is_excusable() && account.spans_in(role).next().is_none(),
        })
    }

    /// The findings that an invocation's own spans are missing.
    pub(crate) fn losses_in(&self, invocation: &InvocationId) -> Vec<FindingKey> {
        let judged = self.invocation(invocation).and_then(|account| account.judged.as_ref());
        judged.map_or_else(Vec::new, |missing| {
            let filings = missing.iter().filter_map(|(_, filing)| filing.as_ref());
            filings.flat_map(|filing| filing.roots.iter().chain([&filing.key])).cloned().collect()
        })
    }

    /// The accounts that have not been judged and are due: those that ended before an instant, or all.
    pub(crate) fn due(&self, ended_before: Option<Timestamp>) -> Vec<AccountId> {
        let is_due = |account: &Account| {
            account.judged.is_none()
                && ended_before.is_none_or(|instant| account.ended.is_some_and(|ended| ended < instant))
        };
        let mut due: Vec<_> =
            self.open.iter().filter(|(_, account)| is_due(account)).map(|(id, _)| id.clone()).collect();
        due.sort_unstable();
        due
    }

    /// How many stored spans are kept of accounts that have not been judged.
    pub(crate) fn unjudged_spans(&self) -> usize {
        let unjudged = self.open.values().filter(|account| account.judged.is_none());
        unjudged.flat_map(|account| &account.spans).filter(|span| span.stored).count()
    }

    /// Forgets the accounts that ended before an instant and that no open request needs.
    pub(crate) fn forget(&mut self, ended_before: Timestamp, ledger: &Ledger) {
        let is_needed = |record: &Record| record.request.is_some_and(|request| ledger.request(request).is_some());
        let is_over = |account: &Account| {
            let ended = account.ended.is_some_and(|ended| ended < ended_before);
            account.judged.is_some() && ended && !account.records.iter().any(is_needed)
        };
        for (id, account) in self.open.extract_if(|_, account| is_over(account)) {
            let AccountId::Invocation(invocation) = id else { continue };
            for carried in account.records.iter().filter_map(|record| record.carried) {
                if self.by_context.get(&carried) == Some(&invocation) {
                    self.by_context.remove(&carried);
                }
            }
            if let Some(invocations) = self.of_environment.get_mut(&account.host.environment) {
                invocations.retain(|other| *other != invocation);
            }
        }
        self.of_environment.retain(|_, invocations| !invocations.is_empty());
    }
}

fn record(message: &MessageRecord, ledger: &Ledger) -> Record {
    Record {
        request: ledger.owner_of(&message.message),
        carried: message.traceparent().filter(|_| !message.stripped).map(|parent| parent.span()),
    }
}
