//! Message move tasks: messages go back from a dead-letter queue (SQS API, `StartMessageMoveTask`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::error::{ErrorKind, SqsError};

/// How many tasks of a queue are remembered, as many as can be listed.
const REMEMBERED: usize = 10;

/// What is to be moved (the input of SQS `StartMessageMoveTask`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MoveRequest {
    /// `SourceArn`, a dead-letter queue.
    pub(super) source_arn: String,
    /// `DestinationArn`; left out, each message goes to the queue that it came from.
    pub(super) destination_arn: Option<String>,
    /// `MaxNumberOfMessagesPerSecond`; left out, as fast as possible.
    pub(super) max_per_second: Option<u32>,
}

/// What became of a task (an entry of SQS `ListMessageMoveTasks`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MoveReport {
    pub(super) handle: String,
    pub(super) request: MoveRequest,
    pub(super) status: MoveStatus,
    /// `ApproximateNumberOfMessagesMoved`.
    pub(super) moved: u64,
    /// `ApproximateNumberOfMessagesToMove`, as it was at the start.
    pub(super) to_move: u64,
    /// `FailureReason`.
    pub(super) failure: Option<String>,
    /// `StartedTimestamp`, in milliseconds since the Unix epoch.
    pub(super) started_millis: u64,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MoveStatus {
    Running,
    Completed,
    /// Only an external endpoint takes time to cancel.
    Cancelling,
    Cancelled,
    Failed,
}

impl MoveStatus {
    const ALL: [Self; 5] = [Self::Running, Self::Completed, Self::Cancelling, Self::Cancelled, Self::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    /// The status with this name, as an external endpoint answered it.
    pub(super) fn from_answer(name: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == name).unwrap_or(Self::Failed)
    }
}

/// What an attempt to move the next message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Moved,
    /// Nothing is left.
    Done,
    /// The next message has nowhere to go, for this reason.
    Failed(&'static str),
}

/// The tasks of all queues, the newest last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct MoveTasks(Arc<Mutex<Vec<MoveReport>>>);

impl MoveTasks {
    /// Notes a task that begins, unless its queue has one that runs.
    pub(super) fn begin(&self, request: MoveRequest, to_move: u64, started_millis: u64) -> Result<String, SqsError> {
        let mut tasks = self.lock();
        let of_source = |task: &MoveReport| task.request.source_arn == request.source_arn;
        if tasks.iter().any(|task| of_source(task) && task.status == MoveStatus::Running) {
            let message = "There is already a task running. Only one active task is allowed for a source queue arn at \
                           a given time.";
            return Err(SqsError::new(ErrorKind::UnsupportedOperation, message));
        }
        if tasks.iter().filter(|task| of_source(task)).count() == REMEMBERED
            && let Some(oldest) = tasks.iter().position(of_source)
        {
            tasks.remove(oldest);
        }
        let handle = Uuid::new_v4().simple().to_string();
        let (status, failure) = (MoveStatus::Running, None);
        tasks.push(MoveReport { handle: handle.clone(), request, status, moved: 0, to_move, failure, started_millis });
        Ok(handle)
    }

    /// The tasks of a queue, the newest first.
    pub(super) fn of(&self, source_arn: &str, max: usize) -> Vec<MoveReport> {
        let tasks = self.lock();
        tasks.iter().rev().filter(|task| task.request.source_arn == source_arn).take(max).cloned().collect()
    }

    /// Cancels a task; tells how many messages it has moved.
    pub(super) fn cancel(&self, handle: &str) -> Result<u64, SqsError> {
        let mut tasks = self.lock();
        let Some(task) = tasks.iter_mut().find(|task| task.handle == handle) else {
            return Err(SqsError::new(ErrorKind::ResourceNotFound, "Task does not exist."));
        };
        if task.status != MoveStatus::Running {
            let message = "Only active tasks can be cancelled.";
            return Err(SqsError::new(ErrorKind::UnsupportedOperation, message));
        }
        task.status = MoveStatus::Cancelled;
        Ok(task.moved)
    }

    /// Carries a task out, message by message, until nothing is left to move or somebody cancels it.
    pub(super) async fn carry_out(self, handle: String, max_per_second: Option<u32>, step: impl Fn(Instant) -> Step) {
        let mut pace = max_per_second.map(|rate| interval(Duration::from_secs(1) / rate));
        if let Some(pace) = &mut pace {
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            match &mut pace {
                Some(pace) => _ = pace.tick().await,
                None => tokio::task::yield_now().await,
            }
            if !self.is_running(&handle) || !self.note(&handle, step(Instant::now())) {
                return;
            }
        }
    }

    fn is_running(&self, handle: &str) -> bool {
        self.lock().iter().any(|task| task.handle == handle && task.status == MoveStatus::Running)
    }

    /// Notes what a step came to; tells whether there is another one.
    fn note(&self, handle: &str, step: Step) -> bool {
        let mut tasks = self.lock();
        let Some(task) = tasks.iter_mut().find(|task| task.handle == handle) else { return false };
        match step {
            Step::Moved => task.moved += 1,
            // Cancelled meanwhile, it stays so.
            _ if task.status != MoveStatus::Running => {}
            Step::Done => task.status = MoveStatus::Completed,
            Step::Failed(reason) => (task.status, task.failure) = (MoveStatus::Failed, Some(reason.to_owned())),
        }
        task.status == MoveStatus::Running
    }

    fn lock(&self) -> MutexGuard<'_, Vec<MoveReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
