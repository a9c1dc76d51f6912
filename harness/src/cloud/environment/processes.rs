//! The processes of an environment and its APIs, from one start to their end.

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::select_all;
use tokio::sync::mpsc;
use tokio::time::{Instant as Deadline, sleep_until};
use verifier::event::ProcessEnd;

use crate::cloud::runtime_api::{Call, FunctionError, RuntimeApi};
use crate::target::Process;
use crate::target::freezer::{Escaped, NotStopped};
use crate::target::memory;

/// What an environment consists of while it runs. Dropping it kills all processes.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) api: RuntimeApi,
    calls: mpsc::Receiver<Call>,
    /// There is none until all external extensions have registered.
    runtime: Option<Arc<Process>>,
    extensions: Vec<ExtensionProcess>,
    /// Whether they were given an invocation.
    pub(super) invoked: bool,
}

/// An external extension.
#[derive(Debug)]
struct ExtensionProcess {
    name: String,
    process: Arc<Process>,
}

/// What may not pass while something is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// When the time is over.
    pub(super) deadline: Deadline,
    /// When they are to be killed by order, if they are.
    pub(super) kill: Option<Deadline>,
    /// How much memory they may use together, in bytes.
    pub(super) memory: u64,
}

/// Why waiting came to an end before what was waited for.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its time was over.
    TimedOut,
    /// The runtime's process ended.
    RuntimeEnded(ProcessEnd),
    /// The runtime reported that it cannot be initialised.
    RuntimeReported(FunctionError),
    /// An extension ended or reported an error.
    ExtensionFailed {
        /// Its name.
        extension: String,
        /// How it ended, or what it said.
        why: String,
    },
    /// All of them together used so many bytes, more than the function has.
    OutOfMemory(u64),
    /// They are to be killed now.
    Ordered,
}

/// Whether an end was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// The platform ends what has done nothing wrong, or whose time is over.
    Ordered,
    /// It takes a SIGKILL to end what has failed, and nobody ordered that.
    Failed,
}

impl Processes {
    pub(super) fn new(api: RuntimeApi, calls: mpsc::Receiver<Call>) -> Self {
        Self { api, calls, runtime: None, extensions: Vec::new(), invoked: false }
    }

    pub(super) fn add_extension(&mut self, name: &str, process: Process) {
        let process = Arc::new(process);
        self.api.freeze(&process);
        self.extensions.push(ExtensionProcess { name: name.to_owned(), process });
    }

    pub(super) fn set_runtime(&mut self, process: Process) {
        let process = Arc::new(process);
        self.api.freeze(&process);
        self.runtime = Some(process);
    }

    /// All processes, in the order in which they were started.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.extensions.iter().map(|extension| &extension.process).chain(&self.runtime)
    }

    /// When the first of them was started.
    pub(super) fn started(&self) -> Option<Instant> {
        self.all().next().map(|process| process.started())
    }

    pub(super) fn are_alive(&self) -> bool {
        self.all().all(|process| !process.has_exited())
    }

    pub(super) fn runtime(&self) -> Option<&Arc<Process>> {
        self.runtime.as_ref()
    }

    pub(super) fn extensions(&self) -> impl Iterator<Item = (&String, &Arc<Process>)> {
        self.extensions.iter().map(|extension| (&extension.name, &extension.process))
    }

    /// Stops all of them and makes sure that they have stopped. What has left their groups cannot be
    /// stopped with them: it is killed, and told.
    pub(super) async fn suspend(&self) -> Result<Vec<Escaped>, NotStopped> {
        self.all().for_each(|process| process.suspend());
        let mut killed = Vec::new();
        for process in self.all() {
            match process.confirm_suspended().await {
                Err(NotStopped::Escaped(_)) => {
                    killed.extend(process.kill_escaped().await);
                    process.confirm_suspended().await?;
                }
                stopped => stopped?,
            }
        }
        Ok(killed)
    }

    /// Kills all of them, frozen or not.
    pub(super) fn kill(&self, manner: Manner) {
        for process in self.all() {
            match manner {
                Manner::Ordered => process.kill(),
                Manner::Failed => process.kill_for_failure(),
            }
        }
    }

    /// What had left the groups of those that have ended; it was killed.
    pub(super) async fn escaped(&self) -> Vec<Escaped> {
        let mut escaped = Vec::new();
        for process in self.all() {
            escaped.extend(process.kill_escaped().await);
        }
        escaped
    }

    /// Waits for the end of all of them. Answers how the runtime ended, or what was to become one, with
    /// what it printed.
    pub(super) async fn ended(&self) -> Option<(ProcessEnd, Vec<String>)> {
        let mut last = None;
        for process in self.all() {
            last = Some((process.ended().await, process.output()));
        }
        last
    }

    /// Hands calls to `handle` until it breaks, unless something stops the waiting first. Calls go
    /// first, because who makes a call and exits has made it.
    pub(super) async fn until<T>(
        &mut self,
        limits: Limits,
        mut handle: impl FnMut(Call) -> ControlFlow<T>,
    ) -> Result<T, Stop> {
        let stopped = stopped(self.runtime.as_deref(), &self.extensions, limits);
        tokio::pin!(stopped);
        loop {
            let call = tokio::select! {
                biased;
                Some(call) = self.calls.recv() => call,
                stop = &mut stopped => return Err(stop),
            };
            match call {
                Call::InitError(error) => return Err(Stop::RuntimeReported(error)),
                Call::ExtensionFailed { extension, error_type } => {
                    return Err(Stop::ExtensionFailed { extension, why: format!("reported {error_type}") });
                }
                call => {
                    if let ControlFlow::Break(done) = handle(call) {
                        return Ok(done);
                    }
                }
            }
        }
    }
}

async fn stopped(runtime: Option<&Process>, extensions: &[ExtensionProcess], limits: Limits) -> Stop {
    tokio::select! {
        biased;
        end = runtime_ended(runtime) => Stop::RuntimeEnded(end),
        (extension, end) = extension_ended(extensions) => {
            Stop::ExtensionFailed { extension, why: format!("ended with {end}") }
        }
        used = memory_exceeded(runtime, extensions, limits.memory) => Stop::OutOfMemory(used),
        () = due(limits.kill) => ordered(runtime).await,
        () = sleep_until(limits.deadline) => Stop::TimedOut,
    }
}

async fn runtime_ended(runtime: Option<&Process>) -> ProcessEnd {
    match runtime {
        Some(runtime) => runtime.ended().await,
        None => pending().await,
    }
}

async fn extension_ended(extensions: &[ExtensionProcess]) -> (String, ProcessEnd) {
    if extensions.is_empty() {
        return pending().await;
    }
    let (end, index, _) = select_all(extensions.iter().map(|extension| Box::pin(extension.process.ended()))).await;
    (extensions[index].name.clone(), end)
}

/// The memory of a function is for its extensions as well.
async fn memory_exceeded(runtime: Option<&Process>, extensions: &[ExtensionProcess], bytes: u64) -> u64 {
    let extensions = extensions.iter().map(|extension| &*extension.process);
    memory::exceeded(extensions.chain(runtime), bytes).await
}

async fn due(at: Option<Deadline>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Nobody can be killed who has just ended.
async fn ordered(runtime: Option<&Process>) -> Stop {
    match runtime {
        Some(runtime) if runtime.has_exited() => Stop::RuntimeEnded(runtime.ended().await),
        _ => Stop::Ordered,
    }
}
