//! Numbers, ids and enums, in all ways in which they are written. What is none of them is the value that protobuf
//! has for a field that is left out, but for ids: those stay wrong.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Stands for an id that is none: no id is a single byte.
const UNREADABLE: &[u8] = &[0];

/// The value under a key, in whichever case it is written.
pub(super) fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.get(&snake_case(key)))
}

/// `spanId` as `span_id`.
pub(super) fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The objects in a list.
pub(super) fn all<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    get(object, key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

pub(super) fn object<'a>(parent: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    get(parent, key).and_then(Value::as_object)
}

pub(super) fn text(parent: &Map<String, Value>, key: &str) -> String {
    get(parent, key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number, however it is written: protobuf's JSON also allows for `1.5e3`.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => {
            let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            exact.or_else(|| whole_double(number.as_f64()?))
        }
        Value::String(text) => text.parse().ok().or_else(|| whole_double(text.parse().ok()?)),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is beyond the range is at its end, and no 64-bit number")]
fn whole_double(number: f64) -> Option<i128> {
    (number.is_finite() && number.fract() == 0.0).then_some(number as i128)
}

/// A whole number of that type; 0 if it is none.
pub(super) fn number<N: TryFrom<i128> + Default>(value: Option<&Value>) -> N {
    value.and_then(whole).and_then(|number| N::try_from(number).ok()).unwrap_or_default()
}

pub(super) fn double(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        number => number.as_f64().unwrap_or(f64::NAN),
    }
}

/// An enum: a number, or the place of its name, with or without a prefix; 0 if it is neither.
pub(super) fn enumeration(value: Option<&Value>, prefix: &str, names: &[&str]) -> i32 {
    let name = value.and_then(Value::as_str).map(|name| name.strip_prefix(prefix).unwrap_or(name));
    let place = name.and_then(|name| names.iter().position(|known| *known == name));
    place.and_then(|place| i32::try_from(place).ok()).unwrap_or_else(|| number(value))
}

/// An id of that many bytes. One that is left out is empty; what is no id keeps a wrong length.
pub(super) fn id(parent: &Map<String, Value>, key: &str, length: usize) -> Vec<u8> {
    let text = match get(parent, key) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return UNREADABLE.to_vec(),
    };
    // A text that is hex is never taken for base64: an id that was cut off must stay one.
    let bytes = if is_hex(text) { from_hex(text) } else { base64(text).filter(|bytes| bytes.len() == length) };
    bytes.unwrap_or_else(|| UNREADABLE.to_vec())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    #[expect(clippy::cast_possible_truncation, reason = "two hex digits are a byte")]
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Bytes in base64, in either of its alphabets.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace('-', "+").replace('_', "/")).ok()
}
