//! Resources, spans, attributes and links, as views of an export's bytes.
//!
//! Nothing is copied and nothing fails: what was accepted as an export is well-formed, and what is not ends a
//! view early. As in protobuf, the last of several values counts, and messages that come twice are merged.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::wire::{Fields, Value, all};
use crate::id::{SpanId, TraceId};
use crate::span::SpanKind;
use crate::time::Timestamp;

/// Spans with the resource that made them (OTLP `ResourceSpans`).
#[derive(Debug, Clone, Copy)]
pub struct ResourceRef<'a> {
    raw: &'a [u8],
}

impl<'a> ResourceRef<'a> {
    pub(super) const fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    fn resource(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        all(self.raw, 1)
    }

    /// The resource's attributes, in the order in which they were sent.
    pub fn attributes(&self) -> impl Iterator<Item = AttributeRef<'a>> + Clone + use<'a> {
        self.resource().flat_map(|resource| all(resource, 1)).map(AttributeRef::read)
    }

    /// The value of the first attribute with this key.
    pub fn attribute(&self, key: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|attribute| attribute.key == key).map(|attribute| attribute.value.text())
    }

    /// The value of `service.name`.
    pub fn service_name(&self) -> Option<Cow<'a, str>> {
        self.attribute("service.name")
    }

    /// How many attributes of the resource were dropped.
    pub fn dropped_attributes(&self) -> u32 {
        self.resource().flat_map(Fields::new).fold(0, |dropped, field| match field {
            Ok((2, Value::Varint(count))) => low(count),
            _ => dropped,
        })
    }

    /// Its spans, scope after scope.
    pub fn spans(&self) -> impl Iterator<Item = SpanRef<'a>> + Clone + use<'a> {
        all(self.raw, 2).flat_map(|scope| all(scope, 2)).map(SpanRef::read)
    }
}

/// A span (OTLP `Span`).
#[derive(Debug, Clone, Copy)]
pub struct SpanRef<'a> {
    /// Its trace id as it was sent: 16 bytes, if it is well-formed.
    pub trace_id: &'a [u8],
    /// Its span id as it was sent: 8 bytes, if it is well-formed.
    pub span_id: &'a [u8],
    /// Its parent's span id as it was sent; empty for a root.
    pub parent_span_id: &'a [u8],
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: SpanKind,
    /// When it started, by the clock of the process that made it.
    pub start: Timestamp,
    /// When it ended, by the clock of the process that made it.
    pub end: Timestamp,
    /// OTLP's `flags`.
    pub flags: u32,
    /// Its status.
    pub status: StatusRef<'a>,
    /// How many attributes, events and links of it were dropped.
    pub dropped: u32,
    /// All of its bytes.
    pub raw: &'a [u8],
}

/// How a span's operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusRef<'a> {
    /// OTLP's code: 0 unset, 1 OK, 2 error.
    pub code: u64,
    /// What is said about it.
    pub message: &'a str,
}

impl StatusRef<'_> {
    /// Whether it is an error.
    pub const fn is_error(&self) -> bool {
        self.code == 2
    }
}

impl<'a> SpanRef<'a> {
    fn read(raw: &'a [u8]) -> Self {
        let mut span = Self {
            trace_id: &[],
            span_id: &[],
            parent_span_id: &[],
            name: "",
            kind: SpanKind::Unspecified,
            start: Timestamp::default(),
            end: Timestamp::default(),
            flags: 0,
            status: StatusRef::default(),
            dropped: 0,
            raw,
        };
        let mut dropped = [0; 3];
        for (number, value) in Fields::new(raw).flatten() {
            match (number, value) {
                (1, Value::Bytes(id)) => span.trace_id = id,
                (2, Value::Bytes(id)) => span.span_id = id,
                (4, Value::Bytes(id)) => span.parent_span_id = id,
                (5, Value::Bytes(name)) => span.name = text(name),
                (6, Value::Varint(kind)) => span.kind = kind_of(kind),
                (7, Value::Fixed64(nanos)) => span.start = Timestamp::from_unix_nanos(nanos),
                (8, Value::Fixed64(nanos)) => span.end = Timestamp::from_unix_nanos(nanos),
                (10, Value::Varint(count)) => dropped[0] = low(count),
                (12, Value::Varint(count)) => dropped[1] = low(count),
                (14, Value::Varint(count)) => dropped[2] = low(count),
                (15, Value::Bytes(status)) => span.status.merge(status),
                (16, Value::Fixed32(flags)) => span.flags = flags,
                _ => {}
            }
        }
        span.dropped = dropped.into_iter().fold(0, u32::saturating_add);
        span
    }

    /// Its trace id; one of a wrong length is the invalid one, never cut or padded into somebody else's.
    pub fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.trace_id.try_into().unwrap_or_default())
    }

    /// Its span id, as [`Self::trace_id`].
    pub fn span_id(&self) -> SpanId {
        SpanId::from_bytes(self.span_id.try_into().unwrap_or_default())
    }

    /// Its parent's span id; only an empty one makes a root.
    pub fn parent(&self) -> Option<SpanId> {
        let id = self.parent_span_id;
        (!id.is_empty()).then(|| SpanId::from_bytes(id.try_into().unwrap_or_default()))
    }

    /// Its attributes, in the order in which they were sent.
    pub fn attributes(&self) -> impl Iterator<Item = AttributeRef<'a>> + Clone + use<'a> {
        all(self.raw, 9).map(AttributeRef::read)
    }

    /// Its links.
    pub fn links(&self) -> impl Iterator<Item = LinkRef<'a>> + Clone + use<'a> {
        all(self.raw, 13).map(LinkRef::read)
    }
}

impl<'a> StatusRef<'a> {
    fn merge(&mut self, raw: &'a [u8]) {
        for (number, value) in Fields::new(raw).flatten() {
            match (number, value) {
                (2, Value::Bytes(message)) => self.message = text(message),
                (3, Value::Varint(code)) => self.code = u64::from(low(code)),
                _ => {}
            }
        }
    }
}

/// A reference to another span (OTLP `Span.Link`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkRef<'a> {
    /// The other's trace id as it was sent.
    pub trace_id: &'a [u8],
    /// The other's span id as it was sent.
    pub span_id: &'a [u8],
}

impl<'a> LinkRef<'a> {
    fn read(raw: &'a [u8]) -> Self {
        let mut link = Self::default();
        for (number, value) in Fields::new(raw).flatten() {
            match (number, value) {
                (1, Value::Bytes(id)) => link.trace_id = id,
                (2, Value::Bytes(id)) => link.span_id = id,
                _ => {}
            }
        }
        link
    }

    /// The span that it names, as [`SpanRef::trace_id`].
    pub fn target(&self) -> (TraceId, SpanId) {
        let trace_id = TraceId::from_bytes(self.trace_id.try_into().unwrap_or_default());
        (trace_id, SpanId::from_bytes(self.span_id.try_into().unwrap_or_default()))
    }
}

/// A key and its value (OTLP `KeyValue`).
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeRef<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: ValueRef<'a>,
}

impl<'a> AttributeRef<'a> {
    fn read(raw: &'a [u8]) -> Self {
        let mut attribute = Self { key: "", value: ValueRef::Empty };
        for (number, value) in Fields::new(raw).flatten() {
            match (number, value) {
                (1, Value::Bytes(key)) => attribute.key = text(key),
                (2, Value::Bytes(value)) => attribute.value.merge(value),
                _ => {}
            }
        }
        attribute
    }
}

/// An attribute's value (OTLP `AnyValue`).
#[derive(Debug, Clone, PartialEq)]
pub enum ValueRef<'a> {
    /// A text.
    Text(&'a str),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list, as the bytes of its message.
    List(Cow<'a, [u8]>),
    /// A map, as the bytes of its message.
    Map(Cow<'a, [u8]>),
    /// Nothing; or an index into a table that only profiles have, which is to be taken for that.
    Empty,
}

impl<'a> ValueRef<'a> {
    fn read(raw: &'a [u8]) -> Self {
        let mut value = Self::Empty;
        value.merge(raw);
        value
    }

    /// Takes what another message of the value says; a list or a map goes on.
    fn merge(&mut self, raw: &'a [u8]) {
        for (number, value) in Fields::new(raw).flatten() {
            *self = match (number, value, std::mem::replace(self, Self::Empty)) {
                (1, Value::Bytes(bytes), _) => Self::Text(text(bytes)),
                (2, Value::Varint(number), _) => Self::Bool(number != 0),
                (3, Value::Varint(number), _) => Self::Int(number.cast_signed()),
                (4, Value::Fixed64(bits), _) => Self::Double(f64::from_bits(bits)),
                (5, Value::Bytes(more), Self::List(list)) => Self::List([&*list, more].concat().into()),
                (5, Value::Bytes(list), _) => Self::List(list.into()),
                (6, Value::Bytes(more), Self::Map(map)) => Self::Map([&*map, more].concat().into()),
                (6, Value::Bytes(map), _) => Self::Map(map.into()),
                (7, Value::Bytes(bytes), _) => Self::Bytes(bytes),
                (8, Value::Varint(_), _) => Self::Empty,
                (_, _, before) => before,
            };
        }
    }

    /// The value as text: a scalar as it is written in JSON without quotes, bytes in base64, a list or a map as
    /// compact JSON, and nothing as the empty text. Numbers that JSON does not know are `NaN`, `Infinity` and
    /// `-Infinity`.
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
            Self::Double(number) => double(*number).into(),
            Self::Empty => Cow::Borrowed(""),
            value => {
                let mut json = String::new();
                value.push_json(&mut json);
                json.into()
            }
        }
    }

    /// Appends the value as JSON; it is nested no deeper than the intake allows.
    fn push_json(&self, json: &mut String) {
        match self {
            Self::Empty => json.push_str("null"),
            Self::Text(text) => push_quoted(text, json),
            Self::Bool(value) => push(value, json),
            Self::Int(number) => push(number, json),
            Self::Double(number) if number.is_finite() => json.push_str(&double(*number)),
            Self::Double(number) => push_quoted(&double(*number), json),
            Self::Bytes(bytes) => push_quoted(&BASE64_STANDARD.encode(bytes), json),
            Self::List(raw) => push_all(all(raw, 1), ['[', ']'], json, |value, json| {
                ValueRef::read(value).push_json(json);
            }),
            Self::Map(raw) => push_all(all(raw, 1), ['{', '}'], json, |pair, json| {
                let AttributeRef { key, value } = AttributeRef::read(pair);
                push_quoted(key, json);
                json.push(':');
                value.push_json(json);
            }),
        }
    }
}

fn push_all<'a>(
    items: impl Iterator<Item = &'a [u8]>,
    [open, close]: [char; 2],
    json: &mut String,
    push_one: impl Fn(&'a [u8], &mut String),
) {
    json.push(open);
    for (place, item) in items.enumerate() {
        if place > 0 {
            json.push(',');
        }
        push_one(item, json);
    }
    json.push(close);
}

fn push_quoted(text: &str, json: &mut String) {
    push(serde_json::Value::from(text), json);
}

fn push(value: impl std::fmt::Display, json: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(json, "{value}");
}

fn double(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else {
        serde_json::Value::from(number).to_string()
    }
}

/// A text. What was accepted as an export is UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The low 32 bits: all that a decoder keeps of a number that is meant to have no more.
const fn low(number: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
    let low = number as u32;
    low
}

/// The kind with this number; one that the specification does not know is unspecified.
const fn kind_of(number: u64) -> SpanKind {
    match low(number) {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}
