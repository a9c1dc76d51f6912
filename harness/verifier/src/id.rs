//! Identifiers. Those of traces and spans are W3C's; the others belong to the ledger.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not the identifier that it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a {what}")]
pub struct InvalidId {
    /// What was expected, in words.
    what: &'static str,
    /// The text that was found.
    found: String,
}

impl InvalidId {
    /// `found` is not a `what`.
    pub(crate) fn new(what: &'static str, found: &str) -> Self {
        Self { what, found: found.to_owned() }
    }
}

/// Writes and reads an identifier as text wherever it is serialised.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

/// Lower-case hex digits of exactly the wanted length, as W3C Trace Context 1 § 3.2.2 asks for.
fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A trace's identifier: 16 bytes, written as 32 lower-case hex digits (W3C Trace Context § 3.2.2.3).
///
/// All zero is invalid, yet can be held: telemetry is data, and what is wrong with it is judged later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(u128);

impl TraceId {
    /// The identifier of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Whether it is other than all zero.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("trace id (32 lower-case hex digits)", text);
        if !is_lower_hex(text, 32) {
            return Err(invalid());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

serde_as_text!(TraceId);

/// A span's identifier: 8 bytes, written as 16 lower-case hex digits (W3C Trace Context § 3.2.2.4).
///
/// All zero is invalid, yet can be held, as with [`TraceId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(u64);

impl SpanId {
    /// The identifier of these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether it is other than all zero.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpanId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("span id (16 lower-case hex digits)", text);
        if !is_lower_hex(text, 16) {
            return Err(invalid());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

serde_as_text!(SpanId);

/// A request that the load generator sent: the tag of its run and its number in the schedule.
///
/// Written as `7f3a9c2e-0000002a`, so that it can be found inside any text that echoes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    run: u32,
    number: u32,
}

impl RequestId {
    /// How many characters its text has.
    pub const LENGTH: usize = 17;

    /// The request with this number, counted from 0, of the run with this tag.
    pub const fn new(run: u32, number: u32) -> Self {
        Self { run, number }
    }

    /// The tag of its run.
    pub const fn run(self) -> u32 {
        self.run
    }

    /// Its number in the schedule, counted from 0.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The first request id that stands anywhere in `text`.
    ///
    /// A system may keep the id inside something of its own (`customer-7f3a9c2e-0000002a`).
    pub fn find_in(text: &str) -> Option<Self> {
        (0..text.len().checked_sub(Self::LENGTH - 1)?)
            .filter_map(|start| text.get(start..start + Self::LENGTH))
            .find_map(|part| part.parse().ok())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.run, self.number)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let part = |hex: &str| is_lower_hex(hex, 8).then(|| u32::from_str_radix(hex, 16).ok()).flatten();
        text.split_once('-')
            .and_then(|(run, number)| Some(Self { run: part(run)?, number: part(number)? }))
            .ok_or_else(|| InvalidId::new("request id (7f3a9c2e-0000002a)", text))
    }
}

serde_as_text!(RequestId);

/// Defines an identifier that is somebody else's text and is only ever compared.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier with this text.
            pub fn new(text: impl Into<Box<str>>) -> Self {
                Self(text.into())
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A message's identifier, given by the queue when it accepts the message (SQS `MessageId`).
    MessageId
}
text_id! {
    /// One invocation of a function (Lambda's `Lambda-Runtime-Aws-Request-Id`).
    ///
    /// Never called a request here: that word is HTTP's.
    InvocationId
}
text_id! {
    /// One execution environment of a function, such as `worker-7`: one process from Init to its end.
    EnvironmentId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_found_inside_other_text() {
        let id = RequestId::new(0x7f3a_9c2e, 42);
        assert_eq!(id.to_string(), "7f3a9c2e-0000002a");
        assert_eq!(RequestId::find_in("7f3a9c2e-0000002a"), Some(id));
        assert_eq!(RequestId::find_in("customer-7f3a9c2e-0000002a@example.com"), Some(id));
        assert_eq!(RequestId::find_in("ü7f3a9c2e-0000002aü"), Some(id));
    }

    #[test]
    fn text_without_a_request_id_holds_none() {
        for text in ["", "7f3a9c2e", "7f3a9c2e-0000002", "7F3A9C2E-0000002A", "ümlaut-ümlaut-ümlaut"] {
            assert_eq!(RequestId::find_in(text), None, "{text}");
        }
    }

    #[test]
    fn trace_and_span_ids_are_lower_case_hex_of_their_length() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(text.parse::<TraceId>().map(|id| id.to_string()), Ok(text.to_owned()));
        assert!("4BF92F3577B34DA6A3CE929D0E0E4736".parse::<TraceId>().is_err());
        assert!("4bf92f3577b34da6".parse::<TraceId>().is_err());
        assert!("00f067aa0ba902b7".parse::<SpanId>().is_ok());
        assert!("+0f067aa0ba902b7".parse::<SpanId>().is_err());
    }
}
