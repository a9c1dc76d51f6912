//! Delivery over the network, to an OTLP/gRPC server and with a proxy in between that breaks it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onboarding_telemetry::testing::{Collector, KEY};
use onboarding_telemetry::{Config, FlushError, Profile, Service, Telemetry};
use opentelemetry::Context;
use opentelemetry::trace::Tracer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tonic::transport::{Identity, Server, ServerTlsConfig};

/// More than any of these flushes takes, on any machine.
const BUDGET: Duration = Duration::from_secs(20);

/// Starts a collector without TLS.
async fn collector() -> (Collector, SocketAddr) {
    let collector = Collector::default();
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    collector.serve(Server::builder(), listener);
    (collector, address)
}

/// A TCP proxy whose connections can die as they do behind a NAT gateway that has forgotten them: they
/// stay open and carry nothing any more, and nobody is told.
struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Connections that were made before the last change carry nothing.
    generation: watch::Sender<u64>,
}

impl Proxy {
    async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (generation, seen) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, upstream, seen, Arc::clone(&connections)));
        Self { address, connections, generation }
    }

    fn swallow_existing_connections(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, seen: watch::Receiver<u64>, count: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::SeqCst);
        let mut seen = seen.clone();
        seen.mark_unchanged();
        tokio::spawn(forward(client, upstream, seen));
    }
}

async fn forward(mut client: TcpStream, upstream: SocketAddr, mut seen: watch::Receiver<u64>) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let swallowed = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => false,
        changed = seen.changed() => changed.is_ok(),
    };
    if swallowed {
        std::future::pending::<()>().await;
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start(profile: &Profile, endpoint: &str, key: &str, certificate: Option<&str>) -> Telemetry {
    let config = Config::from_variables(profile, |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_CERTIFICATE" => certificate.map(str::to_owned),
        "CORALOGIX_API_KEY" => Some(key.to_owned()),
        _ => None,
    });
    let service = Service { name: "service", version: "1", application: "application", attributes: Vec::new() };
    Telemetry::start(config.unwrap(), &service)
}

fn end_span(telemetry: &Telemetry, name: &'static str) {
    drop(telemetry.tracer().start_with_context(name, &Context::new()));
}

/// Makes a connection, lets it die silently, and flushes two spans over what comes then, each within
/// `budget`.
async fn flush_after_silent_death(profile: &Profile, budget: Duration) -> (Vec<String>, usize) {
    let (collector, upstream) = collector().await;
    let proxy = Proxy::before(upstream).await;
    let telemetry = start(profile, &format!("http://{}", proxy.address), KEY, None);
    end_span(&telemetry, "before");
    telemetry.flush(BUDGET).await.unwrap();

    proxy.swallow_existing_connections();
    for name in ["after", "later"] {
        end_span(&telemetry, name);
        telemetry.flush(budget).await.unwrap();
    }
    (collector.names(), proxy.connections())
}

#[tokio::test]
async fn silently_dead_connection_is_noticed_by_its_missing_pong_and_replaced() {
    let patient = Profile { export_timeout: 2 * BUDGET, ..Profile::FUNCTION };

    let (names, connections) = flush_after_silent_death(&patient, BUDGET).await;

    assert_eq!(names, ["before", "after", "later"]);
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn silently_dead_connection_is_replaced_after_an_export_without_an_answer() {
    let without_probe =
        Profile { keepalive_interval: 2 * BUDGET, export_timeout: Duration::from_secs(1), ..Profile::FUNCTION };

    let (names, connections) = flush_after_silent_death(&without_probe, BUDGET).await;

    assert_eq!(names, ["before", "after", "later"]);
    assert_eq!(connections, 2);
}

/// Notices a dead connection by nothing but the budget of a flush.
const TRUSTFUL: Profile = Profile {
    keepalive_interval: BUDGET.saturating_mul(2),
    export_timeout: BUDGET.saturating_mul(2),
    ..Profile::FUNCTION
};

#[tokio::test]
async fn silently_dead_connection_is_replaced_within_a_budget_shorter_than_the_time_out() {
    let (names, connections) = flush_after_silent_death(&TRUSTFUL, Duration::from_secs(4)).await;

    assert_eq!(names, ["before", "after", "later"]);
    assert_eq!(connections, 2);
}

#[tokio::test]
async fn flush_that_is_dropped_leaves_no_dead_connection() {
    let (collector, upstream) = collector().await;
    let proxy = Proxy::before(upstream).await;
    let telemetry = start(&TRUSTFUL, &format!("http://{}", proxy.address), KEY, None);
    telemetry.warm_up(BUDGET).await;
    proxy.swallow_existing_connections();
    end_span(&telemetry, "a");

    tokio::time::timeout(Duration::from_millis(200), telemetry.flush(BUDGET)).await.unwrap_err();
    let first_attempt_is_longer = BUDGET / 4;
    tokio::time::timeout(first_attempt_is_longer, telemetry.flush(BUDGET)).await.unwrap().unwrap();

    assert_eq!(collector.names(), ["a"]);
}

#[tokio::test]
async fn spans_arrive_over_tls_from_a_pinned_authority() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.cert.pem()).unwrap();
    let identity = Identity::from_pem(authority.cert.pem(), authority.signing_key.serialize_pem());
    let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let collector = Collector::default();
    collector.serve(server, listener);
    let telemetry = start(&Profile::SERVICE, &url, KEY, file.path().to_str());

    end_span(&telemetry, "a");
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(collector.names(), ["a"]);
}

#[tokio::test]
async fn refused_key_is_reported_without_showing_it() {
    let (_, address) = collector().await;
    let url = format!("http://{address}");
    let telemetry = start(&Profile::FUNCTION, &url, "cxtp_wrong-secret", None);

    end_span(&telemetry, "a");
    let error = telemetry.flush(BUDGET).await.unwrap_err();

    let shown = error.to_string();
    assert!(shown.contains("UNAUTHENTICATED") && shown.contains("CORALOGIX_API_KEY"), "{shown}");
    assert!(!format!("{shown}{error:?}").contains("wrong-secret"), "{shown}");
    assert!(matches!(error, FlushError::KeyRefused { waiting: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn endpoint_that_comes_back_gets_everything_once() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();
    let telemetry = start(&Profile::FUNCTION, &format!("http://{address}"), KEY, None);
    end_span(&telemetry, "while away");

    let away = telemetry.flush(Duration::from_millis(200)).await.unwrap_err();
    let collector = Collector::default();
    collector.serve(Server::builder(), socket.listen(16).unwrap());
    end_span(&telemetry, "when back");
    telemetry.flush(BUDGET).await.unwrap();

    assert!(matches!(away, FlushError::OutOfTime { waiting: 1, .. }), "{away:?}");
    assert!(away.to_string().contains("refused"), "the cause is named: {away}");
    assert_eq!(collector.names(), ["while away", "when back"]);
}

#[tokio::test]
async fn handshake_that_is_never_answered_does_not_outlast_the_budget() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let silent = TcpListener::bind(any_port()).await.unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let telemetry = start(&Profile::FUNCTION, &url, KEY, None);
    end_span(&telemetry, "a");

    let flushed = tokio::time::timeout(BUDGET, telemetry.flush(Duration::from_secs(1))).await;

    let error = flushed.expect("the flush ends by itself").unwrap_err();
    assert!(matches!(error, FlushError::OutOfTime { waiting: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn warm_up_makes_the_connection_that_the_flush_uses() {
    let (collector, upstream) = collector().await;
    let proxy = Proxy::before(upstream).await;
    let telemetry = start(&Profile::FUNCTION, &format!("http://{}", proxy.address), KEY, None);

    telemetry.warm_up(BUDGET).await;
    let after_warm_up = proxy.connections();
    end_span(&telemetry, "a");
    telemetry.flush(BUDGET).await.unwrap();

    assert_eq!(after_warm_up, 1);
    assert_eq!(proxy.connections(), 1);
    assert_eq!(collector.names(), ["a"]);
}
