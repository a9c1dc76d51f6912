//! The routes, and what their handlers share.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use onboarding_telemetry::Telemetry;

use crate::onboard::onboard;
use crate::queue::Queue;
use crate::server_span::trace_request;

/// What the handlers share. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct App {
    /// What makes the spans.
    pub telemetry: Telemetry,
    /// Where requests go.
    pub queue: Queue,
}

/// The service. `GET /health` has no span: load balancers ask it all the time.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/onboard", post(onboard))
        .route_layer(from_fn_with_state(app.clone(), trace_request))
        .route("/health", get(|| async { "ok" }))
        .with_state(app)
}
