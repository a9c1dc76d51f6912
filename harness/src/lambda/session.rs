//! A function on its own, from its first environment to its last.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};
use verifier::Event;

use super::events::{EventFiles, Jobs};
use crate::cli::Lambda;
use crate::cloud::environment::{AfterInit, Environment, InitFailure, Invocation};
use crate::cloud::event_source::{Behaviour, EventSource, EventSourceSpec};
use crate::cloud::function::{Account, ExtensionSpec, Function, FunctionSpec, INIT_TIMEOUT, Platform, Recycling};
use crate::cloud::network::Conditions;
use crate::cloud::queue::{self, Correlation, QueueSettings, Queues, QueuesConfig};
use crate::collect::{Collector, EnvironmentWiring};
use crate::error::Error;
use crate::folder::RunFolder;
use crate::interrupt::Interrupts;
use crate::journal::Recorder;
use crate::report::lambda::{Printer, Session};
use crate::report::live::Live;
use crate::stage::{ACCESS_KEY_ID, ACCOUNT, REGION};
use crate::target::Spawner;
use crate::template::{Template, Values};

/// The function's name, of which those of its environments are made.
const NAME: &str = "function";
/// How long invocations may still take once nothing more is asked for.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);
/// AWS recommends a visibility time-out of six times the function's own ("Configuring a queue to use
/// with Lambda").
const VISIBILITY_TIMEOUTS: u32 = 6;

/// Runs a function as the command line says. When this returns, no process of it is left.
///
/// # Errors
/// If something cannot be had, or the function cannot be initialised.
pub async fn run(options: &Lambda, live: &Live, interrupts: &Interrupts) -> Result<Session, Error> {
    let events = EventFiles::read(&options.event)?;
    let extensions = extensions(&options.extension)?;
    options.freezer.check()?;
    let folder = RunFolder::create(Path::new("reports"), "lambda")?;
    let spawner = Spawner::start(Some(Path::new("/proc/self/exe")));
    let spawner = spawner.map_err(|error| Error::setup("the thread for processes", error))?;
    let (recorder, stream) = Recorder::new();
    let printing = print(stream, Printer::new(options.json));
    let stage =
        Stage { options, extensions, folder: &folder, spawner: spawner.clone(), recorder: recorder.clone(), live };
    let done = tokio::select! {
        biased;
        () = interrupts.abandon.cancelled() => Err(Error::Interrupted),
        done = stage.perform(events, &interrupts.stop) => done,
    };
    spawner.kill_all();
    recorder.finish().await;
    let mut session = printing.await.map_err(|error| Error::Internal(error.to_string()))?;
    if recorder.refused() > 0 {
        tracing::warn!(events = recorder.refused(), "refused because too many waited: the figures are not whole");
        session.lost += recorder.refused();
    }
    done.map(|()| session)
}

/// Extensions, each named as its file.
fn extensions(files: &[PathBuf]) -> Result<Vec<ExtensionSpec>, Error> {
    let mut extensions: Vec<ExtensionSpec> = Vec::new();
    for file in files {
        let (Some(name), Some(path)) = (file.file_name().and_then(OsStr::to_str), file.to_str()) else {
            return Err(Error::Usage(format!("the extension {} is no file with a name in UTF-8", file.display())));
        };
        if extensions.iter().any(|extension| extension.name == name) {
            return Err(Error::Usage(format!("there are two extensions of the name {name}")));
        }
        // Without a slash it would be looked for in the PATH.
        let command = vec![if path.contains('/') { path.to_owned() } else { format!("./{path}") }];
        extensions.push(ExtensionSpec { name: name.to_owned(), command, env: Vec::new() });
    }
    Ok(extensions)
}

/// Shows events as they come, until the last.
fn print(mut events: mpsc::Receiver<Event>, mut printer: Printer) -> JoinHandle<Session> {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if printer.take(&event) {
                break;
            }
        }
        printer.finish()
    })
}

struct Stage<'a> {
    options: &'a Lambda,
    extensions: Vec<ExtensionSpec>,
    folder: &'a RunFolder,
    spawner: Spawner,
    recorder: Recorder,
    live: &'a Live,
}

impl Stage<'_> {
    async fn perform(&self, events: EventFiles, stop: &CancellationToken) -> Result<(), Error> {
        let collector = Collector::plaintext(self.recorder.clone());
        self.live.say("Logs", &self.folder.logs().display().to_string());
        match &self.options.queue {
            Some(queue) => self.poll(queue, &collector, stop).await?,
            None => self.invoke(events, &collector, stop).await?,
        }
        collector.close().await;
        Ok(())
    }

    /// Invokes the function with events, several at a time.
    async fn invoke(&self, events: EventFiles, collector: &Collector, stop: &CancellationToken) -> Result<(), Error> {
        let function = Arc::new(self.function(collector));
        // A function that cannot start is told at once, and with what it printed.
        let first = Environment::start(&function, AfterInit::Freeze).await.map_err(unusable)?;
        let jobs = Arc::new(events.jobs(self.options.invocations));
        let mut workers = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..self.options.concurrency {
            let worker = Worker { function: Arc::clone(&function), jobs: Arc::clone(&jobs), gap: self.options.gap };
            workers.spawn(worker.work(first.take(), stop.clone()));
        }
        while let Some(worked) = workers.join_next().await {
            worked.map_err(|error| Error::Internal(error.to_string()))?.map_err(unusable)?;
        }
        Ok(())
    }

    /// Invokes the function with what is sent to a queue.
    async fn poll(&self, name: &str, collector: &Collector, stop: &CancellationToken) -> Result<(), Error> {
        let (queues, _api, endpoint) = self.serve_queue().await?;
        let settings = QueueSettings { visibility_timeout: self.visibility_timeout(), max_receive_count: None };
        let url = queues.provide(name, settings).await.map_err(|error| Error::setup(format!("queue {name}"), error))?;
        let mut source = EventSource::new(self.function(collector), Arc::new(queues), self.mapping(name));
        source.prewarm().await.map_err(unusable)?;
        source.start();
        self.live.say("Polling", &format!("{url}, until Ctrl-C"));
        self.live.say("Send", &format!("AWS_ENDPOINT_URL_SQS={endpoint} aws sqs send-message --queue-url {url} ..."));
        stop.cancelled().await;
        source.stop(STOPPED_WITHIN).await.map_err(|error| Error::Internal(error.to_string()))
    }

    async fn serve_queue(&self) -> Result<(Queues, DropGuard, String), Error> {
        let no_port = |error| Error::setup("no port for the queue", error);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(no_port)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(no_port)?);
        let queues = Queues::local(QueuesConfig {
            endpoint: endpoint.clone(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            correlation: Correlation::default(),
            recorder: self.recorder.clone(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(queue::serve(listener, queues.clone(), stop.clone().cancelled_owned()));
        Ok((queues, stop.drop_guard(), endpoint))
    }

    fn visibility_timeout(&self) -> Duration {
        Duration::from_secs((self.options.timeout * VISIBILITY_TIMEOUTS).as_secs().max(1))
    }

    fn mapping(&self, queue: &str) -> EventSourceSpec {
        EventSourceSpec {
            queue: queue.to_owned(),
            queue_arn: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
            visibility_timeout: self.visibility_timeout(),
            batch_size: self.options.batch_size as usize,
            max_concurrency: self.options.concurrency as usize,
            reports_item_failures: true,
            behaviour: Behaviour::default(),
        }
    }

    fn function(&self, collector: &Collector) -> Function {
        let wiring = EnvironmentWiring {
            collector: collector.clone(),
            conditions: Conditions { latency: self.options.latency },
            env: otlp(),
            values: Values::new(),
        };
        Function::new(self.spec(), self.spawner.clone(), self.recorder.clone(), Arc::new(wiring))
    }

    fn spec(&self) -> FunctionSpec {
        let options = self.options;
        FunctionSpec {
            name: NAME.to_owned(),
            command: options.command.clone(),
            directory: std::env::current_dir().unwrap_or_default(),
            env: options.variables.clone(),
            timeout: options.timeout,
            init_timeout: INIT_TIMEOUT,
            memory_mb: options.memory,
            recycling: options.recycle_after.map_or(Recycling::Never, Recycling::After),
            platform: Platform { freezer: options.freezer, ..Platform::default() },
            extensions: self.extensions.clone(),
            account: Account {
                id: ACCOUNT.to_owned(),
                region: REGION.to_owned(),
                access_key_id: ACCESS_KEY_ID.to_owned(),
                secret_access_key: "local".to_owned(),
            },
            logs: self.folder.logs(),
        }
    }
}

/// The variables that lead an exporter to the endpoint (OpenTelemetry Protocol Exporter specification).
fn otlp() -> Vec<(String, Template)> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "{otlp.endpoint}"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer local"),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), Template::parse(value))).collect()
}

fn unusable(failure: InitFailure) -> Error {
    Error::Setup(failure.to_string())
}

/// Makes invocations one after another, in an environment of its own.
struct Worker {
    function: Arc<Function>,
    jobs: Arc<Jobs>,
    gap: Duration,
}

impl Worker {
    async fn work(self, mut environment: Option<Environment>, stop: CancellationToken) -> Result<(), InitFailure> {
        while !stop.is_cancelled() {
            let Some(event) = self.jobs.next() else { break };
            let ready = match environment.take() {
                Some(environment) => environment,
                None => Environment::start(&self.function, AfterInit::Invoke).await?,
            };
            environment = keep(ready.invoke(&invocation(event)).await.environment).await;
            tokio::select! {
                () = tokio::time::sleep(self.gap) => {}
                () = stop.cancelled() => {}
            }
        }
        if let Some(environment) = environment {
            environment.end().await;
        }
        Ok(())
    }
}

/// An environment for its next invocation, unless it has done as many as it was meant for.
async fn keep(environment: Option<Environment>) -> Option<Environment> {
    match environment {
        Some(environment) if environment.is_worn_out() => {
            environment.end().await;
            None
        }
        environment => environment,
    }
}

fn invocation(event: Bytes) -> Invocation {
    Invocation { deliveries: Vec::new(), event, failures: Box::new(|_| Vec::new()) }
}
