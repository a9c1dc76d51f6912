//! A long-running process of the system: healthy before it is used, asked before it is killed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use verifier::EventKind;
use verifier::event::ProcessEnd;

use super::process::{Process, ProcessSpec, SpawnError};
use super::spawner::Spawner;
use crate::journal::Recorder;

/// How long to wait before a service that was not healthy is asked again. Nothing tells when a
/// port opens, so it has to be asked.
const BETWEEN_HEALTH_CHECKS: Duration = Duration::from_millis(10);
/// How long a service may take to answer one health check.
const HEALTH_CHECK: Duration = Duration::from_secs(1);

/// How a service is started, recognised as healthy, and stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name in the manifest.
    pub name: String,
    /// How its process is started.
    pub process: ProcessSpec,
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    /// The path that answers with a status from 200 to 299 when it is healthy. Without one, it is
    /// healthy as soon as its port accepts a connection.
    pub health: Option<String>,
    /// How long it may take until it is healthy.
    pub start_timeout: Duration,
    /// How long it may take to end after SIGTERM, before SIGKILL.
    pub stop_timeout: Duration,
}

/// Why a service could not be brought into use.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its process could not be started.
    #[error("service `{service}`: {source}")]
    NotStarted {
        /// Its name.
        service: String,
        /// What went wrong.
        source: SpawnError,
    },
    /// Its process ended before it was healthy.
    #[error("service `{service}` ended with {end} before it was healthy{}", printed(&end.output))]
    Died {
        /// Its name.
        service: String,
        /// How it ended.
        end: ProcessEnd,
    },
    /// It was not healthy in time, and was killed.
    #[error("service `{service}` was not healthy within {limit:?} ({symptom}){}", printed(output))]
    Unhealthy {
        /// Its name.
        service: String,
        /// How long it had.
        limit: Duration,
        /// What the last health check met.
        symptom: String,
        /// The last lines that it printed.
        output: Vec<String>,
    },
}

/// The last lines that a process printed, to be put behind a message.
pub(crate) fn printed(lines: &[String]) -> String {
    match lines {
        [] => "; it printed nothing".to_owned(),
        lines => format!("; the last that it printed:\n    {}", lines.join("\n    ")),
    }
}

/// A service in use. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    process: Arc<Process>,
    recorder: Recorder,
    /// Ends when the end of the process was recorded.
    recorded: JoinHandle<()>,
}

impl Service {
    /// Starts a service and waits until it is healthy.
    ///
    /// # Errors
    /// If it cannot be started, dies, or is not healthy in time. It is then gone.
    pub async fn start(spawner: &Spawner, recorder: &Recorder, spec: ServiceSpec) -> Result<Self, ServiceError> {
        let service = Self::spawn(spawner, recorder, spec).await?;
        let mut symptom = String::new();
        let outcome = tokio::select! {
            biased;
            end = service.process.ended() => Err(service.died(end)),
            () = service.healthy(&mut symptom) => Ok(()),
            () = tokio::time::sleep(service.spec.start_timeout) => Err(service.unhealthy()),
        };
        match outcome {
            Ok(()) => Ok(service),
            Err(error) => Err(service.give_up(error, symptom).await),
        }
    }

    async fn spawn(spawner: &Spawner, recorder: &Recorder, spec: ServiceSpec) -> Result<Self, ServiceError> {
        let (witness, name) = (recorder.clone(), spec.name.clone());
        let on_start = move |pid| witness.record(EventKind::ServiceStarted { service: name, pid });
        let process = spawner.spawn(spec.process.clone(), on_start).await;
        let process = process.map_err(|source| ServiceError::NotStarted { service: spec.name.clone(), source })?;
        let process = Arc::new(process);
        let recorded = tokio::spawn(record_end(Arc::clone(&process), spec.name.clone(), recorder.clone()));
        Ok(Self { spec, process, recorder: recorder.clone(), recorded })
    }

    /// Its name in the manifest.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.spec.port))
    }

    /// Waits for its end, ordered or not: [`ProcessEnd::ordered`] tells a death of its own.
    pub fn ended(&self) -> impl Future<Output = ProcessEnd> + Send + use<> {
        let process = Arc::clone(&self.process);
        async move { process.ended().await }
    }

    /// Stops it as production stops a service: SIGTERM, then `stop_timeout` to drain and flush,
    /// then SIGKILL. What is left of its group is killed in any case.
    pub async fn stop(mut self) -> ProcessEnd {
        if !self.process.has_exited() {
            self.recorder.record(EventKind::ServiceStopping { service: self.spec.name.clone() });
        }
        self.process.terminate();
        if tokio::time::timeout(self.spec.stop_timeout, self.process.ended()).await.is_err() {
            tracing::warn!(service = self.spec.name, "did not end in time after SIGTERM and is killed");
            self.process.kill();
        }
        self.gone().await
    }

    /// Kills it at once, by order.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Waits until its end has been recorded.
    async fn gone(&mut self) -> ProcessEnd {
        let end = self.process.ended().await;
        // It can only fail when the runtime goes down, and the record with it.
        let _ = (&mut self.recorded).await;
        end
    }

    /// Ends what did not become healthy, and completes the error with what was learnt.
    async fn give_up(mut self, error: ServiceError, met: String) -> ServiceError {
        self.process.kill();
        self.gone().await;
        match error {
            ServiceError::Unhealthy { service, limit, output, .. } => {
                ServiceError::Unhealthy { service, limit, symptom: met, output }
            }
            error => error,
        }
    }

    fn died(&self, end: ProcessEnd) -> ServiceError {
        ServiceError::Died { service: self.spec.name.clone(), end }
    }

    fn unhealthy(&self) -> ServiceError {
        let (service, limit) = (self.spec.name.clone(), self.spec.start_timeout);
        ServiceError::Unhealthy { service, limit, symptom: String::new(), output: self.process.output() }
    }

    /// Comes back when the service is healthy; `symptom` says why it was not so far.
    async fn healthy(&self, symptom: &mut String) {
        // The service listens on this very host: a proxy from the environment must not come between.
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_CHECK).build();
        while let Err(met) = self.check_health(client.as_ref()).await {
            *symptom = met;
            tokio::time::sleep(BETWEEN_HEALTH_CHECKS).await;
        }
    }

    async fn check_health(&self, client: Result<&reqwest::Client, &reqwest::Error>) -> Result<(), String> {
        let Some(path) = &self.spec.health else {
            return TcpStream::connect(self.address()).await.map(drop).map_err(|error| error.to_string());
        };
        let client = client.map_err(|error| chain(error))?;
        let url = format!("http://{}{path}", self.address());
        match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{url} answered {}", answer.status())),
            Err(error) => Err(chain(&error)),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill();
    }
}

async fn record_end(process: Arc<Process>, service: String, recorder: Recorder) {
    let end = process.ended().await;
    recorder.record(EventKind::ServiceEnded { service, end });
}

/// An error with its causes: "error sending request" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
