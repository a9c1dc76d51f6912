//! What the kernel tells about processes (proc(5)).

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The fields of `/proc/<pid>/stat` (proc_pid_stat(5)) that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    state: char,
    parent: i32,
    /// The process group.
    pub(super) group: i32,
}

impl Stat {
    /// A process's; nothing if it is gone.
    pub(super) fn of(pid: Pid) -> io::Result<Option<Self>> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    fn read(path: &str) -> io::Result<Option<Self>> {
        match unless_gone(fs::read_to_string(path))? {
            Some(text) => Self::parse(&text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }

    /// The name, in brackets, may itself hold spaces and brackets.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self { state, parent, group })
    }

    /// The process that started it, or that has adopted it.
    pub(super) fn parent(self) -> Pid {
        Pid::from_raw(self.parent)
    }

    /// It has ended, and at most waits to be reaped.
    pub(super) fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// It waits in the kernel and cannot be interrupted.
    pub(super) fn is_uninterruptible(self) -> bool {
        self.state == 'D'
    }

    /// Stopped, or dead: it makes no progress.
    fn is_still(self) -> bool {
        matches!(self.state, 'T' | 't') || self.is_dead()
    }
}

/// Nothing, if what was asked for is about a process that is gone.
fn unless_gone<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // A process that ends while it is read from: ESRCH.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether no thread of this process makes progress.
pub(super) fn threads_stopped(pid: Pid) -> io::Result<bool> {
    for thread in threads(pid)? {
        if Stat::read(&format!("/proc/{pid}/task/{thread}/stat"))?.is_some_and(|stat| !stat.is_still()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn threads(pid: Pid) -> io::Result<Vec<String>> {
    let Some(entries) = unless_gone(fs::read_dir(format!("/proc/{pid}/task")))? else { return Ok(Vec::new()) };
    Ok(entries.map_while(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// The children of a process, their children, and so on. A tree that is stopped does not grow while
/// it is walked.
pub(super) fn descendants(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = children(pid)?;
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid)?);
        next += 1;
    }
    Ok(found)
}

/// Whether a process is a child of another, or a child's, and so on.
pub(super) fn descends(pid: Pid, from: Pid) -> io::Result<bool> {
    let mut next = pid;
    while let Some(stat) = Stat::of(next)? {
        next = stat.parent();
        if next == from {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The children of a process. One may be missing if another is reaped meanwhile.
pub(super) fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in threads(pid)? {
        let text = unless_gone(fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")))?.unwrap_or_default();
        children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    Ok(children)
}

/// All processes that there are.
pub(super) fn all() -> io::Result<Vec<Pid>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).map(Pid::from_raw).collect())
}

/// A process's name, at most 15 bytes of it; empty if it is gone.
pub(super) fn name(pid: Pid) -> String {
    fs::read(format!("/proc/{pid}/comm")).map_or_else(|_| String::new(), |name| as_text(&name))
}

fn as_text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end_matches('\n').to_owned()
}

/// The soft limit of a process's real-time CPU time in µs; nothing if there is none or it is gone.
pub(super) fn realtime_limit(pid: Pid) -> io::Result<Option<u64>> {
    let limits = unless_gone(fs::read_to_string(format!("/proc/{pid}/limits")))?.unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"));
    Ok(limit.and_then(|limit| limit.split_ascii_whitespace().next()?.parse().ok()))
}

/// The resident memory of a process in bytes; none if it has ended.
pub(super) fn resident(pid: Pid) -> io::Result<u64> {
    let statm = unless_gone(fs::read_to_string(format!("/proc/{pid}/statm")))?.unwrap_or_default();
    let pages: u64 = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    Ok(pages * page_size())
}

/// A process's share of the memory that is resident, in bytes: what several use counts for each by
/// its part. Walks all of its mappings, so it is dearer than [`resident`].
pub(super) fn proportional(pid: Pid) -> io::Result<u64> {
    let rollup = unless_gone(fs::read_to_string(format!("/proc/{pid}/smaps_rollup")))?.unwrap_or_default();
    Ok(kilobytes(&rollup, "Pss:").unwrap_or_default())
}

/// The most memory that was resident in the life of a process, in bytes; nothing if it has ended.
pub(super) fn peak_resident(pid: Pid) -> Option<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// A line such as `VmHWM:     1234 kB`, in bytes.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn page_size() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4_096)
}

#[cfg(test)]
mod tests {
    use nix::unistd::getpid;

    use super::*;

    /// Linux numbers processes below 4194304 (proc_sys_kernel(5), pid_max).
    const NOBODY: Pid = Pid::from_raw(4_194_304);

    #[test]
    fn name_of_a_process_may_hold_brackets_and_spaces() {
        let stat = Stat::parse("4711 (a) R 1 (b)) T 1 4700 4700 0 -1 4194304");
        assert_eq!(stat, Some(Stat { state: 'T', parent: 1, group: 4700 }));
    }

    #[test]
    fn whoever_was_started_by_this_process_descends_from_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(descends(pid, getpid()).unwrap());
        assert!(!descends(getpid(), pid).unwrap());
        assert!(!descends(getpid(), getpid()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_stopped_and_dead_threads_make_no_progress() {
        let still = |state| Stat { state, parent: 1, group: 1 }.is_still();
        assert!("TtZX".chars().all(still));
        assert!(!"RSDIW".chars().any(still));
    }

    #[test]
    fn process_that_is_gone_has_nothing() {
        assert!(threads_stopped(NOBODY).unwrap());
        assert!(descendants(NOBODY).unwrap().is_empty());
        assert_eq!(Stat::of(NOBODY).unwrap(), None);
        assert_eq!((resident(NOBODY).unwrap(), proportional(NOBODY).unwrap(), peak_resident(NOBODY)), (0, 0, None));
        assert_eq!((name(NOBODY), realtime_limit(NOBODY).unwrap()), (String::new(), None));
    }

    #[test]
    fn running_process_is_not_taken_for_stopped() {
        assert!(!threads_stopped(getpid()).unwrap());
    }

    #[test]
    fn share_of_the_memory_is_no_more_than_what_is_resident_at_most() {
        let (share, peak) = (proportional(getpid()).unwrap(), peak_resident(getpid()).unwrap());
        assert!(0 < share && share <= peak, "{share} of {peak}");
        assert!(resident(getpid()).unwrap() > 0);
    }
}
