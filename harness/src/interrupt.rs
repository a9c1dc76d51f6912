//! Ctrl-C: the first ends the load early, the second ends everything at once.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// What the user asked for with Ctrl-C (SIGINT), or somebody else with SIGTERM.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// Cancelled by the first.
    pub stop: CancellationToken,
    /// Cancelled by the second.
    pub abandon: CancellationToken,
}

impl Interrupts {
    /// Listens from now on. To be called once in a process, and before any load: goose would listen
    /// itself otherwise, and end the process in its own way.
    ///
    /// # Errors
    /// If somebody listens already.
    pub fn listen() -> Result<Self, Error> {
        let interrupts = Self::default();
        let (heard, count) = (interrupts.clone(), AtomicU32::new(0));
        ctrlc::set_handler(move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => heard.stop.cancel(),
            _ => heard.abandon.cancel(),
        })
        .map_err(|error| Error::Internal(format!("signals cannot be handled: {error}")))?;
        Ok(interrupts)
    }
}
