//! What processes use: CPU time and memory of the harness and of the system, from the kernel.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};
use verifier::EventKind;
use verifier::event::ResourceUsage;

use crate::error::Error;

/// File descriptors that the harness needs beside those for its load: journals, logs, listeners,
/// connections of environments.
const OTHER_DESCRIPTORS: u64 = 512;

/// Reads what the harness and its children use.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// What children had used that ended before the run, such as the system's build.
    before: Duration,
    tick: Duration,
    page: u64,
}

impl Meter {
    /// A meter; what children have used until now does not count.
    pub fn start() -> Self {
        let per_second =
            sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(100);
        let page =
            sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|page| u64::try_from(page).ok()).unwrap_or(4_096);
        Self { before: used_by(UsageWho::RUSAGE_CHILDREN), tick: Duration::from_secs(1) / per_second.max(1), page }
    }

    /// What harness and system have used since the start.
    pub fn sample(&self) -> EventKind {
        let harness = ResourceUsage { cpu: used_by(UsageWho::RUSAGE_SELF), rss: self.rss("self") };
        let living: Vec<_> = children().into_iter().filter_map(|pid| self.living(&pid)).collect();
        let ended = used_by(UsageWho::RUSAGE_CHILDREN).saturating_sub(self.before);
        let cpu = ended + living.iter().map(|usage| usage.cpu).sum::<Duration>();
        let system = ResourceUsage { cpu, rss: living.iter().map(|usage| usage.rss).sum() };
        EventKind::ResourcesSampled { harness, system }
    }

    /// What a living child has used, its own children that ended included (proc(5), `/proc/pid/stat`).
    fn living(&self, pid: &str) -> Option<ResourceUsage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything; the fields behind it are counted from 3.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: u32 = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
        Some(ResourceUsage { cpu: self.tick * ticks, rss: self.rss(pid) })
    }

    /// The resident memory of a process in bytes (proc(5), `/proc/pid/statm`, the second field).
    fn rss(&self, pid: &str) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * self.page
    }
}

/// User and system CPU time.
fn used_by(who: UsageWho) -> Duration {
    let micros =
        getrusage(who).map_or(0, |usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The process ids of all children of this process (proc(5), `/proc/pid/task/tid/children`).
fn children() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads.map(of_thread).flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// File descriptors that an execution environment needs in the harness: two listeners with a connection
/// or two each, a pipe, a log, the process itself.
const PER_ENVIRONMENT: u64 = 8;

/// Makes sure that a load with that many users and a system with that many execution environments find
/// enough file descriptors.
///
/// # Errors
/// If the process may not have that many.
pub fn ensure_descriptors(users: usize, environments: usize) -> Result<(), Error> {
    // A connection has two ends: the API's is in its own process, the queue's and the endpoint's in ours.
    let needed = OTHER_DESCRIPTORS + 2 * users as u64 + PER_ENVIRONMENT * environments as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| Error::setup("file descriptors", error))?;
    if soft >= needed {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)
        .map_err(|error| Error::setup("file descriptors", error))?;
    if hard >= needed {
        return Ok(());
    }
    let advice = format!("raise the limit with `ulimit -n {needed}`, or set fewer `users` in the scenario's [load]");
    Err(Error::Setup(format!("too few file descriptors: {hard} are allowed, this load needs {needed}; {advice}")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn system(meter: &Meter) -> ResourceUsage {
        match meter.sample() {
            EventKind::ResourcesSampled { system, .. } => system,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn children_count_while_they_live_and_after_they_ended() {
        let meter = Meter::start();
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        while system(&meter).cpu.is_zero() {
            std::thread::yield_now();
        }
        let alive = system(&meter);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(alive.rss > 0);
        // The kernel counts the living in ticks of 10 ms and the ended in microseconds.
        assert!(system(&meter).cpu + Duration::from_millis(20) >= alive.cpu);
    }

    #[test]
    fn load_with_more_users_than_descriptors_is_refused_with_the_way_out() {
        let message = ensure_descriptors(usize::MAX / 4, 10).unwrap_err().to_string();
        assert!(message.starts_with("too few file descriptors: "), "{message}");
        assert!(message.contains("ulimit -n"), "{message}");
    }
}
