//! A scenario, `scenarios/*.toml`: one run as data: how much load for how long, and what may happen.
//!
//! | module | what it is |
//! |---|---|
//! | `model` | a scenario as it is used |
//! | `raw`, `read` | as it is written, and on the way to the model with every error |

mod model;
mod raw;
mod read;
#[cfg(test)]
mod tests;

pub use model::{EnvironmentChoice, InvalidLoad, Lambda, Load, Network, Scenario};
