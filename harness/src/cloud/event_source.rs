//! The event source mapping: takes messages from a queue to a function, and back if it must be.
//!
//! Each poller long-polls the queue, hands what it gets to an idle environment, the one that was used
//! last, and starts a further environment when all are busy. What succeeded is deleted; what failed
//! comes back when its visibility time-out has passed, as on AWS.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use verifier::event::InvocationOutcome;

use super::batch::Batch;
use super::environment::{AfterInit, Environment, InitFailure, Invocation};
use super::failures::{Failures, Work};
use super::function::{BoxError, Function};
use super::queue::{Queues, ReceivedMessage};

/// How long a poller waits for messages: as long as SQS allows.
pub const LONG_POLL: Duration = Duration::from_secs(20);
/// How long to wait after a first failure of the function to start, or of the queue to answer.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where messages come from.
pub trait MessageSource: Send + Sync + 'static {
    /// Receives up to `max` messages, waiting up to `wait` for the first (SQS `ReceiveMessage`).
    ///
    /// Giving up on the answer must not lose messages: what is received all the same comes back.
    fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<ReceivedMessage>, BoxError>> + Send;

    /// Deletes messages (SQS `DeleteMessageBatch`).
    fn delete(&self, queue: &str, receipt_handles: &[String]) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl MessageSource for Queues {
    async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<ReceivedMessage>, BoxError> {
        Ok(Self::receive(self, queue, max, wait).await?)
    }

    async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), BoxError> {
        Ok(Self::delete(self, queue, receipt_handles).await?)
    }
}

/// How a queue is mapped to a function.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSourceSpec {
    /// The queue's name.
    pub queue: String,
    /// The queue's ARN, as records bear it.
    pub queue_arn: String,
    /// How many records an event has at most: 1 to 10, as many as one receive gives.
    pub batch_size: usize,
    /// How many invocations run at the same time at most, and so how many pollers there are.
    pub max_concurrency: usize,
    /// Whether a response can report single messages as failed (`ReportBatchItemFailures`). If not,
    /// responses are not looked at.
    pub reports_item_failures: bool,
    /// How it takes messages to environments.
    pub behaviour: Behaviour,
}

/// How a mapping takes messages to environments. The default is the quickest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behaviour {
    /// How long a batch that is not full waits for more (`MaximumBatchingWindowInSeconds`).
    pub batch_window: Duration,
    /// Which idle environment is used.
    pub choice: Choice,
    /// How concurrency grows; without it, all of it is there at once.
    pub scaling: Option<Scaling>,
    /// How long an environment may be idle before it is ended; without it, for ever.
    pub idle_timeout: Option<Duration>,
    /// How many environments there may be before invocations are throttled (reserved concurrency).
    pub reserved_concurrency: Option<u32>,
}

/// Which idle environment an invocation goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The one that was used last, as AWS is seen to do.
    #[default]
    MostRecentlyUsed,
    /// The one that has been idle longest: all of them age, and their connections with them.
    LeastRecentlyUsed,
    /// Any, drawn from the seed.
    Random {
        /// The run's seed.
        seed: u64,
    },
}

/// How concurrency grows while there is a backlog (AWS Lambda developer guide, "Scaling behaviour" of
/// SQS event source mappings).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// How many batches are in the function's hands at the beginning, 5 on AWS.
    pub start: u32,
    /// By how many more a minute, 300 on AWS.
    pub per_minute: u32,
    /// How many minutes pass in a minute: to see in a short run what takes long.
    pub time_scale: f64,
}

impl Scaling {
    /// As AWS documents it.
    pub const AWS: Self = Self { start: 5, per_minute: 300, time_scale: 1.0 };
}

/// What a mapping is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Batches that were received and are not settled, their cold starts included.
    pub batches: usize,
    /// Environments that are idle, frozen.
    pub idle_environments: usize,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} batches in the function's hands, {} environments idle", self.batches, self.idle_environments)
    }
}

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
    PollerFailed(#[from] tokio::task::JoinError),
}

/// A queue mapped to a function.
#[derive(Debug)]
pub struct EventSource<S> {
    mapping: Arc<Mapping<S>>,
    pollers: JoinSet<()>,
}

#[derive(Debug)]
struct Mapping<S> {
    function: Arc<Function>,
    source: Arc<S>,
    spec: EventSourceSpec,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Environment>>,
    activity: watch::Sender<Activity>,
    /// Failures to start an environment since the last success.
    failed_starts: AtomicU32,
    failures: Failures,
    stopping: CancellationToken,
}

impl<S: MessageSource> EventSource<S> {
    /// A mapping that does not poll yet.
    pub fn new(function: Function, source: Arc<S>, spec: EventSourceSpec) -> Self {
        let failures = Failures::new(function.recorder.clone());
        let mapping = Mapping {
            function: Arc::new(function),
            source,
            spec,
            idle: Mutex::default(),
            activity: watch::Sender::default(),
            failed_starts: AtomicU32::new(0),
            failures,
            stopping: CancellationToken::new(),
        };
        Self { mapping: Arc::new(mapping), pollers: JoinSet::new() }
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.mapping.function.spec().name
    }

    /// Initialises one environment ahead of its use, and freezes it.
    ///
    /// # Errors
    /// If the function cannot be started: what it printed is part of the error.
    pub async fn prewarm(&self) -> Result<(), InitFailure> {
        let environment = Environment::start(&self.mapping.function, AfterInit::Freeze).await?;
        self.mapping.put_back(environment).await;
        Ok(())
    }

    /// Starts to poll. To be called once.
    pub fn start(&mut self) {
        for _ in 0..self.mapping.spec.max_concurrency {
            self.pollers.spawn(Arc::clone(&self.mapping).poll());
        }
    }

    /// What it is busy with now.
    pub fn activity(&self) -> Activity {
        *self.mapping.activity.borrow()
    }

    /// Waits until no batch is in the function's hands. Messages that failed may be on their way
    /// back to the queue all the same.
    pub async fn idle(&self) {
        let mut activity = self.mapping.activity.subscribe();
        // The sender lives in the mapping, as long as this future.
        let _ = activity.wait_for(|activity| activity.batches == 0).await;
    }

    /// Stops polling, lets what runs come to its end, and ends the environments, frozen as they are.
    ///
    /// # Errors
    /// If invocations go on for longer than `patience`, or if a poller failed.
    pub async fn stop(mut self, patience: Duration) -> Result<(), StopError> {
        self.mapping.stopping.cancel();
        let outcome = match tokio::time::timeout(patience, join(&mut self.pollers)).await {
            Ok(joined) => joined.map_err(StopError::from),
            Err(_) => Err(StopError::Overdue { patience, activity: self.activity() }),
        };
        self.pollers.shutdown().await;
        self.mapping.end_idle().await;
        outcome
    }
}

async fn join(pollers: &mut JoinSet<()>) -> Result<(), tokio::task::JoinError> {
    while let Some(poller) = pollers.join_next().await {
        poller?;
    }
    Ok(())
}

impl<S: MessageSource> Mapping<S> {
    async fn poll(self: Arc<Self>) {
        let mut failures = 0;
        while !self.stopping.is_cancelled() {
            match self.receive().await {
                Some(Ok(messages)) => {
                    failures = 0;
                    self.failures.over(Work::Receive);
                    self.handle(messages).await;
                }
                Some(Err(error)) => {
                    self.fail(
                        Work::Receive,
                        format!("messages of queue {} that could not be received: {error}", self.spec.queue),
                    );
                    failures += 1;
                    self.pause(failures).await;
                }
                None => {}
            }
        }
    }

    /// Long-polls; nothing when the mapping stops. What has been received by then is handled.
    async fn receive(&self) -> Option<Result<Vec<ReceivedMessage>, BoxError>> {
        tokio::select! {
            biased;
            received = self.source.receive(&self.spec.queue, self.spec.batch_size, LONG_POLL) => Some(received),
            () = self.stopping.cancelled() => None,
        }
    }

    async fn handle(&self, messages: Vec<ReceivedMessage>) {
        if messages.is_empty() {
            return;
        }
        let _in_hand = InHand::new(&self.activity);
        match self.environment().await {
            Ok(environment) => self.invoke(environment, Batch::new(messages)).await,
            // Nothing is deleted, so the messages come back.
            Err(failure) => self.back_off(&failure).await,
        }
    }

    /// The idle environment that was used last, or a new one.
    async fn environment(&self) -> Result<Environment, InitFailure> {
        while let Some(environment) = self.take_idle() {
            if environment.is_alive() {
                return Ok(environment);
            }
            environment.bury().await;
        }
        let environment = Environment::start(&self.function, AfterInit::Invoke).await?;
        self.failed_starts.store(0, Ordering::Relaxed);
        self.failures.over(Work::Start);
        Ok(environment)
    }

    async fn invoke(&self, environment: Environment, batch: Batch) {
        let batch = Arc::new(batch);
        let invocation = match self.invocation(&batch) {
            Ok(invocation) => invocation,
            Err(error) => {
                tracing::error!(%error, "an event could not be written as JSON");
                return self.put_back(environment).await;
            }
        };
        let invoked = environment.invoke(&invocation).await;
        if let InvocationOutcome::Succeeded { failed } = &invoked.outcome {
            self.delete(&batch.receipt_handles_without(failed)).await;
        }
        if let Some(environment) = invoked.environment {
            self.put_back(environment).await;
        }
    }

    fn invocation(&self, batch: &Arc<Batch>) -> Result<Invocation, serde_json::Error> {
        let event = batch.event(&self.spec.queue_arn, &self.function.spec().account.region)?;
        let judged = self.spec.reports_item_failures.then(|| Arc::clone(batch));
        let failures = Box::new(move |response: &[u8]| match &judged {
            Some(batch) => batch.failures(response),
            None => Vec::new(),
        });
        Ok(Invocation { deliveries: batch.deliveries(), event, failures })
    }

    /// A message that could not be deleted comes back, as it would on AWS.
    async fn delete(&self, receipt_handles: &[String]) {
        if receipt_handles.is_empty() {
            return;
        }
        match self.source.delete(&self.spec.queue, receipt_handles).await {
            Ok(()) => self.failures.over(Work::Delete),
            Err(error) => {
                let what = format!("messages of queue {} that could not be deleted: {error}", self.spec.queue);
                self.fail(Work::Delete, what);
            }
        }
    }

    /// Something failed for which the function is not to blame.
    fn fail(&self, work: Work, what: String) {
        tracing::warn!("{what}");
        self.failures.record(work, what);
    }

    /// Makes an environment available again, or ends it if it has been used for long enough.
    async fn put_back(&self, environment: Environment) {
        if environment.is_worn_out() {
            environment.end().await;
            return;
        }
        let mut idle = self.idle();
        idle.push(environment);
        self.activity.send_modify(|activity| activity.idle_environments = idle.len());
    }

    fn take_idle(&self) -> Option<Environment> {
        let mut idle = self.idle();
        let environment = idle.pop();
        self.activity.send_modify(|activity| activity.idle_environments = idle.len());
        environment
    }

    async fn end_idle(&self) {
        while let Some(environment) = self.take_idle() {
            environment.end().await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Environment>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A function that cannot start must not be started over and over at full speed.
    async fn back_off(&self, failure: &InitFailure) {
        if failure.cause.is_of_the_harness() {
            let what = format!(
                "an environment of function {} that could not be started: {}",
                self.function.spec().name,
                failure.cause
            );
            self.fail(Work::Start, what);
        } else {
            tracing::warn!(%failure, "an environment could not be started");
        }
        let failures = self.failed_starts.fetch_add(1, Ordering::Relaxed) + 1;
        self.pause(failures).await;
    }

    async fn pause(&self, failures: u32) {
        tokio::select! {
            () = tokio::time::sleep(pause_after(failures)) => {}
            () = self.stopping.cancelled() => {}
        }
    }
}

/// Doubles with every failure, up to a limit.
fn pause_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

/// A batch in the function's hands.
struct InHand<'a>(&'a watch::Sender<Activity>);

impl<'a> InHand<'a> {
    fn new(activity: &'a watch::Sender<Activity>) -> Self {
        activity.send_modify(|activity| activity.batches += 1);
        Self(activity)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.batches -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let pauses: Vec<_> = (1..=7).map(|failures| pause_after(failures).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn batch_is_in_hand_until_it_is_let_go() {
        let activity = watch::Sender::default();
        let batches = |activity: &watch::Sender<Activity>| activity.borrow().batches;
        let in_hand = InHand::new(&activity);
        assert_eq!(batches(&activity), 1);
        drop(in_hand);
        assert_eq!(batches(&activity), 0);
    }
}
