//! The same tap before another endpoint, in whose place our own engine is served.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assert_matches::assert_matches;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::QueueAttributeName;
use axum::Router;
use http::StatusCode;
use tokio::net::TcpListener;
use verifier::EventKind;
use verifier::event::Fault;

use super::world::{Served, TRACE_HEADER, World, client, message, redrive, strings, traced_message};
use crate::cloud::queue::error::ErrorKind;
use crate::cloud::queue::{MessageFault, QueueSettings, Queues};

/// An endpoint, and queues that pass everything on to it; with a queue `q`.
async fn before_another_endpoint() -> (Served, World) {
    let remote = Served::local().await;
    let world = World::external(remote.client.clone());
    world.create("q", &[]).await;
    (remote, world)
}

#[tokio::test]
async fn message_passes_in_both_directions_as_it_is() {
    let (remote, world) = before_another_endpoint().await;
    let sent = world.queues.send("q", traced_message("body")).await.unwrap();
    let received = world.receive().await;
    assert_eq!((received.message_id, received.body), (sent.message_id, "body".to_owned()));
    assert_eq!(received.message_attributes, traced_message("body").attributes);
    assert_eq!(received.attributes["AWSTraceHeader"], TRACE_HEADER);
    assert_eq!(received.md5_of_message_attributes, sent.md5_of_message_attributes);
    assert_eq!(world.queues.depth("q").await.unwrap().in_flight, 1);
    world.delete(&received.receipt_handle).await;
    assert!(remote.world.queues.depth("q").await.unwrap().is_empty());
}

#[tokio::test]
async fn life_of_a_message_is_recorded_as_far_as_it_shows() {
    let (_remote, mut world) = before_another_endpoint().await;
    world.send("body").await;
    let first = world.receive().await;
    world.queues.change_visibility("q", &first.receipt_handle, Duration::ZERO).await.unwrap();
    let second = world.receive().await;
    world.delete(&first.receipt_handle).await;
    world.delete(&second.receipt_handle).await;
    world.delete(&second.receipt_handle).await;
    assert_matches!(
        world.events().as_slice(),
        [
            EventKind::MessageSent { .. },
            EventKind::MessageReceived { receive_count: 1, .. },
            EventKind::MessageReturned { .. },
            EventKind::MessageReceived { receive_count: 2, .. },
            EventKind::MessageDeleted { .. },
        ]
    );
}

#[tokio::test]
async fn message_that_was_received_elsewhere_must_have_been_returned() {
    let (remote, mut world) = before_another_endpoint().await;
    world.send("body").await;
    let elsewhere = remote.world.receive().await;
    remote.world.queues.change_visibility("q", &elsewhere.receipt_handle, Duration::ZERO).await.unwrap();
    world.receive().await;
    assert_matches!(
        world.events().as_slice(),
        [
            EventKind::MessageSent { .. },
            EventKind::MessageReturned { .. },
            EventKind::MessageReceived { receive_count: 2, .. },
        ]
    );
}

#[tokio::test]
async fn message_that_comes_out_of_a_dead_letter_queue_must_have_been_moved_there() {
    let (_remote, mut world) = before_another_endpoint().await;
    world.create("dlq", &[]).await;
    world.queues.set_attributes("q", &strings(&[("RedrivePolicy", &redrive(1))])).await.unwrap();
    world.send("body").await;
    let received = world.receive().await;
    world.queues.change_visibility("q", &received.receipt_handle, Duration::ZERO).await.unwrap();
    assert_eq!(world.receive_from("q").await, None);
    assert!(world.receive_from("dlq").await.is_some());
    assert_matches!(world.events().as_slice(), [.., EventKind::MessageReturned { .. }, EventKind::MessageDeadLettered { queue, .. }, EventKind::MessageReceived { .. }] => {
        assert_eq!(queue, "dlq");
    });
}

#[tokio::test]
async fn stripped_context_is_recorded_before_the_message_is_received() {
    let (_remote, mut world) = before_another_endpoint().await;
    let _guard = world.queues.inject(MessageFault::StripContext);
    world.queues.send("q", traced_message("body")).await.unwrap();
    let received = world.receive().await;
    assert_eq!(received.message_attributes.keys().collect::<Vec<_>>(), ["other"]);
    assert_matches!(world.events().as_slice(), [
        EventKind::MessageSent { carrier, .. },
        EventKind::FaultInjected(Fault::ContextStripped { .. }),
        EventKind::MessageReceived { .. },
    ] => assert!(carrier.traceparent.is_some() && carrier.xray.is_some()));
}

#[tokio::test]
async fn errors_pass_as_they_are() {
    let (_remote, mut world) = before_another_endpoint().await;
    let missing = world.queues.send("nowhere", message("b")).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::QueueDoesNotExist);
    let refused = world.queues.send("q", message("\u{1}")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidMessageContents);
    let garbage = world.queues.delete("q", &["garbage".to_owned()]).await.unwrap_err();
    assert_eq!(garbage.kind, ErrorKind::ReceiptHandleIsInvalid);
    assert_matches!(world.events().as_slice(), [EventKind::SendRefused { .. }, EventKind::SendRefused { .. }]);
}

#[tokio::test]
async fn endpoint_that_is_gone_is_an_error_and_not_a_panic() {
    let (mut remote, world) = before_another_endpoint().await;
    remote.stop().await;
    let error = world.queues.send("q", message("b")).await.unwrap_err();
    assert_eq!(error.code(), "ServiceUnavailable");
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_never_answers_is_not_waited_for_forever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = client(&format!("http://{}", listener.local_addr().unwrap()));
    let error = World::external(silent).queues.send("q", message("b")).await.unwrap_err();
    assert_eq!(error.code(), "ServiceUnavailable");
    assert!(error.message.contains("timeout"), "{error}");
}

#[tokio::test]
async fn what_is_received_after_the_caller_has_left_is_recorded_all_the_same() {
    let (mut remote, mut world) = before_another_endpoint().await;
    let queues = world.queues.clone();
    let receive = tokio::spawn(async move { queues.receive("q", 1, Duration::from_secs(20)).await });
    remote.world.send("body").await;
    while !matches!(remote.world.next_event().await, EventKind::MessageReceived { .. }) {}
    // The answer is on its way.
    receive.abort();
    assert_matches!(world.next_event().await, EventKind::MessageReceived { receive_count: 1, .. });
}

#[tokio::test]
async fn call_that_fails_is_not_made_again_behind_the_callers_back() {
    let (remote, calls) = (Served::local().await, Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&calls);
    let fail = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::SERVICE_UNAVAILABLE }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().fallback(fail)).into_future());
    let config = remote.client.config().to_builder().endpoint_url(endpoint).retry_config(RetryConfig::standard());
    let world = World::external(Client::from_conf(config.build()));
    world.queues.send("q", message("body")).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// Receives and deletes until nothing comes any more.
async fn consume(queues: Queues) -> usize {
    let mut count = 0;
    loop {
        let received = queues.receive("q", 1, Duration::from_secs(1)).await.unwrap();
        let Some(message) = received.first() else { return count };
        queues.delete_message("q", &message.receipt_handle).await.unwrap();
        count += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_recorded_as_sent_before_it_is_received() {
    let (_remote, mut world) = before_another_endpoint().await;
    let consumers = [(); 2].map(|()| tokio::spawn(consume(world.queues.clone())));
    for number in 0..100 {
        world.send(&number.to_string()).await;
    }
    let mut consumed = 0;
    for consumer in consumers {
        consumed += consumer.await.unwrap();
    }
    assert_eq!(consumed, 100);
    let mut sent = std::collections::HashSet::new();
    for event in world.events() {
        match event {
            EventKind::MessageSent { message, .. } => assert!(sent.insert(message)),
            EventKind::MessageReceived { message, .. } => assert!(sent.contains(&message)),
            EventKind::MessageDeleted { message } => assert!(sent.remove(&message)),
            other => panic!("{other:?}"),
        }
    }
    assert!(sent.is_empty());
}

#[tokio::test]
async fn sets_of_queues_at_one_endpoint_do_not_meet_and_leave_nothing() {
    let remote = Served::local().await;
    remote.world.create("q", &[]).await;
    let (mine, theirs) = (World::prefixed(&remote.client, "mine-"), World::prefixed(&remote.client, "theirs-"));
    let settings = QueueSettings { visibility_timeout: Duration::from_secs(6), max_receive_count: Some(3) };
    for world in [&mine, &theirs] {
        world.queues.provide("q", settings).await.unwrap();
        assert_eq!(world.queues.names().await.unwrap(), ["q", "q-dlq"]);
        assert_eq!(world.queues.dead_letter_sources("q-dlq").await.unwrap(), ["q"]);
    }
    mine.send("mine").await;
    assert_eq!(theirs.receive_from("q").await, None);
    assert_eq!(mine.receive().await.body, "mine");
    assert_eq!(remote.world.queues.names().await.unwrap(), ["mine-q", "mine-q-dlq", "q", "theirs-q", "theirs-q-dlq"]);
    assert_eq!(mine.queues.name_at_endpoint("q").as_deref(), Some("mine-q"));
    // What is gone already is no failure.
    remote.world.queues.delete_queue("mine-q-dlq").await.unwrap();
    assert_eq!(mine.queues.delete_created().await, []);
    assert_eq!(remote.world.queues.names().await.unwrap(), ["q", "theirs-q", "theirs-q-dlq"]);
}

#[tokio::test]
async fn queues_that_cannot_be_deleted_are_named_as_they_are_called_there() {
    let mut remote = Served::local().await;
    let world = World::prefixed(&remote.client, "mine-");
    world.create("q", &[]).await;
    remote.stop().await;
    let left = world.queues.delete_created().await;
    assert_matches!(left.as_slice(), [(name, error)] => {
        assert_eq!((name.as_str(), error.code()), ("mine-q", "ServiceUnavailable"));
        assert!(error.message.contains("Connection refused"), "{error}");
    });
}

#[tokio::test]
async fn tags_permissions_and_move_tasks_pass_as_they_are() {
    let (remote, world) = before_another_endpoint().await;
    let front = Served::of(world).await;
    let url = front.queue("dlq").await;
    let source = front.client.create_queue().queue_name("source").tags("team", "traces");
    source.attributes(QueueAttributeName::RedrivePolicy, redrive(1)).send().await.unwrap();
    front.client.tag_queue().queue_url(&url).tags("a", "1").tags("b", "2").send().await.unwrap();
    front.client.untag_queue().queue_url(&url).tag_keys("a").send().await.unwrap();
    let tags = front.client.list_queue_tags().queue_url(&url).send().await.unwrap().tags.unwrap();
    assert_eq!(tags, [("b".to_owned(), "2".to_owned())].into());
    let permission = front.client.add_permission().queue_url(&url).label("l").aws_account_ids("1").actions("*");
    permission.send().await.unwrap();
    front.client.remove_permission().queue_url(&url).label("l").send().await.unwrap();
    let arn = "arn:aws:sqs:us-east-1:000000000000:dlq";
    let start = front.client.start_message_move_task().source_arn(arn).max_number_of_messages_per_second(1);
    let handle = start.send().await.unwrap().task_handle.unwrap();
    let tasks = front.client.list_message_move_tasks().source_arn(arn).send().await.unwrap().results.unwrap();
    assert_eq!((tasks[0].source_arn(), tasks[0].max_number_of_messages_per_second), (Some(arn), Some(1)));
    // It may have found by now that there is nothing to move.
    if let Err(error) = front.client.cancel_message_move_task().task_handle(handle).send().await {
        assert_eq!(error.into_service_error().code(), Some("AWS.SimpleQueueService.UnsupportedOperation"));
    }
    assert_eq!(remote.world.queues.tags("source").await.unwrap(), strings(&[("team", "traces")]));
}

#[tokio::test]
async fn corrupted_body_is_recorded_before_the_message_is_received() {
    let (_remote, mut world) = before_another_endpoint().await;
    let _guard = world.queues.inject(MessageFault::CorruptBody { one_in: NonZeroU32::MIN, seed: 0 });
    world.send("body").await;
    assert_eq!(world.receive().await.body, "%%%%");
    assert_matches!(
        world.events().as_slice(),
        [
            EventKind::MessageSent { .. },
            EventKind::FaultInjected(Fault::BodyCorrupted { .. }),
            EventKind::MessageReceived { .. },
        ]
    );
}

#[tokio::test]
async fn api_works_before_an_external_endpoint() {
    let (_remote, world) = before_another_endpoint().await;
    let front = Served::of(world).await;
    let url = front.queue("q").await;
    front.client.send_message().queue_url(&url).message_body("b").send().await.unwrap();
    let received = front.client.receive_message().queue_url(&url).wait_time_seconds(1).send().await.unwrap();
    assert_eq!(received.messages()[0].body(), Some("b"));
    assert_eq!(front.client.list_queues().send().await.unwrap().queue_urls().len(), 1);
}
