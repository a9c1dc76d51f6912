//! Processes from their start to the last that is left of them.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod support;

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assert_matches::assert_matches;
use futures_util::future::join_all;
use harness::target::freezer::{Escaped, Freezer, NotStopped};
use harness::target::process::SpawnError;
use harness::target::service::ServiceError;
use harness::target::{Process, ProcessSpec, Service, ServiceSpec, Spawner};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::{Events, pid_in, states, until, until_gone};
use tempfile::TempDir;
use tokio::runtime::Handle;
use verifier::EventKind;
use verifier::event::ProcessEnd;

/// The launcher and warden.
const HARNESS: &str = env!("CARGO_BIN_EXE_harness");
/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tells a test that it is the process that another run of it has started: here is its folder.
const CHILD: &str = "PROCESSES_TEST_CHILD";

fn shell(script: &str, folder: &Path) -> ProcessSpec {
    ProcessSpec {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        directory: folder.to_owned(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        log: Some(folder.join("log")),
        freezer: Freezer::default(),
    }
}

async fn spawn(spawner: &Spawner, script: &str, folder: &TempDir) -> Process {
    spawner.spawn(shell(script, folder.path()), |_| {}).await.unwrap()
}

fn spawner() -> Spawner {
    Spawner::start(Some(Path::new(HARNESS))).unwrap()
}

/// A process and one that it started; both sleep.
const WITH_CHILD: &str = "sleep 1000 & echo $! > child; echo $$ > leader; wait";

#[tokio::test]
async fn end_tells_code_and_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "echo one; echo two >&2; exit 7", &folder).await;
    let output = vec!["one".to_owned(), "two".to_owned()];
    assert_eq!(process.ended().await, ProcessEnd { code: Some(7), signal: None, ordered: false, output });
    assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "one\ntwo\n");
}

#[tokio::test]
async fn ordered_end_tells_its_signal_and_no_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "echo here; exec sleep 1000", &folder).await;
    process.kill();
    assert_eq!(process.ended().await, ProcessEnd { code: None, signal: Some(9), ordered: true, output: vec![] });
}

#[tokio::test]
async fn order_that_comes_too_late_is_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "exit 3", &folder).await;
    // The runtime has one thread: while this blocks it, nobody else can take notice of the exit.
    while !process.has_exited() {
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill();
    assert_matches!(process.ended().await, ProcessEnd { code: Some(3), ordered: false, .. });
}

#[tokio::test]
async fn process_inherits_no_environment() {
    let folder = tempfile::tempdir().unwrap();
    let env = vec![("COLOUR".to_owned(), "blue".to_owned())];
    let command = vec!["/usr/bin/env".to_owned()];
    let spec =
        ProcessSpec { command, directory: folder.path().to_owned(), env, log: None, freezer: Freezer::default() };
    let process = spawner().spawn(spec, |_| {}).await.unwrap();
    assert_eq!(process.ended().await.output, ["COLOUR=blue"]);
}

#[tokio::test]
async fn command_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let spec = ProcessSpec { command: vec!["/no/such/program".to_owned()], ..shell("", folder.path()) };
    let error = spawner().spawn(spec, |_| {}).await.unwrap_err();
    assert_matches!(&error, SpawnError::Refused { program, .. } if program == "/no/such/program");
    let nothing = ProcessSpec { command: vec![], ..shell("", folder.path()) };
    assert_matches!(spawner().spawn(nothing, |_| {}).await, Err(SpawnError::NoCommand));
}

#[tokio::test]
async fn program_is_looked_for_in_its_own_path() {
    let folder = tempfile::tempdir().unwrap();
    let unknown =
        ProcessSpec { env: vec![("PATH".to_owned(), "/no/such/folder".to_owned())], ..shell("", folder.path()) };
    let error = spawner().spawn(unknown, |_| {}).await.unwrap_err();
    assert!(error.to_string().ends_with("there is no such program in the PATH, /no/such/folder"), "{error}");
}

#[tokio::test]
async fn file_that_is_no_program_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "no program").unwrap();
    let spec = ProcessSpec { command: vec!["./text".to_owned()], ..shell("", folder.path()) };
    let end = spawner().spawn(spec, |_| {}).await.unwrap().ended().await;
    assert_matches!(&end, ProcessEnd { code: Some(126), ordered: false, output, .. }
        if output[0].starts_with("could not be started: Permission denied"));
}

/// The parent-death signal follows the thread that starts a process, so that is not the caller's.
#[tokio::test(flavor = "multi_thread")]
async fn process_outlives_the_thread_that_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, spawner) = (Handle::current(), spawner());
    let spec = shell("while [ ! -e go ]; do sleep 0.01; done", folder.path());
    let asking = std::thread::spawn(move || runtime.block_on(spawner.spawn(spec, |_| {})));
    let process = asking.join().unwrap().unwrap();
    fs::write(folder.path().join("go"), "").unwrap();
    assert_matches!(process.ended().await, ProcessEnd { code: Some(0), .. });
}

/// As soon as the harness is gone, its launcher starts nothing any more.
#[test]
fn launcher_starts_nothing_for_another_parent() {
    let output = Command::new(HARNESS).args(["__launch", "1", "-", "/bin/sh", "-c", "echo started"]).output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn child_of_a_process_dies_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "sleep 1000 & echo $! > child", &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    assert_matches!(process.ended().await, ProcessEnd { code: Some(0), .. });
    until_gone(child).await;
}

#[tokio::test]
async fn dropped_process_dies_with_all_that_it_has_started() {
    for freezer in freezers() {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn_with(freezer, &spawner(), FAMILY, &folder).await;
        let pids = family(folder.path()).await;
        drop(process);
        for pid in pids {
            until_gone(pid).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_started_once_everything_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = spawner();
    let process = spawn(&spawner, "exec sleep 1000", &folder).await;
    spawner.kill_all();
    assert_matches!(process.ended().await, ProcessEnd { signal: Some(9), .. });
    assert_matches!(spawner.spawn(shell("", folder.path()), |_| {}).await, Err(SpawnError::Refused { .. }));
}

#[tokio::test]
async fn suspended_process_has_stopped_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), WITH_CHILD, &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    for _ in 0..20 {
        process.suspend();
        process.confirm_suspended().await.unwrap();
        assert_eq!(states(process.id()), ['T']);
        assert_eq!(states(child), ['T']);
        process.resume();
        until("the child goes on", || states(child) != ['T']).await;
    }
}

/// A process that listens to no SIGTERM, and what it has started: each writes its id into a file.
const FAMILY: &str = "trap '' TERM
    sleep 1000 & echo $! > child
    sh -c 'sleep 1000 & echo $! > grandchild; wait' &
    setsid sh -c 'echo $$ > session; exec sleep 1000' &
    (env -i setsid sh -c 'echo $$ > daemon; exec sleep 1000' &)
    echo $$ > leader
    wait";
/// Who is in its group, and who has left it.
const IN_GROUP: [&str; 3] = ["leader", "child", "grandchild"];
const ESCAPED: [&str; 2] = ["session", "daemon"];

/// Waits until a family is there.
async fn family(folder: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    for name in IN_GROUP.into_iter().chain(ESCAPED) {
        pids.push(pid_in(&folder.join(name)).await);
    }
    pids
}

/// The ways to stop processes that can be had on this machine: cgroups need rights.
fn freezers() -> Vec<Freezer> {
    let all = [Freezer::Signals, Freezer::Cgroup2, Freezer::Off];
    all.into_iter().filter(|freezer| freezer.check().is_ok()).collect()
}

async fn spawn_with(freezer: Freezer, spawner: &Spawner, script: &str, folder: &TempDir) -> Process {
    spawner.spawn(ProcessSpec { freezer, ..shell(script, folder.path()) }, |_| {}).await.unwrap()
}

/// The CPU time that a process has used, in ticks (proc_pid_stat(5)).
fn used(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn what_left_the_group_is_named_and_killed_and_the_rest_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), FAMILY, &folder).await;
    let pids = family(folder.path()).await;
    until("all are named", || pids[3..].iter().all(|pid| name_of(*pid) == "sleep")).await;
    process.suspend();
    assert_matches!(process.confirm_suspended().await,
        Err(NotStopped::Escaped(escaped)) if pids[3..].contains(&escaped.pid) && escaped.name == "sleep");
    let mut killed = process.kill_escaped().await;
    killed.sort_by_key(|escaped| pids.iter().position(|pid| *pid == escaped.pid));
    let escaped = |pid: &u32| Escaped { pid: *pid, name: "sleep".to_owned() };
    assert_eq!(killed, pids[3..].iter().map(escaped).collect::<Vec<_>>());
    process.confirm_suspended().await.unwrap();
    assert!(pids[..3].iter().all(|pid| states(*pid) == ['T']));
    assert_eq!(process.kill_escaped().await, []);
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn what_starts_others_for_ever_outside_the_group_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let script = "setsid sh -c 'echo $$ > child; while [ -e child ]; do sleep 0.001 & done' & wait";
    let process = spawn(&spawner(), script, &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    process.suspend();
    assert!(process.kill_escaped().await.iter().any(|escaped| escaped.pid == child));
    process.confirm_suspended().await.unwrap();
}

/// One that has left the group has the leader go on whenever it is stopped.
const KEPT_GOING: &str = r#"export leader=$$
    setsid sh -c 'echo $$ > child; while kill -CONT $leader; do :; done' &
    exec sleep 1000"#;

#[tokio::test]
async fn what_keeps_a_process_going_from_outside_the_group_is_named_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), KEPT_GOING, &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    for _ in 0..20 {
        process.suspend();
        until("the leader goes on", || states(process.id()) != ['T']).await;
        match process.confirm_suspended().await {
            Err(NotStopped::Escaped(escaped)) => assert_eq!(escaped.pid, child),
            otherwise => panic!("{otherwise:?}"),
        }
    }
    assert_eq!(process.kill_escaped().await.len(), 1);
    process.confirm_suspended().await.unwrap();
    assert_eq!(states(process.id()), ['T']);
}

/// It leaves its group and takes off its mark. It writes its id when it has done both.
const UNMARKED: &str = "setsid prlimit --rttime=7 sh -c 'echo $$ > child; exec sleep 1000' &
    echo $$ > leader; wait";

#[tokio::test]
async fn what_has_left_the_group_without_its_mark_is_killed_at_the_freeze() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), UNMARKED, &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    process.suspend();
    assert_matches!(process.confirm_suspended().await, Err(NotStopped::Escaped(escaped)) if escaped.pid == child);
    assert_eq!(process.kill_escaped().await.iter().map(|escaped| escaped.pid).collect::<Vec<_>>(), [child]);
    process.confirm_suspended().await.unwrap();
}

#[tokio::test]
async fn what_has_left_the_group_without_its_mark_is_killed_and_told_with_the_process() {
    for kill in [Process::kill, Process::kill_for_failure] {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(&spawner(), UNMARKED, &folder).await;
        let child = pid_in(&folder.path().join("child")).await;
        kill(&process);
        process.ended().await;
        until_gone(child).await;
        assert_eq!(process.kill_escaped().await.iter().map(|escaped| escaped.pid).collect::<Vec<_>>(), [child]);
    }
}

#[tokio::test]
async fn what_left_the_group_is_told_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), FAMILY, &folder).await;
    let pids = family(folder.path()).await;
    process.kill();
    process.ended().await;
    let mut killed: Vec<_> = process.kill_escaped().await.iter().map(|escaped| escaped.pid).collect();
    killed.sort_by_key(|killed| pids.iter().position(|pid| pid == killed));
    assert_eq!(killed, pids[3..]);
    assert_eq!(process.kill_escaped().await, [], "it is told once");
}

/// Nobody in a cgroup can leave it, so nobody is killed for that.
#[tokio::test]
async fn nobody_escapes_a_cgroup() {
    let folder = tempfile::tempdir().unwrap();
    for freezer in freezers().into_iter().filter(|freezer| *freezer == Freezer::Cgroup2) {
        let script =
            "(setsid sh -c 'echo $$ > busy; while [ -e busy ]; do :; done' &); echo $$ > leader; exec sleep 1000";
        let process = spawn_with(freezer, &spawner(), script, &folder).await;
        let busy = pid_in(&folder.path().join("busy")).await;
        for _ in 0..5 {
            process.suspend();
            process.confirm_suspended().await.unwrap();
            let before = used(busy);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(used(busy), before, "it is frozen");
            process.resume();
            until("it goes on", || used(busy) > before).await;
        }
        assert_eq!(process.kill_escaped().await, []);
        process.kill();
        process.ended().await;
        assert!(states(busy).is_empty());
        assert_eq!(process.kill_escaped().await, [], "it had been frozen with the others");
    }
}

#[tokio::test]
async fn process_that_is_not_to_be_stopped_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $$ > leader; while [ -e leader ]; do :; done";
    let process = spawn_with(Freezer::Off, &spawner(), script, &folder).await;
    let leader = pid_in(&folder.path().join("leader")).await;
    process.suspend();
    process.confirm_suspended().await.unwrap();
    let before = used(leader);
    until("it goes on", || used(leader) > before).await;
}

#[tokio::test]
async fn what_is_killed_for_its_failure_has_not_ended_by_order_whatever_it_is_told_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let spawner = spawner();
    for _ in 0..20 {
        let process = spawn(&spawner, "exec sleep 1000", &folder).await;
        process.kill_for_failure();
        process.terminate();
        assert!(!process.ended().await.ordered);
    }
}

/// However it ends, frozen or not: when its end is told, there is nothing left, not even a zombie.
#[tokio::test]
async fn nothing_is_left_of_a_process_whose_end_is_told() {
    let killed_by_somebody =
        |process: &Process| kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGKILL).unwrap();
    let endings = [Process::kill, Process::kill_for_failure, killed_by_somebody];
    for (freezer, frozen) in freezers().into_iter().flat_map(|freezer| [(freezer, false), (freezer, true)]) {
        for end in endings {
            let folder = tempfile::tempdir().unwrap();
            let process = spawn_with(freezer, &spawner(), FAMILY, &folder).await;
            let pids = family(folder.path()).await;
            let cgroup = cgroup_of(process.id());
            if frozen {
                process.suspend();
                // Some have left the group, so it does not always succeed.
                let _ = process.confirm_suspended().await;
            }
            end(&process);
            assert_matches!(process.ended().await, ProcessEnd { signal: Some(9), .. });
            assert!(pids.iter().all(|pid| states(*pid).is_empty()), "{freezer:?}, frozen: {frozen}");
            assert!(freezer != Freezer::Cgroup2 || !cgroup.exists(), "{} is removed", cgroup.display());
        }
    }
}

/// The folder of a process's cgroup of version 2; that of the root, where there is none.
fn cgroup_of(pid: u32) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    Path::new(mount.and_then(|line| line.split(' ').nth(4)).unwrap_or_default()).join(group)
}

#[tokio::test]
async fn process_that_has_ended_cannot_be_confirmed_as_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "exit 0", &folder).await;
    process.ended().await;
    process.suspend();
    assert_matches!(process.confirm_suspended().await, Err(NotStopped::Ended));
}

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn process_that_uses_too_much_memory_is_noticed() {
    for freezer in freezers() {
        let folder = tempfile::tempdir().unwrap();
        let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); sleep 1000";
        let process = spawn_with(freezer, &spawner(), script, &folder).await;
        let used = tokio::time::timeout(PATIENCE, process.exceeds(32 * MIB)).await.unwrap();
        assert!(used > 32 * MIB, "{used}");
        until("all is used", || process.peak_memory().unwrap() > 64 * MIB).await;
    }
}

#[tokio::test]
async fn memory_of_what_a_process_has_started_counts_wherever_it_has_gone() {
    for freezer in freezers() {
        let folder = tempfile::tempdir().unwrap();
        let script = "{ head -c 67108864 /dev/zero; sleep 1000; } | setsid tail -n 1 & wait";
        let process = spawn_with(freezer, &spawner(), script, &folder).await;
        assert!(tokio::time::timeout(PATIENCE, process.exceeds(32 * MIB)).await.unwrap() > 32 * MIB);
        assert!(process.peak_memory().unwrap() < 32 * MIB, "it is not the process itself");
    }
}

#[tokio::test]
async fn process_that_uses_little_memory_never_exceeds_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), WITH_CHILD, &folder).await;
    pid_in(&folder.path().join("leader")).await;
    assert_never(process.exceeds(32 * MIB)).await;
}

/// A child that was forked has all the memory of its parent, until it changes it.
#[tokio::test]
async fn memory_that_several_share_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    // A shell lets go of what it needed for a command at the end of its line.
    let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x)
        (echo > child; while [ -e child ]; do sleep 0.1; done) &
        echo $$ > leader
        while [ -e leader ]; do sleep 0.1; done";
    let process = spawn(&spawner(), script, &folder).await;
    pid_in(&folder.path().join("leader")).await;
    until("there is a child", || folder.path().join("child").exists()).await;
    let of_one = resident(process.id());
    assert!(of_one > 64 * MIB);
    assert_never(process.exceeds(of_one / 2 * 3)).await;
}

#[tokio::test]
async fn process_that_has_ended_uses_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "exit 0", &folder).await;
    process.ended().await;
    assert_never(process.exceeds(0)).await;
    assert_eq!(process.peak_memory(), None);
}

/// What a process has resident, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).unwrap();
    kilobytes.trim().parse::<u64>().unwrap() * 1024
}

/// Some looks later, it is still waited for.
async fn assert_never(exceeds: impl Future<Output = u64>) {
    assert_matches!(tokio::time::timeout(Duration::from_millis(300), exceeds).await, Err(_));
}

/// A service's process is a script here; who listens at its port is the test.
fn service(script: &str, folder: &TempDir, listener: &TcpListener) -> ServiceSpec {
    ServiceSpec {
        name: "api".to_owned(),
        process: shell(script, folder.path()),
        port: listener.local_addr().unwrap().port(),
        health: None,
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(30),
    }
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

#[tokio::test]
async fn service_is_asked_to_stop_and_does() {
    let (folder, listener, (recorder, mut events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let script = "trap 'exit 0' TERM; echo $$ > ready; while :; do sleep 0.01; done";
    let service = Service::start(&spawner(), &recorder, service(script, &folder, &listener)).await.unwrap();
    let pid = pid_in(&folder.path().join("ready")).await;
    let end = service.stop().await;
    assert_eq!(end, ProcessEnd { code: Some(0), signal: None, ordered: true, output: vec![] });
    let name = || "api".to_owned();
    assert_eq!(
        events.seen(),
        [
            EventKind::ServiceStarted { service: name(), pid },
            EventKind::ServiceStopping { service: name() },
            EventKind::ServiceEnded { service: name(), end },
        ]
    );
}

#[tokio::test]
async fn stubborn_service_is_killed_after_its_time() {
    let (folder, listener, (recorder, _events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let script = "trap '' TERM; echo $$ > ready; while :; do sleep 0.01; done";
    let spec = ServiceSpec { stop_timeout: Duration::from_millis(50), ..service(script, &folder, &listener) };
    let service = Service::start(&spawner(), &recorder, spec).await.unwrap();
    pid_in(&folder.path().join("ready")).await;
    assert_matches!(service.stop().await, ProcessEnd { code: None, signal: Some(9), ordered: true, .. });
}

#[tokio::test]
async fn service_that_dies_under_load_is_noticed() {
    let (folder, listener, (recorder, mut events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let script = "while [ ! -e go ]; do sleep 0.01; done; echo out of luck; exit 3";
    let service = Service::start(&spawner(), &recorder, service(script, &folder, &listener)).await.unwrap();
    fs::write(folder.path().join("go"), "").unwrap();
    let end = service.ended().await;
    assert_matches!(&end, ProcessEnd { code: Some(3), ordered: false, output, .. } if output == &["out of luck"]);
    service.stop().await;
    events.until(1, |event| matches!(event, EventKind::ServiceEnded { .. })).await;
    let stopping = |event: &EventKind| matches!(event, EventKind::ServiceStopping { .. });
    assert!(!events.seen().iter().any(stopping), "what is dead is not asked to stop");
}

#[tokio::test]
async fn service_that_dies_before_it_is_healthy_shows_its_last_words() {
    let (folder, listener, (recorder, _events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let health = Some("/health".to_owned());
    let spec = ServiceSpec { health, ..service("echo no key; exit 2", &folder, &listener) };
    let error = Service::start(&spawner(), &recorder, spec).await.unwrap_err();
    assert_matches!(&error, ServiceError::Died { end: ProcessEnd { code: Some(2), .. }, .. });
    assert!(error.to_string().ends_with("no key"), "{error}");
}

#[tokio::test]
async fn service_that_is_never_healthy_is_given_up_and_killed() {
    let (folder, listener, (recorder, mut events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let spec = service("echo $$ > ready; exec sleep 1000", &folder, &listener);
    // Nobody listens there any more.
    drop(listener);
    let spec = ServiceSpec { start_timeout: Duration::from_millis(100), ..spec };
    let error = Service::start(&spawner(), &recorder, spec).await.unwrap_err();
    assert_matches!(&error, ServiceError::Unhealthy { symptom, .. } if symptom.contains("refused"));
    assert_matches!(events.seen(), [EventKind::ServiceStarted { .. }, EventKind::ServiceEnded { .. }]);
}

#[tokio::test]
async fn service_is_healthy_when_its_health_path_answers() {
    let (folder, listener, (recorder, _events)) = (tempfile::tempdir().unwrap(), listener(), Events::record());
    let spec = ServiceSpec { health: Some("/health".to_owned()), ..service("exec sleep 1000", &folder, &listener) };
    listener.set_nonblocking(true).unwrap();
    let answers = Arc::new(AtomicU32::new(0));
    let health = axum::routing::get(move || {
        let first = answers.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { http::StatusCode::SERVICE_UNAVAILABLE } else { http::StatusCode::OK } }
    });
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(axum::serve(listener, axum::Router::new().route("/health", health)).into_future());
    Service::start(&spawner(), &recorder, spec).await.unwrap().stop().await;
}

/// The folder of a test that was started by itself, to be another process.
fn child_folder() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

/// This very program, to run one test as a child.
fn as_child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, folder);
    command
}

/// The machine has no descriptor left in the moment in which a start is told.
#[tokio::test]
async fn process_whose_start_was_told_is_seen_to_its_end() {
    if let Some(folder) = child_folder() {
        return run_out_of_descriptors(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // The limit is one of the whole process, so it must not be that of the other tests.
    let output = as_child("process_whose_start_was_told_is_seen_to_its_end", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("seen").exists(), "the child is this test");
}

async fn run_out_of_descriptors(folder: &Path) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let spec = ProcessSpec { log: None, ..shell("exit 3", folder) };
    let process = spawner().spawn(spec, move |_| setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap()).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_matches!(process.unwrap().ended().await, ProcessEnd { code: Some(3), .. });
    fs::write(folder.join("seen"), "").unwrap();
}

/// Short processes that leave somebody behind, in their group or outside, are all reaped, and so are those.
#[tokio::test]
async fn thousand_processes_leave_no_zombie_and_no_descriptor() {
    if let Some(folder) = child_folder() {
        return run_a_thousand(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // All children of a process are looked at, so they must not be those of the other tests.
    let output = as_child("thousand_processes_leave_no_zombie_and_no_descriptor", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("seen").exists(), "the child is this test");
}

async fn run_a_thousand(folder: &Path) {
    let spawner = spawner();
    let run = async |script: &str| {
        let spec = ProcessSpec { log: None, ..shell(script, folder) };
        spawner.spawn(spec, |_| {}).await.unwrap().ended().await;
    };
    run("exit 0").await;
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..100 {
        let nine = join_all((0..8).map(|_| run("exit 0")));
        tokio::join!(nine, run("sleep 1000 & exit 0"), run("(setsid sleep 1000 &) ; exit 0"));
    }
    assert_eq!(descriptors(), before);
    let warden = warden_of(std::process::id()).to_string();
    assert_eq!(children_of(std::process::id()), [warden]);
    fs::write(folder.join("seen"), "").unwrap();
}

/// How a harness ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By SIGKILL.
    Killed,
    /// By a panic.
    Panics,
    /// In the middle of everything, with exit(3).
    Exits,
    /// As after a second Ctrl-C.
    Abandons,
    /// With nothing but its handles dropped.
    Drops,
}

/// A harness with processes in all states, and then its end.
async fn be_a_harness(folder: &Path, ending: Ending) {
    let spawner = spawner();
    let mut processes = Vec::new();
    for (number, freezer) in freezers().into_iter().enumerate() {
        for state in ["running", "frozen"] {
            let folder = folder.join(format!("{state}-{number}"));
            fs::create_dir(&folder).unwrap();
            let spec = ProcessSpec { freezer, ..shell(FAMILY, &folder) };
            let process = spawner.spawn(spec, |_| {}).await.unwrap();
            family(&folder).await;
            fs::write(folder.join("cgroup"), cgroup_of(process.id()).as_os_str().as_encoded_bytes()).unwrap();
            if state == "frozen" {
                process.suspend();
                let _ = process.confirm_suspended().await;
            }
            processes.push(process);
        }
    }
    fs::write(folder.join("ready"), format!("{}\n", std::process::id())).unwrap();
    match ending {
        Ending::Killed => std::future::pending().await,
        Ending::Panics => panic!("as was asked for"),
        Ending::Exits => std::process::exit(1),
        Ending::Abandons => spawner.kill_all(),
        Ending::Drops => {}
    }
}

/// Starts a test as a harness; waits until all its processes are there, and tells which.
async fn start_harness(test: &str, folder: &Path) -> (Child, Vec<PathBuf>) {
    let harness = as_child(test, folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    pid_in(&folder.join("ready")).await;
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    (harness, entries.filter(|path| path.is_dir()).collect())
}

async fn no_process_is_left(test: &str, ending: Ending) {
    if let Some(folder) = child_folder() {
        return be_a_harness(&folder, ending).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, families) = start_harness(test, folder.path()).await;
    let mut pids = Vec::new();
    for folder in &families {
        pids.extend(family(folder).await);
    }
    assert_eq!(pids.len(), freezers().len() * 2 * 5, "all are there");
    if ending == Ending::Killed {
        assert!(pids.iter().all(|pid| !states(*pid).is_empty()), "all are there before");
        harness.kill().unwrap();
    }
    harness.wait().unwrap();
    for pid in pids {
        until_gone(pid).await;
    }
    for cgroup in families.iter().filter_map(|folder| own_cgroup(folder)) {
        until("its cgroup is removed", || !cgroup.exists()).await;
    }
}

/// The cgroup that a family has for itself, if it has one.
fn own_cgroup(folder: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(fs::read_to_string(folder.join("cgroup")).unwrap());
    path.file_name()?.to_str()?.starts_with("harness-").then_some(path)
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_is_killed() {
    no_process_is_left("no_process_outlives_a_harness_that_is_killed", Ending::Killed).await;
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_panics() {
    no_process_is_left("no_process_outlives_a_harness_that_panics", Ending::Panics).await;
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_exits() {
    no_process_is_left("no_process_outlives_a_harness_that_exits", Ending::Exits).await;
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_is_interrupted_twice() {
    no_process_is_left("no_process_outlives_a_harness_that_is_interrupted_twice", Ending::Abandons).await;
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_drops_its_handles() {
    no_process_is_left("no_process_outlives_a_harness_that_drops_its_handles", Ending::Drops).await;
}

#[tokio::test]
async fn processes_die_with_the_harness_even_when_its_warden_is_gone() {
    let test = "processes_die_with_the_harness_even_when_its_warden_is_gone";
    if let Some(folder) = child_folder() {
        return be_a_harness(&folder, Ending::Killed).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, families) = start_harness(test, folder.path()).await;
    kill(warden_of(harness.id()), Signal::SIGKILL).unwrap();
    harness.kill().unwrap();
    harness.wait().unwrap();
    // All but the leaders are the warden's business; here they are the test's.
    for folder in &families {
        let pids = family(folder).await;
        until_gone(pids[0]).await;
        let _ = killpg(Pid::from_raw(pids[0].cast_signed()), Signal::SIGKILL);
        for pid in &pids[3..] {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        }
        if let Some(cgroup) = own_cgroup(folder) {
            fs::write(cgroup.join("cgroup.kill"), "1").unwrap();
            until("its cgroup can be removed", || fs::remove_dir(&cgroup).is_ok()).await;
        }
    }
}

fn warden_of(parent: u32) -> Pid {
    let is_warden = |pid: &String| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("__warden");
    let warden = children_of(parent).into_iter().find(is_warden).unwrap();
    Pid::from_raw(warden.parse().unwrap())
}

fn children_of(parent: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    children.collect::<String>().split_ascii_whitespace().map(str::to_owned).collect()
}
