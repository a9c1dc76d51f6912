//! Messages as SQS hands them out.

use std::collections::BTreeMap;

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
