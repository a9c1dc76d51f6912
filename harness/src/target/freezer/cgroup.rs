//! Stops a process tree with a cgroup of its own.

use super::suspend::{LOOKS, NotStopped, PAUSE};
use crate::target::cgroup::Cgroup;
use crate::target::process::Process;

impl Process {
    /// Waits until the kernel says that everything in the cgroup has stopped.
    pub(super) async fn cgroup_frozen(&self, cgroup: &Cgroup) -> Result<(), NotStopped> {
        for look in 0.. {
            // An empty cgroup counts as frozen.
            if self.has_exited() {
                return Err(NotStopped::Ended);
            }
            if cgroup.is_frozen()? {
                break;
            }
            pause(look).await;
        }
        Ok(())
    }
}

async fn pause(look: u32) {
    match look {
        0..LOOKS => tokio::task::yield_now().await,
        _ => tokio::time::sleep(PAUSE).await,
    }
}
