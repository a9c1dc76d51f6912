//! The APIs of one execution environment: how its runtime and its extensions get their events and
//! answer them.
//!
//! Paths, headers, statuses and error bodies are those of the AWS documentation ("Using the Lambda
//! runtime API for custom runtimes", version 2018-06-01; "Using the Lambda Extensions API", version
//! 2020-01-01) and of AWS's runtime interface emulator.
//!
//! | module | what it is |
//! |---|---|
//! | `server` | serves them, and is the environment's handle to them |
//! | `state` | who waits for what, and when all of them do: everything that is decided under one lock |
//! | `runtime` | the calls of runtimes |
//! | `extensions` | the calls of extensions |
//! | `answer` | what calls are answered with that are refused, and their record |
//! | `event` | what runtimes and extensions are told |

mod answer;
mod event;
mod extensions;
mod runtime;
mod server;
mod state;

pub use event::{Next, ShutdownReason};
pub use runtime::{BODIES_AT_ONCE, FunctionError, MAX_BODY};
pub use server::{ApiSpec, Audience, RuntimeApi};
pub use state::Call;
