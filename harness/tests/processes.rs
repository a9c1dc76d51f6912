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
use harness::target::freezer::{Freezer, NotStopped};
use harness::target::process::SpawnError;
use harness::target::service::ServiceError;
use harness::target::{Process, ProcessSpec, Service, ServiceSpec, Spawner};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Events, pid_in, states, until, until_gone};
use tempfile::TempDir;
use tokio::runtime::Handle;
use verifier::EventKind;
use verifier::event::ProcessEnd;

/// The launcher and warden.
const HARNESS: &str = env!("CARGO_BIN_EXE_harness");
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
    let output = Command::new(HARNESS).args(["__launch", "1", "/bin/sh", "-c", "echo started"]).output().unwrap();
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
async fn dropped_process_dies_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), WITH_CHILD, &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    let leader = process.id();
    drop(process);
    until_gone(leader).await;
    until_gone(child).await;
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

#[tokio::test]
async fn child_that_left_the_group_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "setsid sh -c 'echo $$ > child; exec sleep 1000' & wait", &folder).await;
    let child = pid_in(&folder.path().join("child")).await;
    process.suspend();
    assert_matches!(process.confirm_suspended().await, Err(NotStopped::Escaped(pid)) if pid == child);
    kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn process_that_has_ended_cannot_be_confirmed_as_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let process = spawn(&spawner(), "exit 0", &folder).await;
    process.ended().await;
    process.suspend();
    assert_matches!(process.confirm_suspended().await, Err(NotStopped::Ended));
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

/// A process that starts others, one of them frozen, and is then killed.
async fn be_killed(folder: &Path) {
    let spawner = spawner();
    let running = spawner.spawn(shell(WITH_CHILD, &folder.join("running")), |_| {}).await.unwrap();
    let frozen = spawner.spawn(shell(WITH_CHILD, &folder.join("frozen")), |_| {}).await.unwrap();
    pid_in(&folder.join("frozen/leader")).await;
    frozen.suspend();
    frozen.confirm_suspended().await.unwrap();
    fs::write(folder.join("ready"), format!("{}\n", std::process::id())).unwrap();
    running.ended().await;
}

/// Starts a test as a parent, and waits until its processes are there: two, each with a child.
async fn start_parent(test: &str, folder: &Path) -> (Child, [u32; 2], [u32; 2]) {
    fs::create_dir(folder.join("running")).unwrap();
    fs::create_dir(folder.join("frozen")).unwrap();
    let parent = as_child(test, folder).stdout(Stdio::null()).spawn().unwrap();
    pid_in(&folder.join("ready")).await;
    let (running, frozen) = (folder.join("running"), folder.join("frozen"));
    let leaders = [pid_in(&running.join("leader")).await, pid_in(&frozen.join("leader")).await];
    let children = [pid_in(&running.join("child")).await, pid_in(&frozen.join("child")).await];
    (parent, leaders, children)
}

#[tokio::test]
async fn no_process_outlives_a_harness_that_is_killed() {
    if let Some(folder) = child_folder() {
        return be_killed(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "no_process_outlives_a_harness_that_is_killed";
    let (mut parent, leaders, children) = start_parent(test, folder.path()).await;
    let processes = [leaders, children].concat();
    assert!(processes.iter().all(|pid| !states(*pid).is_empty()), "all are there before");
    parent.kill().unwrap();
    parent.wait().unwrap();
    for pid in processes {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn processes_die_with_the_harness_even_when_its_warden_is_gone() {
    if let Some(folder) = child_folder() {
        return be_killed(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "processes_die_with_the_harness_even_when_its_warden_is_gone";
    let (mut parent, leaders, children) = start_parent(test, folder.path()).await;
    kill(warden_of(parent.id()), Signal::SIGKILL).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    for pid in leaders {
        until_gone(pid).await;
    }
    // Theirs are the warden's business; here it is the test's.
    for pid in children {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    }
}

fn warden_of(parent: u32) -> Pid {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    let is_warden = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("__warden");
    let children = children.collect::<String>();
    let warden = children.split_ascii_whitespace().find(is_warden).unwrap();
    Pid::from_raw(warden.parse().unwrap())
}
