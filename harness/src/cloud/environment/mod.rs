//! An execution environment: the processes of a function from Init to their end.
//!
//! ```text
//! start ──▶ Init ──all wait──▶ ready ──invoke──▶ busy ──answered, all wait──▶ frozen ──thaw──▶ busy …
//!             └──────── failed ───────┐             └── time-out, crash, out of memory ──┐
//!                                     └──▶ reset (no process) ◀──────────────────────────┘
//!                                            └──invoke──▶ Init, inside the invocation ──▶ busy …
//! ```
//!
//! An environment is frozen in the very moment in which its runtime and all its extensions wait for
//! the next event and there is none. Without an extension, its end is SIGKILL, frozen as it is:
//! SIGTERM would rescue spans that production loses.
//!
//! Of its events, [`EnvironmentEnded`](verifier::EventKind::EnvironmentEnded) is the last: an
//! invocation that an end cuts short is recorded as finished before it.
//!
//! | module | what it is |
//! |---|---|
//! | `life` | an environment, its freezes and its records |
//! | `processes` | its processes and its APIs, from one start to their end |
//! | `init` | the Init phase, and how it fails |
//! | `invoke` | an invocation, and how it fails |
//! | `shutdown` | resets and ends: who is told, and how long they have |

mod init;
mod invoke;
mod life;
mod processes;
mod shutdown;

pub use init::{AfterInit, InitCause, InitFailure};
pub use invoke::{Invocation, Invoked, ReadFailures};
pub use life::Environment;
