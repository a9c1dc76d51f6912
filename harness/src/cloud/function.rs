//! A function: how its execution environments are started, and what they find there.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;
use verifier::EnvironmentId;
use verifier::event::Cut;

use super::network::Network;
use crate::journal::Recorder;
use crate::target::freezer::Freezer;
use crate::target::{ProcessSpec, Spawner};

/// How long Init may take on demand (AWS Lambda developer guide, "Init phase").
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of how many of a function's environments what they print is written to files. Of all others, the
/// last lines are kept, and are in the journal if they die by themselves.
const WRITTEN_LOGS: u32 = 100;

/// An error of somebody else's.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a function is.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionSpec {
    /// Its name in the manifest.
    pub name: String,
    /// The program of its runtime, and the arguments.
    pub command: Vec<String>,
    /// The folder that it starts in, its `LAMBDA_TASK_ROOT`.
    pub directory: PathBuf,
    /// Its own environment variables. Names that Lambda reserves are overruled.
    pub env: Vec<(String, String)>,
    /// How long an invocation may take.
    pub timeout: Duration,
    /// How long Init may take, [`INIT_TIMEOUT`] on AWS.
    pub init_timeout: Duration,
    /// How much memory it is said to have, in MB.
    pub memory_mb: u32,
    /// How long an environment is used.
    pub recycling: Recycling,
    /// How the platform treats it.
    pub platform: Platform,
    /// Extensions that run as processes of their own beside its runtime.
    pub extensions: Vec<ExtensionSpec>,
    /// The AWS account and credentials that it sees.
    pub account: Account,
    /// The folder for what its environments print, one file each.
    pub logs: PathBuf,
}

/// How the platform treats a function's environments. The default is the strictest and needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Platform {
    /// How environments are frozen.
    pub freezer: Freezer,
    /// How long the platform takes to get ready before it starts anything; without it, no time at all.
    pub delay: Option<PlatformDelay>,
    /// Which environments are killed at a random moment.
    pub kills: Option<Kills>,
    /// What happens to the connections of an environment while it is frozen.
    pub cuts: Option<Cuts>,
    /// How many environments are kept initialised ahead of their use (provisioned concurrency).
    pub provisioned: u32,
}

/// A distribution of what the platform takes before it starts anything: log-normal, seeded for each
/// environment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlatformDelay {
    /// The median.
    pub median: Duration,
    /// The standard deviation of the delay's natural logarithm.
    pub sigma: f64,
    /// The run's seed.
    pub seed: u64,
}

/// Orders to kill environments, each at a random moment of its life, drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kills {
    /// The share of environments that are killed, 0 to 1.
    pub share: f64,
    /// The run's seed.
    pub seed: u64,
}

/// Orders to cut the connections of environments while they are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// How they are cut.
    pub how: Cut,
    /// After which invocation of an environment, counted from 1. Every environment's are cut once.
    pub after: NonZeroU32,
}

/// An external extension: on AWS, an executable file in `/opt/extensions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionSpec {
    /// Its name: on AWS, that of its file.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its own environment variables.
    pub env: Vec<(String, String)>,
}

/// The AWS account that a function is made to believe in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's number, of 12 digits.
    pub id: String,
    /// The region.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
}

/// After how many invocations an environment is ended, frozen as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycling {
    /// It is used until the run ends.
    Never,
    /// After exactly so many.
    After(NonZeroU32),
    /// After any number from 1 to twice the mean less 1, drawn from the seed for each environment.
    Around {
        /// The mean.
        mean: NonZeroU32,
        /// The run's seed.
        seed: u64,
    },
}

impl Recycling {
    /// How many invocations the environment with this number is good for; nothing means: any number.
    pub fn lifetime(self, environment: u32) -> Option<NonZeroU32> {
        match self {
            Self::Never => None,
            Self::After(invocations) => Some(invocations),
            Self::Around { mean, seed } => {
                // Seeded per environment: the order in which they start does not matter then.
                let mut random = StdRng::seed_from_u64(seed ^ u64::from(environment).rotate_left(32));
                NonZeroU32::new(random.random_range(1..=mean.get().saturating_mul(2) - 1))
            }
        }
    }
}

/// Connects an execution environment to what it needs, an endpoint of its own above all.
pub trait Wiring: Send + Sync + 'static {
    /// Called before the environment's process is started.
    fn wire<'a>(&'a self, environment: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>>;
}

/// What an execution environment was connected to.
pub struct Wired {
    /// Further environment variables; they overrule the function's own.
    pub env: Vec<(String, String)>,
    /// The way to the endpoint.
    pub network: Network,
    /// Dropped when the environment's process has ended.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may hold secrets.
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Wired").field("env", &names).finish_non_exhaustive()
    }
}

/// A function that can be started, once per execution environment.
pub struct Function {
    /// What it is.
    pub(super) spec: FunctionSpec,
    pub(super) spawner: Spawner,
    pub(super) recorder: Recorder,
    pub(super) wiring: Arc<dyn Wiring>,
    environments: AtomicU32,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl Function {
    /// A function of which nothing runs yet.
    pub fn new(spec: FunctionSpec, spawner: Spawner, recorder: Recorder, wiring: Arc<dyn Wiring>) -> Self {
        Self { spec, spawner, recorder, wiring, environments: AtomicU32::new(0) }
    }

    /// What it is.
    pub fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    /// Its name as AWS knows it, without a version.
    pub fn arn(&self) -> String {
        let Account { region, id, .. } = &self.spec.account;
        format!("arn:aws:lambda:{region}:{id}:function:{}", self.spec.name)
    }

    /// The number of the next environment, counted from 1.
    pub(super) fn next_number(&self) -> u32 {
        self.environments.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn environment_id(&self, number: u32) -> EnvironmentId {
        EnvironmentId::new(format!("{}-{number}", self.spec.name))
    }

    /// How the process of an environment is started.
    pub(super) fn process(&self, id: &EnvironmentId, number: u32, api: SocketAddr, wired: &Wired) -> ProcessSpec {
        let own = self.spec.env.iter().chain(&wired.env).filter(|(name, _)| !is_reserved(name)).cloned();
        // Of variables that are set twice, the last counts.
        let env = unreserved_variables().chain(own).chain(reserved_variables(&self.spec, api)).collect();
        let log = (number <= WRITTEN_LOGS).then(|| self.spec.logs.join(format!("{id}.log")));
        ProcessSpec {
            command: self.spec.command.clone(),
            directory: self.spec.directory.clone(),
            env,
            log,
            freezer: self.spec.platform.freezer,
        }
    }
}

/// Names that a function's own variables cannot have, because Lambda sets them ("Using Lambda
/// environment variables" in the developer guide, reserved ones).
pub const RESERVED_VARIABLES: [&str; 21] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Whether Lambda sets this variable itself.
pub fn is_reserved(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

/// The reserved variables as Lambda sets them for a custom runtime (`provided.al2023`).
fn reserved_variables(spec: &FunctionSpec, api: SocketAddr) -> impl Iterator<Item = (String, String)> {
    let Account { region, access_key_id, secret_access_key, .. } = &spec.account;
    let variables = [
        ("_HANDLER", "bootstrap".to_owned()),
        ("AWS_ACCESS_KEY_ID", access_key_id.clone()),
        ("AWS_DEFAULT_REGION", region.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", spec.memory_mb.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", spec.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", spec.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", log_stream_name(SystemTime::now())),
        ("AWS_LAMBDA_RUNTIME_API", api.to_string()),
        ("AWS_REGION", region.clone()),
        ("AWS_SECRET_ACCESS_KEY", secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", "local".to_owned()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        // /var/task on AWS: wherever it is, it is the folder with the function's code.
        ("LAMBDA_TASK_ROOT", spec.directory.display().to_string()),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// The other variables that Lambda sets, which a function's own overrule.
fn unreserved_variables() -> impl Iterator<Item = (String, String)> {
    let variables = [
        ("AWS_LAMBDA_LOG_FORMAT", "Text"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000"),
        ("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129"),
        ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ("LANG", "en_US.UTF-8"),
        ("LD_LIBRARY_PATH", "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"),
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("TZ", ":UTC"),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// `YYYY/MM/DD/[$LATEST]` and 32 hex digits.
fn log_stream_name(now: SystemTime) -> String {
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let day = now.split('T').next().unwrap_or_default().replace('-', "/");
    format!("{day}/[$LATEST]{}", Uuid::new_v4().simple())
}

/// X-Ray's header, as real Lambda sends it with every invocation even when X-Ray is off: a tracer
/// that takes it for its parent loses the trace, and that has to show here as well.
pub(super) fn xray_header(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let root = format!("{:032x}", Uuid::new_v4().as_u128());
    let parent = Uuid::new_v4().as_u64_pair().0;
    format!("Root=1-{seconds:08x}-{};Parent={parent:016x};Sampled=0;Lineage=1:{:08x}:0", &root[8..], parent >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unwired;

    impl Wiring for Unwired {
        fn wire<'a>(&'a self, _: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
            Box::pin(async { Ok(Wired { env: Vec::new(), network: Network::default(), guard: Box::new(()) }) })
        }
    }

    fn spec() -> FunctionSpec {
        FunctionSpec {
            name: "worker".to_owned(),
            command: vec!["worker".to_owned()],
            directory: "/srv".into(),
            env: vec![
                ("AWS_REGION".to_owned(), "moon-1".to_owned()),
                ("TZ".to_owned(), "CET".to_owned()),
                ("COLOUR".to_owned(), "blue".to_owned()),
            ],
            timeout: Duration::from_secs(3),
            init_timeout: INIT_TIMEOUT,
            memory_mb: 512,
            recycling: Recycling::Never,
            platform: Platform::default(),
            extensions: Vec::new(),
            account: Account {
                id: "123456789012".to_owned(),
                region: "eu-west-1".to_owned(),
                access_key_id: "key".to_owned(),
                secret_access_key: "secret".to_owned(),
            },
            logs: "/tmp".into(),
        }
    }

    fn process(wired: &[(&str, &str)]) -> ProcessSpec {
        let function = Function::new(spec(), Spawner::start(None).unwrap(), Recorder::new().0, Arc::new(Unwired));
        let env = wired.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wired = Wired { env, network: Network::default(), guard: Box::new(()) };
        function.process(&EnvironmentId::new("worker-1"), 1, SocketAddr::from(([127, 0, 0, 1], 9001)), &wired)
    }

    fn value<'a>(process: &'a ProcessSpec, name: &str) -> Option<&'a str> {
        let mut values = process.env.iter().rev().filter(|(set, _)| set == name).map(|(_, value)| value.as_str());
        values.next()
    }

    #[test]
    fn reserved_variables_are_lambdas_and_others_the_functions() {
        let process = process(&[("COLOUR", "red"), ("AWS_LAMBDA_RUNTIME_API", "elsewhere")]);
        assert_eq!(value(&process, "AWS_REGION"), Some("eu-west-1"));
        assert_eq!(value(&process, "AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:9001"));
        assert_eq!(value(&process, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), Some("512"));
        assert_eq!(value(&process, "TZ"), Some("CET"));
        assert_eq!(value(&process, "COLOUR"), Some("red"));
        assert_eq!(value(&process, "HOME"), None);
    }

    #[test]
    fn log_stream_name_begins_with_the_day() {
        let name = log_stream_name(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400));
        let (day, instance) = name.split_once("/[$LATEST]").unwrap();
        assert_eq!((day, instance.len()), ("1970/01/02", 32));
    }

    #[test]
    fn xray_header_is_never_sampled() {
        let header = xray_header(SystemTime::UNIX_EPOCH + Duration::from_secs(0x1234));
        assert!(header.starts_with("Root=1-00001234-"), "{header}");
        let root = header.split(';').next().unwrap();
        assert_eq!(root.len(), "Root=1-".len() + 8 + 1 + 24);
        assert!(header.contains(";Sampled=0;"), "{header}");
    }

    #[test]
    fn lifetime_around_a_mean_depends_on_seed_and_environment_alone() {
        let mean = NonZeroU32::new(3).unwrap();
        let lifetimes = |seed| {
            let recycling = Recycling::Around { mean, seed };
            (1..=50).map(|number| recycling.lifetime(number).unwrap().get()).collect::<Vec<_>>()
        };
        assert_eq!(lifetimes(7), lifetimes(7));
        assert_ne!(lifetimes(7), lifetimes(8));
        assert!((1..=5).all(|lifetime| lifetimes(7).contains(&lifetime)));
        assert!(lifetimes(7).into_iter().all(|lifetime| (1..=5).contains(&lifetime)));
    }
}
