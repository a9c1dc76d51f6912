//! Judges a run from its events alone.
//!
//! Two witnesses tell what happened in a run: the *ledger* (requests sent, messages queued,
//! invocations started, environments frozen and killed) and the *telemetry* (the exports and spans
//! that reached the endpoint). Both arrive here as one stream of [`Event`]s. The [`Verifier`] posts
//! every ledger fact against the [`TraceContract`] and every span against a ledger fact; what has no
//! counterpart is a [`Finding`].
//!
//! Nothing here does I/O or asks for the time: events and the time are arguments. So a live run and
//! its replayed journal give the same verdict by construction.
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] | identifiers of traces, spans, requests, messages, invocations, environments |
//! | [`time`] | instants and how they are written |
//! | [`span`] | what telemetry said |
//! | [`event`] | what happened, and when: a journal line |
//! | [`contract`] | what a complete trace looks like |

pub mod contract;
pub mod event;
pub mod id;
pub mod span;
pub mod time;

pub use contract::TraceContract;
pub use event::{Event, EventKind, Peer};
pub use id::{EnvironmentId, InvocationId, MessageId, RequestId, SpanId, TraceId};
pub use span::{Span, SpanKind};
pub use time::Timestamp;
