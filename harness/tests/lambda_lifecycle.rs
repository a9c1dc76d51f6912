//! Execution environments from their first process to their last: Init, freezes, resets, shutdowns,
//! and what can go wrong in between.
//!
//! The runtimes and extensions under test are this very program, started once more to run one of its
//! tests. They speak the APIs by hand, so that they can be as bad as a test wants.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[path = "support/client.rs"]
mod client;
#[path = "support/function.rs"]
mod function;
#[expect(dead_code, reason = "what other tests need")]
mod support;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use assert_matches::assert_matches;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use harness::cloud::environment::{AfterInit, Environment, InitCause, InitFailure, Invocation, Invoked};
use harness::cloud::function::{
    BoxError, Cuts, ExtensionSpec, Function, FunctionSpec, Kills, Platform, PlatformDelay, Wired, Wiring,
};
use harness::cloud::network::Network;
use harness::cloud::platform::Kill;
use harness::target::Spawner;
use harness::target::freezer::Freezer;
use serde_json::Value;
use support::{Events, states, until, until_gone};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use verifier::event::{Cut, Delivery, Fault, InvocationOutcome, ProcessEnd, ResetReason};
use verifier::{EnvironmentId, EventKind, InvocationId, MessageId};

/// What a runtime does when it starts, and what an extension does.
const SCRIPT: &str = "SCRIPT";
/// Set for extensions alone: the extension's name.
const EXTENSION: &str = "EXTENSION";
/// The folder that all of them write to.
const FOLDER: &str = "FOLDER";

/// The test that is runtime and extension as well.
const PROGRAM: &str = "environment_is_frozen_when_all_wait_and_thawed_for_an_invocation";

#[tokio::test]
async fn environment_is_frozen_when_all_wait_and_thawed_for_an_invocation() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return run_program().await;
    }
    let mut lambda = Setup::new().with_extension("flusher", "listen INVOKE").start();
    let environment = lambda.environment(AfterInit::Freeze).await.unwrap();
    assert_eq!(lambda.story(), ["started", "registered", "initialized", "frozen"]);
    let (environment, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!(outcome, SUCCESS);
    assert_eq!(lambda.story()[4..], ["thawed", "cold", "finished", "frozen"]);
    let (_environment, _) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!(lambda.story()[8..], ["thawed", "warm", "finished", "frozen"]);
    assert_eq!(lambda.told("flusher"), ["INVOKE", "INVOKE"]);
    for name in ["runtime.pid", "flusher.pid"] {
        let states = states(lambda.pid(name));
        assert!(!states.is_empty() && states.iter().all(|state| *state == 'T'), "{name} goes on: {states:?}");
    }
}

const SUCCESS: InvocationOutcome = InvocationOutcome::Succeeded { failed: Vec::new() };

// The programs.

async fn run_program() {
    let script = env::var(SCRIPT).unwrap_or_default();
    match env::var(EXTENSION) {
        Ok(name) => run_extension(&name, &script).await,
        Err(_) => run_runtime(&script).await,
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(&env::var(FOLDER).unwrap()).join(name)
}

fn append(name: &str, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(file(name)).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Whether this is the first call with this name in any process.
fn is_first(name: &str) -> bool {
    OpenOptions::new().create_new(true).write(true).open(file(name)).is_ok()
}

async fn run_runtime(script: &str) {
    append("runtime.pid", &std::process::id().to_string());
    append("variables", &env::var("AWS_LAMBDA_LOG_STREAM_NAME").unwrap());
    append("variables", &env::var("ENDPOINT").unwrap());
    match script {
        "exit" => std::process::exit(7),
        "hang" => std::future::pending().await,
        "wait" => until("it may go on", || file("go").exists()).await,
        "report" => {
            let body = r#"{"errorType":"Runtime.NoKey","errorMessage":"no key"}"#;
            client::call("POST /2018-06-01/runtime/init/error", &[], body).await;
            std::process::exit(1);
        }
        "internal" => on_sigterm(false).await,
        "internal, deaf" => on_sigterm(true).await,
        "hog" if is_first("hogged") => hog(TOO_MUCH_MB).await,
        "garbage" => {
            append("garbage", "\u{1}\u{2}\u{3}");
            std::io::stdout().write_all(&[0xff, 0xfe, 0, 10]).unwrap();
        }
        _ => {}
    }
    loop {
        let (id, event) = client::next().await;
        handle(&id, serde_json::from_str::<String>(&event).unwrap().as_str()).await;
    }
}

/// Registers an internal extension and writes down when SIGTERM comes.
async fn on_sigterm(is_deaf: bool) {
    let mut sigterm = signal(SignalKind::terminate()).unwrap();
    let identifier = client::register("internal", r#"{"events":[]}"#).await;
    tokio::spawn(async move { client::event(&identifier).await });
    tokio::spawn(async move {
        sigterm.recv().await;
        append("sigterm", "flushed");
        if !is_deaf {
            std::process::exit(0);
        }
    });
}

async fn handle(id: &str, what: &str) {
    match what.split_once(' ').unwrap_or((what, "")) {
        ("exit", code) => std::process::exit(code.parse().unwrap()),
        ("abort", _) => std::process::abort(),
        ("hang", _) => std::future::pending().await,
        ("twice", _) => {
            append("statuses", &client::respond(id).await.to_string());
            append("statuses", &client::respond(id).await.to_string());
        }
        ("stranger", _) => {
            append("statuses", &client::respond("somebody-else").await.to_string());
            append("statuses", &client::respond(id).await.to_string());
        }
        ("forget", _) if is_first("forgotten") => {}
        ("hog", mb) => hog(mb.parse().unwrap()).await,
        ("escape", what) => {
            escape().await;
            match what {
                "exit" => std::process::exit(1),
                _ => drop(client::respond(id).await),
            }
        }
        ("then-hang", _) => {
            client::respond(id).await;
            std::future::pending().await
        }
        _ => drop(client::respond(id).await),
    }
}

/// Starts a child in a session of its own and a daemon that was forked twice, and waits until both are
/// what they will be.
async fn escape() {
    let script = "setsid sh -c 'echo $$ > \"$FOLDER/session\"; exec sleep 1000' & \
                  (setsid sh -c 'echo $$ > \"$FOLDER/daemon\"; exec sleep 1000' &) ; wait";
    std::thread::spawn(move || Command::new("/bin/sh").args(["-c", script]).status());
    for name in ESCAPED {
        until(&format!("the {name} is there"), || is_asleep(&file(name))).await;
    }
}

/// The files with the numbers of the processes that escape.
const ESCAPED: [&str; 2] = ["session", "daemon"];

fn is_asleep(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap_or_default();
    fs::read_to_string(format!("/proc/{}/comm", pid.trim())).is_ok_and(|name| name == "sleep\n")
}

/// Uses so much memory, every page of it.
fn hold(mb: usize) {
    std::mem::forget(std::hint::black_box(vec![1_u8; mb << 20]));
}

async fn hog(mb: usize) {
    hold(mb);
    std::future::pending().await
}

async fn run_extension(name: &str, script: &str) {
    append(&format!("{name}.pid"), &std::process::id().to_string());
    let (what, events) = script.split_once(' ').unwrap_or((script, ""));
    let events: Vec<_> = events.split_whitespace().collect();
    if what == "print" {
        std::io::stdout().write_all(b"no endpoint\n").unwrap();
        std::process::exit(1);
    }
    if what == "heavy" {
        hold(HEAVY_MB);
    }
    if what == "silent" {
        return std::future::pending().await;
    }
    let identifier = client::register(name, &serde_json::json!({ "events": events }).to_string()).await;
    let headers =
        [("Lambda-Extension-Identifier", identifier.as_str()), ("Lambda-Extension-Function-Error-Type", "A.B")];
    if what == "init-error" {
        client::call("POST /2020-01-01/extension/init/error", &headers, "").await;
        return std::future::pending().await;
    }
    loop {
        let event: Value = serde_json::from_str(&client::event(&identifier).await).unwrap();
        let kind = event["eventType"].as_str().unwrap();
        append(name, &[kind, event["shutdownReason"].as_str().unwrap_or_default()].join(" "));
        match (what, kind) {
            ("gate", "INVOKE") => until("the gate opens", || file("open").exists()).await,
            ("die", "INVOKE") => std::process::exit(3),
            ("exit-error", "INVOKE") => drop(client::call("POST /2020-01-01/extension/exit/error", &headers, "").await),
            ("stubborn", "SHUTDOWN") => std::future::pending().await,
            (_, "SHUTDOWN") => std::process::exit(0),
            _ => {}
        }
    }
}

// What they run in.

/// An endpoint that is named in the variables of an environment and stays its own.
struct Endpoint;

impl Wiring for Endpoint {
    fn wire<'a>(&'a self, environment: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        let env = vec![("ENDPOINT".to_owned(), format!("endpoint of {environment}"))];
        Box::pin(async { Ok(Wired { env, network: Network::default(), guard: Box::new(()) }) })
    }
}

struct Setup {
    spec: FunctionSpec,
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = vec![(FOLDER.to_owned(), folder.path().display().to_string())];
        let spec = FunctionSpec { env, ..function::spec(program(), folder.path()) };
        Self { spec, folder }
    }

    /// What the runtime does when it starts.
    fn at_start(mut self, what: &str) -> Self {
        self.spec.env.push((SCRIPT.to_owned(), what.to_owned()));
        self
    }

    fn with_extension(mut self, name: &str, script: &str) -> Self {
        let env = [(EXTENSION, name), (SCRIPT, script)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let extension = ExtensionSpec { name: name.to_owned(), command: program(), env: env.to_vec() };
        self.spec.extensions.push(extension);
        self
    }

    fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = timeout;
        self
    }

    fn init_timeout(mut self, timeout: Duration) -> Self {
        self.spec.init_timeout = timeout;
        self
    }

    /// With so much memory for all of its processes.
    fn memory(mut self, mb: usize) -> Self {
        self.spec.memory_mb = u32::try_from(mb).unwrap();
        self
    }

    fn platform(mut self, platform: Platform) -> Self {
        self.spec.platform = platform;
        self
    }

    fn start(self) -> Lambda {
        let (recorder, events) = Events::record();
        let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
        let function = Arc::new(Function::new(self.spec, spawner, recorder, Arc::new(Endpoint)));
        Lambda { function, events, folder: self.folder }
    }
}

fn program() -> Vec<String> {
    let program = env::current_exe().unwrap().display().to_string();
    vec![program, "--exact".to_owned(), PROGRAM.to_owned(), "--nocapture".to_owned()]
}

struct Lambda {
    function: Arc<Function>,
    events: Events,
    folder: TempDir,
}

impl Lambda {
    async fn environment(&self, then: AfterInit) -> Result<Environment, InitFailure> {
        Environment::start(&self.function, then).await
    }

    /// An environment that is used at once.
    async fn on_demand(&self) -> Environment {
        self.environment(AfterInit::Invoke).await.unwrap()
    }

    async fn invoke(&self, environment: Environment, what: &str) -> (Option<Environment>, InvocationOutcome) {
        let Invoked { outcome, environment, .. } = environment.invoke(&invocation(what)).await;
        (environment, outcome)
    }

    /// What happened, in a word each.
    fn story(&mut self) -> Vec<&'static str> {
        self.events.seen().iter().map(word).collect()
    }

    fn find<T>(&mut self, find: impl Fn(&EventKind) -> Option<T>) -> Vec<T> {
        self.events.seen().iter().filter_map(find).collect()
    }

    fn resets(&mut self) -> Vec<(ResetReason, ProcessEnd)> {
        self.find(|event| match event {
            EventKind::EnvironmentReset { reason, end, .. } => Some((*reason, end.clone())),
            _ => None,
        })
    }

    fn reset_reasons(&mut self) -> Vec<ResetReason> {
        self.resets().into_iter().map(|(reason, _)| reason).collect()
    }

    fn stopping(&mut self) -> Vec<String> {
        self.find(|event| match event {
            EventKind::EnvironmentStopping { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    fn refused(&mut self) -> Vec<(u16, String)> {
        self.find(|event| match event {
            EventKind::CallRefused { status, error_type, .. } => Some((*status, error_type.clone())),
            _ => None,
        })
    }

    /// The invocations that the killed environments were in.
    fn killed(&mut self) -> Vec<Option<InvocationId>> {
        self.find(|event| match event {
            EventKind::FaultInjected(Fault::EnvironmentKilled { invocation, .. }) => Some(invocation.clone()),
            _ => None,
        })
    }

    /// The processes that have left their groups, by their numbers and names.
    fn escaped(&mut self) -> Vec<(u32, String)> {
        self.find(|event| match event {
            EventKind::ProcessEscaped { pid, name, .. } => Some((*pid, name.clone())),
            _ => None,
        })
    }

    fn ends(&mut self) -> Vec<ProcessEnd> {
        self.find(|event| match event {
            EventKind::EnvironmentEnded { end, .. } => Some(end.clone()),
            _ => None,
        })
    }

    /// The lines of a file that the programs wrote.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The events that an extension was told.
    fn told(&self, extension: &str) -> Vec<String> {
        self.lines(extension)
    }

    /// The last process that wrote its number there.
    fn pid(&self, name: &str) -> u32 {
        self.lines(name).last().unwrap().parse().unwrap()
    }
}

fn invocation(what: &str) -> Invocation {
    Invocation {
        deliveries: vec![Delivery { message: MessageId::new("a"), receive_count: 1 }],
        event: Bytes::from(serde_json::to_vec(what).unwrap()),
        failures: Box::new(|_| Vec::new()),
    }
}

fn word(event: &EventKind) -> &'static str {
    match event {
        EventKind::PlatformDelayed { .. } => "delayed",
        EventKind::EnvironmentStarted { .. } => "started",
        EventKind::ExtensionRegistered { .. } => "registered",
        EventKind::EnvironmentInitialized { .. } => "initialized",
        EventKind::EnvironmentThawed { .. } => "thawed",
        EventKind::EnvironmentFrozen { .. } => "frozen",
        EventKind::EnvironmentStopping { .. } => "stopping",
        EventKind::EnvironmentReset { .. } => "reset",
        EventKind::EnvironmentEnded { .. } => "ended",
        EventKind::InvocationStarted { cold: true, .. } => "cold",
        EventKind::InvocationStarted { cold: false, .. } => "warm",
        EventKind::InvocationFinished { .. } => "finished",
        EventKind::CallRefused { .. } => "refused",
        EventKind::ProcessEscaped { .. } => "escaped",
        EventKind::FaultInjected(Fault::EnvironmentKilled { .. }) => "killed",
        EventKind::FaultInjected(Fault::ConnectionsCut { .. }) => "cut",
        _ => "?",
    }
}

// Init.

#[tokio::test]
async fn init_ends_when_every_extension_waits_whatever_it_wants_to_know() {
    let setup =
        Setup::new().at_start("internal").with_extension("idle", "listen").with_extension("last", "listen SHUTDOWN");
    let mut lambda = setup.start();
    let _environment = lambda.on_demand().await;
    assert_eq!(lambda.story(), ["started", "registered", "registered", "registered", "initialized"]);
    let mut registered = lambda.find(|event| match event {
        EventKind::ExtensionRegistered { extension, internal, events, .. } => {
            Some((extension.clone(), *internal, events.join(" ")))
        }
        _ => None,
    });
    registered.sort();
    let expected = [("idle", false, ""), ("internal", true, ""), ("last", false, "SHUTDOWN")];
    assert_eq!(registered, expected.map(|(name, internal, events)| (name.to_owned(), internal, events.to_owned())));
}

#[tokio::test]
async fn init_that_takes_too_long_is_run_again_inside_the_first_invocation() {
    let mut lambda = Setup::new().at_start("wait").init_timeout(Duration::from_millis(300)).start();
    let environment = lambda.on_demand().await;
    fs::write(lambda.folder.path().join("go"), "").unwrap();
    assert_eq!(lambda.reset_reasons(), [ResetReason::InitTimedOut]);
    assert!(environment.is_alive(), "it is kept");
    let (environment, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!(outcome, SUCCESS);
    assert!(environment.is_some());
    let story = ["started", "reset", "started", "initialized", "cold", "finished", "frozen"];
    assert_eq!(lambda.story(), story);
}

#[tokio::test]
async fn init_inside_an_invocation_has_the_invocations_time() {
    let setup = Setup::new().at_start("hang").init_timeout(Duration::from_millis(100));
    let mut lambda = setup.timeout(Duration::from_millis(200)).start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!(outcome, InvocationOutcome::TimedOut);
    assert!(environment.is_some(), "it is kept");
    assert_eq!(lambda.story(), ["started", "reset", "started", "reset"], "nothing was delivered");
    assert_eq!(lambda.reset_reasons(), [ResetReason::InitTimedOut; 2]);
}

#[tokio::test]
async fn init_that_fails_is_run_again_inside_the_first_invocation() {
    for (script, code) in [("exit", 7), ("report", 1)] {
        let mut lambda = Setup::new().at_start(script).start();
        let environment = lambda.on_demand().await;
        assert!(environment.is_reset(), "{script}");
        let Invoked { outcome, init_failed, environment } = environment.invoke(&invocation("answer")).await;
        assert_eq!((outcome, init_failed), (InvocationOutcome::EnvironmentDied, true), "{script}");
        assert_eq!(lambda.reset_reasons(), [ResetReason::InitFailed; 2], "{script}");
        let ends = lambda.resets();
        assert!(ends.iter().all(|(_, end)| !end.ordered && end.code.is_none_or(|found| found == code)), "{ends:?}");
        environment.unwrap().end().await;
        assert_eq!(lambda.story(), ["started", "reset", "started", "reset", "ended"], "{script}");
    }
}

#[tokio::test]
async fn what_is_started_ahead_of_its_use_must_start() {
    let init_error = |extension| move |setup: Setup| setup.with_extension("a", extension);
    let lambda = Setup::new().at_start("report").start();
    assert_matches!(lambda.environment(AfterInit::Freeze).await.unwrap_err().cause,
        InitCause::Reported(error) if error.error_type == "Runtime.NoKey");
    let lambda = init_error("init-error INVOKE")(Setup::new()).start();
    assert_matches!(lambda.environment(AfterInit::Freeze).await.unwrap_err().cause,
        InitCause::ExtensionFailed { extension, why } if extension == "a" && why == "reported A.B");
    let lambda = init_error("print")(Setup::new()).start();
    let failure = lambda.environment(AfterInit::Freeze).await.unwrap_err();
    assert!(failure.to_string().ends_with("no endpoint"), "{failure}");
    let mut lambda = init_error("silent INVOKE")(Setup::new()).init_timeout(Duration::from_millis(200)).start();
    assert_matches!(lambda.environment(AfterInit::Freeze).await.unwrap_err().cause, InitCause::NotRegistered(_));
    assert_eq!(lambda.story(), ["started", "ended"]);
    assert_eq!(lambda.lines("runtime.pid"), [""; 0], "no runtime is started before all extensions have registered");
}

#[tokio::test]
async fn program_that_is_not_there_is_an_error_and_nothing_ends_that_never_began() {
    let mut setup = Setup::new();
    setup.spec.command = vec!["/nowhere".to_owned()];
    let mut lambda = setup.start();
    let failure = lambda.environment(AfterInit::Invoke).await.unwrap_err();
    assert_matches!(failure.cause, InitCause::NotStarted(_));
    assert_eq!(lambda.story(), [""; 0]);
}

// Freezes.

#[tokio::test]
async fn environment_is_not_frozen_before_the_last_extension_asks() {
    let mut lambda = Setup::new().with_extension("flusher", "gate INVOKE").start();
    let environment = lambda.on_demand().await;
    let invoked = tokio::spawn(async move { environment.invoke(&invocation("answer")).await });
    let told = || lambda.told("flusher").len();
    until("the extension is told", || told() == 1).await;
    let (pid, runtime) = (lambda.pid("flusher.pid"), lambda.pid("runtime.pid"));
    until("the runtime has nothing more to do", || states(runtime).iter().all(|state| *state == 'S')).await;
    assert!(states(pid).iter().all(|state| *state != 'T'));
    assert!(!invoked.is_finished());
    assert!(!lambda.story().contains(&"finished"), "the invocation goes on until all wait");
    fs::write(lambda.folder.path().join("open"), "").unwrap();
    let invoked = invoked.await.unwrap();
    assert_eq!(invoked.outcome, SUCCESS);
    assert_eq!(lambda.story()[3..], ["cold", "finished", "frozen"]);
    assert!(states(pid).iter().all(|state| *state == 'T'));
}

#[tokio::test]
async fn nothing_is_frozen_and_nothing_told_of_it_where_freezing_is_off() {
    let platform = Platform { freezer: Freezer::Off, ..Platform::default() };
    let mut lambda = Setup::new().platform(platform).start();
    let environment = lambda.environment(AfterInit::Freeze).await.unwrap();
    let (environment, _) = lambda.invoke(environment, "answer").await;
    assert!(states(lambda.pid("runtime.pid")).iter().all(|state| *state != 'T'));
    environment.unwrap().end().await;
    assert_eq!(lambda.story(), ["started", "initialized", "cold", "finished", "ended"]);
}

#[tokio::test]
async fn connections_are_cut_once_while_the_environment_is_frozen_after_its_invocation() {
    let cuts = Cuts { how: Cut::BlackHole, after: NonZeroU32::new(2).unwrap() };
    let mut lambda = Setup::new().platform(Platform { cuts: Some(cuts), ..Platform::default() }).start();
    let mut environment = lambda.on_demand().await;
    for _ in 0..3 {
        environment = lambda.invoke(environment, "answer").await.0.unwrap();
    }
    let story = lambda.story().join(" ");
    assert!(story.contains("warm finished frozen cut thawed warm finished frozen"), "{story}");
    assert_eq!(story.matches("cut").count(), 1);
}

// Escapes.

/// Both are named once, and gone.
async fn assert_caught(lambda: &mut Lambda) {
    let pids = ESCAPED.map(|name| lambda.pid(name));
    let mut escaped = lambda.escaped();
    escaped.sort_by_key(|(pid, _)| pids.iter().position(|known| known == pid));
    assert_eq!(escaped, pids.map(|pid| (pid, "sleep".to_owned())));
    for pid in pids {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn processes_that_have_left_their_group_are_named_and_killed_at_the_freeze() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "escape").await;
    assert_eq!(outcome, SUCCESS);
    assert_eq!(lambda.story()[2..], ["cold", "finished", "escaped", "escaped", "frozen"]);
    assert_caught(&mut lambda).await;
    let (environment, outcome) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!((environment.is_some(), outcome), (true, SUCCESS));
    assert_eq!(lambda.story()[7..], ["thawed", "warm", "finished", "frozen"], "the environment goes on");
}

#[tokio::test]
async fn processes_that_have_left_their_group_are_found_at_the_latest_when_the_runtime_ends() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "escape exit").await;
    assert_eq!(outcome, InvocationOutcome::EnvironmentDied);
    assert_eq!(lambda.story()[2..], ["cold", "finished", "escaped", "escaped", "reset"]);
    assert_caught(&mut lambda).await;
    let (_, outcome) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!(outcome, SUCCESS);
}

// Invocations that go wrong.

#[tokio::test]
async fn runtime_that_ends_with_any_code_resets_its_environment() {
    for (what, code, signal) in
        [("exit 0", Some(0), None), ("exit 1", Some(1), None), ("exit 255", Some(255), None), ("abort", None, Some(6))]
    {
        let mut lambda = Setup::new().start();
        let environment = lambda.on_demand().await;
        let (environment, outcome) = lambda.invoke(environment, what).await;
        assert_eq!(outcome, InvocationOutcome::EnvironmentDied, "{what}");
        assert_matches!(&lambda.resets()[..], [(ResetReason::Exited, end)]
            if (end.code, end.signal, end.ordered) == (code, signal, false), "{what}");
        let (environment, outcome) = lambda.invoke(environment.unwrap(), "answer").await;
        assert_eq!(outcome, SUCCESS, "{what}");
        let story = ["started", "initialized", "cold", "finished", "reset"];
        assert_eq!(lambda.story()[..5], story, "{what}");
        assert_eq!(lambda.story()[5..], ["started", "initialized", "cold", "finished", "frozen"], "{what}");
        environment.unwrap().end().await;
    }
}

#[tokio::test]
async fn reset_environment_keeps_its_log_stream_and_its_endpoint() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let id = environment.id().clone();
    let (environment, _) = lambda.invoke(environment, "exit 1").await;
    let (environment, _) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!(environment.unwrap().id(), &id);
    let variables = lambda.lines("variables");
    assert_eq!(variables[..2], variables[2..]);
    assert_eq!(variables[1], "endpoint of worker-1");
    let started = lambda.find(|event| match event {
        EventKind::EnvironmentStarted { environment, .. } => Some(environment.clone()),
        _ => None,
    });
    assert_eq!(started, [id.clone(), id]);
}

#[tokio::test]
async fn reset_environment_that_is_not_used_again_ends_once() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (environment, _) = lambda.invoke(environment, "exit 1").await;
    environment.unwrap().end().await;
    assert_eq!(lambda.story(), ["started", "initialized", "cold", "finished", "reset", "ended"]);
    assert_matches!(&lambda.ends()[..], [ProcessEnd { code: Some(1), ordered: true, .. }]);
}

#[tokio::test]
async fn time_passes_until_all_wait() {
    let lambda = Setup::new().timeout(Duration::from_millis(300)).start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "then-hang").await;
    assert_eq!(outcome, InvocationOutcome::TimedOut, "it has answered and never asked again");
    assert!(environment.is_some());
    let lambda_with_extension = Setup::new().timeout(Duration::from_millis(300)).with_extension("slow", "gate INVOKE");
    let lambda = lambda_with_extension.start();
    let environment = lambda.on_demand().await;
    let (_, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!(outcome, InvocationOutcome::TimedOut, "its extension never asked again");
}

#[tokio::test]
async fn runtime_that_answers_twice_is_refused_the_second_time() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "twice").await;
    assert_eq!((outcome, environment.is_some()), (SUCCESS, true));
    assert_eq!(lambda.lines("statuses"), ["202", "403"]);
    assert_eq!(lambda.refused(), [(403, "InvalidStateTransition".to_owned())]);
}

#[tokio::test]
async fn runtime_that_answers_a_strangers_invocation_is_refused_and_can_answer_its_own() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "stranger").await;
    assert_eq!((outcome, environment.is_some()), (SUCCESS, true));
    assert_eq!(lambda.lines("statuses"), ["400", "202"]);
    assert_eq!(lambda.refused(), [(400, "InvalidRequestID".to_owned())]);
}

#[tokio::test]
async fn runtime_that_forgets_to_answer_gets_its_invocation_again() {
    let mut lambda = Setup::new().start();
    let environment = lambda.on_demand().await;
    let (_, outcome) = lambda.invoke(environment, "forget").await;
    assert_eq!(outcome, SUCCESS);
    assert_eq!(lambda.story()[2..], ["cold", "cold", "finished", "frozen"], "both are deliveries");
}

#[tokio::test]
async fn runtime_may_print_what_it_likes() {
    let lambda = Setup::new().at_start("garbage").start();
    let environment = lambda.on_demand().await;
    let (_, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!(outcome, SUCCESS);
    assert_eq!(lambda.lines("garbage").len(), 1);
}

#[tokio::test]
async fn extension_that_fails_in_an_invocation_resets_the_environment() {
    for script in ["die INVOKE", "exit-error INVOKE"] {
        let mut lambda = Setup::new().with_extension("flusher", script).start();
        let environment = lambda.on_demand().await;
        let (environment, outcome) = lambda.invoke(environment, "hang").await;
        assert_eq!(outcome, InvocationOutcome::EnvironmentDied, "{script}");
        assert_eq!(lambda.reset_reasons(), [ResetReason::ExtensionFailed], "{script}");
        assert!(environment.is_some(), "{script}");
        until_gone(lambda.pid("runtime.pid")).await;
        until_gone(lambda.pid("flusher.pid")).await;
    }
}

// Memory.

/// What a function has, and what is as good as all of it: no two processes can use so much.
const MEMORY_MB: usize = 200;
const HEAVY_MB: usize = 120;
const TOO_MUCH_MB: usize = 2 * HEAVY_MB;

fn assert_out_of_memory(lambda: &mut Lambda) {
    assert_matches!(&lambda.resets()[..], [(ResetReason::OutOfMemory, end)] if end.signal == Some(9) && !end.ordered);
}

#[tokio::test]
async fn function_that_uses_more_memory_than_it_has_is_killed_and_starts_anew() {
    let mut lambda = Setup::new().memory(MEMORY_MB).start();
    let environment = lambda.on_demand().await;
    let id = environment.id().clone();
    let (environment, outcome) = lambda.invoke(environment, &format!("hog {TOO_MUCH_MB}")).await;
    assert_eq!(outcome, InvocationOutcome::EnvironmentDied);
    assert_out_of_memory(&mut lambda);
    let (environment, outcome) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!((environment.unwrap().id(), outcome), (&id, SUCCESS));
    assert_eq!(lambda.story()[..5], ["started", "initialized", "cold", "finished", "reset"]);
    assert_eq!(lambda.story()[5..], ["started", "initialized", "cold", "finished", "frozen"]);
}

#[tokio::test]
async fn init_that_uses_too_much_memory_is_run_again_inside_the_first_invocation() {
    let mut lambda = Setup::new().at_start("hog").memory(MEMORY_MB).start();
    let environment = lambda.on_demand().await;
    assert_out_of_memory(&mut lambda);
    let (environment, outcome) = lambda.invoke(environment, "answer").await;
    assert_eq!((environment.is_some(), outcome), (true, SUCCESS));
    let story = ["started", "reset", "started", "initialized", "cold", "finished", "frozen"];
    assert_eq!(lambda.story(), story);
}

#[tokio::test]
async fn memory_of_a_function_is_for_its_extensions_as_well() {
    let heavy = format!("hog {HEAVY_MB}");
    let mut alone = Setup::new().memory(MEMORY_MB).timeout(Duration::from_millis(500)).start();
    let environment = alone.on_demand().await;
    alone.invoke(environment, &heavy).await;
    assert_eq!(alone.reset_reasons(), [ResetReason::TimedOut], "there is enough for one");

    let mut lambda = Setup::new().memory(MEMORY_MB).with_extension("heavy", "heavy INVOKE SHUTDOWN").start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, &heavy).await;
    assert_eq!(outcome, InvocationOutcome::EnvironmentDied);
    assert_out_of_memory(&mut lambda);
    let (_, outcome) = lambda.invoke(environment.unwrap(), "answer").await;
    assert_eq!(outcome, SUCCESS);
    assert_eq!(lambda.told("heavy"), ["INVOKE", "SHUTDOWN FAILURE", "INVOKE"]);
}

// Shutdowns.

#[tokio::test]
async fn time_out_without_an_extension_is_sigkill_at_once() {
    let mut lambda = Setup::new().timeout(Duration::from_millis(300)).start();
    let environment = lambda.on_demand().await;
    lambda.invoke(environment, "hang").await;
    assert_eq!(lambda.story(), ["started", "initialized", "cold", "finished", "reset"]);
    assert_matches!(&lambda.resets()[..], [(ResetReason::TimedOut, end)] if end.signal == Some(9) && end.ordered);
}

#[tokio::test]
async fn time_out_with_an_internal_extension_lets_the_runtime_flush() {
    let mut lambda = Setup::new().at_start("internal").timeout(Duration::from_millis(500)).start();
    let environment = lambda.on_demand().await;
    lambda.invoke(environment, "hang").await;
    assert_eq!(lambda.lines("sigterm"), ["flushed"]);
    assert_eq!(lambda.stopping(), ["TIMEOUT"]);
    assert_eq!(lambda.story()[3..], ["cold", "finished", "stopping", "reset"]);
    assert_matches!(&lambda.resets()[..], [(ResetReason::TimedOut, end)] if end.code == Some(0) && end.ordered);
}

#[tokio::test]
async fn runtime_that_ignores_sigterm_is_killed() {
    let mut lambda = Setup::new().at_start("internal, deaf").start();
    let environment = lambda.on_demand().await;
    let (environment, _) = lambda.invoke(environment, "answer").await;
    let end = environment.unwrap().end().await;
    assert_eq!((end.signal, end.ordered), (Some(9), true));
    assert_eq!(lambda.lines("sigterm"), ["flushed"], "it was told and did not end");
    assert_eq!(lambda.story()[6..], ["thawed", "stopping", "ended"]);
}

#[tokio::test]
async fn extensions_are_told_why_the_environment_ends_if_they_want_to_know() {
    let setup =
        Setup::new().with_extension("listener", "listen INVOKE SHUTDOWN").with_extension("deaf", "listen INVOKE");
    let mut lambda = setup.timeout(Duration::from_secs(4)).start();
    let mut environment = lambda.on_demand().await;
    for what in ["exit 1", "hang", "answer"] {
        environment = lambda.invoke(environment, what).await.0.unwrap();
    }
    environment.end().await;
    let told = ["INVOKE", "SHUTDOWN FAILURE", "INVOKE", "SHUTDOWN TIMEOUT", "INVOKE", "SHUTDOWN SPINDOWN"];
    assert_eq!(lambda.told("listener"), told);
    // A runtime that exits at once takes it along, perhaps before it has written anything.
    assert!(lambda.told("deaf").iter().all(|told| told == "INVOKE"), "{:?}", lambda.told("deaf"));
    assert_eq!(lambda.stopping(), ["FAILURE", "TIMEOUT", "SPINDOWN"]);
    assert_eq!(lambda.story().last(), Some(&"ended"));
    for name in ["runtime.pid", "listener.pid", "deaf.pid"] {
        for pid in lambda.lines(name) {
            until_gone(pid.parse().unwrap()).await;
        }
    }
}

#[tokio::test]
async fn extension_that_does_not_end_is_killed() {
    let mut lambda = Setup::new().with_extension("stubborn", "stubborn SHUTDOWN").start();
    let environment = lambda.on_demand().await;
    environment.end().await;
    assert_eq!(lambda.told("stubborn"), ["SHUTDOWN SPINDOWN"]);
    assert_eq!(lambda.story().last(), Some(&"ended"));
    until_gone(lambda.pid("stubborn.pid")).await;
}

#[tokio::test]
async fn environment_without_extensions_ends_frozen_and_untold() {
    let mut lambda = Setup::new().start();
    let environment = lambda.environment(AfterInit::Freeze).await.unwrap();
    let end = environment.end().await;
    assert_eq!((end.signal, end.ordered), (Some(9), true));
    assert_eq!(lambda.story(), ["started", "initialized", "frozen", "ended"]);
}

#[tokio::test]
async fn nothing_is_left_of_an_environment_that_is_dropped() {
    let lambda = Setup::new().with_extension("flusher", "listen INVOKE").start();
    drop(lambda.on_demand().await);
    until_gone(lambda.pid("runtime.pid")).await;
    until_gone(lambda.pid("flusher.pid")).await;
}

// What is ordered.

/// A seed with which the first environment is killed in a moment like that.
fn kills(is_it: impl Fn(Kill) -> bool) -> Platform {
    let kills = (0..).map(|seed| Kills { share: 1.0, seed });
    let kills = kills.into_iter().find(|kills| kills.of(1, None).is_some_and(&is_it)).unwrap();
    Platform { kills: Some(kills), ..Platform::default() }
}

#[tokio::test]
async fn kill_in_an_invocation_names_it_and_cuts_it_short() {
    let first = |kill| matches!(kill, Kill::InInvocation { number: NonZeroU32::MIN, .. });
    let mut lambda = Setup::new().platform(kills(first)).start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "hang").await;
    assert!(environment.is_none());
    assert_eq!(outcome, InvocationOutcome::EnvironmentDied);
    assert_eq!(lambda.story(), ["started", "initialized", "cold", "killed", "finished", "ended"]);
    let invocations = lambda.find(|event| match event {
        EventKind::InvocationStarted { invocation, .. } | EventKind::InvocationFinished { invocation, .. } => {
            Some(Some(invocation.clone()))
        }
        _ => None,
    });
    assert_eq!(lambda.killed(), invocations[..1]);
    assert_eq!(invocations[0], invocations[1]);
    assert_matches!(&lambda.ends()[..], [ProcessEnd { signal: Some(9), ordered: true, .. }]);
}

#[tokio::test]
async fn kill_that_comes_too_late_for_its_invocation_comes_frozen_after_it() {
    let late = |kill| matches!(kill, Kill::Frozen { number: NonZeroU32::MIN });
    let mut lambda = Setup::new().platform(kills(late)).start();
    let environment = lambda.on_demand().await;
    let (environment, outcome) = lambda.invoke(environment, "answer").await;
    assert!(environment.is_none());
    assert_eq!(outcome, SUCCESS, "what it answered counts");
    assert_eq!(lambda.story(), ["started", "initialized", "cold", "finished", "frozen", "killed", "ended"]);
    assert_eq!(lambda.killed(), [None]);
}

#[tokio::test]
async fn kill_in_init_names_no_invocation() {
    let mut lambda = Setup::new().at_start("hang").platform(kills(|kill| matches!(kill, Kill::InInit(_)))).start();
    let failure = lambda.environment(AfterInit::Invoke).await.unwrap_err();
    assert_matches!(failure.cause, InitCause::Killed);
    assert!(!failure.cause.is_of_the_harness());
    assert_eq!(lambda.story(), ["started", "killed", "ended"]);
    assert_eq!(lambda.killed(), [None]);
}

#[tokio::test]
async fn what_is_started_ahead_of_its_use_is_killed_in_its_first_invocation_at_the_earliest() {
    let mut lambda = Setup::new().platform(kills(|kill| matches!(kill, Kill::InInit(_)))).start();
    let environment = lambda.environment(AfterInit::Freeze).await.unwrap();
    let (environment, _) = lambda.invoke(environment, "hang").await;
    assert!(environment.is_none());
    assert_eq!(lambda.story()[2..], ["frozen", "thawed", "cold", "killed", "finished", "ended"]);
}

/// Whatever the moment, a fault names the invocation exactly if that is under way.
#[tokio::test]
async fn kill_at_any_moment_names_the_invocation_that_is_under_way_and_no_other() {
    let seeds = (0..12).map(|seed| Platform { kills: Some(Kills { share: 1.0, seed }), ..Platform::default() });
    for platform in seeds {
        let mut lambda = Setup::new().platform(platform).start();
        let mut environment = lambda.environment(AfterInit::Freeze).await.ok();
        while let Some(alive) = environment {
            environment = lambda.invoke(alive, "answer").await.0;
        }
        let (mut running, mut faults) = (None, Vec::new());
        for event in lambda.events.seen() {
            match event {
                EventKind::InvocationStarted { invocation, .. } => running = Some(invocation.clone()),
                EventKind::InvocationFinished { .. } => running = None,
                EventKind::FaultInjected(Fault::EnvironmentKilled { invocation, .. }) => {
                    assert_eq!(*invocation, running);
                    faults.push(invocation.clone());
                }
                _ => {}
            }
        }
        assert_eq!((faults.len(), running), (1, None));
        assert_matches!(lambda.events.seen().last(), Some(EventKind::EnvironmentEnded { end, .. }) if end.ordered);
    }
}

#[tokio::test]
async fn platform_delay_is_recorded_apart_and_before_the_start() {
    let delay = PlatformDelay { median: Duration::from_millis(20), sigma: 0.5, seed: 7 };
    let mut lambda = Setup::new().platform(Platform { delay: Some(delay), ..Platform::default() }).start();
    let _environment = lambda.on_demand().await;
    assert_eq!(lambda.story(), ["delayed", "started", "initialized"]);
    let delays = lambda.find(|event| match event {
        EventKind::PlatformDelayed { delay, .. } => Some(*delay),
        _ => None,
    });
    assert_eq!(delays, [delay.sample(1)]);
}

// What processes find.

const OF_RUNTIMES: [&str; 26] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "ENDPOINT",
    "FOLDER",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "LANG",
    "LD_LIBRARY_PATH",
    "PATH",
    "TZ",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
];

const OF_EXTENSIONS: [&str; 18] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ENDPOINT",
    "FOLDER",
    "LANG",
    "LD_LIBRARY_PATH",
    "OWN",
    "PATH",
    "TZ",
];

/// The variables that a process printed.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let mut variables: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    variables.sort_unstable();
    variables
}

#[tokio::test]
async fn processes_find_exactly_the_variables_that_lambda_sets() {
    let mut setup = Setup::new();
    setup.spec.command = vec!["/usr/bin/env".to_owned()];
    let lambda = setup.start();
    lambda.environment(AfterInit::Freeze).await.unwrap_err();
    let text = lambda.lines("worker-1.log").join("\n");
    let variables = variables(&text);
    assert_eq!(variables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), OF_RUNTIMES);
    assert!(variables.contains(&("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")));
}

#[tokio::test]
async fn extensions_find_a_part_of_them_and_their_own() {
    let mut setup = Setup::new();
    let (name, command) = ("printer".to_owned(), vec!["/usr/bin/env".to_owned()]);
    setup.spec.extensions = vec![ExtensionSpec { name, command, env: vec![("OWN".to_owned(), "yes".to_owned())] }];
    setup.spec.platform.provisioned = 1;
    let lambda = setup.start();
    lambda.environment(AfterInit::Freeze).await.unwrap_err();
    let text = lambda.lines("worker-1-printer.log").join("\n");
    let variables = variables(&text);
    assert_eq!(variables.iter().map(|(name, _)| *name).collect::<Vec<_>>(), OF_EXTENSIONS);
    assert!(variables.contains(&("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency")));
}

#[tokio::test]
async fn environments_on_demand_are_none_that_were_provisioned() {
    let mut setup = Setup::new();
    setup.spec.command = vec!["/usr/bin/env".to_owned()];
    setup.spec.platform.provisioned = 1;
    let lambda = setup.start();
    lambda.on_demand().await.end().await;
    let text = lambda.lines("worker-1.log").join("\n");
    assert!(variables(&text).contains(&("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")));
}
