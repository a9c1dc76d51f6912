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
//! | [`otlp`] | exports as they come over the wire, walked without copying |
//! | `ledger`, `processes`, `accounts` | the ledger's facts, folded: by request; by process; by invocation |
//! | `roles`, `expect` | the spans that contract and ledger ask for |
//! | `assemble`, `matching` | which span belongs to which request; which takes which place |
//! | `rules` | one small function per rule |
//! | `losses` | where in the life of a process its spans were lost |
//! | `stalls` | when the machine stalled, so that nothing can be said |
//! | [`code`], [`cause`] | what can be wrong, and why |
//! | [`finding`], `tree` | what was found, with its evidence |
//! | [`tally`] | what was counted, and the equations that must balance |
//! | [`verifier`] | told what happened, it judges |
//! | [`verdict`] | the one place where a run passes or fails |
//! | [`watch`] | everything that was found about one request |

mod accounts;
mod assemble;
pub mod cause;
pub mod code;
pub mod contract;
pub mod event;
mod expect;
pub mod finding;
pub mod id;
mod intake;
mod ledger;
mod losses;
mod matching;
mod names;
pub mod otlp;
mod processes;
mod recorded;
mod roles;
mod rules;
mod settled;
pub mod span;
mod stalls;
pub mod tally;
mod text;
pub mod time;
mod traceparent;
mod tree;
pub mod verdict;
pub mod verifier;
mod violation;
pub mod watch;

pub use contract::TraceContract;
pub use event::{Event, EventKind, Peer};
pub use finding::{Finding, FindingCode, Severity};
pub use id::{EnvironmentId, InvocationId, MessageId, RequestId, SpanId, TraceId};
pub use recorded::Recorded;
pub use span::{Span, SpanKind};
pub use tally::Tally;
pub use text::InvalidPattern;
pub use time::Timestamp;
pub use verdict::{Conclusion, Judgement, Verdict};
pub use verifier::Verifier;
