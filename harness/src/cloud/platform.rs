//! How the platform treats the environments of a function: what is drawn from the run's seed, for each
//! environment by its number. The order in which they start does not matter then.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};
use verifier::event::Cut;

use crate::target::freezer::Freezer;

/// In which invocation an environment that is used for ever is killed at the latest.
const KILLED_BY: u32 = 20;
/// How long after its beginning an Init phase or an invocation is interrupted. It is drawn on a
/// logarithmic scale, so that the moments around a quick answer are hit as well as slow work.
const KILLED_AFTER_MS: std::ops::Range<f64> = 0.2..50.0;
/// The longest platform delay that is believed.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// How the platform treats a function's environments. The default is the strictest and needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Platform {
    /// How environments are frozen.
    pub freezer: Freezer,
    /// How long after everybody waits they are frozen. On AWS it is not known, and short; not at all is the
    /// strictest. What begins in between is seen to be under way at the freeze.
    pub freeze_delay: Duration,
    /// How long the platform takes to get ready before it starts anything; without it, no time at all.
    pub delay: Option<PlatformDelay>,
    /// Which environments are killed at a random moment.
    pub kills: Option<Kills>,
    /// What happens to the connections of an environment while it is frozen.
    pub cuts: Option<Cuts>,
    /// How many environments are kept initialised ahead of their use (provisioned concurrency).
    pub provisioned: u32,
}

/// A distribution of what the platform takes before it starts anything: log-normal, seeded for each
/// environment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlatformDelay {
    /// The median.
    pub median: Duration,
    /// The standard deviation of the delay's natural logarithm.
    pub sigma: f64,
    /// The run's seed.
    pub seed: u64,
}

impl PlatformDelay {
    /// What the platform takes for the environment with this number: a minute at most.
    pub fn sample(self, environment: u32) -> Duration {
        let mut random = random(self.seed, environment, Draw::Delay);
        // Of a sigma that is none, only the median is known.
        let factor = LogNormal::new(0.0, self.sigma).map_or(1.0, |factors| factors.sample(&mut random));
        Duration::try_from_secs_f64(self.median.as_secs_f64() * factor)
            .map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY))
    }
}

/// Orders to kill environments, each at a random moment of its life, drawn from the seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kills {
    /// The share of environments that are killed, 0 to 1.
    pub share: f64,
    /// The run's seed.
    pub seed: u64,
}

/// At which moment of its life an environment is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// So long after its runtime was started, or in its first invocation if it is initialised by then.
    InInit(Duration),
    /// In an invocation, or frozen after it if that is over by then.
    InInvocation {
        /// Which of its invocations, counted from 1.
        number: NonZeroU32,
        /// How long after the delivery.
        after: Duration,
    },
    /// Frozen after an invocation.
    Frozen {
        /// Which of its invocations, counted from 1.
        number: NonZeroU32,
    },
}

impl Kill {
    /// How long after the delivery the invocation with this number, counted from 1, is to be
    /// interrupted, if it is.
    pub fn in_invocation(self, number: u32) -> Option<Duration> {
        match self {
            Self::InInit(after) => Some(after),
            Self::InInvocation { number: due, after } => (due.get() <= number).then_some(after),
            Self::Frozen { .. } => None,
        }
    }

    /// Whether it is due once so many invocations are over.
    pub fn is_due_after(self, invocations: u32) -> bool {
        match self {
            Self::InInit(_) => invocations >= 1,
            Self::InInvocation { number, .. } | Self::Frozen { number } => number.get() <= invocations,
        }
    }
}

impl Kills {
    /// Whether the environment with this number is killed, and when. `lifetime` is the number of
    /// invocations that it is good for, if there is a limit.
    pub fn of(self, environment: u32, lifetime: Option<NonZeroU32>) -> Option<Kill> {
        let mut random = random(self.seed, environment, Draw::Kill);
        if random.random::<f64>() >= self.share {
            return None;
        }
        let last = lifetime.map_or(KILLED_BY, NonZeroU32::get);
        let number = NonZeroU32::new(random.random_range(1..=last)).unwrap_or(NonZeroU32::MIN);
        let logarithm = random.random_range(KILLED_AFTER_MS.start.ln()..KILLED_AFTER_MS.end.ln());
        let after = Duration::from_secs_f64(logarithm.exp() / 1e3);
        Some(match random.random_range(0..10) {
            0 => Kill::InInit(after),
            1 => Kill::Frozen { number },
            _ => Kill::InInvocation { number, after },
        })
    }
}

/// Orders to cut the connections of environments while they are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// How they are cut.
    pub how: Cut,
    /// After which invocation of an environment, counted from 1. Every environment's are cut once.
    pub after: NonZeroU32,
}

/// After how many invocations an environment is ended, frozen as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recycling {
    /// It is used until the run ends.
    Never,
    /// After exactly so many.
    After(NonZeroU32),
    /// After any number from 1 to twice the mean less 1, drawn from the seed for each environment.
    Around {
        /// The mean.
        mean: NonZeroU32,
        /// The run's seed.
        seed: u64,
    },
}

impl Recycling {
    /// How many invocations the environment with this number is good for; nothing means: any number.
    pub fn lifetime(self, environment: u32) -> Option<NonZeroU32> {
        match self {
            Self::Never => None,
            Self::After(invocations) => Some(invocations),
            Self::Around { mean, seed } => {
                let longest = mean.get().saturating_mul(2) - 1;
                NonZeroU32::new(random(seed, environment, Draw::Lifetime).random_range(1..=longest))
            }
        }
    }
}

/// What a number is drawn for: no two of these depend on each other.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Lifetime = 0,
    Kill = 1,
    Delay = 2,
}

fn random(seed: u64, environment: u32, draw: Draw) -> StdRng {
    StdRng::seed_from_u64(seed ^ u64::from(environment).rotate_left(32) ^ ((draw as u64) << 62))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: std::ops::RangeInclusive<u32> = 1..=10_000;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn lifetime_around_a_mean_depends_on_seed_and_environment_alone() {
        let lifetimes = |seed| {
            let recycling = Recycling::Around { mean: number(3), seed };
            (1..=50).map(|number| recycling.lifetime(number).unwrap().get()).collect::<Vec<_>>()
        };
        assert_eq!(lifetimes(7), lifetimes(7));
        assert_ne!(lifetimes(7), lifetimes(8));
        assert!((1..=5).all(|lifetime| lifetimes(7).contains(&lifetime)));
        assert!(lifetimes(7).into_iter().all(|lifetime| (1..=5).contains(&lifetime)));
    }

    #[test]
    fn share_of_environments_that_are_killed_is_the_one_that_was_asked_for() {
        for share in [0.0, 0.1, 0.5, 1.0] {
            let kills = Kills { share, seed: 7 };
            let killed = NUMBERS.filter(|number| kills.of(*number, None).is_some()).count();
            let expected = share * 10_000.0;
            assert!((killed as f64 - expected).abs() <= 200.0, "{killed} of 10000 for {share}");
        }
    }

    #[test]
    fn kills_depend_on_seed_and_environment_alone() {
        let kills = |seed| NUMBERS.map(|number| Kills { share: 0.1, seed }.of(number, None)).collect::<Vec<_>>();
        assert_eq!(kills(7), kills(7));
        assert_ne!(kills(7), kills(8));
    }

    #[test]
    fn kills_come_at_all_moments_of_a_life_and_within_it() {
        let kills: Vec<_> = NUMBERS.filter_map(|n| Kills { share: 1.0, seed: 7 }.of(n, Some(number(3)))).collect();
        let count = |is_it: fn(&Kill) -> bool| kills.iter().filter(|kill| is_it(kill)).count();
        assert!(count(|kill| matches!(kill, Kill::InInit(_))) > 500);
        assert!(count(|kill| matches!(kill, Kill::Frozen { .. })) > 500);
        for due in 1..=3 {
            let in_it = |kill: &&Kill| matches!(kill, Kill::InInvocation { number, .. } if number.get() == due);
            assert!(kills.iter().filter(in_it).count() > 2000, "{due}");
        }
        assert!(kills.iter().all(|kill| kill.is_due_after(3)), "one would outlive its environment");
        let quick = |kill: &&Kill| kill.in_invocation(3).is_some_and(|after| after < Duration::from_millis(2));
        assert!(kills.iter().filter(quick).count() > 1000, "quick answers are hit, too");
    }

    #[test]
    fn kill_is_due_in_its_invocation_and_from_then_on() {
        let kill = Kill::InInvocation { number: number(2), after: Duration::from_millis(1) };
        assert_eq!([1, 2, 3].map(|number| kill.in_invocation(number).is_some()), [false, true, true]);
        assert_eq!([1, 2, 3].map(|number| kill.is_due_after(number)), [false, true, true]);
        let kill = Kill::Frozen { number: number(2) };
        assert_eq!([1, 2, 3].map(|number| kill.in_invocation(number).is_some()), [false; 3]);
        assert_eq!([1, 2, 3].map(|number| kill.is_due_after(number)), [false, true, true]);
    }

    #[test]
    fn half_of_the_delays_are_below_the_median_and_all_depend_on_seed_and_environment_alone() {
        let delay = |seed| PlatformDelay { median: Duration::from_millis(250), sigma: 0.5, seed };
        let delays = |seed| NUMBERS.map(|number| delay(seed).sample(number)).collect::<Vec<_>>();
        let below = delays(7).into_iter().filter(|delay| *delay < Duration::from_millis(250)).count();
        assert!((4_800..=5_200).contains(&below), "{below}");
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn delay_without_a_spread_is_the_median_and_none_takes_for_ever() {
        let delay = |sigma, median| PlatformDelay { median: Duration::from_secs(median), sigma, seed: 7 }.sample(1);
        assert_eq!(delay(0.0, 2), Duration::from_secs(2));
        assert_eq!(delay(f64::NAN, 2), Duration::from_secs(2));
        assert_eq!(delay(1e300, 2).min(LONGEST_DELAY), delay(1e300, 2));
        assert_eq!(delay(0.0, 3600), LONGEST_DELAY);
    }
}
