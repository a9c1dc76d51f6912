//! Which moments of an execution environment's life belong to the story: from the start or thaw before an
//! invocation of the request to the freeze or end after it.

use std::collections::{BTreeSet, HashMap};

use verifier::event::{Fault, Peer};
use verifier::{EnvironmentId, Event, EventKind, InvocationId};

use super::keys::Keys;

/// How many events are kept from before an invocation: its environment's start and thaw. An environment that
/// starts over and over would fill any room.
const KEPT_BEFORE: usize = 16;

/// The environments that the request's messages were delivered to, as far as the journal was read.
#[derive(Debug, Default)]
pub struct Environments {
    lives: HashMap<EnvironmentId, Life>,
}

/// One environment's present stretch of life.
#[derive(Debug, Default)]
struct Life {
    /// What happened since its last freeze or end; it belongs to the story if an invocation of the request follows.
    before: Vec<Event>,
    /// Whether what happens now belongs to the story.
    is_shown: bool,
    /// Invocations of the request that have not ended.
    running: BTreeSet<InvocationId>,
}

impl Environments {
    /// Takes an event; gives the events of environments that belong to the story, now that it is known.
    pub fn take(&mut self, event: &Event, keys: &Keys) -> Vec<Event> {
        if let EventKind::InvocationFinished { invocation, .. } = &event.kind {
            return self.finish(event, invocation, keys);
        }
        let Some(environment) = environment_of(&event.kind).filter(|environment| keys.has_environment(environment))
        else {
            return Vec::new();
        };
        let life = self.lives.entry(environment.clone()).or_default();
        match &event.kind {
            EventKind::InvocationStarted { invocation, .. } => {
                life.start(event, invocation, keys.has_invocation(invocation))
            }
            _ => life.pass(event),
        }
    }

    fn finish(&mut self, event: &Event, invocation: &InvocationId, keys: &Keys) -> Vec<Event> {
        let Some(environment) = keys.environment_of(invocation) else { return Vec::new() };
        self.lives.entry(environment.clone()).or_default().running.remove(invocation);
        vec![event.clone()]
    }

    /// An export of this environment holds spans of the request. Gives what let it out, if that is not in the
    /// story yet: the thaw for somebody else's invocation.
    pub fn exported(&mut self, environment: &EnvironmentId) -> Vec<Event> {
        self.lives.get_mut(environment).map(|life| std::mem::take(&mut life.before)).unwrap_or_default()
    }
}

impl Life {
    fn start(&mut self, event: &Event, invocation: &InvocationId, is_own: bool) -> Vec<Event> {
        if !is_own {
            // Where nothing is frozen, the next invocation ends the stretch.
            self.is_shown &= !self.running.is_empty();
            self.before.retain(|event| matches!(event.kind, EventKind::EnvironmentThawed { .. }));
            return Vec::new();
        }
        self.is_shown = true;
        self.running.insert(invocation.clone());
        let mut told = std::mem::take(&mut self.before);
        told.push(event.clone());
        told
    }

    fn pass(&mut self, event: &Event) -> Vec<Event> {
        let ends_stretch = matches!(
            event.kind,
            EventKind::EnvironmentFrozen { .. }
                | EventKind::EnvironmentReset { .. }
                | EventKind::EnvironmentEnded { .. }
        );
        let told = if self.is_shown { vec![event.clone()] } else { Vec::new() };
        if ends_stretch {
            self.is_shown &= matches!(event.kind, EventKind::EnvironmentFrozen { .. }) && !self.running.is_empty();
            self.before.clear();
        } else if !self.is_shown && self.before.len() < KEPT_BEFORE {
            self.before.push(event.clone());
        }
        told
    }
}

/// The environment that an event is about.
fn environment_of(kind: &EventKind) -> Option<&EnvironmentId> {
    match kind {
        EventKind::PlatformDelayed { environment, .. }
        | EventKind::EnvironmentStarted { environment, .. }
        | EventKind::EnvironmentInitialized { environment, .. }
        | EventKind::EnvironmentThawed { environment }
        | EventKind::EnvironmentFrozen { environment, .. }
        | EventKind::EnvironmentReset { environment, .. }
        | EventKind::EnvironmentStopping { environment, .. }
        | EventKind::EnvironmentEnded { environment, .. }
        | EventKind::ProcessEscaped { environment, .. }
        | EventKind::ExtensionRegistered { environment, .. }
        | EventKind::CallRefused { environment, .. }
        | EventKind::InvocationStarted { environment, .. }
        | EventKind::ExportRefused { peer: Peer::Environment(environment), .. }
        | EventKind::FaultInjected(
            Fault::EnvironmentKilled { environment, .. } | Fault::ConnectionsCut { environment, .. },
        ) => Some(environment),
        _ => None,
    }
}
