//! One function per SQS operation: reads the call, asks the queues, writes the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ErrorKind, SqsError};
use super::limits::{self, VISIBILITY_SECONDS, WAIT_SECONDS};
use super::move_task::MoveRequest;
use super::permissions::Permission;
use super::queues::{Queues, ReceiveRequest, answer_each};
use super::tags::{self, Tags};
use super::wire::{self, BatchResult, Empty, required};

/// How many queues a page of a listing has at most (SQS API, `ListQueues`).
const PAGE: usize = 1000;

/// Carries out the operation with this name, and returns the body of the answer.
///
/// # Errors
/// If there is no such operation, the body cannot be read, or the operation fails.
pub(super) async fn call(queues: &Queues, operation: &str, body: &[u8]) -> Result<Vec<u8>, SqsError> {
    match operation {
        "CreateQueue" => write(create_queue(queues, read(body)?).await?),
        "DeleteQueue" => write(delete_queue(queues, read(body)?).await?),
        "GetQueueUrl" => write(get_queue_url(queues, read(body)?).await?),
        "ListQueues" => write(list_queues(queues, read(body)?).await?),
        "ListDeadLetterSourceQueues" => write(list_dead_letter_source_queues(queues, read(body)?).await?),
        "GetQueueAttributes" => write(get_queue_attributes(queues, read(body)?).await?),
        "SetQueueAttributes" => write(set_queue_attributes(queues, read(body)?).await?),
        "TagQueue" => write(tag_queue(queues, read(body)?).await?),
        "UntagQueue" => write(untag_queue(queues, read(body)?).await?),
        "ListQueueTags" => write(list_queue_tags(queues, read(body)?).await?),
        "AddPermission" => write(add_permission(queues, read(body)?).await?),
        "RemovePermission" => write(remove_permission(queues, read(body)?).await?),
        "StartMessageMoveTask" => write(start_message_move_task(queues, read(body)?).await?),
        "ListMessageMoveTasks" => write(list_message_move_tasks(queues, read(body)?).await?),
        "CancelMessageMoveTask" => write(cancel_message_move_task(queues, read(body)?).await?),
        "PurgeQueue" => write(purge_queue(queues, read(body)?).await?),
        "SendMessage" => write(send_message(queues, read(body)?).await?),
        "SendMessageBatch" => write(send_message_batch(queues, read(body)?).await?),
        "ReceiveMessage" => write(receive_message(queues, read(body)?).await?),
        "DeleteMessage" => write(delete_message(queues, read(body)?).await?),
        "DeleteMessageBatch" => write(delete_message_batch(queues, read(body)?).await?),
        "ChangeMessageVisibility" => write(change_message_visibility(queues, read(body)?).await?),
        "ChangeMessageVisibilityBatch" => write(change_message_visibility_batch(queues, read(body)?).await?),
        _ => Err(SqsError::new(ErrorKind::UnknownOperation, format!("SQS has no operation {operation:?}."))),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(body).map_err(wire::unreadable)
}

fn write(answer: impl Serialize) -> Result<Vec<u8>, SqsError> {
    serde_json::to_vec(&answer).map_err(wire::unreadable)
}

/// The name of the queue that a URL means: its last part. The host is never looked at, so that a URL
/// stays good behind a proxy, in a container, or with another port.
fn queue_of(url: Option<String>) -> Result<String, SqsError> {
    let url = required(url, "QueueUrl")?;
    Ok(url.rsplit('/').next().unwrap_or_default().to_owned())
}

async fn create_queue(queues: &Queues, call: wire::CreateQueue) -> Result<wire::QueueUrl, SqsError> {
    let name = required(call.queue_name, "QueueName")?;
    let tags = call.tags.unwrap_or_default();
    tags::add(&mut Tags::new(), &tags)?;
    let queue_url = queues.create(&name, &call.attributes.unwrap_or_default()).await?;
    if !tags.is_empty() {
        queues.tag(&name, &tags).await?;
    }
    Ok(wire::QueueUrl { queue_url })
}

async fn delete_queue(queues: &Queues, call: wire::OfQueue) -> Result<Empty, SqsError> {
    queues.delete_queue(&queue_of(call.queue_url)?).await?;
    Ok(Empty {})
}

async fn get_queue_url(queues: &Queues, call: wire::GetQueueUrl) -> Result<wire::QueueUrl, SqsError> {
    let name = required(call.queue_name, "QueueName")?;
    queues.check_exists(&name).await?;
    Ok(wire::QueueUrl { queue_url: queues.queue_url(&name) })
}

async fn list_queues(queues: &Queues, call: wire::ListQueues) -> Result<wire::QueueUrls, SqsError> {
    let page = match call.max_results {
        Some(max) => limits::in_range("MaxResults", max, &(1..=1000))? as usize,
        None => PAGE,
    };
    let prefix = call.queue_name_prefix.unwrap_or_default();
    let mut names = queues.names().await?;
    // A token is the last name of the page before.
    names.retain(|name| name.starts_with(&prefix) && call.next_token.as_ref().is_none_or(|last| name > last));
    let has_more = call.max_results.is_some() && names.len() > page;
    names.truncate(page);
    let next_token = names.last().filter(|_| has_more).cloned();
    Ok(wire::QueueUrls { queue_urls: names.iter().map(|name| queues.queue_url(name)).collect(), next_token })
}

async fn list_dead_letter_source_queues(
    queues: &Queues,
    call: wire::OfQueue,
) -> Result<wire::SourceQueueUrls, SqsError> {
    let names = queues.dead_letter_sources(&queue_of(call.queue_url)?).await?;
    Ok(wire::SourceQueueUrls { queue_urls: names.iter().map(|name| queues.queue_url(name)).collect() })
}

async fn get_queue_attributes(queues: &Queues, call: wire::GetQueueAttributes) -> Result<wire::Attributes, SqsError> {
    let wanted = call.attribute_names.unwrap_or_default();
    let mut attributes = queues.attributes(&queue_of(call.queue_url)?).await?;
    attributes.retain(|name, _| wanted.iter().any(|wanted| wanted == "All" || wanted == name));
    Ok(wire::Attributes { attributes })
}

async fn set_queue_attributes(queues: &Queues, call: wire::SetQueueAttributes) -> Result<Empty, SqsError> {
    let attributes: BTreeMap<_, _> = required(call.attributes, "Attributes")?;
    queues.set_attributes(&queue_of(call.queue_url)?, &attributes).await?;
    Ok(Empty {})
}

async fn tag_queue(queues: &Queues, call: wire::TagQueue) -> Result<Empty, SqsError> {
    queues.tag(&queue_of(call.queue_url)?, &required(call.tags, "Tags")?).await?;
    Ok(Empty {})
}

async fn untag_queue(queues: &Queues, call: wire::UntagQueue) -> Result<Empty, SqsError> {
    queues.untag(&queue_of(call.queue_url)?, &required(call.tag_keys, "TagKeys")?).await?;
    Ok(Empty {})
}

async fn list_queue_tags(queues: &Queues, call: wire::OfQueue) -> Result<wire::QueueTags, SqsError> {
    Ok(wire::QueueTags { tags: queues.tags(&queue_of(call.queue_url)?).await? })
}

async fn add_permission(queues: &Queues, call: wire::AddPermission) -> Result<Empty, SqsError> {
    let label = required(call.label, "Label")?;
    let permission = Permission { label, accounts: call.accounts, actions: call.actions };
    queues.add_permission(&queue_of(call.queue_url)?, &permission).await?;
    Ok(Empty {})
}

async fn remove_permission(queues: &Queues, call: wire::RemovePermission) -> Result<Empty, SqsError> {
    queues.remove_permission(&queue_of(call.queue_url)?, &required(call.label, "Label")?).await?;
    Ok(Empty {})
}

async fn start_message_move_task(
    queues: &Queues,
    call: wire::StartMessageMoveTask,
) -> Result<wire::TaskHandle, SqsError> {
    let limit = |rate| limits::in_range("MaxNumberOfMessagesPerSecond", rate, &limits::MOVES_PER_SECOND);
    let request = MoveRequest {
        source_arn: required(call.source_arn, "SourceArn")?,
        destination_arn: call.destination_arn,
        max_per_second: call.max_number_of_messages_per_second.map(limit).transpose()?,
    };
    Ok(wire::TaskHandle { task_handle: queues.start_move(request).await? })
}

async fn list_message_move_tasks(
    queues: &Queues,
    call: wire::ListMessageMoveTasks,
) -> Result<wire::MoveTaskResults, SqsError> {
    let max = limits::in_range("MaxResults", call.max_results.unwrap_or(1), &limits::LISTED_MOVES)?;
    let tasks = queues.moves(&required(call.source_arn, "SourceArn")?, max).await?;
    Ok(wire::MoveTaskResults { results: tasks.into_iter().map(Into::into).collect() })
}

async fn cancel_message_move_task(
    queues: &Queues,
    call: wire::CancelMessageMoveTask,
) -> Result<wire::MovedMessages, SqsError> {
    let moved = queues.cancel_move(&required(call.task_handle, "TaskHandle")?).await?;
    Ok(wire::MovedMessages { approximate_number_of_messages_moved: moved })
}

async fn purge_queue(queues: &Queues, call: wire::OfQueue) -> Result<Empty, SqsError> {
    queues.purge(&queue_of(call.queue_url)?).await?;
    Ok(Empty {})
}

async fn send_message(queues: &Queues, call: wire::SendMessage) -> Result<wire::Sent, SqsError> {
    let queue = queue_of(call.queue_url)?;
    Ok(queues.send(&queue, call.message.read()).await?.into())
}

async fn send_message_batch(
    queues: &Queues,
    call: wire::Batch<wire::WrittenMessage>,
) -> Result<BatchResult<wire::Sent>, SqsError> {
    let queue = queue_of(call.queue_url)?;
    let entries = call.entries.into_iter().map(|entry| (entry.id, entry.entry.read())).collect();
    let answers = queues.send_batch(&queue, entries).await?;
    Ok(BatchResult::write(answers, wire::Sent::from))
}

async fn receive_message(queues: &Queues, call: wire::ReceiveMessage) -> Result<wire::Messages, SqsError> {
    let queue = queue_of(call.queue_url)?;
    let max = limits::in_range("MaxNumberOfMessages", call.max_number_of_messages.unwrap_or(1), &limits::RECEIVABLE)?;
    let wait = call.wait_time_seconds.map(|wait| limits::seconds("WaitTimeSeconds", wait, &WAIT_SECONDS));
    let hidden = call.visibility_timeout.map(visibility_timeout);
    let request =
        ReceiveRequest { max: max as usize, wait: wait.transpose()?, visibility_timeout: hidden.transpose()? };
    let received = queues.receive_with(&queue, request).await?;
    Ok(wire::Messages { messages: received.into_iter().map(|message| call.wanted.write(message)).collect() })
}

async fn delete_message(queues: &Queues, call: wire::DeleteMessage) -> Result<Empty, SqsError> {
    let handle = required(call.receipt_handle, "ReceiptHandle")?;
    queues.delete_message(&queue_of(call.queue_url)?, &handle).await?;
    Ok(Empty {})
}

async fn delete_message_batch(
    queues: &Queues,
    call: wire::Batch<wire::HandleEntry>,
) -> Result<BatchResult<Empty>, SqsError> {
    let queue = queue_of(call.queue_url)?;
    let handle = |entry: wire::HandleEntry| entry.receipt_handle.unwrap_or_default();
    let entries = call.entries.into_iter().map(|entry| (entry.id, handle(entry.entry))).collect();
    Ok(BatchResult::write(queues.delete_batch(&queue, entries).await?, |()| Empty {}))
}

async fn change_message_visibility(queues: &Queues, call: wire::ChangeMessageVisibility) -> Result<Empty, SqsError> {
    change_visibility(queues, &queue_of(call.queue_url)?, call.change).await?;
    Ok(Empty {})
}

async fn change_message_visibility_batch(
    queues: &Queues,
    call: wire::Batch<wire::VisibilityChange>,
) -> Result<BatchResult<Empty>, SqsError> {
    let queue = queue_of(call.queue_url)?;
    limits::check_batch(call.entries.iter().map(|entry| entry.id.as_str()))?;
    queues.check_exists(&queue).await?;
    let entries = call.entries.into_iter().map(|entry| (entry.id, entry.entry)).collect();
    let answers = answer_each(entries, |change| change_visibility(queues, &queue, change)).await;
    Ok(BatchResult::write(answers, |()| Empty {}))
}

async fn change_visibility(queues: &Queues, queue: &str, change: wire::VisibilityChange) -> Result<(), SqsError> {
    let handle = required(change.receipt_handle, "ReceiptHandle")?;
    let hidden = visibility_timeout(required(change.visibility_timeout, "VisibilityTimeout")?)?;
    queues.change_visibility(queue, &handle, hidden).await
}

fn visibility_timeout(seconds: i64) -> Result<Duration, SqsError> {
    limits::seconds("VisibilityTimeout", seconds, &VISIBILITY_SECONDS)
}
