//! What the tests are told in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, Observer, Received, Refusal, ServeError, TlsIdentity, serve};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use verifier::Peer;
use verifier::event::Export;

/// The key that the endpoints of the tests know.
pub(crate) const KEY: &str = "cxtp_the-right-key";

/// Long enough for anything to happen on a busy machine; whoever waits for so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Fails the test if `future` does not come to its end.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// Keeps what an endpoint tells.
#[derive(Default)]
pub(crate) struct Witness {
    exports: Mutex<Vec<Export>>,
    refusals: Mutex<Vec<(Peer, Refusal)>>,
    told: Notify,
}

impl Witness {
    /// What has been exported so far.
    pub(crate) fn exports(&self) -> Vec<Export> {
        self.exports.lock().unwrap().clone()
    }

    /// What has been refused so far.
    pub(crate) fn refusals(&self) -> Vec<(Peer, Refusal)> {
        self.refusals.lock().unwrap().clone()
    }

    /// Waits until something was refused.
    pub(crate) async fn refusal(&self) -> Refusal {
        let refused = async {
            loop {
                let told = self.told.notified();
                if let Some((_, refusal)) = self.refusals().pop() {
                    return refusal;
                }
                told.await;
            }
        };
        soon("a refusal", refused).await
    }
}

impl Observer for Witness {
    fn export(&self, _: Received, export: Export) {
        self.exports.lock().unwrap().push(export);
    }

    fn refused(&self, _: Received, peer: &Peer, refusal: Refusal) {
        self.refusals.lock().unwrap().push((peer.clone(), refusal));
        self.told.notify_one();
    }
}

/// The names of the spans of an export.
pub(crate) fn names(export: &Export) -> Vec<&str> {
    export.payload.resources().flat_map(|resource| resource.spans()).map(|span| span.name).collect()
}

/// An endpoint in plaintext, and its witness.
pub(crate) fn plaintext() -> (Endpoint, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    (Endpoint::new(EndpointConfig::plaintext(ApiKeys::only([KEY]), witness.clone())), witness)
}

/// An endpoint over TLS, its identity, and its witness.
pub(crate) fn tls() -> (Endpoint, TlsIdentity, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let identity = TlsIdentity::generate().unwrap();
    let config = EndpointConfig::tls(ApiKeys::only([KEY]), witness.clone(), identity.clone());
    (Endpoint::new(config), identity, witness)
}

/// A listener that is being served.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) task: JoinHandle<Result<(), ServeError>>,
    stop: oneshot::Sender<()>,
}

impl Listening {
    pub(crate) async fn anyone(endpoint: &Endpoint) -> Self {
        Self::start(endpoint, Peer::Anyone).await
    }

    pub(crate) async fn start(endpoint: &Endpoint, peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, endpoint.clone(), peer, stopped));
        Self { address, task, stop }
    }

    /// Asks the listener to end; its task ends when it has.
    pub(crate) fn ask_to_stop(self) -> JoinHandle<Result<(), ServeError>> {
        self.stop.send(()).unwrap();
        self.task
    }

    /// Ends the listener.
    pub(crate) async fn stop(self) {
        soon("shutdown", self.ask_to_stop()).await.unwrap().unwrap();
    }
}

/// How an exporter is set up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Client<'a> {
    /// Its API key.
    pub(crate) key: Option<&'a str>,
    /// The certificate authority that it trusts, in PEM. Without one it speaks plaintext.
    pub(crate) ca_pem: Option<&'a str>,
    /// Whether it compresses.
    pub(crate) gzip: bool,
}

impl Client<'_> {
    /// OpenTelemetry's own exporter.
    pub(crate) fn exporter(self, address: SocketAddr) -> SpanExporter {
        let mut metadata = MetadataMap::new();
        if let Some(key) = self.key {
            metadata.insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        let mut builder = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(format!("{scheme}://{address}"))
            .with_timeout(HANG)
            .with_metadata(metadata);
        if let Some(pem) = self.ca_pem {
            builder = builder.with_tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)));
        }
        if self.gzip {
            builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
        }
        builder.build().unwrap()
    }
}

/// An exporter in plaintext with the right key.
pub(crate) fn exporter(address: SocketAddr) -> SpanExporter {
    Client { key: Some(KEY), ..Client::default() }.exporter(address)
}

/// A span with this name.
pub(crate) fn span(name: &'static str) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes([7; 16]),
            SpanId::from_bytes([8; 8]),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: name.into(),
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: vec![KeyValue::new("customer.id", "c-1")],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}
