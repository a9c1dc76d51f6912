//! The real process, under a Runtime API that hands out one event.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use onboarding_telemetry::testing::{Collector, KEY};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tonic::transport::Server;

/// More than any of this takes, on any machine.
const BUDGET: Duration = Duration::from_secs(60);

/// What the function told the Runtime API, and what the endpoint had by then.
#[derive(Debug)]
struct Answer {
    kind: String,
    body: Value,
    exported: Vec<String>,
}

/// A Runtime API that has one event.
struct RuntimeApi {
    event: Mutex<Option<Value>>,
    collector: Collector,
    answers: mpsc::Sender<Answer>,
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    let Some(event) = api.event.lock().await.take() else { return std::future::pending().await };
    let deadline = (SystemTime::now() + BUDGET).duration_since(UNIX_EPOCH).unwrap().as_millis();
    let headers = [
        ("lambda-runtime-aws-request-id", "invocation-1".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:000000000000:function:worker".to_owned()),
    ];
    (headers, Json(event)).into_response()
}

async fn answer(
    State(api): State<Arc<RuntimeApi>>,
    Path((_, kind)): Path<(String, String)>,
    body: String,
) -> StatusCode {
    let body = serde_json::from_str(&body).unwrap();
    let exported = api.collector.names();
    api.answers.send(Answer { kind, body, exported }).await.unwrap();
    StatusCode::ACCEPTED
}

/// The function with an environment as Lambda makes it, where `endpoint` is the OTLP endpoint.
fn function(runtime_api: SocketAddr, endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onboarding-lambda"));
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "worker")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("CORALOGIX_API_KEY", KEY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Lets a new environment handle one event, and returns its answer.
async fn invoke(event: Value) -> Answer {
    let collector = Collector::default();
    let (otlp, endpoint) = listen().await;
    collector.serve(Server::builder(), otlp);
    let (answers, mut answered) = mpsc::channel(1);
    let api = Arc::new(RuntimeApi { event: Mutex::new(Some(event)), collector, answers });
    let (listener, address) = listen().await;
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answer))
        .with_state(api);
    tokio::spawn(axum::serve(listener, router).into_future());
    let _function = function(address, &format!("http://{endpoint}")).spawn().unwrap();
    tokio::time::timeout(BUDGET, answered.recv()).await.unwrap().unwrap()
}

fn event(body: &str) -> Value {
    json!({ "Records": [{ "messageId": "m-1", "body": body, "messageAttributes": {} }] })
}

/// The output of a function that cannot start with this variable empty.
async fn start_without(variable: &str) -> Output {
    let (_listener, address) = listen().await;
    let output = function(address, "http://127.0.0.1:1").env(variable, "").output();
    tokio::time::timeout(BUDGET, output).await.unwrap().unwrap()
}

#[tokio::test]
async fn spans_have_arrived_when_the_invocation_is_answered() {
    let answer = invoke(event(r#"{"customer_id":"c-1","email":"c-1@example.com"}"#)).await;

    assert_eq!(answer.kind, "response");
    assert_eq!(answer.body, json!({ "batchItemFailures": [] }));
    assert_eq!(answer.exported, ["sqs.process"]);
}

#[tokio::test]
async fn spans_of_a_failed_record_have_arrived_as_well() {
    let answer = invoke(event("not json")).await;

    assert_eq!(answer.body, json!({ "batchItemFailures": [{ "itemIdentifier": "m-1" }] }));
    assert_eq!(answer.exported, ["sqs.process"]);
}

#[tokio::test]
async fn event_that_is_not_from_sqs_is_an_error() {
    let answer = invoke(json!({ "detail": "of another kind" })).await;

    assert_eq!(answer.kind, "error");
}

#[tokio::test]
async fn missing_variable_ends_the_process_with_its_name() {
    for variable in ["CORALOGIX_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let output = start_without(variable).await;

        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(&format!("onboarding-lambda cannot run: {variable} is missing or empty")), "{shown}");
        assert!(!shown.contains(KEY), "{shown}");
    }
}
