//! The local cloud: queues that are as strict as SQS, and functions as Lambda runs them.
//!
//! | module | what it is |
//! |---|---|
//! | [`queue`] | queues, and the tap that records what passes |
//! | [`event_source`] | takes messages from a queue to a function |
//! | [`batch`] | the event that messages become, and what a response says about them |
//! | `failures` | failures of the harness's own, recorded once each |
//! | [`function`] | a function: what its environments find when they start |
//! | `variables` | the environment variables that Lambda sets |
//! | [`platform`] | how the platform treats environments: what is drawn from the seed |
//! | [`environment`] | one execution environment from Init to its end |
//! | [`network`] | the way between an environment and the endpoint |
//! | [`runtime_api`] | the APIs of one environment, for its runtime and its extensions |
//! | [`runtime_state`], [`extension_state`] | what they may ask for, and when |

pub mod batch;
pub mod environment;
pub mod event_source;
pub mod extension_state;
mod failures;
pub mod function;
pub mod network;
pub mod platform;
pub mod queue;
pub mod runtime_api;
pub mod runtime_state;
mod variables;
