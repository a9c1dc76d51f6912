//! What is left of a process when it has ended: what it has started, wherever that has gone.
//!
//! The harness adopts it (prctl(2), `PR_SET_CHILD_SUBREAPER`): a process whose parent has ended
//! becomes a child of the harness. Its mark tells where it comes from, and it is killed and reaped
//! here. Only marked children are touched: all others are somebody else's.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};

use super::freezer::{Escaped, Means};
use super::mark;
use super::procfs::{self, Stat};
use super::registry::Registry;

/// How long to wait before it is looked again.
const PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked before it is given up. What was killed is gone within a few milliseconds,
/// unless it is in the middle of a system call that cannot be interrupted.
const LOOKS: u32 = 5_000;

/// The kernel's list of children may miss one while another is reaped, so nobody reads it then.
static ADOPTED: Mutex<()> = Mutex::new(());

/// Has the calling process adopt what its descendants leave behind.
pub(super) fn adopt() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// What is left of one process that has exited and has not been reaped: until that is done, its number
/// is its own, and so is its mark.
#[derive(Debug)]
pub(super) struct Remains {
    leader: Pid,
    means: Means,
    registry: Arc<Registry>,
    escaped: Vec<Escaped>,
}

impl Remains {
    pub(super) fn of(leader: Pid, means: Means, registry: Arc<Registry>) -> Self {
        Self { leader, means, registry, escaped: Vec::new() }
    }

    /// Kills and reaps until nothing is left. Answers what was alive outside the process's group.
    pub(super) async fn clear(mut self) -> Vec<Escaped> {
        for _ in 0..LOOKS {
            if self.is_cleared() {
                return self.escaped;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.give_up()
    }

    /// The same, where nobody can wait for a task any more.
    pub(super) fn clear_blocking(mut self) {
        for _ in 0..LOOKS {
            if self.is_cleared() {
                return;
            }
            thread::sleep(PAUSE);
        }
        self.give_up();
    }

    fn give_up(self) -> Vec<Escaped> {
        tracing::warn!(pid = self.leader.as_raw(), "what a process has started does not die");
        self.escaped
    }

    /// Looks once. What is killed is gone a moment later, and what it leaves behind comes to light then.
    fn is_cleared(&mut self) -> bool {
        // What cannot be seen, for want of a descriptor, is not gone.
        let none_left = self.end_adopted().unwrap_or(false);
        let empty = self.means.cgroup().is_none_or(|cgroup| {
            cgroup.kill();
            cgroup.remove()
        });
        none_left && empty
    }

    /// Kills or reaps the children of the harness that the process has left behind. Whether there were none.
    fn end_adopted(&mut self) -> io::Result<bool> {
        let _one_at_a_time = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut none = true;
        // Hundreds of leaders may be alive, and it is known of them that they are nobody's remains.
        for pid in self.registry.without_leaders(procfs::children(getpid())?) {
            if mark::leader(pid)? == Some(self.leader) {
                self.end(pid);
                none = false;
            }
        }
        Ok(none)
    }

    /// Kills a child, or reaps it if it is dead. Its number is its own until then.
    fn end(&mut self, pid: Pid) {
        match Stat::of(pid) {
            Ok(Some(stat)) if !stat.is_dead() => {
                if stat.group != self.leader.as_raw() && !self.knows(pid) {
                    self.escaped.push(Escaped::meet(pid));
                }
                let _ = kill(pid, Signal::SIGKILL);
            }
            _ => {
                let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
            }
        }
    }

    fn knows(&self, pid: Pid) -> bool {
        self.escaped.iter().any(|known| known.pid == pid.as_raw().unsigned_abs())
    }
}
