//! SQS's errors, with the codes that AWS answers.

use std::fmt;

/// An error as SQS answers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.code())]
pub struct SqsError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The message for the caller.
    pub message: String,
}

/// What is wrong with a call.
///
/// The first ones are the errors of the SQS API reference; those from [`Self::InvalidParameterValue`]
/// on are AWS's common errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// Two entries of a batch have the same id.
    BatchEntryIdsNotDistinct,
    /// The messages of a batch are too long together.
    BatchRequestTooLong,
    /// A batch without entries.
    EmptyBatchRequest,
    /// A queue attribute that does not exist.
    InvalidAttributeName,
    /// A queue attribute's value that is not allowed.
    InvalidAttributeValue,
    /// An entry's id that is not allowed.
    InvalidBatchEntryId,
    /// A body with characters that are not allowed.
    InvalidMessageContents,
    /// The message is not in flight, so its visibility cannot be changed.
    MessageNotInflight,
    /// Too many messages are in flight.
    OverLimit,
    /// The queue was purged less than a minute ago.
    PurgeQueueInProgress,
    /// There is no such queue.
    QueueDoesNotExist,
    /// The queue exists with other attributes.
    QueueNameExists,
    /// Not a receipt handle, or one of another queue.
    ReceiptHandleIsInvalid,
    /// There is no such queue or task, of those that a message move task needs.
    ResourceNotFound,
    /// More than ten entries in a batch.
    TooManyEntriesInBatchRequest,
    /// An operation that is not there.
    UnsupportedOperation,
    /// A parameter's value that is not allowed.
    InvalidParameterValue,
    /// A parameter is missing.
    MissingParameter,
    /// The body of the call cannot be read.
    Serialization,
    /// No operation has this name.
    UnknownOperation,
    /// An error that only an external endpoint knows.
    External {
        /// Its code.
        code: String,
        /// Its HTTP status.
        status: u16,
    },
}

/// How an error is written on the wire.
struct Written<'a> {
    /// The name of its shape, for `__type`.
    shape: &'a str,
    /// Its code in the older query protocol, which the SDKs still report.
    code: &'a str,
    /// The HTTP status.
    status: u16,
}

impl ErrorKind {
    /// All kinds that have a fixed code.
    const KNOWN: [Self; 20] = [
        Self::BatchEntryIdsNotDistinct,
        Self::BatchRequestTooLong,
        Self::EmptyBatchRequest,
        Self::InvalidAttributeName,
        Self::InvalidAttributeValue,
        Self::InvalidBatchEntryId,
        Self::InvalidMessageContents,
        Self::MessageNotInflight,
        Self::OverLimit,
        Self::PurgeQueueInProgress,
        Self::QueueDoesNotExist,
        Self::QueueNameExists,
        Self::ReceiptHandleIsInvalid,
        Self::ResourceNotFound,
        Self::TooManyEntriesInBatchRequest,
        Self::UnsupportedOperation,
        Self::InvalidParameterValue,
        Self::MissingParameter,
        Self::Serialization,
        Self::UnknownOperation,
    ];

    /// The kind with this code, as an external endpoint answered it.
    pub(super) fn from_answer(code: &str, status: u16) -> Self {
        let known = Self::KNOWN.into_iter().find(|kind| kind.written().code == code);
        known.unwrap_or_else(|| Self::External { code: code.to_owned(), status })
    }

    fn written(&self) -> Written<'_> {
        let of = |shape, code, status| Written { shape, code, status };
        match self {
            Self::BatchEntryIdsNotDistinct => {
                of("BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400)
            }
            Self::BatchRequestTooLong => of("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400),
            Self::EmptyBatchRequest => of("EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400),
            Self::InvalidAttributeName => of("InvalidAttributeName", "InvalidAttributeName", 400),
            Self::InvalidAttributeValue => of("InvalidAttributeValue", "InvalidAttributeValue", 400),
            Self::InvalidBatchEntryId => of("InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400),
            Self::InvalidMessageContents => of("InvalidMessageContents", "InvalidMessageContents", 400),
            Self::MessageNotInflight => of("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400),
            Self::OverLimit => of("OverLimit", "OverLimit", 403),
            Self::PurgeQueueInProgress => {
                of("PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403)
            }
            Self::QueueDoesNotExist => of("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400),
            Self::QueueNameExists => of("QueueNameExists", "QueueAlreadyExists", 400),
            Self::ReceiptHandleIsInvalid => of("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
            Self::ResourceNotFound => of("ResourceNotFoundException", "ResourceNotFoundException", 404),
            Self::TooManyEntriesInBatchRequest => {
                of("TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400)
            }
            Self::UnsupportedOperation => {
                of("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", 400)
            }
            Self::InvalidParameterValue => of("InvalidParameterValueException", "InvalidParameterValue", 400),
            Self::MissingParameter => of("MissingRequiredParameterException", "MissingParameter", 400),
            Self::Serialization => of("SerializationException", "SerializationException", 400),
            Self::UnknownOperation => of("UnknownOperationException", "UnknownOperationException", 404),
            Self::External { code, status } => of(code, code, *status),
        }
    }

    /// Whether it is one that the SQS API reference defines, and not a common one of AWS's.
    fn is_of_sqs(&self) -> bool {
        !matches!(
            self,
            Self::InvalidParameterValue
                | Self::MissingParameter
                | Self::Serialization
                | Self::UnknownOperation
                | Self::External { .. }
        )
    }
}

impl SqsError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// There is no queue for the call.
    pub(super) fn no_queue() -> Self {
        Self::new(ErrorKind::QueueDoesNotExist, "The specified queue does not exist.")
    }

    /// A parameter has a value that is not allowed, with SQS's words for it.
    pub(super) fn invalid_value(parameter: &str, value: impl fmt::Display, reason: &str) -> Self {
        let message = format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
        Self::new(ErrorKind::InvalidParameterValue, message)
    }

    /// A parameter is missing.
    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(ErrorKind::MissingParameter, format!("The request must contain the parameter {parameter}."))
    }

    /// The code that the SDKs report, such as `AWS.SimpleQueueService.NonExistentQueue`.
    pub fn code(&self) -> &str {
        self.kind.written().code
    }

    /// The HTTP status of the answer.
    pub(super) fn status(&self) -> u16 {
        self.kind.written().status
    }

    /// The `__type` of the answer's body.
    pub(super) fn type_name(&self) -> String {
        let namespace = if self.kind.is_of_sqs() { "com.amazonaws.sqs" } else { "com.amazon.coral.service" };
        format!("{namespace}#{}", self.kind.written().shape)
    }

    /// Whether the caller is to blame, and not the service.
    pub(super) fn is_senders_fault(&self) -> bool {
        self.status() < 500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_are_recognised_by_their_codes() {
        for kind in ErrorKind::KNOWN {
            assert_eq!(ErrorKind::from_answer(kind.written().code, 400), kind);
        }
    }

    #[test]
    fn foreign_error_keeps_its_code_and_status() {
        let error = SqsError::new(ErrorKind::from_answer("AccessDenied", 403), "no");
        assert_eq!((error.code(), error.status(), error.is_senders_fault()), ("AccessDenied", 403, true));
    }
}
