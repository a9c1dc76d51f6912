//! The ways to stop a process tree.

use crate::target::cgroup::{Cgroup, CgroupError};

/// How a process is stopped with all processes that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Freezer {
    /// SIGSTOP and SIGCONT to its process group: needs no rights, and works everywhere. What leaves
    /// the group cannot be stopped, and is found.
    #[default]
    Signals,
    /// A cgroup (version 2) of its own, where one can be made: nothing can leave it, and the function
    /// sees no signal.
    Cgroup2,
    /// It is not stopped at all: what other emulators do, for comparison.
    Off,
}

/// Why a way to stop processes cannot be had here.
#[derive(Debug, thiserror::Error)]
#[error("freezer `cgroup2` cannot be used here: {0}; `signals` can be, and needs no rights")]
pub struct FreezerUnavailable(#[from] CgroupError);

impl Freezer {
    /// Makes sure that processes can be stopped this way here. To be called while a run is set up.
    ///
    /// # Errors
    /// If it cannot be had: what was tried, where, and what can be had instead.
    pub fn check(self) -> Result<(), FreezerUnavailable> {
        match self {
            Self::Signals | Self::Off => Ok(()),
            // It is removed as soon as it is dropped.
            Self::Cgroup2 => Ok(Cgroup::create().map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_needs_no_rights_can_always_be_had() {
        assert!(Freezer::Signals.check().is_ok());
        assert!(Freezer::Off.check().is_ok());
    }

    #[test]
    fn missing_right_is_told_with_its_path_and_the_alternative() {
        let path = "/sys/fs/cgroup/user.slice".into();
        let source = io::Error::from_raw_os_error(nix::errno::Errno::EACCES as i32);
        let error = FreezerUnavailable(CgroupError::Refused { path, source });
        assert_eq!(
            error.to_string(),
            "freezer `cgroup2` cannot be used here: no group can be made in /sys/fs/cgroup/user.slice: \
             Permission denied (os error 13); `signals` can be, and needs no rights"
        );
    }
}
