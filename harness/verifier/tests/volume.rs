//! Long runs with random faults: the books balance, and every count is what the world has counted.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod simulation;

use std::time::Instant;

use simulation::check::books_balance;
use simulation::dice::Dice;
use simulation::system::{Shape, System};
use simulation::truth::tally_lines;
use simulation::world::{Plan, World};
use verifier::{Conclusion, Verifier};

/// How many requests each run has; the gate runs the release profile.
const REQUESTS: u32 = if cfg!(debug_assertions) { 500 } else { 100_000 };
/// How many runs there are.
const SEEDS: u64 = 20;

/// Kills, redeliveries, refusals, duplicates, and one span in 500 that is lost.
const FAULTS: Plan = Plan { rate: 1_000, repeats: true, loses_one_in: Some(500), ..Plan::rough(REQUESTS) };

/// A system of which every span can be told whose it is, whatever else of its trace is lost.
fn system(seed: u64) -> System {
    let dice = &mut Dice::new(seed);
    let shape = Shape::ALL[seed as usize % Shape::ALL.len()];
    System { echoes: true, shows_requests: true, ..System::of_shape(shape, dice) }
}

fn simulate(seed: u64) {
    let system = system(seed);
    let (mut world, mut verifier) = (World::new(&system, FAULTS, seed), Verifier::default());
    world.by_ref().for_each(|event| verifier.handle(&event));
    let judgement = verifier.judgement();
    let (counted, truth) = (tally_lines(&judgement.tally), world.truth().lines());
    let differ: Vec<_> = truth.iter().zip(&counted).filter(|(truth, counted)| truth != counted).collect();
    assert!(differ.is_empty() && truth.len() == counted.len(), "seed {seed}: {differ:#?}");
    books_balance(&judgement).unwrap();
    assert_eq!(judgement.conclusion, Conclusion::Failed, "spans were lost");
    assert_eq!(judgement.tally.requests.sent, u64::from(REQUESTS));
}

#[test]
fn simulation_of_100_000_requests_balances() {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (half..SEEDS).step_by(2).for_each(simulate));
        }
    });
    let requests = SEEDS * u64::from(REQUESTS);
    println!("{requests} requests, {:.0} a second", requests as f64 / began.elapsed().as_secs_f64());
}
