//! The queues of a run: who keeps the messages, and the API for the system.

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use verifier::EventKind;

use crate::cloud::queue::{self, Correlation, QueueSettings, Queues, QueuesConfig, SqsError};
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

/// The queues of a run. Their API ends when they are dropped.
#[derive(Debug)]
pub struct RunQueues {
    /// The way in for the harness.
    pub queues: Queues,
    /// The URL of their API, which the system is given.
    pub endpoint: String,
    /// The external endpoint that keeps the messages, if it is not our own engine.
    external: Option<String>,
    _serving: DropGuard,
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
        let serving = serve(listener, queues.clone(), recorder.clone());
        Ok(Self { queues, endpoint, external: plan.sqs_endpoint.clone(), _serving: serving })
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
        }
        Ok(values)
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
        for (name, error) in self.queues.delete_created().await {
            live.say("Left", &format!("queue {name} at {url}: {error}"));
        }
    }
}

/// Answers the calls of the system, until the returned guard is dropped.
fn serve(listener: TcpListener, queues: Queues, recorder: Recorder) -> DropGuard {
    let stop = CancellationToken::new();
    let serving = queue::serve(listener, queues, stop.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            let what = format!("API of the queues, which has ended: {error}");
            recorder.record(EventKind::EvidenceLost { what, count: 1 });
        }
    });
    stop.drop_guard()
}
