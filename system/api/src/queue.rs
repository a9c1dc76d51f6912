//! The way into SQS, with the PRODUCER span and the trace context of a message.

use std::error::Error;
use std::iter;
use std::time::Duration;

use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message::{SendMessageError, SendMessageOutput};
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_sdk_sqs::{Client, Config};
use onboarding_telemetry::{Operation, Telemetry, carrier};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue};

use crate::onboard::Customer;

/// How long one attempt of a call may take, and all of them together. The SDK itself would wait for an
/// answer for ever.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// The queue that the worker reads. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
    /// The last part of the URL.
    name: String,
}

/// Why it is not known that a message is queued.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// SQS could not be reached, did not answer in time, or asks to be called later. If the answer was
    /// lost, the message is queued all the same.
    #[error("SQS is not available: {message}")]
    Unavailable {
        /// What went wrong, in a word of few.
        kind: String,
        /// What went wrong.
        message: String,
    },
    /// SQS answered that it does not want the message; it is not queued.
    #[error("SQS refused the message: {message}")]
    Refused {
        /// SQS's error code.
        kind: String,
        /// What SQS said.
        message: String,
    },
}

impl Queue {
    /// The queue at `url`, by a client that is set up as `config` says and has time-outs.
    pub fn new(config: Config, url: String) -> Self {
        let (attempt, operation) = TIMEOUTS;
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt).operation_timeout(operation).build();
        let client = Client::from_conf(config.to_builder().timeout_config(timeouts).build());
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        Self { client, url, name }
    }

    /// Sends `customer` as a message that carries the context of its own PRODUCER span, a child of what
    /// `parent` holds. Returns the message's id.
    pub(crate) async fn send(
        &self,
        telemetry: &Telemetry,
        parent: &Context,
        customer: &Customer,
    ) -> Result<String, SendError> {
        let operation = Operation::start(telemetry.tracer(), self.span(customer), parent);
        match self.send_message(operation.context(), customer).await {
            Ok(message_id) => {
                operation.set_attribute(KeyValue::new("messaging.message.id", message_id.clone()));
                operation.succeed();
                Ok(message_id)
            }
            Err(error) => {
                let trace_id = operation.trace_id().map(tracing::field::display);
                tracing::error!(trace_id, %error, "a message could not be queued");
                operation.fail(error.kind().to_owned(), error.to_string());
                Err(error)
            }
        }
    }

    /// The attributes are those of the semantic conventions for messaging and for SQS.
    fn span(&self, customer: &Customer) -> SpanBuilder {
        SpanBuilder::from_name("sqs.send").with_kind(SpanKind::Producer).with_attributes([
            KeyValue::new("messaging.system", "aws_sqs"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", self.name.clone()),
            KeyValue::new("aws.sqs.queue.url", self.url.clone()),
            KeyValue::new("customer.id", customer.customer_id.clone()),
        ])
    }

    async fn send_message(&self, context: &Context, customer: &Customer) -> Result<String, SendError> {
        let body = serde_json::to_string(customer).map_err(|error| SendError::refused("InvalidBody", &error))?;
        let mut request = self.client.send_message().queue_url(&self.url).message_body(body);
        for (name, value) in carrier::inject(context) {
            request = request.message_attributes(name, text_attribute(value)?);
        }
        let sent = request.send().with_context(context.clone()).await;
        message_id(sent.map_err(SendError::from)?)
    }
}

fn text_attribute(value: String) -> Result<MessageAttributeValue, SendError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|error| SendError::refused("InvalidAttribute", &error))
}

fn message_id(sent: SendMessageOutput) -> Result<String, SendError> {
    let missing = || SendError::Unavailable {
        kind: "InvalidAnswer".to_owned(),
        message: "the answer has no message id".to_owned(),
    };
    sent.message_id.ok_or_else(missing)
}

impl SendError {
    /// The value of `error.type`.
    fn kind(&self) -> &str {
        match self {
            Self::Unavailable { kind, .. } | Self::Refused { kind, .. } => kind,
        }
    }

    fn refused(kind: &str, error: &dyn Error) -> Self {
        Self::Refused { kind: kind.to_owned(), message: error.to_string() }
    }
}

impl From<SdkError<SendMessageError>> for SendError {
    fn from(error: SdkError<SendMessageError>) -> Self {
        let kind = kind(&error).to_owned();
        let message = explain(&error);
        if is_refusal(&error) { Self::Refused { kind, message } } else { Self::Unavailable { kind, message } }
    }
}

/// The error with all its causes; each alone says little.
fn explain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<_> = iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

fn kind(error: &SdkError<SendMessageError>) -> &str {
    match error {
        SdkError::TimeoutError(_) => "Timeout",
        SdkError::DispatchFailure(_) => "DispatchFailure",
        SdkError::ResponseError(_) => "InvalidAnswer",
        error => error.code().unwrap_or("Unknown"),
    }
}

/// Whether SQS itself said no, and would say so again: a 4xx that is not about the rate of requests.
fn is_refusal(error: &SdkError<SendMessageError>) -> bool {
    let SdkError::ServiceError(answer) = error else { return false };
    let throttled = error.code().is_some_and(|code| code.contains("Throttl"));
    answer.raw().status().is_client_error() && !throttled
}
