//! What is known of the system's processes: which of them makes which spans, and which ended badly.

use std::collections::{HashMap, VecDeque};

use crate::event::{Event, EventKind, ExportAnswer, Fault, Peer, ProcessEnd};
use crate::finding::{Cause, FindingCode, FindingKey};
use crate::id::EnvironmentId;
use crate::time::Timestamp;

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
    initialized: bool,
}

impl Processes {
    /// Those of a system whose requests are sent to the service `entry`.
    pub(crate) fn new(entry: &str) -> Self {
        Self { entry: entry.to_owned(), ..Self::default() }
    }

    /// Posts an event. Answers the finding that it is, if it is one.
    pub(crate) fn post(&mut self, event: &Event) -> Option<(FindingKey, Vec<String>)> {
        match &event.kind {
            EventKind::EnvironmentStarted { environment, function, .. } => {
                let started = Environment { function: function.clone(), initialized: false };
                self.environments.insert(environment.clone(), started);
                None
            }
            EventKind::EnvironmentInitialized { environment, .. } => {
                self.environments.entry(environment.clone()).and_modify(|known| known.initialized = true);
                None
            }
            EventKind::EnvironmentEnded { environment, end } => {
                self.ended.push_back((event.at, environment.clone()));
                self.end_environment(environment, end)
            }
            EventKind::ServiceEnded { service, end } => {
                self.end(format!("service {service}"), Cause::ProcessEnded, service, end)
            }
            EventKind::FaultInjected(Fault::WrongKey) => {
                self.wrong_key = true;
                None
            }
            _ => None,
        }
    }

    fn end_environment(&mut self, environment: &EnvironmentId, end: &ProcessEnd) -> Option<(FindingKey, Vec<String>)> {
        let known = self.environments.get(environment)?.clone();
        let cause = if known.initialized { Cause::ProcessEnded } else { Cause::InitFailed };
        self.end(format!("function {}", known.function), cause, environment.as_str(), end)
    }

    fn end(&mut self, process: String, cause: Cause, who: &str, end: &ProcessEnd) -> Option<(FindingKey, Vec<String>)> {
        if end.ordered {
            return None;
        }
        let key = FindingKey { code: FindingCode::ProcessDied, cause, subject: process.clone() };
        self.deaths.insert(process, key.clone());
        let mut evidence = vec![format!("{who} ended with {end}")];
        evidence.extend(end.output.iter().map(|line| format!("it printed: {line}")));
        Some((key, evidence))
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

    /// The function whose environment this is, while it is remembered.
    pub(crate) fn function_of(&self, environment: &EnvironmentId) -> Option<String> {
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

    /// The finding about a function whose environment ended by itself.
    pub(crate) fn death_of_function(&self, function: &str) -> Option<&FindingKey> {
        self.deaths.get(&format!("function {function}"))
    }

    /// The finding about any function that ended by itself.
    pub(crate) fn death_of_any_function(&self) -> Option<&FindingKey> {
        let of_functions = self.deaths.iter().filter(|(process, _)| process.starts_with("function "));
        of_functions.min_by_key(|(process, _)| *process).map(|(_, key)| key)
    }

    /// Notes how a peer's export was answered.
    pub(crate) fn answered(&mut self, peer: &Peer, answer: ExportAnswer) {
        let process = self.name_of(peer);
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
