//! The calls of runtimes.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::answer::{ApiError, TOO_LARGE, accepted};
use super::event::Next;
use super::state::{Call, Shared};

/// The largest body of a response: 6 MB and 100 bytes, as the real daemon has it.
pub const MAX_BODY: usize = 6 * 1024 * 1024 + 100;

/// How many bodies are kept in memory at the same time, until they have come to their end. A runtime and
/// ten extensions that wait for their answers need no more; who sends more has to wait.
pub const BODIES_AT_ONCE: usize = 16;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const ATTEMPT: &str = "lambda-runtime-invocation-id";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";

/// An error that a runtime reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `errorType` of its body or, where there is none, of its header.
    pub error_type: String,
    /// `errorMessage` of its body.
    pub error_message: String,
}

/// `/runtime/restore/*` and the credentials of a snapshot are there with SnapStart only.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .route("/2018-06-01/ping", get(async || "pong"))
}

/// Waits as long as it takes: the connection stays open across the freeze.
async fn next(State(shared): State<Arc<Shared>>) -> Result<Next, ApiError> {
    let (asker, answer) = oneshot::channel();
    shared.poll(asker)?;
    answer.await.map_err(|_| ApiError::Container)
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if headers.get(RESPONSE_MODE).is_some_and(|mode| mode != "streaming") {
        return Err(ApiError::InvalidResponseMode);
    }
    let attempt = header(&headers, ATTEMPT);
    match read(&shared, body).await {
        Ok(body) => shared.answer(body.into_call(), |runtime| runtime.respond(&id, attempt))?,
        Err(ApiError::TooLarge) => return Err(refuse_size(&shared, &id, attempt)),
        Err(error) => return Err(error),
    }
    Ok(accepted())
}

/// A response that is too large is an answer all the same: the invocation has failed.
fn refuse_size(shared: &Shared, id: &str, attempt: Option<&str>) -> ApiError {
    let error_type = "Function.ResponseSizeTooLarge".to_owned();
    let error = FunctionError { error_type, error_message: TOO_LARGE.to_owned() };
    let answered = shared.answer(Call::Error(error), |runtime| runtime.respond(id, attempt));
    answered.err().unwrap_or(ApiError::TooLarge)
}

/// Why it failed for X-Ray (`Lambda-Runtime-Function-XRay-Error-Cause`) is not looked at.
async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let error = FunctionError::new(&headers, &read(&shared, body).await?.bytes);
    shared.answer(Call::Error(error), |runtime| runtime.fail(&id, header(&headers, ATTEMPT)))?;
    Ok(accepted())
}

async fn init_error(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let error = FunctionError::new(&headers, &read(&shared, body).await?.bytes);
    shared.answer(Call::InitError(error), |runtime| runtime.fail_init())?;
    Ok(accepted())
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A body that has come to its end.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    trailers: Option<HeaderMap>,
}

impl Whole {
    /// A streamed response that fails in its middle says so at its end.
    fn into_call(self) -> Call {
        match self.trailers.filter(|trailers| trailers.contains_key(ERROR_TYPE)) {
            None => Call::Response(self.bytes),
            Some(trailers) => {
                let body = header(&trailers, ERROR_BODY).and_then(|body| BASE64_STANDARD.decode(body).ok());
                Call::Error(FunctionError::new(&trailers, &body.unwrap_or_default()))
            }
        }
    }
}

pub(super) async fn read(shared: &Shared, body: Body) -> Result<Whole, ApiError> {
    let _room = shared.room_for_a_body().await?;
    let collected = Limited::new(body, MAX_BODY).collect().await.map_err(|error| why_unread(&*error))?;
    Ok(Whole { trailers: collected.trailers().cloned(), bytes: collected.to_bytes() })
}

fn why_unread(error: &(dyn Error + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() { ApiError::TooLarge } else { ApiError::Truncated }
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
        let header = header(headers, ERROR_TYPE).unwrap_or_default();
        Self {
            error_type: body.error_type.unwrap_or_else(|| sanitized(header)),
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
    use super::*;

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
