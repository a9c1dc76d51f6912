//! When the machine stalled: told by the ticks, which come at even distances on a machine that has time.
//!
//! A machine that is too busy makes exporters run into their time limits. What is lost or late then is the
//! machine's doing as likely as the system's, so nothing is said about it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// How far apart ticks are meant to be.
const TICK: Duration = Duration::from_millis(100);

/// A delay of a tick below this is nothing: timers and schedulers are not exact.
const NOTICED: Duration = Duration::from_millis(20);

/// What happens next to a stretch of time is due to a stall in it, too: a time limit that began before it.
const MARGIN: Duration = Duration::from_millis(500);

/// A stretch is doubtful if ticks were late by this much in it, all together. An exporter's time limit is
/// seldom below a second, and at such delays a process got but a part of the time that it asked for.
const DOUBTFUL: Duration = Duration::from_millis(200);

/// How many stalls are remembered: many minutes of a machine that is never in time.
const REMEMBERED: usize = 8_192;

/// The stalls of the recent past.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalls {
    last_tick: Option<Timestamp>,
    /// When a late tick came, and how late; in order of time.
    late: VecDeque<(Timestamp, Duration)>,
}

impl Stalls {
    /// Notes that time went on.
    pub(crate) fn tick(&mut self, at: Timestamp) {
        let Some(last) = self.last_tick.replace(at) else { return };
        let late = at.since(last).saturating_sub(TICK);
        if late < NOTICED {
            return;
        }
        if self.late.len() == REMEMBERED {
            self.late.pop_front();
        }
        self.late.push_back((at, late));
    }

    /// Whether the machine stalled so much between two instants, or next to them, that what took too long
    /// then proves nothing.
    pub(crate) fn are_doubtful(&self, from: Timestamp, to: Timestamp) -> bool {
        let first = self.late.partition_point(|(at, _)| *at < from - MARGIN);
        let within = self.late.range(first..).take_while(|(at, late)| *at - *late <= to + MARGIN);
        within.map(|(_, late)| *late).sum::<Duration>() >= DOUBTFUL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

    fn at(millis: u64) -> Timestamp {
        START + Duration::from_millis(millis)
    }

    fn ticking(ticks: &[u64]) -> Stalls {
        let mut stalls = Stalls::default();
        ticks.iter().for_each(|millis| stalls.tick(at(*millis)));
        stalls
    }

    #[test]
    fn even_ticks_are_no_stall() {
        let even: Vec<_> = (0..100).map(|tick| tick * 119).collect();
        assert!(!ticking(&even).are_doubtful(at(0), at(100_000)));
    }

    #[test]
    fn stall_makes_doubtful_what_happens_during_it_and_next_to_it() {
        let stalls = ticking(&[0, 100, 200, 500, 600, 700]);
        assert!(stalls.are_doubtful(at(300), at(350)));
        assert!(stalls.are_doubtful(at(900), at(950)), "what began before it may end after it");
        assert!(!stalls.are_doubtful(at(1_001), at(1_100)));
    }

    #[test]
    fn small_delays_add_up_and_a_single_one_does_not_suffice() {
        assert!(!ticking(&[0, 299]).are_doubtful(at(0), at(300)));
        assert!(ticking(&[0, 300]).are_doubtful(at(0), at(300)));
        assert!(ticking(&[0, 150, 300, 450, 600]).are_doubtful(at(0), at(600)));
    }

    #[test]
    fn only_so_many_stalls_are_remembered() {
        let mut stalls = Stalls::default();
        (0..2 * REMEMBERED as u64).for_each(|tick| stalls.tick(at(tick * 1_000)));
        assert_eq!(stalls.late.len(), REMEMBERED);
    }
}
