//! Trace contracts, `contract.toml`.
//!
//! | module | what it is |
//! |---|---|
//! | `raw` | a contract as it is written, with the places of everything |
//! | [`read`] | from there to the contract that the verifier uses, with every error on the way |

mod raw;
mod read;
#[cfg(test)]
mod tests;

pub use read::read;
