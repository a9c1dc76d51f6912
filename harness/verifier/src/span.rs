//! What telemetry said: spans as they were exported, before anybody judges them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{SpanId, TraceId};
use crate::time::Timestamp;

/// One exported span (OpenTelemetry `opentelemetry.proto.trace.v1.Span`), with what identifies it,
/// links it and gives it a meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The trace that it says it belongs to.
    pub trace_id: TraceId,
    /// Its own identifier.
    pub span_id: SpanId,
    /// Its parent's identifier; none for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<SpanId>,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// When it started, by the clock of the process that made it.
    pub start: Timestamp,
    /// When it ended, by the clock of the process that made it.
    pub end: Timestamp,
    /// Its status.
    #[serde(default, skip_serializing_if = "SpanStatus::is_unset")]
    pub status: SpanStatus,
    /// OTLP's `flags`: the W3C trace flags in the low byte, `0x100` if it is known whether the parent
    /// is remote, `0x200` if it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flags: u32,
    /// How many attributes, events and links of it were dropped, all together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
    /// Its attributes, in the order in which they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// Its links to spans of the same or of other traces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SpanLink>,
}

impl Span {
    /// The value of the attribute with this key, if it is there.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        find(&self.attributes, key)
    }
}

/// A span's role in a trace (OpenTelemetry trace API, "SpanKind").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// The exporter did not say.
    Unspecified,
    /// An operation inside an application.
    Internal,
    /// The handling of a remote request.
    Server,
    /// A request to a remote service.
    Client,
    /// The sending of a message.
    Producer,
    /// The handling of a message.
    Consumer,
}

impl fmt::Display for SpanKind {
    /// The upper-case name of the specification.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Internal => "INTERNAL",
            Self::Server => "SERVER",
            Self::Client => "CLIENT",
            Self::Producer => "PRODUCER",
            Self::Consumer => "CONSUMER",
        })
    }
}

/// How a span's operation ended (OpenTelemetry trace API, "Set Status").
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// Nobody said.
    #[default]
    Unset,
    /// Explicitly good.
    Ok,
    /// Failed, with the description that was given.
    Error(String),
}

impl SpanStatus {
    /// Whether nobody said how it ended.
    pub const fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }
}

/// A reference from a span to another one that is not its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanLink {
    /// The trace of the span that is referred to.
    pub trace_id: TraceId,
    /// The span that is referred to.
    pub span_id: SpanId,
}

/// A key and its value, in text: a scalar as it is written in JSON without quotes, a compound as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct Attribute {
    /// The key, such as `http.request.method`.
    pub key: String,
    /// The value.
    pub value: String,
}

impl From<(String, String)> for Attribute {
    fn from((key, value): (String, String)) -> Self {
        Self { key, value }
    }
}

impl From<Attribute> for (String, String) {
    fn from(attribute: Attribute) -> Self {
        (attribute.key, attribute.value)
    }
}

/// Spans with the resource that made them (OTLP `ResourceSpans`, its scopes merged).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceSpans {
    /// Who made them.
    pub resource: Resource,
    /// The spans, in the order in which they were sent.
    pub spans: Vec<Span>,
}

/// The entity that made spans (OpenTelemetry resource).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resource {
    /// Its attributes, in the order in which they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Resource {
    /// The value of the attribute with this key, if it is there.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        find(&self.attributes, key)
    }

    /// The value of `service.name`, if it is there.
    pub fn service_name(&self) -> Option<&str> {
        self.attribute("service.name")
    }
}

fn find<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.as_str())
}

/// For serde's `skip_serializing_if`, which hands out references.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
