//! Where choices come from: a small generator of its own, so that a seed means the same run for ever.

use std::time::Duration;

/// A generator of random numbers (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice whose rolls depend on the seed alone.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice with rolls of their own: what others roll does not change them.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.roll())
    }

    /// 64 random bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        (self.roll() % sides as u64) as usize
    }

    /// Whether a die with so many sides shows its first one.
    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    /// Heads or tails.
    pub(crate) fn flip(&mut self) -> bool {
        self.one_in(2)
    }

    /// A duration of so many microseconds, from `least` to below `most`.
    pub(crate) fn micros(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(least + self.roll() % (most - least))
    }

    /// A duration of so many milliseconds, from `least` to below `most`.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.micros(least * 1_000, most * 1_000)
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// The place of one of several; none, if there are none.
    pub(crate) fn place(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.below(count))
    }
}
