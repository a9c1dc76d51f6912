//! What is known of the system's processes: which of them makes which spans, and which ended badly.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::event::{
    Cut, Event, EventKind, Export, ExportAnswer, Fault, GrpcCode, InvocationOutcome, OpenExchanges, Peer, ProcessEnd,
    RefusalKind, ResetReason,
};
use crate::finding::{Cause, Filing, FindingCode, FindingKey};
use crate::id::{EnvironmentId, InvocationId};
use crate::losses::ProcessId;
use crate::time::Timestamp;

/// The signal that ends a process that does not end by itself.
const SIGKILL: i32 = 9;

/// How many exports of an environment are told apart since it was thawed.
const KNOWN_EXPORTS: usize = 16;

/// The system's processes. All environments of a function count as one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    /// The service that requests are sent to.
    entry: String,
    environments: HashMap<EnvironmentId, Environment>,
    /// Environments that ended, and when. Their names are needed as long as their requests are open.
    ended: VecDeque<(Timestamp, EnvironmentId)>,
    /// The process that each `service.name` was seen to come from.
    by_service_name: HashMap<String, String>,
    /// The findings about processes that ended by themselves.
    deaths: HashMap<String, FindingKey>,
    /// The findings about processes whose exports have been refused since the last that was stored.
    refusals: HashMap<String, FindingKey>,
    wrong_key: bool,
    /// How long a function may take from the end of its last span to its request for the next invocation.
    flush_budget: Duration,
    /// Services that were told to stop.
    stopping: HashSet<String>,
    /// Where each invocation runs that has not ended.
    hosts: HashMap<InvocationId, EnvironmentId>,
}

/// A finding about a process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessFinding {
    pub(crate) filing: Filing,
    pub(crate) evidence: Vec<String>,
    /// The stretch of time that it is about, if it is a matter of time: a machine that stalled then makes it
    /// doubtful.
    pub(crate) stretch: Option<(Timestamp, Timestamp)>,
}

impl From<(FindingKey, Vec<String>)> for ProcessFinding {
    fn from((key, evidence): (FindingKey, Vec<String>)) -> Self {
        Self { filing: key.into(), evidence, stretch: None }
    }
}

#[derive(Debug, Clone)]
struct Environment {
    function: String,
    /// Whether its process is there. One that was reset has none until its next invocation.
    running: bool,
    initialized: bool,
    cycle: Cycle,
    /// The latest invocation of its process.
    invocation: Option<InvocationId>,
    /// When its process was started or thawed last.
    awake_since: Timestamp,
    /// When its process was frozen last, before that.
    frozen_at: Option<Timestamp>,
    /// When its latest invocation began.
    invoked_at: Timestamp,
    /// The latest end of a span that its process has exported.
    last_span_end: Timestamp,
    /// The latest exports since then: whether each holds anything that had ended before.
    with_leftovers: VecDeque<bool>,
    /// How many invocations its process was given.
    invocations: u32,
    /// How the harness cut the connections of its process, if it did.
    cut: Option<Cut>,
    /// Whether an export of its has been stored since.
    recovered: bool,
    /// The finding that it ended by itself.
    death: Option<FindingKey>,
}

impl Environment {
    const fn new(function: String) -> Self {
        Self {
            function,
            running: true,
            initialized: false,
            cycle: Cycle { process: 0, thaws: 0 },
            invocation: None,
            awake_since: Timestamp::from_unix_nanos(0),
            frozen_at: None,
            invoked_at: Timestamp::from_unix_nanos(0),
            last_span_end: Timestamp::from_unix_nanos(0),
            with_leftovers: VecDeque::new(),
            invocations: 0,
            cut: None,
            recovered: false,
            death: None,
        }
    }

    /// Another delivery of the same invocation is none.
    fn invoke(&mut self, invocation: &InvocationId, at: Timestamp) {
        self.invoked_at = at;
        if self.invocation.as_ref() != Some(invocation) {
            self.invocations = self.invocations.saturating_add(1);
            self.invocation = Some(invocation.clone());
        }
    }

    fn thaw(&mut self, at: Timestamp) {
        self.cycle.thaws += 1;
        self.awake_since = at;
        self.with_leftovers.clear();
    }

    /// Whether what is open now, the latest exports, was left by earlier invocations: who leaves spans for
    /// later exports them when the environment is thawed, and the next freeze comes upon that.
    fn open_exports_are_leftovers(&self, open: OpenExchanges) -> bool {
        let open = open.exports as usize;
        let latest = self.with_leftovers.iter().rev().take(open);
        self.with_leftovers.len() >= open && latest.copied().all(|leftovers| leftovers)
    }

    /// With a new process: a reset leaves nothing of the old one's.
    fn started_again(self) -> Self {
        let cycle = Cycle { process: self.cycle.process + 1, thaws: 0 };
        Self { cycle, death: self.death, ..Self::new(self.function) }
    }
}

/// A stretch in the life of an environment: from one thaw of a process to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cycle {
    /// How many processes the environment had before.
    pub(crate) process: u32,
    /// How often the process has been thawed.
    thaws: u32,
}

impl Cycle {
    /// Whether the same process has been thawed in between.
    const fn is_thawed_since(self, earlier: Self) -> bool {
        self.process == earlier.process && self.thaws > earlier.thaws
    }
}

/// Where a delivery was handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) environment: EnvironmentId,
    /// The function, if the environment was known when it got the record.
    function: Option<String>,
    pub(crate) cycle: Cycle,
    /// Whether the harness had cut the connections of its process, and no export has been stored since.
    pub(crate) cut: bool,
    /// Whether a connection of its process failed while it had the delivery.
    pub(crate) refused: bool,
    /// Whether it was the first that its process was given: nobody can have left anything for later.
    pub(crate) is_first: bool,
    /// Which invocation of its process it was, counted from 1.
    pub(crate) invocation: u32,
}

impl Host {
    /// Whether a span of a delivery, seen in an export of this peer, was let out by a later thaw. No
    /// clock tells that: a freeze is recorded once all that was sent before it has arrived.
    pub(crate) fn thawed_before(&self, peer: &Peer, seen: Cycle) -> bool {
        self.is(peer) && seen.is_thawed_since(self.cycle)
    }

    /// Whether it is an environment of this function, or any is meant.
    pub(crate) fn is_of(&self, function: Option<&str>) -> bool {
        function.is_none_or(|wanted| self.function.as_deref() == Some(wanted))
    }

    /// Whether it is this peer.
    pub(crate) fn is(&self, peer: &Peer) -> bool {
        matches!(peer, Peer::Environment(environment) if *environment == self.environment)
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> ProcessId {
        ProcessId { environment: self.environment.clone(), process: self.cycle.process }
    }

    /// The finding that its function's flush is not awaited. Where the harness has cut connections, an
    /// export that nobody answers proves nothing.
    pub(crate) fn flush_not_awaited(&self) -> Option<FindingKey> {
        (!self.cut).then(|| FindingKey::flush_not_awaited(self.process()))
    }

    /// The finding that its function's spans wait for a later thaw.
    pub(crate) fn late_by_thaw(&self) -> FindingKey {
        let cause = self.obstacle().unwrap_or(Cause::SentAfterThaw);
        FindingKey { cause, ..FindingKey::late_by_thaw(self.process()) }
    }

    /// The findings about its function that explain why a span of the delivery never came.
    pub(crate) fn explanations(&self) -> impl Iterator<Item = FindingKey> {
        let late_at_all = FindingKey::late_by_thaw(self.process());
        self.flush_not_awaited().into_iter().chain([self.late_by_thaw(), late_at_all])
    }

    /// What stood in the way of its exports, as far as that is known.
    pub(crate) fn obstacle(&self) -> Option<Cause> {
        match (self.cut, self.refused) {
            (true, _) => Some(Cause::FaultCutConnections),
            (false, true) => Some(Cause::ConnectionFailed),
            (false, false) => None,
        }
    }

    fn process(&self) -> String {
        match &self.function {
            Some(function) => format!("function {function}"),
            None => Peer::Environment(self.environment.clone()).to_string(),
        }
    }
}

impl Processes {
    /// Those of a system whose requests are sent to the service `entry`.
    pub(crate) fn new(entry: &str, flush_budget: Duration) -> Self {
        Self { entry: entry.to_owned(), flush_budget, ..Self::default() }
    }

    /// Posts an event. Answers the finding that it is, if it is one.
    pub(crate) fn post(&mut self, event: &Event) -> Option<ProcessFinding> {
        match &event.kind {
            EventKind::EnvironmentFrozen { environment, open } => {
                let found = self.open_at_freeze(environment, *open, event.at);
                self.change::<()>(environment, |known| known.frozen_at = Some(event.at));
                found
            }
            EventKind::InvocationFinished { invocation, outcome } => {
                let found = self.flush_slow(invocation, outcome, event.at);
                self.hosts.remove(invocation);
                found
            }
            _ => self.post_life(event).map(ProcessFinding::from),
        }
    }

    /// `flush-slow`: an invocation ended well, long after its last span had.
    fn flush_slow(
        &self,
        invocation: &InvocationId,
        outcome: &InvocationOutcome,
        at: Timestamp,
    ) -> Option<ProcessFinding> {
        let is_answered = matches!(outcome, InvocationOutcome::Succeeded { .. } | InvocationOutcome::Failed { .. });
        let known = self.environments.get(self.hosts.get(invocation)?)?;
        let took = at.since(known.last_span_end);
        if !is_answered || known.last_span_end < known.invoked_at || took <= self.flush_budget {
            return None;
        }
        let budget = self.flush_budget;
        let evidence = format!(
            "invocation {invocation} asked for the next {took:.1?} after the end of its last span, the budget is {budget:?}"
        );
        let subject = format!("function {}", known.function);
        let key = FindingKey { code: FindingCode::FlushSlow, cause: Cause::SlowFlush, subject };
        Some(ProcessFinding { filing: key.into(), evidence: vec![evidence], stretch: Some((known.invoked_at, at)) })
    }

    /// Posts what changes the life of a process. Answers the finding that it is, if it is one.
    fn post_life(&mut self, event: &Event) -> Option<(FindingKey, Vec<String>)> {
        match &event.kind {
            EventKind::EnvironmentStarted { environment, function, .. } => {
                self.start_environment(environment, function);
                self.change(environment, |known| known.awake_since = event.at)
            }
            EventKind::EnvironmentInitialized { environment, .. } => {
                self.change(environment, |known| known.initialized = true)
            }
            EventKind::EnvironmentThawed { environment } => self.change(environment, |known| known.thaw(event.at)),
            EventKind::ExportAnswered(export) => self.note_export(export),
            EventKind::InvocationStarted { environment, invocation, .. } => {
                self.hosts.insert(invocation.clone(), environment.clone());
                self.change(environment, |known| known.invoke(invocation, event.at))
            }
            EventKind::EnvironmentReset { environment, reason, end } => {
                self.reset_environment(environment, *reason, end)
            }
            EventKind::EnvironmentEnded { environment, end } => {
                self.ended.push_back((event.at, environment.clone()));
                self.end_environment(environment, end)
            }
            EventKind::ServiceStopping { service } => {
                self.stopping.insert(service.clone());
                None
            }
            EventKind::ServiceEnded { service, end } if self.is_killed_after_stop(service, end) => {
                let subject = format!("service {service}");
                let key = FindingKey { code: FindingCode::StopIgnored, cause: Cause::KilledAfterStop, subject };
                Some((key, vec![format!("{service} had to be killed: {end}")]))
            }
            EventKind::ServiceEnded { service, end } => {
                (!end.ordered).then(|| self.die(format!("service {service}"), Cause::ProcessEnded, service, end))
            }
            EventKind::FaultInjected(Fault::ConnectionsCut { environment, cut }) => {
                self.change(environment, |known| (known.cut, known.recovered) = (Some(*cut), false))
            }
            EventKind::ExportRefused { peer, refusal, .. } => {
                self.refuse(peer, *refusal);
                None
            }
            EventKind::FaultInjected(Fault::WrongKey) => {
                self.wrong_key = true;
                None
            }
            _ => None,
        }
    }

    /// Whether a service that was told to stop was killed at last.
    fn is_killed_after_stop(&self, service: &str, end: &ProcessEnd) -> bool {
        end.ordered && end.signal == Some(SIGKILL) && self.stopping.contains(service)
    }

    /// Notes that an export of a peer could not be read, so that its spans are lost.
    fn refuse(&mut self, peer: &Peer, refusal: RefusalKind) {
        let cause = match refusal {
            RefusalKind::TooLarge => Cause::ExportTooLarge,
            RefusalKind::Unreadable => Cause::ExportUnreadable,
            RefusalKind::CutOff if !matches!(peer, Peer::Environment(_)) => Cause::ExportCutOff,
            RefusalKind::CutOff | RefusalKind::Connection | RefusalKind::NotTraces => return,
        };
        let key = self.refusal(peer, cause);
        self.refusals.insert(self.name_of(peer), key);
    }

    fn start_environment(&mut self, environment: &EnvironmentId, function: &str) {
        let started = match self.environments.remove(environment) {
            Some(known) => known.started_again(),
            None => Environment::new(function.to_owned()),
        };
        self.environments.insert(environment.clone(), started);
    }

    /// Changes what is known of an environment, which is no finding.
    fn change<T>(&mut self, environment: &EnvironmentId, change: impl FnOnce(&mut Environment)) -> Option<T> {
        self.environments.get_mut(environment).map(change);
        None
    }

    /// Notes of an export whether it holds anything that had ended before its environment was thawed.
    fn note_export<T>(&mut self, export: &Export) -> Option<T> {
        let Peer::Environment(environment) = &export.peer else { return None };
        let known = self.environments.get_mut(environment)?;
        let mut oldest = None;
        for end in export.payload.resources().flat_map(|resource| resource.spans()).map(|span| span.end) {
            oldest = Some(oldest.map_or(end, |oldest: Timestamp| oldest.min(end)));
            known.last_span_end = known.last_span_end.max(end);
        }
        if known.with_leftovers.len() == KNOWN_EXPORTS {
            known.with_leftovers.pop_front();
        }
        known.with_leftovers.push_back(oldest.is_some_and(|oldest| oldest < known.awake_since));
        None
    }

    /// `export-open-at-freeze`: an invocation is over, and an export of its environment is unanswered.
    fn open_at_freeze(
        &self,
        environment: &EnvironmentId,
        open: OpenExchanges,
        at: Timestamp,
    ) -> Option<ProcessFinding> {
        let known = self.environments.get(environment)?;
        let invocation = known.invocation.as_ref()?;
        // Here nobody will ever answer, however long somebody waits.
        let unanswerable = matches!(known.cut, Some(Cut::BlackHole | Cut::HalfClose));
        if open.exports == 0 || unanswerable {
            return None;
        }
        let evidence = format!(
            "{} exports of {environment} were unanswered when it asked for the next invocation after {invocation}",
            open.exports
        );
        let function = format!("function {}", known.function);
        let filing = if known.open_exports_are_leftovers(open) {
            Filing::leftovers_open_at_freeze(function)
        } else {
            FindingKey::flush_not_awaited(function).into()
        };
        Some(ProcessFinding { filing, evidence: vec![evidence], stretch: Some((known.invoked_at, at)) })
    }

    /// A reset is a death if the process ended by itself, or was ended for what it did. That an
    /// invocation took too long is told by its outcome, and its process is none the worse for it.
    fn reset_environment(
        &mut self,
        environment: &EnvironmentId,
        reason: ResetReason,
        end: &ProcessEnd,
    ) -> Option<(FindingKey, Vec<String>)> {
        let known = self.environments.get_mut(environment)?;
        known.running = false;
        let (cause, ordered) = match reason {
            ResetReason::TimedOut => return None,
            // The platform ends these, whatever the record says of who sent the signal.
            ResetReason::InitTimedOut => (Cause::InitTimedOut, false),
            ResetReason::OutOfMemory => (Cause::OutOfMemory, false),
            ResetReason::InitFailed => (Cause::InitFailed, end.ordered),
            ResetReason::Exited if !known.initialized => (Cause::InitFailed, end.ordered),
            ResetReason::Exited => (Cause::ProcessEnded, end.ordered),
            ResetReason::ExtensionFailed => (Cause::ExtensionFailed, end.ordered),
        };
        (!ordered).then(|| self.die_in(environment, cause, end)).flatten()
    }

    fn end_environment(&mut self, environment: &EnvironmentId, end: &ProcessEnd) -> Option<(FindingKey, Vec<String>)> {
        let known = self.environments.get_mut(environment)?;
        // The process of one that was reset has ended before.
        let running = std::mem::replace(&mut known.running, false);
        let cause = if known.initialized { Cause::ProcessEnded } else { Cause::InitFailed };
        (running && !end.ordered).then(|| self.die_in(environment, cause, end)).flatten()
    }

    /// `process-died`: the process of an environment ended by itself.
    fn die_in(
        &mut self,
        environment: &EnvironmentId,
        cause: Cause,
        end: &ProcessEnd,
    ) -> Option<(FindingKey, Vec<String>)> {
        let function = self.function_of(environment)?;
        let (key, evidence) = self.die(format!("function {function}"), cause, environment.as_str(), end);
        self.change::<()>(environment, |known| known.death = Some(key.clone()));
        Some((key, evidence))
    }

    /// `process-died`.
    fn die(&mut self, process: String, cause: Cause, who: &str, end: &ProcessEnd) -> (FindingKey, Vec<String>) {
        let key = FindingKey { code: FindingCode::ProcessDied, cause, subject: process.clone() };
        self.deaths.insert(process, key.clone());
        let mut evidence = vec![format!("{who} ended with {end}")];
        evidence.extend(end.output.iter().map(|line| format!("it printed: {line}")));
        (key, evidence)
    }

    /// Forgets the environments that ended before an instant, and answers which they were.
    pub(crate) fn forget(&mut self, ended_before: Timestamp) -> Vec<EnvironmentId> {
        let mut forgotten = Vec::new();
        while let Some((_, environment)) = self.ended.pop_front_if(|(at, _)| *at < ended_before) {
            self.environments.remove(&environment);
            forgotten.push(environment);
        }
        forgotten
    }

    /// Whether an environment has been initialised already.
    pub(crate) fn was_initialized(&self, environment: &EnvironmentId) -> bool {
        self.environments.get(environment).is_some_and(|known| known.initialized)
    }

    /// Notes that a peer makes the spans of this `service.name`.
    pub(crate) fn learn(&mut self, service_name: &str, peer: &Peer) {
        if *peer != Peer::Anyone && !self.by_service_name.contains_key(service_name) {
            let process = self.name_of(peer);
            self.by_service_name.insert(service_name.to_owned(), process);
        }
    }

    /// Whether it is known which process makes the spans of this `service.name`.
    pub(crate) fn knows(&self, service_name: &str) -> bool {
        self.by_service_name.contains_key(service_name)
    }

    /// The process that a peer is, in words.
    pub(crate) fn name_of(&self, peer: &Peer) -> String {
        match peer {
            Peer::Environment(environment) => match self.environments.get(environment) {
                Some(known) => format!("function {}", known.function),
                None => peer.to_string(),
            },
            Peer::Service(_) | Peer::Anyone => peer.to_string(),
        }
    }

    /// An environment as it is now, for what is delivered to it.
    pub(crate) fn host(&self, environment: &EnvironmentId) -> Host {
        let known = self.environments.get(environment);
        Host {
            environment: environment.clone(),
            function: known.map(|known| known.function.clone()),
            cycle: known.map_or_else(Cycle::default, |known| known.cycle),
            cut: known.is_some_and(|known| known.cut.is_some() && !known.recovered),
            refused: false,
            is_first: known.is_some_and(|known| known.invocations <= 1),
            invocation: known.map_or(0, |known| known.invocations),
        }
    }

    /// The stretch that a peer's life is in. Only environments are frozen and thawed.
    pub(crate) fn cycle_of(&self, peer: &Peer) -> Cycle {
        let Peer::Environment(environment) = peer else { return Cycle::default() };
        self.environments.get(environment).map_or_else(Cycle::default, |known| known.cycle)
    }

    /// Whether a peer was frozen and thawed between two instants.
    pub(crate) fn was_frozen_between(&self, peer: &Peer, from: Timestamp, to: Timestamp) -> bool {
        let Peer::Environment(environment) = peer else { return false };
        let known = self.environments.get(environment);
        known.is_some_and(|known| {
            known.frozen_at.is_some_and(|frozen| from < frozen && known.awake_since < to && frozen < known.awake_since)
        })
    }

    /// The function whose environment this is, while it is remembered.
    fn function_of(&self, environment: &EnvironmentId) -> Option<String> {
        self.environments.get(environment).map(|known| known.function.clone())
    }

    /// The finding about the process that makes the spans of this `service.name`, if it ended by itself.
    /// As long as no span tells which process that is, it is the one that requests are sent to.
    pub(crate) fn death_of_service_name(&self, service_name: &str) -> Option<&FindingKey> {
        match self.by_service_name.get(service_name) {
            Some(process) => self.deaths.get(process),
            None => self.deaths.get(&format!("service {}", self.entry)),
        }
    }

    /// The finding about an environment that ended by itself. One that is forgotten is told by its function.
    pub(crate) fn death_of_host(&self, host: &Host) -> Option<&FindingKey> {
        match self.environments.get(&host.environment) {
            Some(known) => known.death.as_ref(),
            None => self.deaths.get(&host.process()),
        }
    }

    /// The finding about any function that ended by itself.
    pub(crate) fn death_of_any_function(&self) -> Option<&FindingKey> {
        let of_functions = self.deaths.iter().filter(|(process, _)| process.starts_with("function "));
        of_functions.min_by_key(|(process, _)| *process).map(|(_, key)| key)
    }

    /// Notes how a peer's export was answered.
    pub(crate) fn answered(&mut self, peer: &Peer, answer: &ExportAnswer) {
        let refusal = match answer {
            ExportAnswer::Stored | ExportAnswer::PartialSuccess { .. } => None,
            ExportAnswer::Unauthenticated | ExportAnswer::Refused { .. } => self.refusal_cause(answer),
        };
        if let (Peer::Environment(environment), None) = (peer, refusal) {
            self.change::<()>(environment, |known| known.recovered = true);
        }
        let process = self.name_of(peer);
        match refusal {
            None => _ = self.refusals.remove(&process),
            Some(cause) => _ = self.refusals.insert(process, self.refusal(peer, cause)),
        }
    }

    /// The finding about the process that makes the spans of this `service.name`, if the endpoint
    /// refuses its exports. As long as no span tells which process that is, it may be one of a service.
    pub(crate) fn refusal_of_service_name(&self, service_name: &str) -> Option<&FindingKey> {
        match self.by_service_name.get(service_name) {
            Some(process) => self.refusals.get(process),
            None => self.refusals.get(&format!("service {}", self.entry)),
        }
    }

    /// The finding that the endpoint refused what a peer sent, and why.
    pub(crate) fn refusal(&self, peer: &Peer, cause: Cause) -> FindingKey {
        let code = match cause {
            Cause::KeyRefused | Cause::FaultWrongKey => FindingCode::ExportUnauthenticated,
            _ => FindingCode::ExportRejected,
        };
        FindingKey { code, cause, subject: self.name_of(peer) }
    }

    /// Why those spans of an export are not stored that are not.
    pub(crate) const fn refusal_cause(&self, answer: &ExportAnswer) -> Option<Cause> {
        match answer {
            ExportAnswer::Stored => None,
            ExportAnswer::PartialSuccess { .. } => Some(Cause::PartialSuccess),
            ExportAnswer::Refused { code: GrpcCode::PermissionDenied } => Some(Cause::KeyLacksPermission),
            ExportAnswer::Refused { .. } => Some(Cause::RetriesUsedUp),
            ExportAnswer::Unauthenticated if self.wrong_key => Some(Cause::FaultWrongKey),
            ExportAnswer::Unauthenticated => Some(Cause::KeyRefused),
        }
    }
}
