//! A run is its journal: the one stream of events that everything else is a fold over.
//!
//! | module | what it is |
//! |---|---|
//! | [`recorder`] | where events come in: stamped, bounded, never waiting |
//! | [`book`] | the thread that keeps the journal and judges, live |
//! | [`file`] | journals on disk, written and read back |

pub mod book;
pub mod file;
pub mod recorder;

pub use book::{Book, Progress};
pub use file::JournalError;
pub use recorder::Recorder;
