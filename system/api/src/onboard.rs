//! `POST /onboard`: what a request and its answers look like.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use onboarding_telemetry::operation::trace_id;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error::ApiError;

/// The most bytes that an identifier or an address may have: that of an email address (RFC 5321,
/// 4.5.3.1.3, without the angle brackets).
const MAX_LENGTH: usize = 254;

/// A customer who wants to be onboarded: the body of a request, and of the message to the worker.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Customer {
    /// The caller's identifier.
    pub(crate) customer_id: String,
    /// Where the customer can be reached.
    pub(crate) email: String,
}

/// The answer to an accepted request.
#[derive(Debug, Serialize)]
pub(crate) struct Accepted {
    customer_id: String,
    /// That of SQS.
    message_id: String,
    /// By which the request can be looked up, in 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Validates a request and queues it.
pub(crate) async fn onboard(
    State(app): State<App>,
    body: Result<Json<Customer>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let Json(customer) = body?;
    customer.validate()?;
    let context = Context::current();
    context.span().set_attribute(KeyValue::new("customer.id", customer.customer_id.clone()));
    let message_id = app.queue.send(&app.telemetry, &context, &customer).await?;
    let trace_id = trace_id(&context).map(|id| id.to_string());
    Ok((StatusCode::ACCEPTED, Json(Accepted { customer_id: customer.customer_id, message_id, trace_id })))
}

impl Customer {
    fn validate(&self) -> Result<(), ApiError> {
        check("customer_id", &self.customer_id)?;
        check("email", &self.email)?;
        // Whether an address exists is known only by writing to it, so nothing more is asked of it.
        match self.email.split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(()),
            _ => Err(ApiError::Field { field: "email", problem: "is not an email address" }),
        }
    }
}

fn check(field: &'static str, value: &str) -> Result<(), ApiError> {
    let problem = match value {
        _ if value.trim().is_empty() => "is empty",
        _ if value.len() > MAX_LENGTH => "is too long",
        _ => return Ok(()),
    };
    Err(ApiError::Field { field, problem })
}
