//! An invocation: its records, then the flush, on every path.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use onboarding_telemetry::Telemetry;

use crate::onboarding::{Customer, WorkError};
use crate::record::{Invocation, process};

/// What a flush leaves of the time until the invocation's deadline, so that the answer still gets out.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// Handles the invocations of one execution environment.
#[derive(Debug)]
pub struct Worker<W> {
    telemetry: Telemetry,
    work: W,
    /// Whether there has been no invocation yet.
    cold: AtomicBool,
}

/// Why an invocation failed as a whole; Lambda then delivers all its records again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// The work panicked.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// A record failed that has no id by which to report it.
    #[error("a record without a message id failed")]
    UnidentifiedRecord,
}

impl From<InvocationError> for Diagnostic {
    /// The types have the form that Lambda passes on: `Function.` and a word.
    fn from(error: InvocationError) -> Self {
        let error_type = match error {
            InvocationError::Panicked(_) => "Function.Panicked",
            InvocationError::UnidentifiedRecord => "Function.UnidentifiedRecord",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

impl<W> Worker<W>
where
    W: AsyncFn(&Customer) -> Result<(), WorkError>,
{
    /// Does `work` for the customer of each record.
    pub const fn new(telemetry: Telemetry, work: W) -> Self {
        Self { telemetry, work, cold: AtomicBool::new(true) }
    }

    /// Handles an invocation. It returns only when the spans have been exported, or when the time for
    /// that is used up; what is left then is exported by the next invocation.
    ///
    /// A failing flush is logged and does not fail the invocation: the work is done, and a redelivery
    /// would do it again.
    ///
    /// # Errors
    /// The work panicked, or a record failed that cannot be named. A record that fails by itself is
    /// part of the answer (`ReportBatchItemFailures`).
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, InvocationError> {
        let (payload, context) = event.into_parts();
        let invocation = self.invocation(&context);
        let processed = AssertUnwindSafe(self.process_all(&invocation, &payload.records)).catch_unwind().await;
        self.flush(&invocation, context.deadline()).await;
        match processed {
            Ok(response) => response,
            Err(panic) => Err(InvocationError::Panicked(panic_message(panic.as_ref()))),
        }
    }

    fn invocation(&self, context: &Context) -> Invocation {
        Invocation {
            id: context.request_id.clone(),
            function_arn: context.invoked_function_arn.clone(),
            cold: self.cold.swap(false, Ordering::Relaxed),
        }
    }

    /// Handles the records one after another, and lists those that failed.
    async fn process_all(
        &self,
        invocation: &Invocation,
        records: &[SqsMessage],
    ) -> Result<SqsBatchResponse, InvocationError> {
        let mut response = SqsBatchResponse::default();
        for record in records {
            let Err(error) = process(self.telemetry.tracer(), invocation, record, &self.work).await else { continue };
            tracing::warn!(invocation_id = invocation.id, message_id = record.message_id, %error, "a record failed");
            // An empty identifier would fail the whole batch, and without saying why.
            let id = record.message_id.as_deref().filter(|id| !id.is_empty());
            response.add_failure(id.ok_or(InvocationError::UnidentifiedRecord)?);
        }
        Ok(response)
    }

    async fn flush(&self, invocation: &Invocation, deadline: SystemTime) {
        let budget = flush_budget(self.telemetry.flush_budget(), deadline, SystemTime::now());
        if let Err(error) = self.telemetry.flush(budget).await {
            tracing::error!(invocation_id = invocation.id, ?budget, %error, "spans could not be exported");
        }
    }
}

/// How long the flush may take: what is configured, or what `deadline` leaves.
fn flush_budget(configured: Duration, deadline: SystemTime, now: SystemTime) -> Duration {
    let remaining = deadline.duration_since(now).unwrap_or_default();
    configured.min(remaining.saturating_sub(ANSWER_MARGIN))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_secs(2);

    fn budget(remaining: Duration) -> Duration {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        flush_budget(CONFIGURED, now + remaining, now)
    }

    #[test]
    fn flush_may_take_what_is_configured() {
        assert_eq!(budget(Duration::from_secs(60)), CONFIGURED);
    }

    #[test]
    fn flush_leaves_time_for_the_answer() {
        assert_eq!(budget(Duration::from_secs(1)), Duration::from_millis(800));
    }

    #[test]
    fn flush_has_no_time_when_the_deadline_is_near_or_past() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);

        assert_eq!(budget(Duration::from_millis(100)), Duration::ZERO);
        assert_eq!(flush_budget(CONFIGURED, now - Duration::from_secs(1), now), Duration::ZERO);
    }

    #[test]
    fn error_types_have_lambdas_form() {
        let diagnostic = Diagnostic::from(InvocationError::Panicked("why".to_owned()));

        assert_eq!(diagnostic.error_type, "Function.Panicked");
        assert_eq!(diagnostic.error_message, "the handler panicked: why");
    }
}
