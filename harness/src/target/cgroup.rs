//! Control groups, version 2 (the kernel's `Documentation/admin-guide/cgroup-v2.rst`).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use uuid::Uuid;

/// Where a process reads what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Where a process reads in which control groups it is.
const OWN: &str = "/proc/self/cgroup";

/// Why there is no control group for a process.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no such hierarchy, or the harness's own group is not in what is mounted of it.
    #[error("no mounted cgroup v2 hierarchy holds the harness's own group ({OWN} and {MOUNTS} tell)")]
    NotMounted,
    /// A file could not be read.
    #[error("{path} could not be read: {source}")]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No group can be made inside the harness's own.
    #[error("no group can be made in {path}: {source}")]
    Refused {
        /// The harness's own group.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Groups cannot be frozen: the kernel is older than 5.2.
    #[error("{path} has no file cgroup.freeze, which is there since Linux 5.2")]
    NoFreezer {
        /// The group.
        path: PathBuf,
    },
}

/// A control group of its own for one process and all that it starts. Dropping it removes it, if
/// nothing is in it any more.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one inside that of the harness.
    pub(super) fn create() -> Result<Self, CgroupError> {
        let own = own()?;
        let path = own.join(format!("harness-{}", Uuid::new_v4().simple()));
        fs::create_dir(&path).map_err(|source| CgroupError::Refused { path: own, source })?;
        let group = Self { path };
        match group.path.join("cgroup.freeze").exists() {
            true => Ok(group),
            false => Err(CgroupError::NoFreezer { path: group.path.clone() }),
        }
    }

    /// One that somebody else has made, who is not there any more to remove it.
    pub(super) fn taken_over(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it to freeze. It does so a moment later.
    pub(super) fn freeze(&self) -> io::Result<()> {
        write(&self.path, "cgroup.freeze", "1")
    }

    /// Has it go on.
    pub(super) fn thaw(&self) -> io::Result<()> {
        write(&self.path, "cgroup.freeze", "0")
    }

    /// Whether everything in it has stopped.
    pub(super) fn is_frozen(&self) -> io::Result<bool> {
        Ok(self.read("cgroup.events")?.lines().any(|line| line == "frozen 1"))
    }

    /// The processes in it.
    pub(super) fn members(&self) -> io::Result<Vec<Pid>> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect())
    }

    /// Kills everything in it, frozen or not, also what is being started.
    pub(super) fn kill(&self) {
        // Since Linux 5.14; before, one by one, and whoever waits for its end asks again.
        if write(&self.path, "cgroup.kill", "1").is_err() {
            for pid in self.members().unwrap_or_default() {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        }
    }

    /// Removes it. Whether it is gone: it stays as long as anything is in it.
    pub(super) fn remove(&self) -> bool {
        match fs::remove_dir(&self.path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path.join(file))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Has the calling process join the group with this folder.
pub(super) fn join(group: &Path) -> io::Result<()> {
    write(group, "cgroup.procs", "0")
}

fn write(group: &Path, file: &str, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(group.join(file))?.write_all(text.as_bytes())
}

/// The folder of the harness's own group.
fn own() -> Result<PathBuf, CgroupError> {
    let read =
        |path: &str| fs::read_to_string(path).map_err(|source| CgroupError::Unread { path: path.into(), source });
    locate(&read(OWN)?, &read(MOUNTS)?).ok_or(CgroupError::NotMounted)
}

/// Finds the folder of a group, from which groups a process is in and what is mounted. In a hybrid set-up,
/// version 2 is mounted beside version 1, and its line is the one with the number 0.
fn locate(groups: &str, mounts: &str) -> Option<PathBuf> {
    let own = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().filter_map(hierarchy).find_map(|(root, mounted)| Some(mounted.join(own.strip_prefix(root).ok()?)))
}

/// What of the hierarchy is mounted, and where, if this line is of such a mount (proc_pid_mountinfo(5)).
fn hierarchy(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if !filesystem.starts_with("cgroup2 ") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// Spaces and the like are written as three octal digits behind a backslash.
fn unescape(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let escaped = part.split_at_checked(3).and_then(|(code, rest)| Some((u8::from_str_radix(code, 8).ok()?, rest)));
        match escaped {
            Some((byte, rest)) => bytes.extend([byte].iter().chain(rest.as_bytes())),
            None => bytes.extend(b"\\".iter().chain(part.as_bytes())),
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                          37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    fn located(groups: &str, mounts: &str) -> Option<String> {
        locate(groups, mounts).map(|path| path.display().to_string())
    }

    #[test]
    fn own_group_is_found_beside_version_1() {
        let groups = "6:freezer:/old\n0::/user.slice/session-1.scope\n";
        let path = "/sys/fs/cgroup/unified/user.slice/session-1.scope";
        assert_eq!(located(groups, HYBRID).as_deref(), Some(path));
    }

    #[test]
    fn own_group_is_found_in_a_part_of_the_hierarchy() {
        let mounts = "41 31 0:38 /docker/abc /sys/fs/cgroup\\040mine rw - cgroup2 cgroup2 rw\n";
        assert_eq!(located("0::/docker/abc/run\n", mounts).as_deref(), Some("/sys/fs/cgroup mine/run"));
    }

    #[test]
    fn group_that_is_not_in_what_is_mounted_is_not_found() {
        let mounts = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(located("0::/docker/other\n", mounts), None);
        assert_eq!(located("6:freezer:/\n", HYBRID), None, "there is no version 2");
        assert_eq!(located("0::/\n", HYBRID.lines().next().unwrap()), None, "it is not mounted");
    }

    #[test]
    fn backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(r"/a\134b\x\7"), PathBuf::from(r"/a\b\x\7"));
    }
}
