//! OTLP/JSON, as exporters and collectors write it, and as files hold it.
//!
//! Source: OTLP specification, "JSON Protobuf Encoding". Files differ from it, so this reads more than that allows:
//!
//! | in a file | here |
//! |---|---|
//! | ids in hex, upper or lower case, or in base64 | the id |
//! | an id that is neither, or has another length | data, not an error: an id of a wrong length, for the verifier to find |
//! | 64-bit numbers as numbers or as texts | the number |
//! | enums as numbers or by their names (`SPAN_KIND_SERVER`) | the number |
//! | keys in camelCase or in snake_case | the same |
//! | keys that nobody knows | skipped |
//! | metrics, logs and profiles beside traces, or in their place | counted, and skipped |
//! | `"NaN"`, `"Infinity"`, `"-Infinity"` | the number |

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Map, Value};
use verifier::otlp::Payload;

/// What a JSON document holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Its spans.
    pub payload: Payload,
    /// How many lists of resources of other signals it holds.
    pub other_signals: usize,
}

/// A document that is no OTLP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, and holds nothing of OTLP.
    #[error("JSON without resourceSpans, resourceMetrics or resourceLogs: no OTLP")]
    NotOtlp,
}

/// The keys of the other signals.
const OTHER_SIGNALS: [&str; 3] = ["resourceMetrics", "resourceLogs", "resourceProfiles"];

/// Reads one document: an export, a `TracesData`, or a list of them.
///
/// # Errors
/// If it is no JSON, or holds nothing of OTLP.
pub fn read(bytes: &[u8]) -> Result<Document, JsonError> {
    let value = serde_json::from_slice(bytes).map_err(|error| JsonError::NotJson(error.to_string()))?;
    document(&value)
}

/// As [`read`], of JSON that was read already.
///
/// # Errors
/// If it holds nothing of OTLP.
pub fn document(value: &Value) -> Result<Document, JsonError> {
    let objects: Vec<_> = match value {
        Value::Object(object) => vec![object],
        Value::Array(list) => list.iter().filter_map(Value::as_object).collect(),
        _ => return Err(JsonError::NotOtlp),
    };
    let is_of_traces = |object: &&Map<String, Value>| get(object, "resourceSpans").is_some();
    let others = |object: &Map<String, Value>| OTHER_SIGNALS.iter().filter(|key| get(object, key).is_some()).count();
    let other_signals = objects.iter().map(|object| others(object)).sum();
    if !objects.iter().any(is_of_traces) && other_signals == 0 {
        return Err(JsonError::NotOtlp);
    }
    let resource_spans = objects.into_iter().flat_map(|object| all(object, "resourceSpans")).map(resource_spans);
    let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
    Ok(Document { payload: Payload::new(request.encode_to_vec().into()), other_signals })
}

/// The value under a key, in whichever case it is written.
fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.get(&snake_case(key)))
}

/// `spanId` as `span_id`.
fn snake_case(key: &str) -> String {
    key.chars().fold(String::with_capacity(key.len() + 4), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

/// The objects in a list.
fn all<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    get(object, key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn object<'a>(parent: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    get(parent, key).and_then(Value::as_object)
}

fn text(parent: &Map<String, Value>, key: &str) -> String {
    get(parent, key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number, written as a number or as a text; 0 if it is neither.
fn unsigned(parent: &Map<String, Value>, key: &str) -> u64 {
    match get(parent, key) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or_default(),
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

fn low(parent: &Map<String, Value>, key: &str) -> u32 {
    u32::try_from(unsigned(parent, key)).unwrap_or(u32::MAX)
}

fn resource_spans(sent: &Map<String, Value>) -> ResourceSpans {
    let resource = object(sent, "resource").map(|resource| Resource {
        attributes: attributes(resource),
        dropped_attributes_count: low(resource, "droppedAttributesCount"),
        ..Resource::default()
    });
    // Before OTLP 0.15 scopes were called instrumentation libraries.
    let scopes = all(sent, "scopeSpans").chain(all(sent, "instrumentationLibrarySpans"));
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
        flags: low(sent, "flags"),
        name: text(sent, "name"),
        kind: kind(get(sent, "kind")),
        start_time_unix_nano: unsigned(sent, "startTimeUnixNano"),
        end_time_unix_nano: unsigned(sent, "endTimeUnixNano"),
        attributes: attributes(sent),
        dropped_attributes_count: low(sent, "droppedAttributesCount"),
        events: all(sent, "events").map(event).collect(),
        dropped_events_count: low(sent, "droppedEventsCount"),
        links: all(sent, "links").map(link).collect(),
        dropped_links_count: low(sent, "droppedLinksCount"),
        status: object(sent, "status").map(status),
    }
}

fn event(sent: &Map<String, Value>) -> Event {
    Event {
        time_unix_nano: unsigned(sent, "timeUnixNano"),
        name: text(sent, "name"),
        attributes: attributes(sent),
        dropped_attributes_count: low(sent, "droppedAttributesCount"),
    }
}

fn link(sent: &Map<String, Value>) -> Link {
    Link {
        trace_id: id(sent, "traceId", 16),
        span_id: id(sent, "spanId", 8),
        trace_state: text(sent, "traceState"),
        attributes: attributes(sent),
        dropped_attributes_count: low(sent, "droppedAttributesCount"),
        flags: low(sent, "flags"),
    }
}

fn status(sent: &Map<String, Value>) -> Status {
    let code = match get(sent, "code") {
        Some(Value::String(name)) => match name.trim_start_matches("STATUS_CODE_") {
            "OK" | "1" => 1,
            "ERROR" | "2" => 2,
            _ => 0,
        },
        Some(number) => small(number),
        None => 0,
    };
    Status { message: text(sent, "message"), code }
}

fn kind(sent: Option<&Value>) -> i32 {
    let Some(Value::String(name)) = sent else { return sent.map_or(0, small) };
    match name.trim_start_matches("SPAN_KIND_") {
        "INTERNAL" | "1" => 1,
        "SERVER" | "2" => 2,
        "CLIENT" | "3" => 3,
        "PRODUCER" | "4" => 4,
        "CONSUMER" | "5" => 5,
        _ => 0,
    }
}

fn small(number: &Value) -> i32 {
    number.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

/// An id of that many bytes. One that is left out is empty; what is no id keeps a wrong length.
fn id(parent: &Map<String, Value>, key: &str, length: usize) -> Vec<u8> {
    let text = match get(parent, key) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return UNREADABLE.to_vec(),
    };
    let base64 = || BASE64_STANDARD.decode(text).ok();
    match from_hex(text) {
        Some(bytes) if bytes.len() == length || text.is_empty() => bytes,
        hex => base64().filter(|bytes| bytes.len() == length).or(hex).unwrap_or_else(|| UNREADABLE.to_vec()),
    }
}

/// Stands for an id that is none: no id is a single byte.
const UNREADABLE: &[u8] = &[0];

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    #[expect(clippy::cast_possible_truncation, reason = "two hex digits are a byte")]
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

fn attributes(parent: &Map<String, Value>) -> Vec<KeyValue> {
    all(parent, "attributes").map(key_value).collect()
}

fn key_value(sent: &Map<String, Value>) -> KeyValue {
    KeyValue { key: text(sent, "key"), value: object(sent, "value").map(any_value), ..KeyValue::default() }
}

/// A value. JSON's own limit for nesting bounds its depth.
fn any_value(sent: &Map<String, Value>) -> AnyValue {
    let get = |key| get(sent, key);
    let value = if let Some(text) = get("stringValue") {
        Some(Any::StringValue(text.as_str().unwrap_or_default().to_owned()))
    } else if let Some(value) = get("boolValue") {
        Some(Any::BoolValue(value.as_bool().unwrap_or_default()))
    } else if let Some(number) = get("intValue") {
        Some(Any::IntValue(signed(number)))
    } else if let Some(number) = get("doubleValue") {
        Some(Any::DoubleValue(double(number)))
    } else if let Some(list) = object(sent, "arrayValue") {
        Some(Any::ArrayValue(ArrayValue { values: all(list, "values").map(any_value).collect() }))
    } else if let Some(map) = object(sent, "kvlistValue") {
        Some(Any::KvlistValue(KeyValueList { values: all(map, "values").map(key_value).collect() }))
    } else {
        let bytes = get("bytesValue").and_then(Value::as_str);
        bytes.map(|bytes| Any::BytesValue(BASE64_STANDARD.decode(bytes).unwrap_or_default()))
    };
    AnyValue { value }
}

fn signed(number: &Value) -> i64 {
    match number {
        Value::String(text) => text.parse().unwrap_or_default(),
        number => number.as_i64().unwrap_or_default(),
    }
}

fn double(number: &Value) -> f64 {
    match number {
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        number => number.as_f64().unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use verifier::span::ResourceSpans as Owned;

    use super::*;

    const HEALTHY: &str = r#"{"resourceSpans":[{
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
        "scopeSpans":[{"scope":{"name":"s"},"spans":[{
            "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"",
            "name":"POST /x","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
            "flags":257,"status":{"code":2,"message":"boom"},"droppedEventsCount":3,
            "attributes":[{"key":"n","value":{"intValue":"-7"}},{"key":"b","value":{"boolValue":true}},
                {"key":"l","value":{"arrayValue":{"values":[{"doubleValue":2.0},{"stringValue":"a"}]}}},
                {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AP8="}}]}}}],
            "links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000001"}],
            "unknown":{"a":[1]}}]}]}]}"#;

    fn owned(json: &str) -> Vec<Owned> {
        let document = read(json.as_bytes()).unwrap();
        assert_eq!(document.payload.validate(), Ok(()));
        document.payload.to_resource_spans()
    }

    fn span_with(member: &str) -> verifier::Span {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{member}}}]}}]}}]}}"#);
        owned(&json).remove(0).spans.remove(0)
    }

    #[test]
    fn export_keeps_all_it_says() {
        let spans = owned(HEALTHY);
        assert_eq!(spans[0].resource.service_name(), Some("api"));
        let span = &spans[0].spans[0];
        assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
        assert_eq!((span.span_id.to_string().as_str(), span.parent_span_id), ("eee19b7ec3c1b174", None));
        assert_eq!((span.name.as_str(), span.kind, span.flags), ("POST /x", verifier::SpanKind::Server, 257));
        let times = (span.start.unix_nanos(), span.end.unix_nanos());
        assert_eq!(times, (1_544_712_660_000_000_000, 1_544_712_661_000_000_000));
        assert_eq!(span.status, verifier::span::SpanStatus::Error("boom".to_owned()));
        assert_eq!((span.dropped, span.links.len()), (3, 1));
        let values = ["n", "b", "l", "m"].map(|key| span.attribute(key).unwrap());
        assert_eq!(values, ["-7", "true", r#"[2.0,"a"]"#, r#"{"k":"AP8="}"#]);
    }

    #[test]
    fn snake_case_names_and_lists_of_documents_are_read_alike() {
        let snake = HEALTHY
            .replace("resourceSpans", "resource_spans")
            .replace("scopeSpans", "scope_spans")
            .replace("traceId", "trace_id")
            .replace("startTimeUnixNano", "start_time_unix_nano")
            .replace("stringValue", "string_value");
        assert_eq!(owned(&snake), owned(HEALTHY));
        let list = format!("[{HEALTHY},{HEALTHY}]");
        assert_eq!(owned(&list).len(), 2);
    }

    #[test]
    fn ids_may_be_in_base64_and_wrong_ones_stay_wrong() {
        let base64 = r#""traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=""#;
        let span = span_with(base64);
        assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
        assert_eq!(span.span_id.to_string(), "eee19b7ec3c1b174");
        for wrong in [r#""traceId":"xyz""#, r#""traceId":"ab""#, r#""traceId":7"#, r#""traceId":"not-a-trace-id!!""#] {
            assert!(!span_with(wrong).trace_id.is_valid(), "{wrong}");
        }
        let parent = |text: &str| span_with(&format!(r#""parentSpanId":{text}"#)).parent_span_id;
        assert_eq!((parent("null"), parent("\"\"")), (None, None));
        assert_eq!(parent("\"nobody\"").map(verifier::SpanId::is_valid), Some(false));
    }

    #[test]
    fn enums_may_be_named() {
        assert_eq!(span_with(r#""kind":"SPAN_KIND_CONSUMER""#).kind, verifier::SpanKind::Consumer);
        assert_eq!(span_with(r#""kind":"CLIENT""#).kind, verifier::SpanKind::Client);
        assert_eq!(span_with(r#""kind":99"#).kind, verifier::SpanKind::Unspecified);
        assert_eq!(span_with(r#""status":{"code":"STATUS_CODE_OK"}"#).status, verifier::span::SpanStatus::Ok);
    }

    #[test]
    fn other_signals_are_counted_and_what_is_none_is_refused() {
        let mixed = r#"{"resourceMetrics":[{}],"resourceLogs":[],"resourceSpans":[]}"#;
        assert_eq!(read(mixed.as_bytes()).unwrap().other_signals, 2);
        assert_eq!(read(br#"{"resourceLogs":[]}"#).unwrap().other_signals, 1);
        assert_eq!(read(b"{}"), Err(JsonError::NotOtlp));
        assert_eq!(read(b"7"), Err(JsonError::NotOtlp));
        assert!(matches!(read(b"{"), Err(JsonError::NotJson(_))));
    }

    #[test]
    fn document_of_any_shape_panics_nowhere() {
        // Every value of a good document in the place of every other.
        let value: Value = serde_json::from_str(HEALTHY).unwrap();
        let others = ["null", "true", "-1", "1e999", "\"\"", "\"ü\"", "[]", "{}", "[[[]]]", "{\"key\":{}}"];
        let count = count(&value);
        for place in 0..count {
            for other in others.iter().filter_map(|other| serde_json::from_str::<Value>(other).ok()) {
                let mut changed = value.clone();
                replace(&mut changed, &mut place.clone(), &other);
                let _ = document(&changed).map(|document| document.payload.to_resource_spans());
            }
        }
        assert!(count > 50);
    }

    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }

    /// Replaces the value at a place, counted from the outside.
    fn replace(value: &mut Value, place: &mut usize, by: &Value) {
        if *place == 0 {
            *value = by.clone();
            *place = usize::MAX;
            return;
        }
        *place -= 1;
        let inner: Vec<&mut Value> = match value {
            Value::Array(list) => list.iter_mut().collect(),
            Value::Object(map) => map.values_mut().collect(),
            _ => Vec::new(),
        };
        for value in inner {
            if *place != usize::MAX {
                replace(value, place, by);
            }
        }
    }
}
