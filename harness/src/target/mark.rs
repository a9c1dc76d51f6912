//! The mark by which everything that a process has started is known.
//!
//! A process can leave its group, its session and its parent, and drop its environment. What it keeps
//! through fork and exec, and has no reason to touch, are its resource limits. So the launcher sets
//! one to a number that tells whose it is: the soft limit of real-time CPU time (setrlimit(2),
//! `RLIMIT_RTTIME`), which is there for processes under a real-time scheduler only. The number is
//! beyond a hundred thousand years and limits nobody. A variable in its environment would be seen by
//! the function, whose environment has to be exactly Lambda's.
//!
//! Whoever takes its mark off is known by its parents, as long as the leader lives.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, getpid};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::procfs;

/// The mark of a process is this plus its id; in µs, as a limit, 146,000 years.
const BASE: u64 = 1 << 62;

/// Marks the calling process, and what it will start, as its own. Needs no rights: the hard limit
/// stays as it is.
pub(super) fn set() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_RTTIME)?;
    Ok(setrlimit(Resource::RLIMIT_RTTIME, BASE + u64::from(getpid().as_raw().unsigned_abs()), hard)?)
}

/// The process by which this one was started, directly or not, if it is one of the system under test:
/// itself, if it is the leader.
pub(super) fn leader(pid: Pid) -> io::Result<Option<Pid>> {
    let leader = procfs::realtime_limit(pid)?.and_then(|limit| limit.checked_sub(BASE));
    Ok(leader.and_then(|leader| i32::try_from(leader).ok()).map(Pid::from_raw))
}

/// Whether a process has left its mark behind, as far as it was started by this leader.
pub(super) fn is_off(pid: Pid, of: Pid) -> bool {
    !matches!(leader(pid), Ok(Some(leader)) if leader == of)
}

/// Kills a process if it is the one that is meant, and nobody else to whom its number was given meanwhile.
pub(super) fn kill_if(pid: Pid, is_meant: impl FnOnce() -> bool) {
    let Some(number) = rustix::process::Pid::from_raw(pid.as_raw()) else { return };
    // From here on the descriptor stands for one process, whatever its number comes to mean.
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else { return };
    if is_meant() {
        // It can only be gone.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// Kills a process if it bears the mark of this leader.
pub(super) fn kill(pid: Pid, of: Pid) {
    kill_if(pid, || !is_off(pid, of));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn process_without_a_mark_belongs_to_nobody_and_is_not_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert_eq!(leader(pid).unwrap(), None);
        kill(pid, getpid());
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
