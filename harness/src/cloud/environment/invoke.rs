//! An invocation, and how it fails.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant as Deadline;
use uuid::Uuid;
use verifier::event::{Delivery, InvocationOutcome, ResetReason};
use verifier::{EventKind, InvocationId, MessageId};

use super::init::{AfterInit, InitCause};
use super::life::Environment;
use super::processes::{Limits, Manner, Stop};
use super::shutdown::Failure;
use crate::cloud::function::xray_header;
use crate::cloud::runtime_api::{Call, FunctionError, Next, ShutdownReason};
use crate::cloud::runtime_state::Refusal;
use crate::target::freezer::NotStopped;

/// Reads from a response which messages it reports as failed.
pub type ReadFailures = Box<dyn Fn(&[u8]) -> Vec<MessageId> + Send + Sync>;

/// Something to be done by a function.
pub struct Invocation {
    /// The records of its event, in the event's order.
    pub deliveries: Vec<Delivery>,
    /// The event, as JSON.
    pub event: Bytes,
    /// Reads from a response which messages it reports as failed.
    pub failures: ReadFailures,
}

/// What became of an invocation.
#[derive(Debug)]
pub struct Invoked<E = Environment> {
    /// How it ended.
    pub outcome: InvocationOutcome,
    /// Whether it began with an Init phase that failed: nothing was delivered then.
    pub init_failed: bool,
    /// The environment, frozen or reset, unless the invocation was its end.
    pub environment: Option<E>,
}

impl Environment {
    /// Invokes the function: thaws the environment, delivers the event, and waits until the runtime
    /// has answered it *and* asked for the next one, and all extensions that know of it for their next
    /// event, or one of them cannot.
    ///
    /// What they do in between is part of the invocation and of its time-out, and so is the Init phase
    /// of an environment that was reset.
    pub async fn invoke(mut self, invocation: &Invocation) -> Invoked {
        let (now, began, limit) = (SystemTime::now(), Deadline::now(), self.function.spec.timeout);
        self.invocations += 1;
        if self.processes.is_none()
            && let Err(cause) = self.initialize(limit, AfterInit::Invoke).await
        {
            return self.fail_cold(cause).await;
        }
        self.thaw();
        let next = self.next(invocation.event.clone(), now, limit);
        let id = next.id.clone();
        if let Err(refusal) = self.deliver(next, invocation) {
            return self.survive(id, refused(&refusal)).await;
        }
        match self.finish(invocation, began + limit).await {
            Ok(outcome) => self.survive(id, outcome).await,
            Err(stop) => self.fail(id, stop).await,
        }
    }

    fn next(&self, payload: Bytes, now: SystemTime, limit: Duration) -> Next {
        Next {
            id: InvocationId::new(Uuid::new_v4().to_string()),
            attempt: Uuid::new_v4().to_string(),
            deadline_ms: unix_ms(now + limit),
            function_arn: self.function.arn(),
            trace_id: xray_header(now),
            payload,
        }
    }

    /// Delivers an event. Each record of it is made before the runtime can act on it.
    fn deliver(&mut self, next: Next, invocation: &Invocation) -> Result<(), Refusal> {
        let cold = self.processes.as_mut().is_some_and(|processes| !std::mem::replace(&mut processes.invoked, true));
        let record = self.delivery_record(&next, cold, invocation);
        match &self.processes {
            Some(processes) => processes.api.invoke(next, record),
            None => Ok(()),
        }
    }

    /// Records a delivery each time that it is called: another answered `/next` is another delivery.
    fn delivery_record(&self, next: &Next, cold: bool, invocation: &Invocation) -> impl Fn() + Send + use<> {
        let recorder = self.function.recorder.clone();
        let event = EventKind::InvocationStarted {
            invocation: next.id.clone(),
            environment: self.id.clone(),
            cold,
            deliveries: invocation.deliveries.clone(),
        };
        move || recorder.record(event.clone())
    }

    /// Waits until the invocation is over.
    async fn finish(&mut self, invocation: &Invocation, deadline: Deadline) -> Result<InvocationOutcome, Stop> {
        let kill = self.kill.and_then(|kill| kill.in_invocation(self.invocations));
        let limits = Limits { kill: kill.map(|after| Deadline::now() + after), ..self.limits(deadline) };
        let mut outcome = None;
        match &mut self.processes {
            Some(processes) => processes.until(limits, |call| handle(call, &mut outcome, invocation)).await,
            None => Err(Stop::TimedOut),
        }
    }

    async fn survive(mut self, id: InvocationId, outcome: InvocationOutcome) -> Invoked {
        self.record_finished(id, outcome.clone());
        let environment = match self.freeze().await {
            Ok(()) if self.kill.is_some_and(|kill| kill.is_due_after(self.invocations)) => {
                self.kill_by_order(None).await;
                None
            }
            Ok(()) => {
                self.cut_connections();
                Some(self)
            }
            Err(NotStopped::Ended) => {
                self.reset(EXITED).await;
                Some(self)
            }
            Err(error) => {
                tracing::warn!(environment = %self.id, %error, "could not be frozen and is ended");
                self.end().await;
                None
            }
        };
        Invoked { outcome, init_failed: false, environment }
    }

    /// The invocation has failed together with its environment, which is reset.
    async fn fail(mut self, id: InvocationId, stop: Stop) -> Invoked {
        let Some(failure) = failure(&stop) else {
            self.kill_by_order(Some(id)).await;
            return Invoked { outcome: InvocationOutcome::EnvironmentDied, init_failed: false, environment: None };
        };
        tracing::debug!(environment = %self.id, ?stop, "an invocation failed with its environment");
        let outcome = outcome(failure.reason);
        if self.stop(failure) {
            self.record_finished(id, outcome.clone());
        }
        self.reset(failure).await;
        Invoked { outcome, init_failed: false, environment: Some(self) }
    }

    /// Init has failed inside the invocation: nothing was delivered.
    async fn fail_cold(mut self, cause: InitCause) -> Invoked {
        tracing::warn!(environment = %self.id, %cause, "Init failed in an invocation");
        if let Some(failure) = cause.failure() {
            let outcome = outcome(failure.reason);
            self.reset(failure).await;
            return Invoked { outcome, init_failed: true, environment: Some(self) };
        }
        if cause.is_of_the_harness() {
            let what = format!("environment {} that could not be started again: {cause}", self.id);
            self.record(EventKind::EvidenceLost { what, count: 1 });
        }
        self.give_up(cause).await;
        Invoked { outcome: InvocationOutcome::EnvironmentDied, init_failed: true, environment: None }
    }
}

/// A process ended by itself.
const EXITED: Failure =
    Failure { reason: ResetReason::Exited, shutdown: ShutdownReason::Failure, manner: Manner::Failed };

/// What has failed when an invocation stops, unless that was ordered.
fn failure(stop: &Stop) -> Option<Failure> {
    let (reason, shutdown, manner) = match stop {
        // The harness ordered this end. That the function is to blame is told by the outcome.
        Stop::TimedOut => (ResetReason::TimedOut, ShutdownReason::Timeout, Manner::Ordered),
        Stop::RuntimeEnded(_) | Stop::RuntimeReported(_) => return Some(EXITED),
        Stop::ExtensionFailed { .. } => (ResetReason::ExtensionFailed, ShutdownReason::Failure, Manner::Failed),
        Stop::OutOfMemory(_) => (ResetReason::OutOfMemory, ShutdownReason::Failure, Manner::Failed),
        Stop::Ordered => return None,
    };
    Some(Failure { reason, shutdown, manner })
}

fn outcome(reason: ResetReason) -> InvocationOutcome {
    match reason {
        ResetReason::TimedOut | ResetReason::InitTimedOut => InvocationOutcome::TimedOut,
        _ => InvocationOutcome::EnvironmentDied,
    }
}

fn refused(refusal: &Refusal) -> InvocationOutcome {
    let (error_type, error_message) = (refusal.error_type().to_owned(), refusal.to_string());
    InvocationOutcome::Failed { error_type, error_message }
}

/// Handles one call during an invocation; breaks with the outcome when it is over.
fn handle(
    call: Call,
    outcome: &mut Option<InvocationOutcome>,
    invocation: &Invocation,
) -> ControlFlow<InvocationOutcome> {
    match call {
        Call::Response(body) => {
            *outcome = Some(InvocationOutcome::Succeeded { failed: (invocation.failures)(&body) });
        }
        Call::Error(FunctionError { error_type, error_message }) => {
            *outcome = Some(InvocationOutcome::Failed { error_type, error_message });
        }
        Call::Rested { .. } => return outcome.take().map_or(ControlFlow::Continue(()), ControlFlow::Break),
        // The APIs refuse these once Init is over.
        Call::InitError(_) | Call::ExtensionFailed { .. } | Call::ExtensionsRegistered => {}
    }
    ControlFlow::Continue(())
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
