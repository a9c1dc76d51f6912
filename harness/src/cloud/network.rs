//! The way between an execution environment and the endpoint: its latency, what can happen to it while
//! the environment is frozen, and what was going on when it was.

use verifier::event::{Cut, OpenExchanges};

/// The way of one environment. Cheap to clone; all clones are the same way.
#[derive(Debug, Clone, Default)]
pub struct Network {}

impl Network {
    /// The environment is at rest: notes what is going on at this very moment. Called under a lock, so
    /// it does not wait.
    pub fn mark(&self) {}

    /// Waits until everything that the environment had sent before it was frozen has arrived, and tells
    /// what was going on at the last [`Self::mark`].
    pub async fn drained(&self) -> OpenExchanges {
        OpenExchanges::default()
    }

    /// Cuts all connections that there are. To be called while the environment is frozen.
    pub fn cut(&self, _cut: Cut) {}
}
