//! What happens to a batch that is closed: an environment for it, the invocation, and what is deleted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use verifier::EventKind;
use verifier::event::InvocationOutcome;

use super::gather::Gathered;
use super::mapping::Mapping;
use super::pool::{Pooled, Purpose, Seat};
use super::runner::{Runner, RunningEnvironment as _};
use super::source::MessageSource;
use crate::cloud::batch::Batch;
use crate::cloud::environment::{AfterInit, InitFailure, Invocation, Invoked};
use crate::cloud::failures::Work;

/// How long to wait after a first failure of the function to start, of the queue to answer, or of an
/// invocation to be let in.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl<S: MessageSource, R: Runner> Mapping<S, R> {
    /// Invokes the function with a batch, and settles it.
    pub(super) async fn deliver(&self, gathered: Gathered<'_>) {
        let Some(seat) = self.seat(&gathered).await else { return };
        let Gathered { batch, in_hand, .. } = gathered;
        match self.environment().await {
            Ok(environment) => self.invoke(environment, batch).await,
            // Nothing is deleted, so the messages come back.
            Err(failure) => self.back_off(&failure).await,
        }
        drop(in_hand);
        self.fill_vacancies().await;
        drop(seat);
    }

    /// A place among the environments that may be busy. A batch for which there is none is throttled: it is
    /// tried again until its messages return by themselves, or the mapping stops.
    async fn seat(&self, gathered: &Gathered<'_>) -> Option<Seat<'_, R::Environment>> {
        if let Some(seat) = self.pool.seat() {
            return Some(seat);
        }
        self.record_throttled(&gathered.batch);
        self.gauge.fail();
        let _throttled = gathered.in_hand.throttle();
        let mut refusals = 1;
        loop {
            let visible_in = gathered.visible_at.saturating_duration_since(Instant::now());
            self.pause_for(pause_after(refusals).min(visible_in)).await;
            if self.stopping.is_cancelled() || Instant::now() >= gathered.visible_at {
                return None;
            }
            if let Some(seat) = self.pool.seat() {
                return Some(seat);
            }
            refusals += 1;
        }
    }

    fn record_throttled(&self, batch: &Batch) {
        let function = self.runner.spec().name.clone();
        let records = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        self.runner.recorder().record(EventKind::InvocationThrottled { function, records });
    }

    /// An idle environment, or a new one.
    async fn environment(&self) -> Result<Pooled<R::Environment>, InitFailure> {
        while let Some(pooled) = self.pool.take() {
            if pooled.environment.is_alive() {
                return Ok(pooled);
            }
            pooled.environment.bury().await;
            self.pool.lose(pooled.purpose);
        }
        let environment = self.start(AfterInit::Invoke).await?;
        Ok(Pooled { environment, purpose: Purpose::OnDemand })
    }

    async fn start(&self, then: AfterInit) -> Result<R::Environment, InitFailure> {
        let environment = self.runner.start(then).await?;
        self.failures.over(Work::Start);
        // Whether one that was reset can be initialised is seen in its first invocation.
        if !environment.is_reset() {
            self.start_succeeded();
        }
        Ok(environment)
    }

    fn start_succeeded(&self) {
        self.failed_starts.store(0, Ordering::Relaxed);
    }

    async fn invoke(&self, Pooled { environment, purpose }: Pooled<R::Environment>, batch: Batch) {
        let (batch, starts) = (Arc::new(batch), environment.is_reset());
        let Invoked { outcome, init_failed, environment } = environment.invoke(&self.invocation(&batch)).await;
        match &outcome {
            InvocationOutcome::Succeeded { failed } => self.delete(&batch.receipt_handles_without(failed)).await,
            // Nothing is deleted, so the messages come back.
            InvocationOutcome::Failed { .. } | InvocationOutcome::TimedOut | InvocationOutcome::EnvironmentDied => {
                self.gauge.fail();
            }
        }
        match environment {
            Some(environment) => self.put_back(Pooled { environment, purpose }).await,
            None => self.pool.lose(purpose),
        }
        match init_failed {
            true => self.pause_after_failed_start().await,
            false if starts => self.start_succeeded(),
            false => {}
        }
    }

    fn invocation(&self, batch: &Arc<Batch>) -> Invocation {
        let judged = self.spec.reports_item_failures.then(|| Arc::clone(batch));
        let failures = Box::new(move |response: &[u8]| match &judged {
            Some(batch) => batch.failures(response),
            None => Vec::new(),
        });
        Invocation { deliveries: batch.deliveries(), event: batch.event(), failures }
    }

    /// A message that could not be deleted comes back, as it would on AWS.
    async fn delete(&self, receipt_handles: &[String]) {
        if receipt_handles.is_empty() {
            return;
        }
        match self.source.delete(&self.spec.queue, receipt_handles).await {
            Ok(()) => self.failures.over(Work::Delete),
            Err(error) => {
                let what = format!("messages of queue {} that could not be deleted: {error}", self.spec.queue);
                self.fail(Work::Delete, what);
            }
        }
    }

    /// Makes an environment available again, or ends it if it has been used for long enough.
    async fn put_back(&self, pooled: Pooled<R::Environment>) {
        if pooled.environment.is_worn_out() {
            pooled.environment.end().await;
            self.pool.lose(pooled.purpose);
        } else {
            self.pool.put(pooled);
        }
    }

    /// Initialises an environment ahead of its use, and freezes it.
    pub(super) async fn start_ahead(&self, purpose: Purpose) -> Result<(), InitFailure> {
        let environment = self.start(AfterInit::Freeze).await?;
        self.pool.put(Pooled { environment, purpose });
        Ok(())
    }

    /// Replaces provisioned environments that are gone.
    async fn fill_vacancies(&self) {
        while !self.stopping.is_cancelled() && self.pool.take_vacancy() {
            if let Err(failure) = self.start_ahead(Purpose::Provisioned).await {
                self.pool.lose(Purpose::Provisioned);
                return self.back_off(&failure).await;
            }
        }
    }

    /// An environment could not be started, unless its end was wanted.
    async fn back_off(&self, failure: &InitFailure) {
        if failure.cause.is_ordered() {
            return;
        }
        if failure.cause.is_of_the_harness() {
            let function = &self.runner.spec().name;
            let what = format!("an environment of function {function} that could not be started: {}", failure.cause);
            self.fail(Work::Start, what);
        } else {
            tracing::warn!(%failure, "an environment could not be started");
        }
        self.pause_after_failed_start().await;
    }

    /// A function that cannot start must not be started over and over at full speed.
    async fn pause_after_failed_start(&self) {
        let failures = self.failed_starts.fetch_add(1, Ordering::Relaxed) + 1;
        self.pause(failures).await;
    }

    /// Something failed for which the function is not to blame.
    pub(super) fn fail(&self, work: Work, what: String) {
        tracing::warn!("{what}");
        self.failures.record(work, what);
    }

    /// Waits after so many failures.
    pub(super) async fn pause(&self, failures: u32) {
        self.pause_for(pause_after(failures)).await;
    }

    /// Waits for so long, or until the mapping stops.
    async fn pause_for(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopping.cancelled() => {}
        }
    }
}

/// Doubles with every failure, up to a limit.
fn pause_after(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let pauses: Vec<_> = (1..=7).map(|failures| pause_after(failures).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
