//! A batch, from the first message on until it is closed: it is full, its window is over, or its event has
//! become as long as events may be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::activity::InHand;
use super::mapping::Mapping;
use super::runner::Runner;
use super::source::{LONG_POLL, MessageSource};
use crate::cloud::batch::{Batch, Origin};
use crate::cloud::failures::Work;
use crate::cloud::function::BoxError;
use crate::cloud::queue::{ReceiveRequest, ReceivedMessage};

/// The most messages that one receive gives (SQS `MaxNumberOfMessages`).
const MAX_RECEIVED: usize = 10;

/// The messages of one receive, as far as they are in no batch yet.
#[derive(Debug)]
struct Received {
    at: Instant,
    messages: VecDeque<ReceivedMessage>,
}

impl Received {
    fn now(messages: Vec<ReceivedMessage>) -> Self {
        Self { at: Instant::now(), messages: messages.into() }
    }
}

/// A batch that is closed.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) batch: Batch,
    /// When the first of its messages can be received again.
    pub(super) visible_at: Instant,
    pub(super) in_hand: InHand<'a>,
}

impl<S: MessageSource, R: Runner> Mapping<S, R> {
    /// Polls until the mapping stops, or needs a poller less.
    pub(super) async fn poll(self: Arc<Self>) {
        let mut failures = 0;
        while let Some(answer) = self.receive_first().await {
            match answer {
                Ok(messages) => {
                    failures = 0;
                    self.failures.over(Work::Receive);
                    self.handle(messages).await;
                }
                Err(error) => {
                    self.fail_to_receive(&error);
                    failures += 1;
                    self.pause(failures).await;
                }
            }
        }
    }

    /// Long-polls; nothing when the poller is to go. What has been received by then is handled.
    async fn receive_first(&self) -> Option<Result<Vec<ReceivedMessage>, BoxError>> {
        if self.stopping.is_cancelled() {
            return None;
        }
        tokio::select! {
            biased;
            Ok(dismissal) = self.dismissals.acquire() => {
                dismissal.forget();
                None
            }
            answer = self.receive(self.spec.batch_size, LONG_POLL) => Some(answer),
            () = self.stopping.cancelled() => None,
        }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<ReceivedMessage>, BoxError> {
        let request = ReceiveRequest {
            max: max.min(MAX_RECEIVED),
            wait: Some(wait),
            visibility_timeout: self.spec.longer_visibility_timeout(self.runner.spec().timeout),
        };
        self.source.receive(&self.spec.queue, request).await
    }

    fn fail_to_receive(&self, error: &BoxError) {
        let what = format!("messages of queue {} that could not be received: {error}", self.spec.queue);
        self.fail(Work::Receive, what);
    }

    /// Hands over what has been received, in as many batches as it takes.
    async fn handle(&self, messages: Vec<ReceivedMessage>) {
        let mut received = Received::now(messages);
        while !received.messages.is_empty() {
            let gathered = self.gather(&mut received).await;
            self.deliver(gathered).await;
        }
    }

    /// A batch of what has been received, and of what comes until it is closed. What does not fit is left.
    async fn gather(&self, received: &mut Received) -> Gathered<'_> {
        let mut in_hand = self.gauge.begin();
        let began = received.at;
        let mut batch = Batch::new(self.origin(), self.spec.batch_size);
        batch.fill(&mut received.messages);
        while received.messages.is_empty() && batch.room() > 0 {
            let Some(more) = self.receive_more(batch.room(), began).await else { break };
            *received = more;
            batch.fill(&mut received.messages);
        }
        in_hand.close();
        Gathered { batch, visible_at: began + self.visibility_timeout(), in_hand }
    }

    /// More messages for a batch that was begun at this instant; nothing when it is to be closed now.
    async fn receive_more(&self, max: usize, began: Instant) -> Option<Received> {
        loop {
            let window = self.spec.behaviour.batch_window.saturating_sub(began.elapsed());
            if window.is_zero() || self.stopping.is_cancelled() {
                return None;
            }
            let answer = tokio::select! {
                biased;
                answer = self.receive(max, window.min(LONG_POLL)) => answer,
                () = self.stopping.cancelled() => return None,
            };
            match answer {
                Ok(messages) if !messages.is_empty() => return Some(Received::now(messages)),
                // That was the window, or as many whole seconds of it as SQS waits.
                Ok(_) if window <= LONG_POLL => return None,
                Ok(_) => {}
                // What is in hand does not wait for the queue to recover.
                Err(error) => {
                    self.fail_to_receive(&error);
                    return None;
                }
            }
        }
    }

    fn visibility_timeout(&self) -> Duration {
        let longer = self.spec.longer_visibility_timeout(self.runner.spec().timeout);
        longer.unwrap_or(self.spec.visibility_timeout)
    }

    fn origin(&self) -> Origin {
        let region = self.runner.spec().account.region.clone();
        Origin { queue_arn: self.spec.queue_arn.clone(), region }
    }
}
