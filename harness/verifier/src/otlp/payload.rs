//! An export's bytes.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::spans::ResourceRef;
use super::validate::{Malformed, validate};
use super::wire::all;

/// The bytes of an OTLP `ExportTraceServiceRequest`, as they came. In a journal they stand as base64.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(Bytes);

impl Payload {
    /// These bytes, whatever they are.
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether they are a message of their type.
    ///
    /// # Errors
    /// If they are not: then no OTLP endpoint can read them.
    pub fn validate(&self) -> Result<(), Malformed> {
        validate(&self.0)
    }

    /// The spans with their resources, in the order in which they were sent.
    pub fn resources(&self) -> impl Iterator<Item = ResourceRef<'_>> + Clone {
        all(&self.0, 1).map(ResourceRef::new)
    }

    /// How many spans there are.
    pub fn span_count(&self) -> usize {
        self.resources().map(|resource| resource.spans().count()).sum()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes: {:?})", self.0.len(), self.to_resource_spans())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// Whether a text holds the mark that the harness leaves in the place of a secret: `***` and more of it, as long
/// as the secret was, so that the bytes around it stay what they are.
pub fn is_masked(text: &str) -> bool {
    text.contains("********")
}
