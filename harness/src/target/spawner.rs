//! The one thread that starts processes.

use std::io;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::process::{self, Process, ProcessSpec, SpawnError};
use super::registry::Registry;
use super::{remains, warden};
use crate::mask::Mask;

/// How many processes may wait to be started.
const WAITING_JOBS: usize = 64;

/// Starts processes, all on one thread that lives as long as they do. Cheap to clone.
///
/// The parent-death signal follows the *thread* that started a process (prctl(2),
/// `PR_SET_PDEATHSIG`): a process that is started on a worker of a thread pool would die with that
/// worker. Here it dies with the harness, and with the last handle to its spawner.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
    registry: Arc<Registry>,
    mask: Mask,
}

type OnStart = Box<dyn FnOnce(u32) + Send>;

struct Job {
    spec: ProcessSpec,
    on_start: OnStart,
    runtime: Handle,
    spawner: Spawner,
    started: oneshot::Sender<Result<Process, SpawnError>>,
}

impl Spawner {
    /// Starts the thread and its helpers. `harness` is the program whose `main` calls
    /// [`hidden_command`](super::hidden_command): `/proc/self/exe` is the harness itself, even when
    /// its file has been replaced by a newer build. Without it there is neither launcher nor warden,
    /// and processes die with the [`Process`] handles only; a SIGKILL of the caller leaves them, and
    /// what leaves a process's group is not found.
    ///
    /// The calling process adopts what processes leave behind from now on. It must not reap children
    /// that it has not started.
    ///
    /// # Errors
    /// If the thread or the warden could not be started, or nothing can be adopted.
    pub fn start(harness: Option<&Path>) -> io::Result<Self> {
        remains::adopt()?;
        let mut warden = harness.map(warden::start).transpose()?;
        let launcher = harness.map(Path::to_owned);
        let registry = Arc::new(Registry::new(warden.as_mut().and_then(|warden| warden.stdin.take())));
        let (jobs, queue) = mpsc::channel(WAITING_JOBS);
        let spawner = Self { jobs, registry: Arc::clone(&registry), mask: Mask::default() };
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || work(queue, &registry, launcher.as_deref(), warden))?;
        Ok(spawner)
    }

    /// The same spawner; secrets are masked in what processes print.
    #[must_use]
    pub fn masking(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// What is masked in what processes print.
    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Starts a process in a group of its own.
    ///
    /// `on_start` is called with its process id as soon as there is one, so that its start can be
    /// recorded before anything that the process does.
    ///
    /// # Errors
    /// If the command is empty or cannot be started, or if the run is being stopped.
    pub async fn spawn(
        &self,
        spec: ProcessSpec,
        on_start: impl FnOnce(u32) + Send + 'static,
    ) -> Result<Process, SpawnError> {
        let (started, answer) = oneshot::channel();
        let on_start = Box::new(on_start);
        let job = Job { spec, on_start, runtime: Handle::current(), spawner: self.clone(), started };
        self.jobs.send(job).await.map_err(|_| SpawnError::Over)?;
        answer.await.map_err(|_| SpawnError::Over)?
    }

    /// Kills every process at once and starts no more: what a second Ctrl-C asks for.
    pub fn kill_all(&self) {
        self.registry.close();
    }
}

fn work(mut jobs: mpsc::Receiver<Job>, registry: &Arc<Registry>, launcher: Option<&Path>, warden: Option<Child>) {
    while let Some(Job { spec, on_start, runtime, spawner, started }) = jobs.blocking_recv() {
        let _inside = runtime.enter();
        // Whoever no longer waits for the process drops it here, and that kills it.
        let _ = started.send(process::start(spec, launcher, registry, spawner, on_start));
    }
    registry.close();
    registry.dismiss_warden();
    if let Some(mut warden) = warden {
        let _ = warden.wait();
    }
}
