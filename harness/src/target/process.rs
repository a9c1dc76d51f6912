//! A process of the system under test, and its process group.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use verifier::event::ProcessEnd;

use super::cgroup::{Cgroup, CgroupError};
use super::end::{Unreaped, Watched, Watcher, exit_of};
use super::freezer::{Escaped, Freezer, Means};
use super::launcher;
use super::output::Output;
use super::registry::Registry;
use super::spawner::Spawner;

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
    /// It cannot be stopped as it was to be.
    #[error("there is no cgroup for it: {0}")]
    NoCgroup(#[from] CgroupError),
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
            Self::NoCgroup(_) | Self::Over => false,
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
    means: Means,
    watched: Watched,
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
        self.watched.tail.lines()
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
        self.kill_everything();
    }

    /// Kills its group for a failure of its own: its end counts as not ordered, whatever comes before it
    /// has ended.
    pub fn kill_for_failure(&self) {
        self.watched.order(false);
        self.kill_everything();
    }

    fn kill_everything(&self) {
        self.kill_unmarked();
        self.signal(Signal::SIGKILL);
    }

    /// From now on its end is ordered, unless it has come already.
    fn order(&self) {
        if !self.has_exited() {
            self.watched.order(true);
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// What stops it.
    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// What was found outside its group when it had ended, once.
    pub(super) fn take_escaped(&self) -> Vec<Escaped> {
        self.watched.take_escaped()
    }

    pub(super) fn note_escaped(&self, escaped: Escaped) {
        self.watched.note_escaped(escaped);
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
    let means = Means::prepare(spec.freezer)?;
    let (mut command, output) = prepare(program, &spec, launcher, means.cgroup()).map_err(refused)?;
    command.args(arguments);
    let pipe = pipe::Receiver::from_owned_fd(output.into()).map_err(refused)?;
    let started = Instant::now();
    let child = launch(command, registry, means).map_err(refused)?;
    let exit = exit_of(child.pid()).map_err(refused)?;
    // Nothing can fail from here on: a start that is told has an end that is told.
    on_start(child.pid().as_raw().unsigned_abs());
    Ok(supervise(child, exit, started, Output { pipe, log: spec.log.clone() }, spawner))
}

/// The command without its arguments, and the pipe that carries what it prints: one for both
/// streams, because that keeps their order.
fn prepare(
    program: &str,
    spec: &ProcessSpec,
    launcher: Option<&Path>,
    cgroup: Option<&Cgroup>,
) -> io::Result<(Command, io::PipeReader)> {
    let program = find(program, spec)?;
    let (output, writer) = io::pipe()?;
    let mut command = match launcher {
        Some(launcher) => launcher::command(launcher, cgroup.map(Cgroup::path), &program),
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
fn launch(mut command: Command, registry: &Arc<Registry>, means: Means) -> io::Result<Unreaped> {
    let mut child = command.spawn()?;
    let group = Pid::from_raw(child.id().cast_signed());
    if let Err(error) = registry.register(group, means.cgroup().map(Cgroup::path)) {
        let _ = child.kill();
        child.wait()?;
        return Err(error);
    }
    Ok(Unreaped::new(child, Arc::clone(registry), means))
}

/// Has its output captured and its end watched.
fn supervise(child: Unreaped, exit: AsyncFd<OwnedFd>, started: Instant, output: Output, spawner: Spawner) -> Process {
    let (pid, registry, means) = (child.pid(), Arc::clone(child.registry()), child.means().clone());
    let (exit, watched) = (Arc::new(exit), Watched::default());
    let (ended, end) = watch::channel(None);
    let mask = spawner.mask().clone();
    let watcher = Watcher { child, exit: Arc::clone(&exit), watched: watched.clone() };
    tokio::spawn(async move { ended.send_replace(Some(watcher.watch(output, mask).await)) });
    Process { pid, started, exit, registry, means, watched, end, _spawner: spawner }
}
