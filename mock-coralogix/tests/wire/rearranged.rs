//! The same message in other words: protobuf lets fields come in any order, and more than once.

use prop::sample::Index;
use proptest::prelude::*;
use prost::{decode_length_delimiter as decode_varint, encode_length_delimiter as encode_varint};

/// Which field of which message holds which message.
const NESTED: [(&str, usize, &str); 18] = [
    ("request", 1, "resource spans"),
    ("resource spans", 1, "resource"),
    ("resource spans", 2, "scope spans"),
    ("resource", 1, "pair"),
    ("scope spans", 1, "scope"),
    ("scope spans", 2, "span"),
    ("scope", 3, "pair"),
    ("span", 9, "pair"),
    ("span", 11, "event"),
    ("span", 13, "link"),
    ("span", 15, "status"),
    ("event", 3, "pair"),
    ("link", 4, "pair"),
    ("pair", 2, "value"),
    ("value", 5, "list"),
    ("value", 6, "map"),
    ("list", 1, "value"),
    ("map", 1, "pair"),
];

/// Random decisions, which are used again when there are no more.
pub(crate) fn choices() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 1..200)
}

/// An export with the fields of all its messages in another order, and some of them twice.
pub(crate) fn rearranged(request: &[u8], choices: &[Index]) -> Vec<u8> {
    let mut choices = choices.iter().cycle();
    message(request, "request", &mut |count| choices.next().map_or(0, |choice| choice.index(count)))
}

fn message(bytes: &[u8], kind: &str, choose: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut left = fields(bytes, kind, choose);
    let mut message = Vec::new();
    while !left.is_empty() {
        let field = left.swap_remove(choose(left.len()));
        let times = if choose(5) == 0 { 2 } else { 1 };
        message.extend(field.repeat(times));
    }
    message
}

/// The fields of a message that the protobuf library has written, each with its key.
#[expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]
fn fields(mut rest: &[u8], kind: &str, choose: &mut impl FnMut(usize) -> usize) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = decode_varint(&mut rest).unwrap();
        let mut field = Vec::new();
        encode_varint(key, &mut field).unwrap();
        match key & 7 {
            0 => encode_varint(decode_varint(&mut rest).unwrap(), &mut field).unwrap(),
            1 => field.extend(rest.split_off(..8).unwrap()),
            5 => field.extend(rest.split_off(..4).unwrap()),
            _ => {
                let length = decode_varint(&mut rest).unwrap();
                let inner = nested(rest.split_off(..length).unwrap(), kind, key >> 3, choose);
                encode_varint(inner.len(), &mut field).unwrap();
                field.extend(inner);
            }
        }
        fields.push(field);
    }
    fields
}

fn nested(bytes: &[u8], kind: &str, field: usize, choose: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    match NESTED.iter().find(|(outer, number, _)| *outer == kind && *number == field) {
        Some((_, _, inner)) => message(bytes, inner, choose),
        None => bytes.to_vec(),
    }
}
