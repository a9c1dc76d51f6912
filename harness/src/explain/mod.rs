//! What each finding means: a page for every code, as `harness explain` prints it.
//!
//! | module | what it is |
//! |---|---|
//! | `pages/` | the pages, in Markdown |
//! | [`table`] | which page is which code's, in groups |
//! | [`page`] | a page, taken apart |

pub mod page;
pub mod table;
