//! What becomes of a batch when the function has no concurrency left.

use verifier::EventKind;

use super::world::{Setup, World, seconds};
use crate::cloud::event_source::{Activity, Behaviour};

fn reserved(reserved: u32) -> Setup {
    let behaviour = Behaviour { reserved_concurrency: Some(reserved), ..Behaviour::default() };
    Setup::new(behaviour).max_concurrency(2)
}

fn throttled(world: &mut World) -> Vec<u32> {
    let records = |event| match event {
        EventKind::InvocationThrottled { function, records } if function == "worker" => Some(records),
        _ => None,
    };
    world.recorded().into_iter().filter_map(records).collect()
}

#[tokio::test(start_paused = true)]
async fn throttled_batch_is_tried_again_and_recorded_once() {
    let mut world = reserved(1).taking(seconds(5)).start().await;
    world.send_many(2).await;
    world.until(seconds(1)).await;
    assert_eq!(world.activity(), Activity { batches: 2, throttled: 1, ..Activity::default() });
    world.until(seconds(11)).await;
    assert_eq!(throttled(&mut world), [1]);
    let calls = world.seen().calls;
    assert!(calls[1].at > seconds(5) && calls[1].at <= seconds(6), "{calls:?}");
    assert_eq!(world.seen().started.len(), 1, "no environment is started for it");
    assert_eq!(world.receive_counts(), [1, 1]);
    assert!(world.depth().await.is_empty());
    assert_eq!(world.activity(), Activity { idle_environments: 1, ..Activity::default() });
}

#[tokio::test(start_paused = true)]
async fn throttled_batch_is_given_up_when_its_messages_return() {
    let mut setup = reserved(0).max_concurrency(1).batch_size(10);
    setup.max_receive_count = Some(2);
    let mut world = setup.build().await;
    world.send_many(3).await;
    world.mapping.start();
    world.until(seconds(29)).await;
    assert_eq!(throttled(&mut world), [3]);
    assert_eq!(world.depth().await.in_flight, 3);
    world.until(seconds(31)).await;
    assert_eq!(throttled(&mut world), [3], "they were received once more");
    world.until(seconds(65)).await;
    assert_eq!(throttled(&mut world), [0; 0]);
    assert!(world.depth().await.is_empty(), "none was deleted: they are dead letters");
    assert_eq!(world.queues.depth("q-dlq").await.unwrap().visible, 3);
    assert_eq!(world.seen().started, []);
    assert_eq!(world.activity(), Activity::default());
}

#[tokio::test(start_paused = true)]
async fn throttled_batch_is_given_up_when_the_mapping_stops() {
    let world = reserved(0).start().await;
    world.send("a").await;
    world.until(seconds(2)).await;
    assert_eq!(world.activity().throttled, 1);
    let (stopped, took) = world.stop().await;
    assert_eq!(took, seconds(0));
    assert_eq!(stopped.depth().await.in_flight, 1, "it stays in the queue");
}

#[tokio::test(start_paused = true)]
async fn idle_environments_do_not_count_as_busy() {
    let mut world = reserved(1).start().await;
    for second in 0..5 {
        world.send("a").await;
        world.until(seconds(second)).await;
    }
    assert_eq!(throttled(&mut world), [0; 0]);
    assert_eq!(world.seen().calls.len(), 5);
}
