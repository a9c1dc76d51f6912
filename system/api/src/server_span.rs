//! The SERVER span of a request, as the semantic conventions for HTTP spans describe it.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use onboarding_telemetry::{Operation, carrier};
use opentelemetry::KeyValue;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{SpanBuilder, SpanKind};

use crate::app::App;
use crate::error::ApiError;

/// The header of every answer that names the trace.
const TRACE_ID: &str = "x-trace-id";

/// Handles a request within its SERVER span, whose parent is the one that the caller sent. The span
/// ends with the answer, with a panic (which is answered too), or when the client goes away.
pub(crate) async fn trace_request(
    State(app): State<App>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let parent = carrier::extract(fields(request.headers()));
    let operation = Operation::start(app.telemetry.tracer(), span(&route, &request), &parent);
    let handled = next.run(request).with_context(operation.context().clone());
    let mut response = match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(response) => response,
        Err(_) => async { ApiError::Internal.into_response() }.with_context(operation.context().clone()).await,
    };
    name_trace(&mut response, &operation);
    finish(operation, &response);
    response
}

/// The headers with readable values.
fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

fn span(route: &MatchedPath, request: &Request) -> SpanBuilder {
    let (name, method) = match known_method(request.method()) {
        Some(method) => (format!("{method} {}", route.as_str()), method),
        None => (format!("HTTP {}", route.as_str()), "_OTHER"),
    };
    SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes(method, route, request))
}

fn attributes(method: &'static str, route: &MatchedPath, request: &Request) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route.as_str().to_owned()),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ];
    attributes.extend(server_address(request));
    let user_agent = text(request.headers(), &header::USER_AGENT);
    attributes.extend(user_agent.map(|agent| KeyValue::new("user_agent.original", agent.to_owned())));
    attributes
}

/// Where the client meant to go: `Host`, or the authority of an HTTP/2 request.
fn server_address(request: &Request) -> Vec<KeyValue> {
    let host = request.uri().authority().map(|authority| authority.as_str());
    let host = host.or_else(|| text(request.headers(), &header::HOST));
    let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok()) else { return Vec::new() };
    let mut attributes = vec![KeyValue::new("server.address", authority.host().to_owned())];
    attributes.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
    attributes
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The methods that the conventions allow as values; anything else a client made up.
fn known_method(method: &Method) -> Option<&'static str> {
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]
        .into_iter()
        .find(|known| method.as_str() == *known)
}

fn name_trace(response: &mut Response, operation: &Operation) {
    let id = operation.trace_id().and_then(|id| HeaderValue::try_from(id.to_string()).ok());
    if let Some(id) = id {
        response.headers_mut().insert(TRACE_ID, id);
    }
}

/// An answer of 5xx is an error; one of 4xx is the client's, not the server's.
fn finish(operation: Operation, response: &Response) {
    let status = response.status();
    operation.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        operation.fail(status.as_str().to_owned(), status.canonical_reason().unwrap_or_default());
    } else {
        operation.succeed();
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::{BehaviorVersion, Region};
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use onboarding_telemetry::testing::{InMemoryExporter, telemetry};
    use opentelemetry::trace::Status;

    use super::*;
    use crate::queue::Queue;

    fn app(exporter: InMemoryExporter) -> App {
        let config =
            aws_sdk_sqs::Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("eu-west-1"));
        App {
            telemetry: telemetry(exporter),
            queue: Queue::new(config.build(), "http://127.0.0.1:1/0/queue".to_owned()),
        }
    }

    async fn panics() {
        panic!("as the test wants it");
    }

    #[tokio::test]
    async fn panic_is_an_internal_error_to_the_client_and_in_the_span() {
        let exporter = InMemoryExporter::default();
        let app = app(exporter.clone());
        let router =
            Router::new().route("/panics", get(panics)).route_layer(from_fn_with_state(app.clone(), trace_request));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/panics", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());

        let answer = reqwest::get(url).await.unwrap();
        app.telemetry.flush(app.telemetry.flush_budget()).await.unwrap();

        let span = &exporter.spans()[0];
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()[TRACE_ID], span.span_context.trace_id().to_string());
        assert_eq!(span.status, Status::error("Internal Server Error"));
    }

    #[test]
    fn made_up_method_is_not_a_span_name() {
        assert_eq!(known_method(&Method::POST), Some("POST"));
        assert_eq!(known_method(&Method::from_bytes(b"FROBNICATE").unwrap()), None);
    }
}
