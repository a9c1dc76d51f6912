//! What is seldom asked for: tags, permissions and message move tasks.

use super::error::SqsError;
use super::move_task::{MoveReport, MoveRequest};
use super::permissions::Permission;
use super::queues::{Backend, Queues};
use super::tags::Tags;

impl Queues {
    /// A queue's tags (SQS `ListQueueTags`).
    pub(super) async fn tags(&self, queue: &str) -> Result<Tags, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.tags(queue),
            Backend::External(external) => external.tags(queue).await,
        }
    }

    /// Adds tags to a queue (SQS `TagQueue`).
    pub(super) async fn tag(&self, queue: &str, tags: &Tags) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.tag(queue, tags),
            Backend::External(external) => external.tag(queue, tags).await,
        }
    }

    /// Takes tags away from a queue (SQS `UntagQueue`).
    pub(super) async fn untag(&self, queue: &str, keys: &[String]) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.untag(queue, keys),
            Backend::External(external) => external.untag(queue, keys).await,
        }
    }

    /// Allows something to other accounts (SQS `AddPermission`).
    pub(super) async fn add_permission(&self, queue: &str, permission: &Permission) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.add_permission(queue, permission),
            Backend::External(external) => external.add_permission(queue, permission).await,
        }
    }

    /// Takes such a permission back (SQS `RemovePermission`).
    pub(super) async fn remove_permission(&self, queue: &str, label: &str) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.remove_permission(queue, label),
            Backend::External(external) => external.remove_permission(queue, label).await,
        }
    }

    /// Begins to move messages out of a dead-letter queue (SQS `StartMessageMoveTask`); returns the
    /// task's handle. What our own engine moves is recorded: there, it is sent anew. What an external
    /// endpoint moves does not show before it is received.
    pub(super) async fn start_move(&self, request: MoveRequest) -> Result<String, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.start_move(request),
            Backend::External(external) => external.start_move(request).await,
        }
    }

    /// The newest tasks that move messages out of a queue (SQS `ListMessageMoveTasks`).
    pub(super) async fn moves(&self, source_arn: &str, max: u32) -> Result<Vec<MoveReport>, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.moves(source_arn, max as usize),
            Backend::External(external) => external.moves(source_arn, max).await,
        }
    }

    /// Ends such a task (SQS `CancelMessageMoveTask`); tells how many messages it has moved.
    pub(super) async fn cancel_move(&self, handle: &str) -> Result<u64, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.cancel_move(handle),
            Backend::External(external) => external.cancel_move(handle).await,
        }
    }
}
