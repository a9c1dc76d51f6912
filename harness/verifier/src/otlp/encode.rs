//! The way back: from the owned form to an export's bytes, and from those to the owned form.

use super::payload::Payload;
use super::spans::{AttributeRef, LinkRef, ResourceRef, SpanRef};
use crate::span::{Attribute, Resource, ResourceSpans, Span, SpanKind, SpanLink, SpanStatus};

impl Payload {
    /// An export with these spans. Attributes are texts.
    pub fn of(resources: &[ResourceSpans]) -> Self {
        let mut message = Message::default();
        resources.iter().for_each(|resource| message.nested(1, resource_spans(resource)));
        Self::new(message.0.into())
    }

    /// The spans in the owned form, for people and for evidence.
    pub fn to_resource_spans(&self) -> Vec<ResourceSpans> {
        self.resources().map(ResourceSpans::from).collect()
    }
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn nested(&mut self, field: u32, message: Self) {
        self.bytes(field, &message.0);
    }

    fn number(&mut self, field: u32, number: u64) {
        if number > 0 {
            self.key(field, 0);
            self.varint(number);
        }
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, number: u32) {
        self.key(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

fn resource_spans(sent: &ResourceSpans) -> Message {
    let (mut resource, mut scope, mut message) = (Message::default(), Message::default(), Message::default());
    sent.resource.attributes.iter().for_each(|attribute| resource.nested(1, key_value(attribute)));
    sent.spans.iter().for_each(|sent| scope.nested(2, span(sent)));
    message.nested(1, resource);
    message.nested(2, scope);
    message
}

fn span(sent: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &sent.trace_id.to_bytes());
    message.bytes(2, &sent.span_id.to_bytes());
    if let Some(parent) = sent.parent_span_id {
        message.bytes(4, &parent.to_bytes());
    }
    message.bytes(5, sent.name.as_bytes());
    message.number(6, kind(sent.kind));
    message.fixed64(7, sent.start.unix_nanos());
    message.fixed64(8, sent.end.unix_nanos());
    sent.attributes.iter().for_each(|attribute| message.nested(9, key_value(attribute)));
    message.number(10, u64::from(sent.dropped));
    sent.links.iter().for_each(|sent| message.nested(13, link(sent)));
    message.nested(15, status(&sent.status));
    message.fixed32(16, sent.flags);
    message
}

fn key_value(attribute: &Attribute) -> Message {
    let (mut value, mut message) = (Message::default(), Message::default());
    value.bytes(1, attribute.value.as_bytes());
    message.bytes(1, attribute.key.as_bytes());
    message.nested(2, value);
    message
}

fn link(sent: &SpanLink) -> Message {
    let mut message = Message::default();
    message.bytes(1, &sent.trace_id.to_bytes());
    message.bytes(2, &sent.span_id.to_bytes());
    message
}

fn status(sent: &SpanStatus) -> Message {
    let mut message = Message::default();
    match sent {
        SpanStatus::Unset => {}
        SpanStatus::Ok => message.number(3, 1),
        SpanStatus::Error(text) => {
            message.bytes(2, text.as_bytes());
            message.number(3, 2);
        }
    }
    message
}

const fn kind(kind: SpanKind) -> u64 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

impl From<ResourceRef<'_>> for ResourceSpans {
    fn from(sent: ResourceRef<'_>) -> Self {
        let attributes = sent.attributes().map(Attribute::from).collect();
        Self { resource: Resource { attributes }, spans: sent.spans().map(Span::from).collect() }
    }
}

impl From<SpanRef<'_>> for Span {
    fn from(sent: SpanRef<'_>) -> Self {
        Self {
            trace_id: sent.trace_id(),
            span_id: sent.span_id(),
            parent_span_id: sent.parent(),
            name: sent.name.to_owned(),
            kind: sent.kind,
            start: sent.start,
            end: sent.end,
            status: match sent.status.code {
                1 => SpanStatus::Ok,
                2 => SpanStatus::Error(sent.status.message.to_owned()),
                _ => SpanStatus::Unset,
            },
            flags: sent.flags,
            dropped: sent.dropped,
            attributes: sent.attributes().map(Attribute::from).collect(),
            links: sent.links().map(SpanLink::from).collect(),
        }
    }
}

impl From<AttributeRef<'_>> for Attribute {
    fn from(sent: AttributeRef<'_>) -> Self {
        Self { key: sent.key.to_owned(), value: sent.value.text().into_owned() }
    }
}

impl From<LinkRef<'_>> for SpanLink {
    fn from(sent: LinkRef<'_>) -> Self {
        let (trace_id, span_id) = sent.target();
        Self { trace_id, span_id }
    }
}
