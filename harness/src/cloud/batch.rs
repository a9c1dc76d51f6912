//! A batch of messages: the event that it becomes, and what a function's response says about it.

use std::collections::{HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use verifier::MessageId;
use verifier::event::Delivery;

use super::queue::message::AttributeValue;
use super::queue::{MessageAttribute, ReceivedMessage};

/// The longest event, its metadata included: 6 MB (AWS Lambda developer guide, "Batching behavior" and
/// "Lambda quotas"; its error message says how many bytes that is).
pub const MAX_EVENT_BYTES: usize = 6_291_456;

const EVENT_BEGINS: &str = r#"{"Records":["#;
const EVENT_ENDS: &str = "]}";

/// Where the records of an event come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The queue's ARN.
    pub queue_arn: String,
    /// The AWS region.
    pub region: String,
}

/// Messages that are handed to a function together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    origin: Origin,
    /// How many messages it has at most.
    size: usize,
    messages: Vec<ReceivedMessage>,
    /// The event as far as it is written: without its end.
    event: String,
}

impl Batch {
    /// An empty batch for up to `size` messages.
    pub fn new(origin: Origin, size: usize) -> Self {
        Self { origin, size, messages: Vec::new(), event: EVENT_BEGINS.to_owned() }
    }

    /// Takes messages, in their order, until there are no more, the batch has its size, or the event
    /// would be too long. The first message is taken in any case.
    pub fn fill(&mut self, messages: &mut VecDeque<ReceivedMessage>) {
        while self.room() > 0 {
            let Some(message) = messages.pop_front() else { return };
            let record = record(&message, &self.origin).to_string();
            if !self.messages.is_empty() {
                if self.event.len() + ",".len() + record.len() + EVENT_ENDS.len() > MAX_EVENT_BYTES {
                    return messages.push_front(message);
                }
                self.event.push(',');
            }
            self.event.push_str(&record);
            self.messages.push(message);
        }
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it has no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many more messages it could have.
    pub fn room(&self) -> usize {
        self.size.saturating_sub(self.messages.len())
    }

    /// The event's records as the ledger knows them, in the event's order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.messages.iter().map(delivery).collect()
    }

    /// The event as a function gets it (AWS Lambda developer guide, "Using Lambda with Amazon SQS"), as
    /// JSON.
    pub fn event(&self) -> Bytes {
        [self.event.as_str(), EVENT_ENDS].concat().into()
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
        let failed: HashSet<&str> = failed.iter().map(MessageId::as_str).collect();
        let succeeded = self.messages.iter().filter(|message| !failed.contains(message.message_id.as_str()));
        succeeded.map(|message| message.receipt_handle.clone()).collect()
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

/// A record as AWS writes it: what a message does not have is left out, and is not null.
fn record(message: &ReceivedMessage, origin: &Origin) -> Value {
    let attributes: Map<String, Value> =
        message.message_attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
    let mut record = json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": attributes,
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": origin.queue_arn,
        "awsRegion": origin.region,
    });
    if let Some(md5) = &message.md5_of_message_attributes {
        record["md5OfMessageAttributes"] = json!(md5);
    }
    record
}

/// The lists are always there and always empty: SQS has not made use of them.
fn attribute(attribute: &MessageAttribute) -> Value {
    let (name, value) = match &attribute.value {
        AttributeValue::Text(text) => ("stringValue", text.clone()),
        AttributeValue::Binary(bytes) => ("binaryValue", STANDARD.encode(bytes)),
    };
    json!({ name: value, "stringListValues": [], "binaryListValues": [], "dataType": attribute.data_type })
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

    use aws_lambda_events::event::sqs::SqsEvent;

    use super::*;

    fn origin() -> Origin {
        let queue_arn = "arn:aws:sqs:us-east-2:123456789012:my-queue".to_owned();
        Origin { queue_arn, region: "us-east-2".to_owned() }
    }

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn message(id: &str) -> ReceivedMessage {
        ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: format!("handle of {id}"),
            body: "Test message.".to_owned(),
            md5_of_body: "e4e68fb7bd0e697a0ae8f1bb342846b3".to_owned(),
            attributes: strings(&[("ApproximateReceiveCount", "2")]),
            message_attributes: BTreeMap::new(),
            md5_of_message_attributes: None,
        }
    }

    fn with_body(id: &str, bytes: usize) -> ReceivedMessage {
        ReceivedMessage { body: "b".repeat(bytes), ..message(id) }
    }

    /// A batch of these messages, and those that did not fit.
    fn filled(size: usize, messages: Vec<ReceivedMessage>) -> (Batch, Vec<String>) {
        let mut batch = Batch::new(origin(), size);
        let mut messages = VecDeque::from(messages);
        batch.fill(&mut messages);
        (batch, messages.into_iter().map(|message| message.message_id).collect())
    }

    fn of(ids: &[&str]) -> Batch {
        filled(10, ids.iter().map(|id| message(id)).collect()).0
    }

    fn failed(response: &str) -> Vec<String> {
        of(&["a", "b"]).failures(response.as_bytes()).iter().map(MessageId::to_string).collect()
    }

    /// The example of "Using Lambda with Amazon SQS" in the developer guide.
    #[test]
    fn event_is_the_documented_one() {
        let first = ReceivedMessage {
            receipt_handle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...".to_owned(),
            attributes: strings(&[
                ("ApproximateReceiveCount", "1"),
                ("SentTimestamp", "1545082649183"),
                ("SenderId", "AIDAIENQZJOLO23YVJ4VO"),
                ("ApproximateFirstReceiveTimestamp", "1545082649185"),
            ]),
            message_attributes: BTreeMap::from([("myAttribute".to_owned(), MessageAttribute::text("myValue"))]),
            ..message("059f36b4-87a3-44ab-83d2-661975830a7d")
        };
        let second = ReceivedMessage {
            receipt_handle: "AQEBzWwaftRI0KuVm4tP+/7q1rGgNqicHq...".to_owned(),
            attributes: strings(&[
                ("ApproximateReceiveCount", "1"),
                ("SentTimestamp", "1545082650636"),
                ("SenderId", "AIDAIENQZJOLO23YVJ4VO"),
                ("ApproximateFirstReceiveTimestamp", "1545082650649"),
            ]),
            ..message("2e1424d4-f796-459a-8184-9c92662be6da")
        };
        let (batch, _) = filled(10, vec![first, second]);
        let event: Value = serde_json::from_slice(&batch.event()).unwrap();
        assert_eq!(
            event,
            json!({"Records": [
                {
                    "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                    "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
                    "body": "Test message.",
                    "attributes": {
                        "ApproximateReceiveCount": "1",
                        "SentTimestamp": "1545082649183",
                        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                        "ApproximateFirstReceiveTimestamp": "1545082649185",
                    },
                    "messageAttributes": {
                        "myAttribute": {
                            "stringValue": "myValue",
                            "stringListValues": [],
                            "binaryListValues": [],
                            "dataType": "String",
                        },
                    },
                    "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                    "awsRegion": "us-east-2",
                },
                {
                    "messageId": "2e1424d4-f796-459a-8184-9c92662be6da",
                    "receiptHandle": "AQEBzWwaftRI0KuVm4tP+/7q1rGgNqicHq...",
                    "body": "Test message.",
                    "attributes": {
                        "ApproximateReceiveCount": "1",
                        "SentTimestamp": "1545082650636",
                        "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                        "ApproximateFirstReceiveTimestamp": "1545082650649",
                    },
                    "messageAttributes": {},
                    "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                    "awsRegion": "us-east-2",
                },
            ]})
        );
    }

    #[test]
    fn event_has_what_a_message_has_and_no_nulls() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        let blob = MessageAttribute { data_type: "Binary.png".to_owned(), value: AttributeValue::Binary(vec![1, 2]) };
        let message = ReceivedMessage {
            attributes: strings(&[("AWSTraceHeader", header)]),
            message_attributes: BTreeMap::from([("blob".to_owned(), blob)]),
            md5_of_message_attributes: Some("0123456789abcdef0123456789abcdef".to_owned()),
            ..message("a")
        };
        let event = filled(10, vec![message]).0.event();
        let event: Value = serde_json::from_slice(&event).unwrap();
        let record = &event["Records"][0];
        assert_eq!(record["attributes"], json!({ "AWSTraceHeader": header }));
        assert_eq!(record["md5OfMessageAttributes"], json!("0123456789abcdef0123456789abcdef"));
        assert_eq!(
            record["messageAttributes"]["blob"],
            json!({"binaryValue": "AQI=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary.png"})
        );
        assert!(!event.to_string().contains("null"), "{event}");
    }

    #[test]
    fn event_is_what_functions_read() {
        let mut first = message("a");
        first.message_attributes.insert("traceparent".to_owned(), MessageAttribute::text("00-1-2-01"));
        let (batch, _) = filled(10, vec![first, message("b")]);
        let event: SqsEvent = serde_json::from_slice(&batch.event()).unwrap();
        let ids: Vec<_> = event.records.iter().filter_map(|record| record.message_id.as_deref()).collect();
        assert_eq!(ids, ["a", "b"]);
        let traceparent = &event.records[0].message_attributes["traceparent"];
        assert_eq!(traceparent.string_value.as_deref(), Some("00-1-2-01"));
    }

    #[test]
    fn batch_takes_as_many_messages_as_its_size() {
        let (batch, left) = filled(2, vec![message("a"), message("b"), message("c")]);
        assert_eq!((batch.len(), batch.room()), (2, 0));
        assert_eq!(left, ["c"]);
    }

    #[test]
    fn batch_can_have_ten_thousand_messages() {
        let (batch, left) = filled(10_000, (0..10_001).map(|number| message(&number.to_string())).collect());
        assert_eq!(left, ["10000"]);
        assert_eq!(batch.deliveries().len(), 10_000);
        assert_eq!(batch.receipt_handles_without(&batch.failures(b"{")), [""; 0]);
    }

    #[test]
    fn event_is_at_most_six_megabytes_with_its_metadata() {
        let overhead = filled(10, vec![with_body("a", 0), with_body("b", 0)]).0.event().len();
        let bytes = MAX_EVENT_BYTES - overhead;
        let (batch, left) = filled(10, vec![with_body("a", bytes - 9), with_body("b", 9), message("c")]);
        assert_eq!((batch.len(), batch.event().len()), (2, MAX_EVENT_BYTES));
        assert_eq!(left, ["c"]);
        let (_, left) = filled(10, vec![with_body("a", bytes - 9), with_body("b", 10)]);
        assert_eq!(left, ["b"], "one byte more is too much");
    }

    #[test]
    fn message_that_is_too_long_goes_alone() {
        let (batch, left) = filled(10, vec![with_body("a", MAX_EVENT_BYTES), message("b")]);
        assert_eq!(batch.len(), 1);
        assert_eq!(left, ["b"]);
    }

    #[test]
    fn delivery_knows_how_often_its_message_was_received() {
        assert_eq!(of(&["a"]).deliveries(), [Delivery { message: MessageId::new("a"), receive_count: 2 }]);
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
            "true",
            "[]",
            r#"{"batchItemFailures":"b"}"#,
            r#"{"batchItemFailures":["b"]}"#,
            r#"{"batchItemFailures":[null]}"#,
            r#"{"batchItemFailures":[{}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"c"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}"#,
            r#"{"batchItemFailures":[{"itemidentifier":"b"}]}"#,
            r#"{"batchItemFailures":[{"id":"b"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"b"}]"#,
        ] {
            assert_eq!(failed(response), ["a", "b"], "{response}");
        }
    }

    #[test]
    fn only_failed_messages_keep_their_receipt_handles() {
        assert_eq!(of(&["a", "b"]).receipt_handles_without(&[MessageId::new("a")]), ["handle of b"]);
    }
}
