//! Which environment is used, how many there are, and for how long.

use std::time::Duration;

use super::world::{Answer, Setup, World, seconds};
use crate::cloud::environment::AfterInit;
use crate::cloud::event_source::{Activity, Behaviour, Choice, StopError};

const IDLE_TIMEOUT: Duration = seconds(300);

/// Three environments that were used once each, in their order.
async fn three_used(choice: Choice) -> World {
    let setup = Setup::new(Behaviour { choice, ..Behaviour::default() }).max_concurrency(3);
    let setup = setup.playing(|call| (Duration::from_millis(u64::from(call.environment)), Answer::success()));
    let world = setup.start().await;
    world.send_many(3).await;
    world.until(seconds(1)).await;
    world
}

async fn used_one_by_one(world: &World, count: u64) -> Vec<u32> {
    for second in 0..count {
        world.send("a").await;
        world.until(seconds(2 + second)).await;
    }
    world.seen().calls[3..].iter().map(|call| call.environment).collect()
}

#[tokio::test(start_paused = true)]
async fn most_recently_used_environment_is_used_again_and_again() {
    let world = three_used(Choice::MostRecentlyUsed).await;
    assert_eq!(used_one_by_one(&world, 4).await, [3, 3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn least_recently_used_environments_take_turns() {
    let world = three_used(Choice::LeastRecentlyUsed).await;
    assert_eq!(used_one_by_one(&world, 4).await, [1, 2, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn random_environments_are_those_of_the_seed() {
    let used = async |seed| used_one_by_one(&three_used(Choice::Random { seed }).await, 30).await;
    let first = used(1).await;
    assert_eq!(used(1).await, first);
    assert!((1..=3).all(|environment| first.contains(&environment)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_environments_are_started_than_there_are_batches_without_one() {
    let mut setup = Setup::new(Behaviour::default()).max_concurrency(100).taking(seconds(2));
    setup.init = seconds(1);
    let world = setup.start().await;
    world.send_many(7).await;
    world.until(seconds(4)).await;
    assert_eq!(world.seen().started, [AfterInit::Invoke; 7]);
    assert_eq!(world.activity(), Activity { idle_environments: 7, ..Activity::default() });
    world.send_many(9).await;
    world.until(seconds(8)).await;
    assert_eq!(world.seen().started.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn environment_that_is_idle_for_too_long_is_ended() {
    let behaviour = Behaviour { idle_timeout: Some(IDLE_TIMEOUT), ..Behaviour::default() };
    let world = Setup::new(behaviour).max_concurrency(2).taking(seconds(10)).start().await;
    world.send_many(2).await;
    world.until(seconds(200)).await;
    world.send("a").await;
    world.until(seconds(1_000)).await;
    assert_eq!(world.seen().ended, [(seconds(10) + IDLE_TIMEOUT, 1), (seconds(210) + IDLE_TIMEOUT, 2)]);
    assert_eq!(world.activity(), Activity::default());
    world.send("a").await;
    world.until(seconds(1_010)).await;
    assert_eq!(world.seen().started.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn environments_are_kept_without_an_idle_timeout() {
    let world = Setup::new(Behaviour::default()).start().await;
    world.send("a").await;
    world.until(seconds(86_400)).await;
    assert_eq!(world.activity().idle_environments, 1);
}

#[tokio::test(start_paused = true)]
async fn provisioned_environments_are_initialised_together_kept_and_used_first() {
    let behaviour = Behaviour { idle_timeout: Some(IDLE_TIMEOUT), ..Behaviour::default() };
    let mut setup = Setup::new(behaviour).max_concurrency(5).taking(seconds(1));
    setup.init = seconds(1);
    setup.provisioned = 3;
    let mut world = setup.build().await;
    world.mapping.prewarm().await.unwrap();
    assert_eq!(world.seen().started, [AfterInit::Freeze; 3]);
    world.until(seconds(1)).await;
    world.mapping.start();
    world.until(seconds(10_000)).await;
    assert_eq!(world.activity().idle_environments, 3);
    world.send_many(4).await;
    world.until(seconds(20_000)).await;
    assert_eq!(world.seen().started[3..], [AfterInit::Invoke], "the fourth is started on demand");
    let ended: Vec<_> = world.seen().ended.iter().map(|(_, environment)| *environment).collect();
    assert_eq!(ended, [4], "and ended when it is idle");
}

#[tokio::test(start_paused = true)]
async fn provisioned_environment_that_is_gone_is_replaced() {
    let mut setup = Setup::new(Behaviour::default());
    setup.lifetime = Some(2);
    setup.provisioned = 1;
    let mut world = setup.build().await;
    world.mapping.prewarm().await.unwrap();
    world.mapping.start();
    for second in 0..4 {
        world.send("a").await;
        world.until(seconds(second)).await;
    }
    assert_eq!(world.seen().started, [AfterInit::Freeze; 3]);
    let used: Vec<_> = world.seen().calls.iter().map(|call| call.environment).collect();
    assert_eq!(used, [1, 1, 2, 2]);
    assert_eq!(world.activity().idle_environments, 1);
}

#[tokio::test(start_paused = true)]
async fn provisioning_fails_if_the_function_cannot_start() {
    let mut setup = Setup::new(Behaviour::default());
    setup.broken_starts = 1;
    setup.provisioned = 3;
    let world = setup.build().await;
    assert!(world.mapping.prewarm().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn prewarmed_environment_is_frozen_and_like_any_other() {
    let behaviour = Behaviour { idle_timeout: Some(IDLE_TIMEOUT), ..Behaviour::default() };
    let mut world = Setup::new(behaviour).build().await;
    world.mapping.prewarm().await.unwrap();
    assert_eq!(world.seen().started, [AfterInit::Freeze]);
    world.mapping.start();
    world.until(IDLE_TIMEOUT).await;
    assert_eq!(world.seen().ended, [(IDLE_TIMEOUT, 1)]);
}

#[tokio::test(start_paused = true)]
async fn environment_that_died_while_idle_is_buried_and_not_used() {
    let world = Setup::new(Behaviour::default()).start().await;
    world.send("a").await;
    world.until(seconds(0)).await;
    world.player.kill(1);
    world.send("b").await;
    world.until(seconds(1)).await;
    let seen = world.seen();
    assert_eq!(seen.buried, [1]);
    assert_eq!(seen.calls.iter().map(|call| call.environment).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_environments_are_ended_many_at_a_time() {
    let mut setup = Setup::new(Behaviour::default()).max_concurrency(200).taking(seconds(1));
    setup.ending = seconds(1);
    let world = setup.start().await;
    world.send_many(200).await;
    world.until(seconds(1)).await;
    let (stopped, took) = world.stop().await;
    let seen = stopped.seen();
    assert_eq!((seen.ended.len(), seen.most_ending), (200, 32));
    assert_eq!(took, seconds(7));
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_invocations_finish() {
    let world = Setup::new(Behaviour::default()).taking(seconds(5)).start().await;
    world.send("a").await;
    world.until(seconds(0)).await;
    let (stopped, _) = world.stop().await;
    assert!(stopped.depth().await.is_empty());
    assert_eq!(stopped.seen().ended.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_ever() {
    let world = Setup::new(Behaviour::default()).taking(seconds(5_000)).start().await;
    world.send("a").await;
    world.until(seconds(0)).await;
    let error = world.mapping.stop(seconds(30)).await.unwrap_err();
    assert!(matches!(&error, StopError::Overdue { activity, .. } if activity.batches == 1), "{error}");
}
