//! Where events come in: everything that is seen in a run goes through a [`Recorder`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use verifier::{Event, EventKind, Timestamp};

/// How many events may wait to be judged and written. At 100 requests/s this is more than ten
/// seconds; what does not fit is counted and makes the run inconclusive.
const WAITING_EVENTS: usize = 65_536;

/// Stamps events and hands them to whoever judges and writes them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    events: mpsc::Sender<Event>,
    refused: AtomicU64,
}

impl Recorder {
    /// A recorder, and the stream that it fills.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, stream) = mpsc::channel(WAITING_EVENTS);
        (Self(Arc::new(Shared { clock: Clock::start(), events, refused: AtomicU64::new(0) })), stream)
    }

    /// Records that something happened just now.
    ///
    /// Never waits. Whoever causes an effect that others can see (an answer, a message) records it
    /// *before* the effect, so that the stream tells causes before their consequences.
    pub fn record(&self, kind: EventKind) {
        self.record_at(self.now(), kind);
    }

    /// Records that something happened at an instant that was taken before.
    pub fn record_at(&self, at: Timestamp, kind: EventKind) {
        if self.0.events.try_send(Event { at, kind }).is_err() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records the end of the run, whatever waits. Nothing is to be recorded after it.
    pub async fn finish(&self) {
        // Nobody reads any more only if the reader has panicked, which it tells itself.
        let _ = self.0.events.send(Event { at: self.now(), kind: EventKind::RunFinished }).await;
    }

    /// The present instant of the run's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.at(Instant::now())
    }

    /// The run's clock at an instant of the monotonic clock.
    pub fn at(&self, instant: Instant) -> Timestamp {
        self.0.clock.at(instant)
    }

    /// How many events were refused because too many waited.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// The run's clock: the wall clock read once, and a monotonic clock from there on.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    start_wall: Timestamp,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_wall: Timestamp::from_unix_nanos(0) + since_epoch }
    }

    fn at(&self, instant: Instant) -> Timestamp {
        self.start_wall + instant.saturating_duration_since(self.start)
    }
}
