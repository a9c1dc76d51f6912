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
//! | `ledger`, `processes` | the ledger's facts, folded |
//! | `expect` | the spans that the ledger and the contract ask for |
//! | `assemble` | which span belongs to which request |
//! | `check` | one small function per rule |
//! | [`code`], [`cause`] | what can be wrong, and why |
//! | [`finding`], `tree` | what was found, with its evidence |
//! | [`tally`] | what was counted, and the equations that must balance |
//! | [`verifier`] | told what happened, it judges |
//! | [`verdict`] | the one place where a run passes or fails |
//! | [`watch`] | everything that was found about one request |

mod assemble;
pub mod cause;
mod check;
pub mod code;
pub mod contract;
pub mod event;
mod expect;
pub mod finding;
pub mod id;
mod ledger;
mod processes;
mod roles;
pub mod span;
pub mod tally;
pub mod time;
mod traceparent;
mod tree;
pub mod verdict;
pub mod verifier;
pub mod watch;

pub use contract::TraceContract;
pub use event::{Event, EventKind, Peer};
pub use finding::{Finding, FindingCode, Severity};
pub use id::{EnvironmentId, InvocationId, MessageId, RequestId, SpanId, TraceId};
pub use span::{Span, SpanKind};
pub use tally::Tally;
pub use time::Timestamp;
pub use verdict::{Conclusion, Judgement, Verdict};
pub use verifier::Verifier;
