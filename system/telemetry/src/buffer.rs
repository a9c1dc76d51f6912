//! The bounded buffer of ended spans, between the SDK and the flush.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{Context, Value};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::Notify;

use crate::config::BufferConfig;

/// How many characters the value of an attribute, or the description of a status, may have. Much of it
/// comes from outside, and a single client could otherwise make batches larger than any endpoint takes.
/// (OpenTelemetry has the limit as `AttributeValueLengthLimit`, without a default; the SDK lacks it.)
const MAX_TEXT: usize = 256;

/// Ended spans that nobody has exported yet.
#[derive(Debug)]
pub(crate) struct SpanBuffer {
    /// Oldest first; never more than `limits.capacity`.
    spans: Mutex<VecDeque<SpanData>>,
    limits: BufferConfig,
    /// Sampled spans that ended, the dropped ones included.
    ended: AtomicU64,
    /// Spans that ended while the buffer was full.
    dropped: AtomicU64,
    /// Wakes who waits for a whole batch.
    batch_ready: Notify,
}

impl SpanBuffer {
    pub(crate) fn new(limits: BufferConfig) -> Self {
        Self {
            spans: Mutex::default(),
            limits,
            ended: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            batch_ready: Notify::new(),
        }
    }

    /// Takes a span, or drops it if the buffer is full: the newest goes, because the older ones may be
    /// the parents of what has been exported already.
    fn push(&self, span: SpanData) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        let mut spans = self.lock();
        if spans.len() >= self.limits.capacity {
            drop(spans);
            return self.count_dropped();
        }
        spans.push_back(span);
        if spans.len().is_multiple_of(self.limits.batch) {
            self.batch_ready.notify_one();
        }
    }

    /// Counts a dropped span. The first is reported at once; a flush reports how many they became.
    fn count_dropped(&self) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(capacity = self.limits.capacity, "the span buffer is full: spans are being dropped");
        }
    }

    /// How many spans wait here.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes out the oldest spans: a batch, or `most` if that is less.
    pub(crate) fn take_batch(&self, most: usize) -> Vec<SpanData> {
        let mut spans = self.lock();
        let count = spans.len().min(self.limits.batch).min(most);
        spans.drain(..count).collect()
    }

    /// Waits until there is a batch more than when it was waited for last.
    pub(crate) async fn batch_ready(&self) {
        self.batch_ready.notified().await;
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A panic elsewhere leaves the queue whole, so a poisoned lock is no reason to lose spans.
    fn lock(&self) -> MutexGuard<'_, VecDeque<SpanData>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SDK's way into the buffer.
#[derive(Debug)]
pub(crate) struct BufferProcessor(pub(crate) Arc<SpanBuffer>);

impl SpanProcessor for BufferProcessor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    /// Buffers the span if it is sampled: one that is only recorded is not for export (OpenTelemetry
    /// trace SDK, "Sampling").
    fn on_end(&self, mut span: SpanData) {
        if span.span_context.is_sampled() {
            cut_texts(&mut span);
            self.0.push(span);
        }
    }

    /// An export needs the async runtime, which a blocking call would stop; so this is an error rather
    /// than an `Ok` for nothing.
    fn force_flush(&self) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("spans are flushed by `Telemetry::flush`".to_owned()))
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn cut_texts(span: &mut SpanData) {
    for attribute in &mut span.attributes {
        if let Value::String(text) = &mut attribute.value
            && let Some(cut) = cut(text.as_str())
        {
            *text = cut.into();
        }
    }
    if let Status::Error { description } = &mut span.status
        && let Some(cut) = cut(description)
    {
        *description = cut.into();
    }
}

/// The beginning of a text that is too long.
fn cut(text: &str) -> Option<String> {
    let (end, _) = text.char_indices().nth(MAX_TEXT)?;
    Some(text[..end].to_owned())
}
