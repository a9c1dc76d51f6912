//! Kills the system's processes when the harness dies, however it dies.
//!
//! The parent-death signal covers the processes that the harness itself started. The warden covers
//! those that they started in turn: a process of its own, to which the harness tells the number of
//! every process group that begins (`+1234`) and ends (`-1234`). The kernel closes the pipe when the
//! harness is gone, and then the warden kills what is left.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, setsid};

/// The hidden subcommand under which the harness runs itself as its warden.
pub const SUBCOMMAND: &str = "__warden";

/// Runs as the warden, until the harness at the other end of the standard input is gone.
///
/// To be called while there is only one thread, as [`hidden_command`](super::hidden_command) is.
///
/// # Errors
/// If signals could not be blocked.
pub fn run() -> io::Result<()> {
    // A Ctrl-C at the terminal is the harness's business: the warden has to outlive it. Blocked
    // signals stay pending for ever, so only SIGKILL ends the warden before its time.
    SigSet::all().thread_block()?;
    // Fails only for the leader of a session, which has what is wanted here anyway.
    let _ = setsid();
    for group in read_groups(io::stdin().lock()) {
        // A group that is gone already needs no killing.
        let _ = killpg(group, Signal::SIGKILL);
    }
    Ok(())
}

/// The groups that had begun and not ended when the other side went away.
///
/// After the harness's death, the parent-death signal kills the groups' leaders at about the same
/// time. A leader's number can be given to another process only once the whole group is gone and
/// the numbers have gone round; the end of the pipe is seen long before that.
fn read_groups(input: impl io::Read) -> Vec<Pid> {
    let mut groups = BTreeSet::new();
    for line in BufReader::new(input).lines().map_while(Result::ok) {
        apply(&mut groups, &line);
    }
    groups.into_iter().map(Pid::from_raw).collect()
}

fn apply(groups: &mut BTreeSet<i32>, line: &str) {
    let Some((sign, number)) = line.split_at_checked(1) else { return };
    // 0 and 1 would kill the warden's own group and everything.
    let Some(group) = number.parse().ok().filter(|group| *group > 1) else { return };
    match sign {
        "+" => groups.insert(group),
        "-" => groups.remove(&group),
        _ => false,
    };
}

/// Starts `program` as the warden of the calling process.
pub(super) fn start(program: &Path) -> io::Result<Child> {
    Command::new(program)
        .arg(SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// Tells the warden that a group begins.
pub(super) fn begin(warden: &mut ChildStdin, group: Pid) -> io::Result<()> {
    writeln!(warden, "+{group}")
}

/// Tells the warden that a group has ended.
pub(super) fn end(warden: &mut ChildStdin, group: Pid) -> io::Result<()> {
    writeln!(warden, "-{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_began_and_did_not_end_are_left() {
        let left = read_groups(&b"+100\n+200\n-100\n+300\n"[..]);
        assert_eq!(left, [Pid::from_raw(200), Pid::from_raw(300)]);
    }

    #[test]
    fn what_is_no_group_is_never_killed() {
        assert!(read_groups(&b"+0\n+1\n+-5\n\n+\nabc\n\xc3\xbc\n*7\n"[..]).is_empty());
    }

    #[test]
    fn line_cut_short_by_the_harness_death_names_no_other_group() {
        // "+1234" without its end of line is taken as it is: the pipe keeps short writes whole.
        assert_eq!(read_groups(&b"+1234"[..]), [Pid::from_raw(1234)]);
    }
}
