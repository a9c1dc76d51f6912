//! What comes back when something fails.

use super::world::{Answer, Setup, VISIBILITY, World, seconds};
use crate::cloud::event_source::Behaviour;

fn setup() -> Setup {
    Setup::new(Behaviour::default())
}

#[tokio::test(start_paused = true)]
async fn failed_batch_comes_back_after_the_full_visibility_timeout() {
    for answer in [Answer::Fail, Answer::Die] {
        let world = setup().playing(move |_| (seconds(2), answer.clone())).start().await;
        world.send("a").await;
        world.until(VISIBILITY * 2).await;
        assert_eq!(world.calls(), [(0, 1), (30, 1), (60, 1)]);
        assert_eq!(world.receive_counts(), [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn reported_messages_alone_come_back() {
    let setup = setup().batch_size(10).playing(|call| match call.deliveries.len() {
        3 => {
            let failed = call.id_of("1");
            let response = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{failed}"}}]}}"#);
            (seconds(0), Answer::Respond(response))
        }
        _ => (seconds(0), Answer::success()),
    });
    let mut world = setup.build().await;
    world.send_many(3).await;
    world.mapping.start();
    world.until(seconds(30)).await;
    assert_eq!(world.calls(), [(0, 3), (30, 1)]);
    assert_eq!(world.seen().calls[1].bodies(), ["1"]);
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batch_comes_back_whole_when_its_response_names_an_unknown_message() {
    let unknown = r#"{"batchItemFailures":[{"itemIdentifier":"unknown"}]}"#;
    let setup = setup().batch_size(10).playing(move |_| (seconds(0), Answer::Respond(unknown.to_owned())));
    let mut world = setup.build().await;
    world.send_many(3).await;
    world.mapping.start();
    world.until(seconds(30)).await;
    assert_eq!(world.calls(), [(0, 3), (30, 3)]);
}

#[tokio::test(start_paused = true)]
async fn responses_are_not_looked_at_unless_they_report_failures() {
    let mut setup = setup().playing(|_| (seconds(0), Answer::Respond("{".to_owned())));
    setup.mapping.reports_item_failures = false;
    let world = setup.start().await;
    world.send("a").await;
    world.until(seconds(40)).await;
    assert_eq!(world.calls(), [(0, 1)]);
    assert!(world.depth().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn message_that_fails_too_often_is_a_dead_letter() {
    let mut setup = setup().playing(|_| (seconds(0), Answer::Fail));
    setup.max_receive_count = Some(2);
    let world = setup.start().await;
    world.send("a").await;
    world.until(seconds(59)).await;
    assert_eq!(world.calls(), [(0, 1), (30, 1)]);
    world.until(seconds(61)).await;
    assert!(world.depth().await.is_empty());
    assert_eq!(world.queues.depth("q-dlq").await.unwrap().visible, 1);
    world.until(seconds(200)).await;
    assert_eq!(world.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn function_that_cannot_start_keeps_its_messages() {
    let mut setup = setup();
    setup.broken_starts = 2;
    let world = setup.start().await;
    world.send("a").await;
    world.until(seconds(60)).await;
    assert_eq!(world.seen().started.len(), 3);
    assert_eq!(world.calls(), [(60, 1)]);
    assert_eq!(world.receive_counts(), [3]);
    assert!(world.depth().await.is_empty());
}

/// A mapping that finds so many messages.
async fn with_backlog(setup: Setup, messages: usize) -> World {
    let mut world = setup.build().await;
    world.send_many(messages).await;
    world.mapping.start();
    world
}

#[tokio::test(start_paused = true)]
async fn init_that_fails_in_invocations_is_tried_again_after_longer_and_longer() {
    let world = with_backlog(setup().playing(|_| (seconds(0), Answer::FailInit)), 20).await;
    world.until(seconds(2)).await;
    assert_eq!(world.call_times_ms(), [0, 50, 150, 350, 750, 1550]);
    assert_eq!(world.seen().started.len(), 1, "the environment is kept");
}

#[tokio::test(start_paused = true)]
async fn environment_that_is_reset_when_it_is_handed_out_is_no_successful_start() {
    let mut setup = setup().playing(|call| match call.environment {
        4 => (seconds(0), Answer::success()),
        _ => (seconds(0), Answer::FailInit),
    });
    setup.starts_reset = true;
    setup.lifetime = Some(1);
    let world = with_backlog(setup, 20).await;
    world.until(seconds(1)).await;
    assert_eq!(world.call_times_ms(), [0, 50, 150, 350, 350, 400, 500, 700], "it begins anew after the success");
}

#[tokio::test(start_paused = true)]
async fn invocation_that_fails_with_its_environment_is_no_failure_to_start() {
    let world = with_backlog(setup().playing(|_| (seconds(0), Answer::Die)), 20).await;
    world.until(seconds(1)).await;
    assert_eq!(world.call_times_ms(), [0; 20]);
}

#[tokio::test(start_paused = true)]
async fn kill_by_order_in_init_is_no_failure_to_start() {
    let mut setup = setup();
    setup.killed_starts = 20;
    setup.broken_starts = 1;
    let mut world = with_backlog(setup, 22).await;
    world.until(seconds(1)).await;
    assert_eq!(world.seen().started.len(), 22);
    assert_eq!(world.call_times_ms(), [50], "nothing but the one failure has made it wait");
    assert_eq!(world.recorded(), []);
}

#[tokio::test(start_paused = true)]
async fn message_whose_invocation_takes_too_long_is_delivered_twice() {
    let setup = setup().max_concurrency(2).playing(|call| match call.deliveries[0].receive_count {
        1 => (VISIBILITY + seconds(5), Answer::success()),
        _ => (seconds(1), Answer::success()),
    });
    let world = setup.start().await;
    world.send("a").await;
    world.until(seconds(100)).await;
    assert_eq!(world.calls(), [(0, 1), (30, 1)], "at least once is not exactly once");
    assert_eq!(world.receive_counts(), [1, 2]);
    assert!(world.depth().await.is_empty());
}
