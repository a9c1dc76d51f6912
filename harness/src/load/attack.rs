//! The users that send a load: each takes the next request of the schedule, waits until it is due,
//! sends it and reads its answer.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use goose::goose::{GooseRequest, GooseUser};
use http::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use verifier::event::{EventKind, RequestOutcome};
use verifier::{RequestId, Timestamp};

use super::plan::LoadPlan;
use super::progress::Progress;
use super::schedule::Schedule;
use crate::journal::Recorder;

/// The name of all requests in goose's metrics. A fixed one: goose keeps a table for each name.
const REQUEST_NAME: &str = "request";
/// How much of an answer's body is kept to look for the trace id in it.
const KEPT_BODY: usize = 1 << 20;
/// From the begin of the schedule to its first request: so that the users wake up before it is due.
const WAKING: Duration = Duration::from_millis(20);

/// What all users of a load share.
pub(super) struct Attack {
    pub(super) plan: LoadPlan,
    pub(super) schedule: Schedule,
    pub(super) recorder: Recorder,
    pub(super) progress: Arc<Progress>,
    /// Stops this load, and nothing else.
    pub(super) stop: CancellationToken,
    /// Why the load was stopped by itself, if it was.
    pub(super) failure: OnceLock<&'static str>,
    /// One client, and so one pool of connections, for all users.
    pub(super) client: reqwest::Client,
    /// The number of the next request that nobody has taken.
    pub(super) next: AtomicU64,
    /// When the schedule began, once it has.
    pub(super) start: watch::Sender<Option<Instant>>,
}

/// A request that a user has taken.
struct Slot {
    id: RequestId,
    due: Instant,
}

impl Attack {
    /// Begins the schedule: from now on, requests are sent.
    pub(super) fn begin(&self) {
        let scheduled = self.schedule.count();
        self.progress.begin(scheduled);
        self.recorder.record(EventKind::LoadStarted { scheduled, rate: self.schedule.rate() });
        self.start.send_replace(Some(Instant::now() + WAKING));
    }

    /// Stops the load because it cannot go on.
    pub(super) fn fail(&self, why: &'static str) {
        // Only the first reason is one; the others follow from it.
        let _ = self.failure.set(why);
        self.stop.cancel();
    }

    /// Everything that one user ever does.
    pub(super) async fn send_all(&self, user: &mut GooseUser) {
        user.client = self.client.clone();
        let start = self.started().await;
        while let Some(slot) = self.take(start) {
            if !self.wait_until(slot.due).await {
                return;
            }
            self.send(user, &slot).await;
        }
    }

    /// When the schedule began, as soon as that is known.
    async fn started(&self) -> Instant {
        let mut start = self.start.subscribe();
        let started = start.wait_for(Option::is_some).await.ok().and_then(|start| *start);
        started.unwrap_or_else(Instant::now)
    }

    /// The next request of the schedule, unless there is none or the load was stopped.
    fn take(&self, start: Instant) -> Option<Slot> {
        if self.stop.is_cancelled() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = start + self.schedule.intended(number)?;
        Some(Slot { id: RequestId::new(self.plan.tag, u32::try_from(number).ok()?), due })
    }

    /// Waits until an instant; `false` if the load was stopped before.
    ///
    /// The instant is absolute, so that one late request never delays those after it.
    async fn wait_until(&self, due: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep_until(due.into()) => true,
        }
    }

    async fn send(&self, user: &mut GooseUser, slot: &Slot) {
        let intended = self.recorder.at(slot.due);
        self.progress.start();
        self.recorder.record(EventKind::RequestStarted { request: slot.id, intended });
        let outcome = self.exchange(user, slot.id).await.unwrap_or_else(|error| RequestOutcome::Unanswered { error });
        self.finish(slot.id, intended, outcome);
    }

    fn finish(&self, request: RequestId, intended: Timestamp, outcome: RequestOutcome) {
        let accepted = matches!(outcome, RequestOutcome::Answered { accepted: true, .. });
        self.recorder.record(EventKind::RequestFinished { request, intended, outcome });
        self.progress.finish(accepted);
    }

    /// Sends a request and reads its whole answer.
    async fn exchange(&self, user: &mut GooseUser, id: RequestId) -> Result<RequestOutcome, String> {
        let request = self.plan.request(id).map_err(|error| error.to_string())?;
        let builder = reqwest::RequestBuilder::from_parts(self.client.clone(), request);
        let request = GooseRequest::builder().name(REQUEST_NAME).set_request_builder(builder).build();
        let exchange = user.request(request).await.map_err(|error| error.to_string())?;
        let answer = exchange.response.map_err(describe)?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = read_body(answer).await.map_err(describe)?;
        Ok(self.answered(status, &headers, &body))
    }

    fn answered(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> RequestOutcome {
        let trace_id = self.plan.trace_id.as_ref().and_then(|location| location.find(headers, body));
        RequestOutcome::Answered { status, accepted: self.plan.accepts(status), trace_id }
    }
}

/// Reads a body to its end and keeps its beginning: an answer is over when all of it is there, and
/// its size is up to a system that may be sick.
async fn read_body(mut answer: reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = KEPT_BODY.saturating_sub(body.len()).min(chunk.len());
        body.extend_from_slice(&chunk[..room]);
    }
    Ok(body)
}

/// An error with its causes, and without the URL: errors that are alike should read alike.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
