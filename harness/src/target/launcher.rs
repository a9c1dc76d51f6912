//! Becomes a process of the system, after it has asked the kernel to die with the harness.
//!
//! The parent-death signal has to be asked for by the process itself, before its program runs. The
//! usual way, a hook between fork and exec, makes the standard library copy the harness's address
//! space: measured on the 2 cores of a small machine, 6 ms for a harness of 60 MB and up to 25 ms of
//! page faults after it, against 1.5 ms with `posix_spawn` and no hook. At dozens of cold starts a
//! second this is felt. So the harness starts itself under a hidden name, and that replaces itself by
//! the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::{cgroup, mark, remains};

/// The hidden subcommand under which the harness starts a process of the system.
pub const SUBCOMMAND: &str = "__launch";

/// Stands for no cgroup.
const NO_CGROUP: &str = "-";

/// What a shell exits with when a program cannot be run (POSIX, Shell Command Language § 2.8.2).
const CANNOT_RUN: u8 = 126;

/// `launcher` told to become `program`, in this cgroup if there is one.
pub(super) fn command(launcher: &Path, cgroup: Option<&Path>, program: &Path) -> Command {
    let mut command = Command::new(launcher);
    command.arg(SUBCOMMAND).arg(std::process::id().to_string());
    command.arg(cgroup.map_or(Path::new(NO_CGROUP), |cgroup| cgroup)).arg(program);
    command
}

/// Becomes the program that the arguments behind the subcommand name. Comes back only if it cannot.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Err(error) = become_program(arguments.into_iter());
    // Nobody can be told if the standard error is gone.
    let _ = writeln!(io::stderr(), "could not be started: {error}");
    ExitCode::from(CANNOT_RUN)
}

fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Result<std::convert::Infallible> {
    let (Some(parent), Some(cgroup), Some(program)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no parent, cgroup and program given"));
    };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The harness may have died before the signal was asked for.
    if parent != *getppid().to_string() {
        return Err(io::Error::other("the harness is gone"));
    }
    hold_together(Path::new(&cgroup))?;
    Err(Command::new(program).args(arguments).exec())
}

/// Sees to it that whatever the program starts is known as its own: it is marked, and does not leave
/// the tree below the program when its parent ends, as a daemon's does. On Lambda, another process adopts
/// such orphans; in a container it is the program, as here.
fn hold_together(cgroup: &Path) -> io::Result<()> {
    mark::set()?;
    remains::adopt()?;
    if cgroup != Path::new(NO_CGROUP) {
        cgroup::join(cgroup)?;
    }
    Ok(())
}
