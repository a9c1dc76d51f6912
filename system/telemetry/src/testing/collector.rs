//! An OTLP/gRPC endpoint in the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The API key that a [`Collector`] accepts.
pub const KEY: &str = "cxtp_very-secret";

/// Keeps the names of the spans of senders who know the [`KEY`]. Clones share what they keep.
#[derive(Debug, Clone, Default)]
pub struct Collector(Arc<Mutex<Vec<String>>>);

impl Collector {
    /// Serves on `listener` in the background, with what `server` is set up for.
    pub fn serve(&self, mut server: Server, listener: TcpListener) {
        let router = server.add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    }

    /// The names of the spans that have come, in their order.
    pub fn names(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if authorization != Some(&format!("Bearer {KEY}")) {
            return Err(Status::unauthenticated(format!("not a key: {authorization:?}")));
        }
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.lock().extend(scopes.flat_map(|scope| scope.spans).map(|span| span.name));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
