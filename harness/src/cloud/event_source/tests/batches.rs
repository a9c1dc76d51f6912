//! When a batch is closed, and what becomes of large ones.

use std::sync::atomic::Ordering;

use super::world::{Setup, World, seconds};
use crate::cloud::batch::MAX_EVENT_BYTES;
use crate::cloud::event_source::{Activity, Behaviour};

fn window(window: u64) -> Behaviour {
    Behaviour { batch_window: seconds(window), ..Behaviour::default() }
}

async fn with_window(window_seconds: u64, batch_size: usize) -> World {
    Setup::new(window(window_seconds)).batch_size(batch_size).start().await
}

#[tokio::test(start_paused = true)]
async fn without_a_window_a_batch_is_what_one_receive_gives() {
    let mut world = Setup::new(Behaviour::default()).batch_size(10).build().await;
    world.send_many(12).await;
    world.mapping.start();
    world.until(seconds(0)).await;
    assert_eq!(world.calls(), [(0, 10), (0, 2)]);
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batch_that_is_full_is_handed_over_at_once() {
    let world = with_window(10, 3).await;
    world.until(seconds(1)).await;
    world.send_many(2).await;
    world.until(seconds(4)).await;
    assert_eq!(world.activity(), Activity { waiting: 1, ..Activity::default() });
    world.send("the third").await;
    world.until(seconds(4)).await;
    assert_eq!(world.calls(), [(4, 3)]);
    assert_eq!(world.activity(), Activity { idle_environments: 1, ..Activity::default() });
}

#[tokio::test(start_paused = true)]
async fn batch_that_is_not_full_waits_for_its_window_from_the_first_message_on() {
    let world = with_window(10, 10).await;
    world.until(seconds(5)).await;
    world.send("first").await;
    world.until(seconds(12)).await;
    world.send("second").await;
    world.until(seconds(14)).await;
    assert_eq!(world.calls(), []);
    world.until(seconds(15)).await;
    assert_eq!(world.calls(), [(15, 2)]);
    assert_eq!(world.seen().calls[0].bodies(), ["first", "second"]);
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn window_can_be_longer_than_a_long_poll() {
    let world = with_window(50, 10).await;
    world.send("first").await;
    world.until(seconds(45)).await;
    world.send("second").await;
    world.until(seconds(50)).await;
    assert_eq!(world.calls(), [(50, 2)]);
    assert_eq!(world.receives(), 6, "one for the first, three for the rest of the window, two long polls at its end");
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_the_window_are_not_received_again_meanwhile() {
    let mut setup = Setup::new(window(20)).batch_size(10).max_concurrency(2);
    setup.mapping.visibility_timeout = seconds(10);
    let world = setup.start().await;
    world.send("a").await;
    world.until(seconds(60)).await;
    assert_eq!(world.calls(), [(20, 1)]);
    assert_eq!(world.receive_counts(), [1]);
}

#[tokio::test(start_paused = true)]
async fn large_batch_is_gathered_by_many_receives_and_deleted_whole() {
    let world = with_window(2, 10_000).await;
    world.send_many(1_234).await;
    world.until(seconds(1)).await;
    world.send("late").await;
    world.until(seconds(2)).await;
    assert_eq!(world.calls(), [(2, 1_235)]);
    assert_eq!(world.seen().calls[0].bodies().last(), Some(&"late"));
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn large_batch_never_has_more_records_than_its_size() {
    let world = with_window(5, 25).await;
    world.send_many(57).await;
    world.until(seconds(6)).await;
    assert_eq!(world.calls(), [(0, 25), (0, 25), (5, 7)]);
}

#[tokio::test(start_paused = true)]
async fn event_that_is_as_long_as_events_may_be_closes_the_batch() {
    let mut world = Setup::new(window(10)).batch_size(10).build().await;
    for _ in 0..8 {
        world.send(&"b".repeat(1_000_000)).await;
    }
    world.mapping.start();
    world.until(seconds(9)).await;
    assert_eq!(world.calls(), [(0, 6)]);
    assert!(world.seen().calls[0].event.to_string().len() <= MAX_EVENT_BYTES);
    assert_eq!(world.activity().waiting, 1, "the others were received, and have their own window");
    world.until(seconds(10)).await;
    assert_eq!(world.calls(), [(0, 6), (10, 2)]);
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn stopping_hands_a_waiting_batch_over_at_once() {
    let world = with_window(300, 10).await;
    world.send_many(2).await;
    world.until(seconds(1)).await;
    let (stopped, took) = world.stop().await;
    let calls = stopped.seen().calls;
    assert_eq!(calls.iter().map(|call| call.deliveries.len()).collect::<Vec<_>>(), [2]);
    assert_eq!(took, seconds(0));
    assert!(stopped.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batch_that_waits_is_handed_over_when_the_queue_breaks() {
    let world = with_window(30, 10).await;
    world.send("a").await;
    world.until(seconds(1)).await;
    world.source.broken.store(true, Ordering::Relaxed);
    world.send("b").await;
    world.until(seconds(1)).await;
    assert_eq!(world.calls(), [(1, 2)]);
}
