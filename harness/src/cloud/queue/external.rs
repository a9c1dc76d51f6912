//! Somebody else's SQS endpoint in our engine's place: AWS, or anything that speaks like it.
//!
//! Calls are made again with the SDK, because a signature covers the host that it was made for.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ListMessageMoveTasksResultEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
};
use tokio::sync::RwLock;
use verifier::MessageId;

use super::attributes::AttributeMap;
use super::endpoint::causes;
use super::error::{ErrorKind, SqsError};
use super::fault::Faults;
use super::message::{AttributeValue, MessageAttribute, NewMessage, ReceivedMessage, SentMessage};
use super::move_task::{MoveReport, MoveRequest, MoveStatus};
use super::permissions::Permission;
use super::queues::{Depth, ReceiveRequest};
use super::sightings::{Seen, Sighting};
use super::tags::Tags;
use super::tap::{Observer, Sending, Tap};

/// No call may take longer: it is a poll that waits its 20 s, and some time on the way.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// An external endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct External(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    /// What the names of queues begin with at the endpoint, and only there.
    prefix: String,
    tap: Tap,
    /// The names of the queues that were created from here.
    created: Mutex<BTreeSet<String>>,
    /// The URLs of queues by name.
    urls: Mutex<HashMap<String, String>>,
    /// Held for reading by each send. Whoever receives waits for those that are under way, because a
    /// message may arrive before the answer to its send: it was sent first, so that is recorded first.
    sends: RwLock<()>,
    seen: Mutex<Seen>,
}

impl External {
    pub(super) fn new(client: &Client, prefix: String, tap: Tap) -> Self {
        // A call that is made twice can have an effect twice, of which one is recorded: whoever calls
        // here is told of a failure and makes the call again, as a call of its own.
        let timeouts = TimeoutConfig::builder().operation_timeout(ANSWERED_WITHIN).build();
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        Self(Arc::new(Shared {
            client: Client::from_conf(config.build()),
            prefix,
            tap,
            created: Mutex::default(),
            urls: Mutex::default(),
            sends: RwLock::default(),
            seen: Mutex::default(),
        }))
    }

    /// The name at the endpoint of the queue that has this name here.
    pub(super) fn name_there(&self, queue: &str) -> String {
        self.0.name_there(queue)
    }

    pub(super) async fn create(&self, name: &str, attributes: &AttributeMap) -> Result<(), SqsError> {
        let call = self.0.client.create_queue().queue_name(self.0.name_there(name));
        // Noted before it is known whether it succeeds: nobody may be there any more to hear of it.
        self.0.created().insert(name.to_owned());
        let answer = call.set_attributes(Some(names(attributes))).send().await.map_err(convert);
        let answer = answer.inspect_err(|_| _ = self.0.created().remove(name))?;
        self.0.remember_url(name, answer.queue_url.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn delete_queue(&self, queue: &str) -> Result<(), SqsError> {
        let url = self.0.url(queue).await?;
        self.0.client.delete_queue().queue_url(url).send().await.map_err(convert)?;
        self.0.urls.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
        self.0.created().remove(queue);
        Ok(())
    }

    /// Deletes all queues that were created from here; tells of those that are left, by their names there.
    pub(super) async fn delete_created(&self) -> Vec<(String, SqsError)> {
        let created = self.0.created().clone();
        let mut left = Vec::new();
        for queue in created {
            match self.delete_queue(&queue).await {
                Err(error) if error.kind != ErrorKind::QueueDoesNotExist => {
                    left.push((self.0.name_there(&queue), error));
                }
                _ => {}
            }
        }
        left
    }

    pub(super) async fn names(&self) -> Result<Vec<String>, SqsError> {
        let list = self.0.client.list_queues().queue_name_prefix(&self.0.prefix).max_results(1000);
        let mut pages = list.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            names.extend(self.0.names_here(page.map_err(convert)?.queue_urls()));
        }
        Ok(names)
    }

    pub(super) async fn dead_letter_sources(&self, queue: &str) -> Result<Vec<String>, SqsError> {
        let call = self.0.client.list_dead_letter_source_queues().queue_url(self.0.url(queue).await?);
        let answer = call.send().await.map_err(convert)?;
        Ok(self.0.names_here(answer.queue_urls()).collect())
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

    pub(super) async fn tags(&self, queue: &str) -> Result<Tags, SqsError> {
        let call = self.0.client.list_queue_tags().queue_url(self.0.url(queue).await?);
        Ok(call.send().await.map_err(convert)?.tags.unwrap_or_default().into_iter().collect())
    }

    pub(super) async fn tag(&self, queue: &str, tags: &Tags) -> Result<(), SqsError> {
        let call = self.0.client.tag_queue().queue_url(self.0.url(queue).await?);
        call.set_tags(Some(tags.clone().into_iter().collect())).send().await.map_err(convert)?;
        Ok(())
    }

    pub(super) async fn untag(&self, queue: &str, keys: &[String]) -> Result<(), SqsError> {
        let call = self.0.client.untag_queue().queue_url(self.0.url(queue).await?);
        call.set_tag_keys(Some(keys.to_vec())).send().await.map_err(convert)?;
        Ok(())
    }

    pub(super) async fn add_permission(&self, queue: &str, permission: &Permission) -> Result<(), SqsError> {
        let call = self.0.client.add_permission().queue_url(self.0.url(queue).await?).label(&permission.label);
        let call = call.set_aws_account_ids(Some(permission.accounts.clone()));
        call.set_actions(Some(permission.actions.clone())).send().await.map_err(convert)?;
        Ok(())
    }

    pub(super) async fn remove_permission(&self, queue: &str, label: &str) -> Result<(), SqsError> {
        let call = self.0.client.remove_permission().queue_url(self.0.url(queue).await?);
        call.label(label).send().await.map_err(convert)?;
        Ok(())
    }

    pub(super) async fn start_move(&self, request: MoveRequest) -> Result<String, SqsError> {
        let call = self.0.client.start_message_move_task().source_arn(request.source_arn);
        let rate = request.max_per_second.and_then(|rate| i32::try_from(rate).ok());
        let call = call.set_destination_arn(request.destination_arn).set_max_number_of_messages_per_second(rate);
        Ok(call.send().await.map_err(convert)?.task_handle.unwrap_or_default())
    }

    pub(super) async fn moves(&self, source_arn: &str, max: u32) -> Result<Vec<MoveReport>, SqsError> {
        let call =
            self.0.client.list_message_move_tasks().source_arn(source_arn).set_max_results(i32::try_from(max).ok());
        let answer = call.send().await.map_err(convert)?;
        Ok(answer.results.unwrap_or_default().into_iter().map(read_move).collect())
    }

    pub(super) async fn cancel_move(&self, handle: &str) -> Result<u64, SqsError> {
        let call = self.0.client.cancel_message_move_task().task_handle(handle);
        let answer = call.send().await.map_err(convert)?;
        Ok(u64::try_from(answer.approximate_number_of_messages_moved).unwrap_or_default())
    }
}

impl Shared {
    /// The name at the endpoint of the queue that has this name here.
    fn name_there(&self, queue: &str) -> String {
        format!("{}{queue}", self.prefix)
    }

    /// The names here of queues at the endpoint; those of others are left out.
    fn names_here(&self, urls: &[String]) -> impl Iterator<Item = String> {
        urls.iter().filter_map(|url| name_of(url).strip_prefix(&self.prefix).map(str::to_owned))
    }

    fn created(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn url(&self, queue: &str) -> Result<String, SqsError> {
        let known = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(queue).cloned();
        if let Some(url) = known {
            return Ok(url);
        }
        let answer = self.client.get_queue_url().queue_name(self.name_there(queue)).send().await.map_err(convert)?;
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
        let was_moved = match before {
            Some(before) => before.queue != queue,
            // Not every emulator says so.
            None => message.attributes.contains_key("DeadLetterQueueSourceArn"),
        };
        if was_moved {
            self.tap.dead_lettered(id, queue);
        } else if receive_count(message) > 1 && !before.is_some_and(|before| before.returned) {
            self.tap.returned(id);
        }
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
        _ => failure(status.max(500), "ServiceUnavailable", &causes(&error)),
    }
}

fn failure(status: u16, code: &str, cause: &dyn fmt::Display) -> SqsError {
    let message = format!("The external SQS endpoint did not answer: {cause}");
    SqsError::new(ErrorKind::External { code: code.to_owned(), status }, message)
}

fn names(attributes: &AttributeMap) -> HashMap<QueueAttributeName, String> {
    attributes.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect()
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
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

fn read_move(entry: ListMessageMoveTasksResultEntry) -> MoveReport {
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    MoveReport {
        handle: entry.task_handle.unwrap_or_default(),
        request: MoveRequest {
            source_arn: entry.source_arn.unwrap_or_default(),
            destination_arn: entry.destination_arn,
            max_per_second: entry.max_number_of_messages_per_second.and_then(|rate| u32::try_from(rate).ok()),
        },
        status: MoveStatus::from_answer(entry.status.as_deref().unwrap_or_default()),
        moved: count(entry.approximate_number_of_messages_moved),
        to_move: count(entry.approximate_number_of_messages_to_move.unwrap_or_default()),
        failure: entry.failure_reason,
        started_millis: count(entry.started_timestamp),
    }
}
