//! One request's whole story, out of a journal: ledger and spans on one time line.
//!
//! | module | what it is |
//! |---|---|
//! | [`query`] | how a request is named on the command line |
//! | [`read`] | the readings of a journal that a story takes |
//! | [`keys`] | what ties an event or a span to the request |
//! | [`environments`] | which moments of an execution environment's life belong to the story |
//! | [`collect`] | gathers what belongs to the request |
//! | [`model`] | the story itself |
//!
//! How it is shown: [`report::story`](crate::report::story).

pub mod collect;
pub mod environments;
pub mod keys;
pub mod model;
pub mod query;
pub mod read;
#[cfg(test)]
pub(crate) mod tests;

pub use model::Story;
pub use query::RequestQuery;
pub use read::{StoryError, tell};
