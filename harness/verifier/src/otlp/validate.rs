//! What is an `ExportTraceServiceRequest`, and what is not.
//!
//! Accepts exactly what prost accepts, which is what the endpoint's answers depended on before it read the wire
//! itself: known fields have their wire types, texts are UTF-8, and messages are nested 100 deep at most.

use super::wire::{DEEPEST, Fields, Value};

/// The bytes are no message of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are no sequence of protobuf fields.
    #[error("the bytes are no protobuf message")]
    NotProtobuf,
    /// A field has another wire type than its message gives it.
    #[error("field {field} of {message} has another wire type than it should")]
    WireType {
        /// The message's name.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// A text is not UTF-8.
    #[error("field {field} of {message} is not UTF-8")]
    NotUtf8 {
        /// The message's name.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// Messages are nested too deeply.
    #[error("messages are nested more than 100 deep")]
    TooDeep,
}

/// A field's type.
#[derive(Clone, Copy)]
enum Type {
    Message(&'static Message),
    Text,
    Bytes,
    Varint,
    Fixed32,
    Fixed64,
}

/// A message's type: its name, and its fields with their numbers.
struct Message {
    name: &'static str,
    fields: &'static [(u32, Type)],
}

use Type::{Bytes, Fixed32, Fixed64, Message as Nested, Text, Varint};

static REQUEST: Message = Message { name: "ExportTraceServiceRequest", fields: &[(1, Nested(&RESOURCE_SPANS))] };
static RESOURCE_SPANS: Message =
    Message { name: "ResourceSpans", fields: &[(1, Nested(&RESOURCE)), (2, Nested(&SCOPE_SPANS)), (3, Text)] };
static RESOURCE: Message =
    Message { name: "Resource", fields: &[(1, Nested(&KEY_VALUE)), (2, Varint), (3, Nested(&ENTITY_REF))] };
static ENTITY_REF: Message = Message { name: "EntityRef", fields: &[(1, Text), (2, Text), (3, Text), (4, Text)] };
static SCOPE_SPANS: Message =
    Message { name: "ScopeSpans", fields: &[(1, Nested(&SCOPE)), (2, Nested(&SPAN)), (3, Text)] };
static SCOPE: Message =
    Message { name: "InstrumentationScope", fields: &[(1, Text), (2, Text), (3, Nested(&KEY_VALUE)), (4, Varint)] };
static SPAN: Message = Message {
    name: "Span",
    fields: &[
        (1, Bytes),
        (2, Bytes),
        (3, Text),
        (4, Bytes),
        (5, Text),
        (6, Varint),
        (7, Fixed64),
        (8, Fixed64),
        (9, Nested(&KEY_VALUE)),
        (10, Varint),
        (11, Nested(&EVENT)),
        (12, Varint),
        (13, Nested(&LINK)),
        (14, Varint),
        (15, Nested(&STATUS)),
        (16, Fixed32),
    ],
};
static EVENT: Message =
    Message { name: "Event", fields: &[(1, Fixed64), (2, Text), (3, Nested(&KEY_VALUE)), (4, Varint)] };
static LINK: Message = Message {
    name: "Link",
    fields: &[(1, Bytes), (2, Bytes), (3, Text), (4, Nested(&KEY_VALUE)), (5, Varint), (6, Fixed32)],
};
static STATUS: Message = Message { name: "Status", fields: &[(2, Text), (3, Varint)] };
static KEY_VALUE: Message = Message { name: "KeyValue", fields: &[(1, Text), (2, Nested(&ANY_VALUE)), (3, Varint)] };
static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        (1, Text),
        (2, Varint),
        (3, Varint),
        (4, Fixed64),
        (5, Nested(&ARRAY_VALUE)),
        (6, Nested(&KEY_VALUE_LIST)),
        (7, Bytes),
        (8, Varint),
    ],
};
static ARRAY_VALUE: Message = Message { name: "ArrayValue", fields: &[(1, Nested(&ANY_VALUE))] };
static KEY_VALUE_LIST: Message = Message { name: "KeyValueList", fields: &[(1, Nested(&KEY_VALUE))] };

/// Whether bytes are an export.
pub(super) fn validate(bytes: &[u8]) -> Result<(), Malformed> {
    REQUEST.validate(bytes, DEEPEST)
}

impl Message {
    fn validate(&'static self, bytes: &[u8], depth: u32) -> Result<(), Malformed> {
        for field in Fields::within(bytes, depth) {
            let (number, value) = field.map_err(|_| Malformed::NotProtobuf)?;
            match self.field(number) {
                Some(wanted) => self.validate_field(number, wanted, value, depth)?,
                // prost counts what it skips as one level deeper.
                None if depth == 0 => return Err(Malformed::TooDeep),
                None => {}
            }
        }
        Ok(())
    }

    /// The type of a field. Nearly all are numbered from 1 without a gap.
    fn field(&self, number: u32) -> Option<Type> {
        let guess = self.fields.get(number as usize - 1).filter(|(found, _)| *found == number);
        guess.or_else(|| self.fields.iter().find(|(found, _)| *found == number)).map(|(_, wanted)| *wanted)
    }

    fn validate_field(&self, field: u32, wanted: Type, value: Value<'_>, depth: u32) -> Result<(), Malformed> {
        let message = self.name;
        match (wanted, value) {
            (Nested(inner), Value::Bytes(bytes)) => match depth.checked_sub(1) {
                Some(depth) => inner.validate(bytes, depth),
                None => Err(Malformed::TooDeep),
            },
            (Text, Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(_) => Ok(()),
                Err(_) => Err(Malformed::NotUtf8 { message, field }),
            },
            (Bytes, Value::Bytes(_))
            | (Varint, Value::Varint(_))
            | (Fixed32, Value::Fixed32(_))
            | (Fixed64, Value::Fixed64(_)) => Ok(()),
            _ => Err(Malformed::WireType { message, field }),
        }
    }
}
