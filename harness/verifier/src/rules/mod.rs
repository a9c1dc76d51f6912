//! The rules that need no ledger: what a span says of itself, and how the spans of a trace hang together.
//!
//! | module | what it is |
//! |---|---|
//! | `secret` | secrets, told by their shape |
//! | `text` | what a name or a value must be |
//! | `roles` | which span has which role of a contract |
//! | `conformance` | a trace beside its contract |
//! | `trace` | how the spans of one trace hang together |

pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod notation;
pub(crate) mod roles;
pub(crate) mod secret;
pub(crate) mod text;
pub(crate) mod trace;

pub use text::InvalidPattern;
