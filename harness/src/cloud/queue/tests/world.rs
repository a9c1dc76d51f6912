//! The vocabulary of the tests: queues, what they record, and a client that reaches them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use verifier::{Event, EventKind};

use crate::cloud::queue::{Correlation, NewMessage, Queues, QueuesConfig, ReceivedMessage, SentMessage, serve};
use crate::journal::Recorder;

pub(super) const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
pub(super) const TRACE_HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";

/// Queues, and what they recorded.
pub(super) struct World {
    pub(super) queues: Queues,
    events: mpsc::Receiver<Event>,
}

impl World {
    /// Our own engine, with a queue `q`.
    pub(super) async fn local() -> Self {
        let world = Self::local_at("http://127.0.0.1:1".to_owned());
        world.create("q", &[]).await;
        // The queue's timekeeper goes to sleep: it must be told of everything that comes.
        tokio::task::yield_now().await;
        world
    }

    fn local_at(endpoint: String) -> Self {
        let (config, events) = config(endpoint);
        Self { queues: Queues::local(config), events }
    }

    pub(super) fn external(client: Client) -> Self {
        let (config, events) = config("http://127.0.0.1:1".to_owned());
        Self { queues: Queues::external(config, &client), events }
    }

    /// Queues at another endpoint, whose names begin with this there.
    pub(super) fn prefixed(client: &Client, prefix: &str) -> Self {
        let (config, events) = config("http://127.0.0.1:1".to_owned());
        Self { queues: Queues::prefixed(config, client, prefix.to_owned()), events }
    }

    pub(super) async fn create(&self, name: &str, attributes: &[(&str, &str)]) {
        self.queues.create(name, &strings(attributes)).await.unwrap();
    }

    pub(super) async fn send(&self, body: &str) -> SentMessage {
        self.queues.send("q", message(body)).await.unwrap()
    }

    /// Receives one message that must be there.
    pub(super) async fn receive(&self) -> ReceivedMessage {
        self.receive_from("q").await.expect("a message is visible")
    }

    /// Receives one message if there is one.
    pub(super) async fn receive_from(&self, queue: &str) -> Option<ReceivedMessage> {
        self.queues.receive(queue, 1, Duration::ZERO).await.unwrap().pop()
    }

    pub(super) async fn delete(&self, handle: &str) {
        self.queues.delete("q", &[handle.to_owned()]).await.unwrap();
    }

    /// The next thing that is recorded.
    pub(super) async fn next_event(&mut self) -> EventKind {
        let event = tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await;
        event.expect("something is recorded").expect("the queues are there").kind
    }

    /// What was recorded since the last time.
    pub(super) fn events(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.kind).collect()
    }
}

fn config(endpoint: String) -> (QueuesConfig, mpsc::Receiver<Event>) {
    let (recorder, events) = Recorder::new();
    let correlation = Correlation { message_body: Some("/customer_id".to_owned()) };
    let (account, region) = ("000000000000".to_owned(), "us-east-1".to_owned());
    (QueuesConfig { endpoint, account, region, correlation, recorder }, events)
}

/// Queues behind the API, and AWS's SDK in front of it.
pub(super) struct Served {
    pub(super) world: World,
    pub(super) client: Client,
    pub(super) endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Our own engine, without a queue.
    pub(super) async fn local() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Self::start(listener, World::local_at(endpoint.clone()), endpoint)
    }

    fn start(listener: TcpListener, world: World, endpoint: String) -> Self {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // A dropped sender stops the server as well.
            stopped.await.ok();
        };
        let server = tokio::spawn(serve(listener, world.queues.clone(), shutdown));
        Self { world, client: client(&endpoint), endpoint, stop: Some(stop), server }
    }

    /// Puts the API in front of these queues.
    pub(super) async fn of(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        Self::start(listener, world, endpoint)
    }

    /// Creates a queue, and returns its URL.
    pub(super) async fn queue(&self, name: &str) -> String {
        self.client.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap()
    }

    /// Stops the server, and waits until it has stopped.
    pub(super) async fn stop(&mut self) {
        self.stop.take();
        (&mut self.server).await.unwrap().unwrap();
    }
}

pub(super) fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub(super) fn message(body: &str) -> NewMessage {
    NewMessage { body: body.to_owned(), ..NewMessage::default() }
}

/// A message with a trace context in every place that there is.
pub(super) fn traced_message(body: &str) -> NewMessage {
    use crate::cloud::queue::MessageAttribute;
    let attributes = [("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("other", "kept")];
    NewMessage {
        body: body.to_owned(),
        attributes: attributes.map(|(name, value)| (name.to_owned(), MessageAttribute::text(value))).into(),
        trace_header: Some(TRACE_HEADER.to_owned()),
        ..NewMessage::default()
    }
}

pub(super) fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The policy that moves messages to the queue `dlq` after this many receives.
pub(super) fn redrive(max_receive_count: u32) -> String {
    format!(
        r#"{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dlq","maxReceiveCount":{max_receive_count}}}"#
    )
}
