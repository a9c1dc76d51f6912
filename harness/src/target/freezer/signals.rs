//! Stops a process group with signals, and finds who has left it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::suspend::{LOOKS, Means, NotStopped, PATIENCE, PAUSE};
use crate::target::mark;
use crate::target::process::Process;
use crate::target::procfs::{self, Stat};

/// A process that has left the group of the one that started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escaped {
    /// Its process id.
    pub pid: u32,
    /// Its name, at most 15 bytes of it.
    pub name: String,
}

impl Escaped {
    /// What it is called at this moment.
    pub(in crate::target) fn meet(pid: Pid) -> Self {
        Self { pid: pid.as_raw().unsigned_abs(), name: procfs::name(pid) }
    }
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

impl Process {
    /// Kills what the process has started and what has left its group since, and tells what that was.
    /// What was found so when the process ended is told, too, once. There is nothing to tell of a
    /// process that is not stopped with signals.
    ///
    /// It may have had the group go on until it died, so the group is asked to stop once more.
    ///
    /// To be called after [`Process::suspend`], when [`Process::confirm_suspended`] has answered
    /// [`NotStopped::Escaped`] (which it does not do again then), and after [`Process::ended`].
    pub async fn kill_escaped(&self) -> Vec<Escaped> {
        if !matches!(self.means(), Means::Signals) {
            return Vec::new();
        }
        let mut killed = self.take_escaped();
        let killing = async {
            while self.kill_escaped_once(&mut killed) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        if tokio::time::timeout(PATIENCE, killing).await.is_err() {
            tracing::warn!(pid = self.id(), "what has left the group of a process does not die");
        }
        if !killed.is_empty() {
            self.suspend();
        }
        killed
    }

    /// Kills what has left the group and has taken off its mark: when the process is dead, nobody can
    /// tell any more whose it was.
    pub(in crate::target) fn kill_unmarked(&self) {
        // Nobody leaves a cgroup.
        if self.means().cgroup().is_some() {
            return;
        }
        let mut unmarked = self.escaped().unwrap_or_default();
        unmarked.retain(|pid| mark::is_off(*pid, self.pid()));
        for pid in unmarked {
            self.note_escaped(Escaped::meet(pid));
            self.kill_descendant(pid);
        }
    }

    /// The process has its number for sure while it lives, so that has to be seen last.
    fn kill_descendant(&self, pid: Pid) {
        let descends = || procfs::descends(pid, self.pid()).unwrap_or(false) && !self.has_exited();
        mark::kill_if(pid, || !mark::is_off(pid, self.pid()) || descends());
    }

    /// Whether there was anything to kill. It may have started more before it died.
    fn kill_escaped_once(&self, killed: &mut Vec<Escaped>) -> bool {
        let escaped: Vec<Pid> = self.escaped().unwrap_or_default();
        for pid in &escaped {
            let met = Escaped::meet(*pid);
            self.kill_descendant(*pid);
            if !killed.iter().any(|known| known.pid == met.pid) {
                killed.push(met);
            }
        }
        !escaped.is_empty()
    }

    /// Who lives outside the group. The process adopts what its descendants leave behind (see
    /// [`launcher`](crate::target::launcher)), so all are among them.
    fn escaped(&self) -> io::Result<Vec<Pid>> {
        if self.has_exited() {
            // Its number may be somebody else's by now.
            return Ok(Vec::new());
        }
        let mut escaped = procfs::descendants(self.pid())?;
        let group = self.pid().as_raw();
        escaped.retain(|pid| matches!(Stat::of(*pid), Ok(Some(stat)) if stat.group != group && !stat.is_dead()));
        Ok(escaped)
    }

    /// Waits until all threads of the process and of its descendants have stopped. Whoever has left the
    /// group may have those go on that are in it, so it is looked for as long as that takes.
    pub(super) async fn group_stopped(&self) -> Result<(), NotStopped> {
        let stopped = async {
            self.leader_stopped().await?;
            self.descendants_stopped().await
        };
        tokio::select! {
            biased;
            stopped = stopped => stopped,
            escaped = self.somebody_escaped() => Err(escaped?),
        }
    }

    async fn somebody_escaped(&self) -> io::Result<NotStopped> {
        loop {
            // Most processes have stopped by then.
            tokio::time::sleep(PAUSE).await;
            if let Some(pid) = self.escaped()?.first() {
                return Ok(NotStopped::Escaped(Escaped::meet(*pid)));
            }
        }
    }

    async fn descendants_stopped(&self) -> Result<(), NotStopped> {
        for pid in procfs::descendants(self.pid())? {
            self.descendant_stopped(pid).await?;
        }
        Ok(())
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
        // It can only fail when the runtime goes down.
        judge(wait.await.unwrap_or(Err(Errno::EINTR)))
    }

    async fn descendant_stopped(&self, pid: Pid) -> Result<(), NotStopped> {
        match Stat::of(pid)? {
            None => return Ok(()),
            Some(stat) if stat.is_dead() => return Ok(()),
            Some(stat) if stat.group != self.pid().as_raw() => return Err(NotStopped::Escaped(Escaped::meet(pid))),
            Some(_) => {}
        }
        while !procfs::threads_stopped(pid)? {
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
