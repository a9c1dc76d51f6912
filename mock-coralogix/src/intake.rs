//! One export: from its HTTP request to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use verifier::Peer;
use verifier::event::{Export, ExportAnswer};
use verifier::otlp::Payload;

use crate::endpoint::{Endpoint, InFlight, MAX_MESSAGE};
use crate::keys::Unauthorized;
use crate::observer::{Received, Refusal};
use crate::transport::StreamObserver;

/// The only thing that can be asked for (opentelemetry-proto, `trace_service.proto`).
const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What precedes a message in a gRPC body: whether it is compressed, and its length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
const PREFIX_LENGTH: usize = 5;

/// Where requests come from.
pub(crate) struct Origin {
    pub(crate) endpoint: Endpoint,
    /// For whom the listener was opened.
    pub(crate) peer: Peer,
    pub(crate) from: SocketAddr,
    /// Who is told how far the requests have come. Each request keeps it until it is done with.
    pub(crate) streams: Option<Arc<dyn StreamObserver>>,
}

/// Answers one request. Whatever it holds, the answer is one of gRPC.
pub(crate) async fn answer(origin: Arc<Origin>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() != EXPORT_PATH {
        let refusal = Refusal::NotTraces { path: request.uri().path().to_owned() };
        let status = Status::unimplemented(refusal.to_string());
        origin.refuse(origin.received_now(), refusal);
        return status.into_http();
    }
    Intake::begin(origin).answer(request).await
}

impl Origin {
    fn received_now(&self) -> Received {
        Received { at: Instant::now(), from: self.from }
    }

    fn refuse(&self, received: Received, refusal: Refusal) {
        self.endpoint.shared().observer.refused(received, &self.peer, refusal);
    }

    /// Hands an export to the observer.
    fn hand_over(&self, received: Received, answer: ExportAnswer, payload: Payload) {
        let shared = self.endpoint.shared();
        let export = Export { export: shared.number_export(), peer: self.peer.clone(), answer, payload };
        shared.observer.export(received, export);
    }
}

/// An export on its way in.
struct Intake {
    origin: Arc<Origin>,
    /// Whether the observer has been told of it, or is about to be.
    whole: bool,
    _in_flight: InFlight,
}

impl Intake {
    fn begin(origin: Arc<Origin>) -> Self {
        let in_flight = origin.endpoint.enter();
        Self { origin, whole: false, _in_flight: in_flight }
    }

    /// Reads the whole export before anything else, so that what is cut off or too large is told apart
    /// from what cannot be read.
    async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_MESSAGE + PREFIX_LENGTH).collect().await {
            Ok(body) => body,
            Err(error) if error.is::<LengthLimitError>() => return self.too_large(),
            // The answer to a client that went away is read by nobody.
            Err(_) => return Status::cancelled(Refusal::CutOff.to_string()).into_http(),
        };
        self.whole = true;
        self.read(Request::from_parts(head, body)).await
    }

    /// Lets the gRPC library read the message, piece by piece as it came, and make the answer.
    async fn read(self, request: Request<Collected<Bytes>>) -> Response<Body> {
        let received = self.origin.received_now();
        let authorized = self.origin.endpoint.shared().keys.check(request.headers());
        let recipient = Recipient { origin: Arc::clone(&self.origin), received, authorized };
        let mut grpc =
            Grpc::new(BytesCodec).accept_compressed(CompressionEncoding::Gzip).max_decoding_message_size(MAX_MESSAGE);
        let response = grpc.unary(recipient, request).await;
        match Status::from_header_map(response.headers()) {
            None => response,
            // The one error that comes from the recipient: the observer has the export.
            Some(status) if matches!(status.code(), Code::Ok | Code::Unauthenticated) => response,
            // It was small enough only as long as it was compressed.
            Some(status) if status.code() == Code::ResourceExhausted => self.too_large(),
            Some(status) => {
                self.origin.refuse(received, Refusal::Unreadable { why: status.message().to_owned() });
                response
            }
        }
    }

    fn too_large(mut self) -> Response<Body> {
        self.whole = true;
        let refusal = Refusal::TooLarge { limit: MAX_MESSAGE };
        let status = Status::resource_exhausted(refusal.to_string());
        self.origin.refuse(self.origin.received_now(), refusal);
        status.into_http()
    }
}

impl Drop for Intake {
    /// An export whose connection ends is dropped wherever it stands; that is told here.
    fn drop(&mut self) {
        if !self.whole && !std::thread::panicking() {
            self.origin.refuse(self.origin.received_now(), Refusal::CutOff);
        }
    }
}

/// Takes the one message of a request, whose frame the gRPC library has read.
struct Recipient {
    origin: Arc<Origin>,
    received: Received,
    authorized: Result<(), Unauthorized>,
}

impl Recipient {
    /// Hands an export on before it is answered.
    fn take(&self, payload: Payload) -> Result<tonic::Response<Bytes>, Status> {
        payload.validate().map_err(|error| Status::internal(error.to_string()))?;
        let answer = match self.authorized {
            Ok(()) => ExportAnswer::Stored,
            Err(_) => ExportAnswer::Unauthenticated,
        };
        self.origin.hand_over(self.received, answer, payload);
        match self.authorized {
            Ok(()) => Ok(tonic::Response::new(FULL_SUCCESS)),
            Err(why) => Err(Status::unauthenticated(why.to_string())),
        }
    }
}

impl UnaryService<Bytes> for Recipient {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(self.take(Payload::new(request.into_inner())))
    }
}

/// An `ExportTraceServiceResponse` that says nothing: all spans are stored.
const FULL_SUCCESS: Bytes = Bytes::new();

/// Messages as their bytes: what they mean is read by whoever judges them.
#[derive(Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, frame: &mut EncodeBuf<'_>) -> Result<(), Status> {
        frame.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(frame.copy_to_bytes(frame.remaining())))
    }
}
