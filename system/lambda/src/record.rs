//! A record: its CONSUMER span, and whether it succeeded.

use aws_lambda_events::event::sqs::SqsMessage;
use onboarding_telemetry::{Operation, carrier};
use opentelemetry::context::FutureExt;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue};

use crate::onboarding::{Customer, WorkError};

/// The invocation that a record came with.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// `Lambda-Runtime-Aws-Request-Id`.
    pub id: String,
    /// The ARN by which the function was invoked.
    pub function_arn: String,
    /// Whether it is the first of its execution environment.
    pub cold: bool,
}

/// Why a record failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no body.
    #[error("the message has no body")]
    NoBody,
    /// The body is not a customer in JSON.
    #[error("the body is not a customer: {0}")]
    Body(#[from] serde_json::Error),
    /// The work failed.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl RecordError {
    /// The value of `error.type`.
    const fn kind(&self) -> &'static str {
        match self {
            Self::NoBody => "NoBody",
            Self::Body(_) => "InvalidBody",
            Self::Work(_) => "WorkFailed",
        }
    }
}

/// Handles a record within its CONSUMER span, a child of the span that sent the message.
///
/// The span ends before this returns, with the record's outcome; or when the work panics.
///
/// # Errors
/// The body cannot be read, or the work failed.
pub async fn process<W>(
    tracer: &BoxedTracer,
    invocation: &Invocation,
    record: &SqsMessage,
    work: &W,
) -> Result<(), RecordError>
where
    W: AsyncFn(&Customer) -> Result<(), WorkError>,
{
    let operation = Operation::start(tracer, span(invocation, record), &parent(record));
    let outcome = attempt(&operation, record, work).with_context(operation.context().clone()).await;
    match &outcome {
        Ok(()) => operation.succeed(),
        Err(error) => operation.fail(error.kind(), error.to_string()),
    }
    outcome
}

async fn attempt<W>(operation: &Operation, record: &SqsMessage, work: &W) -> Result<(), RecordError>
where
    W: AsyncFn(&Customer) -> Result<(), WorkError>,
{
    let body = record.body.as_deref().ok_or(RecordError::NoBody)?;
    let customer: Customer = serde_json::from_str(body)?;
    operation.set_attribute(KeyValue::new("customer.id", customer.customer_id.clone()));
    Ok(work(&customer).await?)
}

/// The context in the message's own attributes. Lambda's X-Ray header names another trace, of which
/// nobody here knows.
fn parent(record: &SqsMessage) -> Context {
    let attributes = record.message_attributes.iter();
    carrier::extract(
        attributes.filter_map(|(name, attribute)| Some((name.as_str(), attribute.string_value.as_deref()?))),
    )
}

/// The attributes are those of the semantic conventions for messaging and for FaaS.
fn span(invocation: &Invocation, record: &SqsMessage) -> SpanBuilder {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "aws_sqs"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("faas.trigger", "pubsub"),
        KeyValue::new("faas.invocation_id", invocation.id.clone()),
        KeyValue::new("faas.coldstart", invocation.cold),
        KeyValue::new("cloud.resource_id", invocation.function_arn.clone()),
    ];
    let message_id = record.message_id.clone();
    attributes.extend(message_id.map(|id| KeyValue::new("messaging.message.id", id)));
    attributes.extend(queue_name(record).map(|name| KeyValue::new("messaging.destination.name", name)));
    SpanBuilder::from_name("sqs.process").with_kind(SpanKind::Consumer).with_attributes(attributes)
}

/// The last part of the queue's ARN.
fn queue_name(record: &SqsMessage) -> Option<String> {
    Some(record.event_source_arn.as_deref()?.rsplit(':').next()?.to_owned())
}
