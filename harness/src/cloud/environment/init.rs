//! The Init phase, and how it fails.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::Instant as Deadline;
use verifier::EnvironmentId;
use verifier::event::{ProcessEnd, ResetReason};

use super::life::Environment;
use super::processes::{Limits, Manner, Processes, Stop};
use super::shutdown::Failure;
use crate::cloud::function::{BoxError, ExtensionSpec};
use crate::cloud::platform::Kill;
use crate::cloud::runtime_api::{Call, FunctionError, RuntimeApi, ShutdownReason};
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

impl InitFailure {
    pub(super) fn new(environment: EnvironmentId, cause: InitCause) -> Self {
        Self { environment, cause, output: Vec::new() }
    }
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
    /// One of its processes could not be started.
    #[error(transparent)]
    NotStarted(#[from] SpawnError),
    /// Its process ended before it asked for an invocation.
    #[error("its process ended with {0}")]
    Ended(ProcessEnd),
    /// It did not ask for an invocation in time, or one of its extensions for its first event, and was
    /// killed.
    #[error("it did not ask for an invocation within {0:?}, or one of its extensions not for its first event")]
    TimedOut(Duration),
    /// One of its extensions did not register itself in time, and all were killed.
    #[error("its extensions had not all registered within {0:?}")]
    NotRegistered(Duration),
    /// It said so itself.
    #[error("it reported {}: {}", .0.error_type, .0.error_message)]
    Reported(FunctionError),
    /// One of its extensions could not be initialised.
    #[error("its extension {extension} {why}")]
    ExtensionFailed {
        /// The extension's name.
        extension: String,
        /// How it ended, or what it said.
        why: String,
    },
    /// It used so many bytes, more than the function has, and was killed.
    #[error("it used {0} bytes of memory, more than the function has")]
    OutOfMemory(u64),
    /// It was initialised and could not be frozen.
    #[error("it could not be frozen: {0}")]
    NotFrozen(#[source] NotStopped),
    /// The scenario ordered its death in this moment.
    #[error("it was killed, as the scenario ordered")]
    Killed,
}

impl InitCause {
    /// Whether the harness or its machine is to blame, and not the function.
    pub fn is_of_the_harness(&self) -> bool {
        match self {
            Self::NoPort(_) | Self::NotWired(_) => true,
            Self::NotStarted(error) => !error.is_of_the_command(),
            _ => false,
        }
    }

    /// Whether the scenario wanted it so, and nothing is wrong.
    pub fn is_ordered(&self) -> bool {
        matches!(self, Self::Killed)
    }

    fn new(stop: Stop, limit: Duration) -> Self {
        match stop {
            Stop::TimedOut => Self::TimedOut(limit),
            Stop::RuntimeEnded(end) => Self::Ended(end),
            Stop::RuntimeReported(error) => Self::Reported(error),
            Stop::ExtensionFailed { extension, why } => Self::ExtensionFailed { extension, why },
            Stop::OutOfMemory(used) => Self::OutOfMemory(used),
            Stop::Ordered => Self::Killed,
        }
    }

    /// The same, before there was a runtime.
    fn before_the_runtime(stop: Stop, limit: Duration) -> Self {
        match Self::new(stop, limit) {
            Self::TimedOut(limit) => Self::NotRegistered(limit),
            cause => cause,
        }
    }

    /// What has failed, if Init can be tried once more.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (reason, shutdown) = match self {
            Self::TimedOut(_) | Self::NotRegistered(_) => (ResetReason::InitTimedOut, ShutdownReason::Timeout),
            Self::Ended(_) | Self::Reported(_) => (ResetReason::InitFailed, ShutdownReason::Failure),
            Self::ExtensionFailed { .. } => (ResetReason::ExtensionFailed, ShutdownReason::Failure),
            Self::OutOfMemory(_) => (ResetReason::OutOfMemory, ShutdownReason::Failure),
            Self::NoPort(_) | Self::NotWired(_) | Self::NotStarted(_) | Self::NotFrozen(_) | Self::Killed => {
                return None;
            }
        };
        Some(Failure { reason, shutdown, manner: Manner::Failed })
    }
}

impl Environment {
    /// Starts the processes and waits until all of them wait.
    pub(super) async fn initialize(&mut self, limit: Duration, then: AfterInit) -> Result<(), InitCause> {
        self.starts += 1;
        let (api, calls) = RuntimeApi::serve(self.api_spec(then)).await.map_err(InitCause::NoPort)?;
        let mut processes = Processes::new(api, calls);
        let rested = self.init(&mut processes, limit, then).await;
        // Whatever was started has to be ended.
        let processes = self.processes.insert(processes);
        let (at, started) = (rested?, processes.started());
        self.record_initialized(started, at);
        match then {
            AfterInit::Invoke => Ok(()),
            AfterInit::Freeze => self.freeze().await.map_err(InitCause::NotFrozen),
        }
    }

    /// The extensions are started first, and register themselves before there is a runtime.
    async fn init(&self, processes: &mut Processes, limit: Duration, then: AfterInit) -> Result<Instant, InitCause> {
        let limits = self.limits(Deadline::now() + limit);
        for extension in &self.function.spec.extensions {
            self.start_process(processes, Some(extension)).await?;
        }
        if !self.function.spec.extensions.is_empty() {
            let stopped = |stop| InitCause::before_the_runtime(stop, limit);
            processes.until(limits, registered).await.map_err(stopped)?;
        }
        self.start_process(processes, None).await?;
        let limits = Limits { kill: self.kill_in_init(then), ..limits };
        processes.until(limits, rested).await.map_err(|stop| InitCause::new(stop, limit))
    }

    /// Starts an extension or, without one, the runtime.
    async fn start_process(
        &self,
        processes: &mut Processes,
        extension: Option<&ExtensionSpec>,
    ) -> Result<(), SpawnError> {
        let place = self.place(&processes.api);
        let spec = match extension {
            Some(extension) => self.function.extension(extension, &place),
            None => self.function.runtime(&place),
        };
        let record = self.start_record(processes.started().is_none());
        let process = self.function.spawner.spawn(spec, record).await?;
        match extension {
            Some(extension) => processes.add_extension(&extension.name, process),
            None => processes.set_runtime(process),
        }
        Ok(())
    }

    /// One that is started ahead of its use is not killed there: that would be a failure to set up.
    fn kill_in_init(&self, then: AfterInit) -> Option<Deadline> {
        match self.kill {
            Some(Kill::InInit(after)) if then == AfterInit::Invoke && self.starts == 1 => Some(Deadline::now() + after),
            _ => None,
        }
    }

    pub(super) fn limits(&self, deadline: Deadline) -> Limits {
        let memory = u64::from(self.function.spec.memory_mb) * 1024 * 1024;
        Limits { deadline, kill: None, memory }
    }

    /// Init has failed: it is tried once more inside the first invocation, unless somebody relies on it.
    pub(super) async fn fail_init(mut self, cause: InitCause, then: AfterInit) -> Result<Self, InitFailure> {
        match cause.failure() {
            Some(failure) if then == AfterInit::Invoke => {
                tracing::warn!(environment = %self.id, %cause, "Init failed; the first invocation begins with it");
                self.reset(failure).await;
                Ok(self)
            }
            _ => Err(self.give_up(cause).await),
        }
    }

    /// Ends what could not be initialised. Nobody ordered that, even if it takes a SIGKILL.
    pub(super) async fn give_up(self, cause: InitCause) -> InitFailure {
        let environment = self.id.clone();
        let culprit = self.processes.as_ref().and_then(|processes| culprit(processes, &cause)).cloned();
        let end = match cause {
            InitCause::Killed => self.kill_by_order(None).await,
            _ => self.bury().await,
        };
        InitFailure { environment, cause, output: culprit.map_or(end.output, |process| process.output()) }
    }
}

/// The extension that is to blame, if one is: what it printed tells more than what the runtime did.
fn culprit<'a>(processes: &'a Processes, cause: &InitCause) -> Option<&'a Arc<Process>> {
    let InitCause::ExtensionFailed { extension, .. } = cause else { return None };
    processes.extensions().find(|(name, _)| *name == extension).map(|(_, process)| process)
}

fn registered(call: Call) -> ControlFlow<()> {
    match call {
        Call::ExtensionsRegistered => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

fn rested(call: Call) -> ControlFlow<Instant> {
    match call {
        Call::Rested { at } => ControlFlow::Break(at),
        // The Runtime API accepts no answer before it has delivered something.
        _ => ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: io::ErrorKind) -> InitCause {
        let (program, directory) = ("worker".to_owned(), "/srv".into());
        InitCause::NotStarted(SpawnError::Refused { program, directory, source: kind.into() })
    }

    fn ended() -> InitCause {
        InitCause::Ended(ProcessEnd { code: Some(1), signal: None, ordered: false, output: Vec::new() })
    }

    fn reported() -> InitCause {
        InitCause::Reported(FunctionError { error_type: String::new(), error_message: String::new() })
    }

    #[test]
    fn function_is_to_blame_for_what_it_does_and_for_a_program_that_is_not_there() {
        for cause in [
            refused(io::ErrorKind::NotFound),
            InitCause::NotStarted(SpawnError::NoCommand),
            ended(),
            InitCause::TimedOut(Duration::ZERO),
            InitCause::NotRegistered(Duration::ZERO),
            reported(),
            InitCause::ExtensionFailed { extension: String::new(), why: String::new() },
            InitCause::OutOfMemory(1),
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

    #[test]
    fn init_is_tried_once_more_only_where_the_function_has_failed() {
        let reason = |cause: InitCause| cause.failure().map(|failure| failure.reason);
        assert_eq!(reason(InitCause::TimedOut(Duration::ZERO)), Some(ResetReason::InitTimedOut));
        assert_eq!(reason(InitCause::NotRegistered(Duration::ZERO)), Some(ResetReason::InitTimedOut));
        assert_eq!(reason(ended()), Some(ResetReason::InitFailed));
        assert_eq!(reason(reported()), Some(ResetReason::InitFailed));
        assert_eq!(reason(InitCause::OutOfMemory(1)), Some(ResetReason::OutOfMemory));
        assert_eq!(reason(refused(io::ErrorKind::NotFound)), None);
        assert_eq!(reason(InitCause::Killed), None);
    }
}
