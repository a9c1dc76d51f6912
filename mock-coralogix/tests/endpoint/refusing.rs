//! What is no good export gets an answer of its protocol, and disturbs nobody.

use std::net::SocketAddr;

use assert_matches::assert_matches;
use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use mock_coralogix::Refusal;
use mock_coralogix::endpoint::MAX_MESSAGE;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use verifier::Peer;

use crate::support::{Client, KEY, Listening, exporter, names, plaintext, soon, span, tls};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Sends messages as they are, whatever they hold.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

async fn client(address: SocketAddr) -> Grpc<Channel> {
    Grpc::new(Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    request
}

/// The status that the endpoint answers to a message.
async fn answer(mut client: Grpc<Channel>, path: &'static str, message: Vec<u8>) -> Status {
    soon("readiness", client.ready()).await.unwrap();
    let answer = client.unary(request(message), PathAndQuery::from_static(path), Raw);
    soon("answer", answer).await.map(|_| Status::ok("")).unwrap_or_else(|status| status)
}

#[tokio::test]
async fn malformed_protobuf_is_answered_and_the_next_export_is_read() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let client = client(listening.address).await;

    let status = answer(client.clone(), TRACES, b"\xff\xff\xff no protobuf".to_vec()).await;
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_matches!(witness.refusals().as_slice(), [(Peer::Anyone, Refusal::Unreadable { .. })]);

    // The same connection goes on: an empty export is a good one.
    assert_eq!(answer(client, TRACES, Vec::new()).await.code(), Code::Ok);
    assert_eq!(witness.exports().len(), 1);
    assert_eq!(endpoint.in_flight(), 0);
}

/// A protobuf field that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// A resource attribute that is a list in a list, and so on, this many times.
fn nested(depth: usize) -> Vec<u8> {
    let value = (0..depth).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
    field(1, &field(1, &field(1, &field(2, &value))))
}

#[tokio::test]
async fn nesting_is_read_up_to_a_limit_and_refused_beyond() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let client = client(listening.address).await;

    assert_eq!(answer(client.clone(), TRACES, nested(20)).await.code(), Code::Ok);
    let value = &witness.exports()[0].payload.to_resource_spans()[0].resource.attributes[0].value;
    assert_eq!(value, &format!("{}null{}", "[".repeat(20), "]".repeat(20)));

    assert_eq!(answer(client, TRACES, nested(10_000)).await.code(), Code::Internal);
    assert_matches!(witness.refusals().as_slice(), [(_, Refusal::Unreadable { .. })]);
}

#[tokio::test]
async fn export_over_the_limit_is_resource_exhausted() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let status = answer(client(listening.address).await, TRACES, vec![0; MAX_MESSAGE + 1]).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_matches!(witness.refusals().as_slice(), [(_, Refusal::TooLarge { limit: MAX_MESSAGE })]);
    assert_eq!(witness.exports(), []);
}

#[tokio::test]
async fn export_at_the_limit_is_read() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    // A field that OTLP does not know is skipped, however long it is.
    let padding = field(15, &vec![0; MAX_MESSAGE - 5]);
    assert_eq!(padding.len(), MAX_MESSAGE);
    let status = answer(client(listening.address).await, TRACES, padding).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    assert_eq!(witness.refusals(), []);
}

#[tokio::test]
async fn decompression_bomb_is_resource_exhausted() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let client = client(listening.address).await.send_compressed(CompressionEncoding::Gzip);
    let status = answer(client, TRACES, vec![0; 4 * MAX_MESSAGE]).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_matches!(witness.refusals().as_slice(), [(_, Refusal::TooLarge { .. })]);
}

#[tokio::test]
async fn other_signals_are_unimplemented() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let status = answer(client(listening.address).await, METRICS, Vec::new()).await;
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert_eq!(witness.refusals(), [(Peer::Anyone, Refusal::NotTraces { path: METRICS.to_owned() })]);
}

#[tokio::test]
async fn export_that_its_sender_gives_up_is_cut_off() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let mut client = client(listening.address).await;
    soon("readiness", client.ready()).await.unwrap();
    let endless = tokio_stream::once(Vec::new()).chain(tokio_stream::pending());
    let sending =
        tokio::spawn(
            async move { client.client_streaming(request(endless), PathAndQuery::from_static(TRACES), Raw).await },
        );
    let begun = async {
        while endpoint.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("begin of the export", begun).await;

    sending.abort();
    assert_eq!(witness.refusal().await, Refusal::CutOff);
    listening.stop().await;
    assert_eq!(endpoint.in_flight(), 0);
    assert_eq!(witness.exports(), []);
}

/// Sends these bytes, and waits until the endpoint closes the connection.
async fn send_garbage(address: SocketAddr, garbage: &[u8]) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(garbage).await.unwrap();
    let mut answer = Vec::new();
    // How it is closed, orderly or not, is all the same.
    let _ = soon("end of the connection", socket.read_to_end(&mut answer)).await;
}

#[tokio::test]
async fn garbage_on_the_port_is_told_and_disturbs_nobody() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let exporter = exporter(listening.address);
    exporter.export(vec![span("before")]).await.unwrap();
    send_garbage(listening.address, &[0xff; 1024]).await;
    send_garbage(listening.address, b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    exporter.export(vec![span("after")]).await.unwrap();

    assert_eq!(witness.exports().iter().map(names).collect::<Vec<_>>(), [["before"], ["after"]]);
    listening.stop().await;
    assert_matches!(witness.refusals().as_slice(), [(_, Refusal::Protocol { .. }), (_, Refusal::Protocol { .. })]);
}

#[tokio::test]
async fn client_that_speaks_no_tls_is_told() {
    let (endpoint, _, witness) = tls();
    let listening = Listening::anyone(&endpoint).await;
    send_garbage(listening.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_matches!(witness.refusal().await, Refusal::Handshake { .. });
}

#[tokio::test]
async fn client_that_trusts_another_authority_is_told() {
    let (endpoint, _, witness) = tls();
    let (_, stranger, _) = tls();
    let listening = Listening::anyone(&endpoint).await;
    let client = Client { key: Some(KEY), ca_pem: Some(stranger.ca_pem()), ..Client::default() };
    client.exporter(listening.address).export(vec![span("a")]).await.unwrap_err();
    assert_matches!(witness.refusal().await, Refusal::Handshake { .. });
    assert_eq!(witness.exports(), []);
}
