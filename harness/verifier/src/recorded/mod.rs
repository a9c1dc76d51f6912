//! The judge of recorded telemetry: spans alone, without a ledger.
//!
//! | module | what it is |
//! |---|---|
//! | `names` | the names of spans, each kept once |
//! | `store` | what was recorded, in a compact form |
//! | `judge` | one trace, judged |
//! | `drawing` | a trace drawn as a tree |
//! | `recording` | all of them, judged |

mod drawing;
mod judge;
mod names;
mod recording;
mod store;

pub use recording::Recorded;
