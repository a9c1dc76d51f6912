//! What calls are answered with that are refused, and their record.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri};
use serde_json::json;

use super::state::Shared;
use crate::cloud::extension_state::ExtensionRefusal;
use crate::cloud::runtime_state::Refusal;

/// How long the path of a call may be in its record.
const PATH_CHARS: usize = 200;

/// Why a call is not answered with what it asked for.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The runtime may not make this call now.
    Refused(Refusal),
    /// The extension may not.
    Extension(ExtensionRefusal),
    /// The body is larger than a response may be.
    TooLarge,
    /// The body ended before its end.
    Truncated,
    /// The response comes in a way that there is not.
    InvalidResponseMode,
    /// The environment is on its way out.
    Container,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ExtensionRefusal> for ApiError {
    fn from(refusal: ExtensionRefusal) -> Self {
        Self::Extension(refusal)
    }
}

/// The `errorType` of an answer, for its record.
#[derive(Debug, Clone, Copy)]
struct ErrorType(&'static str);

pub(super) const TOO_LARGE: &str = "Exceeded maximum allowed payload size (6291556 bytes).";

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Extension(_) => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Truncated | Self::InvalidResponseMode => StatusCode::BAD_REQUEST,
            Self::Container => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.error_type(),
            Self::Extension(refusal) => refusal.error_type(),
            Self::TooLarge => "RequestEntityTooLarge",
            Self::Truncated => "TruncatedHTTPRequest",
            Self::InvalidResponseMode => "InvalidFunctionResponseMode",
            Self::Container => "InternalServerError",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::Extension(refusal) => refusal.to_string(),
            Self::TooLarge => TOO_LARGE.to_owned(),
            Self::Truncated => "HTTP request detected as truncated".to_owned(),
            Self::InvalidResponseMode => "Invalid function response mode".to_owned(),
            Self::Container => "Container error, runtime should exit promptly".to_owned(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "errorType": self.error_type(), "errorMessage": self.message() });
        let mut response = (self.status(), Json(body)).into_response();
        response.extensions_mut().insert(ErrorType(self.error_type()));
        response
    }
}

/// `202 Accepted`: the answer to everything that is reported.
pub(super) fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

/// Records every call that is not answered with what it asked for, before it is answered.
pub(super) async fn record_refusals(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        let error_type = response.extensions().get().map_or("", |ErrorType(error_type)| error_type);
        shared.record_refusal(call(&method, &uri), response.status(), error_type);
    }
    response
}

fn call(method: &Method, uri: &Uri) -> String {
    let path: String = uri.path().chars().take(PATH_CHARS).collect();
    format!("{method} {path}")
}
