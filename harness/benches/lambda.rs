//! What the local Lambda costs: `cargo bench -p harness --bench lambda`.
//!
//! The function does nothing, so all that is measured is the simulator: thaw, deliver, take the answer,
//! freeze and be sure of it. It is this very program, started once more, with the real `lambda_runtime`.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

#[path = "../tests/support/function.rs"]
mod function;

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use harness::cloud::environment::{AfterInit, Environment, Invocation};
use harness::cloud::function::{BoxError, Function, Wired, Wiring};
use harness::cloud::network::Network;
use harness::journal::Recorder;
use harness::target::Spawner;
use hdrhistogram::Histogram;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tokio::runtime;
use verifier::event::InvocationOutcome;
use verifier::{EnvironmentId, Event};

/// Warm invocations, one after another.
const WARM: u32 = 5_000;
/// Environments that are busy at the same time.
const BUSY: usize = 20;
/// Invocations of all busy environments together.
const AT_ONCE: u32 = 20_000;
/// Environments that are alive at the same time.
const ALIVE: usize = 200;
/// How many of them are started at the same time.
const STARTING: usize = 4;

fn main() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nothing = service_fn(async |_: LambdaEvent<Value>| Ok::<_, lambda_runtime::Error>(Value::Null));
        return runtime.block_on(lambda_runtime::run(nothing)).unwrap();
    }
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        one_after_another().await;
        at_once().await;
        alive().await;
    });
}

async fn one_after_another() {
    let function = nothing();
    let mut environment = Environment::start(&function, AfterInit::Freeze).await.unwrap();
    let mut durations = Histogram::<u64>::new(3).unwrap();
    for _ in 0..WARM {
        let began = Instant::now();
        environment = invoke(environment).await;
        durations.record(u64::try_from(began.elapsed().as_nanos()).unwrap()).unwrap();
    }
    environment.end().await;
    println!("warm invocation, {WARM} one after another: {}", quantiles(&durations));
}

async fn at_once() {
    let function = nothing();
    let left = Arc::new(AtomicU32::new(AT_ONCE));
    let environments = start(&function, BUSY).await;
    let (began, cpu) = (Instant::now(), cpu_time());
    let work = |environment| work(environment, Arc::clone(&left));
    let environments = join_all(environments.into_iter().map(|environment| tokio::spawn(work(environment)))).await;
    let (elapsed, cpu) = (began.elapsed(), cpu_time() - cpu);
    println!(
        "{AT_ONCE} invocations over {BUSY} environments: {:.0} invocations/s, {:.0} us of the harness's CPU each",
        f64::from(AT_ONCE) / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(AT_ONCE),
    );
    join_all(environments.into_iter().map(|environment| environment.unwrap().end())).await;
}

async fn work(mut environment: Environment, left: Arc<AtomicU32>) -> Environment {
    let one_less = |left: u32| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        environment = invoke(environment).await;
    }
    environment
}

async fn alive() {
    let function = nothing();
    let began = Instant::now();
    let environments = start(&function, ALIVE).await;
    let elapsed = began.elapsed();
    let environments = join_all(environments.into_iter().map(invoke)).await;
    println!(
        "{ALIVE} environments alive, started at {:.0}/s, each invoked at the same time: {:.0} MiB of the harness, \
         {:.1} MiB available on the machine",
        ALIVE as f64 / elapsed.as_secs_f64(),
        mib("/proc/self/status", "VmRSS:"),
        mib("/proc/meminfo", "MemAvailable:"),
    );
    join_all(environments.into_iter().map(Environment::end)).await;
}

/// Starts that many environments, a few at a time.
async fn start(function: &Arc<Function>, count: usize) -> Vec<Environment> {
    let mut environments = Vec::new();
    while environments.len() < count {
        let few = 0..STARTING.min(count - environments.len());
        let started = join_all(few.map(|_| Environment::start(function, AfterInit::Freeze))).await;
        environments.extend(started.into_iter().map(Result::unwrap));
    }
    environments
}

async fn invoke(environment: Environment) -> Environment {
    let event = Bytes::from_static(b"{\"Records\":[]}");
    let invocation = Invocation { deliveries: Vec::new(), event, failures: Box::new(|_| Vec::new()) };
    let invoked = environment.invoke(&invocation).await;
    assert!(matches!(invoked.outcome, InvocationOutcome::Succeeded { .. }), "{:?}", invoked.outcome);
    invoked.environment.unwrap()
}

fn nothing() -> Arc<Function> {
    let (recorder, mut events) = Recorder::new();
    // Somebody has to read what is recorded, and nobody needs it here.
    tokio::spawn(async move { while events.recv().await.is_some_and(|_: Event| true) {} });
    let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
    let program = env::current_exe().unwrap().to_str().unwrap().to_owned();
    let spec = function::spec(vec![program], &env::temp_dir());
    Arc::new(Function::new(spec, spawner, recorder, Arc::new(Unwired)))
}

struct Unwired;

impl Wiring for Unwired {
    fn wire<'a>(&'a self, _: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        Box::pin(async { Ok(Wired { env: Vec::new(), network: Network::default(), guard: Box::new(()) }) })
    }
}

fn quantiles(nanoseconds: &Histogram<u64>) -> String {
    let at = |share| nanoseconds.value_at_quantile(share) as f64 / 1e6;
    format!("p50 {:.3} ms, p99 {:.3} ms", at(0.5), at(0.99))
}

/// The CPU time of this process alone, all its threads together.
fn cpu_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    };
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A value of a file of /proc that is given in kB.
fn mib(file: &str, key: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
