//! A client of the Runtime and Extensions APIs that does whatever a test wants, right or wrong.

use std::env;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, or what there is of it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> String {
        let named = |line: &str| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        self.head.lines().find_map(named).unwrap_or_default()
    }
}

/// Makes a call on a connection of its own and waits for the answer.
pub(crate) async fn call(call: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut connection = TcpStream::connect(&api).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{call} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Asks for an invocation; answers its identifier and its event.
pub(crate) async fn next() -> (String, String) {
    let answer = call("GET /2018-06-01/runtime/invocation/next", &[], "").await;
    (answer.header("Lambda-Runtime-Aws-Request-Id"), answer.body)
}

/// Answers an invocation; answers with which status.
pub(crate) async fn respond(id: &str) -> u16 {
    call(&format!("POST /2018-06-01/runtime/invocation/{id}/response"), &[], "null").await.status
}

/// Registers an extension; answers its identifier.
pub(crate) async fn register(name: &str, events: &str) -> String {
    let answer = call("POST /2020-01-01/extension/register", &[("Lambda-Extension-Name", name)], events).await;
    answer.header("Lambda-Extension-Identifier")
}

/// Asks for an extension's next event.
pub(crate) async fn event(identifier: &str) -> String {
    call("GET /2020-01-01/extension/event/next", &[("Lambda-Extension-Identifier", identifier)], "").await.body
}
