//! Goose, with its process-wide state kept in check.
//!
//! Goose brings the users, the HTTP exchange and a second count of it; the schedule is ours. What
//! goose 0.19 does besides, and what is done about it here:
//!
//! - It says on stdout that all users were launched, unless it resets its metrics at that moment and
//!   was told not to print them. So the reset stays on, and nothing is sent before it is over.
//! - Its logger writes warnings to stdout. A process has one logger, so one that is silent is
//!   installed first; failed requests are in the journal.
//! - Its killswitch, its logger and its handler of Ctrl-C are process-wide. So there is one attack at
//!   a time. Whoever handles Ctrl-C installs a handler with the crate `ctrlc` *before*: goose's then
//!   fails to install, which it tolerates.
//! - Being stopped, it lets each user end what it is at. All that a user ever does is one goose
//!   transaction here, so goose is told to stop as soon as it is under way: from then on it only
//!   waits until every answer is in, and nothing is ever aborted.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use goose::config::GooseConfiguration;
use goose::goose::{GooseUser, Scenario, Transaction};
use goose::metrics::GooseMetrics;
use goose::{GooseAttack, GooseError};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use verifier::RequestId;
use verifier::event::EventKind;

use super::attack::Attack;
use super::plan::{LoadPlan, PlanError};
use super::progress::Progress;
use super::schedule::Schedule;
use crate::journal::Recorder;

/// Goose's killswitch is process-wide.
static ONE_ATTACK: Mutex<()> = Mutex::const_new(());

/// Users start at this rate, per second. Goose's own default is one.
const LAUNCH_RATE: &str = "100000";
/// How often goose is asked whether its users are under way.
const RESET_POLL: Duration = Duration::from_millis(2);
/// It takes milliseconds; after this long it will not happen any more.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Until goose's word to end reaches a user that has nothing left to do.
const EXIT_POLL: Duration = Duration::from_millis(20);
/// Below the shortest common keep-alive of servers (Node.js: 5 s), so that no request is sent on a
/// connection that the server is just closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A load that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOutcome {
    /// How many requests the schedule held.
    pub scheduled: u64,
    /// How many were sent; each of them came to its end.
    pub sent: u64,
    /// How many were answered with a status that promises a trace.
    pub accepted: u64,
}

impl LoadOutcome {
    /// Whether the load was stopped before its schedule was over.
    pub fn ended_early(&self) -> bool {
        self.sent < self.scheduled
    }
}

/// The load could not be sent, or its books do not balance.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No request can be made from the plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is no HTTP client.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[source] reqwest::Error),
    /// Goose refused, or is not the goose that is known here.
    #[error("the load engine failed: {0}")]
    Engine(String),
    /// An identity of the harness's own making does not hold.
    #[error("the load's books do not balance: {started} requests started, {finished} finished, goose counted {goose}")]
    Miscounted {
        /// Requests that were started.
        started: u64,
        /// Requests that came to their end.
        finished: u64,
        /// Requests that goose counted.
        goose: u64,
    },
}

impl From<GooseError> for LoadError {
    fn from(error: GooseError) -> Self {
        Self::Engine(error.to_string())
    }
}

/// Sends a load, and returns when the last answer is in.
///
/// Every request of the schedule is sent, however late. After `stop` no further one is; those in
/// flight are still answered, or run into the plan's time-out. One load at a time: a second one waits
/// for the first.
///
/// # Errors
/// If the plan is of no use, or the count of requests differs from goose's.
pub async fn run(
    plan: LoadPlan,
    schedule: Schedule,
    recorder: Recorder,
    stop: CancellationToken,
    progress: Arc<Progress>,
) -> Result<LoadOutcome, LoadError> {
    let _one_attack = ONE_ATTACK.lock().await;
    plan.request(RequestId::new(plan.tag, 0))?;
    let client = client(&plan)?;
    let (start, _) = watch::channel(None);
    let next = AtomicU64::new(0);
    let (stop, failure) = (stop.child_token(), OnceLock::new());
    let attack = Arc::new(Attack { plan, schedule, recorder, progress, stop, failure, client, next, start });
    let metrics = execute(&attack).await?;
    attack.recorder.record(EventKind::LoadFinished { sent: attack.progress.started() });
    match attack.failure.get() {
        Some(failure) => Err(LoadError::Engine((*failure).to_owned())),
        None => balanced(&attack, &metrics),
    }
}

/// One client for all users; goose would make one for each, with a pool of connections of its own.
fn client(plan: &LoadPlan) -> Result<reqwest::Client, LoadError> {
    reqwest::Client::builder()
        .timeout(plan.timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        // The request goes to the service itself, once: a proxy, a redirect or a retry by the client
        // would be a second request that no ledger knows.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("trace-harness/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(LoadError::Client)
}

async fn execute(attack: &Arc<Attack>) -> Result<GooseMetrics, LoadError> {
    silence_log();
    let shared = Arc::clone(attack);
    let life = Transaction::new(Arc::new(move |user| {
        let attack = Arc::clone(&shared);
        Box::pin(async move {
            live(&attack, user).await;
            Ok(())
        })
    }));
    let goose = goose_attack(&attack.plan.base_url, attack.plan.users, life)?;
    Ok(goose.execute().await?)
}

/// Goose, with as many users that each repeat a transaction until goose is told to stop.
fn goose_attack(base_url: &str, users: usize, transaction: Transaction) -> Result<GooseAttack, GooseError> {
    let users = users.max(1).to_string();
    let options = [
        "--host",
        base_url,
        "--users",
        &users,
        "--increase-rate",
        LAUNCH_RATE,
        "--no-print-metrics",
        "--no-telnet",
        "--no-transaction-metrics",
        "--no-scenario-metrics",
        "--no-error-summary",
        "--quiet",
    ];
    let configuration = GooseConfiguration::parse_args_default(&options)?;
    // Shared, so that goose makes one client and not one for each user; all get another anyhow.
    let client = goose::client::GooseClientBuilder::new().without_cookies();
    let scenario = Scenario::new("load").register_transaction(transaction);
    Ok(GooseAttack::initialize_with_config(configuration)?
        .set_client_builder_without_cookies(client)?
        .register_scenario(scenario))
}

/// A user's life: one goose transaction.
async fn live(attack: &Attack, user: &mut GooseUser) {
    if user.weighted_users_index == 0 && attack.start.borrow().is_none() {
        until_under_way(attack, user).await;
        attack.begin();
        goose::trigger_killswitch("every user is under way and ends by itself");
    }
    attack.send_all(user).await;
    tokio::time::sleep(EXIT_POLL).await;
}

/// Waits until all users are launched and everything they do from now on is counted.
async fn until_under_way(attack: &Attack, user: &GooseUser) {
    let reset = tokio::time::timeout(LAUNCH_TIMEOUT, until_metrics_are_reset(user));
    tokio::select! {
        reset = reset => if reset.is_err() {
            attack.fail("goose did not get its users under way");
        },
        () = attack.stop.cancelled() => {}
    }
}

/// Waits until goose has reset its metrics, which it does when all users are launched.
///
/// What is counted before would be lost. Goose tells nobody, but a user's `Debug` form shows the epoch
/// in which its batch of metrics was made and the present one, and a reset begins a new epoch. Should
/// another goose show neither, nothing is waited for, and the comparison of counts finds what is lost.
async fn until_metrics_are_reset(user: &GooseUser) {
    while epochs(user).is_some_and(|(batch, present)| present <= batch) {
        tokio::time::sleep(RESET_POLL).await;
    }
}

/// The epochs of a user's batch of metrics and of goose's metrics.
fn epochs(user: &GooseUser) -> Option<(u64, u64)> {
    let mut shown = String::new();
    write!(shown, "{user:?}").ok()?;
    Some((number_after(&shown, "GooseMetricBatch { epoch: ")?, number_after(&shown, "metrics_epoch: Some(")?))
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Compares the count of requests with goose's, who counted for itself.
fn balanced(attack: &Attack, metrics: &GooseMetrics) -> Result<LoadOutcome, LoadError> {
    let (started, finished) = (attack.progress.started(), attack.progress.finished());
    let goose = metrics.requests.values().map(|request| request.success_count + request.fail_count).sum::<usize>();
    let goose = goose as u64;
    if started != finished || started != goose {
        return Err(LoadError::Miscounted { started, finished, goose });
    }
    Ok(LoadOutcome { scheduled: attack.schedule.count(), sent: started, accepted: attack.progress.accepted() })
}

/// Installs a logger that is silent, unless the process has one already.
fn silence_log() {
    struct Silent;

    impl log::Log for Silent {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            false
        }

        fn log(&self, _: &log::Record<'_>) {}

        fn flush(&self) {}
    }

    // An error says that there is a logger, and so goose's cannot be installed either.
    let _ = log::set_logger(&Silent);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the beginning of a load waits for is no public part of goose.
    #[tokio::test]
    async fn goose_shows_that_it_has_reset_its_metrics() {
        static SEEN: OnceLock<Option<(u64, u64)>> = OnceLock::new();
        let _one_attack = ONE_ATTACK.lock().await;
        silence_log();
        let transaction = Transaction::new(Arc::new(|user| {
            Box::pin(async move {
                until_metrics_are_reset(user).await;
                let _ = SEEN.set(epochs(user));
                goose::trigger_killswitch("seen");
                tokio::time::sleep(EXIT_POLL).await;
                Ok(())
            })
        }));
        goose_attack("http://127.0.0.1:1", 3, transaction).unwrap().execute().await.unwrap();
        let (batch, present) = SEEN.get().unwrap().expect("both epochs are shown");
        assert!(batch < present, "{batch} {present}");
    }
}
