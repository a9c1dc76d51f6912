//! From the manifest as it is written to the manifest as it is used, with every error on the way.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, Method};
use toml::Spanned;
use verifier::TraceContract;

use super::model::{Correlation, Extension, Function, Manifest, Queue, Request, Service};
use super::placeholders::Place;
use super::raw::{
    Named, RawCorrelation, RawDuration, RawExtension, RawFunction, RawManifest, RawQueue, RawRequest, RawService, Text,
};
use crate::cloud::function::{RESERVED_VARIABLES, is_reserved};
use crate::contract::Parts;
use crate::correlation::is_json_pointer;
use crate::input::{InputError, Source};
use crate::template::Template;

/// The methods that can be sent: those that goose counts.
const METHODS: &[&str] = &["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
/// The statuses that promise a trace when the manifest does not say.
const ACCEPT: &[u16] = &[200, 201, 202, 204];

/// Lambda `Timeout`, in whole seconds (Lambda quotas: 900 s).
const FUNCTION_TIMEOUT: RangeInclusive<u64> = 1..=900;
/// SQS `VisibilityTimeout`, in whole seconds (12 hours).
const VISIBILITY_TIMEOUT: RangeInclusive<u64> = 0..=43_200;
/// SQS `maxReceiveCount`.
const MAX_RECEIVE_COUNT: RangeInclusive<u32> = 1..=1_000;
/// Lambda `MemorySize`, in MiB.
const MEMORY_MB: RangeInclusive<u32> = 128..=10_240;
/// `BatchSize` of an event source mapping of a standard queue.
const BATCH_SIZE: RangeInclusive<u32> = 1..=10_000;
/// The largest `BatchSize` that needs no `MaximumBatchingWindowInSeconds` of a second or more.
const BATCH_SIZE_WITHOUT_WINDOW: u32 = 10;
/// `MaximumBatchingWindowInSeconds`.
const BATCH_WINDOW: RangeInclusive<u64> = 0..=300;
/// External and internal extensions of a function together (Lambda quotas: 10).
const EXTENSIONS: usize = 10;
/// `MaximumConcurrency` ends at 1,000; AWS starts it at 2, and reserved concurrency allows 1.
const MAX_CONCURRENCY: RangeInclusive<u32> = 1..=1_000;

/// Where a span says which message it is for (OpenTelemetry messaging conventions).
const MESSAGE_ID: &str = "messaging.message.id";
/// Where a span says which invocation it is for (OpenTelemetry FaaS conventions).
const INVOCATION_ID: &str = "faas.invocation_id";
/// How many attributes can tell one of the identities of a span. The verifier looks for them in one pass, beside
/// those that a contract asks for.
const CORRELATION_ATTRIBUTES: usize = 5;

impl Manifest {
    /// Reads and validates a manifest and the contract that it names.
    ///
    /// # Errors
    /// The first thing that is wrong with either file.
    pub fn read(file: &Path) -> Result<Self, InputError> {
        let source = Source::read(file)?;
        let raw: RawManifest = source.parse()?;
        let queues = raw.queue.keys().map(|name| name.get_ref().clone()).collect();
        Reader { source: &source, queues }.manifest(raw)
    }
}

/// Reads the contract of a system with these queues and functions.
fn contract(
    file: &Path,
    queues: &BTreeMap<String, Queue>,
    functions: &BTreeMap<String, Function>,
) -> Result<TraceContract, InputError> {
    let queues: Vec<_> = queues.keys().map(String::as_str).collect();
    let functions: Vec<_> = functions.keys().map(String::as_str).collect();
    crate::contract::read_for(file, Parts { queues: &queues, functions: &functions })
}

/// Reads the parts of one manifest.
struct Reader<'a> {
    source: &'a Source,
    /// The names of the manifest's queues, which placeholders can name.
    queues: Vec<String>,
}

impl Reader<'_> {
    fn manifest(&self, raw: RawManifest) -> Result<Manifest, InputError> {
        let folder = self.folder()?;
        let services = self.tables(raw.service, |service| self.service(service))?;
        let queues = self.tables(raw.queue, |queue| self.queue(&queue))?;
        let functions = self.tables(raw.function, |function| self.function(function, &queues))?;
        let request = self.request(raw.request, &services)?;
        let correlation = self.correlation(raw.correlation)?;
        let env = self.env(raw.env, Place::Env)?;
        let contract_file = self.contract_file(&raw.contract)?;
        let contract = contract(&contract_file, &queues, &functions)?;
        Ok(Manifest {
            file: self.source.file().to_owned(),
            name: self.not_empty(raw.name, "a system needs a name")?,
            contract,
            contract_file,
            folder,
            services,
            queues,
            functions,
            request,
            correlation,
            env,
        })
    }

    /// The manifest's folder, absolute, so that it stays the same whoever changes directory.
    fn folder(&self) -> Result<PathBuf, InputError> {
        let file = self.source.file();
        let absolute = std::path::absolute(file)
            .map_err(|error| InputError::of_file(file, format!("the folder of this file is unknown: {error}")))?;
        Ok(absolute.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The contract's file as the user would name it, so that errors in it are easy to find.
    fn contract_file(&self, contract: &Text) -> Result<PathBuf, InputError> {
        let beside = self.source.file().parent().unwrap_or(Path::new(""));
        let file = beside.join(contract.get_ref());
        if file.is_file() {
            return Ok(file);
        }
        let message = format!("there is no file {}", file.display());
        Err(self.source.error(contract.span(), message))
    }

    fn service(&self, raw: RawService) -> Result<Service, InputError> {
        let health = raw.health.map(|path| self.path(&path, Place::Service)).transpose()?;
        Ok(Service {
            build: raw.build.map(|build| self.command(build, Place::Build)).transpose()?,
            command: self.command(raw.command, Place::Service)?,
            health,
            stop_timeout: raw.stop_timeout.map_or(Duration::from_secs(10), |timeout| timeout.0),
            env: self.env(raw.env, Place::Service)?,
        })
    }

    fn queue(&self, raw: &RawQueue) -> Result<Queue, InputError> {
        let seconds = self.seconds(raw.visibility_timeout.as_ref(), 30, VISIBILITY_TIMEOUT, "a visibility timeout")?;
        let max_receive_count = raw.max_receive_count.as_ref();
        Ok(Queue {
            visibility_timeout: Duration::from_secs(seconds),
            max_receive_count: max_receive_count
                .map(|count| self.number(Some(count), 0, MAX_RECEIVE_COUNT, "the number of receives"))
                .transpose()?,
        })
    }

    fn function(&self, raw: RawFunction, queues: &BTreeMap<String, Queue>) -> Result<Function, InputError> {
        let queue = self.reference(&raw.queue, "queue", queues)?;
        let timeout = Duration::from_secs(self.seconds(raw.timeout.as_ref(), 3, FUNCTION_TIMEOUT, "a timeout")?);
        let place = raw.timeout.as_ref().map_or(raw.queue.span(), Spanned::span);
        self.function_fits_queue(timeout, queue, place)?;
        let (batch_size, batch_window) = self.batching(raw.batch_size.as_ref(), raw.batch_window.as_ref())?;
        let max_concurrency = self.number(raw.max_concurrency.as_ref(), 10, MAX_CONCURRENCY, "a concurrency")?;
        let reserved = raw.reserved_concurrency.as_ref();
        Ok(Function {
            build: raw.build.map(|build| self.command(build, Place::Build)).transpose()?,
            command: self.command(raw.command, Place::Function)?,
            queue: raw.queue.into_inner(),
            timeout,
            memory_mb: self.number(raw.memory_mb.as_ref(), 128, MEMORY_MB, "the memory in MiB")?,
            batch_size,
            batch_window,
            max_concurrency,
            reserved_concurrency: reserved
                .map(|count| self.number(Some(count), 1, MAX_CONCURRENCY, "a concurrency"))
                .transpose()?,
            provisioned_concurrency: self.number(
                raw.provisioned_concurrency.as_ref(),
                0,
                0..=max_concurrency,
                "the provisioned concurrency",
            )?,
            report_batch_item_failures: raw.report_batch_item_failures,
            env: self.function_env(raw.env, Place::Function)?,
            extensions: self.extensions(raw.extension)?,
        })
    }

    /// How messages are gathered; a mapping that gathers many has to be given time for it.
    fn batching(
        &self,
        size: Option<&Spanned<i64>>,
        window: Option<&Spanned<RawDuration>>,
    ) -> Result<(u32, Duration), InputError> {
        let batch_size = self.number(size, 10, BATCH_SIZE, "a batch size")?;
        let window = Duration::from_secs(self.seconds(window, 0, BATCH_WINDOW, "a batch window")?);
        match size {
            Some(size) if batch_size > BATCH_SIZE_WITHOUT_WINDOW && window.is_zero() => {
                let message = format!(
                    "a batch of more than {BATCH_SIZE_WITHOUT_WINDOW} messages needs a batch_window of at least 1s"
                );
                Err(self.source.error(size.span(), message))
            }
            _ => Ok((batch_size, window)),
        }
    }

    fn extensions(&self, raw: Named<RawExtension>) -> Result<BTreeMap<String, Extension>, InputError> {
        if let Some(name) = raw.keys().nth(EXTENSIONS) {
            let message = format!("a function has at most {EXTENSIONS} extensions");
            return Err(self.source.error(name.span(), message));
        }
        self.tables(raw, |extension| {
            Ok(Extension {
                command: self.command(extension.command, Place::Extension)?,
                env: self.function_env(extension.env, Place::Extension)?,
            })
        })
    }

    /// An event source mapping refuses a function that may take longer than its queue hides a message.
    fn function_fits_queue(
        &self,
        timeout: Duration,
        queue: &Queue,
        place: std::ops::Range<usize>,
    ) -> Result<(), InputError> {
        if timeout <= queue.visibility_timeout {
            return Ok(());
        }
        let message = format!(
            "the function's timeout of {} is longer than its queue's visibility_timeout of {}: \
             Lambda refuses to read such a queue",
            humantime::format_duration(timeout),
            humantime::format_duration(queue.visibility_timeout),
        );
        Err(self.source.error(place, message))
    }

    fn request(&self, raw: RawRequest, services: &BTreeMap<String, Service>) -> Result<Request, InputError> {
        self.reference(&raw.service, "service", services)?;
        let headers = raw.headers.into_iter().map(|(name, value)| self.header(&name, &value));
        Ok(Request {
            service: raw.service.into_inner(),
            method: raw.method.map_or(Ok(Method::POST), |method| self.method(&method))?,
            path: self.path(&raw.path, Place::Request)?,
            headers: headers.collect::<Result<_, _>>()?,
            body: raw.body.map(|body| self.template(&body, Place::Request)).transpose()?,
            accept: raw.accept.map_or(Ok(ACCEPT.to_vec()), |accept| self.statuses(accept))?,
        })
    }

    fn method(&self, method: &Text) -> Result<Method, InputError> {
        let name = method.get_ref();
        if !METHODS.contains(&name.as_str()) {
            let message = format!("`{name}` is no method that can be sent");
            let error = self.source.error(method.span(), message);
            return Err(error.with_choices(&name.to_uppercase(), METHODS.iter().copied()));
        }
        self.parsed(method)
    }

    fn header(&self, name: &Text, value: &Text) -> Result<(HeaderName, Template), InputError> {
        Ok((self.parsed(name)?, self.template(value, Place::Request)?))
    }

    fn statuses(&self, accept: Spanned<Vec<Spanned<i64>>>) -> Result<Vec<u16>, InputError> {
        if accept.get_ref().is_empty() {
            let message = "with no accepted status, no request would promise a trace";
            return Err(self.source.error(accept.span(), message));
        }
        let statuses = accept.get_ref().iter().map(|status| self.number(Some(status), 0, 100..=599, "a status"));
        statuses.collect()
    }

    fn correlation(&self, raw: RawCorrelation) -> Result<Correlation, InputError> {
        Ok(Correlation {
            response_trace_id: raw.response_trace_id.map(|location| self.parsed(&location)).transpose()?,
            message_body: raw.message_body.map(|pointer| self.json_pointer(pointer)).transpose()?,
            span_attributes: self.attributes(raw.span_attributes, None)?,
            message_attributes: self.attributes(raw.message_attributes, Some(MESSAGE_ID))?,
            invocation_attributes: self.attributes(raw.invocation_attributes, Some(INVOCATION_ID))?,
        })
    }

    /// The attributes that tell an identity; an empty list stands for none, where the default is one.
    fn attributes(&self, raw: Option<Vec<Text>>, default: Option<&str>) -> Result<Vec<String>, InputError> {
        let Some(raw) = raw else { return Ok(default.into_iter().map(str::to_owned).collect()) };
        if let Some(name) = raw.get(CORRELATION_ATTRIBUTES) {
            let message = format!("an identity is looked for in at most {CORRELATION_ATTRIBUTES} attributes");
            return Err(self.source.error(name.span(), message));
        }
        raw.into_iter().map(|name| self.not_empty(name, "an attribute has a name")).collect()
    }

    fn json_pointer(&self, pointer: Text) -> Result<String, InputError> {
        if is_json_pointer(pointer.get_ref()) {
            return Ok(pointer.into_inner());
        }
        let message = format!("`{}` is no JSON pointer: it starts with `/`, as in `/customer_id`", pointer.get_ref());
        Err(self.source.error(pointer.span(), message))
    }

    /// A path on a service.
    fn path(&self, path: &Text, place: Place) -> Result<Template, InputError> {
        if path.get_ref().starts_with('/') {
            return self.template(path, place);
        }
        Err(self.source.error(path.span(), format!("the path `{}` does not start with `/`", path.get_ref())))
    }

    fn command(&self, command: Spanned<Vec<Text>>, place: Place) -> Result<Vec<Template>, InputError> {
        if command.get_ref().first().is_none_or(|program| program.get_ref().is_empty()) {
            return Err(self.source.error(command.span(), "a command names its program first; this one is empty"));
        }
        command.get_ref().iter().map(|word| self.template(word, place)).collect()
    }

    fn function_env(&self, env: Named<Text>, place: Place) -> Result<BTreeMap<String, Template>, InputError> {
        if let Some(name) = env.keys().find(|name| is_reserved(name.get_ref())) {
            let message = format!(
                "Lambda sets `{}` itself and refuses it in a function's configuration, as it does: {}",
                name.get_ref(),
                RESERVED_VARIABLES.join(", "),
            );
            return Err(self.source.error(name.span(), message));
        }
        self.env(env, place)
    }

    fn env(&self, env: Named<Text>, place: Place) -> Result<BTreeMap<String, Template>, InputError> {
        env.into_iter().map(|(name, value)| Ok((self.variable(name)?, self.template(&value, place)?))).collect()
    }

    /// The name of an environment variable (POSIX.1-2024, 8.1).
    fn variable(&self, name: Text) -> Result<String, InputError> {
        let is_name = !name.get_ref().is_empty() && !name.get_ref().contains(['=', '\0']);
        if is_name {
            return Ok(name.into_inner());
        }
        Err(self.source.error(name.span(), "an environment variable needs a name without `=`"))
    }

    /// A string with its placeholders, all of them known at this place.
    fn template(&self, text: &Text, place: Place) -> Result<Template, InputError> {
        let template = Template::parse(text.get_ref());
        let known = place.known(self.queues.iter().map(String::as_str));
        if let Some(name) = template.names().find(|name| !known.iter().any(|known| known == name)) {
            return Err(self.unknown_placeholder(text, name, place, &known));
        }
        Ok(template)
    }

    fn unknown_placeholder(&self, text: &Text, name: &str, place: Place, known: &[String]) -> InputError {
        let braced = format!("{{{name}}}");
        let within = self.source.slice(text.span());
        let range = within.find(&braced).map_or(text.span(), |at| {
            let start = text.span().start + at;
            start..start + braced.len()
        });
        let message = format!("unknown placeholder {braced} {}", place.describe());
        self.source.error(range, message).with_choices(&braced, known.iter().map(|name| format!("{{{name}}}")))
    }

    /// Named tables, read one by one.
    fn tables<R, T>(
        &self,
        raw: Named<R>,
        read: impl Fn(R) -> Result<T, InputError>,
    ) -> Result<BTreeMap<String, T>, InputError> {
        raw.into_iter().map(|(name, table)| Ok((self.name(name)?, read(table)?))).collect()
    }

    /// The name of a table. It becomes part of placeholders, of identifiers and of file names.
    fn name(&self, name: Text) -> Result<String, InputError> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if (1..=40).contains(&name.get_ref().len()) && name.get_ref().chars().all(is_word) {
            return Ok(name.into_inner());
        }
        let message =
            format!("`{}` is no name: names have up to 40 lower-case letters, digits, `-` and `_`", name.get_ref());
        Err(self.source.error(name.span(), message))
    }

    /// The table that another one names.
    fn reference<'t, T>(&self, name: &Text, kind: &str, tables: &'t BTreeMap<String, T>) -> Result<&'t T, InputError> {
        tables.get(name.get_ref()).ok_or_else(|| {
            let message = format!("there is no table [{kind}.{}]", name.get_ref());
            self.source.error(name.span(), message).with_choices(name.get_ref(), tables.keys().cloned())
        })
    }

    fn not_empty(&self, text: Text, message: &str) -> Result<String, InputError> {
        if text.get_ref().trim().is_empty() {
            return Err(self.source.error(text.span(), message));
        }
        Ok(text.into_inner())
    }

    /// A string as something that has a grammar of its own.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, text: &Text) -> Result<T, InputError> {
        text.get_ref().parse().map_err(|error| self.source.error(text.span(), format!("{error}")))
    }

    /// A number within AWS's or HTTP's limits, or its default.
    fn number<T: TryFrom<i64> + PartialOrd + std::fmt::Display>(
        &self,
        number: Option<&Spanned<i64>>,
        default: T,
        limits: RangeInclusive<T>,
        what: &str,
    ) -> Result<T, InputError> {
        let Some(number) = number else { return Ok(default) };
        T::try_from(*number.get_ref()).ok().filter(|number| limits.contains(number)).ok_or_else(|| {
            let message = format!("{what} is from {} to {}, not {number}", limits.start(), limits.end());
            self.source.error(number.span(), message)
        })
    }

    /// A duration in whole seconds within AWS's limits, or its default.
    fn seconds(
        &self,
        duration: Option<&Spanned<RawDuration>>,
        default: u64,
        limits: RangeInclusive<u64>,
        what: &str,
    ) -> Result<u64, InputError> {
        let Some(duration) = duration else { return Ok(default) };
        let given = duration.get_ref().0;
        if given.subsec_nanos() == 0 && limits.contains(&given.as_secs()) {
            return Ok(given.as_secs());
        }
        let message = format!(
            "{what} is a whole number of seconds from {}s to {}s, not {}",
            limits.start(),
            limits.end(),
            humantime::format_duration(given),
        );
        Err(self.source.error(duration.span(), message))
    }
}
