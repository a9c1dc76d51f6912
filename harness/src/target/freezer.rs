//! Stops a whole process group, and makes sure that it has stopped.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::process::Process;

/// How often the leader is looked at before somebody sleeps until it has stopped. Most groups stop
/// within tens of microseconds, less than it takes to hand the waiting to another thread.
const LOOKS: u32 = 4;
/// How long a group may take to stop. A thread in the middle of a system call that cannot be
/// interrupted (writing to a slow disk) delays it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a descendant is looked at again.
const PAUSE: Duration = Duration::from_millis(1);

/// How a process is stopped with all processes that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Freezer {
    /// SIGSTOP and SIGCONT to its process group: needs no rights, and works everywhere.
    #[default]
    Signals,
    /// A cgroup (version 2) of its own, where one can be made.
    Cgroup2,
    /// It is not stopped at all: what other emulators do, for comparison.
    Off,
}

/// Why a group is not known to have stopped.
#[derive(Debug, thiserror::Error)]
pub enum NotStopped {
    /// It has ended.
    #[error("the process has ended")]
    Ended,
    /// It goes on, for whatever reason.
    #[error("process {0} was still running {PATIENCE:?} after SIGSTOP")]
    Running(u32),
    /// A descendant has left the group (setsid, setpgid), so that signals to the group miss it.
    #[error("process {0} has left the process group")]
    Escaped(u32),
    /// It could not be seen.
    #[error("the state of the process could not be read: {0}")]
    Unseen(#[from] io::Error),
}

impl Process {
    /// Asks the group to stop: SIGSTOP. It does so a moment later.
    pub fn suspend(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Has a stopped group go on: SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until all threads of the process and of its descendants have stopped, after
    /// [`Process::suspend`].
    ///
    /// A member of the group that has been orphaned is stopped as well, yet not looked for.
    ///
    /// # Errors
    /// If it ends, goes on, or has a descendant that cannot be stopped.
    pub async fn confirm_suspended(&self) -> Result<(), NotStopped> {
        self.leader_stopped().await?;
        let descendants = descendants(self.pid())?;
        let stopped = async {
            for pid in &descendants {
                self.descendant_stopped(*pid).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, stopped).await {
            Ok(stopped) => stopped,
            Err(_) => Err(NotStopped::Running(self.id())),
        }
    }

    /// The kernel reports a process as stopped when the last of its threads has stopped.
    async fn leader_stopped(&self) -> Result<(), NotStopped> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        for _ in 0..LOOKS {
            match self.wait_status(flags | WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::StillAlive) => tokio::task::yield_now().await,
                status => return judge(status),
            }
        }
        let exit = self.exit_fd();
        let wait = tokio::task::spawn_blocking(move || waitid(Id::PIDFd(exit.get_ref().as_fd()), flags));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(status)) => judge(status),
            // The caller now kills the process, and that ends the blocked thread, too.
            _ => Err(NotStopped::Running(self.id())),
        }
    }

    async fn descendant_stopped(&self, pid: Pid) -> Result<(), NotStopped> {
        let number = pid.as_raw().unsigned_abs();
        match Stat::read(&format!("/proc/{pid}/stat"))? {
            Some(stat) if stat.group != self.pid().as_raw() => return Err(NotStopped::Escaped(number)),
            Some(_) => {}
            None => return Ok(()),
        }
        while !threads_stopped(pid)? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn judge(status: Result<WaitStatus, Errno>) -> Result<(), NotStopped> {
    match status {
        Ok(WaitStatus::Stopped(..)) => Ok(()),
        Ok(_) | Err(Errno::ECHILD) => Err(NotStopped::Ended),
        Err(error) => Err(NotStopped::Unseen(error.into())),
    }
}

/// The two fields of `/proc/<pid>/stat` (proc_pid_stat(5)) that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    group: i32,
}

impl Stat {
    /// Reads a process's or a thread's file; nothing if it is gone.
    fn read(path: &str) -> io::Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name, in brackets, may itself hold spaces and brackets.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        Some(Self { state, group })
    }

    /// Stopped, or dead: it makes no progress.
    fn is_still(self) -> bool {
        matches!(self.state, 'T' | 't' | 'Z' | 'X')
    }
}

fn is_gone(error: &io::Error) -> bool {
    // A process that ends while it is read from: ESRCH.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// Whether no thread of this process makes progress.
fn threads_stopped(pid: Pid) -> io::Result<bool> {
    for thread in threads(pid)? {
        if Stat::read(&format!("/proc/{pid}/task/{thread}/stat"))?.is_some_and(|stat| !stat.is_still()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn threads(pid: Pid) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(entries.map_while(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// The children of a process, their children, and so on. All are stopped or about to be, so the
/// tree does not grow while it is walked.
fn descendants(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = children(pid)?;
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid)?);
        next += 1;
    }
    Ok(found)
}

fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in threads(pid)? {
        match fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")) {
            Ok(text) => {
                children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw))
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_process_may_hold_brackets_and_spaces() {
        let stat = Stat::parse("4711 (a) R 1 (b)) T 1 4700 4700 0 -1 4194304");
        assert_eq!(stat, Some(Stat { state: 'T', group: 4700 }));
    }

    #[test]
    fn only_stopped_and_dead_threads_make_no_progress() {
        let still = |state| Stat { state, group: 1 }.is_still();
        assert!("TtZX".chars().all(still));
        assert!(!"RSDIW".chars().any(still));
    }

    #[test]
    fn process_that_is_gone_has_no_threads() {
        // Linux numbers processes below 4194304 (proc_sys_kernel(5), pid_max).
        let nobody = Pid::from_raw(4_194_304);
        assert!(threads_stopped(nobody).unwrap());
        assert!(descendants(nobody).unwrap().is_empty());
    }

    #[test]
    fn running_process_is_not_taken_for_stopped() {
        assert!(!threads_stopped(nix::unistd::getpid()).unwrap());
    }
}
