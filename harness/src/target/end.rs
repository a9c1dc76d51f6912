//! Sees a process to its end, and all that it has started.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;
use verifier::event::ProcessEnd;

use super::freezer::{Escaped, Means};
use super::output::{self, Output, Tail};
use super::registry::Registry;
use super::remains::Remains;
use crate::mask::Mask;

/// For how long the output of a process that has ended is waited for. It is there at once, unless
/// somebody who is not to be found has inherited the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// A descriptor that becomes readable when the process exits, without reaping it.
pub(super) fn exit_of(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(Errno::ESRCH)?;
    let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    // SAFETY: an `OwnedFd` stays the same open descriptor until it is dropped, and nobody takes it out.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// A child that has to be reaped, after everything that it has started.
#[derive(Debug)]
pub(super) struct Unreaped {
    child: Child,
    registry: Arc<Registry>,
    means: Means,
    reaped: bool,
}

impl Unreaped {
    /// One whose group is registered.
    pub(super) fn new(child: Child, registry: Arc<Registry>, means: Means) -> Self {
        Self { child, registry, means, reaped: false }
    }

    /// Its process id, which is also the number of its group.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Kills its group and sees its leader dead, which keeps its number. What is left then has become
    /// the harness's own.
    fn die(&self) -> Remains {
        self.registry.signal(self.pid(), Signal::SIGKILL);
        while waitid(Id::Pid(self.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        Remains::of(self.pid(), self.means.clone(), Arc::clone(&self.registry))
    }

    /// Lets go of the group, and of its number with its leader.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.registry.release(self.pid());
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Unreaped {
    /// Whoever gives up watching ends the group.
    fn drop(&mut self) {
        if !self.reaped {
            self.die().clear_blocking();
            let _ = self.reap();
        }
    }
}

/// What a process has in common with who watches it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    /// Whether its end is ordered, once that is known: what is said first counts.
    ordered: Arc<OnceLock<bool>>,
    /// What was found outside its group when it had ended, or was about to be ended.
    escaped: Arc<Mutex<Vec<Escaped>>>,
    /// What it prints.
    pub(super) tail: Tail,
}

impl Watched {
    /// From now on its end is ordered, or not.
    pub(super) fn order(&self, ordered: bool) {
        // It may have been said before.
        let _ = self.ordered.set(ordered);
    }

    /// Somebody was found outside its group.
    pub(super) fn note_escaped(&self, escaped: Escaped) {
        self.escaped().push(escaped);
    }

    /// What was found outside its group when it had ended, once.
    pub(super) fn take_escaped(&self) -> Vec<Escaped> {
        std::mem::take(&mut self.escaped())
    }

    fn escaped(&self) -> MutexGuard<'_, Vec<Escaped>> {
        self.escaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees one process to its end.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) child: Unreaped,
    pub(super) exit: Arc<AsyncFd<OwnedFd>>,
    pub(super) watched: Watched,
}

impl Watcher {
    /// Comes back when nothing is left of the process, and nothing that it has started.
    pub(super) async fn watch(mut self, output: Output, mask: Mask) -> ProcessEnd {
        let (tail, enough) = (self.watched.tail.clone(), CancellationToken::new());
        let mut capture = tokio::spawn(output::capture(output, tail, mask, enough.clone()));
        if let Err(error) = self.exit.readable().await {
            tracing::warn!(%error, "a process can no longer be watched and is ended");
        }
        let escaped = self.child.die().clear().await;
        self.watched.escaped().extend(escaped);
        let status = self.child.reap();
        if tokio::time::timeout(OUTPUT_GRACE, &mut capture).await.is_err() {
            enough.cancel();
            // Ends now; it has nothing to tell that the tail does not hold.
            let _ = capture.await;
        }
        self.end(status.ok())
    }

    fn end(&self, status: Option<ExitStatus>) -> ProcessEnd {
        let ordered = self.watched.ordered.get().is_some_and(|ordered| *ordered);
        ProcessEnd {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            ordered,
            output: if ordered { Vec::new() } else { self.watched.tail.lines() },
        }
    }
}
