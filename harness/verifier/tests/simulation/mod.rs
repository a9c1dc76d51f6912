//! Runs of a correct system under any contract, in virtual time, and ways to spoil them.
//!
//! Everything comes from one seed. A [`World`] is an iterator of events, so that a run of any length needs no
//! more memory than what is in flight; its [`Truth`] is counted by the world itself, event by event, and never
//! looks at the verifier.
//!
//! | module | what it is |
//! |---|---|
//! | [`dice`] | where choices come from |
//! | [`system`] | a contract, and the system that fulfils it |
//! | [`spans`] | spans as that system makes them |
//! | [`world`] | the run: load, services and their exporters |
//! | [`cloud`] | queues, functions and their environments |
//! | [`truth`] | what the verifier's counts must be |

#![allow(dead_code, reason = "each test binary uses its own part of the simulation")]
#![allow(unused_imports, reason = "as above")]
#![allow(clippy::ptr_arg, reason = "what plants defects has one signature")]
#![allow(clippy::cast_possible_truncation, reason = "all numbers are small")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

pub(crate) mod check;
pub(crate) mod cloud;
pub(crate) mod defect;
pub(crate) mod dice;
pub(crate) mod journal;
pub(crate) mod spans;
pub(crate) mod system;
pub(crate) mod truth;
pub(crate) mod world;
