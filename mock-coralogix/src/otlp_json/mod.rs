//! OTLP/JSON, as exporters and collectors write it, and as files hold it.
//!
//! Source: OTLP specification, "JSON Protobuf Encoding". Files differ from it, so this reads more than that allows:
//!
//! | in a file | here |
//! |---|---|
//! | ids in hex, upper or lower case, or in base64 | the id |
//! | an id that is neither, or has another length | data, not an error: an id of a wrong length, for the verifier to find |
//! | whole numbers as numbers or as texts, also as `1.5e18` | the number |
//! | enums as numbers or by their names (`SPAN_KIND_SERVER`) | the number |
//! | keys in camelCase or in snake_case | the same |
//! | keys that nobody knows | skipped |
//! | metrics, logs and profiles beside traces, or in their place | counted, and skipped |
//! | something else where a resource, a scope or a span should stand | counted, and skipped |
//! | `"NaN"`, `"Infinity"`, `"-Infinity"` | the number |
//! | bytes in base64, its own alphabet or the one for URLs, padded or not | the bytes |
//!
//! | module | what it is |
//! |---|---|
//! | `documents` | documents, one resource after the other |
//! | `messages` | JSON values as OTLP's messages |
//! | `scalars` | numbers, ids and enums, in all ways in which they are written |

mod documents;
mod messages;
mod scalars;

pub use documents::{Document, JsonError, Piece, read, stream};
