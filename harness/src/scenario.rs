//! A scenario, `scenarios/*.toml`: one run as data: how much load for how long, and what may happen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use verifier::event::Patience;

use crate::fault::FaultName;
use crate::input::{InputError, Source};
use crate::load::Schedule;
use crate::manifest::raw::{RawDuration, Text};

/// The scenario of `harness soak` as it was when the harness was built.
const SOAK: &str = include_str!("../../scenarios/soak.toml");
/// Where the scenario of `harness soak` is looked for, from the current directory.
const SOAK_FILE: &str = "scenarios/soak.toml";

/// One request a day: slower is rather a mistake.
const MIN_RATE: f64 = 1.0 / 86_400.0;
/// What a generator on one machine can be asked for at all.
const MAX_RATE: f64 = 100_000.0;
/// How many requests may wait for their answers at the same time at most.
const MAX_USERS: i64 = 10_000;

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

/// How the local Lambda behaves (`[lambda]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lambda {
    /// After how many invocations an environment is replaced by a new one. Without it, never.
    pub recycle_after: Option<u32>,
}

impl Scenario {
    /// Reads and validates a scenario. Its system's manifest is not read.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn read(file: &Path) -> Result<Self, InputError> {
        parse(&Source::read(file)?)
    }

    /// The scenario of `harness soak`: `scenarios/soak.toml` of the current directory, so that what a
    /// user changes there counts, and else its copy in the harness itself.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn soak() -> Result<Self, InputError> {
        let file = Path::new(SOAK_FILE);
        if file.exists() { Self::read(file) } else { parse(&Source::new(file, SOAK)) }
    }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    #[serde(default)]
    description: String,
    system: PathBuf,
    seed: Option<Spanned<i64>>,
    #[serde(default)]
    faults: Vec<Text>,
    load: RawLoad,
    #[serde(default)]
    lambda: RawLambda,
    #[serde(default)]
    patience: RawPatience,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    rate: Spanned<f64>,
    duration: Spanned<RawDuration>,
    timeout: Option<Spanned<RawDuration>>,
    users: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLambda {
    recycle_after: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawPatience {
    late_after: Option<RawDuration>,
    missing_after: Option<Spanned<RawDuration>>,
    remembered_for: Option<RawDuration>,
    late_start_after: Option<RawDuration>,
}

fn parse(source: &Source) -> Result<Scenario, InputError> {
    let raw: RawScenario = source.parse()?;
    let beside = source.file().parent().unwrap_or(Path::new(""));
    Ok(Scenario {
        file: source.file().to_owned(),
        name: raw.name,
        description: raw.description,
        system: without_dots(&beside.join(raw.system)),
        load: load(source, &raw.load)?,
        lambda: lambda(source, &raw.lambda)?,
        patience: patience(source, &raw.patience)?,
        seed: raw.seed.map(|seed| in_range(source, &seed, 0, i64::MAX, "a seed")).transpose()?.map(i64::unsigned_abs),
        faults: raw.faults.iter().map(|fault| known_fault(source, fault)).collect::<Result<_, _>>()?,
    })
}

/// `scenarios/../system` as `system`, which is how a user would write it.
fn without_dots(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components().fold(PathBuf::new(), |mut simple, component| {
        match (component, simple.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => _ = simple.pop(),
            (Component::CurDir, _) => {}
            _ => simple.push(component),
        }
        simple
    })
}

fn load(source: &Source, raw: &RawLoad) -> Result<Load, InputError> {
    let users = raw.users.as_ref().map(|users| in_range(source, users, 1, MAX_USERS, "the number of users"));
    let load = Load {
        rate: *raw.rate.get_ref(),
        duration: positive(source, &raw.duration)?,
        timeout: raw.timeout.as_ref().map_or(Ok(Duration::from_secs(10)), |timeout| positive(source, timeout))?,
        users: users.transpose()?.and_then(|users| usize::try_from(users).ok()),
    };
    load.validate().map_err(|error| {
        let place = if matches!(error, InvalidLoad::Rate(_)) { raw.rate.span() } else { raw.duration.span() };
        source.error(place, error.to_string())
    })?;
    Ok(load)
}

fn positive(source: &Source, duration: &Spanned<RawDuration>) -> Result<Duration, InputError> {
    let given = duration.get_ref().0;
    if given.is_zero() {
        return Err(source.error(duration.span(), "this must be longer than nothing"));
    }
    Ok(given)
}

fn lambda(source: &Source, raw: &RawLambda) -> Result<Lambda, InputError> {
    let limit = i64::from(u32::MAX);
    let invocations = |count| in_range(source, count, 1, limit, "the number of invocations before recycling");
    let recycle_after = raw.recycle_after.as_ref().map(invocations).transpose()?;
    Ok(Lambda { recycle_after: recycle_after.and_then(|count| u32::try_from(count).ok()) })
}

fn patience(source: &Source, raw: &RawPatience) -> Result<Patience, InputError> {
    let default = Patience::default();
    let or = |given: Option<RawDuration>, default| given.map_or(default, |given| given.0);
    let patience = Patience {
        late_after: or(raw.late_after, default.late_after),
        missing_after: or(raw.missing_after.as_ref().map(|given| *given.get_ref()), default.missing_after),
        remembered_for: or(raw.remembered_for, default.remembered_for),
        late_start_after: or(raw.late_start_after, default.late_start_after),
    };
    let given = raw.missing_after.as_ref().filter(|_| patience.missing_after < patience.late_after);
    given.map_or(Ok(patience), |given| {
        let late = humantime::format_duration(patience.late_after);
        let message = format!("a span cannot be missing before it is late, which it is after {late} (late_after)");
        Err(source.error(given.span(), message))
    })
}

fn known_fault(source: &Source, fault: &Text) -> Result<FaultName, InputError> {
    fault.get_ref().parse().map_err(|_| {
        let error = source.error(fault.span(), format!("unknown fault `{}`", fault.get_ref()));
        error.with_choices(fault.get_ref(), FaultName::ALL.map(FaultName::as_str))
    })
}

fn in_range(source: &Source, number: &Spanned<i64>, min: i64, max: i64, what: &str) -> Result<i64, InputError> {
    if (min..=max).contains(number.get_ref()) {
        return Ok(*number.get_ref());
    }
    Err(source.error(number.span(), format!("{what} is from {min} to {max}, not {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"n\"\nsystem = \"../system/system.toml\"\n[load]\nrate = 100\nduration = \"60s\"\n";

    fn read(text: &str) -> Result<Scenario, InputError> {
        parse(&Source::new(Path::new("scenarios/x.toml"), text))
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_scenario_has_the_defaults() {
        let scenario = read(SMALL).unwrap();
        assert_eq!(scenario.system, Path::new("system/system.toml"));
        assert_eq!(scenario.load.schedule().count(), 6_000);
        assert_eq!(scenario.load.timeout, Duration::from_secs(10));
        assert_eq!(scenario.load.users(), 500);
        assert_eq!(scenario.lambda, Lambda { recycle_after: None });
        assert_eq!(scenario.patience, Patience::default());
        assert_eq!((scenario.seed, scenario.faults), (None, Vec::new()));
    }

    #[test]
    fn users_follow_from_the_rate_within_limits() {
        let users = |rate, users| {
            let load = Load { rate, duration: Duration::from_secs(1), timeout: Duration::from_secs(1), users };
            load.users()
        };
        assert_eq!(users(0.1, None), 20);
        assert_eq!(users(50.0, None), 250);
        assert_eq!(users(5_000.0, None), 1_000);
        assert_eq!(users(5_000.0, Some(3)), 3);
    }

    #[test]
    fn every_key_is_read() {
        let text = format!(
            "description = \"d\"\nseed = 7\nfaults = [\"strip-context\"]\n{SMALL}timeout = \"2s\"\nusers = 5\n\
             [lambda]\nrecycle_after = 50\n\
             [patience]\nlate_after = \"1s\"\nmissing_after = \"2s\"\nremembered_for = \"3s\"\nlate_start_after = \"4ms\"\n"
        );
        let scenario = read(&text).unwrap();
        assert_eq!((scenario.seed, scenario.description.as_str()), (Some(7), "d"));
        assert_eq!(scenario.faults, [FaultName::StripContext]);
        assert_eq!((scenario.load.timeout, scenario.load.users()), (Duration::from_secs(2), 5));
        assert_eq!(scenario.lambda.recycle_after, Some(50));
        let seconds = Duration::from_secs;
        let patience = Patience {
            late_after: seconds(1),
            missing_after: seconds(2),
            remembered_for: seconds(3),
            late_start_after: Duration::from_millis(4),
        };
        assert_eq!(scenario.patience, patience);
    }

    #[test]
    fn an_unknown_fault_is_shown_with_those_there_are() {
        let expected = concat!(
            "scenarios/x.toml:1:11: unknown fault `strip-contxt`\n",
            "  |\n",
            "1 | faults = [\"strip-contxt\"]\n",
            "  |           ^^^^^^^^^^^^^^\n",
            "  = did you mean `strip-context`?\n",
            "  = possible: `strip-context`, `wrong-key`",
        );
        assert_eq!(error(&format!("faults = [\"strip-contxt\"]\n{SMALL}")), expected);
    }

    #[test]
    fn loads_that_cannot_be_are_refused() {
        let load = |from: &str, to: &str| error(&SMALL.replace(from, to));
        assert!(
            load("= 100", "= 0").contains(":4:8: a rate is in requests per second, above 0 and up to 100000, not 0")
        );
        assert!(load("= 100", "= nan").contains(":4:8: a rate is in requests per second"));
        assert!(load("60s", "0s").contains(":5:12: this must be longer than nothing"));
        assert!(load("60s", "1ms").contains(":5:12: the load holds 0 requests; a run has from 1 to 4294967295"));
        assert!(load("\"60s\"", "60").contains("expected a duration such as \"10s\" or \"500ms\""));
        assert!(load("60s", "60x").contains("`60x` is no duration: write it as \"10s\" or \"500ms\""));
        assert!(
            load("duration", "users = 0\nduration").contains(":5:9: the number of users is from 1 to 10000, not 0")
        );
    }

    #[test]
    fn a_span_cannot_be_missing_before_it_is_late() {
        let message = error(&format!("{SMALL}[patience]\nmissing_after = \"5s\"\n"));
        assert!(
            message.contains(":7:17: a span cannot be missing before it is late, which it is after 10s"),
            "{message}"
        );
    }

    #[test]
    fn the_shipped_scenarios_are_valid() {
        let soak = parse(&Source::new(Path::new(SOAK_FILE), SOAK)).unwrap();
        assert_eq!((soak.load.rate, soak.load.duration), (100.0, Duration::from_secs(60)));
        assert_eq!(soak.system, Path::new("system/system.toml"));
        let smoke = Scenario::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/smoke.toml")).unwrap();
        assert!(smoke.load.schedule().count() < 1_000);
    }
}
