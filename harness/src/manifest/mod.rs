//! A system's manifest, `system.toml`: how a system is built, started, wired and recognised.
//!
//! All of it is data, so that any system on any stack can be put under test with no change to it.
//! `harness init` writes a commented one to start from.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | the manifest as the harness uses it |
//! | `raw` | the manifest as it is written |
//! | `placeholders` | which placeholders exist where |
//! | `read` | from the one to the other, with every error that a user can make |

pub mod model;
mod placeholders;
pub(crate) mod raw;
mod read;
#[cfg(test)]
mod tests;

pub use model::{CommandLine, Correlation, Extension, Function, Manifest, Queue, Request, Service};
