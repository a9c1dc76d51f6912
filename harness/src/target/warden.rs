//! Kills the system's processes when the harness dies, however it dies.
//!
//! The parent-death signal covers the processes that the harness itself started. The warden covers
//! those that they started in turn: a process of its own, to which the harness tells the number of
//! every process group that begins (`+1234`, with its cgroup behind a space if it has one) and ends
//! (`-1234`). The kernel closes the pipe when the harness is gone, and then the warden kills what is
//! left: the groups, the cgroups, and whatever bears a leader's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, setsid};

use super::cgroup::Cgroup;
use super::mark;
use super::procfs::{self, Stat};

/// How long to wait before it is looked for survivors again.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked. What was killed is gone within a few milliseconds, unless it is in the middle
/// of a system call that cannot be interrupted.
const LOOKS: u32 = 500;

/// The groups that are alive, by the numbers of their leaders, each with its cgroup if it has one.
type Groups = BTreeMap<i32, Option<PathBuf>>;

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
    kill_all(read_groups(io::stdin().lock()))
}

/// Kills what is left. What has been killed may have started more before it died, so it is looked for
/// until nothing is found.
fn kill_all(groups: Groups) -> io::Result<()> {
    for group in groups.keys() {
        // A group that is gone already needs no killing.
        let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
    }
    let leaders: BTreeSet<_> = groups.keys().copied().collect();
    let mut cgroups: Vec<_> = groups.into_values().flatten().map(Cgroup::taken_over).collect();
    for _ in 0..LOOKS {
        cgroups.iter().for_each(Cgroup::kill);
        cgroups.retain(|cgroup| !cgroup.remove());
        if !kill_marked(&leaders)? && cgroups.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Kills what bears the mark of a leader, wherever it has gone. Whether there was anything.
fn kill_marked(leaders: &BTreeSet<i32>) -> io::Result<bool> {
    if leaders.is_empty() {
        return Ok(false);
    }
    let mut any = false;
    for pid in procfs::all()? {
        let leader = mark::leader(pid).unwrap_or_default().filter(|leader| leaders.contains(&leader.as_raw()));
        let Some(leader) = leader else { continue };
        // What is dead waits for a parent, and that is not the warden.
        if matches!(Stat::of(pid), Ok(Some(stat)) if !stat.is_dead()) {
            mark::kill(pid, leader);
            any = true;
        }
    }
    Ok(any)
}

/// The groups that had begun and not ended when the other side went away.
///
/// After the harness's death, the parent-death signal kills the groups' leaders at about the same
/// time. A leader's number can be given to another process only once the whole group is gone and
/// the numbers have gone round; the end of the pipe is seen long before that.
fn read_groups(input: impl io::Read) -> Groups {
    let mut groups = Groups::new();
    for line in BufReader::new(input).lines().map_while(Result::ok) {
        apply(&mut groups, &line);
    }
    groups
}

fn apply(groups: &mut Groups, line: &str) {
    let Some((sign, rest)) = line.split_at_checked(1) else { return };
    let (number, cgroup) = rest.split_once(' ').map_or((rest, None), |(number, path)| (number, Some(path.into())));
    // 0 and 1 would kill the warden's own group and everything.
    let Some(group) = number.parse().ok().filter(|group| *group > 1) else { return };
    match sign {
        "+" => groups.insert(group, cgroup),
        "-" => groups.remove(&group),
        _ => None,
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

/// Tells the warden that a group begins, and which cgroup it has.
pub(super) fn begin(warden: &mut ChildStdin, group: Pid, cgroup: Option<&Path>) -> io::Result<()> {
    // One write: what is written whole arrives whole, or not at all.
    let line = cgroup.map_or_else(|| format!("+{group}\n"), |cgroup| format!("+{group} {}\n", cgroup.display()));
    warden.write_all(line.as_bytes())
}

/// Tells the warden that a group has ended.
pub(super) fn end(warden: &mut ChildStdin, group: Pid) -> io::Result<()> {
    writeln!(warden, "-{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(told: &str) -> Vec<(i32, Option<PathBuf>)> {
        read_groups(told.as_bytes()).into_iter().collect()
    }

    #[test]
    fn groups_that_began_and_did_not_end_are_left() {
        assert_eq!(left("+100\n+200\n-100\n+300 /sys/a b\n"), [(200, None), (300, Some("/sys/a b".into()))]);
    }

    #[test]
    fn what_is_no_group_is_never_killed() {
        assert_eq!(left("+0\n+1\n+-5\n\n+\nabc\n\u{fc}\n*7\n"), []);
    }

    #[test]
    fn line_cut_short_by_the_harness_death_names_no_other_group() {
        // "+1234" without its end of line is taken as it is: the pipe keeps short writes whole.
        assert_eq!(left("+1234"), [(1234, None)]);
    }
}
