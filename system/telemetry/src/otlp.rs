//! OTLP over gRPC, on a connection that is replaced when it may be dead.
//!
//! The exporter of `opentelemetry-otlp` is not used: it retries by itself within a time-out that does
//! not cover a running attempt, reports a partial success as a success, and lets headers from the
//! environment beat the key that it was given.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::config::{ApiKey, Destination};
use crate::export::{ExportError, Exporter};

/// Sends spans to an OTLP/gRPC endpoint.
#[derive(Debug)]
pub(crate) struct OtlpExporter {
    endpoint: Endpoint,
    api_key: ApiKey,
    resource: ResourceAttributesWithSchema,
    /// Connects when it is first used, and again when the connection has ended. None before the first
    /// attempt, and after one that was not answered.
    channel: Mutex<Option<Channel>>,
}

impl OtlpExporter {
    /// Prepares for a connection, which the first attempt makes.
    pub(crate) fn new(destination: Destination, resource: &Resource) -> Self {
        let Destination { endpoint, api_key } = destination;
        Self { endpoint, api_key, resource: resource.into(), channel: Mutex::default() }
    }

    async fn send(&self, spans: Vec<SpanData>) -> Result<(), ExportError> {
        let mut attempt = Attempt::begin(self);
        let answer = TraceServiceClient::new(self.channel()).export(self.request(spans)).await;
        let outcome = match answer {
            Ok(response) => accepted(response.into_inner(), &self.api_key),
            Err(status) => Err(judge(&status, &self.api_key)),
        };
        attempt.answered = !matches!(outcome, Err(ExportError::Unavailable(_)));
        outcome
    }

    fn request(&self, spans: Vec<SpanData>) -> Request<ExportTraceServiceRequest> {
        let resource_spans = match spans.is_empty() {
            true => Vec::new(),
            false => group_spans_by_resource_and_scope(spans, &self.resource),
        };
        let mut request = Request::new(ExportTraceServiceRequest { resource_spans });
        request.metadata_mut().insert("authorization", self.api_key.authorization());
        request
    }

    fn channel(&self) -> Channel {
        self.lock().get_or_insert_with(|| self.endpoint.connect_lazy()).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter for OtlpExporter {
    fn export(&self, spans: Vec<SpanData>) -> BoxFuture<'_, Result<(), ExportError>> {
        Box::pin(self.send(spans))
    }
}

/// An attempt under way. Without a proper answer the connection may be dead without anybody having said
/// so, which is what happens to the connections of a frozen Lambda. The client would go on to use it, so
/// the next attempt gets a new one; also if this one is cut off, when nothing but its end is left to act.
struct Attempt<'a> {
    exporter: &'a OtlpExporter,
    /// Whether the endpoint has shown that it is there.
    answered: bool,
}

impl<'a> Attempt<'a> {
    const fn begin(exporter: &'a OtlpExporter) -> Self {
        Self { exporter, answered: false }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            *self.exporter.lock() = None;
        }
    }
}

/// A partial success is lost spans: they must not be sent again (OTLP specification, "Partial Success").
fn accepted(response: ExportTraceServiceResponse, key: &ApiKey) -> Result<(), ExportError> {
    let Some(partial) = response.partial_success else { return Ok(()) };
    let message = key.mask(&partial.error_message);
    match u64::try_from(partial.rejected_spans) {
        Ok(spans) if spans > 0 => Err(ExportError::Rejected { spans, message }),
        _ => {
            if !message.is_empty() {
                tracing::warn!(message_from_endpoint = message, "the endpoint accepted all spans with a warning");
            }
            Ok(())
        }
    }
}

/// What a status means for the spans. A status that this client's own transport made is no answer.
fn judge(status: &Status, key: &ApiKey) -> ExportError {
    let message = key.mask(status.message());
    match status.code() {
        Code::Unauthenticated => ExportError::Unauthenticated { code: "UNAUTHENTICATED", message },
        Code::PermissionDenied => ExportError::Unauthenticated { code: "PERMISSION_DENIED", message },
        _ if is_retryable(status) || is_of_the_transport(status) => {
            ExportError::Unavailable(key.mask(&describe(status)))
        }
        code => ExportError::Refused { code: format!("{code:?}"), message },
    }
}

/// The retryable codes are those of the OTLP specification ("Failures"). Of an endpoint that is out of
/// resources it says that only a `RetryInfo` tells whether they come back.
fn is_retryable(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => status.get_details_retry_info().is_some(),
        _ => false,
    }
}

/// The generated client turns a connection that cannot be made into a status without a source, but
/// with this text.
fn is_of_the_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() || status.message().starts_with("Service was not ready")
}

/// The status with the last of its causes, which is the one that says something: `Connection refused`,
/// `invalid peer certificate: UnknownIssuer`.
fn describe(status: &Status) -> String {
    let message = status.message();
    let mut cause = std::error::Error::source(status);
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    match cause.map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => format!("{message} ({:?}): {cause}", status.code()),
        _ => format!("{message} ({:?})", status.code()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use tonic_types::ErrorDetails;

    use super::*;

    fn key() -> ApiKey {
        ApiKey::new("cxtp_very-secret".to_owned()).unwrap()
    }

    fn answer(rejected_spans: i64, error_message: &str) -> Result<(), ExportError> {
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: error_message.to_owned() };
        accepted(ExportTraceServiceResponse { partial_success: Some(partial) }, &key())
    }

    fn judged(code: Code) -> ExportError {
        judge(&Status::new(code, "why"), &key())
    }

    #[test]
    fn partial_success_is_lost_spans() {
        assert_eq!(answer(2, "too old"), Err(ExportError::Rejected { spans: 2, message: "too old".to_owned() }));
    }

    #[test]
    fn partial_success_that_rejects_nothing_is_a_success() {
        assert_eq!(answer(0, "be careful"), Ok(()));
        assert_eq!(accepted(ExportTraceServiceResponse { partial_success: None }, &key()), Ok(()));
    }

    #[test]
    fn key_is_masked_in_every_message_from_the_endpoint() {
        let quoted = "too old for Bearer cxtp_very-secret";

        let rejected = answer(1, quoted).unwrap_err().to_string();
        let others = [Code::Unauthenticated, Code::Unavailable, Code::Internal]
            .map(|code| judge(&Status::new(code, quoted), &key()).to_string());

        for message in others.iter().chain([&rejected]) {
            assert!(message.contains("too old for Bearer ***"), "{message}");
        }
    }

    #[test]
    fn retryable_codes_are_those_of_otlp() {
        for code in [
            Code::Unavailable,
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::DataLoss,
        ] {
            assert!(matches!(judged(code), ExportError::Unavailable(_)), "{code:?}");
        }
    }

    #[test]
    fn exhausted_endpoint_is_asked_again_if_it_says_when() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);

        assert!(matches!(judge(&status, &key()), ExportError::Unavailable(_)));
        assert!(matches!(judged(Code::ResourceExhausted), ExportError::Refused { .. }));
    }

    #[test]
    fn refused_key_names_the_code_and_the_variable() {
        let message = judged(Code::Unauthenticated).to_string();

        assert!(message.contains("UNAUTHENTICATED"), "{message}");
        assert!(message.contains("CORALOGIX_API_KEY"), "{message}");
        assert!(judged(Code::PermissionDenied).to_string().contains("PERMISSION_DENIED"));
    }

    #[test]
    fn other_codes_are_refusals() {
        for code in [
            Code::AlreadyExists,
            Code::FailedPrecondition,
            Code::Internal,
            Code::InvalidArgument,
            Code::NotFound,
            Code::Unimplemented,
            Code::Unknown,
        ] {
            assert!(matches!(judged(code), ExportError::Refused { .. }), "{code:?}");
        }
    }
}
