//! The rules: one small function each.
//!
//! | module | what it judges |
//! |---|---|
//! | `span`, `secret` | what a single span says of itself |
//! | `trace` | how the spans of one trace hang together, whoever made it |
//! | `conformance` | a trace beside its contract, without a ledger |
//! | `request` | one request: its ledger record beside its spans; calls the four that follow |
//! | `carrier` | what its messages carry |
//! | `presence` | what is not there, and why; what is there and should not be |
//! | `linkage`, `kinship` | how its spans hang together: beside the contract, and as any trace's |
//! | `meaning` | what its spans say, beside what happened |
//! | `account` | an invocation or an environment |

pub(crate) mod account;
mod carrier;
pub(crate) mod conformance;
mod kinship;
mod linkage;
mod meaning;
#[cfg(test)]
pub(crate) mod notation;
mod presence;
pub(crate) mod request;
pub(crate) mod secret;
pub(crate) mod span;
pub(crate) mod trace;
