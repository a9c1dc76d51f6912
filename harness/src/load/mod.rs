//! Requests on an open-model schedule.
//!
//! Each request has an instant at which it is due, whatever became of those before it. A generator
//! that waits for answers instead would send less just when the system is sick, and hide it.
//!
//! | module | what it is |
//! |---|---|
//! | [`schedule`] | when requests are due: pure |
//! | [`plan`] | what is sent, where to, and what counts as accepted |
//! | [`progress`] | how far the load is, for whoever shows it |
//! | `attack` | the users that send it, each on goose |
//! | `engine` | goose, with its process-wide state kept in check |

mod attack;
mod engine;
pub mod plan;
pub mod progress;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use engine::{LoadError, LoadOutcome, run};
pub use plan::{LoadPlan, PlanError};
pub use progress::Progress;
pub use schedule::Schedule;
