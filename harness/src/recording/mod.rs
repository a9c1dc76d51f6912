//! Recorded OTLP, judged without a run: what other people's collectors and exporters have written.
//!
//! | module | what it is |
//! |---|---|
//! | [`source`] | which of the paths are journals, and which files are recordings |
//! | `open` | what a file holds, and its content without its compression |
//! | [`read`] | a file's exports one after the other, whatever its form |
//! | [`judge`] | all of them, judged |

pub mod judge;
mod open;
pub mod read;
pub mod source;

pub use judge::{Recording, judge};
pub use read::RecordingError;
pub use source::is_journal;
