//! How concurrency grows while there is a backlog, and falls back when it is gone. Told the time; it
//! never asks.
//!
//! There is a backlog as long as every poller has a batch in hand: a poller that waits for messages says
//! that there are none. AWS tells how concurrency begins and grows ("Scaling behavior" of SQS event source
//! mappings in the developer guide), and no more than that it falls back, and that it is taken back when
//! invocations fail. Here it falls as fast as it grew, once there has been no backlog for a minute, and
//! each batch that fails takes one place back.

use std::time::Duration;

use tokio::time::Instant;

use super::spec::Scaling;

/// For how long there is no backlog before concurrency falls, in scaled time.
const HOLD: Duration = Duration::from_secs(60);
/// What is the shortest time between two looks, and the longest.
const PACES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// What sums of many small changes may miss a whole place by.
const ROUNDING: f64 = 1e-6;

/// What there was to do since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// The most batches that were in hand at a time.
    pub(super) peak: usize,
    /// How many failed: a function error, a time-out, a throttled invocation.
    pub(super) failed: usize,
}

/// How many batches may be in hand at a time.
#[derive(Debug)]
pub(super) struct Growth {
    floor: f64,
    ceiling: f64,
    per_second: f64,
    hold: Duration,
    /// The concurrency, with what is growing of the next place.
    level: f64,
    /// When it was looked at last.
    at: Instant,
    /// Whether there was a backlog then.
    had_backlog: bool,
    /// When there was a backlog last.
    backlog_at: Instant,
}

impl Growth {
    /// The concurrency at the beginning, which will never be more than `max`.
    pub(super) fn new(scaling: Scaling, max: usize, now: Instant) -> Self {
        let ceiling = f64::from(u32::try_from(max.max(1)).unwrap_or(u32::MAX));
        let floor = f64::from(scaling.start.max(1)).min(ceiling);
        let per_second = f64::from(scaling.per_minute) * scaling.time_scale.max(0.0) / 60.0;
        let hold = Duration::try_from_secs_f64(HOLD.as_secs_f64() / scaling.time_scale).unwrap_or(Duration::MAX);
        Self { floor, ceiling, per_second, hold, level: floor, at: now, had_backlog: false, backlog_at: now }
    }

    /// How many batches may be in hand now.
    pub(super) fn limit(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and u32::MAX")]
        let limit = (self.level + ROUNDING) as usize;
        limit
    }

    /// Whether nothing changes until every poller has a batch.
    pub(super) fn is_at_rest(&self) -> bool {
        self.level <= self.floor && !self.had_backlog
    }

    /// How long it takes for one place to come or go: when to look again.
    pub(super) fn pace(&self) -> Duration {
        let one = Duration::try_from_secs_f64(self.per_second.recip()).unwrap_or(Duration::MAX);
        one.clamp(PACES.0, PACES.1)
    }

    /// Time has passed, with this load.
    pub(super) fn advance(&mut self, now: Instant, load: Load) {
        let change = self.per_second * now.saturating_duration_since(self.at).as_secs_f64();
        let has_backlog = load.peak >= self.limit();
        if has_backlog {
            self.backlog_at = now;
        }
        let level = match has_backlog {
            // What went before the first look at a backlog has not been seen.
            true if self.had_backlog => self.level + change,
            false if now.saturating_duration_since(self.backlog_at) >= self.hold => self.level - change,
            _ => self.level,
        };
        let failed = f64::from(u32::try_from(load.failed).unwrap_or(u32::MAX));
        self.level = (level - failed).clamp(self.floor, self.ceiling);
        (self.at, self.had_backlog) = (now, has_backlog);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A growth whose time passes in steps.
    struct Play {
        growth: Growth,
        now: Instant,
    }

    impl Play {
        fn new(scaling: Scaling, max: usize) -> Self {
            let now = Instant::now();
            Self { growth: Growth::new(scaling, max, now), now }
        }

        /// The limit after so long, looked at every so often.
        fn pass(&mut self, time: Duration, load: impl Fn(usize) -> Load) -> usize {
            let steps = (time.as_secs_f64() / self.growth.pace().as_secs_f64()).round() as u32;
            for _ in 0..steps {
                self.now += time / steps;
                self.growth.advance(self.now, load(self.growth.limit()));
            }
            self.growth.limit()
        }

        fn backlog(&mut self, time: Duration) -> usize {
            // The first look only finds that there is one.
            self.growth.advance(self.now, Load { peak: self.growth.limit(), failed: 0 });
            self.pass(time, |limit| Load { peak: limit, failed: 0 })
        }

        fn no_backlog(&mut self, time: Duration) -> usize {
            self.pass(time, |limit| Load { peak: limit - 1, failed: 0 })
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn begins_with_five_and_grows_by_three_hundred_a_minute() {
        let mut play = Play::new(Scaling::AWS, 1000);
        assert_eq!(play.growth.limit(), 5);
        assert_eq!(play.backlog(seconds(1)), 10);
        assert_eq!(play.backlog(seconds(59)), 305);
        assert_eq!(play.backlog(seconds(60)), 605);
        assert_eq!(play.backlog(seconds(180)), 1000, "and not beyond its maximum");
    }

    #[test]
    fn minutes_can_be_compressed() {
        let mut play = Play::new(Scaling { time_scale: 60.0, ..Scaling::AWS }, 1000);
        assert_eq!(play.backlog(seconds(1)), 305);
    }

    #[test]
    fn stays_where_it_is_while_a_poller_waits_for_messages() {
        let mut play = Play::new(Scaling::AWS, 1000);
        assert_eq!(play.no_backlog(seconds(600)), 5);
        assert!(play.growth.is_at_rest());
        play.backlog(seconds(10));
        assert_eq!(play.no_backlog(seconds(59)), 55);
        assert!(!play.growth.is_at_rest());
    }

    #[test]
    fn falls_back_as_fast_as_it_grew_when_the_backlog_is_gone_for_a_minute() {
        let mut play = Play::new(Scaling::AWS, 1000);
        play.backlog(seconds(60));
        play.no_backlog(seconds(60));
        let limit = play.no_backlog(seconds(30));
        assert!((150..=160).contains(&limit), "{limit}");
        assert_eq!(play.no_backlog(seconds(60)), 5);
        assert!(play.growth.is_at_rest());
    }

    #[test]
    fn time_without_a_look_is_no_backlog() {
        let mut play = Play::new(Scaling::AWS, 1000);
        play.now += seconds(3600);
        assert_eq!(play.backlog(seconds(1)), 10);
    }

    #[test]
    fn batches_that_fail_take_places_back() {
        let mut play = Play::new(Scaling::AWS, 1000);
        play.backlog(seconds(60));
        play.growth.advance(play.now, Load { peak: 1000, failed: 100 });
        assert_eq!(play.growth.limit(), 205);
        play.growth.advance(play.now, Load { peak: 1000, failed: 100_000 });
        assert_eq!(play.growth.limit(), 5, "and not more than it began with");
    }

    #[test]
    fn maximum_below_the_start_is_the_limit() {
        let mut play = Play::new(Scaling::AWS, 2);
        assert_eq!(play.growth.limit(), 2);
        assert_eq!(play.backlog(seconds(60)), 2);
        assert_eq!(Play::new(Scaling { start: 0, ..Scaling::AWS }, 2).growth.limit(), 1, "nothing grows from nothing");
    }

    #[test]
    fn is_looked_at_once_a_place_and_neither_too_often_nor_never() {
        let pace = |per_minute, time_scale| Play::new(Scaling { start: 5, per_minute, time_scale }, 9).growth.pace();
        assert_eq!(pace(300, 1.0), Duration::from_millis(200));
        assert_eq!(pace(300, 1000.0), PACES.0);
        assert_eq!(pace(0, 1.0), PACES.1);
        assert_eq!(pace(300, 0.0), PACES.1);
    }
}
