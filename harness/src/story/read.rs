//! The readings of a journal that a story takes.
//!
//! A journal does not tell in order whose a row is: an environment is thawed before it is known for which message,
//! and a message can be queued before the span comes that names the request of its trace. So it is read more than
//! once, each time in bounded memory: once to judge it and to learn the request's keys, and then until a reading
//! has taught nothing new, which is nearly always the next one. The alternative, a sliding window over the events,
//! would have to be as wide as the longest redelivery, and hold all other requests in it meanwhile.

use std::path::PathBuf;

use verifier::watch::Watched;
use verifier::{Event, EventKind, RequestId, Verifier};

use super::collect::Collector;
use super::keys::Keys;
use super::model::Story;
use super::query::{HOW_TO_NAME_ONE, RequestQuery};
use crate::journal::{JournalError, file};

/// Why there is no story to tell.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// There is no journal that can be read.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// What was recorded has no ledger.
    #[error(
        "this recording holds no requests: --request needs the journal of a run, whose ledger tells which requests \
         were sent"
    )]
    NoLedger,
    /// The journal holds other requests, and not this one.
    #[error("no {query} is in this journal: it holds {count} requests, from {first} to {last}\n{HOW_TO_NAME_ONE}")]
    Unknown {
        /// The request that was asked for.
        query: RequestQuery,
        /// How many requests were sent.
        count: u64,
        /// The one with the lowest number.
        first: RequestId,
        /// The one with the highest number.
        last: RequestId,
    },
}

/// Tells the story of one request of a recorded run.
///
/// # Errors
/// If the paths hold no journal that can be read, or it does not hold the request.
pub fn tell(paths: &[PathBuf], query: RequestQuery) -> Result<Story, StoryError> {
    Journal { open: || events(paths) }.tell(query)
}

/// The events of a journal, from its start.
fn events(paths: &[PathBuf]) -> Result<impl Iterator<Item = Result<Event, JournalError>> + use<>, JournalError> {
    let mut events = file::read(paths)?.peekable();
    let is_start = |event: &Event| matches!(event.kind, EventKind::RunStarted(_));
    match events.peek() {
        Some(Ok(first)) if !is_start(first) => Err(JournalError::NoStart(paths.first().cloned().unwrap_or_default())),
        _ => Ok(events),
    }
}

/// A journal that can be read again and again.
pub(super) struct Journal<Open> {
    /// Begins to read it.
    pub(super) open: Open,
}

impl<Open, Events> Journal<Open>
where
    Open: Fn() -> Result<Events, JournalError>,
    Events: Iterator<Item = Result<Event, JournalError>>,
{
    /// Tells the story of one request.
    pub(super) fn tell(&self, query: RequestQuery) -> Result<Story, StoryError> {
        let request = self.find(query)?;
        let mut keys = Keys::new(request);
        let judged = self.judge(request, &mut keys)?;
        loop {
            let known = keys.clone();
            let collector = self.collect(&mut keys)?;
            if keys == known {
                return collector.finish(judged).ok_or(StoryError::NoLedger);
            }
        }
    }

    /// The request that is meant, if it was sent.
    fn find(&self, query: RequestQuery) -> Result<RequestId, StoryError> {
        let mut search = Search::new(query);
        for event in (self.open)()? {
            search.take(&event?);
            if let Some(request) = search.found {
                return Ok(request);
            }
        }
        Err(search.failure())
    }

    fn judge(&self, request: RequestId, keys: &mut Keys) -> Result<Watched, StoryError> {
        let mut verifier = Verifier::watching(request);
        for event in (self.open)()? {
            let event = event?;
            verifier.handle(&event);
            keys.learn(&event);
        }
        let judged = verifier.watched().ok_or(StoryError::NoLedger)?;
        keys.learn_judged(&judged);
        Ok(judged)
    }

    fn collect(&self, keys: &mut Keys) -> Result<Collector, StoryError> {
        let mut collector = Collector::default();
        for event in (self.open)()? {
            let event = event?;
            keys.learn(&event);
            collector.take(&event, keys);
        }
        Ok(collector)
    }
}

/// Looks for the request that a query means.
struct Search {
    query: RequestQuery,
    found: Option<RequestId>,
    /// Knows whose a trace is; only needed where that is asked for.
    verifier: Verifier,
    count: u64,
    bounds: Option<(RequestId, RequestId)>,
}

impl Search {
    fn new(query: RequestQuery) -> Self {
        Self { query, found: None, verifier: Verifier::default(), count: 0, bounds: None }
    }

    fn take(&mut self, event: &Event) {
        if let EventKind::RequestStarted { request, .. } = event.kind {
            self.count += 1;
            let (first, last) = self.bounds.unwrap_or((request, request));
            self.bounds = Some((first.min(request), last.max(request)));
            let is_it = match self.query {
                RequestQuery::Id(id) => id == request,
                RequestQuery::Number(number) => number == request.number(),
                RequestQuery::Trace(_) => false,
            };
            self.found = is_it.then_some(request);
        }
        if let RequestQuery::Trace(trace) = self.query {
            self.verifier.handle(event);
            self.found = self.verifier.request_of(trace);
        }
    }

    fn failure(self) -> StoryError {
        match self.bounds {
            Some((first, last)) => StoryError::Unknown { query: self.query, count: self.count, first, last },
            None => StoryError::NoLedger,
        }
    }
}
