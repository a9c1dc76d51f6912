//! The endpoint and its binary against real clients.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers as well")]

mod binary;
mod exporting;
mod lifecycle;
mod refusing;
mod support;
