//! The exports that are measured: 512 spans with 12 attributes each, three spans to a trace, as the reference system
//! makes them.

use verifier::otlp::Payload;
use verifier::span::{Attribute, Resource, ResourceSpans, SpanStatus};
use verifier::{RequestId, Span, SpanId, SpanKind, Timestamp, TraceId};

/// Spans in an export.
pub(crate) const SPANS: usize = 512;
/// The tag of all requests.
pub(crate) const TAG: u32 = 0x7f3a_9c2e;
const START: u64 = 1_700_000_000_000_000_000;

/// That many milliseconds after the start.
pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_nanos(START + millis * 1_000_000)
}

/// The request that a trace is of.
pub(crate) fn request(trace: usize) -> RequestId {
    RequestId::new(TAG, trace as u32)
}

/// A trace's id, as random as real ones.
pub(crate) fn trace_id(trace: usize) -> TraceId {
    TraceId::from_bytes((trace as u128 * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 + 1).to_be_bytes())
}

/// The id of the span at a place of a trace.
pub(crate) fn span_id(trace: usize, place: usize) -> SpanId {
    SpanId::from_bytes(
        (((trace as u64 + 1) << 8) | (place as u64 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(),
    )
}

/// An export with the spans of that many traces, in their order. The first spans of the last trace may be in the
/// export before.
pub(crate) fn payload(number: usize) -> Payload {
    let spans = (number * SPANS..(number + 1) * SPANS).map(|place| span(place / 3, place % 3)).collect();
    let attributes = vec![attribute("service.name", "all"), attribute("cx.application.name", "bench")];
    Payload::of(&[ResourceSpans { resource: Resource { attributes }, spans }])
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute { key: key.to_owned(), value: value.to_owned() }
}

fn span(trace: usize, place: usize) -> Span {
    let (name, kind) =
        [("POST /onboard", SpanKind::Server), ("sqs.send", SpanKind::Producer), ("sqs.process", SpanKind::Consumer)]
            [place];
    let mut attributes = vec![
        attribute("messaging.system", "aws_sqs"),
        attribute("messaging.message.id", "00000000-0000-4000-8000-000000000000"),
        attribute("customer.id", &request(trace).to_string()),
    ];
    attributes.extend((3..12).map(|key| attribute(&format!("key.{key}"), "a value of some length")));
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(trace, place),
        parent_span_id: place.checked_sub(1).map(|parent| span_id(trace, parent)),
        name: name.to_owned(),
        kind,
        start: at(1_000 + place as u64),
        end: at(1_010 + place as u64),
        status: SpanStatus::Unset,
        flags: 0x101,
        dropped: 0,
        attributes,
        links: Vec::new(),
    }
}
