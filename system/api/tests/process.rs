//! The real process: from its start to a signal.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use onboarding_telemetry::testing::{Collector, KEY};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tonic::transport::Server;

/// More than any of this takes, on any machine.
const BUDGET: Duration = Duration::from_secs(60);

/// A service, its endpoint, and an SQS that accepts everything.
struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    collector: Collector,
}

impl Process {
    async fn start(key: &str) -> Self {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        collector.serve(Server::builder(), listener);
        let mut child = service(&start_sqs().await, &endpoint, key).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output, collector }
    }

    /// Waits for a line of output that contains `text`.
    async fn line(&mut self, text: &str) -> String {
        let line = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the output ended without {text:?}");
        };
        tokio::time::timeout(BUDGET, line).await.unwrap()
    }

    /// Waits until it listens; returns the port.
    async fn port(&mut self) -> String {
        let line = self.line("listening").await;
        line.rsplit(':').next().unwrap().to_owned()
    }

    async fn onboard(&mut self) -> reqwest::StatusCode {
        let url = format!("http://127.0.0.1:{}/onboard", self.port().await);
        let body = r#"{"customer_id":"c-1","email":"c-1@example.com"}"#;
        let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(body);
        request.send().await.unwrap().status()
    }

    /// Sends a signal and waits for the end.
    async fn end(&mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-s", signal, &pid]).status().await.unwrap();
        tokio::time::timeout(BUDGET, self.child.wait()).await.unwrap().unwrap()
    }
}

/// Starts an SQS that accepts everything; returns its URL.
async fn start_sqs() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(|| async { Json(json!({ "MessageId": "m-1" })) }));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

/// The service on any port. Its spans wait for the end, unless somebody asks for them.
fn service(sqs: &str, endpoint: &str, key: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onboarding-api"));
    command
        .env_clear()
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("SQS_QUEUE_URL", format!("{sqs}/000000000000/onboarding"))
        .env("AWS_ENDPOINT_URL_SQS", sqs)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("CORALOGIX_API_KEY", key)
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn signal_ends_the_process_well_and_its_last_spans_arrive() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(KEY).await;
        let accepted = process.onboard().await;
        let before = process.collector.names();

        let status = process.end(signal).await;

        assert_eq!(accepted, 202, "{signal}");
        assert!(before.is_empty(), "{signal}: nothing but the end can have sent these: {before:?}");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(process.collector.names(), ["sqs.send", "POST /onboard"], "{signal}");
    }
}

#[tokio::test]
async fn process_listens_where_it_is_told_to() {
    let mut process = Process::start(KEY).await;

    let line = process.line("listening").await;

    assert!(line.contains("address=127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn refused_key_is_said_at_the_start_and_not_shown() {
    let mut process = Process::start("cxtp_wrong-secret").await;

    let line = process.line("UNAUTHENTICATED").await;

    assert!(line.contains("WARN") && line.contains("CORALOGIX_API_KEY"), "{line}");
    assert!(!line.contains("wrong-secret"), "{line}");
}

#[tokio::test]
async fn missing_variable_ends_the_process_with_its_name() {
    for variable in ["CORALOGIX_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT", "SQS_QUEUE_URL"] {
        let output = service("http://127.0.0.1:1", "http://127.0.0.1:1", KEY).env(variable, "").output();
        let output = tokio::time::timeout(BUDGET, output).await.unwrap().unwrap();

        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(&format!("onboarding-api cannot run: {variable} is missing or empty")), "{shown}");
    }
}

#[tokio::test]
async fn address_in_use_ends_the_process_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();

    let output =
        service("http://127.0.0.1:1", "http://127.0.0.1:1", KEY).env("PORT", address.port().to_string()).output();
    let output = tokio::time::timeout(BUDGET, output).await.unwrap().unwrap();

    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains(&format!("cannot listen on {address}")), "{shown}");
}
