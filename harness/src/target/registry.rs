//! The process groups that are alive.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::warden;

/// The process groups that are alive, here and at the warden.
///
/// A group's number stays its own while its leader has not been reaped. So a group is released
/// *before* its leader is reaped, and only registered groups are signalled, all under one lock: a
/// signal can never reach a stranger to whom the number was given anew.
#[derive(Debug)]
pub(super) struct Registry(Mutex<Groups>);

#[derive(Debug)]
struct Groups {
    alive: BTreeSet<Pid>,
    warden: Option<ChildStdin>,
    closed: bool,
}

impl Registry {
    pub(super) fn new(warden: Option<ChildStdin>) -> Self {
        Self(Mutex::new(Groups { alive: BTreeSet::new(), warden, closed: false }))
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the group of a new process, and its cgroup if it has one.
    pub(super) fn register(&self, group: Pid, cgroup: Option<&Path>) -> io::Result<()> {
        let mut groups = self.lock();
        if groups.closed {
            return Err(io::Error::other("the run is being stopped"));
        }
        if let Some(warden) = &mut groups.warden {
            warden::begin(warden, group, cgroup)?;
        }
        groups.alive.insert(group);
        Ok(())
    }

    /// Lets go of a group whose leader has exited and has not been reaped yet. Nothing else is in it.
    pub(super) fn release(&self, group: Pid) {
        let mut groups = self.lock();
        groups.alive.remove(&group);
        if let Some(warden) = &mut groups.warden {
            // A warden that was killed cannot be told; the next registration reports it.
            let _ = warden::end(warden, group);
        }
    }

    /// Signals a group, if it is alive.
    pub(super) fn signal(&self, group: Pid, signal: Signal) {
        let groups = self.lock();
        if groups.alive.contains(&group) {
            // The leader is there, be it as a zombie, so this can only fail for a lack of rights,
            // and a child of ours that changed its user would be beyond our help.
            let _ = killpg(group, signal);
        }
    }

    /// Those of these processes that lead no group which is alive.
    pub(super) fn without_leaders(&self, mut processes: Vec<Pid>) -> Vec<Pid> {
        let groups = self.lock();
        processes.retain(|pid| !groups.alive.contains(pid));
        processes
    }

    /// Kills all groups and accepts no more.
    pub(super) fn close(&self) {
        let mut groups = self.lock();
        groups.closed = true;
        for group in &groups.alive {
            let _ = killpg(*group, Signal::SIGKILL);
        }
    }

    /// Lets the warden see the end of the pipe: it kills what is registered, and ends.
    pub(super) fn dismiss_warden(&self) {
        self.lock().warden = None;
    }
}
