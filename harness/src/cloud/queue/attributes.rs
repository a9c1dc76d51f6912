//! A queue's attributes: their names, ranges and defaults (SQS API, `SetQueueAttributes`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::error::{ErrorKind, SqsError};
use super::limits;

/// Queue attributes as they are written on the wire.
pub(super) type AttributeMap = BTreeMap<String, String>;

const POLICY: &str = "Policy";

/// Attributes that are kept and handed out, and have no effect on a local queue.
const INERT: [&str; 5] =
    ["KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", POLICY, "RedriveAllowPolicy", "SqsManagedSseEnabled"];

/// What can be set on a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueAttributes {
    /// `VisibilityTimeout`: for how long a received message is hidden.
    pub(super) visibility_timeout: Duration,
    /// `DelaySeconds`: for how long a sent message is hidden.
    pub(super) delay: Duration,
    /// `ReceiveMessageWaitTimeSeconds`: for how long a receive waits that does not say it itself.
    pub(super) wait: Duration,
    /// `MessageRetentionPeriod`: after this time a message is deleted.
    pub(super) retention: Duration,
    /// `MaximumMessageSize`, in bytes.
    pub(super) max_message_bytes: usize,
    /// `RedrivePolicy`.
    pub(super) redrive: Option<RedrivePolicy>,
    /// Those of [`INERT`] that were set, or have a default.
    inert: AttributeMap,
}

/// When a message is moved to a dead-letter queue, and to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedrivePolicy {
    /// `deadLetterTargetArn`.
    pub(super) target_arn: String,
    /// `maxReceiveCount`: after this many receives, the next one moves the message.
    pub(super) max_receive_count: u32,
    /// The policy as it was written.
    text: String,
}

impl Default for QueueAttributes {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(30),
            delay: Duration::ZERO,
            wait: Duration::ZERO,
            retention: Duration::from_secs(345_600),
            max_message_bytes: limits::MAX_MESSAGE_BYTES,
            redrive: None,
            inert: AttributeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())]),
        }
    }
}

impl QueueAttributes {
    /// These attributes, with the given ones in place of theirs.
    ///
    /// # Errors
    /// If a name or a value is not allowed.
    pub(super) fn with(mut self, given: &AttributeMap) -> Result<Self, SqsError> {
        for (name, value) in given {
            self.set(name, value)?;
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SqsError> {
        match name {
            "VisibilityTimeout" => self.visibility_timeout = seconds(name, value, 0, 43_200)?,
            "DelaySeconds" => self.delay = seconds(name, value, 0, 900)?,
            "ReceiveMessageWaitTimeSeconds" => self.wait = seconds(name, value, 0, 20)?,
            "MessageRetentionPeriod" => self.retention = seconds(name, value, 60, 1_209_600)?,
            "MaximumMessageSize" => self.max_message_bytes = max_message_bytes(name, value)?,
            "RedrivePolicy" => self.redrive = RedrivePolicy::read(value)?,
            "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => {
                return Err(limits::no_fifo());
            }
            _ if INERT.contains(&name) => {
                self.inert.insert(name.to_owned(), value.to_owned());
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// `Policy`, if it was set.
    pub(super) fn policy(&self) -> Option<&str> {
        self.inert.get(POLICY).map(String::as_str)
    }

    /// These attributes with another policy.
    pub(super) fn with_policy(mut self, policy: String) -> Self {
        self.inert.insert(POLICY.to_owned(), policy);
        self
    }

    /// The attributes as `GetQueueAttributes` answers them; those that were never set and have no
    /// default are left out.
    pub(super) fn to_map(&self) -> AttributeMap {
        let mut map = self.inert.clone();
        let mut put = |name: &str, value: String| map.insert(name.to_owned(), value);
        put("VisibilityTimeout", self.visibility_timeout.as_secs().to_string());
        put("DelaySeconds", self.delay.as_secs().to_string());
        put("ReceiveMessageWaitTimeSeconds", self.wait.as_secs().to_string());
        put("MessageRetentionPeriod", self.retention.as_secs().to_string());
        put("MaximumMessageSize", self.max_message_bytes.to_string());
        if let Some(redrive) = &self.redrive {
            put("RedrivePolicy", redrive.text.clone());
        }
        map
    }

    /// The first of the given attributes that is another here, if there is one.
    pub(super) fn difference<'a>(&self, given: &'a AttributeMap) -> Option<&'a str> {
        let mine = self.to_map();
        given.iter().find(|(name, value)| mine.get(*name) != Some(value)).map(|(name, _)| name.as_str())
    }
}

impl RedrivePolicy {
    /// Reads a policy; an empty text takes it away.
    fn read(text: &str) -> Result<Option<Self>, SqsError> {
        if text.is_empty() {
            return Ok(None);
        }
        let written: WrittenPolicy =
            serde_json::from_str(text).map_err(|_| invalid_policy(text, "Redrive policy is not a valid JSON map."))?;
        let max_receive_count = written.max_receive_count.number().filter(|count| (1..=1000).contains(count));
        Ok(Some(Self {
            max_receive_count: max_receive_count.ok_or_else(|| {
                invalid_policy(
                    text,
                    "Invalid value for maxReceiveCount, valid values are from 1 to 1000 both inclusive.",
                )
            })?,
            target_arn: written.dead_letter_target_arn,
            text: text.to_owned(),
        }))
    }

    /// The policy is refused because its target is not a queue.
    pub(super) fn without_target(&self) -> SqsError {
        invalid_policy(&self.text, "Dead letter target does not exist.")
    }
}

/// A redrive policy in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPolicy {
    dead_letter_target_arn: String,
    max_receive_count: Count,
}

/// A number, which AWS takes as text, too.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u32),
    Text(String),
}

impl Count {
    fn number(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

fn number(name: &str, value: &str, min: u32, max: u32) -> Result<u32, SqsError> {
    let read = value.parse().ok().filter(|number| (min..=max).contains(number));
    read.ok_or_else(|| {
        let message = format!("Invalid value for the parameter {name}.");
        SqsError::new(ErrorKind::InvalidAttributeValue, message)
    })
}

fn seconds(name: &str, value: &str, min: u32, max: u32) -> Result<Duration, SqsError> {
    number(name, value, min, max).map(|seconds| Duration::from_secs(seconds.into()))
}

fn max_message_bytes(name: &str, value: &str) -> Result<usize, SqsError> {
    number(name, value, 1_024, 1_048_576).map(|bytes| bytes as usize)
}

fn invalid_policy(text: &str, reason: &str) -> SqsError {
    SqsError::invalid_value("RedrivePolicy", text, reason)
}

fn unknown(name: &str) -> SqsError {
    SqsError::new(ErrorKind::InvalidAttributeName, format!("Unknown Attribute {name}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str, value: &str) -> AttributeMap {
        AttributeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:dlq","maxReceiveCount":"3"}"#;
        let given = AttributeMap::from([
            ("VisibilityTimeout".to_owned(), "6".to_owned()),
            ("RedrivePolicy".to_owned(), policy.to_owned()),
            ("SqsManagedSseEnabled".to_owned(), "false".to_owned()),
        ]);
        let attributes = QueueAttributes::default().with(&given).unwrap();
        assert_eq!(attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count), Some(3));
        assert_eq!(attributes.difference(&given), None);
        assert_eq!(attributes.difference(&map("VisibilityTimeout", "7")), Some("VisibilityTimeout"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (name, value) in [
            ("VisibilityTimeout", "43201"),
            ("VisibilityTimeout", "-1"),
            ("DelaySeconds", "901"),
            ("ReceiveMessageWaitTimeSeconds", "21"),
            ("MessageRetentionPeriod", "59"),
            ("MaximumMessageSize", "1023"),
            ("MaximumMessageSize", "1048577"),
        ] {
            let error = QueueAttributes::default().with(&map(name, value)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidAttributeValue, "{name} {value}");
        }
    }

    #[test]
    fn bad_redrive_policies_are_refused() {
        for text in [
            "3",
            "{}",
            r#"{"deadLetterTargetArn":"arn","maxReceiveCount":0}"#,
            r#"{"deadLetterTargetArn":"arn","maxReceiveCount":1001}"#,
        ] {
            let error = QueueAttributes::default().with(&map("RedrivePolicy", text)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidParameterValue, "{text}");
        }
    }

    #[test]
    fn unknown_attributes_are_refused() {
        let error = QueueAttributes::default().with(&map("Visibility", "1")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidAttributeName);
    }

    #[test]
    fn empty_redrive_policy_takes_it_away() {
        let policy = r#"{"deadLetterTargetArn":"arn","maxReceiveCount":1}"#;
        let with = QueueAttributes::default().with(&map("RedrivePolicy", policy)).unwrap();
        let without = with.with(&map("RedrivePolicy", "")).unwrap();
        assert_eq!(without, QueueAttributes::default());
    }
}
