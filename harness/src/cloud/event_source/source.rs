//! Where messages come from.

use std::time::Duration;

use crate::cloud::function::BoxError;
use crate::cloud::queue::{Queues, ReceiveRequest, ReceivedMessage};

/// How long a poller waits for messages: as long as SQS allows.
pub const LONG_POLL: Duration = Duration::from_secs(20);

/// Where messages come from.
pub trait MessageSource: Send + Sync + 'static {
    /// Receives messages (SQS `ReceiveMessage`), waiting for the first.
    ///
    /// Giving up on the answer must not lose messages: what is received all the same comes back.
    fn receive(
        &self,
        queue: &str,
        request: ReceiveRequest,
    ) -> impl Future<Output = Result<Vec<ReceivedMessage>, BoxError>> + Send;

    /// Deletes any number of messages (SQS `DeleteMessageBatch`).
    fn delete(&self, queue: &str, receipt_handles: &[String]) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl MessageSource for Queues {
    async fn receive(&self, queue: &str, request: ReceiveRequest) -> Result<Vec<ReceivedMessage>, BoxError> {
        Ok(self.receive_with(queue, request).await?)
    }

    async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), BoxError> {
        Ok(Self::delete(self, queue, receipt_handles).await?)
    }
}
