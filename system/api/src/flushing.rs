//! The flush beside the requests, and the last one.

use std::time::Duration;

use onboarding_telemetry::Telemetry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long the connection to the endpoint may take at the start, beside the first requests.
const WARM_UP_BUDGET: Duration = Duration::from_secs(5);

/// What keeps the spans going while the service runs.
#[derive(Debug)]
pub(crate) struct Flushing {
    telemetry: Telemetry,
    /// Dropped to stop the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Flushing {
    /// Starts flushing in the background; and tells early if the endpoint does not want what is sent.
    pub(crate) fn start(telemetry: Telemetry) -> Self {
        let (warming, periodic) = (telemetry.clone(), telemetry.clone());
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move { warming.warm_up(WARM_UP_BUDGET).await });
        let task = tokio::spawn(async move { periodic.flush_periodically(async { drop(stopped.await) }).await });
        Self { telemetry, stop, task }
    }

    /// Exports the last spans within `budget`.
    ///
    /// A flush that is under way comes first: to cut off an export that is on the wire means to send its
    /// spans twice. It gets half of the budget, because it may never end, and the last spans wait for it.
    pub(crate) async fn end(mut self, budget: Duration) {
        let deadline = Instant::now() + budget;
        drop(self.stop);
        if timeout(budget / 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.telemetry.shutdown(deadline.saturating_duration_since(Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use onboarding_telemetry::testing::{InMemoryExporter, telemetry_with};
    use opentelemetry::Context;
    use opentelemetry::trace::Tracer;

    use super::*;

    const SCHEDULE_DELAY: Duration = Duration::from_secs(1);
    const LAST_BUDGET: Duration = Duration::from_secs(3);

    /// Ends flushing while the first span's export, for which `plan` is made, is under way and a second
    /// span waits. Returns the names that have arrived.
    async fn end_during_an_export(plan: impl FnOnce(&InMemoryExporter)) -> Vec<String> {
        let exporter = InMemoryExporter::default();
        let limits = [("OTEL_BSP_SCHEDULE_DELAY", "1000"), ("OTEL_BSP_EXPORT_TIMEOUT", "60000")];
        let telemetry = telemetry_with(exporter.clone(), &limits);
        let flushing = Flushing::start(telemetry.clone());
        tokio::time::sleep(SCHEDULE_DELAY / 2).await;
        assert_eq!(exporter.attempts(), 1, "the connection has been made");
        plan(&exporter);
        drop(telemetry.tracer().start_with_context("under way", &Context::new()));
        tokio::time::sleep(SCHEDULE_DELAY).await;
        assert_eq!(exporter.attempts(), 2, "the export is under way");
        drop(telemetry.tracer().start_with_context("waiting", &Context::new()));

        flushing.end(LAST_BUDGET).await;

        exporter.spans().into_iter().map(|span| span.name.into_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn export_on_the_wire_is_awaited_and_not_repeated() {
        let names = end_during_an_export(|exporter| exporter.answer_next_after(SCHEDULE_DELAY)).await;

        assert_eq!(names, ["under way", "waiting"]);
    }

    #[tokio::test(start_paused = true)]
    async fn export_that_never_ends_leaves_time_for_the_last_spans() {
        let names = end_during_an_export(InMemoryExporter::swallow_next).await;

        assert_eq!(names, ["under way", "waiting"]);
    }
}
