//! Keeps the journal and judges, live: one thread folds the stream of events as it comes.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use verifier::verifier::Pending;
use verifier::{Event, EventKind, Timestamp};

use super::file::{JournalError, Writer, is_last};
use super::recorder::Recorder;
use crate::mask::Mask;
use crate::outcome::{Outcome, Reading};

/// How many events are folded at once at most.
const BATCH: usize = 4_096;
/// How long events may gather. Waking this thread for each of them costs those who record them more
/// than the folding itself, and nobody needs a verdict sooner.
const BETWEEN_BATCHES: Duration = Duration::from_millis(20);

/// How a run goes, for those who wait and those who watch.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The instant of the last event that was folded.
    pub now: Timestamp,
    /// Requests that were sent.
    pub sent: u64,
    /// Requests whose answer promises a trace.
    pub accepted: u64,
    /// Traces that are complete.
    pub complete: u64,
    /// Requests that have not been judged yet.
    pub open: usize,
    /// Cases of findings.
    pub cases: u64,
    /// Cold starts.
    pub cold_starts: u64,
    /// What the ledger still waits for.
    pub pending: Vec<Pending>,
}

impl Progress {
    fn of(reading: &Reading, now: Timestamp) -> Self {
        let tally = reading.verifier.tally();
        Self {
            now,
            sent: tally.requests.sent,
            accepted: tally.requests.accepted,
            complete: tally.traces.complete,
            open: reading.verifier.open_requests(),
            cases: reading.verifier.cases(),
            cold_starts: reading.measurements.cold_starts(),
            pending: reading.verifier.pending(),
        }
    }
}

/// The thread that keeps the journal.
#[derive(Debug)]
pub struct Book {
    thread: thread::JoinHandle<Outcome>,
    progress: watch::Receiver<Progress>,
}

impl Book {
    /// Opens a journal in `folder` and folds `events` until the run's last. Secrets are masked.
    ///
    /// # Errors
    /// If the journal cannot be created.
    pub fn open(
        folder: &Path,
        mask: Mask,
        recorder: Recorder,
        events: mpsc::Receiver<Event>,
    ) -> Result<Self, JournalError> {
        let io_error = |error| JournalError::Io { path: folder.to_owned(), error };
        let writer = Writer::create(folder, mask).map_err(io_error)?;
        let (publish, progress) = watch::channel(Progress::default());
        let keeper = Keeper { writer: Some(writer), reading: Reading::default(), recorder, publish };
        let thread =
            thread::Builder::new().name("book".to_owned()).spawn(move || keeper.keep(events)).map_err(io_error)?;
        Ok(Self { thread, progress })
    }

    /// How the run goes; it changes with every tick.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// What the run came to. Waits for the run's last event.
    ///
    /// # Panics
    /// If the thread has panicked: a bug.
    pub async fn close(self) -> Outcome {
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match joined {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

struct Keeper {
    /// None once it could not be written any more.
    writer: Option<Writer>,
    reading: Reading,
    recorder: Recorder,
    publish: watch::Sender<Progress>,
}

impl Keeper {
    fn keep(mut self, mut events: mpsc::Receiver<Event>) -> Outcome {
        let mut batch = Vec::new();
        while events.blocking_recv_many(&mut batch, BATCH) > 0 {
            if self.take_batch(&mut batch) {
                break;
            }
            thread::sleep(BETWEEN_BATCHES);
        }
        if let Some(Err(error)) = self.writer.take().map(Writer::finish) {
            self.unwritten(self.recorder.now(), &error);
        }
        self.reading.outcome()
    }

    /// Folds events up to the run's last; says whether that was among them. What comes after it is
    /// nobody's evidence any more: processes that are killed when a set-up has failed, for one.
    fn take_batch(&mut self, batch: &mut Vec<Event>) -> bool {
        for event in batch.drain(..) {
            if is_last(&event) {
                self.confess_refusals(event.at);
                self.take(&event);
                return true;
            }
            self.take(&event);
        }
        false
    }

    fn take(&mut self, event: &Event) {
        let written = self.writer.as_mut().map_or(Ok(()), |writer| writer.write(event));
        if let Err(error) = written {
            self.writer = None;
            self.unwritten(event.at, &error);
        }
        self.reading.take(event);
        if matches!(event.kind, EventKind::Ticked) || is_last(event) {
            self.publish.send_replace(Progress::of(&self.reading, event.at));
        }
    }

    /// Lets the run say itself what the recorder had to refuse.
    fn confess_refusals(&mut self, at: Timestamp) {
        let count = self.recorder.refused();
        if count > 0 {
            let what = "events that the recorder refused because too many waited".to_owned();
            self.take(&Event { at, kind: EventKind::EvidenceLost { what, count } });
        }
    }

    /// A run whose journal is not whole cannot be judged again.
    fn unwritten(&mut self, at: Timestamp, error: &std::io::Error) {
        let what = format!("journal that could not be written: {error}");
        self.reading.take(&Event { at, kind: EventKind::EvidenceLost { what, count: 1 } });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn book_closes_at_the_runs_end_whatever_is_recorded_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, events) = Recorder::new();
        recorder.record(EventKind::Ticked);
        recorder.finish().await;
        recorder.record(EventKind::Ticked);
        let book = Book::open(folder.path(), Mask::default(), recorder.clone(), events).unwrap();
        book.close().await;
        let paths: [PathBuf; 1] = [folder.path().to_owned()];
        let written: Vec<_> = super::super::file::read(&paths).unwrap().map(|event| event.unwrap().kind).collect();
        assert_eq!(written, [EventKind::Ticked, EventKind::RunFinished]);
    }

    #[tokio::test]
    async fn refused_events_are_confessed_in_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, events) = Recorder::new();
        while recorder.refused() < 3 {
            recorder.record(EventKind::Ticked);
        }
        let book = Book::open(folder.path(), Mask::default(), recorder.clone(), events).unwrap();
        recorder.finish().await;
        let outcome = book.close().await;
        let doubt = "evidence lost: 3 events that the recorder refused because too many waited";
        assert!(outcome.judgement.doubts.iter().any(|found| found == doubt), "{:?}", outcome.judgement.doubts);
    }
}
