//! Exports as JSON, in the ways in which others write them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Value, json};

/// How JSON is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// `span_id`, not `spanId`.
    pub(crate) snake_case: bool,
    /// Ids in base64, not in hex, if they have their length: others could not be told from hex.
    pub(crate) base64: bool,
    /// Hex in upper case.
    pub(crate) upper_case: bool,
    /// 64-bit numbers as numbers, not as texts.
    pub(crate) numbers: bool,
    /// Enums by their names, if they have one.
    pub(crate) names: bool,
    /// Over many lines.
    pub(crate) pretty: bool,
}

/// An export without values that refer to a table of texts: they have no form in JSON.
pub(crate) fn without_references(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for resource in &mut request.resource_spans {
        resource.resource.iter_mut().for_each(|resource| resource.attributes.iter_mut().for_each(clean_pair));
        for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            span.attributes.iter_mut().for_each(clean_pair);
            span.links.iter_mut().flat_map(|link| &mut link.attributes).for_each(clean_pair);
        }
    }
    request
}

fn clean_pair(pair: &mut KeyValue) {
    pair.value.iter_mut().for_each(clean);
}

fn clean(value: &mut AnyValue) {
    match &mut value.value {
        Some(Any::StringValueStrindex(_)) => value.value = None,
        Some(Any::ArrayValue(list)) => list.values.iter_mut().for_each(clean),
        Some(Any::KvlistValue(map)) => map.values.iter_mut().for_each(clean_pair),
        _ => {}
    }
}

/// An export as JSON.
pub(crate) fn written(request: &ExportTraceServiceRequest, style: Style) -> String {
    let resources: Vec<_> = request.resource_spans.iter().map(|resource| style.resource(resource)).collect();
    let value = style.cased(json!({ "resourceSpans": resources }));
    if style.pretty { format!("{value:#}") } else { value.to_string() }
}

impl Style {
    /// With keys as the style has them.
    fn cased(self, value: Value) -> Value {
        match value {
            Value::Object(map) if self.snake_case => {
                map.into_iter().map(|(key, value)| (snake_case(&key), self.cased(value))).collect()
            }
            Value::Object(map) => Value::Object(map),
            Value::Array(list) => list.into_iter().map(|value| self.cased(value)).collect(),
            other => other,
        }
    }

    fn resource(self, sent: &ResourceSpans) -> Value {
        let scopes: Vec<_> = sent.scope_spans.iter().map(|scope| self.scope(scope)).collect();
        match &sent.resource {
            Some(resource) => json!({
                "resource": { "attributes": self.attributes(&resource.attributes) },
                "scopeSpans": scopes,
                "schemaUrl": sent.schema_url,
            }),
            None => json!({ "scopeSpans": scopes }),
        }
    }

    fn scope(self, sent: &ScopeSpans) -> Value {
        let spans: Vec<_> = sent.spans.iter().map(|span| self.span(span)).collect();
        json!({ "scope": { "name": "scope", "version": "1" }, "spans": spans })
    }

    fn span(self, sent: &Span) -> Value {
        let mut value = json!({
            "traceId": self.id(&sent.trace_id, 16),
            "spanId": self.id(&sent.span_id, 8),
            "traceState": sent.trace_state,
            "parentSpanId": self.id(&sent.parent_span_id, 8),
            "flags": sent.flags,
            "name": sent.name,
            "kind": self.enumeration(sent.kind, &SPAN_KINDS),
            "startTimeUnixNano": self.unsigned(sent.start_time_unix_nano),
            "endTimeUnixNano": self.unsigned(sent.end_time_unix_nano),
            "attributes": self.attributes(&sent.attributes),
            "droppedAttributesCount": sent.dropped_attributes_count,
            "events": sent.events.iter().map(|event| self.event(event)).collect::<Vec<_>>(),
            "droppedEventsCount": sent.dropped_events_count,
            "links": sent.links.iter().map(|link| self.link(link)).collect::<Vec<_>>(),
            "droppedLinksCount": sent.dropped_links_count,
        });
        if let Some(status) = &sent.status {
            value["status"] = self.status(status);
        }
        value
    }

    fn event(self, sent: &Event) -> Value {
        json!({
            "timeUnixNano": self.unsigned(sent.time_unix_nano),
            "name": sent.name,
            "attributes": self.attributes(&sent.attributes),
        })
    }

    fn link(self, sent: &Link) -> Value {
        json!({
            "traceId": self.id(&sent.trace_id, 16),
            "spanId": self.id(&sent.span_id, 8),
            "attributes": self.attributes(&sent.attributes),
            "flags": sent.flags,
        })
    }

    fn status(self, sent: &Status) -> Value {
        json!({ "message": sent.message, "code": self.enumeration(sent.code, &STATUS_CODES) })
    }

    fn attributes(self, pairs: &[KeyValue]) -> Vec<Value> {
        pairs.iter().map(|pair| self.pair(pair)).collect()
    }

    fn pair(self, pair: &KeyValue) -> Value {
        match &pair.value {
            Some(value) => json!({ "key": pair.key, "value": self.value(value) }),
            None => json!({ "key": pair.key }),
        }
    }

    fn value(self, value: &AnyValue) -> Value {
        match &value.value {
            Some(Any::StringValue(text)) => json!({ "stringValue": text }),
            Some(Any::BoolValue(value)) => json!({ "boolValue": value }),
            Some(Any::IntValue(number)) if self.numbers => json!({ "intValue": number }),
            Some(Any::IntValue(number)) => json!({ "intValue": number.to_string() }),
            Some(Any::DoubleValue(number)) => json!({ "doubleValue": double(*number) }),
            Some(Any::BytesValue(bytes)) => json!({ "bytesValue": BASE64_STANDARD.encode(bytes) }),
            Some(Any::ArrayValue(list)) => {
                let values: Vec<_> = list.values.iter().map(|value| self.value(value)).collect();
                json!({ "arrayValue": { "values": values } })
            }
            Some(Any::KvlistValue(map)) => json!({ "kvlistValue": { "values": self.attributes(&map.values) } }),
            Some(Any::StringValueStrindex(_)) | None => json!({}),
        }
    }

    fn id(self, bytes: &[u8], length: usize) -> String {
        if self.base64 && bytes.len() == length {
            return BASE64_STANDARD.encode(bytes);
        }
        let digits =
            bytes.iter().map(|byte| if self.upper_case { format!("{byte:02X}") } else { format!("{byte:02x}") });
        digits.collect()
    }

    fn unsigned(self, number: u64) -> Value {
        if self.numbers { json!(number) } else { json!(number.to_string()) }
    }

    fn enumeration(self, number: i32, names: &[&str]) -> Value {
        let name = usize::try_from(number).ok().and_then(|place| names.get(place));
        name.filter(|_| self.names).map_or(json!(number), |name| json!(name))
    }
}

const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// A double as a number if JSON can hold it, and if it is read back as it was: the reader of JSON rounds some.
fn double(number: f64) -> Value {
    let value = json!(number);
    let back = serde_json::from_str::<f64>(&value.to_string());
    match back {
        Ok(back) if back.to_bits() == number.to_bits() => value,
        _ if number.is_infinite() => json!(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => json!(number.to_string()),
    }
}

fn snake_case(key: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_uppercase() { format!("_{}", letter.to_ascii_lowercase()) } else { letter.to_string() }
    };
    key.chars().map(letter).collect()
}
