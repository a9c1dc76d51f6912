//! Messages as SQS hands them out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::SqsError;
use super::md5;

/// A received message (SQS `ReceiveMessage`, element `Message`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// `MessageId`.
    pub message_id: String,
    /// `ReceiptHandle` of this receive.
    pub receipt_handle: String,
    /// `Body`.
    pub body: String,
    /// `MD5OfBody`, in lower-case hex.
    pub md5_of_body: String,
    /// `Attributes`: the system attributes, such as `ApproximateReceiveCount` and `SentTimestamp`.
    pub attributes: BTreeMap<String, String>,
    /// `MessageAttributes`: those of the sender.
    pub message_attributes: BTreeMap<String, MessageAttribute>,
    /// `MD5OfMessageAttributes`, if there are any.
    pub md5_of_message_attributes: Option<String>,
}

/// A message attribute that its sender gave (SQS `MessageAttributeValue`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAttribute {
    /// `DataType`: `String`, `Number` or `Binary`, and a label of the sender's after a dot.
    pub data_type: String,
    /// `StringValue` of a `String` or `Number`, `BinaryValue` of a `Binary`.
    pub value: AttributeValue,
}

/// The value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// Of a `String` or a `Number`.
    Text(String),
    /// Of a `Binary`.
    Binary(Vec<u8>),
}

/// A message on its way into a queue (the input of SQS `SendMessage`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewMessage {
    /// `MessageBody`.
    pub body: String,
    /// `MessageAttributes`.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `AWSTraceHeader` of the `MessageSystemAttributes`, the only one that a sender may give.
    pub trace_header: Option<String>,
    /// `MessageGroupId`, which asks a standard queue for fairness between groups.
    pub group_id: Option<String>,
    /// `DelaySeconds`; left out, the queue's own delay counts.
    pub delay: Option<Duration>,
}

/// A message as far as it could be read, and what is wrong with it if that is known already.
///
/// A refused message was sent all the same, so it goes through the tap like any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The message.
    pub message: NewMessage,
    /// Whether it may be offered to a queue.
    pub verdict: Result<(), SqsError>,
}

impl From<NewMessage> for Draft {
    fn from(message: NewMessage) -> Self {
        Self { message, verdict: Ok(()) }
    }
}

/// What a queue says to a sender whose message it accepted (the output of SQS `SendMessage`).
///
/// The checksums are those of what the sender sent, so that it can tell whether it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// `MessageId`.
    pub message_id: String,
    /// `MD5OfMessageBody`, in lower-case hex.
    pub md5_of_body: String,
    /// `MD5OfMessageAttributes`, if there are any.
    pub md5_of_message_attributes: Option<String>,
    /// `MD5OfMessageSystemAttributes`, if there are any.
    pub md5_of_system_attributes: Option<String>,
}

impl MessageAttribute {
    /// An attribute of the type `String`.
    pub fn text(value: impl Into<String>) -> Self {
        Self { data_type: "String".to_owned(), value: AttributeValue::Text(value.into()) }
    }

    /// Its value, if that is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            AttributeValue::Text(text) => Some(text),
            AttributeValue::Binary(_) => None,
        }
    }
}

impl AttributeValue {
    /// The value's bytes, as they are counted and hashed.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl SentMessage {
    /// The answer for this message, which was given this identifier.
    pub(super) fn new(message_id: String, message: &NewMessage) -> Self {
        Self {
            message_id,
            md5_of_body: md5::of_text(&message.body),
            md5_of_message_attributes: md5::of_attributes(&message.attributes),
            md5_of_system_attributes: message.trace_header.as_deref().map(md5::of_trace_header),
        }
    }
}
