//! A span that ends with an outcome on every path.

use std::borrow::Cow;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};

/// A span in progress, and the context that makes it the parent of others.
///
/// Its owner says how it went by [`succeed`](Self::succeed) or [`fail`](Self::fail). If it is dropped
/// instead (the client went away, the code panicked) it ends as an error that says so. It ends at that
/// moment even if clones of its context live on in tasks.
#[derive(Debug)]
pub struct Operation {
    context: Context,
    ended: bool,
}

impl Operation {
    /// Starts the span as a child of what `parent` holds.
    pub fn start(tracer: &BoxedTracer, span: SpanBuilder, parent: &Context) -> Self {
        let span = span.start_with_context(tracer, parent);
        Self { context: parent.with_span(span), ended: false }
    }

    /// The context in which the span is the current one.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The trace that the span is part of; none if telemetry is switched off and no parent came in.
    pub fn trace_id(&self) -> Option<TraceId> {
        trace_id(&self.context)
    }

    /// Adds an attribute to the span.
    pub fn set_attribute(&self, attribute: KeyValue) {
        self.context.span().set_attribute(attribute);
    }

    /// Ends the span. Its status stays unset, which means that nothing is known to be wrong
    /// (OpenTelemetry trace API, "Set Status": instrumentation leaves `Ok` to the application).
    pub fn succeed(mut self) {
        self.end();
    }

    /// Ends the span as an error. `error_type` becomes the attribute `error.type`, which has few
    /// values; `description` goes into the status.
    pub fn fail(mut self, error_type: impl Into<Cow<'static, str>>, description: impl Into<Cow<'static, str>>) {
        self.end_as_error(error_type.into(), description.into());
    }

    fn end_as_error(&mut self, error_type: Cow<'static, str>, description: Cow<'static, str>) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::Error { description });
        self.end();
    }

    fn end(&mut self) {
        self.context.span().end();
        self.ended = true;
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (error_type, description) = if std::thread::panicking() {
            ("panic", "the code panicked")
        } else {
            ("cancelled", "given up before it was done")
        };
        self.end_as_error(error_type.into(), description.into());
    }
}

/// The trace of the span that is current in `context`, if there is a valid one.
pub fn trace_id(context: &Context) -> Option<TraceId> {
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| span_context.trace_id())
}
