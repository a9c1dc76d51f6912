//! How many batches are in hand at a time.

use super::world::{Answer, Setup, World, seconds};
use crate::cloud::event_source::{Behaviour, Scaling};

fn scaling(scaling: Scaling) -> Setup {
    Setup::new(Behaviour { scaling: Some(scaling), ..Behaviour::default() }).max_concurrency(1000)
}

/// A mapping that has more to do than it can.
async fn with_backlog(setup: Setup) -> World {
    let world = setup.start().await;
    world.send_many(4_000).await;
    world
}

#[tokio::test(start_paused = true)]
async fn all_concurrency_is_there_at_once_without_scaling() {
    let world = Setup::new(Behaviour::default()).max_concurrency(50).taking(seconds(1)).start().await;
    world.send_many(60).await;
    world.until(seconds(0)).await;
    assert_eq!(world.activity().batches, 50);
    world.until(seconds(1)).await;
    assert_eq!(world.activity().batches, 10);
}

#[tokio::test(start_paused = true)]
async fn concurrency_begins_with_five_and_grows_by_three_hundred_a_minute() {
    let world = with_backlog(scaling(Scaling::AWS).taking(seconds(10))).await;
    world.until(seconds(0)).await;
    assert_eq!(world.activity().batches, 5);
    world.until(seconds(30)).await;
    let batches = world.activity().batches;
    assert!((150..=155).contains(&batches), "{batches}");
    world.until(seconds(60)).await;
    let batches = world.activity().batches;
    assert!((300..=305).contains(&batches), "{batches}");
}

#[tokio::test(start_paused = true)]
async fn concurrency_grows_no_further_than_its_maximum() {
    let world = with_backlog(scaling(Scaling::AWS).max_concurrency(20).taking(seconds(10))).await;
    world.until(seconds(120)).await;
    assert_eq!(world.seen().most_running, 20);
}

#[tokio::test(start_paused = true)]
async fn minutes_of_growth_can_be_compressed() {
    let compressed = Scaling { time_scale: 60.0, ..Scaling::AWS };
    let world = with_backlog(scaling(compressed).taking(seconds(10))).await;
    world.until(seconds(1)).await;
    let batches = world.activity().batches;
    assert!((295..=305).contains(&batches), "{batches}");
}

#[tokio::test(start_paused = true)]
async fn concurrency_stays_as_long_as_it_suffices() {
    let world = scaling(Scaling::AWS).taking(seconds(1)).start().await;
    for second in 0..120 {
        world.until(seconds(second)).await;
        world.send_many(4).await;
    }
    world.until(seconds(120)).await;
    assert_eq!((world.seen().calls.len(), world.seen().most_running), (480, 4));
    world.send_many(20).await;
    world.until(seconds(120)).await;
    assert_eq!(world.activity().batches, 5);
}

#[tokio::test(start_paused = true)]
async fn concurrency_falls_back_when_the_backlog_is_gone() {
    let world = with_backlog(scaling(Scaling::AWS).taking(seconds(10))).await;
    world.until(seconds(400)).await;
    assert!(world.depth().await.is_empty());
    let most = world.seen().most_running;
    assert!(most > 300, "{most}");
    world.until(seconds(1_000)).await;
    world.send_many(100).await;
    world.until(seconds(1_000)).await;
    assert_eq!(world.activity().batches, 5);
    world.until(seconds(1_020)).await;
    assert!(world.activity().batches > 5, "and grows again");
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_held_back_while_invocations_fail() {
    let peak = async |answer: Answer| {
        let setup = scaling(Scaling::AWS).playing(move |_| (seconds(1), answer.clone()));
        let world = setup.start().await;
        world.send_many(2_000).await;
        world.until(seconds(15)).await;
        world.seen().most_running
    };
    let (sound, failing) = (peak(Answer::success()).await, peak(Answer::Fail).await);
    assert!(sound > 60, "{sound}");
    assert!(failing <= 10, "{failing}");
}

#[tokio::test(start_paused = true)]
async fn idle_mapping_does_nothing_but_long_polls() {
    let world = scaling(Scaling::AWS).start().await;
    world.until(seconds(3_600)).await;
    let receives = world.receives();
    assert!(receives <= 5 * 181, "{receives}");
}
