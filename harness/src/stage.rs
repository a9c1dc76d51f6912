//! What a run stands on: the endpoint, the local cloud, and the system under test on top of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::TcpListener as StdListener;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use mock_coralogix::TlsIdentity;
use uuid::Uuid;
use verifier::event::ProcessEnd;
use verifier::{EventKind, Peer};

use crate::cloud::event_source::{Behaviour, Choice, EventSource, EventSourceSpec};
use crate::cloud::function::{
    Account, ExtensionSpec, Function, FunctionSpec, INIT_TIMEOUT, Kills, Platform, PlatformDelay, Recycling,
};
use crate::cloud::network::Conditions;
use crate::cloud::queue::{FaultGuard, MessageFault, Queues};
use crate::collect::{Collector, EnvironmentWiring, Listener, render_env};
use crate::error::Error;
use crate::fault::FaultName;
use crate::folder::RunFolder;
use crate::journal::Recorder;
use crate::load::LoadPlan;
use crate::manifest;
use crate::mask::Mask;
use crate::report::live::Live;
use crate::run::Plan;
use crate::scenario::EnvironmentChoice;
use crate::sqs::RunQueues;
use crate::target::freezer::Freezer;
use crate::target::{ProcessSpec, Service, ServiceSpec, Spawner, build};
use crate::template::{MissingValue, Template, Values};

/// The account and region that a system is made to believe in.
pub(crate) const ACCOUNT: &str = "123456789012";
/// See [`ACCOUNT`].
pub(crate) const REGION: &str = "us-east-1";
/// See [`ACCOUNT`].
pub(crate) const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// How long a service may take to be healthy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);
/// The spread of the platform's delay: with it, one environment in twenty takes longer than 2.3 times
/// the median, which is about what is told of cold starts on AWS.
const PLATFORM_DELAY_SIGMA: f64 = 0.5;
/// How long the invocations that the drain has not waited for may still take.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// One message in how many has its body corrupted, if that is asked for.
const CORRUPTED_ONE_IN: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// What must not be seen in any file of the run.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The API key that the endpoint knows.
    api_key: String,
    /// One that it does not know.
    wrong_key: String,
    /// The secret access key that the system is given for SQS.
    aws_secret: String,
}

impl Secrets {
    /// New ones, for one run.
    pub fn generate() -> Self {
        let secret = |prefix: &str| format!("{prefix}_{}", Uuid::new_v4().simple());
        Self { api_key: secret("cxtp"), wrong_key: secret("cxtp"), aws_secret: secret("aws") }
    }

    /// Keeps them out of files.
    pub fn mask(&self) -> Mask {
        Mask::new([self.api_key.clone(), self.wrong_key.clone(), self.aws_secret.clone()])
    }
}

/// Everything that runs during a load.
pub struct Stage {
    collector: Collector,
    queues: Queues,
    values: Values,
    services: BTreeMap<String, Running>,
    functions: Vec<EventSource<Queues>>,
    /// What is done on purpose, until the end.
    _faults: Vec<FaultGuard>,
}

/// A service in use, and the listener for its exports.
struct Running {
    service: Service,
    _listener: Listener,
}

/// What is needed to set a stage up.
struct Builder<'a> {
    plan: &'a Plan,
    folder: &'a RunFolder,
    spawner: &'a Spawner,
    recorder: &'a Recorder,
    secrets: &'a Secrets,
    queues: &'a RunQueues,
    live: &'a Live,
}

impl Stage {
    /// Sets everything up and starts the system: its services are healthy, and one environment of
    /// each function is initialised ahead of its use.
    ///
    /// # Errors
    /// The first thing that could not be had, or did not start.
    pub async fn set_up(
        plan: &Plan,
        folder: &RunFolder,
        spawner: &Spawner,
        recorder: &Recorder,
        secrets: &Secrets,
        queues: &RunQueues,
        live: &Live,
    ) -> Result<Self, Error> {
        let builder = Builder { plan, folder, spawner, recorder, secrets, queues, live };
        let mut stage = builder.ground().await?;
        for (name, service) in &plan.manifest.services {
            live.say("Starting", &format!("service {name}"));
            let running = builder.start_service(&stage, name, service).await?;
            stage.services.insert(name.clone(), running);
        }
        for (name, function) in &plan.manifest.functions {
            live.say("Starting", &format!("function {name}"));
            let source = builder.start_function(&stage, name, function).await?;
            stage.functions.push(source);
        }
        Ok(stage)
    }

    /// Lets messages be delivered.
    pub fn start_polling(&mut self) {
        self.functions.iter_mut().for_each(EventSource::start);
    }

    /// What the manifest wants to be sent, to where its service is.
    pub fn load_plan(&self, plan: &Plan) -> LoadPlan {
        let manifest = &plan.manifest;
        let address = self.services.get(&manifest.request.service).map(|running| running.service.address());
        let base_url = address.map_or_else(String::new, |address| format!("http://{address}"));
        LoadPlan::new(manifest, &plan.scenario.load, base_url, &self.values, plan.tag())
    }

    /// Waits until a service has died by itself.
    pub async fn service_died(&self) -> Died {
        let deaths = self.services.values().map(|running| {
            Box::pin(async {
                let end = running.service.ended().await;
                Died { service: running.service.name().to_owned(), end }
            })
        });
        let (died, ..) = select_all(deaths).await;
        died
    }

    /// Stops services with SIGTERM, and waits until they have ended.
    pub async fn stop_services(&mut self) {
        let services = std::mem::take(&mut self.services);
        join_all(services.into_values().map(Running::stop)).await;
    }

    /// Ends environments with SIGKILL, frozen as they are, and waits for all that was exported.
    pub async fn stop_functions(self, recorder: &Recorder) {
        for function in self.functions {
            let name = function.function().to_owned();
            if let Err(error) = function.stop(STOPPED_WITHIN).await {
                let what = format!("function {name} that did not stop cleanly: {error}");
                recorder.record(EventKind::EvidenceLost { what, count: 1 });
            }
        }
        self.collector.close().await;
    }
}

/// A service that has ended by itself.
#[derive(Debug, Clone)]
pub struct Died {
    /// Its name in the manifest.
    pub service: String,
    /// How it ended.
    pub end: ProcessEnd,
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {} ended with {}", self.service, self.end)
    }
}

impl Running {
    async fn stop(self) {
        self.service.stop().await;
    }
}

impl Builder<'_> {
    /// The endpoint and the queues.
    async fn ground(&self) -> Result<Stage, Error> {
        let identity =
            TlsIdentity::generate().map_err(|error| Error::setup("no certificate for the endpoint", error))?;
        let ca_file = self.write_ca(&identity)?;
        let collector = Collector::new(self.recorder.clone(), &self.secrets.api_key, identity, self.secrets.mask());
        let values = self.values(&ca_file, &self.queues.endpoint);
        let values = self.queues.create(&self.plan.manifest, values, self.live).await?;
        let queues = self.queues.queues.clone();
        let faults = self.plan.faults.iter().filter_map(|fault| self.message_fault(*fault));
        let faults = faults.map(|fault| queues.inject(fault)).collect();
        Ok(Stage { collector, queues, values, services: BTreeMap::new(), functions: Vec::new(), _faults: faults })
    }

    /// What the queues are to do to messages, if this fault is theirs.
    fn message_fault(&self, fault: FaultName) -> Option<MessageFault> {
        match fault {
            FaultName::StripContext => Some(MessageFault::StripContext),
            FaultName::CorruptBody => {
                Some(MessageFault::CorruptBody { one_in: CORRUPTED_ONE_IN, seed: self.plan.seed })
            }
            FaultName::WrongKey => None,
        }
    }

    fn write_ca(&self, identity: &TlsIdentity) -> Result<PathBuf, Error> {
        let file = self.folder.path().join("ca.pem");
        std::fs::write(&file, identity.ca_pem())
            .map_err(|error| Error::file("the certificate cannot be written:", &file, &error))?;
        std::path::absolute(&file).map_err(|error| Error::file("the certificate has no absolute path:", &file, &error))
    }

    /// The values that are the same for every process.
    fn values(&self, ca_file: &std::path::Path, sqs_endpoint: &str) -> Values {
        let wrong = self.plan.faults.contains(&FaultName::WrongKey);
        let api_key = if wrong { &self.secrets.wrong_key } else { &self.secrets.api_key };
        build::values()
            .with("aws.access_key_id", ACCESS_KEY_ID)
            .with("aws.region", REGION)
            .with("aws.secret_access_key", &*self.secrets.aws_secret)
            .with("otlp.api_key", api_key)
            .with("otlp.ca_file", ca_file.to_string_lossy())
            .with("run.id", self.folder.id())
            .with("sqs.endpoint", sqs_endpoint)
    }

    async fn start_service(&self, stage: &Stage, name: &str, service: &manifest::Service) -> Result<Running, Error> {
        let failed = |error: &dyn std::error::Error| Error::setup(format!("service {name}"), error);
        let peer = Peer::Service(name.to_owned());
        let listener = stage.collector.listen(peer, Conditions::default()).await.map_err(|error| failed(&error))?;
        let port = free_port().map_err(|error| failed(&error))?;
        let values = listener.add_to(stage.values.clone()).with("service.port", port.to_string());
        let spec = self.service_spec(name, service, port, &values).map_err(|error| failed(&error))?;
        let started = Service::start(self.spawner, self.recorder, spec).await;
        Ok(Running { service: started.map_err(|error| Error::Setup(error.to_string()))?, _listener: listener })
    }

    fn service_spec(
        &self,
        name: &str,
        service: &manifest::Service,
        port: u16,
        values: &Values,
    ) -> Result<ServiceSpec, MissingValue> {
        let manifest = &self.plan.manifest;
        let command = manifest.command_line(&service.command, values)?;
        let env: Vec<_> = manifest.service_env(service).into_iter().collect();
        Ok(ServiceSpec {
            name: name.to_owned(),
            process: ProcessSpec {
                directory: command.folder.clone(),
                command: command.into_words(),
                env: with_path(render_env(&env, values)?),
                log: Some(self.folder.logs().join(format!("{name}.log"))),
                freezer: Freezer::default(),
            },
            port,
            health: service.health.as_ref().map(|path| path.render(values)).transpose()?,
            start_timeout: HEALTHY_WITHIN,
            stop_timeout: service.stop_timeout,
        })
    }

    async fn start_function(
        &self,
        stage: &Stage,
        name: &str,
        function: &manifest::Function,
    ) -> Result<EventSource<Queues>, Error> {
        let missing = |error| Error::setup(format!("function {name}"), error);
        let env: Vec<(String, Template)> = self.plan.manifest.function_env(function).into_iter().collect();
        let wiring = EnvironmentWiring {
            collector: stage.collector.clone(),
            conditions: Conditions { latency: self.plan.scenario.network.latency },
            env,
            values: stage.values.clone(),
        };
        let spec = self.function_spec(name, function, &stage.values).map_err(missing)?;
        let mapping = EventSourceSpec {
            queue: function.queue.clone(),
            queue_arn: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", function.queue),
            visibility_timeout: self.visibility_timeout_of(&function.queue),
            batch_size: function.batch_size as usize,
            max_concurrency: function.max_concurrency as usize,
            reports_item_failures: function.report_batch_item_failures,
            behaviour: self.behaviour(function),
        };
        let runtime = Function::new(spec, self.spawner.clone(), self.recorder.clone(), Arc::new(wiring));
        let source = EventSource::new(runtime, Arc::new(stage.queues.clone()), mapping);
        source.prewarm().await.map_err(|failure| Error::Setup(failure.to_string()))?;
        Ok(source)
    }

    /// A queue that is not in the manifest is refused when that is read.
    fn visibility_timeout_of(&self, queue: &str) -> Duration {
        self.plan.manifest.queues.get(queue).map_or(Duration::ZERO, |queue| queue.visibility_timeout)
    }

    fn function_spec(
        &self,
        name: &str,
        function: &manifest::Function,
        values: &Values,
    ) -> Result<FunctionSpec, MissingValue> {
        let command = self.plan.manifest.command_line(&function.command, values)?;
        let mean = self.plan.scenario.lambda.recycle_after.and_then(NonZeroU32::new);
        Ok(FunctionSpec {
            name: name.to_owned(),
            directory: command.folder.clone(),
            command: command.into_words(),
            // All of them may name the environment, so they come from the wiring.
            env: Vec::new(),
            timeout: function.timeout,
            init_timeout: INIT_TIMEOUT,
            memory_mb: function.memory_mb,
            recycling: mean.map_or(Recycling::Never, |mean| Recycling::Around { mean, seed: self.plan.seed }),
            platform: self.platform(function),
            extensions: self.extensions(function, values)?,
            account: Account {
                id: ACCOUNT.to_owned(),
                region: REGION.to_owned(),
                access_key_id: ACCESS_KEY_ID.to_owned(),
                secret_access_key: self.secrets.aws_secret.clone(),
            },
            logs: self.folder.logs(),
        })
    }
}

/// How the scenario wants functions to be treated.
impl Builder<'_> {
    fn behaviour(&self, function: &manifest::Function) -> Behaviour {
        let lambda = &self.plan.scenario.lambda;
        Behaviour {
            batch_window: function.batch_window,
            choice: match lambda.choice {
                EnvironmentChoice::MostRecentlyUsed => Choice::MostRecentlyUsed,
                EnvironmentChoice::LeastRecentlyUsed => Choice::LeastRecentlyUsed,
                EnvironmentChoice::Random => Choice::Random { seed: self.plan.seed },
            },
            scaling: lambda.scaling,
            idle_timeout: lambda.idle_timeout,
            reserved_concurrency: function.reserved_concurrency,
        }
    }

    fn platform(&self, function: &manifest::Function) -> Platform {
        let (lambda, seed) = (&self.plan.scenario.lambda, self.plan.seed);
        Platform {
            freezer: lambda.freezer,
            freeze_delay: lambda.freeze_delay,
            delay: lambda.platform_delay.map(|median| PlatformDelay { median, sigma: PLATFORM_DELAY_SIGMA, seed }),
            kills: (lambda.kill > 0.0).then_some(Kills { share: lambda.kill, seed }),
            cuts: self.plan.scenario.network.cut,
            provisioned: function.provisioned_concurrency,
        }
    }

    fn extensions(&self, function: &manifest::Function, values: &Values) -> Result<Vec<ExtensionSpec>, MissingValue> {
        let extension = |(name, extension): (&String, &manifest::Extension)| {
            let command = self.plan.manifest.command_line(&extension.command, values)?.into_words();
            let env: Vec<_> = extension.env.clone().into_iter().collect();
            Ok(ExtensionSpec { name: name.clone(), command, env: render_env(&env, values)? })
        };
        function.extensions.iter().map(extension).collect()
    }
}

/// A port that nobody listens on just now.
fn free_port() -> std::io::Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A service finds programs where the harness does, unless its manifest says otherwise.
fn with_path(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    if let (false, Ok(path)) = (env.iter().any(|(name, _)| name == "PATH"), std::env::var("PATH")) {
        env.push(("PATH".to_owned(), path));
    }
    env
}
