//! The manifest as the harness uses it: read, validated, and with its defaults filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use verifier::TraceContract;

use crate::cloud::function::is_reserved;
use crate::correlation::TraceIdLocation;
use crate::template::{MissingValue, Template, Values};

/// A system under test.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file that it was read from, as the user named it.
    pub file: PathBuf,
    /// The folder of that file, absolute: commands start here, and relative paths are relative to it.
    pub folder: PathBuf,
    /// The system's name.
    pub name: String,
    /// What a complete trace is.
    pub contract: TraceContract,
    /// The file of the contract.
    pub contract_file: PathBuf,
    /// The long-running processes, by their names.
    pub services: BTreeMap<String, Service>,
    /// The queues, by their names.
    pub queues: BTreeMap<String, Queue>,
    /// The Lambda functions, by their names.
    pub functions: BTreeMap<String, Function>,
    /// What the load generator sends.
    pub request: Request,
    /// Where a request's identity can be seen again.
    pub correlation: Correlation,
    /// Environment variables of every process; see [`Manifest::service_env`], [`Manifest::function_env`].
    pub env: BTreeMap<String, Template>,
}

/// A long-running process (`[service.NAME]`).
#[derive(Debug, Clone)]
pub struct Service {
    /// What builds it, if it must be built.
    pub build: Option<Vec<Template>>,
    /// What starts it.
    pub command: Vec<Template>,
    /// The path that answers 2xx to a GET as soon as it is ready. Without it, a service is ready as
    /// soon as its port accepts connections.
    pub health: Option<Template>,
    /// How long it may take to end after SIGTERM before SIGKILL. Default: 10 s.
    pub stop_timeout: Duration,
    /// Its own environment variables.
    pub env: BTreeMap<String, Template>,
}

/// An SQS standard queue (`[queue.NAME]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How long a received message stays hidden (SQS `VisibilityTimeout`). Default: 30 s.
    pub visibility_timeout: Duration,
    /// How often a message may be received before it goes to the dead-letter queue (SQS
    /// `maxReceiveCount`). Without it there is no dead-letter queue.
    pub max_receive_count: Option<u32>,
}

/// A Lambda function behind a queue (`[function.NAME]`).
#[derive(Debug, Clone)]
pub struct Function {
    /// What builds it, if it must be built.
    pub build: Option<Vec<Template>>,
    /// What starts its runtime: one process for each execution environment.
    pub command: Vec<Template>,
    /// The queue that its event source mapping reads.
    pub queue: String,
    /// How long an invocation may take (Lambda `Timeout`). Default: 3 s.
    pub timeout: Duration,
    /// Its memory in MiB (Lambda `MemorySize`). Default: 128.
    pub memory_mb: u32,
    /// How many messages an invocation gets at most (`BatchSize`). Default: 10.
    pub batch_size: u32,
    /// How long a batch that is not full waits for more (`MaximumBatchingWindowInSeconds`). Default: 0 s.
    pub batch_window: Duration,
    /// How many environments there may be at the same time (`MaximumConcurrency`). Default: 10.
    pub max_concurrency: u32,
    /// How many invocations run at the same time before others are throttled
    /// (`ReservedConcurrentExecutions`). Without it, none is.
    pub reserved_concurrency: Option<u32>,
    /// How many environments are kept initialised ahead of their use
    /// (`ProvisionedConcurrentExecutions`). Default: none.
    pub provisioned_concurrency: u32,
    /// Whether its responses name the messages that failed (`FunctionResponseTypes` with
    /// `ReportBatchItemFailures`). Default: no, and responses are not looked at.
    pub report_batch_item_failures: bool,
    /// Its own environment variables; none that Lambda reserves.
    pub env: BTreeMap<String, Template>,
    /// Its external extensions, by their names.
    pub extensions: BTreeMap<String, Extension>,
}

/// An external extension of a function (`[function.NAME.extension.NAME]`): a process beside the
/// runtime's in each execution environment. On AWS, a file in `/opt/extensions`.
#[derive(Debug, Clone)]
pub struct Extension {
    /// What starts it.
    pub command: Vec<Template>,
    /// Its own environment variables, beside the function's; none that Lambda reserves.
    pub env: BTreeMap<String, Template>,
}

/// What the load generator sends (`[request]`).
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of the service that it goes to.
    pub service: String,
    /// The HTTP method. Default: POST.
    pub method: Method,
    /// The path, with its query.
    pub path: Template,
    /// The headers. With a body and without a `content-type` here, that is `application/json`.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body, if there is one.
    pub body: Option<Template>,
    /// The statuses that promise a trace. Default: 200, 201, 202, 204.
    pub accept: Vec<u16>,
}

/// Where a request's identity can be seen again (`[correlation]`); all optional.
#[derive(Debug, Clone, Default)]
pub struct Correlation {
    /// Where the answer tells the trace id.
    pub response_trace_id: Option<TraceIdLocation>,
    /// The JSON pointer in a message's body to text that holds the request id.
    pub message_body: Option<String>,
    /// The span attributes whose text holds the request id.
    pub span_attributes: Vec<String>,
    /// The span attributes whose text is the id of the message that the span is for, which ties it to the message's
    /// request whatever trace it is in. Default: `messaging.message.id`; an empty list turns it off.
    pub message_attributes: Vec<String>,
    /// The span attributes whose text is the id of the invocation that made the span. Default:
    /// `faas.invocation_id`; an empty list turns it off.
    pub invocation_attributes: Vec<String>,
}

/// A command that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: absolute, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The folder that it starts in.
    pub folder: PathBuf,
}

impl CommandLine {
    /// The program and its arguments in one list.
    pub fn into_words(self) -> Vec<String> {
        std::iter::once(self.program.to_string_lossy().into_owned()).chain(self.args).collect()
    }
}

impl Manifest {
    /// Fills in a command of this manifest.
    ///
    /// # Errors
    /// If a placeholder has no value.
    pub fn command_line(&self, command: &[Template], values: &Values) -> Result<CommandLine, MissingValue> {
        let mut words = command.iter().map(|word| word.render(values));
        let program = words.next().transpose()?.unwrap_or_default();
        // A name without a slash stands for a program in `PATH`, as in a shell.
        let program = if program.contains('/') { self.folder.join(program) } else { program.into() };
        Ok(CommandLine { program, args: words.collect::<Result<_, _>>()?, folder: self.folder.clone() })
    }

    /// The environment variables of a service: those of all processes and, before them, its own.
    pub fn service_env(&self, service: &Service) -> BTreeMap<String, Template> {
        merged(self.env.iter(), &service.env)
    }

    /// The environment variables of a function: those of all processes but for what Lambda itself
    /// sets and, before them, its own.
    pub fn function_env(&self, function: &Function) -> BTreeMap<String, Template> {
        merged(self.env.iter().filter(|(name, _)| !is_reserved(name)), &function.env)
    }
}

fn merged<'a>(
    shared: impl Iterator<Item = (&'a String, &'a Template)>,
    own: &BTreeMap<String, Template>,
) -> BTreeMap<String, Template> {
    let mut env: BTreeMap<_, _> = shared.map(|(name, value)| (name.clone(), value.clone())).collect();
    env.extend(own.clone());
    env
}
