//! The flush, with an exporter that fails when it is told to.

use std::future::pending;
use std::time::Duration;

use onboarding_telemetry::export::ExportError;
use onboarding_telemetry::testing::{InMemoryExporter, telemetry, telemetry_with};
use onboarding_telemetry::{Config, FlushError, Operation, Profile, Service, Tally, Telemetry, carrier};
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

const BUDGET: Duration = Duration::from_secs(30);

/// Ends a span of this name.
fn end_span(telemetry: &Telemetry, name: &'static str) {
    drop(telemetry.tracer().start_with_context(name, &Context::new()));
}

fn names(exporter: &InMemoryExporter) -> Vec<String> {
    exporter.spans().into_iter().map(|span| span.name.into_owned()).collect()
}

/// The configuration of telemetry that is switched off.
fn disabled() -> Config {
    let variable = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    Config::from_variables(&Profile::FUNCTION, variable).expect("nothing else is needed")
}

fn unavailable() -> ExportError {
    ExportError::Unavailable("nobody there".to_owned())
}

fn unauthenticated() -> ExportError {
    ExportError::Unauthenticated { code: "UNAUTHENTICATED", message: "who are you?".to_owned() }
}

#[tokio::test]
async fn flush_exports_what_has_ended() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    end_span(&telemetry, "b");

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["a", "b"]);
    assert_eq!(exporter.export_sizes(), [2]);
    assert_eq!(telemetry.tally(), Tally { ended: 2, exported: 2, ..Tally::default() });
}

#[tokio::test]
async fn flush_of_nothing_exports_nothing() {
    let exporter = InMemoryExporter::default();

    telemetry(exporter.clone()).flush(BUDGET).await.unwrap();

    assert_eq!(exporter.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn unanswered_export_is_tried_again_within_the_budget() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.fail_next(unavailable());
    exporter.fail_next(unavailable());

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["a"]);
    assert_eq!(exporter.attempts(), 3);
}

#[tokio::test]
async fn batch_with_a_refused_key_is_kept_and_delivered_once_by_the_next_flush() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.fail_next(unauthenticated());

    let refused = telemetry.flush(BUDGET).await;
    end_span(&telemetry, "b");
    telemetry.flush(BUDGET).await.unwrap();
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(refused, Err(FlushError::KeyRefused { waiting: 1, cause: unauthenticated() }));
    assert_eq!(names(&exporter), ["a", "b"]);
    assert_eq!(telemetry.tally().waiting(), 0);
}

#[tokio::test]
async fn refused_key_is_not_tried_again_in_the_same_flush() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.fail_next(unauthenticated());

    telemetry.flush(BUDGET).await.unwrap_err();

    assert_eq!(exporter.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn flush_out_of_time_says_why_and_keeps_the_spans() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    for _ in 0..100 {
        exporter.fail_next(unavailable());
    }

    let error = telemetry.flush(Duration::from_secs(3)).await.unwrap_err();

    assert_eq!(error, FlushError::OutOfTime { waiting: 1, last: Some(unavailable()) });
    assert!(error.to_string().contains("nobody there"), "{error}");
    assert!(names(&exporter).is_empty());
}

#[tokio::test(start_paused = true)]
async fn exports_that_never_end_are_given_up_when_the_budget_is_used_up() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    for _ in 0..100 {
        exporter.swallow_next();
    }

    let error = telemetry.flush(Duration::from_secs(1)).await.unwrap_err();

    assert!(matches!(error, FlushError::OutOfTime { waiting: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn export_that_never_ends_leaves_time_for_another_attempt() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.swallow_next();

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["a"]);
    assert_eq!(exporter.attempts(), 2);
}

#[tokio::test]
async fn rejected_spans_are_counted_and_do_not_hold_up_the_others() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry_with(exporter.clone(), &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")]);
    for name in ["a", "b", "c"] {
        end_span(&telemetry, name);
    }
    exporter.fail_next(ExportError::Rejected { spans: 1, message: "too old".to_owned() });

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["c"]);
    assert_eq!(telemetry.tally(), Tally { ended: 3, exported: 2, rejected: 1, dropped: 0 });
}

#[tokio::test]
async fn batch_that_is_refused_for_good_does_not_hold_up_the_next() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    end_span(&telemetry, "b");
    exporter.fail_next(ExportError::Refused { code: "Internal".to_owned(), message: "a bug".to_owned() });

    telemetry.flush(BUDGET).await.unwrap();
    end_span(&telemetry, "c");
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["c"]);
    assert_eq!(exporter.attempts(), 2);
    assert_eq!(telemetry.tally(), Tally { ended: 3, exported: 1, rejected: 2, dropped: 0 });
}

#[tokio::test]
async fn long_text_is_cut() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    let longest = "ä".repeat(256);
    let operation = Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &Context::new());
    operation.set_attribute(KeyValue::new("kept", longest.clone()));
    operation.set_attribute(KeyValue::new("cut", "ä".repeat(100_000)));

    operation.fail("error", "ä".repeat(257));
    telemetry.flush(BUDGET).await.unwrap();

    let span = &exporter.spans()[0];
    let texts: Vec<_> = span.attributes.iter().map(|attribute| attribute.value.to_string()).collect();
    assert_eq!(texts, [longest.as_str(), &longest, "error"]);
    assert_eq!(span.status, Status::error(longest));
}

#[tokio::test]
async fn batches_are_bounded() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry_with(exporter.clone(), &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")]);
    for name in ["a", "b", "c", "d", "e"] {
        end_span(&telemetry, name);
    }

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(exporter.export_sizes(), [2, 2, 1]);
    assert_eq!(names(&exporter), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn full_buffer_drops_the_newest_and_counts_them() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry_with(exporter.clone(), &[("OTEL_BSP_MAX_QUEUE_SIZE", "2")]);
    for name in ["a", "b", "c", "d", "e"] {
        end_span(&telemetry, name);
    }

    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["a", "b"]);
    assert_eq!(telemetry.tally(), Tally { ended: 5, exported: 2, rejected: 0, dropped: 3 });
}

#[tokio::test(start_paused = true)]
async fn flush_that_is_dropped_half_way_loses_nothing() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.fail_next(unavailable());
    let first_pause_is_longer = Duration::from_millis(1);

    tokio::time::timeout(first_pause_is_longer, telemetry.flush(BUDGET)).await.unwrap_err();
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(names(&exporter), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn flushes_take_turns_and_deliver_each_span_once() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    end_span(&telemetry, "a");
    exporter.fail_next(unavailable());

    let (one, other) = tokio::join!(telemetry.flush(BUDGET), telemetry.flush(BUDGET));

    assert_eq!((one, other), (Ok(()), Ok(())));
    assert_eq!(names(&exporter), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn background_flush_exports_after_the_schedule_delay() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry_with(exporter.clone(), &[("OTEL_BSP_SCHEDULE_DELAY", "200")]);
    end_span(&telemetry, "a");

    tokio::time::timeout(Duration::from_millis(199), telemetry.flush_periodically(pending())).await.unwrap_err();
    let before = exporter.attempts();
    tokio::time::timeout(Duration::from_millis(201), telemetry.flush_periodically(pending())).await.unwrap_err();

    assert_eq!(before, 0);
    assert_eq!(names(&exporter), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn background_flush_exports_a_full_batch_at_once() {
    let exporter = InMemoryExporter::default();
    let limits = [("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
    let telemetry = telemetry_with(exporter.clone(), &limits);
    end_span(&telemetry, "a");
    end_span(&telemetry, "b");

    tokio::time::timeout(Duration::from_secs(1), telemetry.flush_periodically(pending())).await.unwrap_err();

    assert_eq!(names(&exporter), ["a", "b"]);
}

#[tokio::test]
async fn unsampled_span_is_not_exported() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let parent = carrier::extract([("traceparent", unsampled)]);

    Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &parent).succeed();
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(exporter.attempts(), 0);
    assert_eq!(telemetry.tally().ended, 0);
}

#[tokio::test]
async fn switched_off_telemetry_records_nothing_and_lets_the_context_through() {
    let service = Service { name: "service", version: "1", application: "application", attributes: Vec::new() };
    let telemetry = Telemetry::start(disabled(), &service);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parent = carrier::extract([("traceparent", traceparent)]);

    let operation = Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &parent);
    let carried = carrier::inject(operation.context());
    operation.succeed();
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(carried["traceparent"], traceparent);
    assert_eq!(telemetry.tally(), Tally::default());
}

#[tokio::test]
async fn switched_off_telemetry_has_no_trace_id_of_its_own() {
    let service = Service { name: "service", version: "1", application: "application", attributes: Vec::new() };
    let telemetry = Telemetry::start(disabled(), &service);

    let operation = Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &Context::new());

    assert_eq!(operation.trace_id(), None);
}

#[tokio::test]
async fn operation_that_is_dropped_ends_as_cancelled_although_its_context_lives_on() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    let operation = Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &Context::new());
    let context = operation.context().clone();

    drop(operation);
    telemetry.flush(BUDGET).await.unwrap();

    assert!(!context.span().is_recording());
    assert_eq!(exporter.spans()[0].status, Status::error("given up before it was done"));
}

#[tokio::test]
async fn operation_that_panics_ends_as_panicked() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());
    let operation = Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &Context::new());

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _operation = operation;
        panic!("as the test wants it");
    }));
    telemetry.flush(BUDGET).await.unwrap();

    assert!(panicked.is_err());
    assert_eq!(exporter.spans()[0].status, Status::error("the code panicked"));
}

#[tokio::test]
async fn operation_that_succeeds_leaves_the_status_unset() {
    let exporter = InMemoryExporter::default();
    let telemetry = telemetry(exporter.clone());

    Operation::start(telemetry.tracer(), SpanBuilder::from_name("a"), &Context::new()).succeed();
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(exporter.spans()[0].status, Status::Unset);
}
