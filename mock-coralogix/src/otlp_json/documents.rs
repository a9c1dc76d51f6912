//! Documents, one resource after the other: a document need not fit into memory.

use std::fmt;
use std::io;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use verifier::otlp::Payload;

use super::messages::{misplaced, resource_spans};
use super::scalars::snake_case;

/// What a document holds, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The spans of one resource.
    Spans(Payload),
    /// A list of resources of another signal.
    OtherSignal,
    /// So many things stand where a resource, a scope or a span should, and are none.
    Misplaced(usize),
    /// The document has ended.
    End,
}

/// What a JSON document holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// Its spans.
    pub payload: Payload,
    /// How many lists of resources of other signals it holds.
    pub other_signals: usize,
    /// How many things stand where a resource, a scope or a span should, and are none.
    pub misplaced: usize,
}

/// What is no OTLP/JSON. Lines and columns are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("line {line}, column {column}: this is no JSON: {why}")]
    NotJson {
        /// The line.
        line: usize,
        /// The column in it.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It is JSON, and no OTLP.
    #[error("line {line}, column {column}: this is no OTLP: {why}")]
    NotOtlp {
        /// The line.
        line: usize,
        /// The column in it.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It ends before it should.
    #[error("it ends in the middle of a document")]
    CutOff,
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let why = || without_place(&error.to_string()).to_owned();
        match error.classify() {
            Category::Eof => Self::CutOff,
            Category::Syntax => Self::NotJson { line, column, why: why() },
            Category::Data => Self::NotOtlp { line, column, why: why() },
            // A file that was compressed as a whole ends in the middle like this.
            Category::Io if error.io_error_kind() == Some(io::ErrorKind::UnexpectedEof) => Self::CutOff,
            Category::Io => Self::Io(error.into()),
        }
    }
}

/// An error's text without its place at the end.
fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(why, _)| why)
}

/// Reads one document: an export, a `TracesData`, or a list of them.
///
/// # Errors
/// If it is no JSON, or holds nothing of OTLP.
pub fn read(bytes: &[u8]) -> Result<Document, JsonError> {
    let (mut document, mut spans, mut ended) = (Document::default(), Vec::new(), false);
    let mut sink = |piece| match piece {
        Piece::Spans(payload) => spans.extend_from_slice(payload.bytes()),
        Piece::OtherSignal => document.other_signals += 1,
        Piece::Misplaced(count) => document.misplaced += count,
        Piece::End => ended = true,
    };
    let mut input = serde_json::Deserializer::from_slice(bytes);
    Documents(&mut sink).deserialize(&mut input)?;
    input.end()?;
    if !ended {
        return Err(JsonError::NotOtlp { line: 1, column: 1, why: "an empty list".to_owned() });
    }
    // Messages of protobuf that follow one another are one message.
    document.payload = Payload::new(spans.into());
    Ok(document)
}

/// Reads documents that follow one another, and gives what they hold to `sink`.
///
/// It keeps one resource with its spans in memory at a time.
///
/// # Errors
/// If something is no JSON, or no OTLP. What came before it was given.
pub fn stream(input: impl io::Read, sink: &mut dyn FnMut(Piece)) -> Result<(), JsonError> {
    let mut input = serde_json::Deserializer::from_reader(input);
    while let Err(rest) = input.end() {
        // What is not the end is another document.
        if !rest.is_syntax() {
            return Err(rest.into());
        }
        Documents(sink).deserialize(&mut input)?;
    }
    Ok(())
}

/// What a member of a document holds.
enum Member {
    Traces,
    OtherSignal,
    Unknown,
}

impl Member {
    fn of(key: &str) -> Self {
        match snake_case(key).as_str() {
            "resource_spans" => Self::Traces,
            "resource_metrics" | "resource_logs" | "resource_profiles" => Self::OtherSignal,
            _ => Self::Unknown,
        }
    }
}

/// A document, or a list of documents.
struct Documents<'s>(&'s mut dyn FnMut(Piece));

impl<'de> DeserializeSeed<'de> for Documents<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Documents<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with resourceSpans, resourceMetrics or resourceLogs, or a list of such")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_otlp = false;
        while let Some(key) = map.next_key::<String>()? {
            let member = Member::of(&key);
            is_otlp |= !matches!(member, Member::Unknown);
            match member {
                Member::Traces => map.next_value_seed(Resources(self.0))?,
                Member::OtherSignal => {
                    map.next_value::<IgnoredAny>()?;
                    (self.0)(Piece::OtherSignal);
                }
                Member::Unknown => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        if !is_otlp {
            return Err(A::Error::custom("an object without resourceSpans, resourceMetrics or resourceLogs"));
        }
        (self.0)(Piece::End);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Documents(self.0))?.is_some() {}
        Ok(())
    }
}

/// The list of resources with their spans; something else in its place is told.
struct Resources<'s>(&'s mut dyn FnMut(Piece));

impl Resources<'_> {
    fn take(&mut self, resource: &Value) {
        let Some(resource) = resource.as_object() else { return (self.0)(Piece::Misplaced(1)) };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans(resource)] };
        (self.0)(Piece::Spans(Payload::new(request.encode_to_vec().into())));
        let misplaced = misplaced(resource);
        if misplaced > 0 {
            (self.0)(Piece::Misplaced(misplaced));
        }
    }

    fn misplaced<E>(self) -> Result<(), E> {
        (self.0)(Piece::Misplaced(1));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Resources<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Resources<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of resources with their spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(resource) = list.next_element::<Value>()? {
            self.take(&resource);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.misplaced()
    }

    /// JSON's null is the same as a member that is left out.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.misplaced()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.misplaced()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.misplaced()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.misplaced()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.misplaced()
    }
}

#[cfg(test)]
mod tests {
    use assert_matches::assert_matches;
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
    fn numbers_may_be_texts_and_in_the_notation_of_doubles() {
        let start = |number: &str| span_with(&format!(r#""startTimeUnixNano":{number}"#)).start.unix_nanos();
        for number in
            ["1500000000000000000", "\"1500000000000000000\"", "1.5e18", "\"1.5E+18\"", "1500000000000000000.0"]
        {
            assert_eq!(start(number), 1_500_000_000_000_000_000, "{number}");
        }
        assert_eq!(start("18446744073709551615"), u64::MAX);
        for none in ["-1", "1.5", "\"\"", "\"soon\"", "18446744073709551616", "true", "[]"] {
            assert_eq!(start(none), 0, "{none}");
        }
    }

    #[test]
    fn base64_may_lack_its_padding_and_be_that_of_urls_and_an_id_cut_off_in_hex_is_none() {
        for id in ["W47/95gDgQPSabYzgT/GDA==", "W47/95gDgQPSabYzgT/GDA", "W47_95gDgQPSabYzgT_GDA"] {
            let span = span_with(&format!(r#""traceId":"{id}""#));
            assert_eq!(span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c", "{id}");
        }
        // 22 letters are also 16 bytes in base64.
        assert!(!span_with(r#""traceId":"5b8efff798038103d269b6""#).trace_id.is_valid());
    }

    #[test]
    fn other_signals_are_counted_and_what_is_none_is_refused_with_its_place() {
        let mixed = r#"{"resourceMetrics":[{}],"resourceLogs":[],"resourceSpans":[]}"#;
        assert_eq!(read(mixed.as_bytes()).unwrap().other_signals, 2);
        assert_eq!(read(br#"{"resource_logs":[]}"#).unwrap().other_signals, 1);
        let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(refused(b"\n{\"a\":1}").starts_with("line 2, column 7: this is no OTLP: an object without"));
        assert!(refused(b"7").contains("integer `7`, expected an object with resourceSpans"));
        assert!(refused(b"[]").contains("an empty list"));
        assert!(refused(b"[{\"resourceSpans\":[]},7]").contains("integer `7`"));
        assert!(refused(b"{]").starts_with("line 1, column 2: this is no JSON"));
        assert!(refused(b"{\"resourceSpans\":[]} x").contains("trailing characters"));
        assert_matches!(read(b"{"), Err(JsonError::CutOff));
        assert_matches!(read(b""), Err(JsonError::CutOff));
    }

    #[test]
    fn what_stands_in_the_place_of_spans_is_counted() {
        let misplaced = |json: &str| read(json.as_bytes()).unwrap().misplaced;
        assert_eq!(misplaced(HEALTHY), 0);
        assert_eq!(misplaced(r#"{"resourceSpans":null}"#), 0);
        assert_eq!(misplaced(r#"{"resourceSpans":{"scopeSpans":[]}}"#), 1);
        assert_eq!(misplaced(r#"{"resourceSpans":[7,null,{"scopeSpans":null}]}"#), 2);
        assert_eq!(misplaced(r#"{"resourceSpans":[{"scopeSpans":{}},{"scopeSpans":[[],{"spans":["a",{}]}]}]}"#), 3);
        assert_eq!(misplaced(r#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":1}]}]}"#), 1);
    }

    #[test]
    fn stream_gives_one_resource_at_a_time_and_what_came_before_an_error() {
        let documents = format!("{HEALTHY}{HEALTHY}\n[{HEALTHY}]\n{{\"resourceLogs\":[]}} {{\"resourceSpans\":[{{}},");
        let mut pieces = Vec::new();
        let result = stream(documents.as_bytes(), &mut |piece| {
            pieces.push(match piece {
                Piece::Spans(payload) => format!("{} spans", payload.span_count()),
                other => format!("{other:?}"),
            });
        });
        assert_matches!(result, Err(JsonError::CutOff));
        let document = ["1 spans", "End"];
        let expected = [&document[..], &document, &document, &["OtherSignal", "End", "0 spans"]].concat();
        assert_eq!(pieces, expected);
    }

    #[test]
    fn values_nest_as_deep_as_json_does_and_stay_an_export() {
        let nested = |open: &str, close: &str, levels: usize| {
            let value = open.repeat(levels) + r#"{"intValue":1}"# + &close.repeat(levels);
            let span = format!(r#"{{"attributes":[{{"key":"k","value":{value}}}]}}"#);
            read(format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#).as_bytes())
        };
        let list = |levels| nested(r#"{"arrayValue":{"values":["#, "]}}", levels);
        let map = |levels| nested(r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}", levels);
        for read in [list(39), map(29)] {
            assert_eq!(read.unwrap().payload.validate(), Ok(()));
        }
        for refused in [list(40), map(30)] {
            assert_matches!(refused, Err(JsonError::NotJson { why, .. }) if why == "recursion limit exceeded");
        }
    }

    #[test]
    fn document_of_any_shape_panics_nowhere() {
        // Every value of a good document in the place of every other.
        let value: Value = serde_json::from_str(HEALTHY).unwrap();
        let others = ["null", "true", "-1", "1e300", "\"\"", "\"ü\"", "[]", "{}", "[[[]]]", "{\"key\":{}}"];
        let count = count(&value);
        for place in 0..count {
            for other in others.map(|other| serde_json::from_str::<Value>(other).unwrap()) {
                let mut changed = value.clone();
                replace(&mut changed, &mut place.clone(), &other);
                let _ = read(changed.to_string().as_bytes()).map(|document| document.payload.to_resource_spans());
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
