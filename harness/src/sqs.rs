//! The queues of a run: who keeps the messages, and the API for the system.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use verifier::EventKind;

use crate::cloud::queue::{self, Correlation, QueueSettings, Queues, QueuesConfig, ReceiveRequest, SqsError};
use crate::error::Error;
use crate::journal::Recorder;
use crate::manifest::Manifest;
use crate::report::live::Live;
use crate::run::Plan;
use crate::stage::{ACCOUNT, REGION};
use crate::template::Values;

/// What may be wrong when an external endpoint refuses or does not answer.
const HINT: &str = "Region, credentials and CA come from the standard AWS variables and files: AWS_REGION, \
                    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_CA_BUNDLE.";

/// The longest wait of a poll that SQS allows.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The longest visibility time-out that SQS allows.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);
/// How long after a failure it is tried again.
const BETWEEN_FAILURES: Duration = Duration::from_secs(5);

/// The queues of a run. Their API ends when they are dropped.
#[derive(Debug)]
pub struct RunQueues {
    /// The way in for the harness.
    pub queues: Queues,
    /// The URL of their API, which the system is given.
    pub endpoint: String,
    /// The external endpoint that keeps the messages, if it is not our own engine.
    external: Option<String>,
    /// Ends what goes on in the background: the API, and the watch on dead-letter queues.
    stop: DropGuard,
}

impl RunQueues {
    /// Opens the queues' API. There is no queue yet.
    ///
    /// # Errors
    /// If there is no port, or there are no credentials or no CA for the external endpoint.
    pub async fn open(plan: &Plan, recorder: &Recorder) -> Result<Self, Error> {
        let no_port = |error| Error::setup("no port for the queues", error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(no_port)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(no_port)?);
        let config = QueuesConfig {
            endpoint: endpoint.clone(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            correlation: Correlation { message_body: plan.manifest.correlation.message_body.clone() },
            recorder: recorder.clone(),
        };
        let queues = match &plan.sqs_endpoint {
            None => Queues::local(config),
            Some(url) => {
                let queues = Queues::external_at(config, url).await;
                queues.map_err(|error| Error::Setup(format!("{error}\n{HINT}")))?
            }
        };
        let stop = serve(listener, queues.clone(), recorder.clone());
        Ok(Self { queues, endpoint, external: plan.sqs_endpoint.clone(), stop: stop.drop_guard() })
    }

    /// Creates the queues of a manifest, and adds their URLs to the values for the system.
    ///
    /// # Errors
    /// If a queue's settings are not allowed, or the external endpoint does not answer or refuses.
    pub async fn create(&self, manifest: &Manifest, mut values: Values, live: &Live) -> Result<Values, Error> {
        for (name, queue) in &manifest.queues {
            if let (Some(url), Some(name_there)) = (&self.external, self.queues.name_at_endpoint(name)) {
                live.say("Creating", &format!("queue {name} at {url} as {name_there}"));
            }
            let settings = QueueSettings {
                visibility_timeout: queue.visibility_timeout,
                max_receive_count: queue.max_receive_count,
            };
            let url = self.queues.provide(name, settings).await.map_err(|error| self.not_created(name, &error))?;
            values = values.with(format!("queue.{name}.url"), url);
            if self.external.is_some() && queue.max_receive_count.is_some() {
                self.watch_dead_letters(manifest, name);
            }
        }
        Ok(values)
    }

    /// Watches the dead-letter queue of this queue, unless a function of the system receives from it.
    fn watch_dead_letters(&self, manifest: &Manifest, name: &str) {
        let dead_letter_queue = Queues::dead_letter_queue_of(name);
        if manifest.functions.values().all(|function| function.queue != dead_letter_queue) {
            let stop = self.stop.token().clone();
            tokio::spawn(watch(self.queues.clone(), dead_letter_queue, stop));
        }
    }

    fn not_created(&self, name: &str, error: &SqsError) -> Error {
        match &self.external {
            Some(url) => Error::setup(format!("queue {name} at {url}"), format!("{error}\n{HINT}")),
            None => Error::setup(format!("queue {name}"), error),
        }
    }

    /// Deletes what was created at an external endpoint, and says what is left there.
    pub async fn close(self, live: &Live) {
        let Some(url) = &self.external else { return };
        self.stop.token().cancel();
        for (name, error) in self.queues.delete_created().await {
            live.say("Left", &format!("queue {name} at {url}: {error}"));
        }
    }
}

/// Answers the calls of the system, until the returned token is cancelled.
fn serve(listener: TcpListener, queues: Queues, recorder: Recorder) -> CancellationToken {
    let stop = CancellationToken::new();
    let serving = queue::serve(listener, queues, stop.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            let what = format!("API of the queues, which has ended: {error}");
            recorder.record(EventKind::EvidenceLost { what, count: 1 });
        }
    });
    stop
}

/// Receives what comes to a dead-letter queue, until `stop`: an external endpoint tells in no other way
/// that a message was moved there. Nobody else misses it, as the queue is the run's own.
async fn watch(queues: Queues, dead_letter_queue: String, stop: CancellationToken) {
    let request = ReceiveRequest { max: 10, wait: Some(LONGEST_WAIT), visibility_timeout: Some(LONGEST_TIMEOUT) };
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = queues.receive_with(&dead_letter_queue, request) => received,
        };
        if let Err(error) = received {
            tracing::warn!(queue = dead_letter_queue, %error, "what comes to a dead-letter queue does not show");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(BETWEEN_FAILURES) => {}
            }
        }
    }
}
