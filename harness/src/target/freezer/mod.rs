//! Stops a whole process tree, and makes sure that it has stopped.
//!
//! | module | what it is |
//! |---|---|
//! | [`choice`] | the ways there are, and whether one can be had here |
//! | [`suspend`] | a process is stopped, known to have stopped, and goes on |
//! | `signals` | with SIGSTOP; who has left the process group |
//! | `cgroup` | with a cgroup of its own |

pub mod choice;
pub mod suspend;

mod cgroup;
mod signals;

pub use choice::{Freezer, FreezerUnavailable};
pub use signals::Escaped;
pub use suspend::NotStopped;

pub(super) use suspend::Means;
