//! An OTLP endpoint that behaves like Coralogix and hands on what it was sent.
//!
//! ```text
//! listener → connection (TLS, HTTP/2) → intake (size, key, protobuf) → Observer → answer
//! ```
//!
//! Every listener knows who it was opened for, so the sender of an export is known without trusting
//! anything that it says of itself. The [`Observer`] has an export before its sender has the answer,
//! so whoever acts on an acknowledged export finds it already recorded.
//!
//! | module | what it is |
//! |---|---|
//! | [`endpoint`] | what all listeners of one endpoint share: keys, certificate, observer, counters |
//! | [`server`] | accepts the connections of one listener, and ends them |
//! | `connection` | one connection: its TLS handshake and its HTTP/2 |
//! | [`transport`] | what carries the connections: plain sockets, or something that stands in between |
//! | `frames` | how far requests have come, from the frames that go by |
//! | `intake` | one export: from its HTTP request to its answer |
//! | [`convert`] | OTLP's messages as the verifier's types |
//! | [`otlp_json`] | OTLP/JSON, as files hold it |
//! | [`observer`] | who is told of what comes in |
//! | [`keys`] | which API keys are good |
//! | [`tls`] | a certificate for this run |
//!
//! ```no_run
//! # async fn example(observer: std::sync::Arc<dyn mock_coralogix::Observer>) -> Result<(), Box<dyn std::error::Error>> {
//! use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, serve};
//!
//! let endpoint = Endpoint::new(EndpointConfig::plaintext(ApiKeys::only(["secret"]), observer));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! serve(listener, endpoint, verifier::Peer::Service("api".into()), std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod connection;
pub mod convert;
pub mod endpoint;
mod frames;
mod intake;
pub mod keys;
pub mod observer;
pub mod otlp_json;
pub mod server;
pub mod tls;
pub mod transport;

pub use endpoint::{Endpoint, EndpointConfig};
pub use keys::ApiKeys;
pub use observer::{Observer, Received, Refusal};
pub use server::{ServeError, serve, serve_over};
pub use tls::TlsIdentity;
pub use transport::{Carried, Direct, StreamObserver, Transport};
