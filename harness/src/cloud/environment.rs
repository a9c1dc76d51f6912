//! An execution environment: one process of a function from Init to its end.
//!
//! ```text
//! start ──▶ Init ──/next──▶ ready ──invoke──▶ busy ──/response, /next──▶ frozen ──thaw──▶ busy …
//! ```
//!
//! An environment is frozen in the very moment in which its runtime asks for the next invocation and
//! there is none. Without an extension, its end is SIGKILL, frozen as it is: SIGTERM would rescue
//! spans that production loses.
//!
//! Of its events, [`EventKind::EnvironmentEnded`] is the last: an invocation that an end cuts short
//! is recorded as finished before it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;
use verifier::event::{Delivery, InvocationOutcome, ProcessEnd};
use verifier::{EnvironmentId, EventKind, InvocationId, MessageId};

use super::function::{BoxError, Function, Wired, xray_header};
use super::runtime_api::{FunctionError, Next, RuntimeApi, RuntimeCall};
use crate::target::Process;
use crate::target::freezer::NotStopped;
use crate::target::process::SpawnError;
use crate::target::service::printed;

/// What happens to an environment when its Init phase is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterInit {
    /// There is an invocation waiting for it.
    Invoke,
    /// It was started ahead of its use, and is frozen.
    Freeze,
}

/// Why an environment never came into use.
#[derive(Debug, thiserror::Error)]
#[error("environment {environment} could not be initialised: {cause}{}", printed(output))]
pub struct InitFailure {
    /// The environment.
    pub environment: EnvironmentId,
    /// What went wrong.
    pub cause: InitCause,
    /// The last lines that its process printed.
    pub output: Vec<String>,
}

/// What went wrong in an Init phase.
#[derive(Debug, thiserror::Error)]
pub enum InitCause {
    /// Its Runtime API could not be served.
    #[error("no port for its Runtime API: {0}")]
    NoPort(#[source] io::Error),
    /// It could not be connected to what it needs.
    #[error("it could not be connected: {0}")]
    NotWired(#[source] BoxError),
    /// Its process could not be started.
    #[error(transparent)]
    NotStarted(#[from] SpawnError),
    /// Its process ended before it asked for an invocation.
    #[error("its process ended with {0}")]
    Ended(ProcessEnd),
    /// It did not ask for an invocation in time, and was killed.
    #[error("it did not ask for an invocation within {0:?}")]
    TimedOut(Duration),
    /// It said so itself.
    #[error("it reported {}: {}", .0.error_type, .0.error_message)]
    Reported(FunctionError),
    /// It was initialised and could not be frozen.
    #[error("it could not be frozen: {0}")]
    NotFrozen(#[source] NotStopped),
}

impl InitCause {
    /// Whether the harness or its machine is to blame, and not the function.
    pub fn is_of_the_harness(&self) -> bool {
        match self {
            Self::NoPort(_) | Self::NotWired(_) => true,
            Self::NotStarted(error) => !error.is_of_the_command(),
            Self::Ended(_) | Self::TimedOut(_) | Self::Reported(_) | Self::NotFrozen(_) => false,
        }
    }
}

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
pub struct Invoked {
    /// How it ended.
    pub outcome: InvocationOutcome,
    /// The environment, frozen, unless the invocation was its end.
    pub environment: Option<Environment>,
}

/// A running execution environment. Dropping it kills its process, without a record.
#[derive(Debug)]
pub struct Environment {
    id: EnvironmentId,
    function: Arc<Function>,
    process: Arc<Process>,
    api: RuntimeApi,
    calls: mpsc::Receiver<RuntimeCall>,
    frozen: bool,
    invocations: u32,
    /// How many invocations it is good for, if there is a limit.
    lifetime: Option<u32>,
    /// Last, because its connections are let go after the process.
    wired: Wired,
}

/// What the environment's owner waits for.
enum Step {
    Call(RuntimeCall),
    Ended(ProcessEnd),
}

/// How the waiting for an invocation's end ended.
enum Ending {
    Finished(InvocationOutcome),
    Died(ProcessEnd),
}

impl Environment {
    /// Starts an environment and sees it through its Init phase.
    ///
    /// # Errors
    /// If it cannot be started or initialised. It is then gone.
    pub async fn start(function: &Arc<Function>, then: AfterInit) -> Result<Self, InitFailure> {
        let number = function.next_number();
        let id = function.environment_id(number);
        let failure = |cause| InitFailure { environment: id.clone(), cause, output: Vec::new() };
        let mut environment = Self::spawn(function, number, id.clone(), then).await.map_err(failure)?;
        match environment.initialize(then).await {
            Ok(()) => Ok(environment),
            Err(cause) => Err(environment.fail(cause).await),
        }
    }

    async fn spawn(
        function: &Arc<Function>,
        number: u32,
        id: EnvironmentId,
        then: AfterInit,
    ) -> Result<Self, InitCause> {
        let (api, calls) = RuntimeApi::serve(then == AfterInit::Freeze).await.map_err(InitCause::NoPort)?;
        let wired = function.wiring.wire(&id).await.map_err(InitCause::NotWired)?;
        let spec = function.process(&id, number, api.address(), &wired);
        let process = Arc::new(function.spawner.spawn(spec, record_start(function, &id)).await?);
        api.freeze(&process);
        let lifetime = function.spec.recycling.lifetime(number).map(Into::into);
        let function = Arc::clone(function);
        Ok(Self { id, function, process, api, calls, frozen: false, invocations: 0, lifetime, wired })
    }

    /// Its identifier.
    pub fn id(&self) -> &EnvironmentId {
        &self.id
    }

    /// Whether its process is there.
    pub fn is_alive(&self) -> bool {
        !self.process.has_exited()
    }

    /// Whether it has done as many invocations as it was meant for.
    pub fn is_worn_out(&self) -> bool {
        self.lifetime.is_some_and(|lifetime| self.invocations >= lifetime)
    }

    async fn initialize(&mut self, then: AfterInit) -> Result<(), InitCause> {
        let limit = self.function.spec.init_timeout;
        let step = tokio::time::timeout(limit, self.step()).await.map_err(|_| InitCause::TimedOut(limit))?;
        match step {
            Step::Ended(end) => return Err(InitCause::Ended(end)),
            Step::Call(RuntimeCall::InitError(error)) => return Err(InitCause::Reported(error)),
            Step::Call(RuntimeCall::Next { at, .. }) => self.record_initialized(at),
            // The Runtime API accepts no answer before it has delivered something.
            Step::Call(RuntimeCall::Response(_) | RuntimeCall::Error(_)) => {}
        }
        match then {
            AfterInit::Invoke => Ok(()),
            AfterInit::Freeze => self.freeze().await.map_err(InitCause::NotFrozen),
        }
    }

    /// Invokes the function: thaws the environment, delivers the event, and waits until the runtime
    /// has answered it *and* asked for the next one, or cannot.
    ///
    /// What the runtime does between these two is part of the invocation and of its time-out.
    pub async fn invoke(mut self, invocation: &Invocation) -> Invoked {
        let limit = self.function.spec.timeout;
        self.thaw();
        let next = self.next(invocation.event.clone(), limit);
        let id = next.id.clone();
        let ending = match self.deliver(next, invocation) {
            Ok(()) => tokio::time::timeout(limit, self.finish(invocation)).await.ok(),
            Err(error) => Some(Ending::Finished(error)),
        };
        match ending {
            Some(Ending::Finished(outcome)) => self.survive(id, outcome).await,
            Some(Ending::Died(end)) => self.die(id, end),
            None => self.time_out(id).await,
        }
    }

    /// Ends it as Lambda ends an environment that has no extension: SIGKILL, frozen as it is.
    pub async fn end(self) -> ProcessEnd {
        self.process.kill();
        self.bury().await
    }

    /// Waits for its end and records it: the last event of an environment.
    pub async fn bury(self) -> ProcessEnd {
        let end = self.process.ended().await;
        self.record_ended(end.clone());
        end
    }

    /// What comes next: a call of the runtime, or the end of its process. Calls go first, because
    /// a runtime that calls and exits has made its call.
    async fn step(&mut self) -> Step {
        tokio::select! {
            biased;
            Some(call) = self.calls.recv() => Step::Call(call),
            end = self.process.ended() => Step::Ended(end),
        }
    }

    fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.record(EventKind::EnvironmentThawed { environment: self.id.clone() });
            self.process.resume();
        }
    }

    /// The Runtime API has stopped the process already, in the moment of its `/next`; except for
    /// one that polls faster than its start was reported.
    async fn freeze(&mut self) -> Result<(), NotStopped> {
        self.process.suspend();
        self.process.confirm_suspended().await?;
        self.frozen = true;
        let open = self.wired.network.drained().await;
        self.record(EventKind::EnvironmentFrozen { environment: self.id.clone(), open });
        Ok(())
    }

    fn next(&self, payload: Bytes, limit: Duration) -> Next {
        let now = SystemTime::now();
        Next {
            id: InvocationId::new(Uuid::new_v4().to_string()),
            attempt: Uuid::new_v4().to_string(),
            deadline_ms: (now + limit).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            function_arn: self.function.arn(),
            trace_id: xray_header(now),
            payload,
        }
    }

    /// Delivers an event. Each record of it is made before the runtime can act on it.
    fn deliver(&mut self, next: Next, invocation: &Invocation) -> Result<(), InvocationOutcome> {
        self.invocations += 1;
        let record = self.delivery_record(&next, invocation);
        self.api.invoke(next, record).map_err(|refusal| InvocationOutcome::Failed {
            error_type: refusal.error_type().to_owned(),
            error_message: refusal.to_string(),
        })
    }

    /// Waits until the invocation is over.
    async fn finish(&mut self, invocation: &Invocation) -> Ending {
        let mut outcome = None;
        loop {
            let call = match self.step().await {
                Step::Call(call) => call,
                Step::Ended(end) => return Ending::Died(end),
            };
            if let ControlFlow::Break(outcome) = handle(call, &mut outcome, invocation) {
                return Ending::Finished(outcome);
            }
        }
    }

    async fn survive(mut self, id: InvocationId, outcome: InvocationOutcome) -> Invoked {
        self.record_finished(id, outcome.clone());
        if let Err(error) = self.freeze().await {
            tracing::warn!(environment = %self.id, %error, "could not be frozen and is ended");
            let ordered = !matches!(error, NotStopped::Ended);
            self.put_down(ordered).await;
            return Invoked { outcome, environment: None };
        }
        Invoked { outcome, environment: Some(self) }
    }

    fn die(self, id: InvocationId, end: ProcessEnd) -> Invoked {
        let outcome = InvocationOutcome::EnvironmentDied;
        self.record_finished(id, outcome.clone());
        self.record_ended(end);
        Invoked { outcome, environment: None }
    }

    /// Lambda resets an environment whose invocation has timed out: without an extension, by SIGKILL.
    async fn time_out(self, id: InvocationId) -> Invoked {
        let outcome = InvocationOutcome::TimedOut;
        self.record_finished(id, outcome.clone());
        // The harness ordered this end. That the function is to blame is told by the outcome, and
        // what it was at by its last words, which an ordered end does not keep otherwise.
        self.process.kill();
        let end = self.process.ended().await;
        self.record_ended(ProcessEnd { output: self.process.output(), ..end });
        Invoked { outcome, environment: None }
    }

    async fn put_down(self, ordered: bool) {
        match ordered {
            true => self.end().await,
            false => self.bury().await,
        };
    }

    /// Ends what could not be initialised. Nobody ordered that, even if it takes a SIGKILL.
    async fn fail(self, cause: InitCause) -> InitFailure {
        self.process.kill_for_failure();
        let environment = self.id.clone();
        let end = self.bury().await;
        InitFailure { environment, cause, output: end.output }
    }

    fn record(&self, event: EventKind) {
        self.function.recorder.record(event);
    }

    fn record_initialized(&self, at: Instant) {
        let init = at.saturating_duration_since(self.process.started());
        let event = EventKind::EnvironmentInitialized { environment: self.id.clone(), init };
        self.function.recorder.record_at(self.function.recorder.at(at), event);
    }

    /// Records a delivery each time that it is called: another answered `/next` is another delivery.
    fn delivery_record(&self, next: &Next, invocation: &Invocation) -> impl Fn() + Send + use<> {
        let recorder = self.function.recorder.clone();
        let event = EventKind::InvocationStarted {
            invocation: next.id.clone(),
            environment: self.id.clone(),
            cold: self.invocations == 1,
            deliveries: invocation.deliveries.clone(),
        };
        move || recorder.record(event.clone())
    }

    fn record_finished(&self, invocation: InvocationId, outcome: InvocationOutcome) {
        self.record(EventKind::InvocationFinished { invocation, outcome });
    }

    fn record_ended(&self, end: ProcessEnd) {
        self.record(EventKind::EnvironmentEnded { environment: self.id.clone(), end });
    }
}

/// Handles one call during an invocation; breaks with the outcome when it is over.
fn handle(
    call: RuntimeCall,
    outcome: &mut Option<InvocationOutcome>,
    invocation: &Invocation,
) -> ControlFlow<InvocationOutcome> {
    match call {
        RuntimeCall::Response(body) => {
            *outcome = Some(InvocationOutcome::Succeeded { failed: (invocation.failures)(&body) });
        }
        RuntimeCall::Error(FunctionError { error_type, error_message }) => {
            *outcome = Some(InvocationOutcome::Failed { error_type, error_message });
        }
        RuntimeCall::Next { .. } => return outcome.take().map_or(ControlFlow::Continue(()), ControlFlow::Break),
        // The Runtime API refuses it once Init is over.
        RuntimeCall::InitError(_) => {}
    }
    ControlFlow::Continue(())
}

fn record_start(function: &Function, id: &EnvironmentId) -> impl FnOnce(u32) + Send + use<> {
    let (recorder, environment, function) = (function.recorder.clone(), id.clone(), function.spec.name.clone());
    move |pid| recorder.record(EventKind::EnvironmentStarted { environment, function, pid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: io::ErrorKind) -> InitCause {
        let (program, directory) = ("worker".to_owned(), "/srv".into());
        InitCause::NotStarted(SpawnError::Refused { program, directory, source: kind.into() })
    }

    #[test]
    fn function_is_to_blame_for_what_it_does_and_for_a_program_that_is_not_there() {
        let end = ProcessEnd { code: Some(1), signal: None, ordered: false, output: Vec::new() };
        let error = FunctionError { error_type: String::new(), error_message: String::new() };
        for cause in [
            refused(io::ErrorKind::NotFound),
            InitCause::NotStarted(SpawnError::NoCommand),
            InitCause::Ended(end),
            InitCause::TimedOut(Duration::ZERO),
            InitCause::Reported(error),
            InitCause::NotFrozen(NotStopped::Ended),
        ] {
            assert!(!cause.is_of_the_harness(), "{cause:?}");
        }
    }

    #[test]
    fn harness_is_to_blame_for_what_it_cannot_provide() {
        for cause in [
            InitCause::NoPort(io::ErrorKind::AddrInUse.into()),
            InitCause::NotWired("no listener".into()),
            refused(io::ErrorKind::OutOfMemory),
            refused(io::ErrorKind::Other),
            InitCause::NotStarted(SpawnError::Over),
        ] {
            assert!(cause.is_of_the_harness(), "{cause:?}");
        }
    }
}
