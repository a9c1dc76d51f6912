//! What is known of the system's processes: which of them makes which spans, and which ended badly.

use std::collections::{HashMap, VecDeque};

use crate::event::{Cut, Event, EventKind, Export, ExportAnswer, Fault, OpenExchanges, Peer, ProcessEnd, ResetReason};
use crate::finding::{Cause, Filing, FindingCode, FindingKey};
use crate::id::{EnvironmentId, InvocationId};
use crate::time::Timestamp;

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
            with_leftovers: VecDeque::new(),
            invocations: 0,
            cut: None,
            recovered: false,
            death: None,
        }
    }

    /// Another delivery of the same invocation is none.
    fn invoke(&mut self, invocation: &InvocationId) {
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
    process: u32,
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
}

impl Host {
    /// Whether a span of a delivery, seen in an export of this peer, was let out by a later thaw. No
    /// clock tells that: a freeze is recorded once all that was sent before it has arrived.
    pub(crate) fn thawed_before(&self, peer: &Peer, seen: Cycle) -> bool {
        self.is(peer) && seen.is_thawed_since(self.cycle)
    }

    /// Whether it is this peer.
    pub(crate) fn is(&self, peer: &Peer) -> bool {
        matches!(peer, Peer::Environment(environment) if *environment == self.environment)
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
    pub(crate) fn new(entry: &str) -> Self {
        Self { entry: entry.to_owned(), ..Self::default() }
    }

    /// Posts an event. Answers the finding that it is, if it is one.
    pub(crate) fn post(&mut self, event: &Event) -> Option<(Filing, Vec<String>)> {
        if let EventKind::EnvironmentFrozen { environment, open } = &event.kind {
            return self.open_at_freeze(environment, *open);
        }
        self.post_life(event).map(|(key, evidence)| (key.into(), evidence))
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
                self.change(environment, |known| known.invoke(invocation))
            }
            EventKind::EnvironmentReset { environment, reason, end } => {
                self.reset_environment(environment, *reason, end)
            }
            EventKind::EnvironmentEnded { environment, end } => {
                self.ended.push_back((event.at, environment.clone()));
                self.end_environment(environment, end)
            }
            EventKind::ServiceEnded { service, end } => {
                (!end.ordered).then(|| self.die(format!("service {service}"), Cause::ProcessEnded, service, end))
            }
            EventKind::FaultInjected(Fault::ConnectionsCut { environment, cut }) => {
                self.change(environment, |known| (known.cut, known.recovered) = (Some(*cut), false))
            }
            EventKind::FaultInjected(Fault::WrongKey) => {
                self.wrong_key = true;
                None
            }
            _ => None,
        }
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
        let mut spans = export.resource_spans.iter().flat_map(|batch| &batch.spans);
        if known.with_leftovers.len() == KNOWN_EXPORTS {
            known.with_leftovers.pop_front();
        }
        known.with_leftovers.push_back(spans.any(|span| span.end < known.awake_since));
        None
    }

    /// `export-open-at-freeze`: an invocation is over, and an export of its environment is unanswered.
    fn open_at_freeze(&self, environment: &EnvironmentId, open: OpenExchanges) -> Option<(Filing, Vec<String>)> {
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
        Some((filing, vec![evidence]))
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

    /// Forgets the environments that ended before an instant.
    pub(crate) fn forget(&mut self, ended_before: Timestamp) {
        while let Some((_, environment)) = self.ended.pop_front_if(|(at, _)| *at < ended_before) {
            self.environments.remove(&environment);
        }
    }

    /// Notes that a peer makes the spans of this `service.name`.
    pub(crate) fn learn(&mut self, service_name: &str, peer: &Peer) {
        if *peer != Peer::Anyone && !self.by_service_name.contains_key(service_name) {
            let process = self.name_of(peer);
            self.by_service_name.insert(service_name.to_owned(), process);
        }
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
        }
    }

    /// The stretch that a peer's life is in. Only environments are frozen and thawed.
    pub(crate) fn cycle_of(&self, peer: &Peer) -> Cycle {
        let Peer::Environment(environment) = peer else { return Cycle::default() };
        self.environments.get(environment).map_or_else(Cycle::default, |known| known.cycle)
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
    pub(crate) fn answered(&mut self, peer: &Peer, answer: ExportAnswer) {
        let process = self.name_of(peer);
        if let (Peer::Environment(environment), ExportAnswer::Stored) = (peer, answer) {
            self.change::<()>(environment, |known| known.recovered = true);
        }
        match answer {
            ExportAnswer::Stored => _ = self.refusals.remove(&process),
            ExportAnswer::Unauthenticated => _ = self.refusals.insert(process, self.refusal_of(peer)),
        }
    }

    /// The finding about the process that makes the spans of this `service.name`, if the endpoint
    /// refuses its exports.
    pub(crate) fn refusal_of_service_name(&self, service_name: &str) -> Option<&FindingKey> {
        self.refusals.get(self.by_service_name.get(service_name)?)
    }

    /// The finding that a peer's exports are refused for want of a valid key.
    pub(crate) fn refusal_of(&self, peer: &Peer) -> FindingKey {
        let cause = if self.wrong_key { Cause::FaultWrongKey } else { Cause::KeyRefused };
        FindingKey { code: FindingCode::ExportUnauthenticated, cause, subject: self.name_of(peer) }
    }
}
