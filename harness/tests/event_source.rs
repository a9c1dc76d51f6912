//! An event source mapping between a queue of our own engine and a function that is a real process with
//! the real `lambda_runtime`. What takes no process is tested beside the mapping, in paused time.
//!
//! The function under test is this very program, started once more to run one of its tests: in an
//! execution environment, [`FUNCTION`] is the runtime.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[path = "support/function.rs"]
mod function;
mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use futures_util::future::BoxFuture;
use harness::cloud::event_source::{Activity, Behaviour, EventSource, EventSourceSpec};
use harness::cloud::function::{BoxError, Function, FunctionSpec, Wired, Wiring};
use harness::cloud::network::Network;
use harness::cloud::queue::{Correlation, Depth, NewMessage, QueueSettings, Queues, QueuesConfig};
use harness::journal::Recorder;
use harness::target::Spawner;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use support::{Events, pid_in, states, until, until_gone};
use tempfile::TempDir;
use verifier::event::ProcessEnd;
use verifier::{EnvironmentId, EventKind};

/// The test that is the function as well.
const FUNCTION: &str = "large_batch_is_one_invocation_and_what_it_reports_is_kept";
const QUEUE: &str = "onboarding";
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-west-1";
const KILLED: ProcessEnd = ProcessEnd { code: None, signal: Some(9), ordered: true, output: Vec::new() };

#[tokio::test]
async fn large_batch_is_one_invocation_and_what_it_reports_is_kept() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return lambda_runtime::run(service_fn(handle)).await.unwrap();
    }
    let mut setup = Setup::new();
    setup.mapping.batch_size = 25;
    setup.mapping.behaviour.batch_window = Duration::from_secs(300);
    let mut lambda = setup.start().await;
    lambda.send("report").await;
    for _ in 1..25 {
        lambda.send("succeed").await;
    }
    lambda.invocations(1).await;
    assert_eq!(lambda.deliveries(), [25]);
    assert_eq!(lambda.depth().await, Depth { in_flight: 1, ..Depth::default() });
}

/// The function under test. What it does with a message is the message's body.
async fn handle(event: LambdaEvent<SqsEvent>) -> Result<Value, BoxError> {
    let mut failures = Vec::new();
    for record in event.payload.records {
        let body = record.body.as_deref().unwrap_or_default();
        match body.split_once(' ').unwrap_or((body, "")) {
            ("report", _) => failures.push(json!({ "itemIdentifier": record.message_id })),
            ("wait-for", file) => until("the file is there", || Path::new(file).exists()).await,
            ("fork", file) => {
                let child = Command::new("sleep").arg("1000").spawn()?;
                fs::write(file, format!("{}\n", child.id()))?;
            }
            _ => {}
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

/// An environment that needs nothing.
struct Unwired;

impl Wiring for Unwired {
    fn wire<'a>(&'a self, _: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        Box::pin(async { Ok(Wired { env: Vec::new(), network: Network::default(), guard: Box::new(()) }) })
    }
}

/// A function and its mapping, before they are started.
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
            queue: QUEUE.to_owned(),
            queue_arn: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}"),
            visibility_timeout: Duration::from_secs(180),
            batch_size: 1,
            max_concurrency: 2,
            reports_item_failures: true,
            behaviour: Behaviour::default(),
        };
        Self { spec, mapping, folder }
    }

    async fn build(self) -> Lambda {
        let (recorder, events) = Events::record();
        let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
        let function = Function::new(self.spec, spawner, recorder, Arc::new(Unwired));
        let queues = Queues::local(QueuesConfig {
            endpoint: "http://127.0.0.1:1".to_owned(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            correlation: Correlation::default(),
            recorder: Recorder::new().0,
        });
        let visibility_timeout = self.mapping.visibility_timeout;
        queues.provide(QUEUE, QueueSettings { visibility_timeout, max_receive_count: None }).await.unwrap();
        let source = EventSource::new(function, Arc::new(queues.clone()), self.mapping);
        Lambda { source, queues, events, folder: self.folder }
    }

    async fn start(self) -> Lambda {
        let mut lambda = self.build().await;
        lambda.source.start();
        lambda
    }
}

/// A running function with its queue.
struct Lambda {
    source: EventSource<Queues>,
    queues: Queues,
    events: Events,
    folder: TempDir,
}

impl Lambda {
    async fn send(&self, body: &str) {
        let message = NewMessage { body: body.to_owned(), ..NewMessage::default() };
        self.queues.send(QUEUE, message).await.unwrap();
    }

    async fn depth(&self) -> Depth {
        self.queues.depth(QUEUE).await.unwrap()
    }

    /// Waits until so many invocations are over and all environments are idle again or gone.
    async fn invocations(&mut self, count: usize) {
        self.events.until(count, |event| matches!(event, EventKind::InvocationFinished { .. })).await;
        self.source.idle().await;
    }

    /// How many records each event had.
    fn deliveries(&mut self) -> Vec<usize> {
        let records = |event: &EventKind| match event {
            EventKind::InvocationStarted { deliveries, .. } => Some(deliveries.len()),
            _ => None,
        };
        self.events.seen().iter().filter_map(records).collect()
    }

    fn pids(&mut self) -> Vec<u32> {
        let pid = |event: &EventKind| match event {
            EventKind::EnvironmentStarted { pid, .. } => Some(*pid),
            _ => None,
        };
        self.events.seen().iter().filter_map(pid).collect()
    }

    fn ends(&mut self) -> Vec<ProcessEnd> {
        let end = |event: &EventKind| match event {
            EventKind::EnvironmentEnded { end, .. } => Some(end.clone()),
            _ => None,
        };
        self.events.seen().iter().filter_map(end).collect()
    }
}

#[tokio::test]
async fn idle_environment_is_killed_frozen_with_its_children() {
    let mut setup = Setup::new();
    setup.mapping.behaviour.idle_timeout = Some(Duration::from_millis(500));
    let mut lambda = setup.start().await;
    let file = lambda.folder.path().join("child");
    lambda.send(&format!("fork {}", file.display())).await;
    lambda.invocations(1).await;
    let child = pid_in(&file).await;
    lambda.events.until(1, |event| matches!(event, EventKind::EnvironmentEnded { .. })).await;
    assert_eq!(lambda.ends(), [KILLED]);
    until_gone(lambda.pids()[0]).await;
    until_gone(child).await;
    assert_eq!(lambda.source.activity(), Activity::default());
    lambda.send("succeed").await;
    lambda.invocations(2).await;
    assert_eq!(lambda.pids().len(), 2, "the next message starts another");
}

#[tokio::test]
async fn function_never_has_more_environments_than_its_reserved_concurrency() {
    let mut setup = Setup::new();
    setup.mapping.behaviour.reserved_concurrency = Some(1);
    let mut lambda = setup.start().await;
    let file = lambda.folder.path().join("go");
    for _ in 0..2 {
        lambda.send(&format!("wait-for {}", file.display())).await;
    }
    let is_throttled = |event: &EventKind| matches!(event, EventKind::InvocationThrottled { records: 1, .. });
    lambda.events.until(1, is_throttled).await;
    assert_eq!(lambda.source.activity().throttled, 1);
    fs::write(file, "").unwrap();
    lambda.invocations(2).await;
    assert!(lambda.depth().await.is_empty());
    assert_eq!(lambda.pids().len(), 1);
    assert_eq!(lambda.events.seen().iter().filter(|event| is_throttled(event)).count(), 1);
}

#[tokio::test]
async fn provisioned_environments_are_frozen_until_they_are_used() {
    let mut setup = Setup::new();
    setup.spec.platform.provisioned = 3;
    let mut lambda = setup.build().await;
    lambda.source.prewarm().await.unwrap();
    let pids = lambda.pids();
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        let threads = states(*pid);
        assert!(!threads.is_empty() && threads.iter().all(|state| *state == 'T'), "{threads:?}");
    }
    lambda.source.start();
    lambda.send("succeed").await;
    lambda.invocations(1).await;
    assert_eq!(lambda.pids(), pids, "none is started");
    lambda.source.stop(Duration::from_secs(30)).await.unwrap();
    let ends = lambda.events.seen().iter().filter(|event| matches!(event, EventKind::EnvironmentEnded { .. })).count();
    assert_eq!(ends, 3);
    for pid in pids {
        until_gone(pid).await;
    }
}

#[tokio::test]
async fn stopping_hands_over_the_batch_that_waits_and_ends_every_environment() {
    let mut setup = Setup::new();
    setup.mapping.batch_size = 10;
    setup.mapping.behaviour.batch_window = Duration::from_secs(300);
    let lambda = setup.start().await;
    lambda.send("succeed").await;
    until("the message was received", || lambda.source.activity().waiting == 1).await;
    lambda.source.stop(Duration::from_secs(30)).await.unwrap();
    assert!(lambda.queues.depth(QUEUE).await.unwrap().is_empty());
    let mut events = lambda.events;
    let last = events.seen().last();
    assert!(matches!(last, Some(EventKind::EnvironmentEnded { end, .. }) if *end == KILLED), "{last:?}");
}
