//! A queue mapped to a function: it is started, watched and stopped here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Gauge};
use super::crew::Crew;
use super::pool::{Pool, Purpose};
use super::runner::{Runner, RunningEnvironment};
use super::source::MessageSource;
use super::spec::EventSourceSpec;
use crate::cloud::environment::InitFailure;
use crate::cloud::failures::Failures;
use crate::cloud::function::Function;

/// How many environments are started ahead of their use at the same time.
const STARTED_AT_ONCE: usize = 8;
/// How many environments are ended at the same time.
const ENDED_AT_ONCE: usize = 32;

/// Why a mapping did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Invocations went on for too long, and their environments were killed without a record.
    #[error("not finished within {patience:?}: {activity}")]
    Overdue {
        /// How long they had.
        patience: Duration,
        /// What was still going on.
        activity: Activity,
    },
    /// A poller failed, which is an error of the harness.
    #[error("a poller failed: {0}")]
    PollerFailed(#[from] JoinError),
}

/// A queue mapped to a function.
pub struct EventSource<S, R: Runner = Arc<Function>> {
    mapping: Arc<Mapping<S, R>>,
    tasks: JoinSet<Result<(), JoinError>>,
}

/// What all pollers share.
pub(super) struct Mapping<S, R: Runner> {
    pub(super) runner: R,
    pub(super) source: Arc<S>,
    pub(super) spec: EventSourceSpec,
    pub(super) pool: Pool<R::Environment>,
    pub(super) gauge: Arc<Gauge>,
    /// One for each poller that is to go.
    pub(super) dismissals: Semaphore,
    /// Failures to start an environment since the last success.
    pub(super) failed_starts: AtomicU32,
    pub(super) failures: Failures,
    pub(super) stopping: CancellationToken,
}

impl<S, R: Runner> fmt::Debug for EventSource<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mapping { runner, spec, gauge, .. } = &*self.mapping;
        let activity = gauge.now();
        f.debug_struct("EventSource").field("runner", runner).field("spec", spec).field("activity", &activity).finish()
    }
}

impl<S: MessageSource> EventSource<S> {
    /// A mapping that does not poll yet.
    pub fn new(function: Function, source: Arc<S>, spec: EventSourceSpec) -> Self {
        Self::with_runner(Arc::new(function), source, spec)
    }
}

impl<S: MessageSource, R: Runner> EventSource<S, R> {
    /// A mapping to what need not be a function. It does not poll yet.
    pub(super) fn with_runner(runner: R, source: Arc<S>, spec: EventSourceSpec) -> Self {
        let gauge = Arc::<Gauge>::default();
        let mapping = Mapping {
            pool: Pool::new(&spec.behaviour, Arc::clone(&gauge)),
            gauge,
            failures: Failures::new(runner.recorder().clone()),
            runner,
            source,
            spec,
            dismissals: Semaphore::new(0),
            failed_starts: AtomicU32::new(0),
            stopping: CancellationToken::new(),
        };
        Self { mapping: Arc::new(mapping), tasks: JoinSet::new() }
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.mapping.runner.spec().name
    }

    /// Initialises environments ahead of their use, and freezes them: those of provisioned concurrency, or
    /// else one, which is like any other from then on.
    ///
    /// Provisioned environments are used before all others, no idle time ends them, and one that is gone is
    /// replaced.
    ///
    /// # Errors
    /// If the function cannot be started: what it printed is part of the error.
    pub async fn prewarm(&self) -> Result<(), InitFailure> {
        match self.mapping.runner.spec().platform.provisioned {
            0 => self.mapping.start_ahead(Purpose::OnDemand).await,
            count => self.provision(count).await,
        }
    }

    async fn provision(&self, count: u32) -> Result<(), InitFailure> {
        let starts = stream::iter(0..count).map(|_| self.mapping.start_ahead(Purpose::Provisioned));
        starts.buffer_unordered(STARTED_AT_ONCE).try_collect().await
    }

    /// Starts to poll. To be called once.
    pub fn start(&mut self) {
        self.tasks.spawn(Crew::work(Arc::clone(&self.mapping)));
        if let Some(idle_timeout) = self.mapping.spec.behaviour.idle_timeout {
            self.tasks.spawn(Arc::clone(&self.mapping).end_expired(idle_timeout));
        }
    }

    /// What it is busy with now.
    pub fn activity(&self) -> Activity {
        self.mapping.gauge.now()
    }

    /// Waits until no message is in the mapping's hands. Messages that failed may be on their way back to
    /// the queue all the same.
    pub async fn idle(&self) {
        self.mapping.gauge.until(Activity::is_idle).await;
    }

    /// Stops polling, lets what runs come to its end, and ends the environments, frozen as they are.
    ///
    /// A batch that waits for more messages is handed over at once; one that is throttled is given up, and
    /// its messages stay in the queue.
    ///
    /// # Errors
    /// If invocations go on for longer than `patience`, or if a poller failed.
    pub async fn stop(mut self, patience: Duration) -> Result<(), StopError> {
        self.mapping.stopping.cancel();
        let outcome = match tokio::time::timeout(patience, join(&mut self.tasks)).await {
            Ok(joined) => joined.map_err(StopError::from),
            Err(_) => Err(StopError::Overdue { patience, activity: self.activity() }),
        };
        self.tasks.shutdown().await;
        end_all(self.mapping.pool.drain()).await;
        outcome
    }
}

impl<S: MessageSource, R: Runner> Mapping<S, R> {
    /// Ends environments that have been idle for so long, until the mapping stops.
    async fn end_expired(self: Arc<Self>, idle_timeout: Duration) -> Result<(), JoinError> {
        loop {
            let expired = tokio::select! {
                expired = self.pool.expired(idle_timeout) => expired,
                () = self.stopping.cancelled() => return Ok(()),
            };
            end_all(expired).await;
        }
    }
}

/// Ends environments, many at a time.
async fn end_all<E: RunningEnvironment>(environments: Vec<E>) {
    stream::iter(environments).for_each_concurrent(ENDED_AT_ONCE, E::end).await;
}

async fn join(tasks: &mut JoinSet<Result<(), JoinError>>) -> Result<(), JoinError> {
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}
