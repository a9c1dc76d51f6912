//! How long a message takes from its sender to a poll that waits for it: `cargo bench -p harness --bench queue`.
//!
//! Messages come one after another, each to a poll that is waiting when it is sent. It is measured from the
//! call of the sender to the answer of the poll: once in process, as the local Lambda polls, and once over
//! HTTP by AWS's SDK, as a system sends and anybody else polls.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on shall end")]
#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use harness::cloud::queue::{Correlation, NewMessage, Queues, QueuesConfig, serve};
use harness::journal::Recorder;
use hdrhistogram::Histogram;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const MESSAGES: usize = 2_000;
/// How long the poll is given to wait again.
const BETWEEN: Duration = Duration::from_millis(2);
const LONG_POLL: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (recorder, mut events) = Recorder::new();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let queues = Queues::local(QueuesConfig {
        endpoint: endpoint.clone(),
        account: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
        correlation: Correlation::default(),
        recorder,
    });
    tokio::spawn(serve(listener, queues.clone(), std::future::pending()));
    report("in process", in_process(queues).await);
    report("over HTTP", over_http(client(&endpoint)).await);
}

/// Sends and polls in process.
async fn in_process(queues: Queues) -> Histogram<u64> {
    queues.create("process", &[].into()).await.unwrap();
    let (received, arrivals) = mpsc::channel(1);
    let consumer = queues.clone();
    tokio::spawn(async move {
        loop {
            for message in consumer.receive("process", 1, LONG_POLL).await.unwrap() {
                received.send(Instant::now()).await.unwrap();
                consumer.delete_message("process", &message.receipt_handle).await.unwrap();
            }
        }
    });
    measure(arrivals, || async {
        queues.send("process", NewMessage { body: "body".to_owned(), ..NewMessage::default() }).await.unwrap();
    })
    .await
}

/// Sends and polls by the SDK.
async fn over_http(client: Client) -> Histogram<u64> {
    let url = client.create_queue().queue_name("http").send().await.unwrap().queue_url.unwrap();
    let (received, arrivals) = mpsc::channel(1);
    let (consumer, its_url) = (client.clone(), url.clone());
    tokio::spawn(async move {
        loop {
            let call = consumer.receive_message().queue_url(&its_url).wait_time_seconds(20);
            for message in call.send().await.unwrap().messages.unwrap_or_default() {
                received.send(Instant::now()).await.unwrap();
                let delete = consumer.delete_message().queue_url(&its_url);
                delete.receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
            }
        }
    });
    measure(arrivals, || async {
        client.send_message().queue_url(&url).message_body("body").send().await.unwrap();
    })
    .await
}

/// How long each message takes, in microseconds.
async fn measure<F: Future<Output = ()>>(
    mut arrivals: mpsc::Receiver<Instant>,
    send: impl Fn() -> F,
) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).unwrap();
    for _ in 0..MESSAGES {
        tokio::time::sleep(BETWEEN).await;
        let sent = Instant::now();
        let ((), arrived) = tokio::join!(send(), arrivals.recv());
        let latency = arrived.unwrap().duration_since(sent);
        latencies.record(latency.as_micros().try_into().unwrap()).unwrap();
    }
    latencies
}

fn report(how: &str, latencies: Histogram<u64>) {
    let at = |quantile| Duration::from_micros(latencies.value_at_quantile(quantile));
    println!("send to receive, {how}: p50 {:?}, p90 {:?}, p99 {:?} ({MESSAGES} messages)", at(0.5), at(0.9), at(0.99));
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
        .build();
    Client::from_conf(config)
}
