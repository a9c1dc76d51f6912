//! Resets and ends: who is told, and how long they have.
//!
//! Without an extension nobody is told anything, and SIGKILL it is. With one, the runtime gets SIGTERM
//! and its share of the time; then the external extensions that asked for it get a SHUTDOWN event and
//! what is left; then whoever is still there is killed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};
use verifier::event::{Fault, InvocationOutcome, ProcessEnd, ResetReason};
use verifier::{EventKind, InvocationId};

use super::invoke::unix_ms;
use super::life::Environment;
use super::processes::{Manner, Processes};
use crate::cloud::runtime_api::{Audience, ShutdownReason};
use crate::target::Process;

/// How long an environment has to shut down (AWS Lambda developer guide, "Shutdown phase").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grace {
    /// All in all.
    total: Duration,
    /// How much of it the runtime has.
    runtime: Duration,
}

impl Grace {
    /// None without an extension.
    const fn of(audience: &Audience) -> Option<Self> {
        const INTERNAL: Duration = Duration::from_millis(500);
        const EXTERNAL: Duration = Duration::from_millis(2_000);
        const RUNTIME: Duration = Duration::from_millis(300);
        match (audience.internal, audience.external) {
            (false, false) => None,
            (true, false) => Some(Self { total: INTERNAL, runtime: INTERNAL }),
            (false, true) => Some(Self { total: EXTERNAL, runtime: RUNTIME }),
            (true, true) => Some(Self { total: EXTERNAL, runtime: INTERNAL }),
        }
    }
}

/// What is to happen to an environment that has failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// What the ledger says.
    pub(super) reason: ResetReason,
    /// What extensions are told.
    pub(super) shutdown: ShutdownReason,
    /// Whether its end was wanted.
    pub(super) manner: Manner,
}

impl Environment {
    /// Ends it as Lambda ends one that is not needed any more. Without an extension: SIGKILL, frozen as
    /// it is.
    pub async fn end(mut self) -> ProcessEnd {
        let end = self.shut_down(ShutdownReason::Spindown, Manner::Ordered).await;
        self.close(end)
    }

    /// Ends what has ended by itself, and records that.
    pub async fn bury(mut self) -> ProcessEnd {
        let end = self.shut_down(ShutdownReason::Failure, Manner::Failed).await;
        self.close(end)
    }

    /// The last event of an environment, if there ever was a process.
    fn close(&self, end: Option<ProcessEnd>) -> ProcessEnd {
        let end = end.inspect(|end| self.record_ended(end.clone()));
        end.unwrap_or(ProcessEnd { code: None, signal: None, ordered: true, output: Vec::new() })
    }

    /// Kills it in this moment, because the scenario ordered that. An invocation that is given and has
    /// been delivered is cut short by it, and nothing can be delivered in between.
    pub(super) async fn kill_by_order(mut self, invocation: Option<InvocationId>) -> ProcessEnd {
        let Some(processes) = self.processes.take() else { return self.end().await };
        let mut interrupted = None;
        processes.api.close(|delivered| {
            interrupted = invocation.filter(|_| delivered);
            let (environment, invocation) = (self.id.clone(), interrupted.clone());
            self.record(EventKind::FaultInjected(Fault::EnvironmentKilled { environment, invocation }));
            processes.kill(Manner::Ordered);
        });
        let end = processes.ended().await.map(|(end, _)| end);
        self.record_escaped(processes.escaped().await);
        if let Some(invocation) = interrupted {
            self.record_finished(invocation, InvocationOutcome::EnvironmentDied);
        }
        self.close(end)
    }

    /// Nothing is delivered and no answer accepted any more. Answers whether the invocation had been
    /// delivered.
    pub(super) fn stop(&self, failure: Failure) -> bool {
        let Some(processes) = &self.processes else { return false };
        if let (ResetReason::OutOfMemory, Some(runtime)) = (failure.reason, processes.runtime()) {
            // It gets no time to do anything about it.
            runtime.kill_for_failure();
        }
        processes.api.stop()
    }

    /// Ends its processes and keeps everything else: its next invocation starts them again.
    pub(super) async fn reset(&mut self, failure: Failure) {
        self.stop(failure);
        let Some(end) = self.shut_down(failure.shutdown, failure.manner).await else { return };
        self.record(EventKind::EnvironmentReset { environment: self.id.clone(), reason: failure.reason, end });
    }

    /// Tells those that are to be told, waits for them, and kills what is left. Answers how the runtime
    /// ended, now or when the environment was reset.
    async fn shut_down(&mut self, reason: ShutdownReason, manner: Manner) -> Option<ProcessEnd> {
        if let Some(processes) = &self.processes {
            processes.api.stop();
            let audience = processes.api.audience();
            if let Some(grace) = Grace::of(&audience).filter(|_| processes.has_ears(&audience)) {
                self.thaw();
                self.record(EventKind::EnvironmentStopping {
                    environment: self.id.clone(),
                    reason: reason.to_string(),
                });
                self.tell(reason, grace, &audience).await;
            }
        }
        let Some(processes) = self.processes.take() else { return self.last_end.clone() };
        processes.api.close(|_| processes.kill(manner));
        let (end, output) = processes.ended().await?;
        self.record_escaped(processes.escaped().await);
        self.forget_freeze();
        self.last_end = Some(ProcessEnd { ordered: true, output: Vec::new(), ..end.clone() });
        // What it was at is told by its last words, which an ordered end does not keep otherwise.
        let is_failure = reason != ShutdownReason::Spindown;
        Some(if is_failure { ProcessEnd { output, ..end } } else { end })
    }

    async fn tell(&self, reason: ShutdownReason, grace: Grace, audience: &Audience) {
        let Some(processes) = &self.processes else { return };
        // Be it that they were stopped and it could not be confirmed.
        processes.all().for_each(|process| process.resume());
        let (began, deadline) = (Instant::now(), SystemTime::now() + grace.total);
        if let Some(runtime) = processes.runtime() {
            runtime.terminate();
            if timeout_at(began + grace.runtime, runtime.ended()).await.is_err() {
                runtime.kill();
            }
        }
        processes.kill_the_deaf(audience);
        processes.api.shut_down(reason, unix_ms(deadline));
        // Whoever takes longer is killed.
        let _ = timeout_at(began + grace.total, processes.listeners_ended(audience)).await;
    }
}

impl Processes {
    /// Whether there is anybody left who could be told of the end.
    fn has_ears(&self, audience: &Audience) -> bool {
        let mut listeners = self.runtime().into_iter().chain(self.listeners(audience));
        listeners.any(|process| !process.has_exited())
    }

    /// The extensions that want to know of the end.
    fn listeners<'a>(&'a self, audience: &'a Audience) -> impl Iterator<Item = &'a Arc<Process>> {
        self.extensions().filter(|(name, _)| audience.shutdown.contains(name)).map(|(_, process)| process)
    }

    async fn listeners_ended(&self, audience: &Audience) {
        for process in self.listeners(audience) {
            process.ended().await;
        }
    }

    fn kill_the_deaf(&self, audience: &Audience) {
        let deaf = self.extensions().filter(|(name, _)| !audience.shutdown.contains(name));
        deaf.for_each(|(_, process)| process.kill());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_depends_on_who_has_registered() {
        let grace = |internal, external| {
            let grace = Grace::of(&Audience { internal, external, shutdown: Vec::new() });
            grace.map(|grace| (grace.total.as_millis(), grace.runtime.as_millis()))
        };
        assert_eq!(grace(false, false), None);
        assert_eq!(grace(true, false), Some((500, 500)));
        assert_eq!(grace(false, true), Some((2_000, 300)));
        assert_eq!(grace(true, true), Some((2_000, 500)));
    }
}
