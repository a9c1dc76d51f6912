//! A contract as it is used, and as it stands in a journal.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::code::{FindingCode, Severity};
use crate::span::SpanKind;
use crate::time::nanoseconds;

/// What a complete trace of one request consists of. Read from a `contract.toml` by the harness, which knows
/// the places of errors; this is the form of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceContract {
    /// Its name, for reports.
    pub name: String,
    /// The spans, each under the name of its role in the trace (`[span.consumer]`).
    #[serde(rename = "span")]
    pub spans: BTreeMap<String, SpanContract>,
    /// Spans that may be there and need not (`[extra.canary]`).
    #[serde(default, rename = "extra", skip_serializing_if = "BTreeMap::is_empty")]
    pub extras: BTreeMap<String, ExtraSpan>,
    /// What every resource must say, whatever its service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, ValueRule>,
    /// What to do with spans that belong to no request of the run.
    #[serde(default)]
    pub foreign: ForeignSpans,
    /// The fraction of traces that is sampled, where it is not all of them: above 0, at most 1. A trace
    /// that is missing as a whole is then counted as not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// What findings weigh, where that differs from their own severity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub severity: BTreeMap<FindingCode, Severity>,
}

/// What the span in one role must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanContract {
    /// The `service.name` of the resource that makes it.
    pub service: String,
    /// Its name.
    pub name: NameRule,
    /// Its kind.
    pub kind: SpanKind,
    /// The role of its parent. Left out, the span is the root of its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The role that it links to: one link for each message that it is made from. It may link and have a
    /// parent, as OpenTelemetry's conventions for messaging allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What there is one of these spans for.
    pub per: Per,
    /// Only for messages of this queue, where a system has several. Left out: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only for deliveries, invocations and environments of this function, where a system has several. Left
    /// out: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The attributes that it must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, ValueRule>,
    /// The resource attributes that it must have, beside those of every resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, ValueRule>,
    /// What its status must be.
    #[serde(default, skip_serializing_if = "StatusRule::is_any")]
    pub status: StatusRule,
    /// How long it may last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_nanoseconds")]
    pub max_duration: Option<Duration>,
}

/// A span that may be there and need not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraSpan {
    /// The `service.name` of the resource that makes it.
    pub service: String,
    /// Its name.
    pub name: NameRule,
    /// What there may be such spans for.
    pub per: Per,
    /// How many there may be for each; at least 1.
    #[serde(default = "one")]
    pub at_most: u32,
}

const fn one() -> u32 {
    1
}

/// What a span's name must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameRule {
    /// This name.
    Exact(String),
    /// A name that this regular expression matches as a whole.
    Pattern(String),
}

/// What the value of an attribute must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRule {
    /// Anything but the empty text.
    Present,
    /// This text; numbers and truth values as they are written in JSON.
    Exact(String),
    /// A text that this regular expression matches as a whole.
    Pattern(String),
}

/// What a span's status must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusRule {
    /// Anything.
    #[default]
    Any,
    /// Error if and only if the ledger says that the operation failed: an answer of 500 or more, an
    /// invocation or a record of it that failed.
    Outcome,
    /// Unset or Ok.
    NoError,
}

impl StatusRule {
    /// Whether it asks for nothing.
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// What to do with spans that belong to no request of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignSpans {
    /// They are counted.
    #[default]
    Count,
    /// Each is a finding.
    Forbid,
}

/// What there is one span for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One for each accepted request.
    Request,
    /// One for each message that was put into a queue for the request; at least one.
    Message,
    /// One for each time that a message of the request was handed to a function; at least one for
    /// each message.
    Delivery,
    /// One for each invocation of a function, however many messages it was given.
    Invocation,
    /// One for each execution environment that was initialised.
    Environment,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Request, Self::Message, Self::Delivery, Self::Invocation, Self::Environment];

    /// Its name in a contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Message => "message",
            Self::Delivery => "delivery",
            Self::Invocation => "invocation",
            Self::Environment => "environment",
        }
    }
}

impl NameRule {
    /// The text of the rule: a name, or a pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Pattern(text) => text,
        }
    }
}

impl From<&str> for NameRule {
    fn from(name: &str) -> Self {
        Self::Exact(name.to_owned())
    }
}

impl std::fmt::Display for NameRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Durations that may be left out, as whole nanoseconds.
mod optional_nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::nanoseconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}
