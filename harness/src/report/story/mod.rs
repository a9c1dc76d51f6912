//! One request's story, as people and programs read it.
//!
//! | module | what it is |
//! |---|---|
//! | [`text`] | the verdict, then the time line, then the spans |
//! | [`timeline`] | a line for each thing that happened |
//! | [`lanes`] | what the request and its environments were doing meanwhile, drawn in the margin |
//! | [`waterfall`] | the spans as a tree with bars |
//! | [`scale`] | the scale of those bars |
//! | [`words`] | who did something, and what, in words |
//! | [`layout`] | lines of a limited width |
//! | [`json`] | the same for programs |

pub mod json;
pub mod lanes;
pub mod layout;
pub mod scale;
#[cfg(test)]
mod tests;
pub mod text;
pub mod timeline;
pub mod waterfall;
pub mod words;
