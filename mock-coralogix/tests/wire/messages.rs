//! Random exports, and random damage to their bytes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;

/// A text, now and then one that is not ASCII.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z.]{0,12}", 1 => "[ -~äöü€\u{1f600}\"\\\\]{0,8}"]
}

/// An id: mostly of its length.
fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), length),
        1 => Just(vec![0; length]),
        1 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let scalar = prop_oneof![
        4 => text().prop_map(Value::StringValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        2 => any::<i64>().prop_map(Value::IntValue),
        2 => prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(2.0)]
            .prop_map(Value::DoubleValue),
        1 => prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::BytesValue),
        1 => any::<i32>().prop_map(Value::StringValueStrindex),
    ];
    let leaf = prop::option::weighted(0.9, scalar).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3)
            .prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) });
        let map = prop::collection::vec((text(), prop::option::of(inner)), 0..3).prop_map(|pairs| {
            let values = pairs.into_iter().map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }).collect();
            AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
        });
        prop_oneof![list, map]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (text(), prop::option::weighted(0.9, value()));
    prop::collection::vec(pair.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..4)
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), attributes()).prop_map(|(trace_id, span_id, attributes)| Link {
        trace_id,
        span_id,
        attributes,
        trace_state: "a=b".to_owned(),
        dropped_attributes_count: 1,
        flags: 0x101,
    })
}

fn status() -> impl Strategy<Value = Option<Status>> {
    prop::option::of((text(), -1..5).prop_map(|(message, code)| Status { message, code }))
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let numbers = (-1..8, any::<u64>(), any::<u64>(), any::<u32>(), any::<[u32; 3]>());
    let inside = (attributes(), prop::collection::vec(link(), 0..3), status(), attributes());
    (ids, text(), numbers, inside).prop_map(|(ids, name, (kind, start, end, flags, dropped), inside)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: "k=v".to_owned(),
        name: name.clone(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        flags,
        attributes: inside.0,
        dropped_attributes_count: dropped[0],
        dropped_events_count: dropped[1],
        dropped_links_count: dropped[2],
        events: vec![Event { time_unix_nano: start, name, attributes: inside.3, dropped_attributes_count: 0 }],
        links: inside.1,
        status: inside.2,
    })
}

fn resource_spans() -> impl Strategy<Value = ResourceSpans> {
    let scope = (attributes(), prop::collection::vec(span(), 0..3)).prop_map(|(attributes, spans)| ScopeSpans {
        scope: Some(InstrumentationScope { name: "scope".to_owned(), attributes, ..Default::default() }),
        spans,
        schema_url: "s".to_owned(),
    });
    (prop::option::of(attributes()), prop::collection::vec(scope, 0..3)).prop_map(|(resource, scope_spans)| {
        let resource = resource.map(|attributes| Resource { attributes, ..Resource::default() });
        ResourceSpans { resource, scope_spans, schema_url: "r".to_owned() }
    })
}

/// A random export.
pub(crate) fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    prop::collection::vec(resource_spans(), 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// Damage to bytes.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// A bit of the byte at this place is turned.
    Flip(prop::sample::Index, u8),
    /// What comes after this place is cut off.
    Truncate(prop::sample::Index),
    /// This is put in at this place: fields that nobody knows, groups, or just bytes.
    Insert(prop::sample::Index, Vec<u8>),
    /// The byte at this place is taken out.
    Remove(prop::sample::Index),
}

/// Some damage.
pub(crate) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<prop::sample::Index>;
    // Field 30 as a varint, as a text, and as a group that holds a varint; a lone end of a group.
    let pieces = [vec![0xf0, 1, 7], vec![0xf2, 1, 1, b'x'], vec![0xf3, 1, 8, 1, 0xf4, 1], vec![0xf4, 1]];
    let edit = prop_oneof![
        3 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        1 => at().prop_map(Edit::Truncate),
        2 => (at(), prop::sample::select(pieces.to_vec())).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => at().prop_map(Edit::Remove),
    ];
    prop::collection::vec(edit, 1..4)
}

/// Bytes with that damage.
pub(crate) fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Edit::Truncate(at) => bytes.truncate(at.index(bytes.len())),
            Edit::Insert(at, piece) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            Edit::Remove(at) => _ = bytes.remove(at.index(bytes.len())),
        }
    }
    bytes
}
