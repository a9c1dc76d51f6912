//! OTLP as it comes over the wire: exports are judged from a borrowed walk over their protobuf bytes.
//!
//! | module | what it is |
//! |---|---|
//! | `payload` | an export's bytes |
//! | `wire` | protobuf's fields |
//! | `spans` | resources, spans, attributes and links, as views of the bytes |
//! | `validate` | what is a message of its type, and what is not |
//! | `encode` | the way back: from the owned form to bytes |

mod encode;
mod payload;
mod spans;
mod validate;
mod wire;

pub use payload::{Payload, is_masked};
pub use spans::{AttributeRef, LinkRef, ResourceRef, SpanRef, StatusRef, ValueRef};
pub use validate::Malformed;
