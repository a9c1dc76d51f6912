//! What an exporter is, and the ways in which an export fails.

use std::fmt;

use futures_util::future::BoxFuture;
use opentelemetry_sdk::trace::SpanData;

/// Hands ended spans to a backend.
///
/// The SDK has a trait of its own, but its result cannot say what happened: a partial success is an
/// `Ok` there, and an error has no kind. What is to be kept, retried or given up depends on both.
pub trait Exporter: fmt::Debug + Send + Sync {
    /// Hands over `spans`; with none of them, it only makes sure of the connection.
    ///
    /// The future may be dropped before it is done. The spans may then have arrived or not.
    fn export(&self, spans: Vec<SpanData>) -> BoxFuture<'_, Result<(), ExportError>>;
}

/// Why an export failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// There was no answer, or the endpoint asks to be called again: the next attempt may succeed.
    #[error("no answer from the endpoint: {0}")]
    Unavailable(String),
    /// The endpoint does not accept the API key, which can be put right at the endpoint: the spans may be
    /// handed over later.
    #[error("the endpoint refused the API key ({code}): {message}; check CORALOGIX_API_KEY")]
    Unauthenticated {
        /// `UNAUTHENTICATED` or `PERMISSION_DENIED`.
        code: &'static str,
        /// What the endpoint said.
        message: String,
    },
    /// The endpoint refused the whole batch for good.
    #[error("the endpoint refused ({code}): {message}")]
    Refused {
        /// The gRPC status code.
        code: String,
        /// What the endpoint said.
        message: String,
    },
    /// The endpoint took the batch and rejected `spans` of its spans for good: a partial success.
    #[error("the endpoint rejected {spans} spans: {message}")]
    Rejected {
        /// How many spans are lost.
        spans: u64,
        /// What the endpoint said.
        message: String,
    },
}

impl ExportError {
    /// How many of a batch of `spans` are lost if the endpoint has settled it, and it must not be handed
    /// over again.
    pub(crate) fn lost(&self, spans: u64) -> Option<u64> {
        match self {
            Self::Unavailable(_) | Self::Unauthenticated { .. } => None,
            Self::Refused { .. } => Some(spans),
            Self::Rejected { spans: rejected, .. } => Some(spans.min(*rejected)),
        }
    }
}
