//! What SQS refuses, and with which words (SQS Developer Guide, "Amazon SQS message quotas"; the words
//! are those of AWS where an answer of AWS is on record).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{ErrorKind, SqsError};
use super::message::{AttributeValue, MessageAttribute, NewMessage};

/// The longest message, its attributes included, and the longest batch: 1 MiB (256 KiB until August 2025).
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_576;
/// The most messages of a standard queue that can be in flight.
pub(super) const MAX_IN_FLIGHT: usize = 120_000;
/// The longest wait of a receive, in seconds.
pub(super) const WAIT_SECONDS: RangeInclusive<i64> = 0..=20;
/// Visibility time-outs, in seconds: up to 12 hours.
pub(super) const VISIBILITY_SECONDS: RangeInclusive<i64> = 0..=43_200;
/// Delays, in seconds: up to 15 minutes.
pub(super) const DELAY_SECONDS: RangeInclusive<i64> = 0..=900;
/// How many messages one receive may ask for.
pub(super) const RECEIVABLE: RangeInclusive<i64> = 1..=10;
/// How many messages a second a move task may be limited to.
pub(super) const MOVES_PER_SECOND: RangeInclusive<i64> = 1..=500;
/// How many move tasks can be listed.
pub(super) const LISTED_MOVES: RangeInclusive<i64> = 1..=10;
/// The time that must pass between two purges of a queue.
pub(super) const BETWEEN_PURGES: Duration = Duration::from_secs(60);

const MAX_ATTRIBUTES: usize = 10;
const MAX_BATCH_ENTRIES: usize = 10;
const MAX_ATTRIBUTE_NAME: usize = 256;
const MAX_ATTRIBUTE_TYPE: usize = 256;
const MAX_NAME: usize = 80;

/// A number that a caller gave, if it is in its range.
pub(super) fn in_range(parameter: &str, value: i64, range: &RangeInclusive<i64>) -> Result<u32, SqsError> {
    let reason = || format!("Must be between {} and {}, if provided.", range.start(), range.end());
    let allowed = range.contains(&value).then(|| u32::try_from(value).ok()).flatten();
    allowed.ok_or_else(|| SqsError::invalid_value(parameter, value, &reason()))
}

/// A number of seconds that a caller gave, if it is in its range.
pub(super) fn seconds(parameter: &str, value: i64, range: &RangeInclusive<i64>) -> Result<Duration, SqsError> {
    in_range(parameter, value, range).map(|seconds| Duration::from_secs(seconds.into()))
}

/// Checks the name of a standard queue.
pub(super) fn check_queue_name(name: &str) -> Result<(), SqsError> {
    if is_name(name) {
        return Ok(());
    }
    if name.strip_suffix(".fifo").is_some_and(is_name) {
        return Err(no_fifo());
    }
    let message = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
    Err(SqsError::new(ErrorKind::InvalidParameterValue, message))
}

/// Checks a message that is sent to a queue whose messages may have up to `max_bytes`.
pub(super) fn check_message(message: &NewMessage, max_bytes: usize) -> Result<(), SqsError> {
    check_body(&message.body)?;
    check_attributes(message)?;
    if message_bytes(message) > max_bytes {
        return Err(message_too_long(max_bytes));
    }
    Ok(())
}

/// Checks the entries' ids of a batch.
pub(super) fn check_batch<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), SqsError> {
    let count = ids.len();
    if count == 0 {
        let message = "There should be at least one entry in the request.";
        return Err(SqsError::new(ErrorKind::EmptyBatchRequest, message));
    }
    if count > MAX_BATCH_ENTRIES {
        let message = format!("Maximum number of entries per request are {MAX_BATCH_ENTRIES}. You have sent {count}.");
        return Err(SqsError::new(ErrorKind::TooManyEntriesInBatchRequest, message));
    }
    check_ids(ids)
}

/// Checks that the messages of a batch are not too long together.
pub(super) fn check_batch_bytes<'a>(messages: impl Iterator<Item = &'a NewMessage>) -> Result<(), SqsError> {
    let bytes: usize = messages.map(message_bytes).sum();
    if bytes <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    let message =
        format!("Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {bytes} bytes.");
    Err(SqsError::new(ErrorKind::BatchRequestTooLong, message))
}

/// The refusal of a call whose body has more than `max_bytes`, and so what it sends as well.
pub(super) fn too_long(operation: &str, max_bytes: usize) -> SqsError {
    match operation {
        "SendMessage" => message_too_long(MAX_MESSAGE_BYTES),
        "SendMessageBatch" => {
            let message = format!(
                "Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent more than {max_bytes} bytes."
            );
            SqsError::new(ErrorKind::BatchRequestTooLong, message)
        }
        _ => {
            let message = format!("The body of a request must not be longer than {max_bytes} bytes.");
            SqsError::new(ErrorKind::InvalidParameterValue, message)
        }
    }
}

/// The refusal of whatever only FIFO queues have.
pub(super) fn no_fifo() -> SqsError {
    SqsError::new(ErrorKind::UnsupportedOperation, "FIFO queues are not supported by this endpoint.")
}

fn message_too_long(max_bytes: usize) -> SqsError {
    let message =
        format!("One or more parameters are invalid. Reason: Message must be shorter than {max_bytes} bytes.");
    SqsError::new(ErrorKind::InvalidParameterValue, message)
}

/// The bytes of a message that count: those of its body and of its attributes' names, types and
/// values. `AWSTraceHeader` does not count.
fn message_bytes(message: &NewMessage) -> usize {
    let attribute_bytes = |(name, attribute): (&String, &MessageAttribute)| {
        name.len() + attribute.data_type.len() + attribute.value.as_bytes().len()
    };
    message.body.len() + message.attributes.iter().map(attribute_bytes).sum::<usize>()
}

fn check_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), SqsError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !is_name(id) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                           It can be at most 80 letters long.";
            return Err(SqsError::new(ErrorKind::InvalidBatchEntryId, message));
        }
        if !seen.insert(id) {
            let message = format!("Id {id} repeated.");
            return Err(SqsError::new(ErrorKind::BatchEntryIdsNotDistinct, message));
        }
    }
    Ok(())
}

/// Whether it is made of 1 to 80 of the characters that names of queues and batch entries may have.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn check_body(body: &str) -> Result<(), SqsError> {
    if body.is_empty() {
        return Err(SqsError::missing("MessageBody"));
    }
    if body.chars().all(is_allowed) {
        return Ok(());
    }
    let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | \
                   #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(SqsError::new(ErrorKind::InvalidMessageContents, message))
}

/// Whether a body may hold this character (XML 1.0, "Char").
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn check_attributes(message: &NewMessage) -> Result<(), SqsError> {
    let count = message.attributes.len();
    if count > MAX_ATTRIBUTES {
        let text = format!("Number of message attributes [{count}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].");
        return Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    }
    for (name, attribute) in &message.attributes {
        check_attribute_name(name)?;
        check_attribute(name, attribute)?;
    }
    match message.trace_header.as_deref() {
        Some("") => Err(empty_attribute("system", "AWSTraceHeader", "String")),
        _ => Ok(()),
    }
}

fn check_attribute_name(name: &str) -> Result<(), SqsError> {
    let refuse = |text: String| Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    if name.is_empty() {
        return refuse("The request must contain non-empty message attribute names.".to_owned());
    }
    if name.len() > MAX_ATTRIBUTE_NAME {
        return refuse(format!("Message attribute name must be shorter than {MAX_ATTRIBUTE_NAME} bytes."));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return refuse(format!("Message attribute name {name:?} is invalid: it must not start with AWS. or Amazon."));
    }
    let characters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !characters || name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return refuse(format!(
            "Message attribute name {name:?} is invalid: it can only contain A-Z, a-z, 0-9, underscore (_), hyphen (-), \
             and period (.), which must not be its first or last character nor follow another one."
        ));
    }
    Ok(())
}

fn check_attribute(name: &str, attribute: &MessageAttribute) -> Result<(), SqsError> {
    let refuse = |text: String| Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    let data_type = attribute.data_type.as_str();
    if data_type.is_empty() {
        return refuse(format!("The message attribute {name:?} must contain non-empty message attribute type."));
    }
    if data_type.len() > MAX_ATTRIBUTE_TYPE {
        return refuse(format!(
            "The type of the message attribute {name:?} is longer than {MAX_ATTRIBUTE_TYPE} bytes."
        ));
    }
    let base = data_type.split_once('.').map_or(data_type, |(base, _)| base);
    if !matches!(base, "String" | "Number" | "Binary") {
        return refuse(format!(
            "The message attribute {name:?} has an invalid message attribute type, the set of supported type prefixes \
             is Binary, Number, and String."
        ));
    }
    if attribute.value.as_bytes().is_empty() {
        return Err(empty_attribute("user", name, base));
    }
    check_value(name, base, &attribute.value)
}

fn check_value(name: &str, base: &str, value: &AttributeValue) -> Result<(), SqsError> {
    let refuse = |text: String| Err(SqsError::new(ErrorKind::InvalidParameterValue, text));
    match value {
        AttributeValue::Text(text) if base == "Number" && !is_number(text) => {
            refuse(format!("Can't cast the value of message (user) attribute {name:?} to a number."))
        }
        AttributeValue::Text(text) if !text.chars().all(is_allowed) => {
            refuse(format!("Invalid characters found in the value of message (user) attribute {name:?}."))
        }
        _ => Ok(()),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn empty_attribute(owner: &str, name: &str, base: &str) -> SqsError {
    let text = format!("Message ({owner}) attribute '{name}' must contain a non-empty value of type '{base}'.");
    SqsError::new(ErrorKind::InvalidParameterValue, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_attribute(name: &str, data_type: &str, value: &str) -> NewMessage {
        let mut message = NewMessage { body: "b".to_owned(), ..NewMessage::default() };
        let mut attribute = MessageAttribute::text(value);
        data_type.clone_into(&mut attribute.data_type);
        message.attributes.insert(name.to_owned(), attribute);
        message
    }

    fn refused(message: &NewMessage) -> Option<ErrorKind> {
        check_message(message, MAX_MESSAGE_BYTES).err().map(|error| error.kind)
    }

    #[test]
    fn attribute_names_types_and_values_are_checked() {
        for (name, data_type, value) in [
            ("", "String", "v"),
            ("AWS.x", "String", "v"),
            ("amazon.x", "String", "v"),
            (".x", "String", "v"),
            ("x.", "String", "v"),
            ("x..y", "String", "v"),
            ("x y", "String", "v"),
            ("x", "", "v"),
            ("x", "Text", "v"),
            ("x", "Strings", "v"),
            ("x", "Number", "one"),
            ("x", "Number", "inf"),
            ("x", "String", ""),
            ("x", "String", "\u{1}"),
        ] {
            let message = with_attribute(name, data_type, value);
            assert_eq!(refused(&message), Some(ErrorKind::InvalidParameterValue), "{name:?} {data_type:?} {value:?}");
        }
    }

    #[test]
    fn attributes_within_the_rules_are_accepted() {
        for (name, data_type, value) in
            [("traceparent", "String", "00-x"), ("a.b-c_d", "String.label", "v"), ("n", "Number.int", "-1.5e3")]
        {
            assert_eq!(refused(&with_attribute(name, data_type, value)), None, "{name:?} {data_type:?} {value:?}");
        }
    }

    #[test]
    fn name_type_and_value_of_an_attribute_count_as_bytes() {
        let message = with_attribute("name", "String", "value");
        assert_eq!(message_bytes(&message), 1 + 4 + 6 + 5);
        assert_eq!(check_message(&message, 16), Ok(()));
        assert_eq!(
            check_message(&message, 15).unwrap_err().message,
            "One or more parameters are invalid. Reason: Message must be shorter than 15 bytes."
        );
    }

    #[test]
    fn trace_header_does_not_count() {
        let header = Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned());
        let message = NewMessage { body: "b".to_owned(), trace_header: header, ..NewMessage::default() };
        assert_eq!(check_message(&message, 1), Ok(()));
    }

    #[test]
    fn queue_names_have_1_to_80_allowed_characters() {
        assert_eq!(check_queue_name(&"q".repeat(80)), Ok(()));
        for name in ["", "a.fifo", "a b", "a/b", "ü", &"q".repeat(81)] {
            assert!(check_queue_name(name).is_err(), "{name}");
        }
    }
}
