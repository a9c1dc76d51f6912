//! The way in for everybody: one set of queues behind the tap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use verifier::MessageId;

use super::attributes::AttributeMap;
use super::endpoint::{self, ConnectError};
use super::engine::Engine;
use super::error::SqsError;
use super::external::External;
use super::fault::{FaultGuard, Faults, MessageFault};
use super::limits;
use super::message::{Draft, NewMessage, ReceivedMessage, SentMessage};
use super::tap::{Sending, Tap};
use crate::journal::Recorder;

/// How many calls are under way at once to delete the messages of one large batch.
const AT_ONCE: usize = 10;

/// A set of queues. Everything that passes is recorded. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queues(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// What the queues' URLs begin with, `http://127.0.0.1:9324/000000000000`.
    base_url: String,
    pub(super) backend: Backend,
    tap: Tap,
    faults: Faults,
}

/// Who keeps the messages.
#[derive(Debug)]
pub(super) enum Backend {
    Local(Engine),
    External(External),
}

/// What a set of queues needs to know.
#[derive(Debug, Clone)]
pub struct QueuesConfig {
    /// The URL at which [`serve`](super::serve) answers, without a slash at its end.
    pub endpoint: String,
    /// The AWS account in URLs and ARNs, twelve digits.
    pub account: String,
    /// The AWS region in ARNs.
    pub region: String,
    /// Where a message says which request it belongs to.
    pub correlation: Correlation,
    /// Who is told what happens.
    pub recorder: Recorder,
}

/// Where a message says which request it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Correlation {
    /// A JSON pointer (RFC 6901) to a text in the body that holds the request's id.
    pub message_body: Option<String>,
}

/// How a queue of the system under test is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// `VisibilityTimeout`, in whole seconds.
    pub visibility_timeout: Duration,
    /// How often a message may be received before it is moved to the dead-letter queue; none has no
    /// dead-letter queue.
    pub max_receive_count: Option<u32>,
}

/// How many messages a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Those that can be received.
    pub visible: usize,
    /// Those that were received, and neither deleted nor returned.
    pub in_flight: usize,
    /// Those that cannot be received yet for the first time.
    pub delayed: usize,
}

impl Depth {
    /// Whether there is no message at all.
    pub const fn is_empty(self) -> bool {
        self.visible == 0 && self.in_flight == 0 && self.delayed == 0
    }
}

/// What a receive asks for (the input of SQS `ReceiveMessage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveRequest {
    /// `MaxNumberOfMessages`, 1 to 10.
    pub max: usize,
    /// `WaitTimeSeconds`; left out, the queue's own counts.
    pub wait: Option<Duration>,
    /// `VisibilityTimeout`; left out, the queue's own counts.
    pub visibility_timeout: Option<Duration>,
}

/// The answer to each entry of a batch, in their order, with the entry's id.
pub type BatchAnswer<T> = Vec<(String, Result<T, SqsError>)>;

impl Queues {
    /// Queues in our own engine.
    pub fn local(config: QueuesConfig) -> Self {
        let arn_prefix = format!("arn:aws:sqs:{}:{}:", config.region, config.account);
        Self::new(config, |tap| Backend::Local(Engine::new(arn_prefix, Arc::new(tap))))
    }

    /// Queues at somebody else's endpoint: what passes here is recorded and asked of it again.
    ///
    /// Endpoint, region and credentials are the client's. What only an engine can know is recorded as
    /// far as it shows in answers: a message that was received before had been returned, and one that
    /// comes out of a dead-letter queue had been moved there. Retention and purges do not show.
    /// Whatever the client's configuration says, calls that fail are not made again, and one that takes
    /// longer than 30 s fails.
    pub fn external(config: QueuesConfig, client: &aws_sdk_sqs::Client) -> Self {
        Self::prefixed(config, client, String::new())
    }

    /// As [`Self::external`], at this URL, with the credentials and the CA of the standard AWS variables
    /// and files, and their region, or else that of `config`.
    ///
    /// Runs do not get into each other's way: at the endpoint, the name of each queue begins with
    /// `harness-` and eight hexadecimal digits of its own for each set of queues. Here, its name is
    /// without, and no other queue can be reached.
    ///
    /// # Errors
    /// If there are no credentials, or the CA that the variables name cannot be used. Nothing has been
    /// asked of the endpoint yet.
    pub async fn external_at(config: QueuesConfig, endpoint: &str) -> Result<Self, ConnectError> {
        let client = endpoint::client(endpoint, config.region.clone()).await?;
        Ok(Self::prefixed(config, &client, format!("harness-{:08x}-", rand::random::<u32>())))
    }

    pub(super) fn prefixed(config: QueuesConfig, client: &aws_sdk_sqs::Client, prefix: String) -> Self {
        Self::new(config, |tap| Backend::External(External::new(client, prefix, tap)))
    }

    fn new(config: QueuesConfig, backend: impl FnOnce(Tap) -> Backend) -> Self {
        let tap = Tap::new(config.recorder, config.correlation);
        Self(Arc::new(Shared {
            base_url: format!("{}/{}", config.endpoint, config.account),
            backend: backend(tap.clone()),
            tap,
            faults: Faults::default(),
        }))
    }

    /// Does something to every message that is accepted from now on, until the guard is dropped.
    pub fn inject(&self, fault: MessageFault) -> FaultGuard {
        self.0.faults.inject(fault)
    }

    /// The URL of the queue with this name, whether or not there is one.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{name}", self.0.base_url)
    }

    /// What the queue with this name here is called at an external endpoint.
    pub fn name_at_endpoint(&self, name: &str) -> Option<String> {
        match &self.0.backend {
            Backend::Local(_) => None,
            Backend::External(external) => Some(external.name_there(name)),
        }
    }

    /// The name of the dead-letter queue that [`Self::provide`] gives to a queue.
    pub fn dead_letter_queue_of(name: &str) -> String {
        format!("{name}-dlq")
    }

    /// Creates a queue and, if its settings ask for one, its dead-letter queue. Returns its URL.
    ///
    /// # Errors
    /// Those of [`Self::create`].
    pub async fn provide(&self, name: &str, settings: QueueSettings) -> Result<String, SqsError> {
        let seconds = settings.visibility_timeout.as_secs();
        if Duration::from_secs(seconds) != settings.visibility_timeout {
            let value = format!("{:?}", settings.visibility_timeout);
            return Err(SqsError::invalid_value("VisibilityTimeout", value, "Must be whole seconds."));
        }
        let mut attributes = AttributeMap::from([("VisibilityTimeout".to_owned(), seconds.to_string())]);
        if let Some(count) = settings.max_receive_count {
            attributes.insert("RedrivePolicy".to_owned(), self.redrive_policy(name, count).await?);
        }
        self.create(name, &attributes).await
    }

    /// Creates the dead-letter queue of a queue, and writes the policy that uses it.
    async fn redrive_policy(&self, name: &str, max_receive_count: u32) -> Result<String, SqsError> {
        let target = Self::dead_letter_queue_of(name);
        self.create(&target, &AttributeMap::new()).await?;
        let mut attributes = self.attributes(&target).await?;
        let arn = attributes.remove("QueueArn").ok_or_else(SqsError::no_queue)?;
        Ok(serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max_receive_count }).to_string())
    }

    /// Creates a queue (SQS `CreateQueue`), or finds it if it is there with the same attributes.
    /// Returns its URL.
    ///
    /// # Errors
    /// If the name or an attribute is not allowed, or the queue is there with other attributes.
    pub async fn create(&self, name: &str, attributes: &BTreeMap<String, String>) -> Result<String, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.create(name, attributes)?,
            Backend::External(external) => external.create(name, attributes).await?,
        }
        Ok(self.queue_url(name))
    }

    /// Deletes a queue with all its messages (SQS `DeleteQueue`).
    ///
    /// # Errors
    /// If there is no such queue.
    pub async fn delete_queue(&self, queue: &str) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.delete_queue(queue),
            Backend::External(external) => external.delete_queue(queue).await,
        }
    }

    /// Deletes the queues that were created from here at an external endpoint, with all their messages.
    /// Tells of those that could not be deleted, by their names there. Our own engine ends with the run.
    pub async fn delete_created(&self) -> Vec<(String, SqsError)> {
        match &self.0.backend {
            Backend::Local(_) => Vec::new(),
            Backend::External(external) => external.delete_created().await,
        }
    }

    /// The names of all queues.
    ///
    /// # Errors
    /// Those of an external endpoint.
    pub async fn names(&self) -> Result<Vec<String>, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => Ok(engine.names()),
            Backend::External(external) => external.names().await,
        }
    }

    /// The names of the queues whose dead-letter queue this is (SQS `ListDeadLetterSourceQueues`).
    ///
    /// # Errors
    /// If there is no such queue.
    pub async fn dead_letter_sources(&self, queue: &str) -> Result<Vec<String>, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.dead_letter_sources(queue),
            Backend::External(external) => external.dead_letter_sources(queue).await,
        }
    }

    /// All attributes of a queue (SQS `GetQueueAttributes`).
    ///
    /// # Errors
    /// If there is no such queue.
    pub async fn attributes(&self, queue: &str) -> Result<BTreeMap<String, String>, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.attributes(queue),
            Backend::External(external) => external.attributes(queue).await,
        }
    }

    /// Sets attributes of a queue (SQS `SetQueueAttributes`).
    ///
    /// # Errors
    /// If there is no such queue, or an attribute is not allowed.
    pub async fn set_attributes(&self, queue: &str, attributes: &BTreeMap<String, String>) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.set_attributes(queue, attributes),
            Backend::External(external) => external.set_attributes(queue, attributes).await,
        }
    }

    /// How many messages a queue has; exact in our own engine, approximate at an external endpoint.
    ///
    /// # Errors
    /// If there is no such queue.
    pub async fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.depth(queue),
            Backend::External(external) => external.depth(queue).await,
        }
    }

    /// Sends a message (SQS `SendMessage`).
    ///
    /// # Errors
    /// If there is no such queue, or the message is not allowed; that is recorded, too.
    pub async fn send(&self, queue: &str, draft: impl Into<Draft>) -> Result<SentMessage, SqsError> {
        let Draft { message, verdict } = draft.into();
        let sending = self.0.tap.sending(queue, &message);
        let sent = match verdict {
            Ok(()) => self.offer(queue, message, &sending).await,
            Err(error) => Err(error),
        };
        sent.inspect_err(|error| self.0.tap.refused(&sending, error))
    }

    /// Offers a message to the queue, and records it if it is accepted.
    async fn offer(&self, queue: &str, message: NewMessage, sending: &Sending) -> Result<SentMessage, SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.send(queue, message, |id, message| self.admit(sending, id, message)),
            Backend::External(external) => external.send(queue, message, sending, &self.0.faults).await,
        }
    }

    /// Alters a message by the faults that are switched on, and records it as it was and what was done.
    fn admit(&self, sending: &Sending, id: &MessageId, message: &mut NewMessage) {
        let faults = self.0.faults.apply(message);
        self.0.tap.sent(sending, id, &faults);
    }

    /// Sends up to ten messages (SQS `SendMessageBatch`). To an external endpoint, each goes on its own.
    ///
    /// # Errors
    /// If the batch as a whole is refused, which is recorded for each message.
    pub async fn send_batch(
        &self,
        queue: &str,
        entries: Vec<(String, Draft)>,
    ) -> Result<BatchAnswer<SentMessage>, SqsError> {
        if let Err(error) = self.check_batch(queue, &entries).await {
            for (_, Draft { message, .. }) in &entries {
                self.0.tap.refused(&self.0.tap.sending(queue, message), &error);
            }
            return Err(error);
        }
        Ok(answer_each(entries, |draft| self.send(queue, draft)).await)
    }

    async fn check_batch(&self, queue: &str, entries: &[(String, Draft)]) -> Result<(), SqsError> {
        limits::check_batch(entries.iter().map(|(id, _)| id.as_str()))?;
        limits::check_batch_bytes(entries.iter().map(|(_, draft)| &draft.message))?;
        self.check_exists(queue).await
    }

    /// Receives up to `max` (1 to 10) messages, and waits for the first at most this long.
    ///
    /// Dropped while it waits, it has taken nothing from our own engine. What an external endpoint
    /// answers later all the same is recorded as received; it comes back when its time-out has passed.
    ///
    /// # Errors
    /// If there is no such queue, or `max` or the wait is out of range.
    pub async fn receive(&self, queue: &str, max: usize, wait: Duration) -> Result<Vec<ReceivedMessage>, SqsError> {
        self.receive_with(queue, ReceiveRequest { max, wait: Some(wait), visibility_timeout: None }).await
    }

    /// Receives messages (SQS `ReceiveMessage`), with all their attributes. As [`Self::receive`].
    ///
    /// # Errors
    /// If there is no such queue, or `max` is out of range.
    pub async fn receive_with(&self, queue: &str, request: ReceiveRequest) -> Result<Vec<ReceivedMessage>, SqsError> {
        let max = i64::try_from(request.max).unwrap_or(i64::MAX);
        limits::in_range("MaxNumberOfMessages", max, &limits::RECEIVABLE)?;
        match &self.0.backend {
            Backend::Local(engine) => engine.receive(queue, &request).await,
            Backend::External(external) => external.receive(queue, &request).await,
        }
    }

    /// Deletes received messages by their receipt handles, any number of them.
    ///
    /// # Errors
    /// The first of those that occurred; all were tried.
    pub async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), SqsError> {
        let mut outcome = Ok(());
        for handles in receipt_handles.chunks(AT_ONCE) {
            let answers = join_all(handles.iter().map(|handle| self.delete_message(queue, handle))).await;
            outcome = outcome.and(answers.into_iter().collect());
        }
        outcome
    }

    /// Deletes a received message (SQS `DeleteMessage`).
    ///
    /// # Errors
    /// If there is no such queue, or the handle is none of its handles.
    pub async fn delete_message(&self, queue: &str, receipt_handle: &str) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.delete(queue, receipt_handle),
            Backend::External(external) => external.delete(queue, receipt_handle).await,
        }
    }

    /// Deletes up to ten received messages (SQS `DeleteMessageBatch`).
    ///
    /// # Errors
    /// If the batch as a whole is refused.
    pub async fn delete_batch(&self, queue: &str, entries: Vec<(String, String)>) -> Result<BatchAnswer<()>, SqsError> {
        limits::check_batch(entries.iter().map(|(id, _)| id.as_str()))?;
        self.check_exists(queue).await?;
        Ok(answer_each(entries, |handle| async move { self.delete_message(queue, &handle).await }).await)
    }

    /// Hides a message that is in flight for another time from now on (SQS `ChangeMessageVisibility`).
    ///
    /// # Errors
    /// If there is no such queue, the handle is none of its handles, or the message is not in flight.
    pub async fn change_visibility(
        &self,
        queue: &str,
        receipt_handle: &str,
        visibility_timeout: Duration,
    ) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.change_visibility(queue, receipt_handle, visibility_timeout),
            Backend::External(external) => external.change_visibility(queue, receipt_handle, visibility_timeout).await,
        }
    }

    /// Deletes all messages of a queue (SQS `PurgeQueue`).
    ///
    /// # Errors
    /// If there is no such queue, or it was purged less than a minute ago.
    pub async fn purge(&self, queue: &str) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.purge(queue),
            Backend::External(external) => external.purge(queue).await,
        }
    }

    /// Checks that there is a queue with this name.
    ///
    /// # Errors
    /// If there is none.
    pub async fn check_exists(&self, queue: &str) -> Result<(), SqsError> {
        match &self.0.backend {
            Backend::Local(engine) => engine.depth(queue).map(|_| ()),
            Backend::External(external) => external.check_exists(queue).await,
        }
    }
}

/// Asks for each entry of a batch, all at once; the answers are in the entries' order.
pub(super) async fn answer_each<E, T, F>(entries: Vec<(String, E)>, ask: impl Fn(E) -> F) -> BatchAnswer<T>
where
    F: Future<Output = Result<T, SqsError>>,
{
    let ask = &ask;
    join_all(entries.into_iter().map(|(id, entry)| async move { (id, ask(entry).await) })).await
}
