//! Somebody else's SQS endpoint in our engine's place: AWS, or anything that speaks like it.
//!
//! Calls are made again with the SDK, because a signature covers the host that it was made for.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName,
};
use tokio::sync::RwLock;
use verifier::MessageId;

use super::attributes::AttributeMap;
use super::error::{ErrorKind, SqsError};
use super::fault::Faults;
use super::message::{AttributeValue, MessageAttribute, NewMessage, ReceivedMessage, SentMessage};
use super::queues::{Depth, ReceiveRequest};
use super::tap::{Observer, Sending, Tap};

/// Of how many received messages it is remembered which handle they have: more than can be in flight.
const REMEMBERED: usize = 200_000;

/// An external endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct External(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    tap: Tap,
    /// The URLs of queues by name.
    urls: Mutex<HashMap<String, String>>,
    /// Held for reading by each send. Whoever receives waits for those that are under way, because a
    /// message may arrive before the answer to its send: it was sent first, so that is recorded first.
    sends: RwLock<()>,
    seen: Mutex<Seen>,
}

/// The messages that were received here.
#[derive(Debug, Default)]
struct Seen {
    messages: HashMap<MessageId, Sighting>,
    /// The messages by their newest receipt handle.
    by_handle: HashMap<String, MessageId>,
    /// The messages in the order in which they were first seen.
    order: VecDeque<MessageId>,
}

/// Where and how a message was seen last.
#[derive(Debug)]
struct Sighting {
    queue: String,
    handle: String,
    /// Whether its return has been recorded since.
    returned: bool,
}

impl External {
    pub(super) fn new(client: &Client, tap: Tap) -> Self {
        // A call that is made twice can have an effect twice, of which one is recorded: whoever calls
        // here is told of a failure and makes the call again, as a call of its own.
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        let client = Client::from_conf(config);
        Self(Arc::new(Shared { client, tap, urls: Mutex::default(), sends: RwLock::default(), seen: Mutex::default() }))
    }

    pub(super) async fn create(&self, name: &str, attributes: &AttributeMap) -> Result<(), SqsError> {
        let call = self.0.client.create_queue().queue_name(name).set_attributes(Some(names(attributes)));
        let url = call.send().await.map_err(convert)?.queue_url.unwrap_or_default();
        self.0.remember_url(name, url);
        Ok(())
    }

    pub(super) async fn delete_queue(&self, queue: &str) -> Result<(), SqsError> {
        let url = self.0.url(queue).await?;
        self.0.client.delete_queue().queue_url(url).send().await.map_err(convert)?;
        self.0.urls.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
        Ok(())
    }

    pub(super) async fn names(&self) -> Result<Vec<String>, SqsError> {
        let mut pages = self.0.client.list_queues().max_results(1000).into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            names.extend(page.map_err(convert)?.queue_urls().iter().map(|url| name_of(url)));
        }
        Ok(names)
    }

    pub(super) async fn dead_letter_sources(&self, queue: &str) -> Result<Vec<String>, SqsError> {
        let call = self.0.client.list_dead_letter_source_queues().queue_url(self.0.url(queue).await?);
        let answer = call.send().await.map_err(convert)?;
        Ok(answer.queue_urls().iter().map(|url| name_of(url)).collect())
    }

    pub(super) async fn attributes(&self, queue: &str) -> Result<AttributeMap, SqsError> {
        let call = self.0.client.get_queue_attributes().queue_url(self.0.url(queue).await?);
        let answer = call.attribute_names(QueueAttributeName::All).send().await.map_err(convert)?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    pub(super) async fn set_attributes(&self, queue: &str, attributes: &AttributeMap) -> Result<(), SqsError> {
        let call = self.0.client.set_queue_attributes().queue_url(self.0.url(queue).await?);
        call.set_attributes(Some(names(attributes))).send().await.map_err(convert)?;
        Ok(())
    }

    pub(super) async fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        let attributes = self.attributes(queue).await?;
        let count = |name| attributes.get(name).and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok(Depth {
            visible: count("ApproximateNumberOfMessages"),
            in_flight: count("ApproximateNumberOfMessagesNotVisible"),
            delayed: count("ApproximateNumberOfMessagesDelayed"),
        })
    }

    pub(super) async fn check_exists(&self, queue: &str) -> Result<(), SqsError> {
        self.0.url(queue).await.map(|_| ())
    }

    /// Sends a message, after doing to it what is switched on. Sent means recorded, even if the caller
    /// gives up meanwhile.
    pub(super) async fn send(
        &self,
        queue: &str,
        mut message: NewMessage,
        sending: &Sending,
        faults: &Faults,
    ) -> Result<SentMessage, SqsError> {
        let url = self.0.url(queue).await?;
        let mut sent = SentMessage::new(String::new(), &message);
        let faults = faults.apply(&mut message);
        let (shared, sending) = (Arc::clone(&self.0), sending.clone());
        complete(async move {
            let _under_way = shared.sends.read().await;
            sent.message_id = shared.send(url, message).await?;
            shared.tap.sent(&sending, &MessageId::new(sent.message_id.as_str()), &faults);
            Ok(sent)
        })
        .await
    }

    /// Receives messages. Received means recorded, even if the caller gives up meanwhile.
    pub(super) async fn receive(
        &self,
        queue: &str,
        request: &ReceiveRequest,
    ) -> Result<Vec<ReceivedMessage>, SqsError> {
        let call = self.0.client.receive_message().queue_url(self.0.url(queue).await?);
        let call = call
            .max_number_of_messages(i32::try_from(request.max).unwrap_or(i32::MAX))
            .set_wait_time_seconds(request.wait.map(whole_seconds))
            .set_visibility_timeout(request.visibility_timeout.map(whole_seconds))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let (shared, queue) = (Arc::clone(&self.0), queue.to_owned());
        complete(async move {
            let answer = call.send().await.map_err(convert)?;
            let received: Vec<_> = answer.messages.unwrap_or_default().into_iter().map(read_message).collect();
            if !received.is_empty() {
                drop(shared.sends.write().await);
                shared.record_received(&queue, &received);
            }
            Ok(received)
        })
        .await
    }

    /// Deletes a message. Deleted means recorded, even if the caller gives up meanwhile.
    pub(super) async fn delete(&self, queue: &str, handle: &str) -> Result<(), SqsError> {
        let call = self.0.client.delete_message().queue_url(self.0.url(queue).await?).receipt_handle(handle);
        let (shared, handle) = (Arc::clone(&self.0), handle.to_owned());
        complete(async move {
            call.send().await.map_err(convert)?;
            if let Some(message) = shared.seen().forget(&handle) {
                shared.tap.deleted(&message);
            }
            Ok(())
        })
        .await
    }

    /// Hides a message for so long. Returned means recorded, even if the caller gives up meanwhile.
    pub(super) async fn change_visibility(&self, queue: &str, handle: &str, hidden: Duration) -> Result<(), SqsError> {
        let call = self.0.client.change_message_visibility().queue_url(self.0.url(queue).await?);
        let call = call.receipt_handle(handle).visibility_timeout(whole_seconds(hidden));
        let (shared, handle) = (Arc::clone(&self.0), handle.to_owned());
        complete(async move {
            call.send().await.map_err(convert)?;
            if hidden.is_zero()
                && let Some(message) = shared.seen().mark_returned(&handle)
            {
                shared.tap.returned(&message);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn purge(&self, queue: &str) -> Result<(), SqsError> {
        let url = self.0.url(queue).await?;
        self.0.client.purge_queue().queue_url(url).send().await.map_err(convert)?;
        Ok(())
    }
}

impl Shared {
    async fn url(&self, queue: &str) -> Result<String, SqsError> {
        let known = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(queue).cloned();
        if let Some(url) = known {
            return Ok(url);
        }
        let answer = self.client.get_queue_url().queue_name(queue).send().await.map_err(convert)?;
        let url = answer.queue_url.unwrap_or_default();
        self.remember_url(queue, url.clone());
        Ok(url)
    }

    fn remember_url(&self, queue: &str, url: String) {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned(), url);
    }

    async fn send(&self, url: String, message: NewMessage) -> Result<String, SqsError> {
        let mut call = self.client.send_message().queue_url(url).message_body(message.body);
        for (name, attribute) in message.attributes {
            call = call.message_attributes(name, write_attribute(attribute)?);
        }
        if let Some(header) = message.trace_header {
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            call = call.message_system_attributes(name, write_system_attribute(header)?);
        }
        let call = call.set_message_group_id(message.group_id).set_delay_seconds(message.delay.map(whole_seconds));
        Ok(call.send().await.map_err(convert)?.message_id.unwrap_or_default())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records received messages, and what must have happened to them before.
    fn record_received(&self, queue: &str, received: &[ReceivedMessage]) {
        let mut seen = self.seen();
        for message in received {
            let id = MessageId::new(message.message_id.as_str());
            let before = seen.note(&id, queue, &message.receipt_handle);
            self.record_before(queue, &id, message, before.as_ref());
            self.tap.received(&id, receive_count(message));
        }
        let forgotten = seen.shrink();
        if forgotten > 0 {
            self.tap.lost("messages of an external queue, whose deletion would not be recognised", forgotten);
        }
    }

    fn record_before(&self, queue: &str, id: &MessageId, message: &ReceivedMessage, before: Option<&Sighting>) {
        if message.attributes.contains_key("DeadLetterQueueSourceArn")
            && before.is_none_or(|before| before.queue != queue)
        {
            self.tap.dead_lettered(id, queue);
        } else if receive_count(message) > 1 && !before.is_some_and(|before| before.returned) {
            self.tap.returned(id);
        }
    }
}

impl Seen {
    /// Notes a received message, and tells how it was seen before.
    fn note(&mut self, id: &MessageId, queue: &str, handle: &str) -> Option<Sighting> {
        let sighting = Sighting { queue: queue.to_owned(), handle: handle.to_owned(), returned: false };
        let before = self.messages.insert(id.clone(), sighting);
        match &before {
            Some(before) => {
                self.by_handle.remove(&before.handle);
            }
            None => self.order.push_back(id.clone()),
        }
        self.by_handle.insert(handle.to_owned(), id.clone());
        before
    }

    /// Forgets the message whose newest handle this is.
    fn forget(&mut self, handle: &str) -> Option<MessageId> {
        let id = self.by_handle.remove(handle)?;
        self.messages.remove(&id);
        Some(id)
    }

    /// Notes that the message whose newest handle this is has been returned.
    fn mark_returned(&mut self, handle: &str) -> Option<MessageId> {
        let id = self.by_handle.get(handle)?;
        self.messages.get_mut(id)?.returned = true;
        Some(id.clone())
    }

    /// Forgets the oldest messages beyond what may be remembered; tells how many.
    fn shrink(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.order.len() > REMEMBERED
            && let Some(id) = self.order.pop_front()
        {
            // Those that were deleted have been forgotten before.
            if let Some(sighting) = self.messages.remove(&id) {
                self.by_handle.remove(&sighting.handle);
                forgotten += 1;
            }
        }
        forgotten
    }
}

/// Carries something out to its end, even if nobody waits for it any more.
async fn complete<T: Send + 'static>(
    work: impl Future<Output = Result<T, SqsError>> + Send + 'static,
) -> Result<T, SqsError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(failure(500, "InternalFailure", &error)))
}

/// The error of the external endpoint, with its own code and message.
fn convert<E: ProvideErrorMetadata + Error + 'static>(error: SdkError<E, HttpResponse>) -> SqsError {
    let status = error.raw_response().map_or(503, |response| response.status().as_u16());
    match error.as_service_error().map(|error| (error.code(), error.message())) {
        Some((Some(code), message)) => SqsError::new(ErrorKind::from_answer(code, status), message.unwrap_or_default()),
        _ => {
            let cause = DisplayErrorContext(&error).to_string();
            failure(status.max(500), "ServiceUnavailable", &cause)
        }
    }
}

fn failure(status: u16, code: &str, cause: &dyn fmt::Display) -> SqsError {
    let message = format!("The external SQS endpoint could not be asked: {cause}");
    SqsError::new(ErrorKind::External { code: code.to_owned(), status }, message)
}

fn names(attributes: &AttributeMap) -> HashMap<QueueAttributeName, String> {
    attributes.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect()
}

fn name_of(url: &str) -> String {
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn receive_count(message: &ReceivedMessage) -> u32 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn write_attribute(attribute: MessageAttribute) -> Result<MessageAttributeValue, SqsError> {
    let written = MessageAttributeValue::builder().data_type(attribute.data_type);
    let written = match attribute.value {
        AttributeValue::Text(text) => written.string_value(text),
        AttributeValue::Binary(bytes) => written.binary_value(Blob::new(bytes)),
    };
    written.build().map_err(|error| SqsError::new(ErrorKind::InvalidParameterValue, error.to_string()))
}

fn write_system_attribute(value: String) -> Result<MessageSystemAttributeValue, SqsError> {
    let written = MessageSystemAttributeValue::builder().data_type("String").string_value(value);
    written.build().map_err(|error| SqsError::new(ErrorKind::InvalidParameterValue, error.to_string()))
}

fn read_message(message: Message) -> ReceivedMessage {
    let attributes = message.attributes.unwrap_or_default();
    let message_attributes = message.message_attributes.unwrap_or_default();
    ReceivedMessage {
        message_id: message.message_id.unwrap_or_default(),
        receipt_handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        md5_of_body: message.md5_of_body.unwrap_or_default(),
        attributes: attributes.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect(),
        message_attributes: message_attributes.into_iter().map(read_attribute).collect(),
        md5_of_message_attributes: message.md5_of_message_attributes,
    }
}

fn read_attribute((name, attribute): (String, MessageAttributeValue)) -> (String, MessageAttribute) {
    let value = match (attribute.string_value, attribute.binary_value) {
        (_, Some(bytes)) => AttributeValue::Binary(bytes.into_inner()),
        (text, None) => AttributeValue::Text(text.unwrap_or_default()),
    };
    (name, MessageAttribute { data_type: attribute.data_type, value })
}
