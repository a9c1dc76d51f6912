//! What can go wrong with a request, as an answer.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use onboarding_telemetry::operation::trace_id;
use opentelemetry::Context;
use serde::Serialize;

use crate::queue::SendError;

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The body is not what it should be.
    #[error("{0}")]
    Body(#[from] JsonRejection),
    /// A field of the body has a value that cannot be right.
    #[error("{field} {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The message could not be queued.
    #[error("the request could not be queued")]
    Queue(#[from] SendError),
    /// A bug.
    #[error("internal error")]
    Internal,
}

/// The body of an answer to a request that was not accepted.
#[derive(Debug, Serialize)]
struct ErrorBody {
    error: String,
    /// By which the request can be looked up, in 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            // What is well-formed but of the wrong shape is a bad request to us, not a 422.
            Self::Body(JsonRejection::JsonDataError(_)) | Self::Field { .. } => StatusCode::BAD_REQUEST,
            Self::Body(rejection) => rejection.status(),
            Self::Queue(SendError::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Queue(SendError::Refused { .. }) => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    /// Answers within the request's context, from which the trace id comes.
    fn into_response(self) -> Response {
        let trace_id = Context::map_current(trace_id).map(|id| id.to_string());
        (self.status(), Json(ErrorBody { error: self.to_string(), trace_id })).into_response()
    }
}
