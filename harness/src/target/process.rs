//! A process of the system under test, and its process group.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use verifier::event::ProcessEnd;

use super::freezer::Freezer;
use super::launcher;
use super::output::{self, Log, Tail};
use super::registry::Registry;
use super::spawner::Spawner;
use crate::mask::Mask;

/// For how long the output of a process that has ended is waited for. It is there at once, unless
/// somebody outside the process's group has inherited the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Where programs are looked for if the environment has no `PATH` (as execvp(3) does).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// How a process is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program and its arguments. A program without a slash is looked for in the `PATH` of `env`.
    pub command: Vec<String>,
    /// The folder that it starts in.
    pub directory: PathBuf,
    /// All of its environment variables: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Where what it prints is written to, if anywhere. The last lines are kept in any case.
    pub log: Option<PathBuf>,
    /// How it is stopped, with all processes that it starts.
    pub freezer: Freezer,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is nothing to run.
    #[error("the command is empty")]
    NoCommand,
    /// The system said no.
    #[error("`{program}` could not be started in {directory}: {source}")]
    Refused {
        /// The program, as it was given.
        program: String,
        /// Where it was to start.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The run is over: the thread that starts processes has ended.
    #[error("no process is started any more: the run is over")]
    Over,
}

impl SpawnError {
    /// Whether the command is to blame, which names no program that is there, and not the machine.
    pub fn is_of_the_command(&self) -> bool {
        match self {
            Self::NoCommand => true,
            Self::Refused { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Over => false,
        }
    }
}

/// A process that was started, and the group that it leads.
///
/// Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    started: Instant,
    exit: Arc<AsyncFd<OwnedFd>>,
    registry: Arc<Registry>,
    ordered: Arc<AtomicBool>,
    tail: Tail,
    end: watch::Receiver<Option<ProcessEnd>>,
    /// Processes die with the thread that started them, so they keep it alive.
    _spawner: Spawner,
}

impl Process {
    /// Its process id, which is also the number of its group.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// The instant right before it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The last lines that it printed so far.
    pub fn output(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// Waits until the process and its descendants together use more memory than this many bytes;
    /// answers how much that is.
    pub async fn exceeds(&self, _bytes: u64) -> u64 {
        std::future::pending().await
    }

    /// Whether it has exited, be it that nobody has taken notice yet.
    pub fn has_exited(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        self.wait_status(flags) != Ok(WaitStatus::StillAlive)
    }

    /// Waits for its end. Can be called by many and as often as wanted.
    pub async fn ended(&self) -> ProcessEnd {
        let mut end = self.end.clone();
        let known = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        // Nobody watches it any more: the runtime is going down.
        known.unwrap_or(ProcessEnd { code: None, signal: None, ordered: true, output: Vec::new() })
    }

    /// Orders it to terminate: SIGTERM to its group.
    pub fn terminate(&self) {
        self.order();
        self.signal(Signal::SIGTERM);
    }

    /// Orders its death: SIGKILL to its group. Works on a stopped group as well.
    pub fn kill(&self) {
        self.order();
        self.signal(Signal::SIGKILL);
    }

    /// Kills its group for a failure of its own: its end counts as not ordered.
    pub fn kill_for_failure(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// From now on its end is ordered, unless it has come already.
    fn order(&self) {
        if !self.has_exited() {
            self.ordered.store(true, Ordering::Release);
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.registry.signal(self.pid, signal);
    }

    pub(super) fn exit_fd(&self) -> Arc<AsyncFd<OwnedFd>> {
        Arc::clone(&self.exit)
    }

    pub(super) fn wait_status(&self, flags: WaitPidFlag) -> Result<WaitStatus, Errno> {
        waitid(Id::PIDFd(self.exit.get_ref().as_fd()), flags)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a process, by way of `launcher` if there is one. To be called on the spawner's thread,
/// inside a runtime.
pub(super) fn start(
    spec: ProcessSpec,
    launcher: Option<&Path>,
    registry: &Arc<Registry>,
    spawner: Spawner,
    on_start: impl FnOnce(u32),
) -> Result<Process, SpawnError> {
    let Some((program, arguments)) = spec.command.split_first() else { return Err(SpawnError::NoCommand) };
    let refused = |source| SpawnError::Refused { program: program.clone(), directory: spec.directory.clone(), source };
    let (mut command, output) = prepare(program, &spec, launcher).map_err(refused)?;
    command.args(arguments);
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(refused)?;
    let started = Instant::now();
    let child = launch(command, registry).map_err(refused)?;
    let exit = exit_of(group_of(&child.child)).map_err(refused)?;
    // Nothing can fail from here on: a start that is told has an end that is told.
    on_start(child.child.id());
    Ok(supervise(child, exit, started, Output { pipe: output, log: spec.log.clone() }, spawner))
}

/// The command without its arguments, and the pipe that carries what it prints: one for both
/// streams, because that keeps their order.
fn prepare(program: &str, spec: &ProcessSpec, launcher: Option<&Path>) -> io::Result<(Command, io::PipeReader)> {
    let program = find(program, spec)?;
    let (output, writer) = io::pipe()?;
    let mut command = match launcher {
        Some(launcher) => launcher::command(launcher, &program),
        None => Command::new(program),
    };
    command
        .current_dir(&spec.directory)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    Ok((command, output))
}

/// The program's file. Found here, because the standard library can use `posix_spawn` only for a
/// path, and because the launcher could not report a program that is not there.
fn find(program: &str, spec: &ProcessSpec) -> io::Result<PathBuf> {
    if program.contains('/') {
        let file = std::path::absolute(spec.directory.join(program))?;
        return file.metadata().map(|_| file);
    }
    let path = spec.env.iter().rfind(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let files = env::split_paths(path).map(|folder| spec.directory.join(folder).join(program));
    files
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no such program in the PATH, {path}")))
}

/// Starts the command and registers its group. Consumes the command, because that closes our copy
/// of the pipe's writing end.
fn launch(mut command: Command, registry: &Arc<Registry>) -> io::Result<Unreaped> {
    let mut child = command.spawn()?;
    if let Err(error) = registry.register(group_of(&child)) {
        let _ = child.kill();
        child.wait()?;
        return Err(error);
    }
    Ok(Unreaped { child, registry: Arc::clone(registry), reaped: false })
}

fn group_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// What a process prints, and where that goes.
struct Output {
    pipe: pipe::Receiver,
    log: Option<PathBuf>,
}

/// Has its output captured and its end watched.
fn supervise(child: Unreaped, exit: AsyncFd<OwnedFd>, started: Instant, output: Output, spawner: Spawner) -> Process {
    let (pid, registry, exit) = (group_of(&child.child), Arc::clone(&child.registry), Arc::new(exit));
    let (ordered, tail) = (Arc::new(AtomicBool::new(false)), Tail::default());
    let (ended, end) = watch::channel(None);
    let mask = spawner.mask().clone();
    let watcher = Watcher { child, exit: Arc::clone(&exit), ordered: Arc::clone(&ordered), tail: tail.clone() };
    tokio::spawn(async move { ended.send_replace(Some(watcher.watch(output, mask).await)) });
    Process { pid, started, exit, registry, ordered, tail, end, _spawner: spawner }
}

/// A descriptor that becomes readable when the process exits, without reaping it.
fn exit_of(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(Errno::ESRCH)?;
    let descriptor = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    // SAFETY: an `OwnedFd` stays the same open descriptor until it is dropped, and nobody takes it out.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// A child that has to be reaped, after its group was released.
#[derive(Debug)]
struct Unreaped {
    child: Child,
    registry: Arc<Registry>,
    reaped: bool,
}

impl Unreaped {
    /// Ends the group and reaps its leader, which must have exited or have been killed.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.registry.release(group_of(&self.child));
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Unreaped {
    /// Whoever gives up watching ends the group.
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap();
        }
    }
}

/// Sees one process to its end.
#[derive(Debug)]
struct Watcher {
    child: Unreaped,
    exit: Arc<AsyncFd<OwnedFd>>,
    ordered: Arc<AtomicBool>,
    tail: Tail,
}

impl Watcher {
    async fn watch(mut self, output: Output, mask: Mask) -> ProcessEnd {
        let (Output { pipe, log }, enough) = (output, CancellationToken::new());
        let mut capture = tokio::spawn(output::capture(pipe, self.tail.clone(), Log::new(log), mask, enough.clone()));
        if let Err(error) = self.exit.readable().await {
            tracing::warn!(%error, "a process can no longer be watched and is ended");
        }
        let status = self.child.reap();
        if tokio::time::timeout(OUTPUT_GRACE, &mut capture).await.is_err() {
            enough.cancel();
            // Ends now; it has nothing to tell that the tail does not hold.
            let _ = capture.await;
        }
        self.end(status.ok())
    }

    fn end(&self, status: Option<ExitStatus>) -> ProcessEnd {
        let ordered = self.ordered.load(Ordering::Acquire);
        ProcessEnd {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            ordered,
            output: if ordered { Vec::new() } else { self.tail.lines() },
        }
    }
}
