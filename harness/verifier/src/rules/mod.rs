//! The rules: one small function each.
//!
//! | module | what it judges |
//! |---|---|
//! | `account` | an invocation or an environment |
//! | `request` | one request: its ledger record beside its spans; calls the four that follow |
//! | `carrier` | what its messages carry |
//! | `presence` | what is not there, and why; what is there and should not be |
//! | `linkage` | how its spans hang together |
//! | `meaning` | what its spans say, beside what happened |

pub(crate) mod account;
mod carrier;
mod linkage;
mod meaning;
mod presence;
pub(crate) mod request;
