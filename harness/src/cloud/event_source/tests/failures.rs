//! What comes back when something fails.

use super::world::{Answer, Setup, VISIBILITY, seconds};
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
