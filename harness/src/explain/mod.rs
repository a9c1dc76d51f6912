//! `harness explain`: a page on each finding, and the list of all.
//!
//! | module | what it is |
//! |---|---|
//! | [`page`] | the pages, one Markdown file for each code |
//! | [`render`] | a page, or the list, for a terminal of some width |

pub mod page;
pub mod render;
