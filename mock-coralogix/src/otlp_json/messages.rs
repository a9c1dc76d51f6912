//! JSON values as OTLP's messages.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Map, Value};

use super::scalars::{all, base64, double, enumeration, get, id, number, object, text};

/// The names of the kinds of spans, in the order of their numbers.
const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// The names of status codes, in the order of their numbers.
const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// The keys of the lists in a resource's spans, from the outside. Before OTLP 0.15 scopes were called
/// instrumentation libraries.
const LISTS: [&[&str]; 2] = [&["scopeSpans", "instrumentationLibrarySpans"], &["spans"]];

/// How many things stand where scopes and spans should, and are none.
pub(super) fn misplaced(resource: &Map<String, Value>) -> usize {
    misplaced_in(resource, &LISTS)
}

fn misplaced_in(parent: &Map<String, Value>, lists: &[&[&str]]) -> usize {
    let Some((keys, inner)) = lists.split_first() else { return 0 };
    let in_element = |value: &Value| value.as_object().map_or(1, |object| misplaced_in(object, inner));
    let in_list = |value: &Value| match value {
        Value::Null => 0,
        Value::Array(list) => list.iter().map(in_element).sum(),
        _ => 1,
    };
    keys.iter().filter_map(|key| get(parent, key)).map(in_list).sum()
}

/// The spans of one resource.
pub(super) fn resource_spans(sent: &Map<String, Value>) -> ResourceSpans {
    let resource = object(sent, "resource").map(|resource| Resource {
        attributes: attributes(resource),
        dropped_attributes_count: number(get(resource, "droppedAttributesCount")),
        ..Resource::default()
    });
    let scopes = LISTS[0].iter().flat_map(|key| all(sent, key));
    let scope_spans =
        scopes.map(|scope| ScopeSpans { spans: all(scope, "spans").map(span).collect(), ..ScopeSpans::default() });
    ResourceSpans { resource, scope_spans: scope_spans.collect(), ..ResourceSpans::default() }
}

fn span(sent: &Map<String, Value>) -> Span {
    Span {
        trace_id: id(sent, "traceId", 16),
        span_id: id(sent, "spanId", 8),
        trace_state: text(sent, "traceState"),
        parent_span_id: id(sent, "parentSpanId", 8),
        flags: number(get(sent, "flags")),
        name: text(sent, "name"),
        kind: enumeration(get(sent, "kind"), "SPAN_KIND_", &KINDS),
        start_time_unix_nano: number(get(sent, "startTimeUnixNano")),
        end_time_unix_nano: number(get(sent, "endTimeUnixNano")),
        attributes: attributes(sent),
        dropped_attributes_count: number(get(sent, "droppedAttributesCount")),
        events: all(sent, "events").map(event).collect(),
        dropped_events_count: number(get(sent, "droppedEventsCount")),
        links: all(sent, "links").map(link).collect(),
        dropped_links_count: number(get(sent, "droppedLinksCount")),
        status: object(sent, "status").map(status),
    }
}

fn event(sent: &Map<String, Value>) -> Event {
    Event {
        time_unix_nano: number(get(sent, "timeUnixNano")),
        name: text(sent, "name"),
        attributes: attributes(sent),
        dropped_attributes_count: number(get(sent, "droppedAttributesCount")),
    }
}

fn link(sent: &Map<String, Value>) -> Link {
    Link {
        trace_id: id(sent, "traceId", 16),
        span_id: id(sent, "spanId", 8),
        trace_state: text(sent, "traceState"),
        attributes: attributes(sent),
        dropped_attributes_count: number(get(sent, "droppedAttributesCount")),
        flags: number(get(sent, "flags")),
    }
}

fn status(sent: &Map<String, Value>) -> Status {
    let code = enumeration(get(sent, "code"), "STATUS_CODE_", &STATUS_CODES);
    Status { message: text(sent, "message"), code }
}

fn attributes(parent: &Map<String, Value>) -> Vec<KeyValue> {
    all(parent, "attributes").map(key_value).collect()
}

fn key_value(sent: &Map<String, Value>) -> KeyValue {
    KeyValue { key: text(sent, "key"), value: object(sent, "value").map(any_value), ..KeyValue::default() }
}

/// A value. JSON's own limit for nesting bounds its depth.
fn any_value(sent: &Map<String, Value>) -> AnyValue {
    // Some write all kinds of values, and null for those that it is not.
    let get = |key| get(sent, key).filter(|value| !value.is_null());
    let value = if let Some(text) = get("stringValue") {
        Some(Any::StringValue(text.as_str().unwrap_or_default().to_owned()))
    } else if let Some(value) = get("boolValue") {
        Some(Any::BoolValue(value.as_bool().unwrap_or_default()))
    } else if let Some(whole) = get("intValue") {
        Some(Any::IntValue(number(Some(whole))))
    } else if let Some(value) = get("doubleValue") {
        Some(Any::DoubleValue(double(value)))
    } else if let Some(list) = object(sent, "arrayValue") {
        Some(Any::ArrayValue(ArrayValue { values: all(list, "values").map(any_value).collect() }))
    } else if let Some(map) = object(sent, "kvlistValue") {
        Some(Any::KvlistValue(KeyValueList { values: all(map, "values").map(key_value).collect() }))
    } else {
        let bytes = get("bytesValue").and_then(Value::as_str);
        bytes.map(|bytes| Any::BytesValue(base64(bytes).unwrap_or_default()))
    };
    AnyValue { value }
}
