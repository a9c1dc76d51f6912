//! What tests with real processes share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::journal::Recorder;
use tokio::sync::mpsc;
use verifier::{Event, EventKind};

/// How long anything may take before a test gives up. Nothing is asserted about time but this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds that nothing tells about.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Waits until a process is gone, or is only waited for.
pub(crate) async fn until_gone(pid: u32) {
    until(&format!("process {pid} is gone"), || states(pid).iter().all(|state| *state == 'Z')).await;
}

/// Waits until a file holds a whole line, and reads it as a process id.
pub(crate) async fn pid_in(file: &Path) -> u32 {
    let read = || fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'));
    until(&format!("{} holds a process id", file.display()), || read().is_some()).await;
    read().unwrap().trim().parse().unwrap()
}

/// The states of a process's threads (proc_pid_stat(5)); none if it is gone.
pub(crate) fn states(pid: u32) -> Vec<char> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
}

/// All that was recorded, in its order.
pub(crate) struct Events {
    stream: mpsc::Receiver<Event>,
    seen: Vec<EventKind>,
}

impl Events {
    /// A recorder, and what it records.
    pub(crate) fn record() -> (Recorder, Self) {
        let (recorder, stream) = Recorder::new();
        (recorder, Self { stream, seen: Vec::new() })
    }

    /// Waits until so many events are of a kind.
    pub(crate) async fn until(&mut self, count: usize, is_it: impl Fn(&EventKind) -> bool) {
        while self.seen.iter().filter(|event| is_it(event)).count() < count {
            let event = tokio::time::timeout(PATIENCE, self.stream.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("in vain; there was only {:#?}", self.seen));
            self.seen.push(event.unwrap().kind);
        }
    }

    /// What was recorded so far.
    pub(crate) fn seen(&mut self) -> &[EventKind] {
        while let Ok(event) = self.stream.try_recv() {
            self.seen.push(event.kind);
        }
        &self.seen
    }
}
