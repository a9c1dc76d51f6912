//! What it costs to take exports in, beside a server of the gRPC library that decodes them and does nothing else:
//! the CPU time of the server, in one run.
//!
//! `cargo bench --profile release -p mock-coralogix --bench ingest`
//!
//! Both answer the same exports of 512 spans with 12 attributes over TLS on the loopback. The clients are another
//! process, so that the CPU time of this one is the server's alone, the handshakes included.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it has measured")]
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is how it fails")]

#[path = "support/exports.rs"]
mod exports;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exports::{SPANS, payload};
use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, Observer, Received, Refusal, TlsIdentity, serve};
use nix::sys::resource::{UsageWho, getrusage};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use verifier::Peer;
use verifier::event::Export;

/// Connections, and how many exports each sends, one after the other.
const CONNECTIONS: usize = 4;
const EXPORTS: usize = 50;
/// Each server is measured so often, in turns, and the best counts: the machine is shared.
const ROUNDS: usize = 3;
/// Where the clients find what they need; set for the process of the clients only.
const ADDRESS: &str = "BENCH_ADDRESS";
const CA: &str = "BENCH_CA";

fn main() {
    match std::env::var(ADDRESS) {
        Ok(address) => clients(address.parse().unwrap(), &std::env::var(CA).unwrap()),
        Err(_) => compare(),
    }
}

fn compare() {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(library());
        best[1] = best[1].min(endpoint());
    }
    let [library, endpoint] = best.map(|cpu| cpu / (CONNECTIONS * EXPORTS * SPANS) as f64);
    println!("{} exports of {SPANS} spans by {CONNECTIONS} TLS connections; CPU of the server:", CONNECTIONS * EXPORTS);
    for (what, cpu) in [("gRPC library, decoded", library), ("endpoint, checked", endpoint)] {
        let (micros, rate, times) = (cpu * 1e6, 1.0 / cpu, library / cpu);
        println!("  {what:<22} {micros:>6.2} us a span  {rate:>9.0} spans a CPU second  {times:>5.2} times as many");
    }
}

/// The CPU seconds of the endpoint.
fn endpoint() -> f64 {
    let identity = TlsIdentity::generate().unwrap();
    let (ca, counter) = (identity.ca_pem().to_owned(), Arc::new(Counter::default()));
    let endpoint = Endpoint::new(EndpointConfig::tls(ApiKeys::Any, counter.clone(), identity));
    let cpu = measure(&ca, |listener| async move {
        serve(listener, endpoint, Peer::Anyone, std::future::pending()).await.unwrap();
    });
    assert_eq!(counter.bytes.load(Ordering::Relaxed), CONNECTIONS * EXPORTS * payload(0).bytes().len());
    cpu
}

/// The CPU seconds of the gRPC library's server.
fn library() -> f64 {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let identity = Identity::from_pem(cert.pem(), signing_key.serialize_pem());
    measure(&cert.pem(), |listener| async move {
        let service = TraceServiceServer::new(Deaf).max_decoding_message_size(mock_coralogix::endpoint::MAX_MESSAGE);
        let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
    })
}

/// The CPU seconds that this process takes to serve all clients.
fn measure<S: Future<Output = ()> + Send + 'static>(ca: &str, serve: impl FnOnce(TcpListener) -> S) -> f64 {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener));
    let before = cpu();
    let mut clients = Command::new(std::env::current_exe().unwrap());
    let status = clients.env(ADDRESS, address.to_string()).env(CA, ca).status().unwrap();
    assert!(status.success(), "the clients: {status}");
    (cpu() - before).as_secs_f64()
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let [user, system] = [usage.user_time(), usage.system_time()];
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
    Duration::from_micros(micros.try_into().unwrap())
}

/// The process of the clients.
fn clients(address: SocketAddr, ca: &str) {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name("localhost");
    Runtime::new().unwrap().block_on(async {
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(client(address, tls.clone()));
        }
        while let Some(ended) = connections.join_next().await {
            ended.unwrap();
        }
    });
}

/// Sends all exports of one connection.
async fn client(address: SocketAddr, tls: ClientTlsConfig) {
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    let mut client = TraceServiceClient::new(endpoint.connect().await.unwrap());
    let export = ExportTraceServiceRequest::decode(payload(0).bytes().clone()).unwrap();
    for _ in 0..EXPORTS {
        let mut request = Request::new(export.clone());
        request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer key"));
        client.export(request).await.unwrap();
    }
}

/// A service that looks at nothing.
struct Deaf;

#[tonic::async_trait]
impl TraceService for Deaf {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// An observer that only counts.
#[derive(Default)]
struct Counter {
    bytes: AtomicUsize,
}

impl Observer for Counter {
    fn export(&self, _: Received, export: Export) {
        self.bytes.fetch_add(export.payload.bytes().len(), Ordering::Relaxed);
    }

    fn refused(&self, _: Received, _: &Peer, refusal: Refusal) {
        panic!("{refusal}");
    }
}
