//! The pollers of a mapping: as many as there may be batches in hand.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::growth::Growth;
use super::mapping::Mapping;
use super::runner::Runner;
use super::source::MessageSource;
use super::spec::Scaling;

/// The pollers.
pub(super) struct Crew<S, R: Runner> {
    mapping: Arc<Mapping<S, R>>,
    pollers: JoinSet<()>,
    /// How many are to stay.
    size: usize,
}

impl<S: MessageSource, R: Runner> Crew<S, R> {
    /// Polls until the mapping stops and all pollers have come to their end.
    ///
    /// # Errors
    /// The first of the pollers that panicked. The others go on until then.
    pub(super) async fn work(mapping: Arc<Mapping<S, R>>) -> Result<(), JoinError> {
        let mut crew = Self { mapping: Arc::clone(&mapping), pollers: JoinSet::new(), size: 0 };
        let mut outcome = Ok(());
        match mapping.spec.behaviour.scaling {
            None => crew.resize(mapping.spec.max_concurrency),
            Some(scaling) => outcome = crew.scale(scaling).await,
        }
        while let Some(poller) = crew.pollers.join_next().await {
            outcome = outcome.and(poller);
        }
        outcome
    }

    /// Has as many pollers as the load asks for, until the mapping stops.
    async fn scale(&mut self, scaling: Scaling) -> Result<(), JoinError> {
        let mapping = Arc::clone(&self.mapping);
        let mut growth = Growth::new(scaling, mapping.spec.max_concurrency, Instant::now());
        let mut outcome = Ok(());
        loop {
            self.resize(growth.limit());
            tokio::select! {
                () = mapping.stopping.cancelled() => return outcome,
                () = next_look(&mapping, &growth) => {}
            }
            growth.advance(Instant::now(), mapping.gauge.take_load());
            while let Some(poller) = self.pollers.try_join_next() {
                outcome = outcome.and(poller);
            }
        }
    }

    /// Starts pollers, or lets those go that wait for messages next.
    fn resize(&mut self, size: usize) {
        let dismissals = &self.mapping.dismissals;
        dismissals.add_permits(self.size.saturating_sub(size));
        let wanted = size.saturating_sub(self.size);
        let recalled = dismissals.forget_permits(wanted);
        for _ in recalled..wanted {
            self.pollers.spawn(Arc::clone(&self.mapping).poll());
        }
        self.size = size;
    }
}

/// Waits until there is a reason to look at the load again.
async fn next_look<S, R: Runner>(mapping: &Mapping<S, R>, growth: &Growth) {
    if growth.is_at_rest() {
        mapping.gauge.until(|activity| activity.batches >= growth.limit()).await;
        // What went before does not count.
        mapping.gauge.take_load();
    }
    tokio::time::sleep(growth.pace()).await;
}
