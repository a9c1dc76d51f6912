//! The shapes of SQS's calls and answers in AWS JSON 1.0 (SQS API reference). Members that have no
//! effect here are passed over.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::error::{ErrorKind, SqsError};
use super::limits::{self, DELAY_SECONDS};
use super::md5;
use super::message::{AttributeValue, Draft, MessageAttribute, NewMessage, ReceivedMessage, SentMessage};
use super::move_task::{MoveReport, MoveStatus};
use super::queues::BatchAnswer;

/// The value of a parameter that a call must have.
pub(super) fn required<T>(value: Option<T>, parameter: &str) -> Result<T, SqsError> {
    value.ok_or_else(|| SqsError::missing(parameter))
}

/// The input of operations that need nothing but a queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfQueue {
    pub(super) queue_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    pub(super) queue_name: Option<String>,
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// Alone among the members, it is written with a small letter.
    #[serde(rename = "tags")]
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagQueue {
    pub(super) queue_url: Option<String>,
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagQueue {
    pub(super) queue_url: Option<String>,
    pub(super) tag_keys: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddPermission {
    pub(super) queue_url: Option<String>,
    pub(super) label: Option<String>,
    #[serde(rename = "AWSAccountIds", default)]
    pub(super) accounts: Vec<String>,
    #[serde(default)]
    pub(super) actions: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemovePermission {
    pub(super) queue_url: Option<String>,
    pub(super) label: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartMessageMoveTask {
    pub(super) source_arn: Option<String>,
    pub(super) destination_arn: Option<String>,
    pub(super) max_number_of_messages_per_second: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMessageMoveTasks {
    pub(super) source_arn: Option<String>,
    pub(super) max_results: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelMessageMoveTask {
    pub(super) task_handle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    pub(super) queue_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueAttributes {
    pub(super) queue_url: Option<String>,
    pub(super) attribute_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetQueueAttributes {
    pub(super) queue_url: Option<String>,
    pub(super) attributes: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListQueues {
    pub(super) queue_name_prefix: Option<String>,
    pub(super) max_results: Option<i64>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendMessage {
    pub(super) queue_url: Option<String>,
    #[serde(flatten)]
    pub(super) message: WrittenMessage,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WrittenMessage {
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    message_attributes: Option<BTreeMap<String, WrittenAttribute>>,
    message_system_attributes: Option<BTreeMap<String, WrittenAttribute>>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WrittenAttribute {
    data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    pub(super) queue_url: Option<String>,
    pub(super) max_number_of_messages: Option<i64>,
    pub(super) wait_time_seconds: Option<i64>,
    pub(super) visibility_timeout: Option<i64>,
    #[serde(flatten)]
    pub(super) wanted: Wanted,
}

/// Which attributes a consumer wants to have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wanted {
    /// The older name of `message_system_attribute_names`.
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteMessage {
    pub(super) queue_url: Option<String>,
    pub(super) receipt_handle: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeMessageVisibility {
    pub(super) queue_url: Option<String>,
    #[serde(flatten)]
    pub(super) change: VisibilityChange,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VisibilityChange {
    pub(super) receipt_handle: Option<String>,
    pub(super) visibility_timeout: Option<i64>,
}

/// The input of an operation on several messages at once.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<E> {
    pub(super) queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    pub(super) entries: Vec<BatchEntry<E>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchEntry<E> {
    /// Left out, it is empty, which no id may be.
    #[serde(default)]
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) entry: E,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HandleEntry {
    pub(super) receipt_handle: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueUrl {
    pub(super) queue_url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueUrls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

/// As [`QueueUrls`], which `ListDeadLetterSourceQueues` writes with a small letter.
#[derive(Debug, Serialize)]
pub(super) struct SourceQueueUrls {
    #[serde(rename = "queueUrls")]
    pub(super) queue_urls: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueTags {
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TaskHandle {
    pub(super) task_handle: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MovedMessages {
    pub(super) approximate_number_of_messages_moved: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveTaskResults {
    pub(super) results: Vec<MoveTaskResult>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveTaskResult {
    /// Only of a task that can be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: &'static str,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<u32>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    started_timestamp: u64,
}

impl From<MoveReport> for MoveTaskResult {
    fn from(report: MoveReport) -> Self {
        Self {
            task_handle: Some(report.handle).filter(|_| report.status == MoveStatus::Running),
            status: report.status.as_str(),
            source_arn: report.request.source_arn,
            destination_arn: report.request.destination_arn,
            max_number_of_messages_per_second: report.request.max_per_second,
            approximate_number_of_messages_moved: report.moved,
            approximate_number_of_messages_to_move: report.to_move,
            failure_reason: report.failure,
            started_timestamp: report.started_millis,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sent {
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_message_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_message_system_attributes: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Messages {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) messages: Vec<Received>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Received {
    message_id: String,
    receipt_handle: String,
    body: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, WrittenAttribute>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<String>,
}

/// The answer to an operation on several messages at once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchResult<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    successful: Vec<Done<T>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done<T> {
    id: String,
    #[serde(flatten)]
    answer: T,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    sender_fault: bool,
    code: String,
    message: String,
}

/// An answer without members.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}

impl WrittenMessage {
    /// The message as far as it can be read, and the first thing that is wrong with it. What depends
    /// on the queue is checked there.
    pub(super) fn read(self) -> Draft {
        let mut verdict = refuse_deduplication(self.message_deduplication_id);
        let delay = self.delay_seconds.map(|delay| limits::seconds("DelaySeconds", delay, &DELAY_SECONDS));
        let attributes = self.message_attributes.unwrap_or_default().into_iter().map(read_attribute).collect();
        let message = NewMessage {
            body: part(&mut verdict, required(self.message_body, "MessageBody")),
            attributes: part(&mut verdict, attributes),
            trace_header: part(&mut verdict, read_trace_header(self.message_system_attributes.unwrap_or_default())),
            group_id: self.message_group_id,
            delay: part(&mut verdict, delay.transpose()),
        };
        Draft { message, verdict }
    }
}

/// A part of a message; one that cannot be read is empty, and the verdict says why.
fn part<T: Default>(verdict: &mut Result<(), SqsError>, part: Result<T, SqsError>) -> T {
    part.unwrap_or_else(|error| {
        *verdict = std::mem::replace(verdict, Ok(())).and(Err(error));
        T::default()
    })
}

/// Only FIFO queues know duplicates.
fn refuse_deduplication(id: Option<String>) -> Result<(), SqsError> {
    let Some(id) = id else { return Ok(()) };
    let reason = "The request include parameter that is not valid for this queue type.";
    Err(SqsError::invalid_value("MessageDeduplicationId", id, reason))
}

fn read_attribute((name, written): (String, WrittenAttribute)) -> Result<(String, MessageAttribute), SqsError> {
    let data_type = written.data_type.unwrap_or_default();
    let value = match written.binary_value {
        Some(encoded) if data_type.starts_with("Binary") => {
            AttributeValue::Binary(BASE64.decode(encoded).map_err(|_| unreadable("BinaryValue is not Base64"))?)
        }
        // A value in the wrong member is none: it is refused as empty.
        _ if data_type.starts_with("Binary") => AttributeValue::Binary(Vec::new()),
        _ => AttributeValue::Text(written.string_value.unwrap_or_default()),
    };
    Ok((name, MessageAttribute { data_type, value }))
}

/// The `AWSTraceHeader`, the only system attribute that a sender may give (SQS API, `SendMessage`).
fn read_trace_header(written: BTreeMap<String, WrittenAttribute>) -> Result<Option<String>, SqsError> {
    let mut header = None;
    for (name, attribute) in written {
        if name != "AWSTraceHeader" {
            let text = format!("Message system attribute name {name:?} is invalid. Only AWSTraceHeader is supported.");
            return Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
        }
        if attribute.data_type.as_deref() != Some("String") {
            let text = "The message system attribute 'AWSTraceHeader' must be of type 'String'.";
            return Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
        }
        header = Some(attribute.string_value.unwrap_or_default());
    }
    Ok(header)
}

impl Wanted {
    /// Writes a message with the attributes that are wanted, and with their checksum.
    pub(super) fn write(&self, message: ReceivedMessage) -> Received {
        let mut attributes = message.attributes;
        attributes.retain(|name, _| self.wants_system_attribute(name));
        let mut message_attributes = message.message_attributes;
        message_attributes.retain(|name, _| self.wants_attribute(name));
        Received {
            message_id: message.message_id,
            receipt_handle: message.receipt_handle,
            body: message.body,
            md5_of_body: message.md5_of_body,
            attributes,
            md5_of_message_attributes: md5::of_attributes(&message_attributes),
            message_attributes: message_attributes.into_iter().map(write_attribute).collect(),
        }
    }

    fn wants_system_attribute(&self, name: &str) -> bool {
        let lists = [&self.attribute_names, &self.message_system_attribute_names];
        lists.into_iter().flatten().flatten().any(|wanted| wanted == "All" || wanted == name)
    }

    /// `All` and `.*` want every attribute, and `prefix.*` those with this prefix.
    fn wants_attribute(&self, name: &str) -> bool {
        self.message_attribute_names.iter().flatten().any(|wanted| match wanted.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => wanted == "All" || wanted == name,
        })
    }
}

fn write_attribute((name, attribute): (String, MessageAttribute)) -> (String, WrittenAttribute) {
    let mut written = WrittenAttribute { data_type: Some(attribute.data_type), ..WrittenAttribute::default() };
    match attribute.value {
        AttributeValue::Text(text) => written.string_value = Some(text),
        AttributeValue::Binary(bytes) => written.binary_value = Some(BASE64.encode(bytes)),
    }
    (name, written)
}

impl From<SentMessage> for Sent {
    fn from(sent: SentMessage) -> Self {
        Self {
            message_id: sent.message_id,
            md5_of_message_body: sent.md5_of_body,
            md5_of_message_attributes: sent.md5_of_message_attributes,
            md5_of_message_system_attributes: sent.md5_of_system_attributes,
        }
    }
}

impl<T> BatchResult<T> {
    /// Writes the answers to the entries of a batch.
    pub(super) fn write<A>(answers: BatchAnswer<A>, write: impl Fn(A) -> T) -> Self {
        let mut result = Self { successful: Vec::new(), failed: Vec::new() };
        for (id, answer) in answers {
            match answer {
                Ok(answer) => result.successful.push(Done { id, answer: write(answer) }),
                Err(error) => result.failed.push(Failed::new(id, error)),
            }
        }
        result
    }
}

impl Failed {
    fn new(id: String, error: SqsError) -> Self {
        Self { id, sender_fault: error.is_senders_fault(), code: error.code().to_owned(), message: error.message }
    }
}

/// The answer to a call whose body cannot be read.
pub(super) fn unreadable(why: impl fmt::Display) -> SqsError {
    SqsError::new(ErrorKind::Serialization, format!("The body of the request cannot be read: {why}"))
}
