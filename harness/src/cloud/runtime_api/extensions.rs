//! The calls of extensions: the Extensions API, and the Telemetry API as far as it goes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::{ApiError, accepted};
use super::event::ExtensionEvent;
use super::runtime::{header, read};
use super::state::Shared;
use crate::cloud::extension_state::{ExtensionRefusal, Extensions};

const NAME: &str = "lambda-extension-name";
const ACCEPT_FEATURE: &str = "lambda-extension-accept-feature";
const IDENTIFIER: &str = "lambda-extension-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/2020-01-01/extension/register", post(register))
        .route("/2020-01-01/extension/event/next", get(next))
        .route("/2020-01-01/extension/init/error", post(init_error))
        .route("/2020-01-01/extension/exit/error", post(exit_error))
        .route("/2022-07-01/telemetry", put(telemetry))
        .route("/2020-08-15/logs", put(telemetry))
}

#[derive(Debug, Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

async fn register(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let name = header(&headers, NAME).filter(|name| !name.is_empty()).ok_or(ExtensionRefusal::EmptyName)?;
    let body = read(&shared, body).await?.bytes;
    let registration: Registration =
        serde_json::from_slice(&body).map_err(|error| ExtensionRefusal::InvalidFormat(error.to_string()))?;
    let identifier = shared.register(name, &registration.events)?;
    let features = header(&headers, ACCEPT_FEATURE).unwrap_or_default();
    let wants_account = features.split(',').any(|feature| feature.trim() == "accountId");
    Ok(([(IDENTIFIER, identifier.to_string())], Json(metadata(&shared, wants_account))).into_response())
}

fn metadata(shared: &Shared, with_account: bool) -> Value {
    let mut metadata = json!({
        "functionName": shared.spec().function,
        "functionVersion": "$LATEST",
        "handler": shared.spec().handler,
    });
    if with_account {
        metadata["accountId"] = shared.spec().account.clone().into();
    }
    metadata
}

/// Waits as long as it takes, as a runtime's does.
async fn next(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<ExtensionEvent, ApiError> {
    let (asker, answer) = oneshot::channel();
    shared.poll_extension(header(&headers, IDENTIFIER), asker)?;
    answer.await.map_err(|_| ApiError::Container)
}

async fn init_error(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, ApiError> {
    report(&shared, &headers, Extensions::fail_init)
}

async fn exit_error(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, ApiError> {
    report(&shared, &headers, Extensions::fail)
}

fn report(
    shared: &Shared,
    headers: &HeaderMap,
    transition: impl FnOnce(&mut Extensions, usize) -> Result<(), ExtensionRefusal>,
) -> Result<Response, ApiError> {
    let error_type = header(headers, ERROR_TYPE).filter(|error_type| !error_type.is_empty());
    shared.fail_extension(header(headers, IDENTIFIER), error_type, transition)?;
    Ok(accepted())
}

/// There is no Telemetry API here, and none of its predecessor. The answer is the one that AWS's own
/// emulator gives, so that nobody fails for the lack of it.
async fn telemetry() -> impl IntoResponse {
    let body = json!({ "errorType": "Telemetry.NotSupported", "errorMessage": "Telemetry API is not supported" });
    (StatusCode::ACCEPTED, Json(body))
}
