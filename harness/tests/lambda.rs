//! Functions under the local Lambda: real processes with the real `lambda_runtime`.
//!
//! The function under test is this very program, started once more to run one of its tests: in an
//! execution environment, [`FUNCTION`] is the runtime.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[path = "support/function.rs"]
mod function;
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_matches::assert_matches;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use futures_util::future::BoxFuture;
use harness::cloud::environment::InitCause;
use harness::cloud::event_source::{Activity, Behaviour, EventSource, EventSourceSpec, MessageSource};
use harness::cloud::function::{BoxError, Function, FunctionSpec, Recycling, Wired, Wiring};
use harness::cloud::network::Network;
use harness::cloud::queue::{ReceiveRequest, ReceivedMessage};
use harness::target::Spawner;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use support::{Events, pid_in, states, until, until_gone};
use tempfile::TempDir;
use tokio::sync::Notify;
use verifier::event::{Delivery, InvocationOutcome, ProcessEnd, ResetReason};
use verifier::{EnvironmentId, EventKind, MessageId};

/// What the function does when it starts.
const AT_START: &str = "AT_START";

/// The test that is the function as well.
const FUNCTION: &str = "message_is_handled_and_deleted";

#[tokio::test]
async fn message_is_handled_and_deleted() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return run_function().await;
    }
    let mut lambda = Setup::new().start();
    lambda.queue.send("a", "");
    lambda.invocations(1).await;
    assert_eq!(lambda.outcomes(), [InvocationOutcome::Succeeded { failed: Vec::new() }]);
    assert_eq!(lambda.queue.deleted(), ["a"]);
}

/// The function under test. What it does with a message is the message's body.
async fn run_function() {
    match env::var(AT_START).as_deref() {
        Ok("die") => {
            say("no endpoint");
            std::process::exit(7)
        }
        Ok("sleep") => std::future::pending().await,
        Ok("flush at the end") => {
            // As the documentation of lambda_runtime has it: an internal extension, so that there is a SIGTERM.
            lambda_runtime::spawn_graceful_shutdown_handler(flush).await;
            lambda_runtime::run(service_fn(handle)).await.unwrap();
        }
        _ => lambda_runtime::run(service_fn(handle)).await.unwrap(),
    }
}

async fn handle(event: LambdaEvent<SqsEvent>) -> Result<Value, BoxError> {
    let mut failures = Vec::new();
    for record in event.payload.records {
        if !succeeds(&record).await? {
            failures.push(json!({ "itemIdentifier": record.message_id }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

async fn succeeds(record: &SqsMessage) -> Result<bool, BoxError> {
    match record.body.as_deref().and_then(|body| body.split_once(' ')).unwrap_or_default() {
        ("report", _) => return Ok(false),
        ("fail", reason) => return Err(reason.into()),
        ("exit", code) => std::process::exit(code.parse()?),
        ("hang", words) => hang(words).await,
        ("wait-for", file) => until("the file is there", || Path::new(file).exists()).await,
        ("fork", file) => {
            let child = Command::new("sleep").arg("1000").spawn()?;
            fs::write(file, format!("{}\n", child.id()))?;
        }
        _ => {}
    }
    Ok(true)
}

/// What a function does when it is told that it ends.
async fn flush() {
    fs::write(env::var("LAMBDA_TASK_ROOT").unwrap() + "/flushed", "").unwrap();
}

#[expect(clippy::print_stdout, reason = "what a function prints is kept")]
fn say(words: &str) {
    println!("{words}");
}

async fn hang(words: &str) {
    say(words);
    std::future::pending().await
}

/// A queue whose visibility time-out passes when the test says so.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    visible: VecDeque<ReceivedMessage>,
    in_flight: Vec<ReceivedMessage>,
    deleted: Vec<String>,
    /// What every call is answered with, if anything is broken.
    broken: Option<&'static str>,
    /// How many calls were answered so.
    refused: usize,
}

impl QueueState {
    fn works(&mut self) -> Result<(), BoxError> {
        match self.broken {
            Some(why) => {
                self.refused += 1;
                Err(why.into())
            }
            None => Ok(()),
        }
    }
}

impl Queue {
    fn breaks(&self, why: &'static str) {
        self.state.lock().unwrap().broken = Some(why);
        self.changed.notify_waiters();
    }

    fn works_again(&self) {
        self.state.lock().unwrap().broken = None;
    }

    /// Waits until this many more calls were refused.
    async fn refuses(&self, count: usize) {
        let refused = || self.state.lock().unwrap().refused;
        let before = refused();
        until("the queue is asked again", || refused() >= before + count).await;
    }

    fn send(&self, id: &str, body: &str) {
        let message = ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: format!("handle of {id}"),
            body: body.to_owned(),
            md5_of_body: String::new(),
            attributes: BTreeMap::from([("ApproximateReceiveCount".to_owned(), "0".to_owned())]),
            message_attributes: BTreeMap::new(),
            md5_of_message_attributes: None,
        };
        self.state.lock().unwrap().visible.push_back(message);
        self.changed.notify_waiters();
    }

    fn pass_visibility_timeout(&self) {
        let mut state = self.state.lock().unwrap();
        let returned = std::mem::take(&mut state.in_flight);
        state.visible.extend(returned);
        self.changed.notify_waiters();
    }

    fn deleted(&self) -> Vec<String> {
        self.state.lock().unwrap().deleted.clone()
    }

    fn take(&self, max: usize) -> Result<Vec<ReceivedMessage>, BoxError> {
        let mut state = self.state.lock().unwrap();
        state.works()?;
        let count = max.min(state.visible.len());
        let mut messages: Vec<_> = state.visible.drain(..count).collect();
        for message in &mut messages {
            let count = message.attributes.get_mut("ApproximateReceiveCount").unwrap();
            *count = (count.parse::<u32>().unwrap() + 1).to_string();
        }
        state.in_flight.extend(messages.clone());
        Ok(messages)
    }
}

impl MessageSource for Queue {
    async fn receive(&self, _: &str, request: ReceiveRequest) -> Result<Vec<ReceivedMessage>, BoxError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.take(request.max)? {
                none if none.is_empty() => changed.await,
                messages => return Ok(messages),
            }
        }
    }

    async fn delete(&self, _: &str, receipt_handles: &[String]) -> Result<(), BoxError> {
        let mut state = self.state.lock().unwrap();
        state.works()?;
        let (deleted, kept) = std::mem::take(&mut state.in_flight)
            .into_iter()
            .partition(|one| receipt_handles.contains(&one.receipt_handle));
        state.in_flight = kept;
        let deleted: Vec<ReceivedMessage> = deleted;
        state.deleted.extend(deleted.into_iter().map(|message| message.message_id));
        Ok(())
    }
}

/// Counts the environments that are connected.
#[derive(Default, Clone)]
struct Connections {
    connected: Arc<AtomicUsize>,
    /// How many environments still cannot be connected.
    refusals: Arc<AtomicUsize>,
}

struct Connection(Arc<AtomicUsize>);

impl Wiring for Connections {
    fn wire<'a>(&'a self, environment: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        let fewer = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            return Box::pin(async { Err("no listener is left".into()) });
        }
        self.connected.fetch_add(1, Ordering::Relaxed);
        let guard = Box::new(Connection(Arc::clone(&self.connected)));
        let env = vec![("ENVIRONMENT".to_owned(), environment.to_string())];
        Box::pin(async { Ok(Wired { env, network: Network::default(), guard }) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A function with its queue, before it is started.
struct Setup {
    spec: FunctionSpec,
    mapping: EventSourceSpec,
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = env::current_exe().unwrap();
        let command = [program.to_str().unwrap(), "--exact", FUNCTION, "--nocapture"];
        let spec = function::spec(command.map(str::to_owned).to_vec(), folder.path());
        let mapping = EventSourceSpec {
            queue: "onboarding".to_owned(),
            queue_arn: "arn:aws:sqs:eu-west-1:123456789012:onboarding".to_owned(),
            visibility_timeout: Duration::from_secs(180),
            batch_size: 1,
            max_concurrency: 1,
            reports_item_failures: true,
            behaviour: Behaviour::default(),
        };
        Self { spec, mapping, folder }
    }

    fn at_start(mut self, what: &str) -> Self {
        self.spec.env.push((AT_START.to_owned(), what.to_owned()));
        self
    }

    fn build(self) -> Lambda {
        let (recorder, events) = Events::record();
        let connections = Connections::default();
        let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
        let function = Function::new(self.spec, spawner, recorder, Arc::new(connections.clone()));
        let queue = Arc::new(Queue::default());
        let source = EventSource::new(function, Arc::clone(&queue), self.mapping);
        Lambda { source, queue, events, connections, folder: self.folder }
    }

    fn start(self) -> Lambda {
        let mut lambda = self.build();
        lambda.source.start();
        lambda
    }
}

/// A running function with its queue.
struct Lambda {
    source: EventSource<Queue>,
    queue: Arc<Queue>,
    events: Events,
    connections: Connections,
    folder: TempDir,
}

impl Lambda {
    /// What the harness said it could not do.
    fn lost(&mut self) -> Vec<String> {
        let what = |event: &EventKind| match event {
            EventKind::EvidenceLost { what, count: 1 } => Some(what.clone()),
            _ => None,
        };
        self.events.seen().iter().filter_map(what).collect()
    }

    /// Waits until so many invocations are over and all environments are idle again or gone.
    async fn invocations(&mut self, count: usize) {
        self.events.until(count, |event| matches!(event, EventKind::InvocationFinished { .. })).await;
        self.source.idle().await;
    }

    fn outcomes(&mut self) -> Vec<InvocationOutcome> {
        let outcome = |event: &EventKind| match event {
            EventKind::InvocationFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        };
        self.events.seen().iter().filter_map(outcome).collect()
    }

    fn ends(&mut self) -> Vec<ProcessEnd> {
        let end = |event: &EventKind| match event {
            EventKind::EnvironmentEnded { end, .. } => Some(end.clone()),
            _ => None,
        };
        self.events.seen().iter().filter_map(end).collect()
    }

    /// Why environments were reset, and with which exit code their runtimes ended.
    fn resets(&mut self) -> Vec<(ResetReason, Option<i32>)> {
        let reset = |event: &EventKind| match event {
            EventKind::EnvironmentReset { reason, end, .. } => Some((*reason, end.code)),
            _ => None,
        };
        self.events.seen().iter().filter_map(reset).collect()
    }

    fn pids(&mut self) -> Vec<u32> {
        let pid = |event: &EventKind| match event {
            EventKind::EnvironmentStarted { pid, .. } => Some(*pid),
            _ => None,
        };
        self.events.seen().iter().filter_map(pid).collect()
    }

    /// Which environments were started, and started again.
    fn environments(&mut self) -> Vec<String> {
        let environment = |event: &EventKind| match event {
            EventKind::EnvironmentStarted { environment, .. } => Some(environment.to_string()),
            _ => None,
        };
        self.events.seen().iter().filter_map(environment).collect()
    }

    /// What happened, in a word each.
    fn story(&mut self) -> Vec<&'static str> {
        self.events.seen().iter().map(word).collect()
    }

    async fn stop(self) -> (Events, Arc<Queue>) {
        self.source.stop(Duration::from_secs(30)).await.unwrap();
        assert_eq!(self.connections.connected.load(Ordering::Relaxed), 0, "an environment is still connected");
        (self.events, self.queue)
    }
}

fn word(event: &EventKind) -> &'static str {
    match event {
        EventKind::EnvironmentStarted { .. } => "started",
        EventKind::EnvironmentInitialized { .. } => "initialized",
        EventKind::EnvironmentThawed { .. } => "thawed",
        EventKind::EnvironmentFrozen { .. } => "frozen",
        EventKind::ExtensionRegistered { internal: true, .. } => "registered",
        EventKind::EnvironmentStopping { .. } => "stopping",
        EventKind::EnvironmentReset { .. } => "reset",
        EventKind::EnvironmentEnded { .. } => "ended",
        EventKind::InvocationStarted { cold: true, .. } => "cold",
        EventKind::InvocationStarted { cold: false, .. } => "warm",
        EventKind::InvocationFinished { .. } => "finished",
        _ => "?",
    }
}

fn is_reset(event: &EventKind) -> bool {
    matches!(event, EventKind::EnvironmentReset { .. })
}

const KILLED: ProcessEnd = ProcessEnd { code: None, signal: Some(9), ordered: true, output: Vec::new() };

#[tokio::test]
async fn environment_is_frozen_between_invocations_and_ends_frozen() {
    let mut lambda = Setup::new().start();
    lambda.queue.send("a", "");
    lambda.invocations(1).await;
    lambda.queue.send("b", "");
    lambda.invocations(2).await;
    assert_eq!(lambda.queue.deleted(), ["a", "b"]);
    assert_eq!(lambda.ends(), [], "it is kept for the next invocation");
    let (mut events, _) = lambda.stop().await;
    let story: Vec<_> = events.seen().iter().map(word).collect();
    let first = ["started", "initialized", "cold", "finished", "frozen"];
    assert_eq!(story, [&first[..], &["thawed", "warm", "finished", "frozen"], &["ended"]].concat());
    assert_matches!(events.seen().last(), Some(EventKind::EnvironmentEnded { end, .. }) if *end == KILLED);
}

#[tokio::test]
async fn frozen_environment_makes_no_progress_and_its_children_neither() {
    let mut lambda = Setup::new().start();
    let child = lambda.folder.path().join("child");
    lambda.queue.send("a", &format!("fork {}", child.display()));
    lambda.invocations(1).await;
    let (pid, child) = (lambda.pids()[0], pid_in(&child).await);
    assert_eq!(lambda.story().last(), Some(&"frozen"));
    let threads = states(pid);
    assert!(!threads.is_empty() && threads.iter().all(|state| *state == 'T'), "{threads:?}");
    assert_eq!(states(child), ['T']);
    lambda.stop().await;
    until_gone(pid).await;
    until_gone(child).await;
}

#[tokio::test]
async fn prewarmed_environment_is_frozen_after_init_and_used_first() {
    let mut lambda = Setup::new().build();
    lambda.source.prewarm().await.unwrap();
    assert_eq!(lambda.story(), ["started", "initialized", "frozen"]);
    assert!(states(lambda.pids()[0]).iter().all(|state| *state == 'T'));
    lambda.source.start();
    lambda.queue.send("a", "");
    lambda.invocations(1).await;
    assert_eq!(lambda.story()[3..], ["thawed", "cold", "finished", "frozen"]);
}

#[tokio::test]
async fn function_that_dies_at_start_fails_the_prewarming_with_its_last_words() {
    let mut lambda = Setup::new().at_start("die").build();
    let failure = lambda.source.prewarm().await.unwrap_err();
    assert_matches!(&failure.cause, InitCause::Ended(ProcessEnd { code: Some(7), ordered: false, .. }));
    assert!(failure.to_string().ends_with("no endpoint"), "{failure}");
    assert_eq!(lambda.story(), ["started", "ended"]);
}

#[tokio::test]
async fn function_that_never_asks_for_an_invocation_is_killed() {
    let mut setup = Setup::new().at_start("sleep");
    setup.spec.init_timeout = Duration::from_millis(100);
    let mut lambda = setup.build();
    let failure = lambda.source.prewarm().await.unwrap_err();
    assert_matches!(failure.cause, InitCause::TimedOut(_));
    assert_matches!(&lambda.ends()[..], [ProcessEnd { signal: Some(9), ordered: false, .. }]);
}

#[tokio::test]
async fn function_that_cannot_start_keeps_its_messages_and_is_tried_again() {
    let mut lambda = Setup::new().at_start("die").start();
    lambda.queue.send("a", "");
    lambda.events.until(2, is_reset).await;
    let first = [(ResetReason::InitFailed, Some(7)), (ResetReason::InitFailed, Some(7))];
    assert_eq!(lambda.resets(), first, "its Init phase, and once more inside its first invocation");
    lambda.source.idle().await;
    lambda.queue.pass_visibility_timeout();
    lambda.events.until(3, is_reset).await;
    assert_eq!(lambda.lost(), [""; 0], "the function is to blame, not the harness");
    let (_, queue) = lambda.stop().await;
    assert!(queue.deleted().is_empty());
}

fn is_loss(event: &EventKind) -> bool {
    matches!(event, EventKind::EvidenceLost { .. })
}

#[tokio::test]
async fn environment_that_the_harness_cannot_start_is_lost_evidence_once() {
    let mut setup = Setup::new();
    setup.spec.recycling = Recycling::After(NonZeroU32::MIN);
    let mut lambda = setup.build();
    let loss = "an environment of function worker that could not be started: \
                it could not be connected: no listener is left";
    for round in 1..=2 {
        lambda.connections.refusals.store(2, Ordering::Relaxed);
        lambda.queue.send(&round.to_string(), "");
        if round == 1 {
            lambda.source.start();
        }
        lambda.events.until(round, is_loss).await;
        until("the message is handled after all", || {
            if lambda.source.activity().batches == 0 {
                lambda.queue.pass_visibility_timeout();
            }
            lambda.queue.deleted().len() == round
        })
        .await;
        lambda.invocations(round).await;
        assert_eq!(lambda.lost(), vec![loss; round], "once until it works again");
    }
}

#[tokio::test]
async fn messages_that_cannot_be_received_are_lost_evidence_once() {
    let mut lambda = Setup::new().start();
    for round in 1..=2 {
        lambda.queue.breaks("connection refused");
        lambda.queue.refuses(3).await;
        lambda.queue.works_again();
        lambda.queue.send(&round.to_string(), "");
        lambda.invocations(round).await;
        let loss = "messages of queue onboarding that could not be received: connection refused";
        assert_eq!(lambda.lost(), vec![loss; round], "once until it works again");
    }
}

#[tokio::test]
async fn messages_that_cannot_be_deleted_are_lost_evidence() {
    let mut lambda = Setup::new().start();
    let file = lambda.folder.path().join("go");
    lambda.queue.send("a", &format!("wait-for {}", file.display()));
    lambda.events.until(1, |event| matches!(event, EventKind::InvocationStarted { .. })).await;
    lambda.queue.breaks("connection refused");
    fs::write(file, "").unwrap();
    lambda.invocations(1).await;
    lambda.queue.works_again();
    let loss = "messages of queue onboarding that could not be deleted: connection refused";
    assert_eq!(lambda.lost().first().map(String::as_str), Some(loss));
    assert!(lambda.queue.deleted().is_empty());
}

#[tokio::test]
async fn message_of_a_crashed_invocation_is_delivered_again_by_a_new_process_of_the_environment() {
    let mut lambda = Setup::new().start();
    lambda.queue.send("a", "exit 3");
    lambda.invocations(1).await;
    assert!(lambda.queue.deleted().is_empty());
    let first = ["started", "initialized", "cold", "finished", "reset"];
    assert_eq!(lambda.story(), first);
    assert_eq!(lambda.outcomes(), [InvocationOutcome::EnvironmentDied]);
    assert_eq!(lambda.resets(), [(ResetReason::Exited, Some(3))]);
    lambda.queue.pass_visibility_timeout();
    lambda.invocations(2).await;
    assert_eq!(lambda.story(), [&first[..], &first[..]].concat(), "it is cold again");
    assert_eq!(lambda.environments(), ["worker-1", "worker-1"]);
    let deliveries: Vec<_> = lambda.events.seen().iter().filter_map(deliveries).collect();
    let delivery = |receive_count| vec![Delivery { message: MessageId::new("a"), receive_count }];
    assert_eq!(deliveries, [delivery(1), delivery(2)]);
}

fn deliveries(event: &EventKind) -> Option<Vec<Delivery>> {
    match event {
        EventKind::InvocationStarted { deliveries, .. } => Some(deliveries.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn invocation_that_takes_too_long_resets_its_environment() {
    let mut setup = Setup::new();
    setup.spec.timeout = Duration::from_millis(200);
    let mut lambda = setup.start();
    lambda.queue.send("a", "hang no answer from the database");
    lambda.invocations(1).await;
    assert_eq!(lambda.outcomes(), [InvocationOutcome::TimedOut]);
    let end = |event: &EventKind| match event {
        EventKind::EnvironmentReset { reason: ResetReason::TimedOut, end, .. } => Some(end.clone()),
        _ => None,
    };
    assert_matches!(lambda.events.seen().iter().find_map(end),
        Some(ProcessEnd { signal: Some(9), ordered: true, output, .. })
        if output.iter().any(|line| line.ends_with("no answer from the database")));
    assert_eq!(lambda.ends(), [], "it is kept");
    assert!(lambda.queue.deleted().is_empty());
}

#[tokio::test]
async fn reported_messages_are_kept_and_all_others_deleted() {
    let mut setup = Setup::new();
    setup.mapping.batch_size = 10;
    let mut lambda = setup.build();
    for (id, body) in [("a", ""), ("b", "report it"), ("c", "")] {
        lambda.queue.send(id, body);
    }
    lambda.source.start();
    lambda.invocations(1).await;
    assert_eq!(lambda.outcomes(), [InvocationOutcome::Succeeded { failed: vec![MessageId::new("b")] }]);
    assert_eq!(lambda.queue.deleted(), ["a", "c"]);
}

#[tokio::test]
async fn handler_error_keeps_the_message_and_the_environment() {
    let mut lambda = Setup::new().start();
    lambda.queue.send("a", "fail no database");
    lambda.invocations(1).await;
    assert_matches!(&lambda.outcomes()[..], [InvocationOutcome::Failed { error_message, .. }]
        if error_message == "no database");
    assert!(lambda.queue.deleted().is_empty());
    assert_eq!(lambda.source.activity(), Activity { idle_environments: 1, ..Activity::default() });
}

#[tokio::test]
async fn environment_is_recycled_frozen_after_its_invocations() {
    let mut setup = Setup::new();
    setup.spec.recycling = Recycling::After(NonZeroU32::new(2).unwrap());
    let mut lambda = setup.start();
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        lambda.queue.send(id, "");
        lambda.invocations(number + 1).await;
    }
    let first =
        ["started", "initialized", "cold", "finished", "frozen", "thawed", "warm", "finished", "frozen", "ended"];
    let second = ["started", "initialized", "cold", "finished", "frozen"];
    assert_eq!(lambda.story(), [&first[..], &second].concat());
    assert_eq!(lambda.ends(), [KILLED]);
    until_gone(lambda.pids()[0]).await;
}

#[tokio::test]
async fn further_environment_is_started_when_the_others_are_busy() {
    let mut setup = Setup::new();
    setup.mapping.max_concurrency = 2;
    let mut lambda = setup.start();
    let file = lambda.folder.path().join("go");
    let body = format!("wait-for {}", file.display());
    lambda.queue.send("a", &body);
    lambda.queue.send("b", &body);
    lambda.queue.send("c", &body);
    let is_start = |event: &EventKind| matches!(event, EventKind::InvocationStarted { .. });
    lambda.events.until(2, is_start).await;
    assert_eq!(lambda.source.activity().batches, 2, "the third waits in the queue");
    fs::write(file, "").unwrap();
    lambda.invocations(3).await;
    assert_eq!(lambda.pids().len(), 2);
    assert_eq!(lambda.story().iter().filter(|word| **word == "cold").count(), 2);
}

#[tokio::test]
async fn stopping_lets_an_invocation_finish() {
    let mut lambda = Setup::new().start();
    let file = lambda.folder.path().join("go");
    lambda.queue.send("a", &format!("wait-for {}", file.display()));
    lambda.events.until(1, |event| matches!(event, EventKind::InvocationStarted { .. })).await;
    let stop = tokio::spawn(lambda.source.stop(Duration::from_secs(30)));
    tokio::task::yield_now().await;
    fs::write(file, "").unwrap();
    stop.await.unwrap().unwrap();
    assert_eq!(lambda.queue.deleted(), ["a"]);
    assert_matches!(lambda.events.seen().last(), Some(EventKind::EnvironmentEnded { end, .. }) if *end == KILLED);
}

#[tokio::test]
async fn graceful_shutdown_of_the_real_runtime_flushes_when_its_environment_ends() {
    let mut lambda = Setup::new().at_start("flush at the end").start();
    lambda.queue.send("a", "");
    lambda.invocations(1).await;
    let flushed = lambda.folder.path().join("flushed");
    assert!(!flushed.exists());
    let folder = std::mem::replace(&mut lambda.folder, tempfile::tempdir().unwrap());
    let (mut events, _) = lambda.stop().await;
    assert!(flushed.exists());
    let story: Vec<_> = events.seen().iter().map(word).collect();
    assert_eq!(story[..2], ["started", "registered"]);
    assert_eq!(story[2..], ["initialized", "cold", "finished", "frozen", "thawed", "stopping", "ended"]);
    assert_matches!(events.seen().last(), Some(EventKind::EnvironmentEnded { end, .. })
        if end.code == Some(0) && end.ordered);
    drop(folder);
}

#[tokio::test]
async fn graceful_shutdown_of_the_real_runtime_flushes_when_its_invocation_takes_too_long() {
    let mut setup = Setup::new().at_start("flush at the end");
    setup.spec.timeout = Duration::from_millis(500);
    let mut lambda = setup.start();
    lambda.queue.send("a", "hang on");
    lambda.invocations(1).await;
    assert_eq!(lambda.story()[3..], ["cold", "finished", "stopping", "reset"]);
    assert!(lambda.folder.path().join("flushed").exists());
}

#[tokio::test]
async fn nothing_is_left_of_a_function_that_is_dropped() {
    let mut lambda = Setup::new().start();
    lambda.queue.send("a", "");
    lambda.invocations(1).await;
    let pid = lambda.pids()[0];
    drop(lambda.source);
    until_gone(pid).await;
}
