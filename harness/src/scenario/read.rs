//! From the scenario as it is written to the scenario as it is used, with every error on the way.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use verifier::event::{Cut, Patience};

use super::model::{InvalidLoad, Lambda, Load, Network, Scenario};
use super::raw::{RawAllow, RawFreezer, RawLambda, RawLoad, RawNetwork, RawPatience, RawScaling, RawScenario};
use crate::cloud::event_source::Scaling;
use crate::cloud::function::Cuts;
use crate::fault::FaultName;
use crate::input::{InputError, Source};
use crate::manifest::raw::{RawDuration, Text};
use crate::target::freezer::Freezer;

/// The scenario of `harness soak` as it was when the harness was built.
pub(super) const SOAK: &str = include_str!("../../../scenarios/soak.toml");
/// The scenario of `harness demo` as it was when the harness was built.
const DEMO: &str = include_str!("../../../scenarios/demo.toml");
/// Where the scenario of `harness demo` is looked for, from the current directory.
const DEMO_FILE: &str = "scenarios/demo.toml";
/// Where the scenario of `harness soak` is looked for, from the current directory.
pub(super) const SOAK_FILE: &str = "scenarios/soak.toml";
/// How many requests may wait for their answers at the same time at most.
const MAX_USERS: i64 = 10_000;
/// What a minute of an event source mapping's scaling can be stretched and compressed to.
const MIN_TIME_SCALE: f64 = 0.01;
/// See [`MIN_TIME_SCALE`].
const MAX_TIME_SCALE: f64 = 1_000.0;

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
        Self::shipped(SOAK_FILE, SOAK)
    }

    /// The scenario of `harness demo`, as [`Self::soak`].
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn demo() -> Result<Self, InputError> {
        Self::shipped(DEMO_FILE, DEMO)
    }

    fn shipped(file: &str, copy: &str) -> Result<Self, InputError> {
        let file = Path::new(file);
        if file.exists() { Self::read(file) } else { parse(&Source::new(file, copy)) }
    }
}

pub(super) fn parse(source: &Source) -> Result<Scenario, InputError> {
    let raw: RawScenario = source.parse()?;
    let beside = source.file().parent().unwrap_or(Path::new(""));
    Ok(Scenario {
        file: source.file().to_owned(),
        name: raw.name,
        description: raw.description,
        system: without_dots(&beside.join(raw.system)),
        load: load(source, &raw.load)?,
        lambda: lambda(source, &raw.lambda)?,
        network: network(source, &raw.network)?,
        excused_at_most: excused_at_most(source, &raw.allow)?,
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
    let invocations = |count| positive_number(source, count, "the number of invocations before recycling");
    Ok(Lambda {
        recycle_after: raw.recycle_after.as_ref().map(invocations).transpose()?.map(NonZeroU32::get),
        idle_timeout: raw.idle_timeout.as_ref().map(|timeout| positive(source, timeout)).transpose()?,
        kill: raw.kill.as_ref().map_or(Ok(0.0), |share| share_of_all(source, share))?,
        freezer: freezer(&raw.freezer),
        freeze_delay: raw.freeze_delay.map_or(Duration::ZERO, |delay| delay.0),
        choice: raw.environments,
        platform_delay: raw.platform_delay.as_ref().map(|delay| positive(source, delay)).transpose()?,
        scaling: raw.scaling.as_ref().map(|raw| scaling(source, raw)).transpose()?,
    })
}

const fn freezer(raw: &RawFreezer) -> Freezer {
    match raw {
        RawFreezer::Signals => Freezer::Signals,
        RawFreezer::Cgroup2 => Freezer::Cgroup2,
        RawFreezer::Off => Freezer::Off,
    }
}

/// What is left out is as on AWS.
fn scaling(source: &Source, raw: &RawScaling) -> Result<Scaling, InputError> {
    let number = |number: &Option<Spanned<i64>>, default: u32, what| {
        let given = number.as_ref().map(|number| positive_number(source, number, what)).transpose();
        given.map(|given| given.map_or(default, NonZeroU32::get))
    };
    let time_scale = raw.time_scale.as_ref().map_or(1.0, |scale| *scale.get_ref());
    if let Some(place) = raw.time_scale.as_ref().filter(|_| !(MIN_TIME_SCALE..=MAX_TIME_SCALE).contains(&time_scale)) {
        let message = format!("a time scale is from {MIN_TIME_SCALE} to {MAX_TIME_SCALE}, not {time_scale}");
        return Err(source.error(place.span(), message));
    }
    Ok(Scaling {
        start: number(&raw.start, Scaling::AWS.start, "the concurrency at the start")?,
        per_minute: number(&raw.per_minute, Scaling::AWS.per_minute, "the concurrency that a minute adds")?,
        time_scale,
    })
}

fn network(source: &Source, raw: &RawNetwork) -> Result<Network, InputError> {
    let latency = raw.latency.map_or(Duration::ZERO, |latency| latency.0);
    let after = raw.cut_after.as_ref();
    let cut = match (raw.cut, after) {
        (None, Some(after)) => {
            let error = source.error(after.span(), "`cut` says how connections are cut, and is missing");
            return Err(error.with_choices("", Cut::ALL.map(Cut::as_str)));
        }
        (None, None) => None,
        (Some(how), after) => {
            let given = after.map(|after| positive_number(source, after, "the invocation after which they are cut"));
            Some(Cuts { how, after: given.transpose()?.unwrap_or(NonZeroU32::MIN) })
        }
    };
    Ok(Network { latency, cut })
}

fn excused_at_most(source: &Source, raw: &RawAllow) -> Result<Option<u64>, InputError> {
    let excused = raw.excused.as_ref().map(|count| in_range(source, count, 0, i64::MAX, "the number of excused spans"));
    Ok(excused.transpose()?.map(i64::unsigned_abs))
}

fn share_of_all(source: &Source, share: &Spanned<f64>) -> Result<f64, InputError> {
    let given = *share.get_ref();
    if (0.0..=1.0).contains(&given) {
        return Ok(given);
    }
    Err(source.error(share.span(), format!("a share is from 0 (none) to 1 (all), not {given}")))
}

fn positive_number(source: &Source, number: &Spanned<i64>, what: &str) -> Result<NonZeroU32, InputError> {
    let given = in_range(source, number, 1, i64::from(u32::MAX), what)?;
    // It is in range, so it is one.
    Ok(u32::try_from(given).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))
}

fn patience(source: &Source, raw: &RawPatience) -> Result<Patience, InputError> {
    let default = Patience::default();
    let or = |given: Option<RawDuration>, default| given.map_or(default, |given| given.0);
    let patience = Patience {
        late_after: or(raw.late_after, default.late_after),
        missing_after: or(raw.missing_after.as_ref().map(|given| *given.get_ref()), default.missing_after),
        remembered_for: or(raw.remembered_for, default.remembered_for),
        late_start_after: or(raw.late_start_after, default.late_start_after),
        flush_budget: or(raw.flush_budget, default.flush_budget),
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
