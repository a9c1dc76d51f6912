//! How the onboarding services make spans, and how these reach Coralogix.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | where spans are sent and how, from the environment; what is missing is named |
//! | [`service`] | who makes the spans: the resource |
//! | [`telemetry`] | the tracer and the flush: what a service holds |
//! | [`operation`] | a span that ends with an outcome on every path |
//! | [`carrier`] | W3C trace context in and out of string maps |
//! | [`export`] | what an exporter is, and the ways in which it fails |
//! | `buffer`, `otlp` | the bounded buffer of ended spans; OTLP over gRPC |
//! | [`logging`] | logs to the standard output |
//!
//! Two decisions shape it. Spans are exported by an `async` flush that the caller awaits, and not by a
//! thread of the SDK, because a Lambda is frozen as soon as it has answered. And a span leaves the
//! buffer only once the endpoint has answered for it, because a flush that fails is normal: the
//! connection may have died while the process was frozen.

pub mod carrier;
pub mod config;
pub mod export;
pub mod logging;
pub mod operation;
pub mod service;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

mod buffer;
mod otlp;

pub use config::{Config, ConfigError, Profile};
pub use operation::Operation;
pub use service::Service;
pub use telemetry::{FlushError, Tally, Telemetry};
