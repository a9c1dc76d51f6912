//! Where our queues and rustack's (0.12.0) disagree.

/// Who answers as AWS does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Right {
    Ours,
    Theirs,
    /// Nobody here knows.
    Open,
}

/// A step of the script to which the answers differ.
pub(crate) struct Disagreement {
    pub(crate) step: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) right: Right,
    /// By what this is known.
    pub(crate) why: &'static str,
}

const fn ours_is_right(
    step: &'static str,
    ours: &'static str,
    theirs: &'static str,
    why: &'static str,
) -> Disagreement {
    Disagreement { step, ours, theirs, right: Right::Ours, why }
}

/// All of them. "AWS:" stands before what AWS answers, as others have recorded it.
pub(crate) const DISAGREEMENTS: &[Disagreement] = &[
    Disagreement {
        step: "FIFO queue",
        ours: "error AWS.SimpleQueueService.UnsupportedOperation",
        theirs: "created",
        right: Right::Theirs,
        why: "there are no FIFO queues in our engine, and it says so",
    },
    ours_is_right("add it again", "error InvalidParameterValue", "added", "AWS: Label is invalid, already exists"),
    ours_is_right(
        "attribute name with a space",
        "error InvalidParameterValue",
        "sent",
        "Developer Guide: A-Z, a-z, 0-9, _, - and . alone",
    ),
    ours_is_right(
        "attribute of AWS's",
        "error InvalidParameterValue",
        "sent",
        "Developer Guide: must not start with AWS. or Amazon.",
    ),
    ours_is_right(
        "attribute of an unknown type",
        "error InvalidParameterValue",
        "sent",
        "Developer Guide: String, Number and Binary",
    ),
    ours_is_right(
        "attribute with an empty value",
        "error InvalidParameterValue",
        "sent",
        "Developer Guide: name, type and value must not be empty",
    ),
    ours_is_right(
        "size limit of a new queue",
        r#"{"MaximumMessageSize": "1048576"}"#,
        r#"{"MaximumMessageSize": "262144"}"#,
        "the limit has been 1 MiB since August 2025",
    ),
    ours_is_right(
        "batch that is too long",
        "error AWS.SimpleQueueService.BatchRequestTooLong",
        r#"[] [("a", "InvalidParameterValue"), ("b", "InvalidParameterValue")]"#,
        "the batch as a whole has 1.2 MB; each message is within today's limit",
    ),
    ours_is_right(
        "batch with a bad id",
        "error AWS.SimpleQueueService.InvalidBatchEntryId",
        r#"["a b"] []"#,
        "API reference: alphanumeric characters, hyphens and underscores",
    ),
    ours_is_right(
        "batch with bad bodies",
        r#"["good"] [("control", "InvalidMessageContents"), ("empty", "MissingParameter")]"#,
        r#"["good", "control"] [("empty", "InvalidParameterValue")]"#,
        "as for single messages",
    ),
    ours_is_right("body of 1 MiB", "sent", "error InvalidParameterValue", "the limit has been 1 MiB since August 2025"),
    ours_is_right(
        "body of the queue's own limit, and an attribute",
        "error InvalidParameterValue",
        "sent",
        "Developer Guide: names, types and values of attributes count",
    ),
    ours_is_right(
        "body with U+0001",
        "error InvalidMessageContents",
        "sent",
        "API reference: only the characters of XML 1.0",
    ),
    ours_is_right(
        "change visibility by garbage",
        "error ReceiptHandleIsInvalid",
        "error MessageNotInflight",
        "API reference: ReceiptHandleIsInvalid",
    ),
    ours_is_right(
        "change visibility of a deleted message",
        "error InvalidParameterValue",
        "error MessageNotInflight",
        "AWS: ReceiptHandle is invalid, message does not exist",
    ),
    ours_is_right(
        "change visibility of a message that is visible",
        "error AWS.SimpleQueueService.MessageNotInflight",
        "changed",
        "API reference: the message is not in flight",
    ),
    ours_is_right(
        "change visibility to longer than 12 h",
        "error InvalidParameterValue",
        "changed",
        "API reference: 0 to 43,200 s",
    ),
    ours_is_right(
        "dead letter",
        r#"[(Some("dead"), "3", Some("arn:aws:sqs:us-east-1:000000000000:source"))]"#,
        r#"[(Some("dead"), "1", Some("arn:aws:sqs:us-east-1:000000000000:source"))]"#,
        "API reference: the count is that of all queues together",
    ),
    ours_is_right(
        "delete by garbage",
        "error ReceiptHandleIsInvalid",
        "deleted",
        "API reference: ReceiptHandleIsInvalid",
    ),
    ours_is_right(
        "delete it again",
        "error AWS.SimpleQueueService.NonExistentQueue",
        "deleted",
        "API reference: QueueDoesNotExist",
    ),
    ours_is_right(
        "empty body",
        "error MissingParameter",
        "error InvalidParameterValue",
        "AWS: the request must contain the parameter MessageBody",
    ),
    ours_is_right(
        "group id on a standard queue",
        "sent",
        "error InvalidParameterValue",
        "fair queues, since July 2025",
    ),
    ours_is_right(
        "hide for longer than 12 h",
        "error InvalidParameterValue",
        r#"["Some(\"b\") [] None"]"#,
        "API reference: 0 to 43,200 s",
    ),
    ours_is_right(
        "move dead letters back",
        "begun",
        "error AWS.SimpleQueueService.UnsupportedOperation",
        "they have no move tasks",
    ),
    ours_is_right(
        "receive 0 messages",
        "error InvalidParameterValue",
        r#"["Some(\"b\") [] None"]"#,
        "API reference: 1 to 10",
    ),
    ours_is_right(
        "receive 11 messages",
        "error InvalidParameterValue",
        r#"["Some(\"b\") [] None"]"#,
        "API reference: 1 to 10",
    ),
    ours_is_right(
        "receive an attribute by its name",
        r#"["Some(\"body\") [\"Hello\"] Some(\"a311262e065454b75da111d535b8dacd\")"]"#,
        r#"["Some(\"body\") [\"Hello\"] Some(\"19e99196d85ece6ac3289bfc7af461f9\")"]"#,
        "AWS: the checksum is that of the attributes which are handed out",
    ),
    ours_is_right(
        "receive attributes by their prefix",
        r#"["Some(\"body\") [\"Hello\", \"Help.Me\"] Some(\"83fee93c1bcd8b9a5a923ffacdc636c7\")"]"#,
        r#"["Some(\"body\") [] Some(\"19e99196d85ece6ac3289bfc7af461f9\")"]"#,
        "API reference: prefix.* names all attributes that begin so",
    ),
    ours_is_right(
        "redrive to a missing queue",
        "error InvalidParameterValue",
        "created",
        "AWS: the dead-letter target does not exist",
    ),
    ours_is_right(
        "remove a permission that is not there",
        "error InvalidParameterValue",
        "removed",
        "AWS: can't find label on existing policy",
    ),
    ours_is_right(
        "send a trace header",
        r#"Some("c9a9fb1ca0c7278f13b37f55483e8d9e")"#,
        "None",
        "they drop AWSTraceHeader",
    ),
    ours_is_right(
        "sources of a dead-letter queue",
        r#"["000000000000/source"]"#,
        "[]",
        "the policy is there, and its queue is a source",
    ),
    ours_is_right(
        "system attributes of a received message",
        r#"["AWSTraceHeader", "ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount", "SenderId", "SentTimestamp"]"#,
        r#"["ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount", "SenderId", "SentTimestamp"]"#,
        "they drop AWSTraceHeader",
    ),
    Disagreement {
        step: "visibility time-out out of range",
        ours: "error InvalidAttributeValue",
        theirs: "error InvalidParameterValue",
        right: Right::Open,
        why: "the API reference knows both; no answer of AWS is on record",
    },
    ours_is_right("wait 21 s", "error InvalidParameterValue", r#"["Some(\"b\") [] None"]"#, "API reference: 0 to 20 s"),
];
