//! Drives a system under load and proves that each request became exactly one trace.
//!
//! Data flows one way through the house: load and cloud → events → verifier → verdict → reports.
//!
//! | module | what it is |
//! |---|---|
//! | [`cloud`] | the local cloud: queues and functions |
//! | [`journal`] | the one stream of events that a run is |
//! | [`load`] | requests on an open-model schedule |
//! | [`target`] | what is under test: its processes |

pub mod cloud;
pub mod journal;
pub mod load;
pub mod target;
