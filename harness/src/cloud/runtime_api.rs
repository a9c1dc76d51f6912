//! The Runtime API of one execution environment: how a runtime gets its invocations and answers them.
//!
//! Paths, headers, statuses and error bodies are those of the AWS documentation ("Using the Lambda
//! runtime API for custom runtimes", version 2018-06-01) and of AWS's runtime interface emulator.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use verifier::InvocationId;

use super::runtime_state::{Polled, Refusal, RuntimeMachine, RuntimeState};
use crate::target::Process;

/// The largest body of a response: 6 MB and 100 bytes, as the real daemon has it.
const MAX_BODY: usize = 6 * 1024 * 1024 + 100;
/// How many calls may wait for the environment. A runtime makes two per invocation and is answered
/// in between; one that floods is told that the container is in trouble.
const WAITING_CALLS: usize = 16;

/// A call of the runtime that was accepted.
#[derive(Debug)]
pub enum RuntimeCall {
    /// It is initialised, or has done with its invocation: it asked for the next one, and waits.
    Next {
        /// When it did.
        at: Instant,
    },
    /// It answered its invocation.
    Response(Bytes),
    /// It reported that its invocation failed.
    Error(FunctionError),
    /// It reported that it cannot be initialised.
    InitError(FunctionError),
}

/// An error that a runtime reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `errorType` of its body or, where there is none, of its header.
    pub error_type: String,
    /// `errorMessage` of its body.
    pub error_message: String,
}

/// An invocation as `/next` delivers it.
#[derive(Debug, Clone)]
pub struct Next {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub id: InvocationId,
    /// `Lambda-Runtime-Invocation-Id`: this attempt.
    pub attempt: String,
    /// `Lambda-Runtime-Deadline-Ms`: when the function's time-out passes, in milliseconds since the
    /// Unix epoch.
    pub deadline_ms: u128,
    /// `Lambda-Runtime-Invoked-Function-Arn`.
    pub function_arn: String,
    /// `Lambda-Runtime-Trace-Id`: X-Ray's header.
    pub trace_id: String,
    /// The event, as JSON.
    pub payload: Bytes,
}

impl IntoResponse for Next {
    fn into_response(self) -> Response {
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", self.id.to_string()),
            ("lambda-runtime-invocation-id", self.attempt),
            ("lambda-runtime-deadline-ms", self.deadline_ms.to_string()),
            ("lambda-runtime-invoked-function-arn", self.function_arn),
            ("lambda-runtime-trace-id", self.trace_id),
        ];
        (headers, self.payload).into_response()
    }
}

/// The API of one environment, on a port of its own.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    runtime: Mutex<Runtime>,
    calls: mpsc::Sender<RuntimeCall>,
    /// What is stopped in the very moment in which it asks for the next invocation.
    /// Weak, because the environment decides how long it lives, and connections may outlive it.
    process: OnceLock<Weak<Process>>,
}

#[derive(Debug, Default)]
struct Runtime {
    machine: RuntimeMachine,
    /// The unanswered `/next`.
    parked: Option<oneshot::Sender<Next>>,
    /// What a `/next` is answered with at once, from an invocation to the runtime's answer.
    running: Option<Handover>,
    freezes_after_init: bool,
}

/// An invocation that the runtime is given whenever it asks while it has not answered.
struct Handover {
    next: Next,
    /// Called before each delivery.
    on_delivery: Box<dyn Fn() + Send>,
    /// Whether the last delivery was told and then reached nobody.
    told_in_vain: bool,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover").field("id", &self.next.id).finish_non_exhaustive()
    }
}

impl Handover {
    /// Delivers it, unless whoever asked for it has hung up: that is no delivery.
    fn deliver(&mut self, asker: oneshot::Sender<Next>) {
        if asker.is_closed() {
            return;
        }
        if !std::mem::take(&mut self.told_in_vain) {
            (self.on_delivery)();
        }
        // Whoever hangs up in between leaves the delivery that was told to whoever asks next.
        self.told_in_vain = asker.send(self.next.clone()).is_err();
    }
}

impl RuntimeApi {
    /// Serves the API on a free port of 127.0.0.1, and the calls that it accepts.
    ///
    /// `freezes_after_init` tells whether there will be nothing to do once the runtime is initialised.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn serve(freezes_after_init: bool) -> io::Result<(Self, mpsc::Receiver<RuntimeCall>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (calls, accepted) = mpsc::channel(WAITING_CALLS);
        let runtime = Mutex::new(Runtime { freezes_after_init, ..Runtime::default() });
        let shared = Arc::new(Shared { runtime, calls, process: OnceLock::new() });
        let server = tokio::spawn(run(listener, router(Arc::clone(&shared))));
        Ok((Self { address, shared, _server: AbortOnDropHandle::new(server) }, accepted))
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to be: host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names the process that is stopped (SIGSTOP) whenever it asks for an invocation and there is
    /// none. Its owner confirms that it has stopped.
    pub fn freeze(&self, process: &Arc<Process>) {
        // There is one process per environment: a second call is none of this one's business.
        let _ = self.shared.process.set(Arc::downgrade(process));
    }

    /// Answers the waiting `/next` with an invocation, and every further one until the runtime has
    /// answered. `on_delivery` is called right before each of these answers, once for each; it must
    /// not wait and must not call back.
    ///
    /// If the runtime has hung up, the invocation is running all the same, and the runtime's next
    /// `/next` gets it.
    ///
    /// # Errors
    /// If the runtime has not asked for an invocation.
    pub fn invoke(&self, next: Next, on_delivery: impl Fn() + Send + 'static) -> Result<(), Refusal> {
        let mut runtime = self.shared.lock();
        runtime.machine.invoke(next.id.clone())?;
        runtime.running = Some(Handover { next, on_delivery: Box::new(on_delivery), told_in_vain: false });
        if let Some(asker) = runtime.parked.take() {
            runtime.deliver(asker);
        }
        Ok(())
    }
}

impl Runtime {
    fn deliver(&mut self, asker: oneshot::Sender<Next>) {
        if let Some(running) = &mut self.running {
            running.deliver(asker);
        }
    }

    /// Whether the runtime waited and then hung up.
    fn has_hung_up(&self) -> bool {
        self.machine.state() == RuntimeState::Ready && self.parked.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn freezes(&self, polled: Polled) -> bool {
        match polled {
            Polled::Initialized => self.freezes_after_init,
            Polled::Finished => true,
            Polled::Again => false,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a transition and tells the environment, as one step: calls arrive in the order in which
    /// they were accepted, and none is accepted that could not be told.
    fn accept(&self, transition: impl FnOnce(&mut Runtime) -> Result<RuntimeCall, Refusal>) -> Result<(), ApiError> {
        let mut runtime = self.lock();
        let permit = self.calls.try_reserve().map_err(|_| ApiError::Container)?;
        permit.send(transition(&mut runtime)?);
        Ok(())
    }

    /// Takes a `/next` in, under one guard: an invocation comes either before it or after it.
    fn poll(&self, asker: oneshot::Sender<Next>) -> Result<(), ApiError> {
        let mut runtime = self.lock();
        if runtime.has_hung_up() {
            // It waits again, and nothing has changed for anybody else.
            runtime.parked = Some(asker);
            return Ok(());
        }
        let permit = self.calls.try_reserve().map_err(|_| ApiError::Container)?;
        match runtime.machine.poll()? {
            Polled::Again => runtime.deliver(asker),
            polled => permit.send(self.park(&mut runtime, polled, asker)),
        }
        Ok(())
    }

    /// Parks a `/next`. The process is stopped before anybody else learns of it: what it has not
    /// sent by now stays with it until the next thaw.
    fn park(&self, runtime: &mut Runtime, polled: Polled, asker: oneshot::Sender<Next>) -> RuntimeCall {
        let at = Instant::now();
        let process = self.process.get().filter(|_| runtime.freezes(polled)).and_then(Weak::upgrade);
        process.iter().for_each(|process| process.suspend());
        runtime.running = None;
        runtime.parked = Some(asker);
        RuntimeCall::Next { at }
    }
}

/// Why a call is not answered with what it asked for.
#[derive(Debug)]
enum ApiError {
    Refused(Refusal),
    TooLarge,
    Truncated,
    InvalidResponseMode,
    /// The environment is on its way out.
    Container,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Truncated,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_type, message) = match self {
            Self::Refused(refusal) => (refusal.status(), refusal.error_type(), refusal.to_string()),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", TOO_LARGE.to_owned()),
            Self::Truncated => {
                (StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "HTTP request detected as truncated".to_owned())
            }
            Self::InvalidResponseMode => {
                (StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", "Invalid function response mode".to_owned())
            }
            Self::Container => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "Container error, runtime should exit promptly".to_owned(),
            ),
        };
        (status, Json(json!({ "errorType": error_type, "errorMessage": message }))).into_response()
    }
}

const TOO_LARGE: &str = "Exceeded maximum allowed payload size (6291556 bytes).";

async fn run(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|connection| {
        // Only costs latency if it fails.
        let _ = connection.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "a Runtime API is no longer served");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .route("/2018-06-01/ping", get(async || "pong"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

/// Waits as long as it takes: the connection stays open across the freeze.
async fn next(State(shared): State<Arc<Shared>>) -> Result<Next, ApiError> {
    let (answer, parked) = oneshot::channel();
    shared.poll(answer)?;
    parked.await.map_err(|_| ApiError::Container)
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    if headers.get("lambda-runtime-function-response-mode").is_some_and(|mode| mode != "streaming") {
        return Err(ApiError::InvalidResponseMode);
    }
    match body.map_err(ApiError::from) {
        Ok(body) => shared.accept(|runtime| {
            runtime.machine.respond(&id)?;
            Ok(RuntimeCall::Response(body))
        })?,
        Err(ApiError::TooLarge) => return Err(refuse_size(&shared, &id)),
        Err(error) => return Err(error),
    }
    Ok(accepted())
}

/// A response that is too large is an answer all the same: the invocation has failed.
fn refuse_size(shared: &Shared, id: &str) -> ApiError {
    let error_type = "Function.ResponseSizeTooLarge".to_owned();
    let error = FunctionError { error_type, error_message: TOO_LARGE.to_owned() };
    let accepted = shared.accept(|runtime| {
        runtime.machine.respond(id)?;
        Ok(RuntimeCall::Error(error))
    });
    accepted.err().unwrap_or(ApiError::TooLarge)
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let error = FunctionError::new(&headers, &body?);
    shared.accept(|runtime| {
        runtime.machine.fail(&id)?;
        Ok(RuntimeCall::Error(error))
    })?;
    Ok(accepted())
}

async fn init_error(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let error = FunctionError::new(&headers, &body?);
    shared.accept(|runtime| {
        runtime.machine.fail_init()?;
        Ok(RuntimeCall::InitError(error))
    })?;
    Ok(accepted())
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ErrorBody {
    error_type: Option<String>,
    error_message: Option<String>,
}

impl FunctionError {
    /// Any body is accepted; one that is not the documented JSON says nothing.
    fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let header = headers.get("lambda-runtime-function-error-type").and_then(|value| value.to_str().ok());
        Self {
            error_type: body.error_type.unwrap_or_else(|| sanitized(header.unwrap_or_default())),
            error_message: body.error_message.unwrap_or_default(),
        }
    }
}

/// The error type of a header, if it is one that Lambda knows: `(Runtime|Function)\.[A-Z][a-zA-Z]+`.
fn sanitized(error_type: &str) -> String {
    let (family, name) = error_type.split_once('.').unwrap_or(("Runtime", ""));
    let is_name = name.len() > 1
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    match family {
        "Runtime" | "Function" if is_name => error_type.to_owned(),
        "Function" => "Function.Unknown".to_owned(),
        _ => "Runtime.Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use assert_matches::assert_matches;
    use futures_util::future::join_all;
    use reqwest::{Client, Response};

    use super::*;

    struct Api {
        api: RuntimeApi,
        calls: mpsc::Receiver<RuntimeCall>,
        client: Client,
    }

    impl Api {
        async fn serve() -> Self {
            let (api, calls) = RuntimeApi::serve(false).await.unwrap();
            Self { api, calls, client: Client::builder().no_proxy().build().unwrap() }
        }

        fn url(&self, path: &str) -> String {
            format!("http://{}/2018-06-01{path}", self.api.address())
        }

        /// A `/next` that was accepted and waits.
        async fn park(&mut self) -> tokio::task::JoinHandle<Response> {
            let request = self.client.get(self.url("/runtime/invocation/next")).send();
            let parked = tokio::spawn(async { request.await.unwrap() });
            assert_matches!(self.calls.recv().await, Some(RuntimeCall::Next { .. }));
            parked
        }

        /// Answers the parked `/next`; tells how often the invocation is delivered.
        fn invoke(&self, id: &str) -> Arc<AtomicUsize> {
            let deliveries = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&deliveries);
            let count = move || {
                counted.fetch_add(1, Ordering::Relaxed);
            };
            self.api.invoke(invocation(id), count).unwrap();
            deliveries
        }

        async fn get(&self, path: &str) -> (u16, String) {
            outcome(self.client.get(self.url(path)).send().await.unwrap()).await
        }

        async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
            outcome(self.client.post(self.url(path)).body(body).send().await.unwrap()).await
        }
    }

    async fn outcome(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body: serde_json::Value = response.json().await.unwrap_or_default();
        (status, body["errorType"].as_str().or(body["status"].as_str()).unwrap_or_default().to_owned())
    }

    fn invocation(id: &str) -> Next {
        Next {
            id: InvocationId::new(id),
            attempt: "attempt-1".to_owned(),
            deadline_ms: 1_700_000_000_000,
            function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:worker".to_owned(),
            trace_id: "Root=1-0-0;Parent=0;Sampled=0".to_owned(),
            payload: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn next_bears_the_event_and_its_headers() {
        let mut api = Api::serve().await;
        let parked = api.park().await;
        api.invoke("1");
        let response = parked.await.unwrap();
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
        assert_eq!(response.text().await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn calls_are_answered_as_documented() {
        let mut api = Api::serve().await;
        let parked = api.park().await;
        api.invoke("1");
        parked.await.unwrap();
        let answer = |status: u16, text: &str| (status, text.to_owned());
        assert_eq!(api.post("/runtime/invocation/0/response", "").await, answer(400, "InvalidRequestID"));
        assert_eq!(api.post("/runtime/init/error", "{}").await, answer(403, "InvalidStateTransition"));
        assert_eq!(api.post("/runtime/invocation/1/response", "null").await, answer(202, "OK"));
        assert_eq!(api.post("/runtime/invocation/1/response", "null").await, answer(403, "InvalidStateTransition"));
        assert_eq!(api.post("/runtime/invocation/1/error", "{}").await, answer(403, "InvalidStateTransition"));
        assert_matches!(api.calls.recv().await, Some(RuntimeCall::Response(body)) if body == "null");
        assert!(api.calls.try_recv().is_err(), "a refused call was told to the environment");
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_refused() {
        let api = Api::serve().await;
        assert_eq!(api.get("/runtime/invocation").await.0, 404);
        assert_eq!(api.get("/runtime/restore/next").await.0, 404);
        assert_eq!(api.post("/runtime/invocation/next", "").await.0, 405);
        assert_eq!(api.get("/ping").await.0, 200);
    }

    #[tokio::test]
    async fn second_next_while_one_waits_is_refused() {
        let mut api = Api::serve().await;
        let _parked = api.park().await;
        assert_eq!(api.get("/runtime/invocation/next").await, (403, "InvalidStateTransition".to_owned()));
    }

    #[tokio::test]
    async fn runtime_that_has_not_answered_gets_its_invocation_once_more() {
        let mut api = Api::serve().await;
        let first = api.park().await;
        let deliveries = api.invoke("1");
        first.await.unwrap();
        let second = api.client.get(api.url("/runtime/invocation/next")).send().await.unwrap();
        assert_eq!(second.headers()["lambda-runtime-aws-request-id"], "1");
        assert_eq!(deliveries.load(Ordering::Relaxed), 2);
        assert!(api.calls.try_recv().is_err(), "nothing has changed for the environment");
    }

    #[tokio::test]
    async fn every_answer_to_a_flood_of_next_is_told_once() {
        let mut api = Api::serve().await;
        let parked = api.park().await;
        let deliveries = api.invoke("1");
        parked.await.unwrap();
        let flood = (0..2 * WAITING_CALLS).map(|_| api.client.get(api.url("/runtime/invocation/next")).send());
        for answer in join_all(flood).await {
            assert_eq!(answer.unwrap().headers()["lambda-runtime-aws-request-id"], "1");
        }
        assert_eq!(deliveries.load(Ordering::Relaxed), 1 + 2 * WAITING_CALLS);
        assert_eq!(api.post("/runtime/invocation/1/response", "null").await.0, 202);
    }

    #[tokio::test]
    async fn invocation_that_nobody_got_is_delivered_once_to_whoever_asks_next() {
        let (api, _calls) = RuntimeApi::serve(false).await.unwrap();
        let ask = || {
            let (asker, parked) = oneshot::channel();
            api.shared.poll(asker).unwrap();
            parked
        };
        drop(ask());
        let deliveries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&deliveries);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        api.invoke(invocation("1"), count).unwrap();
        assert_eq!(deliveries.load(Ordering::Relaxed), 0, "nobody was there");
        assert_eq!(ask().await.unwrap().id, InvocationId::new("1"));
        assert_eq!(deliveries.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn asker_that_hangs_up_while_it_is_told_leaves_the_delivery_to_the_next() {
        let told = Arc::new(AtomicUsize::new(0));
        let (first, parked) = oneshot::channel();
        let parked = Mutex::new(Some(parked));
        let counted = Arc::clone(&told);
        let hang_up = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            parked.lock().unwrap().take();
        };
        let mut handover = Handover { next: invocation("1"), on_delivery: Box::new(hang_up), told_in_vain: false };
        handover.deliver(first);
        let (second, mut parked) = oneshot::channel();
        handover.deliver(second);
        assert_eq!(parked.try_recv().unwrap().id, InvocationId::new("1"));
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn response_that_is_too_large_fails_the_invocation() {
        let mut api = Api::serve().await;
        let parked = api.park().await;
        api.invoke("1");
        parked.await.unwrap();
        let answer = api.post("/runtime/invocation/1/response", vec![b' '; MAX_BODY + 1]).await;
        assert_eq!(answer, (413, "RequestEntityTooLarge".to_owned()));
        assert_matches!(api.calls.recv().await, Some(RuntimeCall::Error(error))
            if error.error_type == "Function.ResponseSizeTooLarge");
    }

    #[tokio::test]
    async fn init_error_is_told_with_its_type_and_message() {
        let mut api = Api::serve().await;
        let body = r#"{"errorType":"Runtime.InitError","errorMessage":"no key","stackTrace":[]}"#;
        assert_eq!(api.post("/runtime/init/error", body).await.0, 202);
        let told = FunctionError { error_type: "Runtime.InitError".to_owned(), error_message: "no key".to_owned() };
        assert_matches!(api.calls.recv().await, Some(RuntimeCall::InitError(error)) if error == told);
        assert_eq!(api.get("/runtime/invocation/next").await.0, 403);
    }

    #[tokio::test]
    async fn unknown_response_mode_is_refused() {
        let api = Api::serve().await;
        let request = api.client.post(api.url("/runtime/invocation/1/response"));
        let response = request.header("Lambda-Runtime-Function-Response-Mode", "carrier-pigeon").send().await.unwrap();
        assert_eq!(outcome(response).await, (400, "InvalidFunctionResponseMode".to_owned()));
    }

    #[test]
    fn unknown_error_types_are_replaced() {
        for (given, expected) in [
            ("Runtime.ExitError", "Runtime.ExitError"),
            ("Function.Bad", "Function.Bad"),
            ("Function.bad", "Function.Unknown"),
            ("Function.Bad2", "Function.Unknown"),
            ("unhandled", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
        ] {
            assert_eq!(sanitized(given), expected, "{given}");
        }
    }
}
