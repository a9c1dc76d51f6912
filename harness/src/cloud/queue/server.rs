//! AWS JSON 1.0 over HTTP in front of the queues, for the SDKs.
//!
//! Signatures are not checked: whoever can reach the listener may use the queues.

use std::io;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::{ErrorKind, SqsError};
use super::queues::Queues;
use super::{limits, operations, wire};

/// The longest body of a call: a batch of 1 MiB whose every character is escaped as `\u0000`, and
/// something for the rest.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const AWS_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// What the handler needs.
#[derive(Debug, Clone)]
struct Front {
    queues: Queues,
    stopping: CancellationToken,
}

/// Answers SQS's calls until `shutdown` completes; polls that wait by then are answered as empty.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    queues: Queues,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = CancellationToken::new();
    let front = Front { queues, stopping: stopping.clone() };
    let router = Router::new().fallback(answer).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(front);
    // An answer is small and awaited: it must not wait in the socket for the one before to be confirmed.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection to the queues is slower than it could be");
        }
    });
    let stopped = async move {
        shutdown.await;
        stopping.cancel();
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn answer(State(front): State<Front>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response<Body> {
    match front.call(&headers, body).await {
        Ok(body) => respond(StatusCode::OK, body),
        Err(error) => respond_with_error(&error),
    }
}

impl Front {
    async fn call(&self, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Vec<u8>, SqsError> {
        let operation = operation_of(headers)?;
        let body = body.map_err(|rejection| rejected(operation, &rejection))?;
        match operation {
            "ReceiveMessage" => self.receive(&body).await,
            operation => operations::call(&self.queues, operation, &body).await,
        }
    }

    /// Receives, but lets nobody wait beyond the end.
    async fn receive(&self, body: &[u8]) -> Result<Vec<u8>, SqsError> {
        tokio::select! {
            biased;
            answer = operations::call(&self.queues, "ReceiveMessage", body) => answer,
            () = self.stopping.cancelled() => Ok(b"{}".to_vec()),
        }
    }
}

/// The operation that a call names, as in `X-Amz-Target: AmazonSQS.SendMessage`.
fn operation_of(headers: &HeaderMap) -> Result<&str, SqsError> {
    let target = headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
    target.strip_prefix("AmazonSQS.").ok_or_else(|| {
        let message = format!("Expected the header X-Amz-Target: AmazonSQS.<operation>, found {target:?}.");
        SqsError::new(ErrorKind::UnknownOperation, message)
    })
}

/// The answer to a body that was not read to its end. Which queue it was for is in the part that was
/// not read, so no refusal can be recorded; the caller is told as with any message that is too long.
fn rejected(operation: &str, rejection: &BytesRejection) -> SqsError {
    tracing::warn!(operation, %rejection, "the body of a call to the queues was not read");
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => limits::too_long(operation, MAX_BODY_BYTES),
        _ => wire::unreadable(rejection),
    }
}

fn respond_with_error(error: &SqsError) -> Response<Body> {
    let body = serde_json::json!({ "__type": error.type_name(), "message": error.message });
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, body.to_string().into_bytes());
    let fault = if error.is_senders_fault() { "Sender" } else { "Receiver" };
    if let Ok(value) = HeaderValue::try_from(format!("{};{fault}", error.code())) {
        response.headers_mut().insert(QUERY_ERROR, value);
    }
    response
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, AWS_JSON);
    if let Ok(id) = HeaderValue::try_from(Uuid::new_v4().to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
