//! What the commands do, each in a function: from arguments to an exit code.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use tokio::runtime;
use tracing_subscriber::EnvFilter;
use verifier::{Conclusion, TraceContract};

use crate::check;
use crate::cli::{Check, Cli, Command, Explain, Init, Lambda, Run, RunOptions, Verify};
use crate::contract;
use crate::error::{Error, exit_code, exit_code_of_request};
use crate::explain::table;
use crate::init;
use crate::input::InputError;
use crate::interrupt::Interrupts;
use crate::lambda;
use crate::manifest::Manifest;
use crate::outcome::replay;
use crate::recording::{self, is_journal};
use crate::report::live::Live;
use crate::report::story::json::StoryJson;
use crate::report::story::text;
use crate::report::summary::Summary;
use crate::report::{self, console};
use crate::run::{Finished, Plan, run};
use crate::scenario::Scenario;
use crate::story::{self, RequestQuery};

/// The width of text that goes to no terminal.
const WIDTH_OF_A_FILE: usize = 100;

/// Does what the command line asks for.
///
/// # Errors
/// Why it could not be done.
pub fn execute(cli: Cli) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Soak(options) => execute_run(Scenario::soak()?, options),
        Command::Run(Run { scenario, options }) => execute_run(Scenario::read(&scenario)?, options),
        Command::Demo(options) => execute_run(Scenario::demo()?, options),
        Command::Lambda(options) => execute_lambda(&options),
        Command::Verify(verify) => execute_verify(&verify),
        Command::Explain(explain) => execute_explain(&explain),
        Command::Check(check) => execute_check(&check),
        Command::Init(init) => execute_init(&init),
    }
}

fn execute_run(scenario: Scenario, options: RunOptions) -> Result<ExitCode, Error> {
    let plan = plan(scenario, options)?;
    log_warnings();
    let interrupts = Interrupts::listen()?;
    let mut runtime = runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers(plan.scenario.load.rate)).enable_all().build();
    let runtime = runtime.map_err(|error| Error::setup("no runtime", error))?;
    let Finished { outcome, folder } = runtime.block_on(run(&plan, Live::default(), &interrupts))?;
    print(&console::render(&outcome, Some(folder.path()), width()));
    let written = Summary::new(&outcome).write(folder.path());
    match written.map_err(|error| Error::file("the summary cannot be written into", folder.path(), &error)) {
        // The verdict has been given; it is not taken back because its file is missing.
        Err(error) if outcome.judgement.conclusion != Conclusion::Passed => {
            tracing::error!(%error);
            Ok(exit_code(outcome.judgement.conclusion))
        }
        written => written.map(|()| exit_code(outcome.judgement.conclusion)),
    }
}

/// Lets the harness's own warnings be seen. What AWS's SDK fails to find is told once, by the error.
fn log_warnings() {
    let filter = EnvFilter::new("warn,aws_config=error");
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    // Only a process that has one already, such as a test, refuses it.
    let _ = subscriber.with_target(false).without_time().try_init();
}

/// How many threads carry a load: one for every 500 requests/s, and no more than there are cores. One
/// more than is needed costs CPU time that the system may want: they wake each other for every message.
fn workers(rate: f64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and `as` saturates"
    )]
    let wanted = (rate / 500.0).ceil() as usize;
    wanted.clamp(1, cores)
}

/// The scenario, with what the command line says otherwise.
fn plan(mut scenario: Scenario, options: RunOptions) -> Result<Plan, Error> {
    scenario.load.rate = options.rate.unwrap_or(scenario.load.rate);
    scenario.load.duration = options.duration.unwrap_or(scenario.load.duration);
    scenario.load.validate().map_err(|error| Error::Usage(error.to_string()))?;
    let manifest = Manifest::read(options.system.as_deref().unwrap_or(&scenario.system))?;
    let mut faults = scenario.faults.clone();
    faults.extend(options.fault.into_iter().filter(|fault| !scenario.faults.contains(fault)));
    let seed = options.seed.or(scenario.seed).unwrap_or_else(rand::random);
    Ok(Plan { scenario, manifest, out: options.out, seed, faults, sqs_endpoint: options.sqs_endpoint })
}

/// Exits with 0 if every invocation ended well and nothing was late, open or refused.
fn execute_lambda(options: &Lambda) -> Result<ExitCode, Error> {
    log_warnings();
    let interrupts = Interrupts::listen()?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Error::setup("no runtime", error))?;
    let session = runtime.block_on(lambda::run(options, &Live::default(), &interrupts))?;
    Ok(if session.is_clean() { ExitCode::SUCCESS } else { exit_code(Conclusion::Failed) })
}

fn execute_verify(verify: &Verify) -> Result<ExitCode, Error> {
    if let Some(request) = verify.request {
        return tell_story(verify, request);
    }
    if !is_journal(&verify.paths)? {
        return verify_recording(verify);
    }
    let outcome = replay(&verify.paths, contract_of(verify)?)?;
    if verify.json {
        let json = Summary::new(&outcome).to_json().map_err(|error| Error::Internal(error.to_string()))?;
        print(&json);
    } else {
        print(&console::render_replayed(&outcome, &verify.paths, width()));
    }
    Ok(exit_code(outcome.judgement.conclusion))
}

/// Judges telemetry that others recorded.
fn verify_recording(verify: &Verify) -> Result<ExitCode, Error> {
    let recording = recording::judge(&verify.paths, contract_of(verify)?)?;
    let text = match verify.json {
        true => report::recording::to_json(&recording).map_err(|error| Error::Internal(error.to_string()))?,
        false => report::recording::render(&recording, width()),
    };
    print(&text);
    Ok(exit_code(recording.judgement.conclusion))
}

fn contract_of(verify: &Verify) -> Result<Option<TraceContract>, InputError> {
    verify.contract.as_deref().map(contract::read).transpose()
}

/// Exits with the request's own verdict.
fn tell_story(verify: &Verify, request: RequestQuery) -> Result<ExitCode, Error> {
    let story = story::tell(&verify.paths, request)?;
    let text = match verify.json {
        true => StoryJson::new(&story).to_json().map_err(|error| Error::Internal(error.to_string()))?,
        false => text::render(&story, width()),
    };
    print(&text);
    Ok(exit_code_of_request(story.judged.verdict()))
}

fn execute_explain(explain: &Explain) -> Result<ExitCode, Error> {
    let text = match explain.code {
        None => report::explain::render_list(width()),
        Some(code) => {
            let page = table::page(code).ok_or_else(|| Error::Internal(format!("{code} has no page")))?;
            report::explain::render_page(code, &page, width())
        }
    };
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn execute_check(check: &Check) -> Result<ExitCode, Error> {
    for file in &check.files {
        let checked = check::check(file)?;
        print(&format!("{}: {checked}\n", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn execute_init(init: &Init) -> Result<ExitCode, Error> {
    for file in init::init(&init.folder)? {
        print(&format!("{}\n", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The terminal's width, in columns.
fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH_OF_A_FILE, |(width, _)| usize::from(width.0))
}

/// Writes to standard output; colours only where they are wanted.
fn print(text: &str) {
    // Nobody is left to tell when standard output is closed, as by `| head`.
    let _ = anstream::stdout().write_all(text.as_bytes());
}
