//! OTLP's messages as the verifier's types, by way of the protobuf library: for evidence, and for tests that
//! compare it with the verifier's own reading of the bytes.
//!
//! Telemetry is data: nothing here fails. What is wrong with a span stays visible in its conversion,
//! and is judged by the verifier.
//!
//! | in OTLP | here |
//! |---|---|
//! | a trace or span id that has not its length of 16 or 8 bytes | the invalid id, all zero; never padded or cut, which could make it somebody else's |
//! | an empty `parent_span_id` | no parent: a root |
//! | a `parent_span_id` of another length, or all zero | a parent with the invalid id |
//! | a kind or a status code that the specification does not know | unspecified; unset |
//! | no resource | a resource without attributes |
//! | several scopes | their spans one after another |
//! | an attribute's value | text, see [`text`] |

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use verifier::span::{Attribute, Resource, ResourceSpans, Span, SpanKind, SpanLink, SpanStatus};
use verifier::{SpanId, Timestamp, TraceId};

/// The spans of an export with their resources, in the order in which they were sent.
pub fn resource_spans(message: ExportTraceServiceRequest) -> Vec<ResourceSpans> {
    message.resource_spans.into_iter().map(one_resource).collect()
}

fn one_resource(sent: otlp::ResourceSpans) -> ResourceSpans {
    let attributes = sent.resource.map(|resource| attributes(resource.attributes)).unwrap_or_default();
    let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans).map(span).collect();
    ResourceSpans { resource: Resource { attributes }, spans }
}

fn span(sent: otlp::Span) -> Span {
    Span {
        trace_id: trace_id(&sent.trace_id),
        span_id: span_id(&sent.span_id),
        parent_span_id: (!sent.parent_span_id.is_empty()).then(|| span_id(&sent.parent_span_id)),
        kind: kind(sent.kind),
        name: sent.name,
        start: Timestamp::from_unix_nanos(sent.start_time_unix_nano),
        end: Timestamp::from_unix_nanos(sent.end_time_unix_nano),
        status: sent.status.map(status).unwrap_or_default(),
        flags: sent.flags,
        dropped: [sent.dropped_attributes_count, sent.dropped_events_count, sent.dropped_links_count]
            .into_iter()
            .fold(0, u32::saturating_add),
        attributes: attributes(sent.attributes),
        links: sent.links.iter().map(link).collect(),
    }
}

fn trace_id(bytes: &[u8]) -> TraceId {
    TraceId::from_bytes(bytes.try_into().unwrap_or_default())
}

fn span_id(bytes: &[u8]) -> SpanId {
    SpanId::from_bytes(bytes.try_into().unwrap_or_default())
}

fn kind(number: i32) -> SpanKind {
    match otlp::span::SpanKind::try_from(number) {
        Ok(otlp::span::SpanKind::Internal) => SpanKind::Internal,
        Ok(otlp::span::SpanKind::Server) => SpanKind::Server,
        Ok(otlp::span::SpanKind::Client) => SpanKind::Client,
        Ok(otlp::span::SpanKind::Producer) => SpanKind::Producer,
        Ok(otlp::span::SpanKind::Consumer) => SpanKind::Consumer,
        Ok(otlp::span::SpanKind::Unspecified) | Err(_) => SpanKind::Unspecified,
    }
}

fn status(sent: otlp::Status) -> SpanStatus {
    match sent.code() {
        otlp::status::StatusCode::Unset => SpanStatus::Unset,
        otlp::status::StatusCode::Ok => SpanStatus::Ok,
        otlp::status::StatusCode::Error => SpanStatus::Error(sent.message),
    }
}

fn link(sent: &otlp::span::Link) -> SpanLink {
    SpanLink { trace_id: trace_id(&sent.trace_id), span_id: span_id(&sent.span_id) }
}

fn attributes(sent: Vec<KeyValue>) -> Vec<Attribute> {
    sent.into_iter().map(|pair| Attribute { key: pair.key, value: pair.value.map(text).unwrap_or_default() }).collect()
}

/// An attribute's value as text: a scalar as it is written in JSON without quotes, bytes in base64, a
/// list or a map as compact JSON, and an empty value as the empty text. Numbers that JSON does not
/// know are `NaN`, `Infinity` and `-Infinity`.
pub fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BytesValue(bytes)) => BASE64_STANDARD.encode(bytes),
        Some(Value::DoubleValue(number)) => double(number),
        // An index into a table that only profiles have: the specification wants it taken for absent.
        None | Some(Value::StringValueStrindex(_)) => String::new(),
        Some(value) => {
            let mut text = String::new();
            push_json(Some(&value), &mut text);
            text
        }
    }
}

/// Appends a value as JSON. Its depth is bounded by the protobuf library's limit for nested messages.
fn push_json(value: Option<&Value>, json: &mut String) {
    match value {
        None | Some(Value::StringValueStrindex(_)) => json.push_str("null"),
        Some(Value::StringValue(text)) => push_quoted(text, json),
        Some(Value::BytesValue(bytes)) => push_quoted(&BASE64_STANDARD.encode(bytes), json),
        Some(Value::DoubleValue(number)) if number.is_finite() => json.push_str(&double(*number)),
        Some(Value::DoubleValue(number)) => push_quoted(&double(*number), json),
        Some(Value::BoolValue(value)) => push(value, json),
        Some(Value::IntValue(number)) => push(number, json),
        Some(Value::ArrayValue(list)) => push_all(&list.values, '[', ']', json, |value, json| {
            push_json(value.value.as_ref(), json);
        }),
        Some(Value::KvlistValue(map)) => push_all(&map.values, '{', '}', json, |pair, json| {
            push_quoted(&pair.key, json);
            json.push(':');
            push_json(pair.value.as_ref().and_then(|value| value.value.as_ref()), json);
        }),
    }
}

fn push_all<T>(items: &[T], open: char, close: char, json: &mut String, push_one: impl Fn(&T, &mut String)) {
    json.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::resource::v1 as resource;

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn string(text: &str) -> Value {
        Value::StringValue(text.to_owned())
    }

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn converted(sent: otlp::Span) -> Span {
        let scope = otlp::ScopeSpans { spans: vec![sent], ..otlp::ScopeSpans::default() };
        let resource = otlp::ResourceSpans { scope_spans: vec![scope], ..otlp::ResourceSpans::default() };
        let message = ExportTraceServiceRequest { resource_spans: vec![resource] };
        resource_spans(message).remove(0).spans.remove(0)
    }

    #[test]
    fn well_formed_span_keeps_all_it_says() {
        let sent = otlp::Span {
            trace_id: vec![0xab; 16],
            span_id: vec![0xcd; 8],
            parent_span_id: vec![0xef; 8],
            flags: 0x301,
            dropped_attributes_count: 1,
            dropped_events_count: 2,
            dropped_links_count: 3,
            name: "sqs.process".to_owned(),
            kind: otlp::span::SpanKind::Consumer as i32,
            start_time_unix_nano: 5,
            end_time_unix_nano: 9,
            attributes: vec![pair("b", string("2")), pair("a", Value::IntValue(1))],
            links: vec![otlp::span::Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..Default::default() }],
            status: Some(otlp::Status { message: "boom".to_owned(), code: otlp::status::StatusCode::Error as i32 }),
            ..otlp::Span::default()
        };
        let attribute = |key: &str, value: &str| Attribute { key: key.to_owned(), value: value.to_owned() };
        let expected = Span {
            trace_id: TraceId::from_bytes([0xab; 16]),
            span_id: SpanId::from_bytes([0xcd; 8]),
            parent_span_id: Some(SpanId::from_bytes([0xef; 8])),
            name: "sqs.process".to_owned(),
            kind: SpanKind::Consumer,
            start: Timestamp::from_unix_nanos(5),
            end: Timestamp::from_unix_nanos(9),
            status: SpanStatus::Error("boom".to_owned()),
            flags: 0x301,
            dropped: 6,
            attributes: vec![attribute("b", "2"), attribute("a", "1")],
            links: vec![SpanLink { trace_id: TraceId::from_bytes([1; 16]), span_id: SpanId::from_bytes([2; 8]) }],
        };
        assert_eq!(converted(sent), expected);
    }

    #[test]
    fn ids_of_a_wrong_length_become_the_invalid_id() {
        for length in [0, 1, 15, 17, 200] {
            let span = converted(otlp::Span { trace_id: vec![7; length], ..otlp::Span::default() });
            assert!(!span.trace_id.is_valid(), "trace id of {length} bytes");
        }
        for length in [0, 1, 7, 9, 16] {
            let span = converted(otlp::Span { span_id: vec![7; length], ..otlp::Span::default() });
            assert!(!span.span_id.is_valid(), "span id of {length} bytes");
        }
    }

    #[test]
    fn only_an_empty_parent_makes_a_root() {
        let parent = |bytes: &[u8]| converted(otlp::Span { parent_span_id: bytes.to_vec(), ..Default::default() });
        let invalid = Some(SpanId::from_bytes([0; 8]));
        assert_eq!(parent(&[]).parent_span_id, None);
        assert_eq!(parent(&[0; 8]).parent_span_id, invalid);
        assert_eq!(parent(&[7; 3]).parent_span_id, invalid);
        assert_eq!(parent(&[7; 8]).parent_span_id, Some(SpanId::from_bytes([7; 8])));
    }

    #[test]
    fn every_kind_and_status_is_told_apart_and_unknown_ones_are_unspecified() {
        let kinds = [-1, 0, 1, 2, 3, 4, 5, 6].map(kind);
        use SpanKind::{Client, Consumer, Internal, Producer, Server, Unspecified};
        assert_eq!(kinds, [Unspecified, Unspecified, Internal, Server, Client, Producer, Consumer, Unspecified]);

        let statuses = [0, 1, 2, 3].map(|code| status(otlp::Status { message: "m".to_owned(), code }));
        assert_eq!(statuses, [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error("m".to_owned()), SpanStatus::Unset]);
    }

    #[test]
    fn scopes_are_merged_and_resources_are_not() {
        let named = |name: &str| otlp::Span { name: name.to_owned(), ..otlp::Span::default() };
        let scope = |names: &[&str]| otlp::ScopeSpans {
            spans: names.iter().map(|name| named(name)).collect(),
            ..otlp::ScopeSpans::default()
        };
        let api = resource::Resource { attributes: vec![pair("service.name", string("api"))], ..Default::default() };
        let first = otlp::ResourceSpans {
            resource: Some(api),
            scope_spans: vec![scope(&["a", "b"]), scope(&[]), scope(&["c"])],
            ..otlp::ResourceSpans::default()
        };
        let second = otlp::ResourceSpans { scope_spans: vec![scope(&["d"])], ..otlp::ResourceSpans::default() };
        let converted = resource_spans(ExportTraceServiceRequest { resource_spans: vec![first, second] });

        let names = |at: usize| converted[at].spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>();
        assert_eq!(converted.len(), 2);
        assert_eq!((names(0), names(1)), (vec!["a", "b", "c"], vec!["d"]));
        assert_eq!(converted[0].resource.service_name(), Some("api"));
        assert_eq!(converted[1].resource, Resource::default());
    }

    #[test]
    fn scalars_are_written_without_quotes() {
        let cases = [
            (string("say \"hi\""), "say \"hi\""),
            (string(""), ""),
            (Value::BoolValue(true), "true"),
            (Value::IntValue(i64::MIN), "-9223372036854775808"),
            (Value::DoubleValue(0.5), "0.5"),
            (Value::DoubleValue(2.0), "2.0"),
            (Value::DoubleValue(f64::NAN), "NaN"),
            (Value::DoubleValue(f64::NEG_INFINITY), "-Infinity"),
            (Value::BytesValue(vec![0, 0xff]), "AP8="),
            (Value::StringValueStrindex(3), ""),
        ];
        for (value, expected) in cases {
            assert_eq!(text(any(value)), expected);
        }
        assert_eq!(text(AnyValue { value: None }), "");
    }

    #[test]
    fn compound_values_are_compact_json_in_their_order() {
        let list = Value::ArrayValue(ArrayValue {
            values: vec![
                any(string("a\"\n")),
                any(Value::DoubleValue(f64::INFINITY)),
                any(Value::BytesValue(vec![1])),
                AnyValue { value: None },
            ],
        });
        let map = Value::KvlistValue(KeyValueList {
            values: vec![pair("z", list), pair("a", Value::BoolValue(false)), KeyValue::default()],
        });
        assert_eq!(text(any(map)), r#"{"z":["a\"\n","Infinity","AQ==",null],"a":false,"":null}"#);
        assert_eq!(text(any(Value::ArrayValue(ArrayValue::default()))), "[]");
    }
}
