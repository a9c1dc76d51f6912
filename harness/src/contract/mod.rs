//! Trace contracts, `contract.toml`: what a complete trace of one request looks like.
//!
//! [`verifier::contract`] tells how they are written and what they can ask for. `harness init` writes a commented
//! one to start from, and `scenarios/contracts/` holds those of other shapes of traces.
//!
//! | module | what it is |
//! |---|---|
//! | `raw` | a contract as it is written, with the places of everything |
//! | [`read()`] | from there to the contract that the verifier uses, with every error on the way |

mod raw;
mod read;
#[cfg(test)]
mod tests;

pub use read::{Parts, read, read_for};
