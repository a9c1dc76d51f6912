//! Drives a system under load and proves that each request became exactly one trace.
//!
//! Data flows one way through the house: load and cloud → events → verifier → verdict → reports.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`], [`commands`], [`error`] | the command line: parsed, done, and what is said when it cannot be |
//! | [`check`], [`init`] | `harness check` and `harness init` |
//! | [`contract`], [`manifest`], [`scenario`] | the files that a user writes, read and validated |
//! | [`correlation`] | where a request's identity can be seen again |
//! | [`input`] | what is wrong with such a file, as one message |
//! | [`template`] | strings with placeholders |
//! | [`run`], [`stage`], [`sqs`] | a run from top to bottom, what it stands on, and its queues |
//! | [`folder`], [`interrupt`], [`usage`] | a run's folder, Ctrl-C, what processes use |
//! | [`lambda`] | `harness lambda`: a function on its own |
//! | [`load`] | requests on an open-model schedule |
//! | [`cloud`] | the local cloud: queues and functions |
//! | [`target`] | what is under test: its processes |
//! | [`fault`] | what is done to it on purpose |
//! | [`collect`] | the endpoint's stream as events |
//! | [`journal`] | the one stream of events that a run is |
//! | [`mask`] | keeps secrets out of files |
//! | [`outcome`], [`measure`] | what a run came to: the folds over its events |
//! | [`story`] | one request's whole story, out of a journal |
//! | [`report`] | what people and programs read |

pub mod check;
pub mod cli;
pub mod cloud;
pub mod collect;
pub mod commands;
pub mod contract;
pub mod correlation;
pub mod error;
pub mod explain;
pub mod fault;
pub mod folder;
pub mod init;
pub mod input;
pub mod interrupt;
pub mod journal;
pub mod lambda;
pub mod load;
pub mod manifest;
pub mod mask;
pub mod measure;
pub mod outcome;
pub mod recording;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sqs;
pub mod stage;
pub mod story;
pub mod target;
pub mod template;
pub mod usage;
