//! When requests are due.

use std::time::Duration;

/// When the requests of a load are due, from its start on. Pure: no clock and no state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// A constant arrival rate.
    Constant {
        /// In requests per second.
        rate: f64,
        /// For how long.
        duration: Duration,
    },
}

impl Schedule {
    /// When request `number` (from 0) is due; nothing if the load is over before it.
    pub fn intended(&self, number: u64) -> Option<Duration> {
        let Self::Constant { rate, .. } = *self;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 requests")]
        let seconds = number as f64 / rate;
        (number < self.count()).then(|| Duration::from_secs_f64(seconds))
    }

    /// How many requests there are: rate times duration, rounded.
    pub fn count(&self) -> u64 {
        let Self::Constant { rate, duration } = *self;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and rates are positive"
        )]
        let count = (rate * duration.as_secs_f64()).round() as u64;
        count
    }

    /// The arrival rate that is asked for, in requests per second.
    pub fn rate(&self) -> f64 {
        let Self::Constant { rate, .. } = *self;
        rate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constant(rate: f64, seconds: f64) -> Schedule {
        Schedule::Constant { rate, duration: Duration::from_secs_f64(seconds) }
    }

    #[test]
    fn a_hundred_a_second_are_ten_milliseconds_apart() {
        let schedule = constant(100.0, 60.0);
        assert_eq!(schedule.count(), 6_000);
        assert_eq!(schedule.intended(0), Some(Duration::ZERO));
        assert_eq!(schedule.intended(1), Some(Duration::from_millis(10)));
        assert_eq!(schedule.intended(5_999), Some(Duration::from_millis(59_990)));
        assert_eq!(schedule.intended(6_000), None);
    }

    proptest! {
        #[test]
        fn count_is_rate_times_duration(rate in 0.01..10_000.0, seconds in 0.001..10_000.0) {
            let count = constant(rate, seconds).count() as f64;
            prop_assert!((count - rate * seconds).abs() <= 0.5 + 1e-6);
        }

        #[test]
        fn each_request_is_due_after_the_one_before_and_within_the_duration(
            rate in 0.01..10_000.0, seconds in 0.001..10_000.0, at in 0.0..1.0,
        ) {
            let schedule = constant(rate, seconds);
            let number = (at * schedule.count() as f64) as u64;
            let Some(due) = schedule.intended(number) else {
                prop_assert!(number >= schedule.count());
                return Ok(());
            };
            prop_assert!(due < Duration::from_secs_f64(seconds));
            if let Some(next) = schedule.intended(number + 1) {
                prop_assert!(due < next);
            }
        }

        #[test]
        fn the_rate_never_drifts(rate in 0.01..10_000.0, seconds in 1.0..10_000.0) {
            let schedule = constant(rate, seconds);
            prop_assume!(schedule.count() > 1);
            let last = schedule.count() - 1;
            let due = schedule.intended(last).unwrap().as_secs_f64();
            prop_assert!((due * rate - last as f64).abs() < 1e-3);
        }
    }
}
