//! Any healthy run of any correct system passes, and the verifier counts what the system did.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod simulation;

use simulation::check::{Run, for_seeds, judge};
use simulation::dice::Dice;
use simulation::system::{Shape, System};
use simulation::world::Plan;
use verifier::FindingCode;

/// How many runs each property is tried with; the gate runs the release profile.
const RUNS: u64 = if cfg!(debug_assertions) { 40 } else { 400 };
/// How many requests a run has.
const REQUESTS: u32 = 40;

/// No finding, but the warnings that are legal; the verdict is a pass, and the books are those of the world.
fn is_healthy(run: &Run) -> Result<(), String> {
    let is_legal = |code| run.plan.repeats && code == FindingCode::SpanDuplicated;
    run.finds_nothing_but(is_legal)?;
    run.counts_the_truth()?;
    run.passes()
}

fn every_run_is_healthy(plan: Plan, system: impl Fn(&mut Dice) -> System) {
    for_seeds(0..RUNS, |seed| (system(&mut Dice::new(seed)), plan), is_healthy);
}

fn every_run_of_shape_is_healthy(shape: Shape) {
    every_run_is_healthy(Plan::rough(REQUESTS), |dice| System::of_shape(shape, dice));
}

#[test]
fn healthy_run_of_the_reference_system_passes() {
    every_run_is_healthy(Plan::calm(REQUESTS), System::reference);
}

#[test]
fn rough_run_of_the_reference_system_passes() {
    every_run_is_healthy(Plan::rough(REQUESTS), System::reference);
}

#[test]
fn healthy_run_with_children_of_producers_passes() {
    every_run_of_shape_is_healthy(Shape::Child);
}

#[test]
fn healthy_run_with_children_that_link_passes() {
    every_run_of_shape_is_healthy(Shape::ChildWithLink);
}

#[test]
fn healthy_run_with_linked_roots_passes() {
    every_run_of_shape_is_healthy(Shape::Linked);
}

#[test]
fn healthy_run_with_batches_passes() {
    every_run_of_shape_is_healthy(Shape::Batch);
}

#[test]
fn healthy_run_with_spans_of_invocations_passes() {
    every_run_of_shape_is_healthy(Shape::Invocation);
}

#[test]
fn healthy_run_of_any_system_passes() {
    every_run_is_healthy(Plan::rough(REQUESTS), System::random);
}

#[test]
fn batches_that_are_sent_again_are_told_and_change_nothing_else() {
    every_run_is_healthy(Plan { repeats: true, ..Plan::rough(REQUESTS) }, System::random);
}

/// The journal, written and read again and cut off anywhere, is judged as the run was.
fn is_judged_the_same_again(run: &Run) -> Result<(), String> {
    let cut = 1 + Dice::new(run.seed).below(run.events.len());
    for length in [cut, run.events.len()] {
        let live = &run.events[..length];
        let again = |event| serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
        let replayed: Vec<_> = live.iter().map(again).collect();
        if judge(live) != judge(&replayed) {
            return Err(format!("cut after {length} events"));
        }
    }
    Ok(())
}

#[test]
fn replayed_journal_is_judged_as_the_run_was_wherever_it_is_cut() {
    let plan = Plan { repeats: true, loses_one_in: Some(50), ..Plan::rough(12) };
    for_seeds(0..RUNS, |seed| (System::random(&mut Dice::new(seed)), plan), is_judged_the_same_again);
}
