//! How fast 200 processes of 4 threads are stopped, confirmed and let go on; what that and watching their
//! memory costs.
//!
//! `cargo bench -p harness --bench freezer`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and a panic is how it fails")]

use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_all};
use harness::target::freezer::Freezer;
use harness::target::{Process, ProcessSpec, Spawner};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// How many processes are alive at once.
const PROCESSES: usize = 200;
/// How many threads each has.
const THREADS: usize = 4;
/// How often each is stopped.
const ROUNDS: usize = 20;
/// How long their memory is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// Tells this program that it is one of the processes.
const SLEEPER: &str = "FREEZER_BENCH_SLEEPER";

fn main() {
    if env::var_os(SLEEPER).is_some() {
        (1..THREADS).for_each(|_| drop(thread::spawn(thread::park)));
        return thread::park();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for freezer in [Freezer::Signals, Freezer::Cgroup2, Freezer::Off] {
        match freezer.check() {
            Ok(()) => runtime.block_on(measure(freezer)),
            Err(error) => println!("{freezer:?}: {error}"),
        }
    }
}

async fn measure(freezer: Freezer) {
    let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
    let began = Instant::now();
    let processes = join_all((0..PROCESSES).map(|_| start(&spawner, freezer))).await;
    println!("{freezer:?}: {PROCESSES} processes started in {:?}", began.elapsed());
    processes.iter().for_each(until_all_threads_are_there);
    stop_and_go(&processes).await;
    watch_memory(&processes).await;
    let began = Instant::now();
    processes.iter().for_each(Process::kill);
    join_all(processes.iter().map(Process::ended)).await;
    println!("  all killed and gone in {:?}", began.elapsed());
}

async fn start(spawner: &Spawner, freezer: Freezer) -> Process {
    let command = vec![env::current_exe().unwrap().to_string_lossy().into_owned()];
    let env = vec![(SLEEPER.to_owned(), String::new())];
    let spec = ProcessSpec { command, directory: PathBuf::from("/"), env, log: None, freezer };
    spawner.spawn(spec, |_| {}).await.unwrap()
}

fn until_all_threads_are_there(process: &Process) {
    let tasks = format!("/proc/{}/task", process.id());
    while std::fs::read_dir(&tasks).unwrap().count() < THREADS {
        thread::sleep(Duration::from_millis(1));
    }
}

async fn stop_and_go(processes: &[Process]) {
    let [mut stop, mut go] = [(); 2].map(|()| Histogram::<u64>::new(3).unwrap());
    let cpu = cpu();
    for process in processes.iter().cycle().take(PROCESSES * ROUNDS) {
        let began = Instant::now();
        process.suspend();
        process.confirm_suspended().await.unwrap();
        record(&mut stop, began.elapsed());
        let began = Instant::now();
        process.resume();
        record(&mut go, began.elapsed());
    }
    println!("  stopped and confirmed: {}", percentiles(&stop));
    println!("  let go on:             {}", percentiles(&go));
    println!("  CPU time of both:      {:?} each", (self::cpu() - cpu) / u32::try_from(PROCESSES * ROUNDS).unwrap());
}

/// All are watched, and none ever has so much.
async fn watch_memory(processes: &[Process]) {
    let cpu = cpu();
    let too_much = select_all(processes.iter().map(|process| process.exceeds(u64::MAX).boxed()));
    assert!(tokio::time::timeout(WATCHED, too_much).await.is_err());
    let share = 100.0 * (self::cpu() - cpu).as_secs_f64() / WATCHED.as_secs_f64();
    println!("  watching the memory of all: {share:.1} % of a core");
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.record(u64::try_from(took.as_nanos()).unwrap()).unwrap();
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|at| Duration::from_nanos(histogram.value_at_quantile(at)));
    format!("p50 {median:?}, p99 {p99:?}, max {max:?}")
}

/// What this process has used.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    Duration::from_micros((usage.user_time() + usage.system_time()).num_microseconds().unsigned_abs())
}
