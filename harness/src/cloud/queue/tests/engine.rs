//! Expiry, delay, redrive and retention, with paused time; and who is woken when.

use std::sync::Arc;
use std::time::Duration;

use assert_matches::assert_matches;
use futures_util::FutureExt;
use tokio::time::{Instant, advance};
use verifier::{EventKind, MessageId};

use super::world::{TRACE_HEADER, World, message, redrive, strings, traced_message};
use crate::cloud::queue::engine::Engine;
use crate::cloud::queue::error::ErrorKind;
use crate::cloud::queue::move_task::{MoveRequest, MoveStatus};
use crate::cloud::queue::tap::Tap;
use crate::cloud::queue::{Correlation, Depth, NewMessage, QueueSettings, Queues, ReceiveRequest, ReceivedMessage};
use crate::journal::Recorder;

const LONGEST_WAIT: Duration = Duration::from_secs(20);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn count(message: &ReceivedMessage) -> &str {
    &message.attributes["ApproximateReceiveCount"]
}

/// Waits for one message, and tells how long that took.
async fn wait_for_message(queues: &Queues) -> (ReceivedMessage, Duration) {
    let start = Instant::now();
    let received = queues.receive("q", 1, LONGEST_WAIT).await.unwrap().pop();
    (received.expect("a message comes while the poll waits"), start.elapsed())
}

/// Receives with a visibility time-out of its own.
async fn receive_hidden_for(queues: &Queues, hidden: Duration) -> ReceivedMessage {
    let request = ReceiveRequest { max: 1, wait: Some(Duration::ZERO), visibility_timeout: Some(hidden) };
    queues.receive_with("q", request).await.unwrap().pop().expect("a message is visible")
}

#[tokio::test(start_paused = true)]
async fn redelivered_message_keeps_its_id_and_counts_one_more_receive() {
    let world = World::local().await;
    let sent = world.send("body").await;
    let first = receive_hidden_for(&world.queues, seconds(5)).await;
    let (second, waited) = wait_for_message(&world.queues).await;
    assert_eq!(waited, seconds(5), "it came back at the end of its visibility time-out");
    assert_eq!((first.message_id.as_str(), count(&first)), (sent.message_id.as_str(), "1"));
    assert_eq!((second.message_id.as_str(), count(&second)), (sent.message_id.as_str(), "2"));
    assert_ne!(first.receipt_handle, second.receipt_handle);
    let first_received = |message: &ReceivedMessage| message.attributes["ApproximateFirstReceiveTimestamp"].clone();
    assert_eq!(first_received(&first), first_received(&second));
}

#[tokio::test(start_paused = true)]
async fn message_in_flight_is_hidden_for_the_queues_visibility_timeout() {
    let world = World::local().await;
    world.create("short", &[("VisibilityTimeout", "6")]).await;
    world.queues.send("short", message("body")).await.unwrap();
    assert!(world.receive_from("short").await.is_some());
    advance(seconds(6) - Duration::from_millis(1)).await;
    assert_eq!(world.receive_from("short").await, None);
    advance(Duration::from_millis(1)).await;
    assert!(world.receive_from("short").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn delayed_message_reaches_a_waiting_poll_when_its_delay_ends() {
    let world = World::local().await;
    let delayed = NewMessage { delay: Some(seconds(7)), ..message("later") };
    world.queues.send("q", delayed).await.unwrap();
    assert_eq!(world.queues.depth("q").await.unwrap(), Depth { delayed: 1, ..Depth::default() });
    let (received, waited) = wait_for_message(&world.queues).await;
    assert_eq!((received.body.as_str(), waited), ("later", seconds(7)));
    assert_eq!(count(&received), "1", "the end of a delay is not a receive");
}

#[tokio::test(start_paused = true)]
async fn messages_own_delay_outranks_the_queues() {
    let world = World::local().await;
    world.create("slow", &[("DelaySeconds", "900")]).await;
    world.queues.send("slow", message("slow")).await.unwrap();
    let at_once = NewMessage { delay: Some(Duration::ZERO), ..message("at once") };
    world.queues.send("slow", at_once).await.unwrap();
    assert_eq!(world.receive_from("slow").await.unwrap().body, "at once");
    assert_eq!(world.receive_from("slow").await, None);
}

#[tokio::test(start_paused = true)]
async fn empty_poll_waits_for_as_long_as_it_or_else_its_queue_says() {
    let world = World::local().await;
    let start = Instant::now();
    assert_eq!(world.queues.receive("q", 1, seconds(2)).await.unwrap(), []);
    assert_eq!(start.elapsed(), seconds(2));

    world.queues.set_attributes("q", &strings(&[("ReceiveMessageWaitTimeSeconds", "3")])).await.unwrap();
    let start = Instant::now();
    let request = ReceiveRequest { max: 1, wait: None, visibility_timeout: None };
    assert_eq!(world.queues.receive_with("q", request).await.unwrap(), []);
    assert_eq!(start.elapsed(), seconds(3));
}

#[tokio::test(start_paused = true)]
async fn waiting_poll_gets_a_sent_message_without_any_timer() {
    let world = World::local().await;
    let mut poll = Box::pin(wait_for_message(&world.queues));
    assert!((&mut poll).now_or_never().is_none());
    world.send("body").await;
    let (received, waited) = poll.now_or_never().expect("the send itself woke the poll");
    assert_eq!((received.body.as_str(), waited), ("body", Duration::ZERO));
}

#[tokio::test]
async fn message_is_admitted_once_before_anybody_can_see_it() {
    let (recorder, _events) = Recorder::new();
    let engine = Engine::new("arn:".to_owned(), Arc::new(Tap::new(recorder, Correlation::default())));
    engine.create("q", &strings(&[])).unwrap();
    let mut admitted = Vec::new();
    let admit = |id: &MessageId, message: &mut NewMessage| {
        assert!(engine.depth("q").unwrap().is_empty(), "nobody can see it yet");
        message.body = "altered".to_owned();
        admitted.push(id.as_str().to_owned());
    };
    let sent = engine.send("q", message("body"), admit).unwrap();
    assert_eq!(admitted, [sent.message_id]);
    let request = ReceiveRequest { max: 1, wait: Some(Duration::ZERO), visibility_timeout: None };
    assert_eq!(engine.receive("q", &request).await.unwrap()[0].body, "altered");
    engine.send("q", message(""), |_, _| panic!("a refused message is not admitted")).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn each_of_two_messages_wakes_a_poll_of_its_own() {
    let world = World::local().await;
    let mut first = Box::pin(wait_for_message(&world.queues));
    let mut second = Box::pin(wait_for_message(&world.queues));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    let batch = ["one", "two"].map(|body| (body.to_owned(), message(body).into()));
    world.queues.send_batch("q", batch.into()).await.unwrap();
    assert!(first.now_or_never().is_some());
    assert!(second.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn abandoned_poll_swallows_nothing() {
    let world = World::local().await;
    let mut abandoned = Box::pin(wait_for_message(&world.queues));
    let mut other = Box::pin(wait_for_message(&world.queues));
    assert!((&mut abandoned).now_or_never().is_none());
    assert!((&mut other).now_or_never().is_none());
    // The send wakes the poll that waits the longest, which is given up before it can look.
    world.send("body").await;
    drop(abandoned);
    let (received, _) = other.now_or_never().expect("the wake was passed on");
    assert_eq!(count(&received), "1");
}

#[tokio::test(start_paused = true)]
async fn poll_learns_of_an_expiry_that_was_set_while_it_waited() {
    let world = World::local().await;
    let mut poll = Box::pin(wait_for_message(&world.queues));
    assert!((&mut poll).now_or_never().is_none());
    // Another consumer is faster, so that the message is in flight when the poll looks.
    world.send("body").await;
    receive_hidden_for(&world.queues, seconds(5)).await;
    assert!((&mut poll).now_or_never().is_none());
    let (received, waited) = poll.await;
    assert_eq!((count(&received), waited), ("2", seconds(5)));
}

#[tokio::test(start_paused = true)]
async fn visibility_of_a_message_in_flight_can_be_changed() {
    let world = World::local().await;
    world.send("body").await;
    let received = world.receive().await;
    world.queues.change_visibility("q", &received.receipt_handle, seconds(3)).await.unwrap();
    let (received, waited) = wait_for_message(&world.queues).await;
    assert_eq!(waited, seconds(3));
    world.queues.change_visibility("q", &received.receipt_handle, Duration::ZERO).await.unwrap();
    assert_eq!(count(&world.receive().await), "3");
}

#[tokio::test(start_paused = true)]
async fn visibility_of_a_message_that_is_not_in_flight_cannot_be_changed() {
    let world = World::local().await;
    world.send("body").await;
    let old = receive_hidden_for(&world.queues, seconds(1)).await.receipt_handle;
    advance(seconds(1)).await;
    let change = |handle: String| {
        let queues = world.queues.clone();
        async move { queues.change_visibility("q", &handle, seconds(9)).await.map_err(|error| error.kind) }
    };
    assert_eq!(change(old.clone()).await, Err(ErrorKind::MessageNotInflight), "it is visible");
    let newest = world.receive().await.receipt_handle;
    assert_eq!(change(old).await, Err(ErrorKind::MessageNotInflight), "that receive is over");
    world.delete(&newest).await;
    assert_eq!(change(newest).await, Err(ErrorKind::InvalidParameterValue), "it is deleted");
}

#[tokio::test(start_paused = true)]
async fn newest_receipt_handle_deletes_even_after_the_visibility_timeout() {
    let mut world = World::local().await;
    world.send("body").await;
    let received = receive_hidden_for(&world.queues, seconds(1)).await;
    advance(seconds(2)).await;
    world.delete(&received.receipt_handle).await;
    assert!(world.queues.depth("q").await.unwrap().is_empty());
    assert_eq!(world.receive_from("q").await, None);
    assert_matches!(world.events().last(), Some(EventKind::MessageDeleted { .. }));
}

#[tokio::test(start_paused = true)]
async fn old_receipt_handle_is_accepted_and_deletes_nothing() {
    let mut world = World::local().await;
    world.send("body").await;
    let old = receive_hidden_for(&world.queues, seconds(1)).await;
    advance(seconds(1)).await;
    let newest = world.receive().await;
    world.delete(&old.receipt_handle).await;
    assert_eq!(world.queues.depth("q").await.unwrap().in_flight, 1);
    world.delete(&newest.receipt_handle).await;
    world.delete(&newest.receipt_handle).await;
    assert!(world.queues.depth("q").await.unwrap().is_empty());
    let deleted = world.events().iter().filter(|event| matches!(event, EventKind::MessageDeleted { .. })).count();
    assert_eq!(deleted, 1, "only what really deleted is recorded");
}

#[tokio::test(start_paused = true)]
async fn receipt_handle_of_another_queue_is_invalid() {
    let world = World::local().await;
    world.create("other", &[]).await;
    world.send("body").await;
    let handle = world.receive().await.receipt_handle;
    let error = world.queues.delete_message("other", &handle).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ReceiptHandleIsInvalid);
}

/// Receives from `q` and lets the message come back, this many times.
async fn receive_in_vain(world: &World, times: u32) {
    for _ in 0..times {
        receive_hidden_for(&world.queues, seconds(1)).await;
        advance(seconds(1)).await;
    }
}

async fn world_with_dead_letter_queue(max_receive_count: u32) -> World {
    let world = World::local().await;
    world.create("dlq", &[]).await;
    let policy = redrive(max_receive_count);
    world.queues.set_attributes("q", &strings(&[("RedrivePolicy", &policy)])).await.unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn message_received_too_often_moves_to_the_dead_letter_queue_as_it_is() {
    let mut world = world_with_dead_letter_queue(2).await;
    let sent = world.queues.send("q", traced_message("body")).await.unwrap();
    receive_in_vain(&world, 2).await;
    assert_eq!(world.receive_from("dlq").await, None, "only a further receive moves it");
    assert_eq!(world.receive_from("q").await, None);

    let dead = world.receive_from("dlq").await.expect("it was moved");
    assert_eq!((dead.message_id.as_str(), dead.body.as_str()), (sent.message_id.as_str(), "body"));
    assert_eq!(dead.message_attributes, traced_message("body").attributes);
    assert_eq!(dead.attributes["AWSTraceHeader"], TRACE_HEADER);
    assert_eq!(dead.attributes["DeadLetterQueueSourceArn"], "arn:aws:sqs:us-east-1:000000000000:q");
    assert_eq!(count(&dead), "3", "receives count across all queues");
    let events = world.events();
    let moved = events.iter().position(|event| matches!(event, EventKind::MessageDeadLettered { .. })).unwrap();
    assert_matches!(&events[moved], EventKind::MessageDeadLettered { message, queue } => {
        assert_eq!((message.as_str(), queue.as_str()), (sent.message_id.as_str(), "dlq"));
    });
    assert_matches!(&events[moved - 1], EventKind::MessageReturned { .. });
    assert_matches!(&events[moved + 1..], [EventKind::MessageReceived { receive_count: 3, .. }]);
}

#[tokio::test(start_paused = true)]
async fn poll_that_moves_a_dead_letter_goes_on_waiting() {
    let world = world_with_dead_letter_queue(1).await;
    world.send("dead").await;
    receive_in_vain(&world, 1).await;
    let mut poll = Box::pin(wait_for_message(&world.queues));
    assert!((&mut poll).now_or_never().is_none());
    assert_eq!(world.queues.depth("dlq").await.unwrap().visible, 1);
    world.send("alive").await;
    assert_eq!(poll.now_or_never().unwrap().0.body, "alive");
}

#[tokio::test(start_paused = true)]
async fn poll_on_the_dead_letter_queue_is_woken_by_a_dead_letter() {
    let world = world_with_dead_letter_queue(1).await;
    world.send("dead").await;
    receive_in_vain(&world, 1).await;
    let mut poll = Box::pin(world.queues.receive("dlq", 1, LONGEST_WAIT));
    assert!((&mut poll).now_or_never().is_none());
    assert_eq!(world.receive_from("q").await, None);
    assert_eq!(poll.now_or_never().unwrap().unwrap()[0].body, "dead");
}

#[tokio::test(start_paused = true)]
async fn fresh_message_is_received_behind_dead_letters() {
    let world = world_with_dead_letter_queue(1).await;
    for body in ["a", "b", "c"] {
        world.send(body).await;
    }
    for _ in 0..3 {
        receive_hidden_for(&world.queues, seconds(1)).await;
    }
    advance(seconds(1)).await;
    world.send("fresh").await;
    assert_eq!(world.receive().await.body, "fresh");
    assert_eq!(world.queues.depth("dlq").await.unwrap().visible, 3);
}

#[tokio::test(start_paused = true)]
async fn message_stays_while_its_dead_letter_queue_is_missing() {
    let world = world_with_dead_letter_queue(1).await;
    world.send("body").await;
    receive_in_vain(&world, 1).await;
    world.queues.delete_queue("dlq").await.unwrap();
    assert_eq!(count(&world.receive().await), "2");
}

#[tokio::test(start_paused = true)]
async fn dead_letter_queue_counts_its_own_receives() {
    let world = world_with_dead_letter_queue(1).await;
    world.create("last", &[]).await;
    let policy = redrive(2).replace(":dlq", ":last");
    world.queues.set_attributes("dlq", &strings(&[("RedrivePolicy", &policy)])).await.unwrap();
    world.send("body").await;
    receive_in_vain(&world, 1).await;
    assert_eq!(world.receive_from("q").await, None);
    for _ in 0..2 {
        assert!(world.receive_from("dlq").await.is_some());
        advance(seconds(30)).await;
    }
    assert_eq!(world.receive_from("dlq").await, None);
    assert!(world.receive_from("last").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn message_is_deleted_when_its_retention_ends() {
    let mut world = World::local().await;
    world.queues.set_attributes("q", &strings(&[("MessageRetentionPeriod", "60")])).await.unwrap();
    world.send("visible").await;
    world.send("in flight").await;
    world.receive().await;
    advance(seconds(59)).await;
    assert_eq!(world.queues.depth("q").await.unwrap().visible, 2);
    advance(seconds(1)).await;
    assert!(world.queues.depth("q").await.unwrap().is_empty());
    let deleted = world.events().iter().filter(|event| matches!(event, EventKind::MessageDeleted { .. })).count();
    assert_eq!(deleted, 2);
}

#[tokio::test(start_paused = true)]
async fn shorter_retention_counts_for_messages_that_are_there() {
    let world = World::local().await;
    world.send("body").await;
    advance(seconds(100)).await;
    world.queues.set_attributes("q", &strings(&[("MessageRetentionPeriod", "60")])).await.unwrap();
    assert!(world.queues.depth("q").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn message_kept_too_long_is_deleted_and_recorded_even_if_nobody_looks() {
    let mut world = World::local().await;
    world.queues.set_attributes("q", &strings(&[("MessageRetentionPeriod", "60")])).await.unwrap();
    let delayed = NewMessage { delay: Some(seconds(900)), ..message("delayed") };
    let sent = world.queues.send("q", delayed).await.unwrap();
    tokio::time::sleep(seconds(59)).await;
    assert_eq!(world.events().len(), 1, "it was sent");
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(world.events(), [EventKind::MessageDeleted { message: MessageId::new(sent.message_id) }]);
}

#[tokio::test(start_paused = true)]
async fn retention_of_a_dead_letter_counts_from_when_it_was_sent() {
    let world = world_with_dead_letter_queue(1).await;
    world.queues.set_attributes("dlq", &strings(&[("MessageRetentionPeriod", "60")])).await.unwrap();
    world.send("body").await;
    receive_in_vain(&world, 1).await;
    advance(seconds(49)).await;
    assert_eq!(world.receive_from("q").await, None);
    assert_eq!(world.queues.depth("dlq").await.unwrap().visible, 1);
    advance(seconds(10)).await;
    assert!(world.queues.depth("dlq").await.unwrap().is_empty());
}

const DLQ_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:dlq";

/// Asks for everything to be moved out of `dlq`.
fn move_all(max_per_second: Option<u32>) -> MoveRequest {
    MoveRequest { source_arn: DLQ_ARN.to_owned(), destination_arn: None, max_per_second }
}

async fn moved(world: &World) -> (MoveStatus, u64) {
    let task = world.queues.moves(DLQ_ARN, 1).await.unwrap().remove(0);
    (task.status, task.moved)
}

/// Three messages in `dlq` that came from `q`.
async fn world_with_three_dead_letters() -> World {
    let world = world_with_dead_letter_queue(1).await;
    for body in ["a", "b", "c"] {
        world.queues.send("q", traced_message(body)).await.unwrap();
        receive_in_vain(&world, 1).await;
    }
    assert_eq!(world.receive_from("q").await, None);
    assert_eq!(world.queues.depth("dlq").await.unwrap().visible, 3);
    world
}

#[tokio::test(start_paused = true)]
async fn moved_message_is_a_new_one_with_the_same_content() {
    let mut world = world_with_three_dead_letters().await;
    world.events();
    world.queues.start_move(move_all(None)).await.unwrap();
    let (back, _) = wait_for_message(&world.queues).await;
    assert_eq!((back.body.as_str(), count(&back)), ("a", "1"));
    assert_eq!(back.message_attributes, traced_message("a").attributes);
    assert_eq!(back.attributes["AWSTraceHeader"], TRACE_HEADER);
    assert_eq!(back.attributes.get("DeadLetterQueueSourceArn"), None);
    let events = world.events();
    assert_matches!(&events[0], EventKind::MessageSent { queue, message, carrier, .. } => {
        assert_eq!((queue.as_str(), message.as_str()), ("q", back.message_id.as_str()));
        assert!(carrier.traceparent.is_some() && carrier.xray.is_some());
    });
    assert_matches!(&events[1], EventKind::MessageDeleted { message } => assert_ne!(message.as_str(), back.message_id));
}

#[tokio::test(start_paused = true)]
async fn messages_are_moved_no_faster_than_was_asked_for_until_that_is_cancelled() {
    let world = world_with_three_dead_letters().await;
    let handle = world.queues.start_move(move_all(Some(2))).await.unwrap();
    let again = world.queues.start_move(move_all(None)).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::UnsupportedOperation, "one at a time");
    tokio::time::sleep(Duration::from_millis(750)).await;
    assert_eq!(moved(&world).await, (MoveStatus::Running, 2), "at 0 ms and at 500 ms");
    assert_eq!(world.queues.cancel_move(&handle).await.unwrap(), 2);
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(moved(&world).await, (MoveStatus::Cancelled, 2));
    assert_eq!(world.queues.depth("dlq").await.unwrap().visible, 1);

    world.queues.start_move(move_all(Some(500))).await.unwrap();
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(moved(&world).await, (MoveStatus::Completed, 1));
    assert_eq!(world.queues.depth("q").await.unwrap().visible, 3);
}

#[tokio::test(start_paused = true)]
async fn message_that_has_nowhere_to_go_stays_and_fails_the_task() {
    let world = world_with_three_dead_letters().await;
    world.queues.send("dlq", message("sent here")).await.unwrap();
    world.queues.start_move(move_all(None)).await.unwrap();
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(moved(&world).await, (MoveStatus::Failed, 3));
    let task = world.queues.moves(DLQ_ARN, 1).await.unwrap().remove(0);
    assert_eq!(task.failure.as_deref(), Some("CouldNotDetermineMessageSource"));

    world.create("other", &[]).await;
    let destination_arn = Some(DLQ_ARN.replace(":dlq", ":other"));
    world.queues.start_move(MoveRequest { destination_arn, ..move_all(None) }).await.unwrap();
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(moved(&world).await, (MoveStatus::Completed, 1));
    assert_eq!(world.receive_from("other").await.unwrap().body, "sent here");
}

#[tokio::test(start_paused = true)]
async fn ten_newest_move_tasks_of_a_queue_are_remembered() {
    let world = world_with_dead_letter_queue(1).await;
    let mut handles = Vec::new();
    for _ in 0..12 {
        handles.push(world.queues.start_move(move_all(None)).await.unwrap());
        tokio::time::sleep(seconds(1)).await;
    }
    handles.reverse();
    let listed: Vec<_> = world.queues.moves(DLQ_ARN, 100).await.unwrap().into_iter().map(|task| task.handle).collect();
    assert_eq!(listed, handles[..10]);
}

#[tokio::test(start_paused = true)]
async fn purge_deletes_everything_at_most_once_a_minute() {
    let mut world = World::local().await;
    world.send("visible").await;
    world.send("in flight").await;
    world.receive().await;
    world.queues.send("q", NewMessage { delay: Some(seconds(9)), ..message("delayed") }).await.unwrap();
    assert_eq!(world.queues.depth("q").await.unwrap(), Depth { visible: 1, in_flight: 1, delayed: 1 });
    world.queues.purge("q").await.unwrap();
    assert!(world.queues.depth("q").await.unwrap().is_empty());
    let deleted = world.events().iter().filter(|event| matches!(event, EventKind::MessageDeleted { .. })).count();
    assert_eq!(deleted, 3);

    advance(seconds(59)).await;
    assert_eq!(world.queues.purge("q").await.unwrap_err().kind, ErrorKind::PurgeQueueInProgress);
    advance(seconds(1)).await;
    world.queues.purge("q").await.unwrap();
    world.send("after").await;
    assert_eq!(world.receive().await.body, "after");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_120_000_messages_can_be_in_flight() {
    let world = World::local().await;
    for _ in 0..120_001 {
        world.send("b").await;
    }
    let mut last = None;
    for _ in 0..12_000 {
        last = world.queues.receive("q", 10, Duration::ZERO).await.unwrap().pop();
    }
    let refused = world.queues.receive("q", 1, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::OverLimit);
    // A poll that waits is not refused, and gets the message as soon as another one is done.
    let mut poll = Box::pin(wait_for_message(&world.queues));
    assert!((&mut poll).now_or_never().is_none());
    world.delete(&last.unwrap().receipt_handle).await;
    assert!(poll.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn waiting_poll_learns_that_its_queue_was_deleted() {
    let world = World::local().await;
    let mut poll = Box::pin(world.queues.receive("q", 1, LONGEST_WAIT));
    assert!((&mut poll).now_or_never().is_none());
    world.queues.delete_queue("q").await.unwrap();
    let error = poll.now_or_never().expect("the poll was woken").unwrap_err();
    assert_eq!(error.kind, ErrorKind::QueueDoesNotExist);
}

#[tokio::test(start_paused = true)]
async fn provided_queue_has_its_settings_and_its_dead_letter_queue() {
    let world = World::local().await;
    let settings = QueueSettings { visibility_timeout: seconds(6), max_receive_count: Some(3) };
    let url = world.queues.provide("onboarding", settings).await.unwrap();
    assert_eq!(url, world.queues.queue_url("onboarding"));
    assert_eq!(world.queues.provide("onboarding", settings).await.unwrap(), url, "again, it is the same");
    let attributes = world.queues.attributes("onboarding").await.unwrap();
    assert_eq!(attributes["VisibilityTimeout"], "6");
    assert_eq!(world.queues.dead_letter_sources("onboarding-dlq").await.unwrap(), ["onboarding"]);

    let odd = QueueSettings { visibility_timeout: Duration::from_millis(1500), max_receive_count: None };
    assert_eq!(world.queues.provide("odd", odd).await.unwrap_err().kind, ErrorKind::InvalidParameterValue);
}
