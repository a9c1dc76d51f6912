//! What runtimes and extensions are told.

use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;
use verifier::InvocationId;

/// An invocation as `/next` delivers it. Headers that would be empty are left out:
/// `Lambda-Runtime-Client-Context`, `Lambda-Runtime-Cognito-Identity`, `Lambda-Runtime-Aws-Tenant-Id`.
#[derive(Debug, Clone)]
pub struct Next {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub id: InvocationId,
    /// `Lambda-Runtime-Invocation-Id`: this attempt.
    pub attempt: String,
    /// `Lambda-Runtime-Deadline-Ms`: when the function's time-out passes, in milliseconds since the
    /// Unix epoch.
    pub deadline_ms: u64,
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

/// Why an environment is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ShutdownReason {
    /// It is not needed any more.
    Spindown,
    /// Its invocation took too long.
    Timeout,
    /// Its runtime or one of its extensions failed.
    Failure,
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spindown => "SPINDOWN",
            Self::Timeout => "TIMEOUT",
            Self::Failure => "FAILURE",
        })
    }
}

/// What an extension is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "eventType", rename_all = "UPPERCASE", rename_all_fields = "camelCase")]
pub(super) enum ExtensionEvent {
    /// An invocation begins.
    Invoke {
        /// When the function's time-out passes, in milliseconds since the Unix epoch.
        deadline_ms: u64,
        /// The invocation.
        request_id: InvocationId,
        /// The function's ARN.
        invoked_function_arn: String,
        /// X-Ray's header.
        tracing: Tracing,
    },
    /// The environment is about to end.
    Shutdown {
        /// Why.
        shutdown_reason: ShutdownReason,
        /// When it will be killed, in milliseconds since the Unix epoch.
        deadline_ms: u64,
    },
}

/// How an extension is told of X-Ray's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tracing {
    /// The header's name.
    r#type: &'static str,
    /// Its value.
    value: String,
}

impl ExtensionEvent {
    pub(super) fn invoke(next: &Next) -> Self {
        Self::Invoke {
            deadline_ms: next.deadline_ms,
            request_id: next.id.clone(),
            invoked_function_arn: next.function_arn.clone(),
            tracing: Tracing { r#type: "X-Amzn-Trace-Id", value: next.trace_id.clone() },
        }
    }
}

impl IntoResponse for ExtensionEvent {
    fn into_response(self) -> Response {
        ([("lambda-extension-event-identifier", Uuid::new_v4().to_string())], Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn extensions_are_told_in_the_documented_form() {
        let next = Next {
            id: InvocationId::new("1"),
            attempt: "a".to_owned(),
            deadline_ms: 676_051,
            function_arn: "arn".to_owned(),
            trace_id: "Root=1".to_owned(),
            payload: Bytes::from_static(b"{}"),
        };
        let invoke = json!({
            "eventType": "INVOKE",
            "deadlineMs": 676_051,
            "requestId": "1",
            "invokedFunctionArn": "arn",
            "tracing": { "type": "X-Amzn-Trace-Id", "value": "Root=1" },
        });
        assert_eq!(serde_json::to_value(ExtensionEvent::invoke(&next)).unwrap(), invoke);
        let shutdown = ExtensionEvent::Shutdown { shutdown_reason: ShutdownReason::Spindown, deadline_ms: 7 };
        let expected = json!({ "eventType": "SHUTDOWN", "shutdownReason": "SPINDOWN", "deadlineMs": 7 });
        assert_eq!(serde_json::to_value(shutdown).unwrap(), expected);
    }

    #[test]
    fn reasons_are_written_as_they_are_sent() {
        for reason in [ShutdownReason::Spindown, ShutdownReason::Timeout, ShutdownReason::Failure] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.to_string());
        }
    }
}
