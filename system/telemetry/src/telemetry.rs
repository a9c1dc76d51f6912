//! What a service holds: the tracer, and the flush that brings its spans to the endpoint.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::buffer::{BufferProcessor, SpanBuffer};
use crate::config::Config;
use crate::export::{ExportError, Exporter};
use crate::otlp::OtlpExporter;
use crate::service::Service;

/// The first pause before a failed export is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// No pause before a further attempt is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The telemetry of one process. Clones are handles to the same.
///
/// Nothing leaves the process by itself: either [`flush`](Self::flush) is awaited wherever the process
/// may be frozen or stopped, or [`flush_periodically`](Self::flush_periodically) runs beside it.
#[derive(Debug, Clone)]
pub struct Telemetry {
    tracer: Arc<BoxedTracer>,
    /// None if telemetry is switched off.
    pipeline: Option<Arc<Pipeline>>,
    flush_budget: Duration,
    schedule_delay: Duration,
}

/// The way of a span from its end to the endpoint.
#[derive(Debug)]
struct Pipeline {
    buffer: Arc<SpanBuffer>,
    exporter: Box<dyn Exporter>,
    /// The batch that is being exported. It stays here until it is acknowledged, so that neither a
    /// failure nor a flush that is dropped half-way loses it. The lock makes flushes take turns.
    batch: Mutex<Vec<SpanData>>,
    exported: AtomicU64,
    rejected: AtomicU64,
    /// The dropped spans that a flush has reported.
    reported_drops: AtomicU64,
}

impl Telemetry {
    /// Starts telemetry. The connection is made at the first export or by [`warm_up`](Self::warm_up).
    pub fn start(config: Config, service: &Service) -> Self {
        let resource = service.resource();
        let Config { destination, buffer, schedule_delay, flush_budget } = config;
        match destination {
            Some(destination) => {
                let exporter = Box::new(OtlpExporter::new(destination, &resource));
                let buffer = Arc::new(SpanBuffer::new(buffer));
                Self::with_pipeline(Pipeline::new(buffer, exporter), resource, service, schedule_delay, flush_budget)
            }
            None => Self::switched_off(schedule_delay, flush_budget),
        }
    }

    /// Starts telemetry with an exporter of the caller's; the configured destination is not used.
    pub fn with_exporter(config: Config, service: &Service, exporter: impl Exporter + 'static) -> Self {
        let buffer = Arc::new(SpanBuffer::new(config.buffer));
        let pipeline = Pipeline::new(buffer, Box::new(exporter));
        Self::with_pipeline(pipeline, service.resource(), service, config.schedule_delay, config.flush_budget)
    }

    fn with_pipeline(
        pipeline: Pipeline,
        resource: Resource,
        service: &Service,
        schedule_delay: Duration,
        flush_budget: Duration,
    ) -> Self {
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(BufferProcessor(Arc::clone(&pipeline.buffer)))
            .build();
        let tracer = Arc::new(BoxedTracer::new(Box::new(provider.tracer(service.name))));
        Self { tracer, pipeline: Some(Arc::new(pipeline)), flush_budget, schedule_delay }
    }

    /// As the specification has it for `OTEL_SDK_DISABLED`: context passes through, nothing is recorded.
    fn switched_off(schedule_delay: Duration, flush_budget: Duration) -> Self {
        let tracer = Arc::new(BoxedTracer::new(Box::new(NoopTracerProvider::new().tracer(""))));
        Self { tracer, pipeline: None, flush_budget, schedule_delay }
    }

    /// What makes spans.
    pub fn tracer(&self) -> &BoxedTracer {
        &self.tracer
    }

    /// How long one flush may take where nothing else limits it.
    pub const fn flush_budget(&self) -> Duration {
        self.flush_budget
    }

    /// Makes the connection, within `budget`, so that the first flush does not have to wait for it.
    /// Failure is reported and not fatal: spans wait until the endpoint is there.
    pub async fn warm_up(&self, budget: Duration) {
        let Some(pipeline) = &self.pipeline else { return };
        match timeout_at(Instant::now() + budget, pipeline.exporter.export(Vec::new())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "spans cannot be exported yet"),
            Err(_) => tracing::warn!(?budget, "spans cannot be exported yet: the endpoint did not answer in time"),
        }
    }

    /// Exports every span that has ended, and returns when the endpoint has answered for them. What gets
    /// no answer is tried again until `budget` is used up. What is then left stays for the next flush.
    ///
    /// Spans that the endpoint refuses for good are lost. They are reported as an error in the log,
    /// counted in the [`Tally`], and do not fail the flush, because there is nothing left to do for them.
    ///
    /// # Errors
    /// Spans are left for the next flush.
    pub async fn flush(&self, budget: Duration) -> Result<(), FlushError> {
        match &self.pipeline {
            Some(pipeline) => pipeline.flush(Instant::now() + budget).await,
            None => Ok(()),
        }
    }

    /// Flushes whenever the schedule delay has passed or a batch is full, until `stop` is ready and the
    /// flush of that time has ended. It may be dropped at any time without losing a span, but an export
    /// that is on the wire then is repeated by the next flush, and its spans may arrive twice.
    pub async fn flush_periodically(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        while let Either::Left(_) = select(pin!(self.wait_for_work()), &mut stop).await {
            if let Err(error) = self.flush(self.flush_budget).await {
                tracing::warn!(%error, "spans could not be exported");
            }
        }
    }

    async fn wait_for_work(&self) {
        let Some(pipeline) = &self.pipeline else { return std::future::pending().await };
        let delay = pin!(sleep(self.schedule_delay));
        let batch = pin!(pipeline.buffer.batch_ready());
        select(delay, batch).await;
    }

    /// The last flush, with a report of what became of the spans.
    pub async fn shutdown(&self, budget: Duration) {
        if let Err(error) = self.flush(budget).await {
            tracing::error!(%error, "the last flush failed: what is left is lost");
        }
        let Tally { ended, exported, rejected, dropped } = self.tally();
        tracing::info!(ended, exported, rejected, dropped, "telemetry has ended");
    }

    /// What became of the spans so far.
    pub fn tally(&self) -> Tally {
        self.pipeline.as_ref().map_or_else(Tally::default, |pipeline| pipeline.tally())
    }
}

impl Pipeline {
    fn new(buffer: Arc<SpanBuffer>, exporter: Box<dyn Exporter>) -> Self {
        Self {
            buffer,
            exporter,
            batch: Mutex::default(),
            exported: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            reported_drops: AtomicU64::new(0),
        }
    }

    async fn flush(&self, deadline: Instant) -> Result<(), FlushError> {
        self.report_drops();
        let Ok(mut batch) = timeout_at(deadline, self.batch.lock()).await else {
            return Err(self.out_of_time(None));
        };
        // Only what has ended by now: under load there is always one more.
        let mut due = self.buffer.len();
        loop {
            if batch.is_empty() {
                *batch = self.buffer.take_batch(due);
                due -= batch.len();
            }
            if batch.is_empty() {
                return Ok(());
            }
            let lost = self.export_until(deadline, &batch).await?;
            self.settle(&mut batch, lost);
        }
    }

    /// Exports `batch`, again and again while there is no answer, until `deadline`. Returns how many of its
    /// spans are lost.
    async fn export_until(&self, deadline: Instant, batch: &[SpanData]) -> Result<u64, FlushError> {
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        loop {
            match timeout_at(half_way(deadline), self.exporter.export(batch.to_vec())).await {
                Ok(Ok(())) => return Ok(0),
                Ok(Err(error @ ExportError::Unavailable(_))) => last = Some(error),
                Ok(Err(error)) => return self.refused(error, batch.len() as u64),
                // What an earlier attempt was told says more than that this one was told nothing.
                Err(_) => last = last.or_else(|| Some(cut_off())),
            }
            if timeout_at(deadline, sleep(pause)).await.is_err() {
                return Err(self.out_of_time(last));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Forgets a batch that the endpoint has answered for, and counts what became of it.
    fn settle(&self, batch: &mut Vec<SpanData>, rejected: u64) {
        let spans = batch.len() as u64;
        self.rejected.fetch_add(rejected.min(spans), Ordering::Relaxed);
        self.exported.fetch_add(spans.saturating_sub(rejected), Ordering::Relaxed);
        batch.clear();
    }

    /// What a refusal means for a batch of `spans`. Those that are lost are reported here and nowhere else.
    fn refused(&self, cause: ExportError, spans: u64) -> Result<u64, FlushError> {
        let Some(lost) = cause.lost(spans) else {
            return Err(FlushError::KeyRefused { waiting: self.tally().waiting(), cause });
        };
        tracing::error!(spans = lost, %cause, "spans are lost");
        Ok(lost)
    }

    fn out_of_time(&self, last: Option<ExportError>) -> FlushError {
        FlushError::OutOfTime { waiting: self.tally().waiting(), last }
    }

    fn report_drops(&self) {
        let dropped = self.buffer.dropped();
        let reported = self.reported_drops.swap(dropped, Ordering::Relaxed);
        if dropped > reported {
            tracing::error!(spans = dropped - reported, "spans were dropped because the span buffer was full");
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            exported: self.exported.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            dropped: self.buffer.dropped(),
            ended: self.buffer.ended(),
        }
    }
}

/// What became of the sampled spans of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All that have ended.
    pub ended: u64,
    /// Those that the endpoint acknowledged.
    pub exported: u64,
    /// Those that the endpoint refused for good.
    pub rejected: u64,
    /// Those that ended while the buffer was full.
    pub dropped: u64,
}

impl Tally {
    /// Those that are still to be exported.
    pub const fn waiting(&self) -> u64 {
        self.ended.saturating_sub(self.exported).saturating_sub(self.rejected).saturating_sub(self.dropped)
    }
}

/// Why a flush did not bring every span to the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The budget was used up; the spans are kept for the next flush.
    #[error("out of time, {waiting} spans wait for the next flush{}", because(last.as_ref()))]
    OutOfTime {
        /// How many spans are left.
        waiting: u64,
        /// How the last attempt failed, if one did before time was up.
        last: Option<ExportError>,
    },
    /// The endpoint does not want them from this sender; the spans are kept for the next flush.
    #[error("{cause}; {waiting} spans wait for the next flush")]
    KeyRefused {
        /// How many spans are left.
        waiting: u64,
        /// What the endpoint said.
        cause: ExportError,
    },
}

/// When an attempt is given up that begins now: a connection may be dead without a sign, and so there is
/// always as much time left for a further attempt, which gets a new one.
fn half_way(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

fn cut_off() -> ExportError {
    ExportError::Unavailable("the attempt was cut off".to_owned())
}

fn because(last: Option<&ExportError>) -> String {
    last.map_or_else(String::new, |error| format!(": {error}"))
}
