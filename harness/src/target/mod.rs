//! What is under test: its processes, from their start to the last that is left of them.
//!
//! | module | what it is |
//! |---|---|
//! | [`build`] | builds it, as its manifest says |
//! | [`spawner`] | the one thread that starts processes |
//! | [`process`] | a process and its group: signals, its end |
//! | `end`, `remains` | its end, and that of all that it has started |
//! | [`freezer`] | stopping a whole process tree, and being sure of it |
//! | [`cgroup`], `mark` | what holds a process tree together: a control group, a mark |
//! | [`memory`] | how much a process tree uses |
//! | `procfs` | what the kernel tells about processes |
//! | [`launcher`] | becomes a process that dies with the harness |
//! | [`hidden`] | the subcommands under which the harness is its own launcher and warden |
//! | [`output`] | what a process printed, bounded |
//! | [`service`] | a long-running process: healthy, asked to stop, ended |
//! | [`warden`] | kills what is left when the harness dies |

pub mod build;
pub mod cgroup;
mod end;
pub mod freezer;
pub mod hidden;
pub mod launcher;
mod mark;
pub mod memory;
pub mod output;
pub mod process;
mod procfs;
mod registry;
mod remains;
pub mod service;
pub mod spawner;
pub mod warden;

pub use hidden::hidden_command;
pub use process::{Process, ProcessSpec};
pub use service::{Service, ServiceSpec};
pub use spawner::Spawner;
