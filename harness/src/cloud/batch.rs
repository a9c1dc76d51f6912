//! A batch of messages: the event that it becomes, and what a function's response says about it.

use std::collections::HashSet;

use aws_lambda_events::encodings::Base64Data;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};
use bytes::Bytes;
use serde::Deserialize;
use verifier::MessageId;
use verifier::event::Delivery;

use super::queue::message::AttributeValue;
use super::queue::{MessageAttribute, ReceivedMessage};

/// Messages that are handed to a function together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    messages: Vec<ReceivedMessage>,
}

impl Batch {
    /// The batch of these messages, in this order.
    pub fn new(messages: Vec<ReceivedMessage>) -> Self {
        Self { messages }
    }

    /// The event's records as the ledger knows them, in the event's order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.messages.iter().map(delivery).collect()
    }

    /// The event as a function gets it (AWS Lambda developer guide, "Using Lambda with Amazon SQS").
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn event(&self, queue_arn: &str, region: &str) -> Result<Bytes, serde_json::Error> {
        let mut event = SqsEvent::default();
        event.records = self.messages.iter().map(|message| record(message, queue_arn, region)).collect();
        serde_json::to_vec(&event).map(Bytes::from)
    }

    /// The messages that a response reports as failed: those in its `batchItemFailures`, or all.
    ///
    /// The forms are those of "Implementing partial batch responses" in the developer guide. No
    /// response, `null`, and no, a null or an empty list: all is well. What cannot be understood,
    /// or names no message or an unknown one: all has failed.
    pub fn failures(&self, response: &[u8]) -> Vec<MessageId> {
        let known: HashSet<&str> = self.messages.iter().map(|message| message.message_id.as_str()).collect();
        match reported(response) {
            Some(ids) if ids.iter().all(|id| known.contains(id.as_str())) => {
                ids.into_iter().map(MessageId::new).collect()
            }
            _ => self.messages.iter().map(message_id).collect(),
        }
    }

    /// The receipt handles of all messages but those that failed.
    pub fn receipt_handles_without(&self, failed: &[MessageId]) -> Vec<String> {
        let has_failed = |message: &ReceivedMessage| failed.iter().any(|id| id.as_str() == message.message_id);
        self.messages
            .iter()
            .filter(|message| !has_failed(message))
            .map(|message| message.receipt_handle.clone())
            .collect()
    }
}

fn message_id(message: &ReceivedMessage) -> MessageId {
    MessageId::new(message.message_id.as_str())
}

fn delivery(message: &ReceivedMessage) -> Delivery {
    let count = message.attributes.get("ApproximateReceiveCount");
    // Every message has the count; one without it was received this once at least.
    let receive_count = count.and_then(|count| count.parse().ok()).unwrap_or(1);
    Delivery { message: message_id(message), receive_count }
}

fn record(message: &ReceivedMessage, queue_arn: &str, region: &str) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(message.message_id.clone());
    record.receipt_handle = Some(message.receipt_handle.clone());
    record.body = Some(message.body.clone());
    record.md5_of_body = Some(message.md5_of_body.clone());
    record.md5_of_message_attributes = message.md5_of_message_attributes.clone();
    record.attributes = message.attributes.clone().into_iter().collect();
    record.message_attributes =
        message.message_attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
    record.event_source = Some("aws:sqs".to_owned());
    record.event_source_arn = Some(queue_arn.to_owned());
    record.aws_region = Some(region.to_owned());
    record
}

fn attribute(attribute: &MessageAttribute) -> SqsMessageAttribute {
    let mut record = SqsMessageAttribute::default();
    record.data_type = Some(attribute.data_type.clone());
    match &attribute.value {
        AttributeValue::Text(text) => record.string_value = Some(text.clone()),
        AttributeValue::Binary(bytes) => record.binary_value = Some(base64(bytes)),
    }
    record
}

fn base64(bytes: &[u8]) -> Base64Data {
    let mut data = Base64Data::default();
    data.extend_from_slice(bytes);
    data
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchResponse {
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

/// The identifiers in a response, or nothing if it cannot be understood.
fn reported(response: &[u8]) -> Option<Vec<String>> {
    if response.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    let response: Option<BatchResponse> = serde_json::from_slice(response).ok()?;
    let failures = response.and_then(|response| response.batch_item_failures).unwrap_or_default();
    Some(failures.into_iter().map(|failure| failure.item_identifier).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn message(id: &str) -> ReceivedMessage {
        ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: format!("handle of {id}"),
            body: "{}".to_owned(),
            md5_of_body: "99914b932bd37a50b983c5e7c90ae93b".to_owned(),
            attributes: BTreeMap::from([
                ("ApproximateReceiveCount".to_owned(), "2".to_owned()),
                ("SentTimestamp".to_owned(), "1545082649183".to_owned()),
            ]),
            message_attributes: BTreeMap::from([
                (
                    "traceparent".to_owned(),
                    MessageAttribute {
                        data_type: "String".to_owned(),
                        value: AttributeValue::Text("00-1-2-01".to_owned()),
                    },
                ),
                (
                    "blob".to_owned(),
                    MessageAttribute { data_type: "Binary".to_owned(), value: AttributeValue::Binary(vec![1, 2]) },
                ),
            ]),
            md5_of_message_attributes: Some("0123456789abcdef0123456789abcdef".to_owned()),
        }
    }

    fn failed(response: &str) -> Vec<String> {
        let batch = Batch::new(vec![message("a"), message("b")]);
        batch.failures(response.as_bytes()).iter().map(MessageId::to_string).collect()
    }

    #[test]
    fn event_has_the_documented_form() {
        let event = Batch::new(vec![message("a")]).event("arn:aws:sqs:eu-west-1:123456789012:onboarding", "eu-west-1");
        let event: serde_json::Value = serde_json::from_slice(&event.unwrap()).unwrap();
        assert_eq!(
            event,
            json!({"Records": [{
                "messageId": "a",
                "receiptHandle": "handle of a",
                "body": "{}",
                "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183"},
                "messageAttributes": {
                    "traceparent": {
                        "stringValue": "00-1-2-01",
                        "binaryValue": null,
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String",
                    },
                    "blob": {
                        "stringValue": null,
                        "binaryValue": "AQI=",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "Binary",
                    },
                },
                "md5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
                "md5OfMessageAttributes": "0123456789abcdef0123456789abcdef",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:onboarding",
                "awsRegion": "eu-west-1",
            }]})
        );
    }

    #[test]
    fn delivery_knows_how_often_its_message_was_received() {
        let deliveries = Batch::new(vec![message("a")]).deliveries();
        assert_eq!(deliveries, [Delivery { message: MessageId::new("a"), receive_count: 2 }]);
    }

    #[test]
    fn responses_that_mean_success() {
        for response in ["", " ", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
            assert!(failed(response).is_empty(), "{response}");
        }
    }

    #[test]
    fn reported_messages_have_failed() {
        assert_eq!(failed(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), ["b"]);
        assert_eq!(failed(r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"a"}]}"#), ["b", "a"]);
    }

    #[test]
    fn response_that_cannot_be_understood_fails_the_whole_batch() {
        for response in [
            "{",
            "done",
            r#""done""#,
            r#"{"batchItemFailures":"b"}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"c"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}"#,
            r#"{"batchItemFailures":[{"itemidentifier":"b"}]}"#,
            r#"{"batchItemFailures":[{"id":"b"}]}"#,
        ] {
            assert_eq!(failed(response), ["a", "b"], "{response}");
        }
    }

    #[test]
    fn only_failed_messages_keep_their_receipt_handles() {
        let batch = Batch::new(vec![message("a"), message("b")]);
        assert_eq!(batch.receipt_handles_without(&[MessageId::new("a")]), ["handle of b"]);
    }
}
