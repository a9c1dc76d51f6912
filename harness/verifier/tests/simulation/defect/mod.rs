//! Single defects, planted in a healthy journal: events in, events out.
//!
//! | module | what is spoilt |
//! |---|---|
//! | [`presence`] | what comes, when, and how often |
//! | [`export`] | exports and processes |
//! | [`linkage`] | parents, traces and links |
//! | [`carrier`] | what messages carry |
//! | [`content`] | what spans say |

mod carrier;
mod content;
mod export;
mod linkage;
mod presence;
mod table;

pub(crate) use table::Defect;
