//! `harness lambda`: a function on its own, run as Lambda runs it.
//!
//! | module | what it is |
//! |---|---|
//! | `session` | sets everything up, invokes, and ends |
//! | `events` | the events that it is invoked with, and how often |

mod events;
mod session;

pub use events::{EventFiles, Jobs};
pub use session::run;
