//! A scenario as the harness uses it: read, validated, and with its defaults filled in.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use verifier::event::Patience;

use crate::cloud::event_source::Scaling;
use crate::cloud::function::Cuts;
use crate::fault::FaultName;
use crate::load::Schedule;
use crate::target::freezer::Freezer;

/// One request a day: slower is rather a mistake.
const MIN_RATE: f64 = 1.0 / 86_400.0;
/// What a generator on one machine can be asked for at all.
const MAX_RATE: f64 = 100_000.0;

/// One run as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file that it was read from, as the user named it.
    pub file: PathBuf,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The manifest of the system under test.
    pub system: PathBuf,
    /// The load.
    pub load: Load,
    /// How the local Lambda behaves.
    pub lambda: Lambda,
    /// The way between execution environments and the endpoint.
    pub network: Network,
    /// How many spans may be missing because an environment was killed on purpose; any number, if this
    /// is left out.
    pub excused_at_most: Option<u64>,
    /// How long things may take.
    pub patience: Patience,
    /// The seed of everything random in the run. Without it, every run has another.
    pub seed: Option<u64>,
    /// What is done to the system on purpose.
    pub faults: Vec<FaultName>,
}

/// The load of a scenario (`[load]`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// The arrival rate, in requests per second.
    pub rate: f64,
    /// For how long requests are sent.
    pub duration: Duration,
    /// How long an answer may take. Default: 10 s.
    pub timeout: Duration,
    /// How many requests may wait for their answers at the same time; see [`Load::users`].
    pub users: Option<usize>,
}

/// How the local Lambda behaves (`[lambda]`). What its default is, is the strictest and quickest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lambda {
    /// After how many invocations an environment is replaced by a new one. Without it, never.
    pub recycle_after: Option<u32>,
    /// For how long an environment may be idle before it is ended. Without it, until the run ends.
    pub idle_timeout: Option<Duration>,
    /// The share of environments that are killed at a random moment, 0 to 1.
    pub kill: f64,
    /// How environments are frozen.
    pub freezer: Freezer,
    /// How long after its runtime asked for the next invocation an environment is frozen. Default: at once.
    pub freeze_delay: Duration,
    /// Which idle environment is used.
    pub choice: EnvironmentChoice,
    /// The median of what the platform takes before it starts an environment. Without it, no time.
    pub platform_delay: Option<Duration>,
    /// How concurrency grows with the backlog. Without it, all of it is there at once.
    pub scaling: Option<Scaling>,
}

/// Which idle environment is used; what is random comes from the run's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentChoice {
    /// The one that was used last, as on AWS.
    #[default]
    MostRecentlyUsed,
    /// The one that has been idle longest.
    LeastRecentlyUsed,
    /// Any.
    Random,
}

/// The way between execution environments and the endpoint (`[network]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// How long everything takes in each direction.
    pub latency: Duration,
    /// What happens to the connections of every environment, once, while it is frozen.
    pub cut: Option<Cuts>,
}

/// A load that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidLoad {
    /// The rate is none.
    #[error("a rate is in requests per second, above 0 and up to {MAX_RATE}, not {0}")]
    Rate(f64),
    /// There is nothing to send, or more than requests have numbers.
    #[error("the load holds {0} requests; a run has from 1 to {max}", max = u32::MAX)]
    Count(u64),
}

impl Load {
    /// Checks that there is something to send, and that it can be counted.
    ///
    /// For a load as it was read this holds; it is for those who change one.
    ///
    /// # Errors
    /// If there is not.
    pub fn validate(&self) -> Result<(), InvalidLoad> {
        if !(MIN_RATE..=MAX_RATE).contains(&self.rate) {
            return Err(InvalidLoad::Rate(self.rate));
        }
        match self.schedule().count() {
            count @ 1.. if u32::try_from(count).is_ok() => Ok(()),
            count => Err(InvalidLoad::Count(count)),
        }
    }

    /// When the requests are due.
    pub fn schedule(&self) -> Schedule {
        Schedule::Constant { rate: self.rate, duration: self.duration }
    }

    /// How many requests may wait for their answers at the same time: what the scenario says, and
    /// else enough for a system that answers nothing for 5 s (Little's law), from 20 to 1,000.
    ///
    /// A request that finds none free is sent late, and never left out.
    pub fn users(&self) -> usize {
        let for_five_seconds = self.rate * 5.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 20..=1000")]
        let users = for_five_seconds.ceil().clamp(20.0, 1_000.0) as usize;
        self.users.unwrap_or(users)
    }
}
