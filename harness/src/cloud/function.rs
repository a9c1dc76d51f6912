//! A function: how its execution environments are started, and what they find there.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use uuid::Uuid;
use verifier::EnvironmentId;

use super::network::Network;
pub use super::platform::{Cuts, Kills, Platform, PlatformDelay, Recycling};
use super::variables;
pub use super::variables::{RESERVED_VARIABLES, is_reserved};
use crate::journal::Recorder;
use crate::target::{ProcessSpec, Spawner};

/// How long Init may take on demand (AWS Lambda developer guide, "Init phase").
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Init may take with provisioned concurrency, at least: a longer time-out of the function
/// counts for it as well (same source).
const PROVISIONED_INIT_TIMEOUT: Duration = Duration::from_secs(130);
/// The longest time-out that a function can have.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);
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

impl FunctionSpec {
    /// What `_HANDLER` is, by which clients find the function's code: for an image its `CMD`, which is the
    /// last argument here; a program without arguments is its own handler.
    pub fn handler(&self) -> &str {
        match self.command.as_slice() {
            [_, .., handler] => handler,
            _ => "bootstrap",
        }
    }
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

    /// How long the Init phase of an environment may take.
    pub(super) fn init_limit(&self, initialization: Initialization) -> Duration {
        match initialization {
            Initialization::OnDemand => self.spec.init_timeout,
            Initialization::Provisioned => PROVISIONED_INIT_TIMEOUT.max(self.spec.timeout.min(LONGEST_TIMEOUT)),
        }
    }

    /// How the runtime of an environment is started.
    pub(super) fn runtime(&self, place: &Place<'_>) -> ProcessSpec {
        let own = self.spec.env.iter().chain(&place.wired.env).cloned();
        self.process(&self.spec.command, variables::of_runtime(&self.spec, place, own), place, "")
    }

    /// How an external extension of an environment is started.
    pub(super) fn extension(&self, extension: &ExtensionSpec, place: &Place<'_>) -> ProcessSpec {
        let own = self.spec.env.iter().chain(&place.wired.env).chain(&extension.env).cloned();
        let env = variables::of_extension(&self.spec, place, own);
        self.process(&extension.command, env, place, &format!("-{}", extension.name))
    }

    fn process(&self, command: &[String], env: Vec<(String, String)>, place: &Place<'_>, suffix: &str) -> ProcessSpec {
        let is_written = place.number <= WRITTEN_LOGS;
        // One that is started again does not write over what it wrote before.
        let start = if place.start == 1 { String::new() } else { format!(".{}", place.start) };
        let log = is_written.then(|| self.spec.logs.join(format!("{}{suffix}{start}.log", place.environment)));
        let (command, directory) = (command.to_owned(), self.spec.directory.clone());
        ProcessSpec { command, directory, env, log, freezer: self.spec.platform.freezer }
    }
}

/// How an environment comes to be initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initialization {
    /// Because there is something to do for it.
    OnDemand,
    /// Ahead of its use, because that was paid for.
    Provisioned,
}

/// Where a process of an environment is started.
pub(super) struct Place<'a> {
    pub(super) environment: &'a EnvironmentId,
    /// The environment's number, counted from 1.
    pub(super) number: u32,
    /// The how many-th start of the environment this is, counted from 1.
    pub(super) start: u32,
    pub(super) initialization: Initialization,
    pub(super) api: SocketAddr,
    pub(super) log_stream: &'a str,
    pub(super) wired: &'a Wired,
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
pub(super) mod tests {
    use super::*;

    struct Unwired;

    impl Wiring for Unwired {
        fn wire<'a>(&'a self, _: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
            Box::pin(async { Ok(wired(&[])) })
        }
    }

    pub(in crate::cloud) fn wired(env: &[(&str, &str)]) -> Wired {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wired { env, network: Network::default(), guard: Box::new(()) }
    }

    pub(in crate::cloud) fn spec() -> FunctionSpec {
        FunctionSpec {
            name: "worker".to_owned(),
            command: vec!["worker".to_owned()],
            directory: "/srv".into(),
            env: Vec::new(),
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

    pub(in crate::cloud) fn place<'a>(environment: &'a EnvironmentId, wired: &'a Wired) -> Place<'a> {
        Place {
            environment,
            number: 1,
            start: 1,
            initialization: Initialization::OnDemand,
            api: SocketAddr::from(([127, 0, 0, 1], 9001)),
            log_stream: "2026/01/02/[$LATEST]0123",
            wired,
        }
    }

    fn function(spec: FunctionSpec) -> Function {
        Function::new(spec, Spawner::start(None).unwrap(), Recorder::new().0, Arc::new(Unwired))
    }

    #[test]
    fn every_process_and_every_start_writes_a_file_of_its_own() {
        let (function, environment, wired) = (function(spec()), EnvironmentId::new("worker-1"), wired(&[]));
        let extension = ExtensionSpec { name: "flusher".to_owned(), command: Vec::new(), env: Vec::new() };
        let mut place = place(&environment, &wired);
        let file = |spec: ProcessSpec| spec.log.map(|log| log.display().to_string());
        assert_eq!(file(function.runtime(&place)).unwrap(), "/tmp/worker-1.log");
        place.start = 2;
        assert_eq!(file(function.runtime(&place)).unwrap(), "/tmp/worker-1.2.log");
        assert_eq!(file(function.extension(&extension, &place)).unwrap(), "/tmp/worker-1-flusher.2.log");
        place.number = WRITTEN_LOGS + 1;
        assert_eq!(file(function.runtime(&place)), None);
    }

    #[test]
    fn handler_is_the_last_argument_or_else_the_program() {
        let handler = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            FunctionSpec { command, ..spec() }.handler().to_owned()
        };
        assert_eq!(handler(&["worker"]), "bootstrap");
        assert_eq!(handler(&["python3", "-m", "awslambdaric", "app.handle"]), "app.handle");
    }

    #[test]
    fn init_ahead_of_use_may_take_longer_and_as_long_as_an_invocation() {
        let limit = |timeout, initialization| {
            let spec = FunctionSpec { timeout: Duration::from_secs(timeout), ..spec() };
            function(spec).init_limit(initialization).as_secs()
        };
        assert_eq!(limit(500, Initialization::OnDemand), 10);
        assert_eq!(limit(3, Initialization::Provisioned), 130);
        assert_eq!(limit(500, Initialization::Provisioned), 500);
        assert_eq!(limit(2000, Initialization::Provisioned), 900);
    }

    #[test]
    fn xray_header_is_never_sampled_and_never_the_same() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(0x1234);
        let header = xray_header(now);
        assert!(header.starts_with("Root=1-00001234-"), "{header}");
        let root = header.split(';').next().unwrap();
        assert_eq!(root.len(), "Root=1-".len() + 8 + 1 + 24);
        assert!(header.contains(";Sampled=0;"), "{header}");
        assert_ne!(header, xray_header(now));
    }
}
