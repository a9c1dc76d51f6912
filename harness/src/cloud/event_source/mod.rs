//! The event source mapping: takes messages from a queue to a function, and back if it must be.
//!
//! Each poller long-polls the queue, gathers a batch, hands it to an idle environment, and starts a
//! further environment when all are busy. What succeeded is deleted; what failed comes back when its
//! visibility time-out has passed, as on AWS.
//!
//! | module | what it is |
//! |---|---|
//! | `spec` | what a mapping is told: batches, concurrency, choice of environments |
//! | `source` | where messages come from |
//! | `runner` | what runs invocations |
//! | `mapping` | the way in: starts, watches and stops a mapping |
//! | `gather` | a batch, from the first message on until it is closed |
//! | `deliver` | what happens to a batch that is closed |
//! | `pool` | the environments: those that are idle, and how many are busy |
//! | `growth`, `crew` | how concurrency grows, told the time; and the pollers that follow it |
//! | `activity` | what a mapping is busy with |

mod activity;
mod crew;
mod deliver;
mod gather;
mod growth;
mod mapping;
mod pool;
mod runner;
mod source;
mod spec;
#[cfg(test)]
mod tests;

pub use activity::Activity;
pub use mapping::{EventSource, StopError};
pub use runner::{Runner, RunningEnvironment};
pub use source::{LONG_POLL, MessageSource};
pub use spec::{Behaviour, Choice, EventSourceSpec, Scaling};
