//! The command line: what can be asked of the harness, and the text that explains it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::fault::FaultName;

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
  harness init my-system                      files to start from, for a system of your own
  harness check my-system/system.toml         are they right?
  harness soak --system my-system/system.toml
  harness verify reports/latest               judge a recorded run again";

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
    Soak(Soak),
    /// Judge a recorded run again, from its journal
    Verify(Verify),
    /// Validate manifests, contracts and scenarios
    Check(Check),
    /// Write a commented manifest and contract to start from
    Init(Init),
}

/// `harness soak`.
#[derive(Debug, Args)]
pub struct Soak {
    /// For how long requests are sent, such as 90s or 5m [default: the scenario's, 60s]
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// The arrival rate, in requests per second [default: the scenario's, 100]
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// The manifest of the system under test [default: the scenario's, system/system.toml]
    #[arg(long, value_name = "FILE")]
    pub system: Option<PathBuf>,
    /// The folder for the run's folder
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
    /// The seed of everything random in the run [default: another one every time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Do something to the system on purpose, and see it found; can be given several times
    #[arg(long, value_name = "NAME", value_parser = fault_parser())]
    pub fault: Vec<FaultName>,
}

/// `harness verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// A run's folder, or the segments of its journal
    #[arg(value_name = "PATH", default_value = "reports/latest")]
    pub paths: Vec<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
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

fn fault_parser() -> impl TypedValueParser<Value = FaultName> {
    let names = FaultName::ALL.map(|fault| clap::builder::PossibleValue::new(fault.as_str()).help(fault.help()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<FaultName>())
}
