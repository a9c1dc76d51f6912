//! Reports: they read events and judgements, and decide nothing. One file for each format.
//!
//! | module | what it is |
//! |---|---|
//! | [`summary`] | `summary.json`, for programs |
//! | [`console`] | the verdict on the terminal, for people |
//! | [`lambda`] | what `harness lambda` shows |
//! | [`recording`] | what recorded telemetry came to, for people |
//! | [`story`] | one request's story, for people and for programs |
//! | [`live`] | how a run goes while it goes |

pub mod console;
pub mod lambda;
pub mod live;
pub mod recording;
pub mod story;
pub mod summary;
