//! A run, from top to bottom: set up, load, drain, stop, and what it came to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use verifier::EventKind;
use verifier::event::{Correlation, Fault, JOURNAL_VERSION, Phase, RunStarted};

use crate::error::Error;
use crate::fault::FaultName;
use crate::folder::RunFolder;
use crate::interrupt::Interrupts;
use crate::journal::{Book, Progress, Recorder};
use crate::load;
use crate::manifest::Manifest;
use crate::outcome::Outcome;
use crate::report::live::{Live, waiting_for};
use crate::scenario::Scenario;
use crate::sqs::RunQueues;
use crate::stage::{Secrets, Stage};
use crate::target::service::printed;
use crate::target::{Spawner, build};
use crate::usage::{Meter, ensure_descriptors};

/// How often time goes on for the verifier.
const TICK: Duration = Duration::from_millis(100);
/// Every how many ticks resources are sampled.
const TICKS_PER_SAMPLE: u64 = 10;
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// How long nothing may move in the ledger while it comes to rest, beyond what a redelivery takes.
const DRAIN: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The load and the patience.
    pub scenario: Scenario,
    /// The system under test.
    pub manifest: Manifest,
    /// The folder for the run's folder.
    pub out: PathBuf,
    /// The seed of everything random.
    pub seed: u64,
    /// What is done to the system on purpose.
    pub faults: Vec<FaultName>,
    /// The URL of the SQS endpoint that keeps the messages; left out, our own engine does.
    pub sqs_endpoint: Option<String>,
}

impl Plan {
    /// The tag in the run's request ids, from its seed: the same run sends the same requests.
    pub fn tag(&self) -> u32 {
        let seed = self.seed;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded into 32 bits")]
        let tag = (seed ^ (seed >> 32)) as u32;
        tag
    }
}

/// A run that came to an end.
#[derive(Debug)]
pub struct Finished {
    /// What it came to.
    pub outcome: Outcome,
    /// Where its files are.
    pub folder: RunFolder,
}

/// Carries out a run. When it returns, be it with an error, all processes that it started have ended or
/// have been killed.
///
/// # Errors
/// If the run cannot be set up, or is abandoned. What a system does wrong is no error: it is the
/// run's outcome.
pub async fn run(plan: &Plan, live: Live, interrupts: &Interrupts) -> Result<Finished, Error> {
    let environments: u32 = plan.manifest.functions.values().map(|function| function.max_concurrency).sum();
    ensure_descriptors(plan.scenario.load.users(), environments as usize)?;
    plan.scenario.lambda.freezer.check()?;
    let folder = RunFolder::create(&plan.out, &plan.scenario.name)?;
    let secrets = Secrets::generate();
    // Not by its path: the file may be replaced by another build during a run.
    let spawner = Spawner::start(Some(Path::new("/proc/self/exe")));
    let spawner = spawner.map_err(|error| Error::setup("the thread for processes", error))?.masking(secrets.mask());
    let run = Run { plan, folder, spawner: spawner.clone(), secrets, live };
    let finished = tokio::select! {
        biased;
        () = interrupts.abandon.cancelled() => Err(Error::Interrupted),
        finished = run.carry_out(&interrupts.stop) => finished,
    };
    spawner.kill_all();
    finished
}

struct Run<'a> {
    plan: &'a Plan,
    folder: RunFolder,
    spawner: Spawner,
    secrets: Secrets,
    live: Live,
}

impl Run<'_> {
    /// Everything from the build to the outcome. Whatever happens, the journal comes to its end.
    async fn carry_out(mut self, stop: &CancellationToken) -> Result<Finished, Error> {
        self.unless(stop, build::all(&self.plan.manifest, &self.folder, &self.spawner, &self.live)).await?;
        let meter = Meter::start();
        let (recorder, events) = Recorder::new();
        let book = Book::open(self.folder.path(), self.secrets.mask(), recorder.clone(), events)?;
        self.record_start(&recorder);
        let ticker = tokio::spawn(tick(recorder.clone(), meter));
        let performed = self.perform(&recorder, book.progress(), stop).await;
        ticker.abort();
        recorder.record(meter.sample());
        recorder.finish().await;
        let outcome = book.close().await;
        performed.map(|()| Finished { outcome, folder: self.folder })
    }

    /// The phases. What was created at an external SQS endpoint is deleted there, however they end.
    async fn perform(
        &mut self,
        recorder: &Recorder,
        progress: watch::Receiver<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let queues = self.unless(stop, RunQueues::open(self.plan, recorder)).await?;
        let performed = self.perform_on(&queues, recorder, progress, stop).await;
        queues.close(&self.live).await;
        performed
    }

    async fn perform_on(
        &mut self,
        queues: &RunQueues,
        recorder: &Recorder,
        progress: watch::Receiver<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut stage = self.unless(stop, self.set_up(queues, recorder)).await?;
        self.folder.make_latest().map_err(|error| Error::file("no link to", self.folder.path(), &error))?;
        self.load(&mut stage, recorder, progress.clone(), stop).await?;
        recorder.record(EventKind::PhaseStarted { phase: Phase::Drain });
        self.drain(recorder, progress.clone()).await;
        recorder.record(EventKind::PhaseStarted { phase: Phase::Stop });
        self.live.say("Stopping", "services with SIGTERM, environments frozen as they are");
        stage.stop_services().await;
        // A service may have sent the last messages while it stopped.
        self.drain(recorder, progress).await;
        stage.stop_functions(recorder).await;
        Ok(())
    }

    /// Does something that there is no verdict without: an interruption ends it, and the run.
    async fn unless<T>(
        &self,
        stop: &CancellationToken,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::NothingDone),
            done = work => done,
        }
    }

    fn record_start(&self, recorder: &Recorder) {
        let Plan { scenario, manifest, seed, faults, .. } = self.plan;
        recorder.record(EventKind::RunStarted(Box::new(RunStarted {
            version: JOURNAL_VERSION,
            run: self.folder.id().to_owned(),
            tag: self.plan.tag(),
            seed: *seed,
            harness: env!("CARGO_PKG_VERSION").to_owned(),
            system: manifest.name.clone(),
            entry: manifest.request.service.clone(),
            scenario: scenario.name.clone(),
            faults: faults.iter().map(ToString::to_string).collect(),
            contract: manifest.contract.clone(),
            correlation: Correlation {
                request: manifest.correlation.span_attributes.clone(),
                message: manifest.correlation.message_attributes.clone(),
                invocation: manifest.correlation.invocation_attributes.clone(),
            },
            patience: scenario.patience,
            excused_at_most: scenario.excused_at_most,
        })));
        if faults.contains(&FaultName::WrongKey) {
            recorder.record(EventKind::FaultInjected(Fault::WrongKey));
        }
    }

    async fn set_up(&self, queues: &RunQueues, recorder: &Recorder) -> Result<Stage, Error> {
        recorder.record(EventKind::PhaseStarted { phase: Phase::WarmUp });
        let Self { plan, folder, spawner, secrets, live } = self;
        let stage = Stage::set_up(plan, folder, spawner, recorder, secrets, queues, live).await?;
        // One that dies while the others start would otherwise seem to have died under load.
        match stage.service_died().now_or_never() {
            Some(died) => Err(Error::Setup(format!("{died}{}", printed(&died.end.output)))),
            None => Ok(stage),
        }
    }

    /// Sends the load; it ends early if the user wants that, or when a service has died.
    async fn load(
        &mut self,
        stage: &mut Stage,
        recorder: &Recorder,
        progress: watch::Receiver<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        recorder.record(EventKind::PhaseStarted { phase: Phase::Load });
        stage.start_polling();
        let schedule = self.plan.scenario.load.schedule();
        let showing = self.live.show(schedule.count(), progress);
        let end = CancellationToken::new();
        let sending = load::run(stage.load_plan(self.plan), schedule, recorder.clone(), end.clone(), Arc::default());
        tokio::pin!(sending);
        let early = tokio::select! {
            sent = &mut sending => return sent.map(drop).map_err(|error| Error::Internal(error.to_string())),
            died = stage.service_died() => died.to_string(),
            () = stop.cancelled() => {
                recorder.record(EventKind::Interrupted);
                "as you asked; once more ends it at once".to_owned()
            }
        };
        end.cancel();
        drop(showing);
        self.live.say("Ending", &format!("the load early: {early}"));
        sending.await.map(drop).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Waits until the ledger is at rest: every request answered, every message out of its queue. As long
    /// as it comes nearer to that, it may take any time; what does not move any more is judged as it is.
    async fn drain(&self, recorder: &Recorder, mut progress: watch::Receiver<Progress>) {
        let began = recorder.now();
        let mut fewest = usize::MAX;
        let mut limit = Instant::now() + self.drain_limit();
        loop {
            let at_rest = progress.wait_for(|progress| progress.now > began && progress.pending.is_empty());
            if tokio::time::timeout(SAY_EVERY, at_rest).await.is_ok() {
                return;
            }
            let (left, awaited) = left_over(&progress.borrow());
            if left < fewest {
                (fewest, limit) = (left, Instant::now() + self.drain_limit());
            } else if Instant::now() >= limit {
                self.live.say("Gave up", &format!("waiting for {awaited}"));
                return;
            }
            self.live.say("Waiting", &format!("for {awaited}"));
        }
    }

    /// How long nothing may move in the ledger: a message may have to come back several times.
    fn drain_limit(&self) -> Duration {
        let Manifest { queues, functions, .. } = &self.plan.manifest;
        let returns = queues.values().map(|queue| queue.visibility_timeout * queue.max_receive_count.unwrap_or(1));
        let invocation = functions.values().map(|function| function.timeout);
        DRAIN + returns.max().unwrap_or_default() + invocation.max().unwrap_or_default()
    }
}

/// How much the ledger waits for, and what that is.
fn left_over(progress: &Progress) -> (usize, String) {
    (progress.pending.iter().map(|pending| pending.count).sum(), waiting_for(progress))
}

/// Lets time go on for the verifier, and samples what is used.
async fn tick(recorder: Recorder, meter: Meter) {
    let mut ticks = tokio::time::interval(TICK);
    // After a stall, time goes on from there: nobody is helped by ticks that never were.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0_u64.. {
        ticks.tick().await;
        recorder.record(EventKind::Ticked);
        if number % TICKS_PER_SAMPLE == 0 {
            recorder.record(meter.sample());
        }
    }
}
