//! How much memory processes use, with all that they have started.
//!
//! On Lambda the kernel kills a function at the very page that is too much. Here it is watched, so
//! what is used for less than 50 ms may not be seen.

use std::io;
use std::iter;
use std::time::Duration;

use nix::unistd::Pid;

use super::process::Process;
use super::procfs::{self, Stat};

/// When it is first looked at. Most invocations are over by then, and have cost nothing.
const FIRST: Duration = Duration::from_millis(5);
/// How often it is looked at from then on.
const EVERY: Duration = Duration::from_millis(50);
/// When what is too much is looked at a second time.
const AGAIN: Duration = Duration::from_millis(1);

/// Waits until processes and their descendants together have more memory resident than this many bytes;
/// answers how much that is. Never comes back if they do not, or have ended.
///
/// It is looked at 5 ms after the call and every 50 ms from then on, and only while somebody waits: drop
/// it when an invocation is over. What one process has resident counts in full; what several share counts
/// once, as in a cgroup.
pub async fn exceeded<'a>(processes: impl Iterator<Item = &'a Process> + Clone, bytes: u64) -> u64 {
    tokio::time::sleep(FIRST).await;
    loop {
        if more_than(bytes, processes.clone()).is_some() {
            // What is seen once may be a passing state of things: a number counts if it is seen again.
            tokio::time::sleep(AGAIN).await;
            if let Some(used) = more_than(bytes, processes.clone()) {
                return used;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// How much is used, if that is more. What cannot be seen is used by somebody else, or is gone.
fn more_than<'a>(bytes: u64, processes: impl Iterator<Item = &'a Process>) -> Option<u64> {
    let members = processes.map(Process::members).collect::<io::Result<Vec<_>>>().ok()?.concat();
    let resident = total(&members, procfs::resident).ok()?;
    if resident <= bytes {
        return None;
    }
    // What is shared was counted for each. Their true shares are dear to read: only now.
    let used = if members.len() > 1 { shares(&members).ok()?? } else { resident };
    (used > bytes).then_some(used)
}

impl Process {
    /// Waits until the process and its descendants have more memory resident than this many bytes: see
    /// [`exceeded`].
    pub async fn exceeds(&self, bytes: u64) -> u64 {
        exceeded(iter::once(self), bytes).await
    }

    /// The most memory, in bytes, that the process itself had resident at any time; nothing if it has
    /// ended. Its descendants are not part of it.
    pub fn peak_memory(&self) -> Option<u64> {
        procfs::peak_resident(self.pid())
    }

    /// The process and all that it has started.
    fn members(&self) -> io::Result<Vec<Pid>> {
        if let Some(cgroup) = self.means().cgroup() {
            return cgroup.members();
        }
        let mut members = procfs::descendants(self.pid())?;
        members.push(self.pid());
        Ok(members)
    }
}

/// What several processes use together, if that can be told. While a process starts another, both may use
/// the same memory as one (vfork(2)), and it would count twice; the one that has lent it waits in the
/// kernel for so long.
fn shares(members: &[Pid]) -> io::Result<Option<u64>> {
    for pid in members {
        if Stat::of(*pid)?.is_some_and(Stat::is_uninterruptible) {
            return Ok(None);
        }
    }
    total(members, procfs::proportional).map(Some)
}

fn total(members: &[Pid], memory: impl Fn(Pid) -> io::Result<u64>) -> io::Result<u64> {
    members.iter().map(|pid| memory(*pid)).sum()
}
