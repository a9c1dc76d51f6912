//! The command line: what can be asked of the harness, and the text that explains it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use verifier::FindingCode;

use crate::cloud::function::is_reserved;
use crate::fault::FaultName;
use crate::input::nearest;
use crate::story::RequestQuery;
use crate::target::freezer::Freezer;

/// Drives a system under load and proves that each request became exactly one trace.
#[derive(Debug, Parser)]
#[command(name = "harness", version, max_term_width = 100, after_help = EXIT_CODES, long_about = LONG_ABOUT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
Drives a system under load and proves that each request became exactly one trace.

The harness starts everything by itself: an OTLP endpoint that behaves like Coralogix, queues that \
behave like SQS, functions as AWS Lambda runs them (cold starts, freezes, kills), and the system under \
test as its manifest says. It writes down what happened to every request, message and invocation, and \
holds every exported span against it. What has no counterpart is a finding.

  harness soak                                100 requests/s for a minute
  harness soak --rate 20 --duration 10s       less of it
  harness soak --fault strip-context          see it fail: the queue drops the trace context
  harness run scenarios/kills.toml            another scenario
  harness lambda --event e.json -- ./function a function on its own, frozen between invocations
  harness init my-system                      files to start from, for a system of your own
  harness check my-system/system.toml         are they right?
  harness soak --system my-system/system.toml
  harness verify reports/latest               judge a recorded run again
  harness verify reports/latest --request 42  one request's whole story
  harness verify traces.jsonl                 judge what a collector recorded
  harness explain late-by-thaw                what a finding means, and how to cure it";

const EXIT_CODES: &str = "\
Exit codes:
    0  pass
    1  internal error of the harness
    2  wrong usage, or an invalid scenario, manifest, contract or journal
    3  could not set up: a build failed, a process died or was not healthy before the load
    4  nothing was verified: no request was accepted, or interrupted before the load
    5  inconclusive: evidence was lost
   10  findings that fail a run
  130  interrupted twice";

/// What can be asked of the harness.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a load against a system and judge every trace
    ///
    /// Defaults come from scenarios/soak.toml in the current folder, else from its copy in the harness.
    /// Ctrl-C ends the load early and gives the verdict on what was done; a second one ends at once.
    /// The run's folder holds summary.json, the journal, and what every process printed.
    Soak(RunOptions),
    /// Run a scenario: load, cloud and faults as its file says
    ///
    /// As soak, with another file. What can stand in one is told in scenarios/soak.toml.
    Run(Run),
    /// Make traffic to look at: cold starts take as long as on AWS
    ///
    /// Runs scenarios/demo.toml of the current folder, else its copy in the harness. The platform's delay
    /// before an environment starts (image pull, micro-VM) is modelled, and told apart from real time.
    Demo(RunOptions),
    /// Run a function as Lambda does, on its own: invocations, freezes, init and flush times
    Lambda(Lambda),
    /// Judge a recorded run again, from its journal
    Verify(Verify),
    /// Tell what a finding means, what usually causes it, and how to cure it
    Explain(Explain),
    /// Validate manifests, contracts and scenarios
    Check(Check),
    /// Write a commented manifest and contract to start from
    Init(Init),
}

/// What a run can be told beside its scenario.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// For how long requests are sent, such as 90s or 5m [default: the scenario's]
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// The arrival rate, in requests per second [default: the scenario's]
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// The manifest of the system under test [default: the scenario's]
    #[arg(long, value_name = "FILE")]
    pub system: Option<PathBuf>,
    /// The folder for the run's folder
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// The seed of everything random in the run [default: the scenario's, else another one every time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Do something to the system on purpose, and see it found; can be given several times
    #[arg(long, value_name = "NAME", value_parser = fault_parser())]
    pub fault: Vec<FaultName>,
    /// Let another SQS endpoint keep the messages: AWS, or an emulator
    ///
    /// The system still talks to the harness, which records each call and makes it again at this URL, with
    /// region, credentials and CA by the standard AWS variables and files (AWS_REGION, AWS_ACCESS_KEY_ID,
    /// AWS_PROFILE, AWS_CA_BUNDLE). Each queue of the manifest is created there for this run alone, as
    /// harness-<8 digits>-<name>, and deleted at the end of the run; a run that is killed or interrupted
    /// twice leaves them. What comes to a dead-letter queue is received by the harness, which learns of it in
    /// no other way. Calls cost what the endpoint's owner charges.
    #[arg(long, value_name = "URL", value_parser = sqs_endpoint)]
    pub sqs_endpoint: Option<String>,
}

/// `harness run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The scenario's file
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// What it is told beside its scenario.
    #[command(flatten)]
    pub options: RunOptions,
}

/// `harness lambda`.
#[derive(Debug, Args)]
#[command(after_help = LAMBDA_EXAMPLES)]
pub struct Lambda {
    /// A file with an event as JSON, `-` for standard input; given several times, they take turns
    #[arg(long, value_name = "FILE", conflicts_with = "queue")]
    pub event: Vec<PathBuf>,
    /// Serve a queue of this name, and invoke the function with what is sent to it, until Ctrl-C
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// How many invocations there are [default: one for each event]
    #[arg(long, value_name = "N", conflicts_with = "queue", value_parser = clap::value_parser!(u32).range(1..))]
    pub invocations: Option<u32>,
    /// How many invocations run at the same time, each in an environment of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// How long an environment stays frozen between two invocations
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub gap: Duration,
    /// How long an invocation may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Its memory in MiB: an environment that uses more is killed
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub memory: u32,
    /// How many messages of the queue an invocation gets at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub batch_size: u32,
    /// After how many invocations an environment is replaced by a new one [default: never]
    #[arg(long, value_name = "N")]
    pub recycle_after: Option<NonZeroU32>,
    /// One environment variable of the function; can be given several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// An external extension: its program, which is started beside each runtime; can be given several times
    #[arg(long, value_name = "FILE")]
    pub extension: Vec<PathBuf>,
    /// How environments are frozen
    #[arg(long, value_enum, default_value_t)]
    pub freezer: Freezer,
    /// The one-way latency between the function and the OTLP endpoint that it is given
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = humantime::parse_duration)]
    pub latency: Duration,
    /// Print events as lines of JSON, as they stand in a journal
    #[arg(long)]
    pub json: bool,
    /// The function: the program of its runtime, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

const LAMBDA_EXAMPLES: &str = "\
The function finds AWS_LAMBDA_RUNTIME_API and all other variables that Lambda sets, none of yours, and \
OTEL_EXPORTER_OTLP_ENDPOINT, an OTLP/gRPC endpoint of its own: what it exports is held against its \
freezes. What it prints is in the folder that is told at the start. An extension's name is that of its \
file, as in /opt/extensions.

The exit code is 0 if every invocation succeeded and nothing was late, unanswered or refused, else 10.

Examples:
  harness lambda --event event.json -- ./bootstrap
  harness lambda --event event.json --invocations 20 --gap 1s -- ./bootstrap
  harness lambda --extension ./collector -- ./bootstrap
  harness lambda --queue jobs -- python3 -m awslambdaric app.handler";

/// `NAME=VALUE`.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, _)) if is_reserved(name) => Err(format!("Lambda sets {name} itself")),
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// `harness verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// A run's folder, the segments of its journal, or recorded OTLP: files, or a folder of them
    #[arg(value_name = "PATH", default_value = "reports/latest")]
    pub paths: Vec<PathBuf>,
    /// Judge by this contract
    ///
    /// Recorded OTLP is judged by what must hold of any trace without one. Of a run, it takes the place of the
    /// contract that the run had.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    pub contract: Option<PathBuf>,
    /// Tell one request's whole story: its verdict, what happened on one time line, and its spans
    ///
    /// The request by its id as reports write it (7f3a9c2e-0000002a), by its number in the schedule (42), or by
    /// a trace id of it (32 hex digits). The exit code is this request's own: 0 if nothing is wrong with it, 10
    /// if a finding about it fails a run, 5 if the journal ends before it was over.
    #[arg(long, value_name = "ID", value_parser = str::parse::<RequestQuery>)]
    pub request: Option<RequestQuery>,
    /// Print the summary, or the story, as JSON
    #[arg(long)]
    pub json: bool,
}

const VERIFY_EXAMPLES: &str = "\
Recorded OTLP is JSON, JSON lines or protobuf, as exporters and the OpenTelemetry Collector's file exporter \
write it, also in gzip or zstd; which it is shows in the content. It has no ledger: a trace that is missing as a \
whole cannot be told from one that never was. Without a contract, what must hold of any trace is judged: ids, \
parents, kinds, times, copies. What ends in the middle, as after a crash, is judged as far as it goes, and then \
the verdict is inconclusive (5) unless it is worse; what cannot be read is an error with its place (2).

Examples:
  harness verify                                        the last run once more
  harness verify reports/2026-11-25T10-00-00Z-soak --request 42
  harness verify reports/latest --contract new.toml     the last run, beside another contract
  harness verify traces.jsonl                           what a collector wrote
  harness verify traces/                                the same in many files, taken together
  harness verify traces.jsonl --contract contract.toml  the same, beside a contract";

/// `harness explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A finding's code, such as late-by-thaw [default: a list of all]
    #[arg(value_name = "CODE", value_parser = finding_code)]
    pub code: Option<FindingCode>,
}

/// A finding's code; if there is none of that name, the one that was probably meant.
fn finding_code(text: &str) -> Result<FindingCode, String> {
    text.parse().map_err(|_| {
        let codes: Vec<_> = FindingCode::ALL.iter().map(ToString::to_string).collect();
        let meant = nearest(text, &codes).map_or(String::new(), |code| format!("did you mean {code}? "));
        format!("no finding has that code; {meant}`harness explain` lists all")
    })
}

/// `harness check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `harness init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder; files that are there already are left alone
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// An endpoint's URL, without a slash at its end.
fn sqs_endpoint(text: &str) -> Result<String, String> {
    let url: http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) && url.query().is_none() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("expected a URL such as https://sqs.eu-west-1.amazonaws.com or http://127.0.0.1:4566".to_owned()),
    }
}

fn fault_parser() -> impl TypedValueParser<Value = FaultName> {
    let names = FaultName::ALL.map(|fault| clap::builder::PossibleValue::new(fault.as_str()).help(fault.help()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<FaultName>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_code_is_wrong_usage_and_names_the_one_that_was_meant() {
        let parsed = |code| Cli::try_parse_from(["harness", "explain", code]);
        assert!(parsed("span-missing").is_ok());
        let error = parsed("span-mising").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("did you mean span-missing?"), "{error}");
        let error = parsed("nothing-like-it").unwrap_err().to_string();
        assert!(error.contains("lists all") && !error.contains("did you mean"), "{error}");
    }
}
