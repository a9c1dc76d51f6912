//! A process and all that it has started: stopped, known to have stopped, going on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::choice::Freezer;
use super::signals::Escaped;
use crate::target::cgroup::{Cgroup, CgroupError};
use crate::target::process::Process;

/// How long processes may take to stop. A thread in the middle of a system call that cannot be
/// interrupted (writing to a slow disk) delays it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often something is looked at before somebody waits until it has stopped. Most processes stop
/// within tens of microseconds.
pub(super) const LOOKS: u32 = 4;
/// How long to wait before it is looked at again.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// Why processes are not known to have stopped.
#[derive(Debug, thiserror::Error)]
pub enum NotStopped {
    /// The process has ended.
    #[error("the process has ended")]
    Ended,
    /// It goes on, for whatever reason.
    #[error("process {0} was still running {PATIENCE:?} after it was to stop")]
    Running(u32),
    /// One that it has started has left its group (setsid, setpgid), so that signals to the group
    /// miss it. See [`Process::kill_escaped`].
    #[error("{0} has left the process group")]
    Escaped(Escaped),
    /// It could not be seen.
    #[error("the state of the process could not be read: {0}")]
    Unseen(#[from] io::Error),
}

/// What stops one process with all that it starts: a [`Freezer`], put to use.
#[derive(Debug, Clone)]
pub(in crate::target) enum Means {
    /// Signals to its group.
    Signals,
    /// Its cgroup.
    Cgroup(Arc<Cgroup>),
    /// Nothing does.
    Off,
}

impl Means {
    /// Gets ready for a process that is about to start.
    pub(in crate::target) fn prepare(freezer: Freezer) -> Result<Self, CgroupError> {
        match freezer {
            Freezer::Signals => Ok(Self::Signals),
            Freezer::Cgroup2 => Ok(Self::Cgroup(Arc::new(Cgroup::create()?))),
            Freezer::Off => Ok(Self::Off),
        }
    }

    /// The cgroup that the process has for itself, if it has one.
    pub(in crate::target) fn cgroup(&self) -> Option<&Cgroup> {
        match self {
            Self::Cgroup(cgroup) => Some(cgroup),
            Self::Signals | Self::Off => None,
        }
    }
}

impl Process {
    /// Asks the process, and all that it has started, to stop. They do so a moment later.
    pub fn suspend(&self) {
        match self.means() {
            Means::Signals => self.signal(Signal::SIGSTOP),
            Means::Cgroup(cgroup) => self.note("frozen", cgroup.freeze()),
            Means::Off => {}
        }
    }

    /// Has them go on.
    pub fn resume(&self) {
        match self.means() {
            Means::Signals => self.signal(Signal::SIGCONT),
            Means::Cgroup(cgroup) => self.note("thawed", cgroup.thaw()),
            Means::Off => {}
        }
    }

    /// Waits until all threads of the process, and of all that it has started, have stopped after
    /// [`Process::suspend`].
    ///
    /// # Errors
    /// If it ends, goes on, or has started something that cannot be stopped.
    pub async fn confirm_suspended(&self) -> Result<(), NotStopped> {
        let stopped = async {
            match self.means() {
                Means::Signals => self.group_stopped().await,
                Means::Cgroup(cgroup) => self.cgroup_frozen(cgroup).await,
                Means::Off if self.has_exited() => Err(NotStopped::Ended),
                Means::Off => Ok(()),
            }
        };
        // Whoever calls now kills the process, and that ends a thread that is blocked by it, too.
        tokio::time::timeout(PATIENCE, stopped).await.unwrap_or(Err(NotStopped::Running(self.id())))
    }

    /// That a cgroup which is gone cannot be frozen or thawed needs no word.
    fn note(&self, done: &str, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && !self.has_exited()
        {
            tracing::warn!(%error, pid = self.id(), "the cgroup of a process could not be {done}");
        }
    }
}
