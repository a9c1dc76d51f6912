//! An endpoint, and a function that exports to it by a network: what the tests and the benchmark share.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use harness::cloud::network::{Conditions, Network};
use harness::collect::{Collector, Listener};
use harness::mask::Mask;
use hyper_util::rt::TokioIo;
use mock_coralogix::TlsIdentity;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tonic::Status;
use tonic::codegen::http::Uri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use verifier::event::OpenExchanges;
use verifier::{EnvironmentId, Peer};

use crate::support::Events;

/// The key that the endpoint knows.
pub(crate) const KEY: &str = "cxtp_the-right-key";
/// How long anything may take before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How large the spans are at least, so that an export can be told from whatever else goes by.
pub(crate) const PADDING: usize = 2_000;

pub(crate) const NOTHING: OpenExchanges = OpenExchanges { exports: 0, connections: 0 };

/// The endpoint and what it has told, on a runtime that always runs.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) collector: Collector,
    pub(crate) ca_pem: String,
    pub(crate) events: Events,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (recorder, events) = Events::record();
        let identity = TlsIdentity::generate().unwrap();
        let ca_pem = identity.ca_pem().to_owned();
        Self { runtime, collector: Collector::new(recorder, KEY, identity, Mask::default()), ca_pem, events }
    }

    pub(crate) fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let waited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
        waited.unwrap_or_else(|_| panic!("hangs: {what}"))
    }

    pub(crate) fn listen(&self, latency: Duration) -> Listener {
        let peer = Peer::Environment(EnvironmentId::new("worker-1"));
        self.wait("listen", self.collector.listen(peer, Conditions { latency })).unwrap()
    }

    pub(crate) fn environment(&self, latency: Duration) -> Environment {
        let listener = self.listen(latency);
        let function = Function::new(listener.address(), &self.ca_pem);
        Environment { listener, function }
    }

    pub(crate) fn drain(&self, network: &Network) -> OpenExchanges {
        self.wait("drain", network.drained())
    }

    /// What a freeze finds open, the function being at rest.
    pub(crate) fn freeze(&self, environment: &Environment) -> OpenExchanges {
        environment.network().mark();
        self.drain(environment.network())
    }
}

/// An execution environment: a listener and the function that uses it.
pub(crate) struct Environment {
    pub(crate) listener: Listener,
    pub(crate) function: Function,
}

impl Environment {
    pub(crate) fn network(&self) -> &Network {
        self.listener.network()
    }
}

/// A function that runs when it is told to.
pub(crate) struct Function {
    pub(crate) runtime: Runtime,
    pub(crate) client: TraceServiceClient<Channel>,
    pub(crate) tap: Arc<Tap>,
}

impl Function {
    pub(crate) fn new(address: SocketAddr, ca_pem: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let tap = Arc::new(Tap::default());
        let client = runtime.block_on(async { client(address, ca_pem, &tap) });
        Self { runtime, client, tap }
    }

    /// Runs as long as something takes, and not a moment longer.
    pub(crate) fn awake<T>(&self, future: impl Future<Output = T>) -> T {
        let awake = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
        awake.unwrap_or_else(|_| panic!("the function hangs"))
    }

    /// Exports a span and waits for the answer.
    pub(crate) fn export(&self, name: &str) -> Result<(), Status> {
        self.awake(send(self.client.clone(), name.to_owned()))
    }
}

pub(crate) async fn send(mut client: TraceServiceClient<Channel>, name: String) -> Result<(), Status> {
    let mut request = tonic::Request::new(spans(&name));
    request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    client.export(request).await.map(|_| ())
}

/// A request with one span.
fn spans(name: &str) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: name.to_owned(),
        trace_state: "x".repeat(PADDING),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn client(address: SocketAddr, ca_pem: &str, tap: &Arc<Tap>) -> TraceServiceClient<Channel> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    TraceServiceClient::new(endpoint.connect_with_connector_lazy(Connector(address, Arc::clone(tap))))
}

/// What is known of a function's sockets.
#[derive(Default)]
pub(crate) struct Tap {
    pub(crate) written: AtomicUsize,
    pub(crate) wrote: Notify,
    pub(crate) read: AtomicUsize,
    /// The sockets once more.
    pub(crate) sockets: Mutex<Vec<StdStream>>,
}

impl Tap {
    pub(crate) fn connections(&self) -> usize {
        self.sockets.lock().unwrap().len()
    }
}

/// Connects to where it is told to, and tells the tap.
#[derive(Clone)]
struct Connector(SocketAddr, Arc<Tap>);

impl tonic::codegen::Service<Uri> for Connector {
    type Response = TokioIo<Tapped>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self(address, tap) = self.clone();
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?.into_std()?;
            socket.set_nodelay(true)?;
            tap.sockets.lock().unwrap().push(socket.try_clone()?);
            Ok(TokioIo::new(Tapped(TcpStream::from_std(socket)?, tap)))
        })
    }
}

/// A socket of which is counted what is read and written.
struct Tapped(TcpStream, Arc<Tap>);

impl AsyncRead for Tapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.read.fetch_add(buf.filled().len() - before, Ordering::SeqCst);
        read
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.1.written.fetch_add(count, Ordering::SeqCst);
            self.1.wrote.notify_one();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
