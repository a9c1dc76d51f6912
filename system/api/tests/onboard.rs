//! The service over HTTP, before an SQS that the test answers for.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use onboarding_api::app::{App, router};
use onboarding_api::queue::Queue;
use onboarding_api::serve::serve;
use onboarding_telemetry::Telemetry;
use onboarding_telemetry::testing::{InMemoryExporter, telemetry};
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value as Json_, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

const BUDGET: Duration = Duration::from_secs(20);
const CUSTOMER: &str = r#"{"customer_id":"c-1","email":"c-1@example.com"}"#;

/// How the SQS of a test answers.
#[derive(Clone, Copy)]
enum Sqs {
    Accepts,
    Answers(u16, &'static str),
    NeverAnswers,
    IsAway,
}

/// What the SQS of a test has seen.
#[derive(Clone, Default)]
struct Seen {
    sent: Arc<Mutex<Vec<Json_>>>,
    /// Told at each call.
    called: Arc<Notify>,
}

/// The service, and what it did.
struct Service {
    address: SocketAddr,
    telemetry: Telemetry,
    exporter: InMemoryExporter,
    seen: Seen,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Service {
    async fn start(sqs: Sqs) -> Self {
        let seen = Seen::default();
        let endpoint = start_sqs(sqs, seen.clone()).await;
        let exporter = InMemoryExporter::default();
        let telemetry = telemetry(exporter.clone());
        let queue = Queue::new(client_config(endpoint), format!("http://{endpoint}/000000000000/onboarding"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let app = App { telemetry: telemetry.clone(), queue };
        let served = tokio::spawn(serve(listener, router(app), async { drop(stopped.await) }));
        Self { address, telemetry, exporter, seen, stop: Some(stop), served }
    }

    fn post(&self, body: &str) -> RequestBuilder {
        let url = format!("http://{}/onboard", self.address);
        Client::new().post(url).header("content-type", "application/json").body(body.to_owned())
    }

    /// Sends a request; returns the status, the header `x-trace-id` and the body of the answer.
    async fn answer(&self, request: RequestBuilder) -> (u16, Option<String>, Json_) {
        let answer = request.send().await.unwrap();
        let trace_id = answer.headers().get("x-trace-id").map(|id| id.to_str().unwrap().to_owned());
        (answer.status().as_u16(), trace_id, answer.json().await.unwrap_or_default())
    }

    /// The spans that have ended, by name.
    async fn spans(&self) -> Vec<SpanData> {
        self.telemetry.flush(BUDGET).await.unwrap();
        self.exporter.spans()
    }

    async fn span(&self, name: &str) -> SpanData {
        let spans = self.spans().await;
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} is not in {spans:?}")).clone()
    }
}

async fn start_sqs(sqs: Sqs, seen: Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if !matches!(sqs, Sqs::IsAway) {
        let router = Router::new().route("/", post(receive)).with_state((sqs, seen));
        tokio::spawn(axum::serve(listener, router).into_future());
    }
    address
}

async fn receive(State((sqs, seen)): State<(Sqs, Seen)>, body: String) -> Response {
    seen.sent.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    seen.called.notify_one();
    match sqs {
        Sqs::Accepts => Json(json!({ "MessageId": "m-1" })).into_response(),
        Sqs::Answers(status, code) => {
            let error = json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "as the test wants it" });
            (StatusCode::from_u16(status).unwrap(), Json(error)).into_response()
        }
        Sqs::NeverAnswers | Sqs::IsAway => std::future::pending().await,
    }
}

fn client_config(endpoint: SocketAddr) -> aws_sdk_sqs::Config {
    aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url(format!("http://{endpoint}"))
        .retry_config(RetryConfig::disabled())
        .build()
}

fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

fn is_error(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

#[tokio::test]
async fn accepted_request_names_message_and_trace() {
    let service = Service::start(Sqs::Accepts).await;

    let (status, header, body) = service.answer(service.post(CUSTOMER)).await;

    let trace_id = service.span("POST /onboard").await.span_context.trace_id().to_string();
    assert_eq!(status, 202);
    assert_eq!(body, json!({ "customer_id": "c-1", "message_id": "m-1", "trace_id": trace_id }));
    assert_eq!(header, Some(trace_id));
}

#[tokio::test]
async fn producer_span_is_the_child_of_the_server_span() {
    let service = Service::start(Sqs::Accepts).await;

    service.answer(service.post(CUSTOMER)).await;

    let (server, producer) = (service.span("POST /onboard").await, service.span("sqs.send").await);
    assert_eq!(service.spans().await.len(), 2);
    assert_eq!((&server.span_kind, &producer.span_kind), (&SpanKind::Server, &SpanKind::Producer));
    assert_eq!(server.parent_span_id, SpanId::INVALID);
    assert_eq!(producer.parent_span_id, server.span_context.span_id());
    assert_eq!(producer.span_context.trace_id(), server.span_context.trace_id());
    assert_eq!((&server.status, &producer.status), (&Status::Unset, &Status::Unset));
}

#[tokio::test]
async fn message_carries_the_context_of_the_producer_span_and_no_empty_attribute() {
    let service = Service::start(Sqs::Accepts).await;

    service.answer(service.post(CUSTOMER)).await;

    let producer = service.span("sqs.send").await.span_context;
    let traceparent = format!("00-{}-{}-01", producer.trace_id(), producer.span_id());
    let sent = service.seen.sent.lock().unwrap()[0].clone();
    let expected = json!({ "traceparent": { "DataType": "String", "StringValue": traceparent } });
    assert_eq!(sent["MessageAttributes"], expected);
    assert_eq!(sent["MessageBody"], CUSTOMER);
}

#[tokio::test]
async fn spans_describe_the_request_and_the_message() {
    let service = Service::start(Sqs::Accepts).await;

    service.answer(service.post(CUSTOMER).header("user-agent", "tester")).await;

    let (server, producer) = (service.span("POST /onboard").await, service.span("sqs.send").await);
    for (span, key, value) in [
        (&server, "http.request.method", Value::from("POST")),
        (&server, "http.route", Value::from("/onboard")),
        (&server, "http.response.status_code", Value::from(202)),
        (&server, "url.path", Value::from("/onboard")),
        (&server, "server.address", Value::from("127.0.0.1")),
        (&server, "server.port", Value::from(i64::from(service.address.port()))),
        (&server, "user_agent.original", Value::from("tester")),
        (&server, "customer.id", Value::from("c-1")),
        (&producer, "messaging.system", Value::from("aws_sqs")),
        (&producer, "messaging.operation.type", Value::from("send")),
        (&producer, "messaging.destination.name", Value::from("onboarding")),
        (&producer, "messaging.message.id", Value::from("m-1")),
        (&producer, "customer.id", Value::from("c-1")),
    ] {
        assert_eq!(attribute(span, key), Some(value), "{key}");
    }
}

#[tokio::test]
async fn client_cannot_make_a_span_large() {
    let service = Service::start(Sqs::Accepts).await;
    let long = "x".repeat(10_000);
    let request = service.post(CUSTOMER).header("user-agent", &long).header("host", &long);

    service.answer(request).await;

    let server = service.span("POST /onboard").await;
    for key in ["user_agent.original", "server.address"] {
        assert_eq!(attribute(&server, key), Some(Value::from("x".repeat(256))), "{key}");
    }
}

#[tokio::test]
async fn trace_of_the_caller_goes_on() {
    let service = Service::start(Sqs::Accepts).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = service.post(CUSTOMER).header("traceparent", traceparent).header("tracestate", "vendor=1");

    let (_, header, _) = service.answer(request).await;

    let server = service.span("POST /onboard").await;
    assert_eq!(header.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(server.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(server.parent_span_is_remote);
    let sent = service.seen.sent.lock().unwrap()[0].clone();
    assert_eq!(sent["MessageAttributes"]["tracestate"]["StringValue"], "vendor=1");
}

#[tokio::test]
async fn bad_body_is_the_clients_fault_and_no_error_of_the_server() {
    for body in [
        "",
        "{",
        "[]",
        r#"{"customer_id":"c-1"}"#,
        r#"{"customer_id":1,"email":"a@b"}"#,
        r#"{"customer_id":" ","email":"a@b"}"#,
        r#"{"customer_id":"c-1","email":"nobody"}"#,
        r#"{"customer_id":"c-1","email":"@"}"#,
    ] {
        let service = Service::start(Sqs::Accepts).await;

        let (status, header, answer) = service.answer(service.post(body)).await;

        let server = service.span("POST /onboard").await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(server.status, Status::Unset, "{body}");
        assert_eq!(attribute(&server, "http.response.status_code"), Some(Value::from(400)), "{body}");
        assert_eq!(answer["trace_id"].as_str(), header.as_deref(), "{body}");
        assert_eq!(header, Some(server.span_context.trace_id().to_string()), "{body}");
        assert!(!answer["error"].as_str().unwrap().is_empty(), "{body}");
        assert!(service.seen.sent.lock().unwrap().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn overlong_field_is_refused() {
    let service = Service::start(Sqs::Accepts).await;
    let body = json!({ "customer_id": "c".repeat(255), "email": "a@b" }).to_string();

    let (status, _, answer) = service.answer(service.post(&body)).await;

    assert_eq!((status, answer["error"].as_str()), (400, Some("customer_id is too long")));
}

#[tokio::test]
async fn body_of_another_type_is_refused() {
    let service = Service::start(Sqs::Accepts).await;
    let url = format!("http://{}/onboard", service.address);

    let (status, ..) = service.answer(Client::new().post(url).body(CUSTOMER)).await;

    assert_eq!(status, 415);
    assert_eq!(service.span("POST /onboard").await.status, Status::Unset);
}

#[tokio::test]
async fn another_method_has_a_span_of_its_own_name() {
    let service = Service::start(Sqs::Accepts).await;
    let url = format!("http://{}/onboard", service.address);

    let (status, header, _) = service.answer(Client::new().get(url)).await;

    assert_eq!(status, 405);
    assert_eq!(header, Some(service.span("GET /onboard").await.span_context.trace_id().to_string()));
}

/// Both spans are errors, the answer has this status, and the producer span names this error.
async fn queue_failure_is_told(sqs: Sqs, expected: u16, error_type: &'static str) {
    let service = Service::start(sqs).await;

    let (status, header, answer) = service.answer(service.post(CUSTOMER)).await;

    let (server, producer) = (service.span("POST /onboard").await, service.span("sqs.send").await);
    assert_eq!(status, expected);
    assert!(is_error(&server) && is_error(&producer), "{server:?} {producer:?}");
    assert_eq!(attribute(&server, "http.response.status_code"), Some(Value::from(i64::from(expected))));
    assert_eq!(attribute(&server, "error.type"), Some(Value::from(expected.to_string())));
    assert_eq!(attribute(&producer, "error.type"), Some(Value::from(error_type)));
    assert_eq!(answer["trace_id"].as_str(), header.as_deref());
    assert_eq!(answer["error"], "the request could not be queued");
}

#[tokio::test]
async fn refusal_of_the_queue_is_a_bad_gateway() {
    queue_failure_is_told(Sqs::Answers(400, "QueueDoesNotExist"), 502, "QueueDoesNotExist").await;
}

#[tokio::test]
async fn failure_of_the_queue_makes_the_service_unavailable() {
    queue_failure_is_told(Sqs::Answers(500, "InternalFailure"), 503, "InternalFailure").await;
}

#[tokio::test]
async fn throttling_by_the_queue_makes_the_service_unavailable() {
    queue_failure_is_told(Sqs::Answers(400, "RequestThrottled"), 503, "RequestThrottled").await;
}

#[tokio::test]
async fn queue_that_is_away_makes_the_service_unavailable() {
    queue_failure_is_told(Sqs::IsAway, 503, "DispatchFailure").await;
}

#[tokio::test]
async fn queue_that_never_answers_makes_the_service_unavailable() {
    queue_failure_is_told(Sqs::NeverAnswers, 503, "Timeout").await;
}

#[tokio::test]
async fn client_that_goes_away_leaves_ended_spans() {
    let service = Service::start(Sqs::NeverAnswers).await;
    let request = tokio::spawn(service.post(CUSTOMER).send());
    service.seen.called.notified().await;

    request.abort();
    let spans_end = async {
        while service.telemetry.tally().ended < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BUDGET, spans_end).await.expect("both spans end");

    for name in ["POST /onboard", "sqs.send"] {
        assert_eq!(service.span(name).await.status, Status::error("given up before it was done"), "{name}");
    }
}

#[tokio::test]
async fn health_is_answered_without_a_span() {
    let service = Service::start(Sqs::Accepts).await;

    let answer = reqwest::get(format!("http://{}/health", service.address)).await.unwrap();

    assert_eq!(answer.status(), 200);
    assert!(service.spans().await.is_empty());
}

#[tokio::test]
async fn stopping_answers_what_has_begun_and_accepts_nothing_more() {
    let mut service = Service::start(Sqs::NeverAnswers).await;
    let request = tokio::spawn(service.post(CUSTOMER).send());
    service.seen.called.notified().await;

    service.stop.take().unwrap().send(()).unwrap();
    let answer = request.await.unwrap().unwrap();
    service.served.await.unwrap().unwrap();

    assert_eq!(answer.status(), 503, "the time-out of the queue, and not a broken connection");
    assert!(reqwest::get(format!("http://{}/health", service.address)).await.is_err());
}
