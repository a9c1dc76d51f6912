//! What is recorded, and in which order.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use assert_matches::assert_matches;
use verifier::event::{Carrier, Fault};
use verifier::{EventKind, MessageId, RequestId};

use super::world::{TRACE_HEADER, TRACEPARENT, World, message, traced_message};
use crate::cloud::queue::{MessageAttribute, MessageFault, NewMessage, Queues};

fn carrier() -> Carrier {
    Carrier {
        traceparent: Some(TRACEPARENT.to_owned()),
        tracestate: Some("a=1".to_owned()),
        xray: Some(TRACE_HEADER.to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn life_of_a_message_is_recorded_in_its_order() {
    let mut world = World::local().await;
    let sent = world.queues.send("q", traced_message("body")).await.unwrap();
    world.receive().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let again = world.receive().await;
    world.delete(&again.receipt_handle).await;
    let id = |message: &MessageId| assert_eq!(message.as_str(), sent.message_id);
    let events = world.events();
    assert_eq!(events.len(), 5, "{events:?}");
    assert_matches!(&events[0], EventKind::MessageSent { queue, message, request: None, carrier: seen } => {
        id(message);
        assert_eq!((queue.as_str(), seen), ("q", &carrier()));
    });
    assert_matches!(&events[1], EventKind::MessageReceived { message, receive_count: 1 } => id(message));
    assert_matches!(&events[2], EventKind::MessageReturned { message } => id(message));
    assert_matches!(&events[3], EventKind::MessageReceived { message, receive_count: 2 } => id(message));
    assert_matches!(&events[4], EventKind::MessageDeleted { message } => id(message));
}

#[tokio::test(start_paused = true)]
async fn return_is_recorded_when_it_happens_even_if_nobody_polls() {
    let mut world = World::local().await;
    world.send("body").await;
    world.receive().await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(world.events().len(), 2, "sent and received");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_matches!(world.events().as_slice(), [EventKind::MessageReturned { .. }]);
}

#[tokio::test(start_paused = true)]
async fn message_returned_by_its_consumer_is_recorded_once() {
    let mut world = World::local().await;
    world.send("body").await;
    let received = world.receive().await;
    world.queues.change_visibility("q", &received.receipt_handle, Duration::ZERO).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    world.receive().await;
    let returned = world.events().iter().filter(|event| matches!(event, EventKind::MessageReturned { .. })).count();
    assert_eq!(returned, 1);
}

#[tokio::test]
async fn request_is_found_where_the_pointer_points() {
    let mut world = World::local().await;
    let id = RequestId::new(0x7f3a_9c2e, 42);
    for (body, expected) in [
        (format!(r#"{{"customer_id":"customer-{id}"}}"#), Some(id)),
        (format!(r#"{{"email":"{id}@example.com"}}"#), None),
        (format!("{id}"), None),
        (r#"{"customer_id":42}"#.to_owned(), None),
    ] {
        world.send(&body).await;
        assert_matches!(world.events().as_slice(), [EventKind::MessageSent { request, .. }] => {
            assert_eq!(*request, expected, "{body}");
        });
    }
}

#[tokio::test]
async fn refused_message_is_recorded_with_its_request_and_the_code() {
    let mut world = World::local().await;
    let id = RequestId::new(1, 2);
    let mut refused = message(&format!(r#"{{"customer_id":"{id}"}}"#));
    refused.attributes = traced_message("").attributes;
    refused.attributes.insert("tracestate".to_owned(), MessageAttribute::text(""));
    let error = world.queues.send("q", refused.clone()).await.unwrap_err();
    world.queues.send("nowhere", refused).await.unwrap_err();
    assert_eq!(error.message, "Message (user) attribute 'tracestate' must contain a non-empty value of type 'String'.");
    let expected = |queue: &str, code: &str| EventKind::SendRefused {
        queue: queue.to_owned(),
        request: Some(id),
        code: code.to_owned(),
    };
    assert_eq!(
        world.events(),
        [expected("q", "InvalidParameterValue"), expected("nowhere", "AWS.SimpleQueueService.NonExistentQueue")]
    );
}

#[tokio::test]
async fn refused_batch_is_recorded_for_each_of_its_messages() {
    let mut world = World::local().await;
    let entry = |body: &str| ("same".to_owned(), message(body).into());
    world.queues.send_batch("q", vec![entry("a"), entry("b")]).await.unwrap_err();
    let events = world.events();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_matches!(event, EventKind::SendRefused { code, .. } => {
            assert_eq!(code, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
        });
    }
}

#[tokio::test]
async fn stripped_context_is_recorded_as_sent_and_as_a_fault_before_it_is_received() {
    let mut world = World::local().await;
    let guard = world.queues.inject(MessageFault::StripContext);
    let sent = world.queues.send("q", traced_message("body")).await.unwrap();
    let received = world.receive().await;
    assert_eq!(received.message_attributes.keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!(received.attributes.get("AWSTraceHeader"), None);
    assert_matches!(world.events().as_slice(), [
        EventKind::MessageSent { carrier: seen, .. },
        EventKind::FaultInjected(Fault::ContextStripped { message }),
        EventKind::MessageReceived { .. },
    ] => {
        assert_eq!(*seen, carrier(), "the carrier is the one that the sender attached");
        assert_eq!(message.as_str(), sent.message_id);
    });

    drop(guard);
    let unaltered = world.queues.send("q", traced_message("body")).await.unwrap();
    assert_eq!(unaltered.md5_of_message_attributes, sent.md5_of_message_attributes);
    assert_eq!(unaltered.md5_of_system_attributes, sent.md5_of_system_attributes);
    assert_eq!(world.receive().await.message_attributes, traced_message("body").attributes);
}

#[tokio::test]
async fn message_without_context_has_nothing_stripped() {
    let mut world = World::local().await;
    let _guard = world.queues.inject(MessageFault::StripContext);
    world.send("body").await;
    assert_matches!(world.events().as_slice(), [EventKind::MessageSent { .. }]);
}

/// Sends so many messages, and tells of each whether it came out spoilt and whether that was recorded.
async fn corrupted(world: &mut World, messages: u64, seed: u64) -> Vec<bool> {
    let one_in = NonZeroU32::new(4).unwrap();
    let _guard = world.queues.inject(MessageFault::CorruptBody { one_in, seed });
    let mut corrupted = Vec::new();
    for number in 0..messages {
        let body = format!(r#"{{"customer_id":"{}"}}"#, RequestId::new(1, 2));
        let sent = world.queues.send("q", NewMessage { body: body.clone(), ..traced_message("") }).await.unwrap();
        let received = world.receive().await;
        world.delete(&received.receipt_handle).await;
        let events = world.events();
        assert_matches!(&events[0], EventKind::MessageSent { request: Some(_), .. }, "the request is the sender's");
        let fault = EventKind::FaultInjected(Fault::BodyCorrupted { message: MessageId::new(sent.message_id) });
        let is_recorded = events[1] == fault;
        assert_eq!(is_recorded, received.body != body, "message {number}: {events:?}");
        assert_eq!(is_recorded, serde_json::from_str::<serde_json::Value>(&received.body).is_err());
        assert_eq!(received.message_attributes, traced_message("").attributes, "the context is whole");
        corrupted.push(is_recorded);
    }
    corrupted
}

#[tokio::test]
async fn corrupted_bodies_are_recorded_and_depend_on_the_seed_and_the_order_alone() {
    let mut world = World::local().await;
    let first = corrupted(&mut world, 100, 7).await;
    let share = first.iter().filter(|corrupted| **corrupted).count();
    assert!((10..=40).contains(&share), "about one in four: {share}");
    assert_eq!(corrupted(&mut world, 100, 7).await, first);
    assert_ne!(corrupted(&mut world, 100, 8).await, first);
}

#[tokio::test]
async fn corrupted_body_has_the_length_of_the_senders() {
    let world = World::local().await;
    let one_in = NonZeroU32::MIN;
    let _guard = world.queues.inject(MessageFault::CorruptBody { one_in, seed: 0 });
    let sent = world.send("körper").await;
    let received = world.receive().await;
    assert_eq!(received.body, "%%%%%%%");
    assert_ne!(received.md5_of_body, sent.md5_of_body, "the sender is told of what it sent");
}

#[tokio::test]
async fn message_is_judged_as_it_was_sent_even_if_it_will_be_stripped() {
    let world = World::local().await;
    let _guard = world.queues.inject(MessageFault::StripContext);
    let mut eleven = traced_message("body");
    for number in eleven.attributes.len()..11 {
        let attribute = MessageAttribute::text("v");
        eleven.attributes.insert(format!("a{number}"), attribute);
    }
    assert!(world.queues.send("q", eleven).await.is_err());
}

/// Polls and deletes until nothing comes any more; tells how many messages came.
async fn consume(queues: Queues) -> usize {
    let mut count = 0;
    loop {
        let received = queues.receive("q", 1, Duration::from_secs(1)).await.unwrap();
        let Some(message) = received.first() else { return count };
        queues.delete_message("q", &message.receipt_handle).await.unwrap();
        count += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_message_is_recorded_as_sent_before_a_waiting_poll_receives_it() {
    let mut world = World::local().await;
    let consumers = [(); 3].map(|()| tokio::spawn(consume(world.queues.clone())));
    for number in 0..1000 {
        world.send(&number.to_string()).await;
    }
    let mut consumed = 0;
    for consumer in consumers {
        consumed += consumer.await.unwrap();
    }
    assert_eq!(consumed, 1000);
    let mut steps = BTreeMap::<_, Vec<_>>::new();
    for event in world.events() {
        let (message, step) = match event {
            EventKind::MessageSent { message, .. } => (message, "sent"),
            EventKind::MessageReceived { message, .. } => (message, "received"),
            EventKind::MessageDeleted { message } => (message, "deleted"),
            other => panic!("{other:?}"),
        };
        steps.entry(message).or_default().push(step);
    }
    assert_eq!(steps.len(), 1000);
    assert!(steps.values().all(|steps| *steps == ["sent", "received", "deleted"]));
}
