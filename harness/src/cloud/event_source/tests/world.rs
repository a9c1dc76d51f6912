//! The vocabulary of the tests: a queue, a function that is played, and what became of both.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use verifier::event::{Delivery, InvocationOutcome};
use verifier::{EnvironmentId, Event, EventKind};

use crate::cloud::environment::{AfterInit, InitCause, InitFailure, Invocation, Invoked};
use crate::cloud::event_source::{
    Activity, Behaviour, EventSource, EventSourceSpec, MessageSource, Runner, RunningEnvironment,
};
use crate::cloud::function::{Account, BoxError, FunctionSpec, Platform, Recycling};
use crate::cloud::queue::{
    Correlation, Depth, NewMessage, QueueSettings, Queues, QueuesConfig, ReceiveRequest, ReceivedMessage,
};
use crate::journal::Recorder;

pub(super) const QUEUE: &str = "q";
pub(super) const VISIBILITY: Duration = Duration::from_secs(30);
pub(super) const ACCOUNT: &str = "123456789012";
/// More turns than any chain of tasks takes that wake one another.
const SETTLING: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a played function answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Respond(String),
    Fail,
    Die,
    /// The environment has to be initialised first, and cannot be.
    FailInit,
}

impl Answer {
    pub(super) fn success() -> Self {
        Self::Respond("null".to_owned())
    }
}

/// An invocation that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// When, since the beginning of the test.
    pub(super) at: Duration,
    pub(super) environment: u32,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) event: Value,
}

impl Call {
    pub(super) fn bodies(&self) -> Vec<&str> {
        self.records().filter_map(|record| record["body"].as_str()).collect()
    }

    /// The identifier of the message with this body.
    pub(super) fn id_of(&self, body: &str) -> &str {
        self.records().find(|record| record["body"] == body).and_then(|record| record["messageId"].as_str()).unwrap()
    }

    fn records(&self) -> impl Iterator<Item = &Value> {
        self.event["Records"].as_array().into_iter().flatten()
    }
}

type Play = dyn Fn(&Call) -> (Duration, Answer) + Send + Sync;

/// A function that is played. Cheap to clone.
#[derive(Clone)]
pub(super) struct Player(Arc<Shared>);

struct Shared {
    began: Instant,
    spec: FunctionSpec,
    recorder: Recorder,
    play: Box<Play>,
    init: Duration,
    /// How long it takes to end an environment.
    ending: Duration,
    lifetime: Option<u32>,
    number: AtomicU32,
    seen: Mutex<Seen>,
    /// Environments whose process has died while they were idle.
    dead: Mutex<Vec<u32>>,
    /// How many starts are still to be killed by order.
    killed_starts: AtomicU32,
    /// How many starts are still to fail after that.
    broken_starts: AtomicU32,
    /// Whether Init fails at first, so that environments are reset when they are handed out.
    starts_reset: bool,
}

/// What was asked of the function.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) started: Vec<AfterInit>,
    pub(super) calls: Vec<Call>,
    pub(super) running: usize,
    pub(super) most_running: usize,
    /// When, and which.
    pub(super) ended: Vec<(Duration, u32)>,
    ending: usize,
    pub(super) most_ending: usize,
    pub(super) buried: Vec<u32>,
}

impl Player {
    fn see<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.seen.lock().unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// What the next start fails with, if it does.
    fn take_failure(&self) -> Option<InitCause> {
        let take = |count: &AtomicU32| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        if take(&self.0.killed_starts) {
            return Some(InitCause::Killed);
        }
        take(&self.0.broken_starts).then_some(InitCause::TimedOut(self.0.init))
    }

    pub(super) fn kill(&self, environment: u32) {
        self.0.dead.lock().unwrap().push(environment);
    }
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Player")
    }
}

impl Runner for Player {
    type Environment = Played;

    fn spec(&self) -> &FunctionSpec {
        &self.0.spec
    }

    fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    async fn start(&self, then: AfterInit) -> Result<Played, InitFailure> {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed) + 1;
        self.see(|seen| seen.started.push(then));
        tokio::time::sleep(self.0.init).await;
        if let Some(cause) = self.take_failure() {
            let environment = EnvironmentId::new(number.to_string());
            return Err(InitFailure { environment, cause, output: Vec::new() });
        }
        Ok(Played { number, invocations: 0, is_reset: self.0.starts_reset, player: self.clone() })
    }
}

/// An environment that is played.
#[derive(Debug)]
pub(super) struct Played {
    number: u32,
    invocations: u32,
    is_reset: bool,
    player: Player,
}

impl RunningEnvironment for Played {
    fn is_alive(&self) -> bool {
        !self.player.0.dead.lock().unwrap().contains(&self.number)
    }

    fn is_reset(&self) -> bool {
        self.is_reset
    }

    fn is_worn_out(&self) -> bool {
        self.player.0.lifetime.is_some_and(|lifetime| self.invocations >= lifetime)
    }

    async fn invoke(mut self, invocation: &Invocation) -> Invoked<Self> {
        self.invocations += 1;
        let call = Call {
            at: self.player.elapsed(),
            environment: self.number,
            deliveries: invocation.deliveries.clone(),
            event: serde_json::from_slice(&invocation.event).unwrap(),
        };
        let (time, answer) = (self.player.0.play)(&call);
        self.player.see(|seen| {
            seen.calls.push(call);
            seen.running += 1;
            seen.most_running = seen.most_running.max(seen.running);
        });
        tokio::time::sleep(time).await;
        self.player.see(|seen| seen.running -= 1);
        let init_failed = answer == Answer::FailInit;
        self.is_reset = init_failed;
        let is_over = answer == Answer::Die;
        let outcome = match answer {
            Answer::Respond(response) => {
                InvocationOutcome::Succeeded { failed: (invocation.failures)(response.as_bytes()) }
            }
            Answer::Fail => {
                let (error_type, error_message) = ("Runtime.Unknown".to_owned(), "no database".to_owned());
                InvocationOutcome::Failed { error_type, error_message }
            }
            Answer::Die | Answer::FailInit => InvocationOutcome::EnvironmentDied,
        };
        Invoked { outcome, init_failed, environment: (!is_over).then_some(self) }
    }

    async fn end(self) {
        self.player.see(|seen| {
            seen.ended.push((self.player.elapsed(), self.number));
            seen.ending += 1;
            seen.most_ending = seen.most_ending.max(seen.ending);
        });
        tokio::time::sleep(self.player.0.ending).await;
        self.player.see(|seen| seen.ending -= 1);
    }

    async fn bury(self) {
        self.player.see(|seen| seen.buried.push(self.number));
    }
}

/// The queues, which can break, and how often they were asked.
pub(super) struct Source {
    queues: Queues,
    pub(super) broken: AtomicBool,
    pub(super) receives: AtomicUsize,
}

impl MessageSource for Source {
    async fn receive(&self, queue: &str, request: ReceiveRequest) -> Result<Vec<ReceivedMessage>, BoxError> {
        self.receives.fetch_add(1, Ordering::Relaxed);
        match self.broken.load(Ordering::Relaxed) {
            true => Err("connection refused".into()),
            false => MessageSource::receive(&self.queues, queue, request).await,
        }
    }

    async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), BoxError> {
        MessageSource::delete(&self.queues, queue, receipt_handles).await
    }
}

/// A mapping before it is made.
pub(super) struct Setup {
    pub(super) mapping: EventSourceSpec,
    pub(super) max_receive_count: Option<u32>,
    pub(super) init: Duration,
    pub(super) ending: Duration,
    pub(super) lifetime: Option<u32>,
    pub(super) killed_starts: u32,
    pub(super) broken_starts: u32,
    pub(super) starts_reset: bool,
    pub(super) provisioned: u32,
    play: Box<Play>,
}

impl Setup {
    /// A function that succeeds in no time.
    pub(super) fn new(behaviour: Behaviour) -> Self {
        let mapping = EventSourceSpec {
            queue: QUEUE.to_owned(),
            queue_arn: format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{QUEUE}"),
            visibility_timeout: VISIBILITY,
            batch_size: 1,
            max_concurrency: 1,
            reports_item_failures: true,
            behaviour,
        };
        Self {
            mapping,
            max_receive_count: None,
            init: Duration::ZERO,
            ending: Duration::ZERO,
            lifetime: None,
            killed_starts: 0,
            broken_starts: 0,
            starts_reset: false,
            provisioned: 0,
            play: Box::new(|_| (Duration::ZERO, Answer::success())),
        }
    }

    pub(super) fn batch_size(mut self, batch_size: usize) -> Self {
        self.mapping.batch_size = batch_size;
        self
    }

    pub(super) fn max_concurrency(mut self, max_concurrency: usize) -> Self {
        self.mapping.max_concurrency = max_concurrency;
        self
    }

    pub(super) fn playing(mut self, play: impl Fn(&Call) -> (Duration, Answer) + Send + Sync + 'static) -> Self {
        self.play = Box::new(play);
        self
    }

    /// A function that succeeds after so long.
    pub(super) fn taking(self, time: Duration) -> Self {
        self.playing(move |_| (time, Answer::success()))
    }

    pub(super) async fn build(self) -> World {
        let (recorder, events) = Recorder::new();
        let queues = Queues::local(QueuesConfig {
            endpoint: "http://127.0.0.1:1".to_owned(),
            account: ACCOUNT.to_owned(),
            region: "us-east-1".to_owned(),
            correlation: Correlation::default(),
            recorder: Recorder::new().0,
        });
        let settings = QueueSettings {
            visibility_timeout: self.mapping.visibility_timeout,
            max_receive_count: self.max_receive_count,
        };
        queues.provide(QUEUE, settings).await.unwrap();
        // The queue's timekeeper goes to sleep: it must be told of everything that comes.
        tokio::task::yield_now().await;
        let player = Player(Arc::new(Shared {
            began: Instant::now(),
            spec: function(self.provisioned),
            recorder,
            play: self.play,
            init: self.init,
            ending: self.ending,
            lifetime: self.lifetime,
            number: AtomicU32::new(0),
            seen: Mutex::default(),
            dead: Mutex::default(),
            killed_starts: AtomicU32::new(self.killed_starts),
            broken_starts: AtomicU32::new(self.broken_starts),
            starts_reset: self.starts_reset,
        }));
        let source =
            Arc::new(Source { queues: queues.clone(), broken: AtomicBool::new(false), receives: AtomicUsize::new(0) });
        let mapping = EventSource::with_runner(player.clone(), Arc::clone(&source), self.mapping);
        World { mapping, source, queues, player, events }
    }

    pub(super) async fn start(self) -> World {
        let mut world = self.build().await;
        world.mapping.start();
        world
    }
}

fn function(provisioned: u32) -> FunctionSpec {
    FunctionSpec {
        name: "worker".to_owned(),
        command: Vec::new(),
        directory: "/".into(),
        env: Vec::new(),
        timeout: seconds(3),
        init_timeout: seconds(10),
        memory_mb: 512,
        recycling: Recycling::Never,
        platform: Platform { provisioned, ..Platform::default() },
        extensions: Vec::new(),
        account: Account {
            id: ACCOUNT.to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "key".to_owned(),
            secret_access_key: "secret".to_owned(),
        },
        logs: "/".into(),
    }
}

/// A mapping with its queue and its function.
pub(super) struct World {
    pub(super) mapping: EventSource<Source, Player>,
    pub(super) source: Arc<Source>,
    pub(super) queues: Queues,
    pub(super) player: Player,
    events: mpsc::Receiver<Event>,
}

impl World {
    pub(super) async fn send(&self, body: &str) {
        let message = NewMessage { body: body.to_owned(), ..NewMessage::default() };
        self.queues.send(QUEUE, message).await.unwrap();
    }

    /// Sends so many messages.
    pub(super) async fn send_many(&self, count: usize) {
        for number in 0..count {
            self.send(&number.to_string()).await;
        }
    }

    /// Lets time go on until so long after the beginning, and everything happen that is due by then.
    pub(super) async fn until(&self, time: Duration) {
        tokio::time::sleep_until(self.player.0.began + time).await;
        // Time stands still as long as somebody has something to do.
        for _ in 0..SETTLING {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.player.see(|seen| seen.clone())
    }

    /// When invocations began, in whole seconds, and with how many records.
    pub(super) fn calls(&self) -> Vec<(u64, usize)> {
        self.seen().calls.iter().map(|call| (call.at.as_secs(), call.deliveries.len())).collect()
    }

    /// When invocations began, in milliseconds.
    pub(super) fn call_times_ms(&self) -> Vec<u128> {
        self.seen().calls.iter().map(|call| call.at.as_millis()).collect()
    }

    /// The receive counts of all deliveries.
    pub(super) fn receive_counts(&self) -> Vec<u32> {
        self.seen().calls.iter().flat_map(|call| &call.deliveries).map(|delivery| delivery.receive_count).collect()
    }

    pub(super) async fn depth(&self) -> Depth {
        self.queues.depth(QUEUE).await.unwrap()
    }

    pub(super) fn activity(&self) -> Activity {
        self.mapping.activity()
    }

    pub(super) fn recorded(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.kind).collect()
    }

    pub(super) fn receives(&self) -> usize {
        self.source.receives.load(Ordering::Relaxed)
    }

    /// Stops, and tells how long that took.
    pub(super) async fn stop(self) -> (Stopped, Duration) {
        let began = Instant::now();
        self.mapping.stop(PATIENCE).await.unwrap();
        (Stopped { queues: self.queues, player: self.player }, began.elapsed())
    }
}

/// What is left of a mapping that was stopped.
pub(super) struct Stopped {
    queues: Queues,
    player: Player,
}

impl Stopped {
    pub(super) fn seen(&self) -> Seen {
        self.player.see(|seen| seen.clone())
    }

    pub(super) async fn depth(&self) -> Depth {
        self.queues.depth(QUEUE).await.unwrap()
    }
}
