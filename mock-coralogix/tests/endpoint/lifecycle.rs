//! Listeners and connections begin and end without trouble for others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use assert_matches::assert_matches;
use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, Refusal, TlsIdentity};
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, HANG, KEY, Listening, Witness, exporter, names, plaintext, soon, span, tls};

/// HTTP/2's connection preface, and a frame of settings that sets nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client that has an HTTP/2 connection and does nothing with it, not even answer: like a process
/// that is stopped.
async fn stopped_client(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(PREFACE).await.unwrap();
    // The endpoint's own settings: the connection is up.
    let mut settings = [0; 9];
    soon("settings", socket.read_exact(&mut settings)).await.unwrap();
    socket
}

/// Waits until the endpoint has closed the connection.
async fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    let _ = soon("end of the connection", socket.read_to_end(&mut rest)).await;
}

fn config(witness: &Arc<Witness>) -> EndpointConfig {
    EndpointConfig::plaintext(ApiKeys::only([KEY]), witness.clone())
}

#[tokio::test]
async fn stalled_handshake_blocks_nobody() {
    let (endpoint, identity, witness) = tls();
    let listening = Listening::anyone(&endpoint).await;
    let _silent = TcpStream::connect(listening.address).await.unwrap();
    let client = Client { key: Some(KEY), ca_pem: Some(identity.ca_pem()), ..Client::default() };
    soon("export", client.exporter(listening.address).export(vec![span("a")])).await.unwrap();
    assert_eq!(names(&witness.exports()[0]), ["a"]);
    assert_eq!(witness.refusals(), []);
}

#[tokio::test]
async fn stalled_handshake_is_ended_and_told() {
    let witness = Arc::new(Witness::default());
    let config = EndpointConfig {
        tls: Some(TlsIdentity::generate().unwrap()),
        handshake_timeout: Duration::from_millis(50),
        ..config(&witness)
    };
    let listening = Listening::anyone(&Endpoint::new(config)).await;
    closed(TcpStream::connect(listening.address).await.unwrap()).await;
    assert_matches!(witness.refusal().await, Refusal::Handshake { .. });
}

#[tokio::test]
async fn shutdown_ends_clients_that_could_stay_for_ever() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let address = listening.address;
    let idle = exporter(address);
    idle.export(vec![span("a")]).await.unwrap();
    let silent = TcpStream::connect(address).await.unwrap();
    let stopped = stopped_client(address).await;

    listening.stop().await;
    closed(silent).await;
    closed(stopped).await;
    assert_matches!(TcpStream::connect(address).await, Err(_), "the port is still open");
    assert_eq!(witness.refusals(), []);
}

#[tokio::test]
async fn shutdown_needs_no_grace_for_idle_clients_that_answer() {
    let witness = Arc::new(Witness::default());
    let endpoint = Endpoint::new(EndpointConfig { shutdown_grace: 10 * HANG, ..config(&witness) });
    let listening = Listening::anyone(&endpoint).await;
    let idle = exporter(listening.address);
    idle.export(vec![span("a")]).await.unwrap();
    listening.stop().await;
}

#[tokio::test]
async fn shutdown_ends_a_stalled_handshake() {
    let (endpoint, _, witness) = tls();
    let listening = Listening::anyone(&endpoint).await;
    let silent = TcpStream::connect(listening.address).await.unwrap();
    listening.stop().await;
    closed(silent).await;
    assert_eq!(witness.refusals(), []);
}

#[tokio::test]
async fn nothing_runs_after_a_listener_has_ended() {
    let witness = Arc::new(Witness::default());
    let endpoint = Endpoint::new(EndpointConfig { shutdown_grace: Duration::from_millis(1), ..config(&witness) });
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..50 {
        let listening = Listening::anyone(&endpoint).await;
        let _stopped = stopped_client(listening.address).await;
        listening.stop().await;
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test]
async fn connection_of_a_killed_client_is_cleaned_up() {
    let (endpoint, witness) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..10 {
        drop(stopped_client(listening.address).await);
    }
    let cleaned_up = async {
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    soon("clean-up", cleaned_up).await;
    assert_eq!(witness.exports(), []);
}

#[tokio::test]
async fn dropping_a_listener_drops_its_connections() {
    let (endpoint, _) = plaintext();
    let listening = Listening::anyone(&endpoint).await;
    let stopped = stopped_client(listening.address).await;
    listening.task.abort();
    closed(stopped).await;
}
