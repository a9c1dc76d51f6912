//! What a good exporter sends arrives as it was sent.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use assert_matches::assert_matches;
use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, Observer, Received, Refusal};
use opentelemetry::trace::{Link, Span as _, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use verifier::event::{Export, ExportAnswer};
use verifier::span::{Attribute, Span, SpanStatus};
use verifier::{EnvironmentId, Peer, SpanId, TraceId};

use crate::support::{Client, HANG, KEY, Listening, exporter, names, plaintext, soon, span, tls};

/// What the SDK says of a span that it has made.
struct Made {
    trace_id: TraceId,
    span_id: SpanId,
}

impl From<&opentelemetry::trace::SpanContext> for Made {
    fn from(context: &opentelemetry::trace::SpanContext) -> Self {
        Self {
            trace_id: TraceId::from_bytes(context.trace_id().to_bytes()),
            span_id: SpanId::from_bytes(context.span_id().to_bytes()),
        }
    }
}

/// Makes a server span with a producer below it and exports both at once.
async fn export_onboarding(exporter: SpanExporter) -> (Made, Made) {
    let resource = Resource::builder_empty().with_service_name("onboarding-api").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("test");

    let server = tracer.span_builder("POST /onboard").with_kind(SpanKind::Server).start(&tracer);
    let context = Context::new().with_span(server);
    let server = context.span().span_context().clone();
    let codes = Value::Array(Array::I64(vec![202, 500]));
    let mut producer = tracer
        .span_builder("sqs.send")
        .with_kind(SpanKind::Producer)
        .with_attributes([KeyValue::new("messaging.system", "aws_sqs"), KeyValue::new("codes", codes)])
        .with_links(vec![Link::with_context(server.clone())])
        .start_with_context(&tracer, &context);
    producer.set_status(Status::error("throttled"));
    producer.end();
    context.span().end();

    let flushed = tokio::task::spawn_blocking(move || provider.shutdown());
    soon("flush", flushed).await.unwrap().unwrap();
    (Made::from(&server), Made::from(producer.span_context()))
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute { key: key.to_owned(), value: value.to_owned() }
}

fn assert_onboarding(exports: &[Export], server: &Made, producer: &Made) {
    let [export] = exports else { panic!("one export, not {exports:#?}") };
    assert_eq!(export.answer, ExportAnswer::Stored);
    let resource_spans = export.payload.to_resource_spans();
    let [from] = resource_spans.as_slice() else { panic!("one resource, not {export:#?}") };
    assert_eq!(from.resource.attributes, [attribute("service.name", "onboarding-api")]);
    let [sent, received]: &[Span; 2] = from.spans.as_slice().try_into().unwrap();

    assert_eq!((sent.name.as_str(), sent.kind), ("sqs.send", verifier::SpanKind::Producer));
    assert_eq!((sent.trace_id, sent.span_id), (producer.trace_id, producer.span_id));
    assert_eq!(sent.parent_span_id, Some(server.span_id));
    assert_eq!(sent.attributes, [attribute("messaging.system", "aws_sqs"), attribute("codes", "[202,500]")]);
    assert_eq!(sent.links.iter().map(|link| link.span_id).collect::<Vec<_>>(), [server.span_id]);
    assert_eq!(sent.status, SpanStatus::Error("throttled".to_owned()));

    assert_eq!((received.name.as_str(), received.kind), ("POST /onboard", verifier::SpanKind::Server));
    assert_eq!((received.trace_id, received.span_id), (server.trace_id, server.span_id));
    assert_eq!(received.parent_span_id, None);
    assert_eq!(received.status, SpanStatus::Unset);
    assert!(received.start <= sent.start && sent.end <= received.end, "{received:?} around {sent:?}");
    assert_eq!(server.trace_id, producer.trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_as_the_sdk_made_them() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let (server, producer) = export_onboarding(exporter(listening.address)).await;
    assert_onboarding(&witness.exports(), &server, &producer);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_over_tls_as_the_sdk_made_them() {
    let (endpoint, identity, witness) = tls();
    let listening = Listening::anyone(&endpoint).await;
    let client = Client { key: Some(KEY), ca_pem: Some(identity.ca_pem()), ..Client::default() };
    let (server, producer) = export_onboarding(client.exporter(listening.address)).await;
    assert_onboarding(&witness.exports(), &server, &producer);
}

#[tokio::test]
async fn compressed_export_is_read() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let client = Client { key: Some(KEY), gzip: true, ..Client::default() };
    client.exporter(listening.address).export(vec![span("a")]).await.unwrap();
    assert_eq!(names(&witness.exports()[0]), ["a"]);
}

#[tokio::test]
async fn every_export_stays_one_and_has_its_number() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let exporter = exporter(listening.address);
    exporter.export(vec![span("a"), span("b")]).await.unwrap();
    exporter.export(vec![span("c")]).await.unwrap();

    let exports = witness.exports();
    assert_eq!(exports.iter().map(|export| export.export).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(exports.iter().map(names).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c"]]);
    assert_eq!(endpoint.exports(), 2);
}

#[tokio::test]
async fn listeners_of_one_endpoint_tell_their_senders_apart() {
    let (endpoint, witness) = plaintext();
    let api = Peer::Service("api".to_owned());
    let environment = Peer::Environment(EnvironmentId::new("worker-1"));
    let at_api = Listening::start(&endpoint, api.clone()).await;
    let at_environment = Listening::start(&endpoint, environment.clone()).await;
    exporter(at_environment.address).export(vec![span("process")]).await.unwrap();
    exporter(at_api.address).export(vec![span("send")]).await.unwrap();

    let told = witness.exports();
    let told: Vec<_> = told.iter().map(|export| (export.export, export.peer.clone(), names(export))).collect();
    assert_eq!(told, [(0, environment, vec!["process"]), (1, api, vec!["send"])]);
}

#[tokio::test]
async fn concurrent_exports_have_numbers_of_their_own() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let exporters: Vec<_> = (0..8).map(|_| exporter(listening.address)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for exporter in exporters {
        tasks.spawn(async move {
            for _ in 0..8 {
                exporter.export(vec![span("a")]).await.unwrap();
            }
        });
    }
    soon("exports", tasks.join_all()).await;

    let mut numbers: Vec<_> = witness.exports().iter().map(|export| export.export).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..64).collect::<Vec<_>>());
}

#[tokio::test]
async fn unknown_or_missing_key_is_unauthenticated_and_its_spans_are_evidence() {
    let (endpoint, identity, witness) = tls();
    let listening = Listening::anyone(&endpoint).await;
    for key in [Some("another-key"), Some(""), None] {
        let client = Client { key, ca_pem: Some(identity.ca_pem()), ..Client::default() };
        let error = client.exporter(listening.address).export(vec![span("lost")]).await.unwrap_err();
        assert!(format!("{error:?}").contains("Unauthenticated"), "{key:?}: {error:?}");
    }
    let exports = witness.exports();
    assert_eq!(exports.len(), 3, "a refused key is not tried again: {exports:?}");
    for export in exports {
        assert_eq!((&export.answer, names(&export)), (&ExportAnswer::Unauthenticated, vec!["lost"]));
    }
}

/// Says that it was told, and then returns no sooner than it is allowed to.
struct Slow {
    told: mpsc::SyncSender<()>,
    go_on: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Observer for Slow {
    fn export(&self, _: Received, _: Export) {
        self.told.send(()).unwrap();
        // The worker that is held here may be the one that drives the timers and sockets of all others:
        // it has to hand that over first, or nobody's time-out passes any more.
        tokio::task::block_in_place(|| self.go_on.lock().unwrap().recv().unwrap());
    }

    fn refused(&self, _: Received, _: &Peer, refusal: Refusal) {
        panic!("{refusal}");
    }
}

/// An endpoint whose observer holds every export, until a message lets it go.
fn slow_endpoint(shutdown_grace: Duration) -> (Endpoint, mpsc::Receiver<()>, mpsc::SyncSender<()>) {
    let (told, is_told) = mpsc::sync_channel(1);
    let (let_go, go_on) = mpsc::sync_channel(1);
    let observer = Arc::new(Slow { told, go_on: go_on.into() });
    let config = EndpointConfig { shutdown_grace, ..EndpointConfig::plaintext(ApiKeys::Any, observer) };
    (Endpoint::new(config), is_told, let_go)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn observer_has_the_export_before_its_sender_has_the_answer() {
    let (endpoint, told, let_go) = slow_endpoint(HANG);
    let listening = Listening::anyone(&endpoint).await;
    let exporter = exporter(listening.address);
    let mut export = tokio::spawn(async move { exporter.export(vec![span("a")]).await });

    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    assert_eq!(endpoint.in_flight(), 1);
    // An answer that was on its way would be here in this time; one that is not sent never comes.
    assert_matches!(tokio::time::timeout(Duration::from_millis(200), &mut export).await, Err(_));

    let_go.send(()).unwrap();
    soon("answer", export).await.unwrap().unwrap();
    listening.stop().await;
    assert_eq!(endpoint.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdown_lets_an_export_under_way_have_its_answer() {
    let (endpoint, told, let_go) = slow_endpoint(HANG);
    let listening = Listening::anyone(&endpoint).await;
    let exporter = exporter(listening.address);
    let export = tokio::spawn(async move { exporter.export(vec![span("a")]).await });

    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    let stopping = listening.ask_to_stop();
    let_go.send(()).unwrap();
    soon("answer", export).await.unwrap().unwrap();
    soon("shutdown", stopping).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn observer_is_told_nothing_after_a_listener_has_ended() {
    let (endpoint, told, let_go) = slow_endpoint(Duration::ZERO);
    let listening = Listening::anyone(&endpoint).await;
    let exporter = exporter(listening.address);
    let export = tokio::spawn(async move { exporter.export(vec![span("a")]).await });

    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    let mut stopping = listening.ask_to_stop();
    // Its grace is over at once, so a listener that waits for nothing would have ended by then.
    assert_matches!(tokio::time::timeout(Duration::from_millis(200), &mut stopping).await, Err(_));
    let_go.send(()).unwrap();
    soon("shutdown", stopping).await.unwrap().unwrap();
    assert_eq!(endpoint.in_flight(), 0);
    export.abort();
}
