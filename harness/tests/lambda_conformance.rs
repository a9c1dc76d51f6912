//! The Runtime, Extensions and Telemetry APIs against their documentation, row by row.
//!
//! Each row is a call in a state, and what it must be answered with. Sources: the AWS Lambda developer
//! guide ("Using the Lambda runtime API for custom runtimes", "Using the Lambda Extensions API") and
//! AWS's runtime interface emulator, which is the daemon of the real environment.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[expect(dead_code, reason = "what only tests with processes need")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assert_matches::assert_matches;
use bytes::Bytes;
use futures_util::future::{join_all, select_all};
use harness::cloud::network::Network;
use harness::cloud::runtime_api::{ApiSpec, BODIES_AT_ONCE, Call, MAX_BODY, Next, RuntimeApi, ShutdownReason};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use support::Events;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use verifier::{EnvironmentId, EventKind, InvocationId};

const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const RESPONSE: &str = "/2018-06-01/runtime/invocation/1/response";
const ERROR: &str = "/2018-06-01/runtime/invocation/1/error";
const INIT_ERROR: &str = "/2018-06-01/runtime/init/error";
const REGISTER: &str = "/2020-01-01/extension/register";
const EVENT_NEXT: &str = "/2020-01-01/extension/event/next";
const EXTENSION_INIT_ERROR: &str = "/2020-01-01/extension/init/error";
const EXTENSION_EXIT_ERROR: &str = "/2020-01-01/extension/exit/error";

/// Where runtime and extension stand before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The runtime's process was started.
    Started,
    /// It reported that it cannot be initialised.
    InitError,
    /// Its `/next` waits.
    Ready,
    /// It was given invocation 1.
    Running,
    /// It has answered invocation 1.
    Responded,
    /// It has answered invocation 1 and was given invocation 2.
    RunningAgain,
    /// The internal extension `flusher` has registered itself for INVOKE; the runtime was started.
    Registered,
    /// Its `event/next` waits.
    ExtensionReady,
    /// It was told of invocation 1.
    ExtensionRunning,
    /// It reported that it cannot be initialised.
    ExtensionInitError,
    /// It reported that it will exit.
    ExtensionExitError,
    /// There are ten internal extensions.
    TenExtensions,
}

/// An API, whoever waits at it, and what was recorded of it.
struct Api {
    api: RuntimeApi,
    calls: mpsc::Receiver<Call>,
    events: Events,
    client: Client,
    /// The identifier of the extension that registered last.
    extension: String,
    /// Unanswered calls.
    waiting: Vec<JoinHandle<Response>>,
}

impl Api {
    async fn serve() -> Self {
        let (recorder, events) = Events::record();
        let spec = ApiSpec {
            environment: EnvironmentId::new("worker-1"),
            function: "worker".to_owned(),
            handler: "bootstrap".to_owned(),
            account: "123456789012".to_owned(),
            externals: vec!["collector".to_owned()],
            freezes: false,
            freezes_at_once: true,
            freezes_after_init: false,
            network: Network::default(),
            recorder,
        };
        let (api, calls) = RuntimeApi::serve(spec).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { api, calls, events, client, extension: String::new(), waiting: Vec::new() }
    }

    async fn in_state(state: State) -> Self {
        use State::*;
        let mut api = Self::serve().await;
        match state {
            Started => {}
            InitError => drop(api.post(INIT_ERROR, "{}").await),
            Ready => api.park(NEXT).await,
            Running => api.run("1").await,
            Responded => api.respond("1").await,
            RunningAgain => {
                api.respond("1").await;
                api.run("2").await;
            }
            Registered => api.register("flusher").await,
            ExtensionReady => {
                api.register("flusher").await;
                api.park(EVENT_NEXT).await;
            }
            ExtensionRunning => {
                api.register("flusher").await;
                api.park(EVENT_NEXT).await;
                api.run("1").await;
            }
            ExtensionInitError => {
                api.register("flusher").await;
                api.report(EXTENSION_INIT_ERROR).await;
            }
            ExtensionExitError => {
                api.register("flusher").await;
                api.report(EXTENSION_EXIT_ERROR).await;
            }
            // One place is taken by the external extension that has not registered yet.
            TenExtensions => {
                for number in 1..10 {
                    api.register(&number.to_string()).await;
                }
            }
        }
        api
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api.address())
    }

    /// Of two calls that wait at the same time, one is refused; then the other has been taken in.
    async fn park(&mut self, path: &str) {
        let call = || {
            let request = self.client.get(self.url(path)).header("lambda-extension-identifier", &self.extension);
            tokio::spawn(async { request.send().await.unwrap() })
        };
        let (refused, _, mut waiting) = select_all([call(), call()]).await;
        assert_eq!(refused.unwrap().status(), 403);
        self.waiting.append(&mut waiting);
    }

    async fn run(&mut self, id: &str) {
        self.park(NEXT).await;
        self.api.invoke(invocation(id), || {}).unwrap();
    }

    async fn respond(&mut self, id: &str) {
        self.run(id).await;
        assert_eq!(self.post(&format!("/2018-06-01/runtime/invocation/{id}/response"), "null").await.0, 202);
    }

    async fn register(&mut self, name: &str) {
        let request = self.client.post(self.url(REGISTER)).header("Lambda-Extension-Name", name);
        let response = request.body(r#"{"events":["INVOKE"]}"#).send().await.unwrap();
        self.extension = response.headers()["lambda-extension-identifier"].to_str().unwrap().to_owned();
    }

    async fn report(&mut self, path: &str) {
        let request = self.client.post(self.url(path)).header("Lambda-Extension-Identifier", &self.extension);
        let response = request.header("Lambda-Extension-Function-Error-Type", "Extension.Bad").send().await.unwrap();
        assert_eq!(response.status(), 202);
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        outcome(self.client.post(self.url(path)).body(body.to_owned()).send().await.unwrap()).await
    }

    async fn call(&self, row: &Row) -> Response {
        let (method, path) = row.call.split_once(' ').unwrap();
        let mut request = self.client.request(method.parse::<Method>().unwrap(), self.url(path));
        for (name, value) in row.headers {
            request = request.header(*name, value.replace("{extension}", &self.extension));
        }
        request.body(row.body).send().await.unwrap()
    }

    fn refused(&mut self) -> Vec<(String, u16, String)> {
        let refused = |event: &EventKind| match event {
            EventKind::CallRefused { call, status, error_type, .. } => {
                Some((call.clone(), *status, error_type.clone()))
            }
            _ => None,
        };
        self.events.seen().iter().filter_map(refused).collect()
    }
}

/// The status, and what the body says: the `errorType` or the `status`.
async fn outcome(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    (status, body["errorType"].as_str().or(body["status"].as_str()).unwrap_or_default().to_owned())
}

fn invocation(id: &str) -> Next {
    Next {
        id: InvocationId::new(id),
        attempt: format!("attempt-{id}"),
        deadline_ms: 1_700_000_000_000,
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:worker".to_owned(),
        trace_id: "Root=1-0-0;Parent=0;Sampled=0".to_owned(),
        payload: Bytes::from_static(b"{}"),
    }
}

/// A call in a state, and what it must be answered with.
#[derive(Debug, Clone, Copy)]
struct Row {
    state: State,
    call: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    answer: (u16, &'static str),
}

const fn row(state: State, call: &'static str, answer: (u16, &'static str)) -> Row {
    Row { state, call, headers: &[], body: "{}", answer }
}

impl Row {
    const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    const fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    /// Makes the call, and looks at the answer and at the ledger.
    async fn check(self) {
        let mut api = Api::in_state(self.state).await;
        let before = api.refused().len();
        let answer = outcome(api.call(&self).await).await;
        assert_eq!((answer.0, answer.1.as_str()), self.answer, "{self:?}");
        let refused = api.refused().split_off(before);
        if self.answer.0 < 400 {
            assert_eq!(refused, [], "{self:?}");
        } else {
            let told = (self.call.to_owned(), self.answer.0, self.answer.1.to_owned());
            assert_eq!(refused, [told], "{self:?}");
        }
    }
}

async fn check(rows: &[Row]) {
    for row in rows {
        row.check().await;
    }
}

const OK: (u16, &str) = (202, "OK");
const FLUSHER: &[(&str, &str)] = &[("Lambda-Extension-Name", "flusher")];
const COLLECTOR: &[(&str, &str)] = &[("Lambda-Extension-Name", "collector")];
const ME: &[(&str, &str)] = &[("Lambda-Extension-Identifier", "{extension}")];
const MY_ERROR: &[(&str, &str)] =
    &[("Lambda-Extension-Identifier", "{extension}"), ("Lambda-Extension-Function-Error-Type", "Extension.Bad")];
const INVOKE: &str = r#"{"events":["INVOKE"]}"#;
const SHUTDOWN: &str = r#"{"events":["SHUTDOWN"]}"#;

/// Every endpoint in the state in which it is meant to be called. `/next` and `event/next`, which wait,
/// have tests of their own.
#[tokio::test]
async fn every_endpoint_answers_who_may_call_it() {
    use State::{Registered, Running, Started};
    check(&[
        row(Running, "POST /2018-06-01/runtime/invocation/1/response", OK),
        row(Running, "POST /2018-06-01/runtime/invocation/1/response", OK)
            .with(&[("Lambda-Runtime-Function-Response-Mode", "streaming"), ("Transfer-Encoding", "chunked")]),
        row(Running, "POST /2018-06-01/runtime/invocation/1/response", OK)
            .with(&[("Lambda-Runtime-Invocation-Id", "attempt-1")]),
        row(Running, "POST /2018-06-01/runtime/invocation/1/error", OK)
            .with(&[("Lambda-Runtime-Function-Error-Type", "unhandled")]),
        row(Running, "POST /2018-06-01/runtime/invocation/1/error", OK)
            .with(&[("Lambda-Runtime-Function-XRay-Error-Cause", "{}"), ("Lambda-Runtime-Invocation-Id", "attempt-1")]),
        row(Running, "POST /2018-06-01/runtime/invocation/1/error", OK).body("not JSON"),
        row(Started, "POST /2018-06-01/runtime/init/error", OK),
        // There is no SnapStart here.
        row(Started, "GET /2018-06-01/runtime/restore/next", (404, "")),
        row(Started, "POST /2018-06-01/runtime/restore/error", (404, "")),
        row(Started, "GET /2021-04-23/credentials", (404, "")),
        row(Started, "GET /2018-06-01/ping", (200, "")),
        row(Started, "POST /2020-01-01/extension/register", (200, "")).with(FLUSHER).body(INVOKE),
        row(Started, "POST /2020-01-01/extension/register", (200, "")).with(COLLECTOR).body(SHUTDOWN),
        row(Registered, "POST /2020-01-01/extension/init/error", OK).with(MY_ERROR),
        row(Registered, "POST /2020-01-01/extension/exit/error", OK).with(MY_ERROR),
        row(Registered, "PUT /2022-07-01/telemetry", (202, "Telemetry.NotSupported")).with(ME),
        row(Registered, "PUT /2020-08-15/logs", (202, "Telemetry.NotSupported")).with(ME),
        row(Started, "GET /2018-06-01/runtime/invocation", (404, "")),
        row(Started, "POST /2018-06-01/runtime/invocation/next", (405, "")),
    ])
    .await;
}

/// Every error answer.
#[tokio::test]
async fn every_error_is_answered_as_documented() {
    use State::{Ready, Registered, Responded, Running, RunningAgain, Started, TenExtensions};
    const STALE: (u16, &str) = (400, "InvalidRequestID");
    check(&[
        row(Running, "POST /2018-06-01/runtime/invocation/0/response", STALE),
        row(Running, "POST /2018-06-01/runtime/invocation/0/error", STALE),
        // The identifier is looked at before the state.
        row(RunningAgain, "POST /2018-06-01/runtime/invocation/1/response", STALE),
        row(Responded, "POST /2018-06-01/runtime/invocation/0/response", STALE),
        row(Ready, "POST /2018-06-01/runtime/invocation/1/error", STALE),
        row(Started, "POST /2018-06-01/runtime/invocation/1/response", STALE),
        row(Running, "POST /2018-06-01/runtime/invocation/1/response", STALE)
            .with(&[("Lambda-Runtime-Invocation-Id", "attempt-0")]),
        row(Running, "POST /2018-06-01/runtime/invocation/1/response", (400, "InvalidFunctionResponseMode"))
            .with(&[("Lambda-Runtime-Function-Response-Mode", "carrier-pigeon")]),
        row(Started, "POST /2020-01-01/extension/register", (403, "Extension.InvalidExtensionName")).body(INVOKE),
        row(Started, "POST /2020-01-01/extension/register", (403, "InvalidRequestFormat")).with(FLUSHER).body("{"),
        row(Started, "POST /2020-01-01/extension/register", (403, "Extension.InvalidEventType"))
            .with(FLUSHER)
            .body(SHUTDOWN),
        row(Started, "POST /2020-01-01/extension/register", (403, "Extension.InvalidEventType"))
            .with(COLLECTOR)
            .body(r#"{"events":["INVOKE","RESTORE"]}"#),
        row(Ready, "POST /2020-01-01/extension/register", (403, "Extension.RegistrationClosed"))
            .with(FLUSHER)
            .body(INVOKE),
        row(Registered, "POST /2020-01-01/extension/register", (403, "Extension.InvalidExtensionState"))
            .with(FLUSHER)
            .body(INVOKE),
        row(TenExtensions, "POST /2020-01-01/extension/register", (403, "Extension.TooManyExtensions"))
            .with(FLUSHER)
            .body(INVOKE),
        row(Registered, "GET /2020-01-01/extension/event/next", (403, "Extension.MissingExtensionIdentifier")),
        row(Registered, "GET /2020-01-01/extension/event/next", (403, "Extension.InvalidExtensionIdentifier"))
            .with(&[("Lambda-Extension-Identifier", "me")]),
        row(Registered, "GET /2020-01-01/extension/event/next", (403, "Extension.UnknownExtensionIdentifier"))
            .with(&[("Lambda-Extension-Identifier", "00000000-0000-0000-0000-000000000000")]),
        row(Registered, "POST /2020-01-01/extension/init/error", (403, "Extension.MissingHeader")).with(ME),
        row(Registered, "POST /2020-01-01/extension/exit/error", (403, "Extension.MissingHeader")).with(ME),
        row(Registered, "POST /2020-01-01/extension/exit/error", (403, "Extension.UnknownExtensionIdentifier")).with(
            &[
                ("Lambda-Extension-Identifier", "00000000-0000-0000-0000-000000000000"),
                ("Lambda-Extension-Function-Error-Type", "Extension.Bad"),
            ],
        ),
    ])
    .await;
}

/// Every state, and each call that is not allowed in it; those that are allowed are above.
#[tokio::test]
async fn every_illegal_transition_is_refused() {
    use State::*;
    const NO: (u16, &str) = (403, "InvalidStateTransition");
    const NO_EXTENSION: (u16, &str) = (403, "Extension.InvalidExtensionState");
    check(&[
        row(InitError, "GET /2018-06-01/runtime/invocation/next", NO),
        row(InitError, "POST /2018-06-01/runtime/init/error", NO),
        row(Ready, "GET /2018-06-01/runtime/invocation/next", NO),
        row(Ready, "POST /2018-06-01/runtime/init/error", NO),
        row(Running, "POST /2018-06-01/runtime/init/error", NO),
        row(Responded, "POST /2018-06-01/runtime/invocation/1/response", NO),
        row(Responded, "POST /2018-06-01/runtime/invocation/1/error", NO),
        row(Responded, "POST /2018-06-01/runtime/init/error", NO),
        row(ExtensionReady, "GET /2020-01-01/extension/event/next", NO_EXTENSION).with(ME),
        row(ExtensionReady, "POST /2020-01-01/extension/init/error", NO_EXTENSION).with(MY_ERROR),
        row(ExtensionReady, "POST /2020-01-01/extension/exit/error", OK).with(MY_ERROR),
        row(ExtensionRunning, "POST /2020-01-01/extension/init/error", NO_EXTENSION).with(MY_ERROR),
        row(ExtensionRunning, "POST /2020-01-01/extension/exit/error", OK).with(MY_ERROR),
        row(ExtensionInitError, "GET /2020-01-01/extension/event/next", NO_EXTENSION).with(ME),
        row(ExtensionInitError, "POST /2020-01-01/extension/init/error", OK).with(MY_ERROR),
        row(ExtensionInitError, "POST /2020-01-01/extension/exit/error", NO_EXTENSION).with(MY_ERROR),
        row(ExtensionExitError, "GET /2020-01-01/extension/event/next", NO_EXTENSION).with(ME),
        row(ExtensionExitError, "POST /2020-01-01/extension/init/error", NO_EXTENSION).with(MY_ERROR),
        row(ExtensionExitError, "POST /2020-01-01/extension/exit/error", OK).with(MY_ERROR),
    ])
    .await;
}

#[tokio::test]
async fn next_bears_the_event_and_its_headers_and_none_that_is_empty() {
    let mut api = Api::in_state(State::Running).await;
    let response = api.waiting.pop().unwrap().await.unwrap();
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("lambda-runtime-aws-request-id", "1"),
        ("lambda-runtime-invocation-id", "attempt-1"),
        ("lambda-runtime-deadline-ms", "1700000000000"),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:worker"),
        ("lambda-runtime-trace-id", "Root=1-0-0;Parent=0;Sampled=0"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(response.headers()[name], value, "{name}");
    }
    for name in ["lambda-runtime-client-context", "lambda-runtime-cognito-identity", "lambda-runtime-aws-tenant-id"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert_eq!(response.text().await.unwrap(), "{}");
}

#[tokio::test]
async fn next_waits_without_an_answer_and_never_gets_a_204() {
    let mut api = Api::in_state(State::Ready).await;
    let parked = api.waiting.pop().unwrap();
    assert!(!parked.is_finished());
    api.api.invoke(invocation("1"), || {}).unwrap();
    assert_eq!(parked.await.unwrap().status(), 200);
}

#[tokio::test]
async fn runtime_that_has_not_answered_gets_its_invocation_once_more_however_often_it_asks() {
    let mut api = Api::in_state(State::Ready).await;
    let deliveries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&deliveries);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    api.api.invoke(invocation("1"), count).unwrap();
    api.waiting.pop().unwrap().await.unwrap();
    let flood = (0..64).map(|_| api.client.get(api.url(NEXT)).send());
    for answer in join_all(flood).await {
        assert_eq!(answer.unwrap().headers()["lambda-runtime-aws-request-id"], "1");
    }
    assert_eq!(deliveries.load(Ordering::Relaxed), 65, "each is a delivery");
    assert_eq!(api.post(RESPONSE, "null").await, (202, "OK".to_owned()));
}

#[tokio::test]
async fn accepted_answers_are_told_once_and_refused_ones_never() {
    let mut api = Api::in_state(State::Running).await;
    while api.calls.try_recv().is_ok() {}
    api.post("/2018-06-01/runtime/invocation/0/response", "stale").await;
    api.post(RESPONSE, "null").await;
    api.post(RESPONSE, "twice").await;
    assert_matches!(api.calls.try_recv(), Ok(Call::Response(body)) if body == "null");
    assert!(api.calls.try_recv().is_err());
}

#[tokio::test]
async fn response_that_is_too_large_fails_the_invocation() {
    let mut api = Api::in_state(State::Running).await;
    while api.calls.try_recv().is_ok() {}
    let request = api.client.post(api.url(RESPONSE)).body(vec![b' '; MAX_BODY + 1]);
    assert_eq!(outcome(request.send().await.unwrap()).await, (413, "RequestEntityTooLarge".to_owned()));
    assert_matches!(api.calls.try_recv(), Ok(Call::Error(error)) if error.error_type == "Function.ResponseSizeTooLarge");
    let request = api.client.post(api.url(RESPONSE)).body(vec![b' '; MAX_BODY]);
    assert_eq!(outcome(request.send().await.unwrap()).await, (403, "InvalidStateTransition".to_owned()));
}

/// Sends a response that is as large as it may be, but for its last byte, and waits as long as it takes.
async fn send_all_but_the_end(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // What the kernel keeps has not been read.
    socket.set_send_buffer_size(64 * 1024).unwrap();
    let mut connection = socket.connect(address).await.unwrap();
    let head = format!("POST {RESPONSE} HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![b' '; MAX_BODY - 1]).await.unwrap();
    connection
}

#[tokio::test]
async fn bodies_that_do_not_end_are_kept_up_to_a_limit() {
    let api = Api::in_state(State::Running).await;
    let mut sending = JoinSet::new();
    for _ in 0..=BODIES_AT_ONCE {
        sending.spawn(send_all_but_the_end(api.api.address()));
    }
    let mut sent = Vec::new();
    for _ in 0..BODIES_AT_ONCE {
        sent.push(sending.join_next().await.unwrap().unwrap());
    }
    let one_more = timeout(Duration::from_millis(200), sending.join_next()).await;
    assert_matches!(one_more, Err(_), "one too many is kept");
    sent.clear();
    sending.join_next().await.unwrap().unwrap();
    assert_eq!(api.post(RESPONSE, "null").await.0, 202);
}

/// Sends bytes that are not a whole request, and reads the status line of the answer.
async fn send_raw(api: &Api, request: &str) -> String {
    let mut connection = TcpStream::connect(api.api.address()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn response_that_ends_before_its_end_is_truncated_and_can_be_sent_again() {
    let mut api = Api::in_state(State::Running).await;
    let before = api.refused().len();
    send_raw(&api, &format!("POST {RESPONSE} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nnul")).await;
    api.events.until(before + 1, |event| matches!(event, EventKind::CallRefused { .. })).await;
    let truncated = (format!("POST {RESPONSE}"), 400, "TruncatedHTTPRequest".to_owned());
    assert_eq!(api.refused().split_off(before), [truncated]);
    assert_eq!(api.post(RESPONSE, "null").await.0, 202);
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    let mut api = Api::in_state(State::Running).await;
    assert!(send_raw(&api, "this is not HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    send_raw(&api, "GET /2018-06-01/runtime/invoc").await;
    assert_eq!(api.post(RESPONSE, "\u{0}garbage").await.0, 202);
    assert!(api.waiting.pop().is_some());
}

#[tokio::test]
async fn streamed_response_that_fails_at_its_end_is_an_error() {
    let mut api = Api::in_state(State::Running).await;
    while api.calls.try_recv().is_ok() {}
    // {"errorType":"Function.Bad","errorMessage":"half"}
    let body = "eyJlcnJvclR5cGUiOiJGdW5jdGlvbi5CYWQiLCJlcnJvck1lc3NhZ2UiOiJoYWxmIn0=";
    let head = format!(
        "POST {RESPONSE} HTTP/1.1\r\nHost: a\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\
         Transfer-Encoding: chunked\r\nTrailer: Lambda-Runtime-Function-Error-Type, \
         Lambda-Runtime-Function-Error-Body\r\nConnection: close\r\n\r\n"
    );
    let rest = format!(
        "4\r\nhalf\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Bad\r\n\
         Lambda-Runtime-Function-Error-Body: {body}\r\n\r\n"
    );
    assert!(send_raw(&api, &(head + &rest)).await.starts_with("HTTP/1.1 202"));
    assert_matches!(api.calls.try_recv(), Ok(Call::Error(error))
        if error.error_type == "Function.Bad" && error.error_message == "half");
}

#[tokio::test]
async fn error_is_told_with_the_type_and_message_of_its_body_or_else_its_header() {
    for (header, body, error_type, error_message) in [
        ("Runtime.Bad", r#"{"errorType":"NoKey","errorMessage":"no key","stackTrace":[]}"#, "NoKey", "no key"),
        ("Runtime.Bad", "no JSON", "Runtime.Bad", ""),
        ("unhandled", "{}", "Runtime.Unknown", ""),
        ("Function.bad2", "{}", "Function.Unknown", ""),
    ] {
        for (state, path) in [(State::Running, ERROR), (State::Started, INIT_ERROR)] {
            let mut api = Api::in_state(state).await;
            while api.calls.try_recv().is_ok() {}
            let request = api.client.post(api.url(path)).header("Lambda-Runtime-Function-Error-Type", header);
            assert_eq!(request.body(body).send().await.unwrap().status(), 202);
            let told = assert_matches!(api.calls.try_recv(), Ok(Call::Error(told) | Call::InitError(told)) => told);
            assert_eq!((told.error_type.as_str(), told.error_message.as_str()), (error_type, error_message));
        }
    }
}

#[tokio::test]
async fn registration_answers_with_the_function_and_on_request_with_its_account() {
    let mut api = Api::serve().await;
    for (feature, account) in [("", Value::Null), ("accountId", json!("123456789012"))] {
        let name = format!("flusher with {feature}");
        let request = api.client.post(api.url(REGISTER)).header("Lambda-Extension-Name", &name);
        let request = request.header("Lambda-Extension-Accept-Feature", feature).body(INVOKE);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["lambda-extension-identifier"].len(), 36);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["functionName"], "worker");
        assert_eq!(body["functionVersion"], "$LATEST");
        assert_eq!(body["handler"], "bootstrap");
        assert_eq!(body["accountId"], account);
    }
    let registered = |event: &EventKind| matches!(event, EventKind::ExtensionRegistered { internal: true, events, .. } if *events == ["INVOKE"]);
    assert_eq!(api.events.seen().iter().filter(|event| registered(event)).count(), 2);
}

#[tokio::test]
async fn extension_is_told_of_the_invocation_it_wants_to_know_of() {
    let mut api = Api::in_state(State::ExtensionRunning).await;
    let response = api.waiting.swap_remove(0).await.unwrap();
    assert_eq!(response.headers()["lambda-extension-event-identifier"].len(), 36);
    let expected = json!({
        "eventType": "INVOKE",
        "deadlineMs": 1_700_000_000_000_u64,
        "requestId": "1",
        "invokedFunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:worker",
        "tracing": { "type": "X-Amzn-Trace-Id", "value": "Root=1-0-0;Parent=0;Sampled=0" },
    });
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn extension_is_told_of_the_end_it_wants_to_know_of() {
    let mut api = Api::serve().await;
    let request = api.client.post(api.url(REGISTER)).header("Lambda-Extension-Name", "collector").body(SHUTDOWN);
    let response = request.send().await.unwrap();
    api.extension = response.headers()["lambda-extension-identifier"].to_str().unwrap().to_owned();
    api.park(EVENT_NEXT).await;
    assert_eq!(api.api.audience().shutdown, ["collector"]);
    api.api.stop();
    api.api.shut_down(ShutdownReason::Timeout, 7);
    let told: Value = api.waiting.pop().unwrap().await.unwrap().json().await.unwrap();
    assert_eq!(told, json!({ "eventType": "SHUTDOWN", "shutdownReason": "TIMEOUT", "deadlineMs": 7 }));
}

#[tokio::test]
async fn nobody_is_served_by_an_environment_that_ends() {
    let mut api = Api::in_state(State::Ready).await;
    api.api.stop();
    assert_eq!(api.post(RESPONSE, "null").await, (500, "InternalServerError".to_owned()));
    let parked = api.waiting.pop().unwrap();
    assert!(!parked.is_finished(), "who is told to shut down is not to trip over an answer");
    api.api.close(|_| {});
    assert_eq!(outcome(parked.await.unwrap()).await, (500, "InternalServerError".to_owned()));
    let recorded = api.refused().len();
    let row = row(State::Ready, "POST /2020-01-01/extension/register", (500, "InternalServerError"));
    assert_eq!(api.call(&row.with(FLUSHER).body(INVOKE)).await.status(), 500);
    assert_eq!(api.refused().len(), recorded, "its last event was recorded");
}

#[tokio::test]
async fn environment_that_is_not_listened_to_answers_that_the_container_is_in_trouble() {
    let mut api = Api::in_state(State::Started).await;
    api.calls.close();
    let answer = api.client.get(api.url(NEXT)).send().await.unwrap();
    assert_eq!(outcome(answer).await, (500, "InternalServerError".to_owned()));
}

#[tokio::test]
async fn flood_of_refused_calls_does_not_flood_the_ledger() {
    let mut api = Api::in_state(State::Started).await;
    for _ in 0..100 {
        api.post(ERROR, "{}").await;
    }
    let refused = api.refused();
    assert_eq!(refused.len(), 21);
    assert!(refused.last().unwrap().0.ends_with("and all further ones are not told"), "{refused:?}");
}
