//! Protobuf's wire format: fields with their numbers, and nothing of what they mean.
//!
//! Source: protobuf.dev, "Encoding". Where decoders may differ, this one does as prost does.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Bytes with their length before them: a text, a message, or just bytes.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
    /// A group. It has no meaning in OTLP, and is skipped.
    Group,
}

/// The bytes are no sequence of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotFields;

/// How deep messages and groups may be nested, all together (prost's `RECURSION_LIMIT`).
pub(super) const DEEPEST: u32 = 100;

/// Reads the fields of a message one after the other. After an error there is nothing more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// How much deeper groups may be nested.
    depth: u32,
}

impl<'a> Fields<'a> {
    /// The fields of a message.
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self::within(message, DEEPEST)
    }

    /// The fields of a message that is nested in others, so that only so much deeper nesting is left.
    pub(super) const fn within(message: &'a [u8], depth: u32) -> Self {
        Self { rest: message, depth }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), NotFields> {
        let (number, wire_type) = self.key()?;
        Ok((number, self.value(number, wire_type, self.depth)?))
    }

    fn key(&mut self) -> Result<(u32, u8), NotFields> {
        let key = u32::try_from(self.varint()?).map_err(|_| NotFields)?;
        let number = key >> 3;
        if number == 0 { Err(NotFields) } else { Ok((number, (key & 7) as u8)) }
    }

    fn value(&mut self, number: u32, wire_type: u8, depth: u32) -> Result<Value<'a>, NotFields> {
        match wire_type {
            0 => self.varint().map(Value::Varint),
            1 => self.array().map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| NotFields)?;
                self.take(length).map(Value::Bytes)
            }
            3 => self.group(number, depth),
            5 => self.array().map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
            _ => Err(NotFields),
        }
    }

    fn group(&mut self, number: u32, depth: u32) -> Result<Value<'a>, NotFields> {
        let depth = depth.checked_sub(1).ok_or(NotFields)?;
        loop {
            match self.key()? {
                (end, 4) if end == number => return Ok(Value::Group),
                _ if depth == 0 => return Err(NotFields),
                (inner, wire_type) => self.value(inner, wire_type, depth)?,
            };
        }
    }

    fn varint(&mut self) -> Result<u64, NotFields> {
        if let [first @ 0..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let mut value = 0;
        for (place, byte) in self.rest.iter().take(10).enumerate() {
            // Of the tenth byte, only the lowest bit still belongs to the 64.
            if place == 9 && *byte > 1 {
                return Err(NotFields);
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(NotFields)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotFields> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(NotFields)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotFields> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(NotFields)?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), NotFields>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The messages (or texts, or bytes) in the fields with a number.
pub(super) fn all(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> + Clone {
    Fields::new(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(bytes),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<Result<(u32, Value<'_>), NotFields>> {
        Fields::new(bytes).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let expected =
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed32(1)), (4, Value::Fixed64(2))];
        assert_eq!(fields(&bytes), expected.map(Ok));
    }

    #[test]
    fn group_is_skipped_with_all_that_is_in_it() {
        // Field 5 is a group that holds field 1 and a group of field 6; field 2 follows.
        let bytes = [0x2b, 0x08, 0x01, 0x33, 0x34, 0x2c, 0x10, 0x07];
        assert_eq!(fields(&bytes), [Ok((5, Value::Group)), Ok((2, Value::Varint(7)))]);
        assert_eq!(fields(&[0x2b, 0x34]), [Err(NotFields)], "another group's end");
        assert_eq!(fields(&[0x2b]), [Err(NotFields)], "no end");
        assert_eq!(fields(&[0x2c]), [Err(NotFields)], "no beginning");
    }

    #[test]
    fn deep_groups_end_in_an_error_and_not_in_the_stack() {
        assert_eq!(fields(&vec![0x2b; 1_000_000]), [Err(NotFields)]);
    }

    #[test]
    fn varint_has_ten_bytes_at_most_and_64_bits() {
        let most = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&most), [Ok((1, Value::Varint(u64::MAX)))]);
        let too_many_bits = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(fields(&too_many_bits), [Err(NotFields)]);
    }

    #[test]
    fn what_ends_too_soon_is_an_error_and_the_end() {
        for bytes in [&[0x08][..], &[0x12, 5, 1], &[0x1d, 1, 2], &[0x21, 1], &[0x80], &[0x00, 0x01], &[0x0e]] {
            assert_eq!(fields(bytes), [Err(NotFields)], "{bytes:?}");
        }
    }
}
