//! The worker, with telemetry that stays in the process.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Context, LambdaEvent};
use onboarding_lambda::onboarding::{Customer, WorkError, onboard};
use onboarding_lambda::worker::{InvocationError, Worker};
use onboarding_telemetry::export::ExportError;
use onboarding_telemetry::testing::{InMemoryExporter, telemetry};
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Value as Json, json};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CUSTOMER: &str = r#"{"customer_id":"c-1","email":"c-1@example.com"}"#;

/// A record as Lambda's event source mapping writes it.
fn record(message_id: &str, body: &str) -> Json {
    json!({
        "messageId": message_id,
        "receiptHandle": "handle",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        },
        "messageAttributes": {
            "traceparent": {
                "stringValue": TRACEPARENT, "stringListValues": [], "binaryListValues": [], "dataType": "String",
            },
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:onboarding",
        "awsRegion": "eu-west-1",
    })
}

fn invocation(records: &[Json]) -> LambdaEvent<SqsEvent> {
    let mut context = Context::default();
    context.request_id = "invocation-1".to_owned();
    context.invoked_function_arn = "arn:aws:lambda:eu-west-1:000000000000:function:worker".to_owned();
    let deadline = SystemTime::now() + Duration::from_secs(60);
    context.deadline = u64::try_from(deadline.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    LambdaEvent::new(serde_json::from_value(json!({ "Records": records })).unwrap(), context)
}

/// Handles one invocation of a new environment, and returns its answer and what was exported then.
async fn handle<W>(work: W, records: &[Json]) -> (Result<SqsBatchResponse, InvocationError>, Vec<SpanData>)
where
    W: AsyncFn(&Customer) -> Result<(), WorkError>,
{
    let exporter = InMemoryExporter::default();
    let answer = Worker::new(telemetry(exporter.clone()), work).handle(invocation(records)).await;
    (answer, exporter.spans())
}

fn failed_ids(answer: &Result<SqsBatchResponse, InvocationError>) -> Vec<&str> {
    let failures = &answer.as_ref().unwrap().batch_item_failures;
    failures.iter().map(|failure| failure.item_identifier.as_str()).collect()
}

fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.clone())
}

fn is_error(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

#[tokio::test]
async fn consumer_span_is_the_child_of_the_span_that_sent_the_message() {
    let (_, spans) = handle(onboard, &[record("m-1", CUSTOMER)]).await;

    let [span] = spans.as_slice() else { panic!("one span, not {spans:?}") };
    assert_eq!((span.name.as_ref(), &span.span_kind), ("sqs.process", &SpanKind::Consumer));
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(span.parent_span_is_remote);
    assert_eq!(span.status, Status::Unset);
}

#[tokio::test]
async fn consumer_span_describes_message_and_invocation() {
    let (_, spans) = handle(onboard, &[record("m-1", CUSTOMER)]).await;

    for (key, value) in [
        ("messaging.system", Value::from("aws_sqs")),
        ("messaging.operation.name", Value::from("process")),
        ("messaging.operation.type", Value::from("process")),
        ("messaging.message.id", Value::from("m-1")),
        ("messaging.destination.name", Value::from("onboarding")),
        ("customer.id", Value::from("c-1")),
        ("faas.invocation_id", Value::from("invocation-1")),
        ("faas.coldstart", Value::from(true)),
    ] {
        assert_eq!(attribute(&spans[0], key), Some(value), "{key}");
    }
}

#[tokio::test]
async fn message_cannot_make_a_span_large() {
    let long = "x".repeat(10_000);
    let customer = json!({ "customer_id": long, "email": "a@b" }).to_string();
    let unreadable = json!(long).to_string();

    let (_, spans) = handle(onboard, &[record("m-1", &customer), record("m-2", &unreadable)]).await;

    assert_eq!(attribute(&spans[0], "customer.id"), Some(Value::from("x".repeat(256))));
    let Status::Error { description } = &spans[1].status else { panic!("an error, not {:?}", spans[1]) };
    assert_eq!(description.chars().count(), 256, "{description}");
}

#[tokio::test]
async fn only_the_first_invocation_is_a_cold_start() {
    let exporter = InMemoryExporter::default();
    let worker = Worker::new(telemetry(exporter.clone()), onboard);

    for message_id in ["m-1", "m-2", "m-3"] {
        worker.handle(invocation(&[record(message_id, CUSTOMER)])).await.unwrap();
    }

    let cold: Vec<_> = exporter.spans().iter().filter_map(|span| attribute(span, "faas.coldstart")).collect();
    assert_eq!(cold, [Value::from(true), Value::from(false), Value::from(false)]);
}

#[tokio::test]
async fn message_without_context_starts_a_trace() {
    let mut orphan = record("m-1", CUSTOMER);
    orphan["messageAttributes"] = json!({});

    let (_, spans) = handle(onboard, &[orphan]).await;

    assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
}

#[tokio::test]
async fn each_record_has_the_parent_of_its_own_message() {
    let mut other = record("m-2", CUSTOMER);
    let parent = "00-11111111111111111111111111111111-2222222222222222-01";
    other["messageAttributes"]["traceparent"]["stringValue"] = parent.into();

    let (_, spans) = handle(onboard, &[record("m-1", CUSTOMER), other]).await;

    let parents: Vec<_> = spans.iter().map(|span| span.parent_span_id.to_string()).collect();
    assert_eq!(parents, ["b7ad6b7169203331", "2222222222222222"]);
}

#[tokio::test]
async fn unreadable_record_fails_alone_and_its_span_is_an_error() {
    for body in ["not json", "{}", r#"{"customer_id":1}"#, ""] {
        let (answer, spans) = handle(onboard, &[record("bad", body), record("good", CUSTOMER)]).await;

        assert_eq!(failed_ids(&answer), ["bad"], "{body:?}");
        assert_eq!(spans.iter().map(is_error).collect::<Vec<_>>(), [true, false], "{body:?}");
        assert_eq!(attribute(&spans[0], "error.type"), Some(Value::from("InvalidBody")), "{body:?}");
    }
}

#[tokio::test]
async fn failed_work_fails_its_record() {
    let work = async |_: &Customer| Err(WorkError("the database is away".to_owned()));

    let (answer, spans) = handle(work, &[record("m-1", CUSTOMER)]).await;

    assert_eq!(failed_ids(&answer), ["m-1"]);
    assert_eq!(spans[0].status, Status::error("the database is away"));
}

#[tokio::test]
async fn failed_record_without_an_id_fails_the_invocation_after_the_flush() {
    let mut nameless = record("", "not json");
    nameless["messageId"] = Json::Null;

    let (answer, spans) = handle(onboard, &[nameless]).await;

    assert_eq!(answer, Err(InvocationError::UnidentifiedRecord));
    assert!(is_error(&spans[0]));
}

#[tokio::test]
async fn panic_fails_the_invocation_after_the_flush() {
    let work =
        async |customer: &Customer| -> Result<(), WorkError> { panic!("cannot onboard {}", customer.customer_id) };

    let (answer, spans) = handle(work, &[record("m-1", CUSTOMER), record("m-2", CUSTOMER)]).await;

    assert_eq!(answer, Err(InvocationError::Panicked("cannot onboard c-1".to_owned())));
    assert_eq!(spans.len(), 1, "the second record was never begun");
    assert_eq!(spans[0].status, Status::error("the code panicked"));
}

#[tokio::test]
async fn worker_goes_on_after_a_panic() {
    let exporter = InMemoryExporter::default();
    let panics = AtomicBool::new(true);
    let work = async |_: &Customer| -> Result<(), WorkError> {
        assert!(!panics.swap(false, Ordering::Relaxed), "the first time it panics");
        Ok(())
    };
    let worker = Worker::new(telemetry(exporter.clone()), work);

    worker.handle(invocation(&[record("m-1", CUSTOMER)])).await.unwrap_err();
    let answer = worker.handle(invocation(&[record("m-1", CUSTOMER)])).await;

    assert!(failed_ids(&answer).is_empty());
    assert_eq!(exporter.spans().iter().map(is_error).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn failing_flush_does_not_fail_the_invocation_and_the_next_one_delivers() {
    let exporter = InMemoryExporter::default();
    let worker = Worker::new(telemetry(exporter.clone()), onboard);
    exporter.fail_next(ExportError::Unauthenticated { code: "UNAUTHENTICATED", message: "who are you?".to_owned() });

    let answer = worker.handle(invocation(&[record("m-1", CUSTOMER)])).await;
    let after_the_first = exporter.spans().len();
    worker.handle(invocation(&[record("m-2", CUSTOMER)])).await.unwrap();

    assert!(failed_ids(&answer).is_empty());
    assert_eq!(after_the_first, 0);
    let messages: Vec<_> = exporter.spans().iter().filter_map(|span| attribute(span, "messaging.message.id")).collect();
    assert_eq!(messages, [Value::from("m-1"), Value::from("m-2")]);
}

#[tokio::test]
async fn invocation_without_records_is_answered() {
    let (answer, spans) = handle(onboard, &[]).await;

    assert!(failed_ids(&answer).is_empty());
    assert!(spans.is_empty());
}
