//! The onboarding API: takes a request over HTTP, and puts it into an SQS queue for the worker.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the service's own variables of the environment |
//! | [`app`] | the routes, and what their handlers share |
//! | `onboard` | `POST /onboard`: what a request and its answers look like |
//! | [`queue`] | the way into SQS, with the PRODUCER span and the trace context of a message |
//! | `server_span` | the SERVER span of a request |
//! | `error` | what can go wrong with a request, as an answer |
//! | `flushing` | the flush beside the requests, and the last one |
//! | [`serve`] | from the start to the end of the process |
//!
//! Span status and HTTP status tell the same story: a request that fails because of its sender (4xx)
//! leaves the SERVER span's status unset, one that fails because of us (5xx) makes it an error, as the
//! semantic conventions for HTTP spans want it.

pub mod app;
pub mod config;
pub mod queue;
pub mod serve;

mod error;
mod flushing;
mod onboard;
mod server_span;
