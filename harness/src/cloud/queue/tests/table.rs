//! The table of what SQS does and local engines get wrong, as AWS's own SDK sees it. Each row is named above
//! its tests. What takes long, or must happen at an instant, is tested with paused time in `engine.rs`.

use std::collections::HashSet;

use assert_matches::assert_matches;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::create_queue::CreateQueueError;
use aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::sdk::{
    code, entry, failures, receive, receive_count, receive_hidden_for, receive_one, send, system_attribute, text,
    wait_for_one,
};
use super::world::{Served, TRACE_HEADER, TRACEPARENT, redrive};

// create idempotent / conflict code.

#[tokio::test]
async fn creating_a_queue_again_finds_it_unless_an_attribute_differs() {
    let served = Served::local().await;
    let create = |delay: &str| {
        served.client.create_queue().queue_name("q").attributes(QueueAttributeName::DelaySeconds, delay).send()
    };
    let url = create("5").await.unwrap().queue_url;
    assert_eq!(url.as_deref(), Some(format!("{}/000000000000/q", served.endpoint).as_str()));
    assert_eq!(create("5").await.unwrap().queue_url, url);
    assert_eq!(served.client.create_queue().queue_name("q").send().await.unwrap().queue_url, url);
    let error = create("6").await.unwrap_err().into_service_error();
    assert_matches!(error, CreateQueueError::QueueNameExists(_));
}

// invalid name / VisibilityTimeout=99999.

#[tokio::test]
async fn names_and_attributes_out_of_range_are_refused() {
    let served = Served::local().await;
    let bad_name = served.client.create_queue().queue_name("no spaces").send().await;
    assert_eq!(code(bad_name), "InvalidParameterValue");
    let bad_value =
        served.client.create_queue().queue_name("q").attributes(QueueAttributeName::VisibilityTimeout, "99999");
    assert_eq!(code(bad_value.send().await), "InvalidAttributeValue");
    let bad_attribute = served.client.create_queue().queue_name("q").attributes("Colour".into(), "red");
    assert_eq!(code(bad_attribute.send().await), "InvalidAttributeName");
}

// RedrivePolicy back + ListDeadLetterSourceQueues.

#[tokio::test]
async fn redrive_policy_is_handed_out_and_its_sources_are_listed() {
    let served = Served::local().await;
    let dlq = served.queue("dlq").await;
    let policy = redrive(2);
    let create = served.client.create_queue().queue_name("q").attributes(QueueAttributeName::RedrivePolicy, &policy);
    let url = create.send().await.unwrap().queue_url.unwrap();
    let attributes = served.client.get_queue_attributes().queue_url(&url);
    let attributes = attributes.attribute_names(QueueAttributeName::RedrivePolicy).send().await.unwrap().attributes;
    assert_eq!(attributes.unwrap(), [(QueueAttributeName::RedrivePolicy, policy)].into());
    let sources = served.client.list_dead_letter_source_queues().queue_url(dlq).send().await.unwrap();
    assert_eq!(sources.queue_urls, [url]);
}

// redrive to missing DLQ refused.

#[tokio::test]
async fn redrive_to_a_missing_queue_is_refused() {
    let served = Served::local().await;
    let create = served.client.create_queue().queue_name("q").attributes(QueueAttributeName::RedrivePolicy, redrive(2));
    assert_eq!(code(create.send().await), "InvalidParameterValue");
    assert_eq!(
        code(served.client.get_queue_url().queue_name("q").send().await),
        "AWS.SimpleQueueService.NonExistentQueue"
    );
}

// 10 attrs + traceparent + MD5 right; 11 attrs refused.

#[tokio::test]
async fn ten_attributes_arrive_with_their_checksums_and_eleven_are_refused() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let mut call = served.client.send_message().queue_url(&url).message_body("body");
    call = call.message_attributes("traceparent", text(TRACEPARENT));
    let number = MessageAttributeValue::builder().data_type("Number").string_value("42").build().unwrap();
    call = call.message_attributes("number", number);
    let binary = MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 255])).build();
    call = call.message_attributes("binary", binary.unwrap());
    for number in 3..10 {
        call = call.message_attributes(format!("a{number}"), text("v"));
    }
    let sent = call.clone().send().await.unwrap();
    let received = receive_one(&served.client, &url).await;
    assert_eq!(received.md5_of_message_attributes, sent.md5_of_message_attributes);
    assert_eq!(received.md5_of_body, sent.md5_of_message_body);
    let attributes = received.message_attributes.unwrap();
    assert_eq!(attributes.len(), 10);
    assert_eq!(attributes["traceparent"].string_value(), Some(TRACEPARENT));
    assert_eq!(attributes["number"].data_type(), "Number");
    assert_eq!(attributes["binary"].binary_value(), Some(&Blob::new([0, 255])));

    let eleven = call.message_attributes("a10", text("v")).send().await;
    assert_eq!(code(eleven), "InvalidParameterValue");
}

// attr filter name / .* / prefix.

#[tokio::test]
async fn consumer_gets_the_attributes_that_it_asks_for() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let mut send = served.client.send_message().queue_url(&url).message_body("msg");
    for (name, value) in [("Help.Me", "Me"), ("Hello", "There"), ("General", "Kenobi")] {
        send = send.message_attributes(name, text(value));
    }
    send.send().await.unwrap();
    // The checksums are answers of AWS to the same filters, recorded in LocalStack's tests.
    for (filter, names, md5) in [
        (vec![], vec![], None),
        (vec!["All"], vec!["General", "Hello", "Help.Me"], Some("4c360f3fdafd970e05fae2f149d997f5")),
        (vec![".*"], vec!["General", "Hello", "Help.Me"], Some("4c360f3fdafd970e05fae2f149d997f5")),
        (vec!["Hello", "General"], vec!["General", "Hello"], Some("fca026605781cb4126a1e9044df24232")),
        (vec!["Hello", "Foo"], vec!["Hello"], Some("a311262e065454b75da111d535b8dacd")),
        (vec!["Hel.*"], vec!["Hello", "Help.Me"], Some("83fee93c1bcd8b9a5a923ffacdc636c7")),
        (vec!["Foo"], vec![], None),
    ] {
        let call = served.client.receive_message().queue_url(&url).visibility_timeout(0);
        let call = call.set_message_attribute_names(Some(filter.iter().map(|name| (*name).to_owned()).collect()));
        let received = call.send().await.unwrap().messages.unwrap().remove(0);
        let attributes = received.message_attributes.unwrap_or_default();
        let mut seen: Vec<_> = attributes.keys().map(String::as_str).collect();
        seen.sort_unstable();
        assert_eq!(seen, names, "{filter:?}");
        assert_eq!(received.md5_of_message_attributes.as_deref(), md5, "{filter:?}");
        assert_eq!(received.attributes, None, "nobody asked for system attributes");
    }
}

// empty value / AWS. prefix / bad type refused.

#[tokio::test]
async fn attributes_against_the_rules_are_refused() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let mistyped = MessageAttributeValue::builder().data_type("Text").string_value("v").build().unwrap();
    let valueless = MessageAttributeValue::builder().data_type("String").build().unwrap();
    for (name, value) in
        [("tracestate", text("")), ("AWS.x", text("v")), ("x", mistyped), ("x", valueless), ("a b", text("v"))]
    {
        let send = served.client.send_message().queue_url(&url).message_body("b").message_attributes(name, value);
        assert_eq!(code(send.send().await), "InvalidParameterValue", "{name}");
    }
    assert!(receive(&served.client, &url).await.is_empty());
}

// AWSTraceHeader round trip + its MD5.

#[tokio::test]
async fn trace_header_arrives_and_has_its_checksum() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let send = |name: MessageSystemAttributeNameForSends, value: &str| {
        let value = MessageSystemAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
        served.client.send_message().queue_url(&url).message_body("b").message_system_attributes(name, value).send()
    };
    let sent = send(MessageSystemAttributeNameForSends::AwsTraceHeader, TRACE_HEADER).await.unwrap();
    // The MD5 of name, type and value as SQS joins them, calculated by other means.
    assert_eq!(sent.md5_of_message_system_attributes.as_deref(), Some("5f48eef650c1d0207456969c85af2fdd"));
    assert_eq!(sent.md5_of_message_attributes, None);
    let received = receive_one(&served.client, &url).await;
    let attributes = received.attributes.unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::AwsTraceHeader], TRACE_HEADER);
    assert_eq!(attributes[&MessageSystemAttributeName::ApproximateReceiveCount], "1");
    assert!(attributes[&MessageSystemAttributeName::SentTimestamp].parse::<u64>().unwrap() > 1_700_000_000_000);
    assert_eq!(code(send("Other".into(), "v").await), "InvalidParameterValue");
}

// batch 10; partial failure.

#[tokio::test]
async fn batch_of_ten_is_sent_received_and_deleted() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let entries = (0..10).map(|number| entry(&format!("id-{number}"), &format!("body {number}"))).collect();
    let sent = served.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await.unwrap();
    assert_eq!((sent.successful.len(), sent.failed.len()), (10, 0));
    let received = receive(&served.client, &url).await;
    let ids = |messages: Vec<Option<String>>| messages.into_iter().flatten().collect::<HashSet<_>>();
    let sent_ids = sent.successful.iter().map(|entry| Some(entry.message_id.clone())).collect();
    assert_eq!(ids(sent_ids), ids(received.iter().map(|message| message.message_id.clone()).collect()));
    let entries = received.iter().enumerate().map(|(number, message)| {
        let handle = message.receipt_handle.clone().unwrap();
        DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(handle).build().unwrap()
    });
    let delete = served.client.delete_message_batch().queue_url(&url).set_entries(Some(entries.collect()));
    assert_eq!(delete.send().await.unwrap().successful.len(), 10);
    assert!(served.world.queues.depth("q").await.unwrap().is_empty());
}

#[tokio::test]
async fn batch_fails_for_the_entries_that_are_wrong_and_for_no_other() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let empty_attribute = SendMessageBatchRequestEntry::builder().id("empty-attribute").message_body("b");
    let late = SendMessageBatchRequestEntry::builder().id("late").message_body("b").delay_seconds(901);
    let send = served.client.send_message_batch().queue_url(&url);
    let send = send
        .entries(entry("good", "body"))
        .entries(entry("control", "\u{1}"))
        .entries(entry("empty", ""))
        .entries(empty_attribute.message_attributes("tracestate", text("")).build().unwrap())
        .entries(late.build().unwrap());
    let answer = send.send().await.unwrap();
    assert_eq!(answer.successful.iter().map(|entry| entry.id()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        failures(&answer.failed),
        [
            ("control", "InvalidMessageContents", true),
            ("empty", "MissingParameter", true),
            ("empty-attribute", "InvalidParameterValue", true),
            ("late", "InvalidParameterValue", true),
        ]
    );
    let handle = receive_one(&served.client, &url).await.receipt_handle.unwrap();

    let change = |id: &str, handle: &str, hidden| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
        entry.visibility_timeout(hidden).build().unwrap()
    };
    let changes = served.client.change_message_visibility_batch().queue_url(&url);
    let changes = changes.entries(change("good", &handle, 60)).entries(change("long", &handle, 43_201));
    let answer = changes.entries(change("garbage", "garbage", 60)).send().await.unwrap();
    assert_eq!(answer.successful.iter().map(|entry| entry.id()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        failures(&answer.failed),
        [("long", "InvalidParameterValue", true), ("garbage", "ReceiptHandleIsInvalid", true)]
    );

    let delete = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
    };
    let deletes = served.client.delete_message_batch().queue_url(&url);
    let answer = deletes.entries(delete("garbage", "garbage")).entries(delete("good", &handle)).send().await.unwrap();
    assert_eq!(failures(&answer.failed), [("garbage", "ReceiptHandleIsInvalid", true)]);
    assert!(served.world.queues.depth("q").await.unwrap().is_empty());
}

// batch error codes.

#[tokio::test]
async fn batches_against_the_rules_are_refused_as_a_whole() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let long = "x".repeat(600 * 1024);
    for (entries, expected) in [
        (vec![], "EmptyBatchRequest"),
        ((0..11).map(|number| entry(&number.to_string(), "b")).collect(), "TooManyEntriesInBatchRequest"),
        (vec![entry("same", "b"), entry("same", "b")], "BatchEntryIdsNotDistinct"),
        (vec![entry("not allowed", "b")], "InvalidBatchEntryId"),
        (vec![entry("a", &long), entry("b", &long)], "BatchRequestTooLong"),
    ] {
        let send = served.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await;
        assert_eq!(code(send), format!("AWS.SimpleQueueService.{expected}"));
    }
    assert!(receive(&served.client, &url).await.is_empty());
}

// long poll empty; queue default.

#[tokio::test]
async fn empty_poll_ends_with_nothing() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let answer = served.client.receive_message().queue_url(url).wait_time_seconds(1).send().await.unwrap();
    assert_eq!(answer.messages, None);
}

#[tokio::test]
async fn poll_that_does_not_say_how_long_it_waits_waits_as_its_queue_says() {
    let served = Served::local().await;
    let create = served.client.create_queue().queue_name("q");
    let create = create.attributes(QueueAttributeName::ReceiveMessageWaitTimeSeconds, "20");
    let url = create.send().await.unwrap().queue_url.unwrap();
    // Without the wait, the poll would be over long before the message is visible.
    served.client.send_message().queue_url(&url).message_body("later").delay_seconds(1).send().await.unwrap();
    assert_eq!(receive_one(&served.client, &url).await.body(), Some("later"));
}

// long poll is woken by a message (how fast: benches/queue.rs).

#[tokio::test]
async fn waiting_poll_receives_what_is_sent_meanwhile() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let poll = tokio::spawn(served.client.receive_message().queue_url(&url).wait_time_seconds(20).send());
    served.client.send_message().queue_url(&url).message_body("body").send().await.unwrap();
    let received = poll.await.unwrap().unwrap().messages.unwrap();
    assert_eq!(received[0].body(), Some("body"));
}

// visibility expiry, redelivery, count=2.

#[tokio::test]
async fn message_comes_back_when_its_visibility_timeout_has_passed() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let id = send(&served.client, &url, "body").await;
    assert_eq!(receive_hidden_for(&served.client, &url, 1).await.len(), 1);
    let again = wait_for_one(&served.client, &url).await;
    assert_eq!((again.message_id(), receive_count(&again)), (Some(id.as_str()), Some("2")));
}

// ChangeMessageVisibility 0 / 1 s / invalid.

#[tokio::test]
async fn visibility_set_to_zero_returns_the_message_at_once() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    served.client.send_message().queue_url(&url).message_body("body").send().await.unwrap();
    let handle = receive_one(&served.client, &url).await.receipt_handle.unwrap();
    assert!(receive(&served.client, &url).await.is_empty());
    let change = |seconds| {
        served.client.change_message_visibility().queue_url(&url).receipt_handle(&handle).visibility_timeout(seconds)
    };
    assert_eq!(code(change(43_201).send().await), "InvalidParameterValue");
    assert_eq!(code(change(-1).send().await), "InvalidParameterValue");
    change(0).send().await.unwrap();
    let again = receive_one(&served.client, &url).await;
    assert_eq!(again.attributes.unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount], "2");
}

#[tokio::test]
async fn visibility_timeout_of_a_message_in_flight_can_be_shortened() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    send(&served.client, &url, "body").await;
    let handle = receive_hidden_for(&served.client, &url, 43_200).await.remove(0).receipt_handle.unwrap();
    let change = served.client.change_message_visibility().queue_url(&url).receipt_handle(handle);
    change.visibility_timeout(1).send().await.unwrap();
    assert_eq!(receive_count(&wait_for_one(&served.client, &url).await), Some("2"));
}

// garbage receipt handle refused.

#[tokio::test]
async fn garbage_is_not_a_receipt_handle() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let delete = served.client.delete_message().queue_url(&url).receipt_handle("garbage").send().await;
    assert_eq!(code(delete), "ReceiptHandleIsInvalid");
    let change = served.client.change_message_visibility().queue_url(&url).receipt_handle("garbage");
    assert_eq!(code(change.visibility_timeout(1).send().await), "ReceiptHandleIsInvalid");
}

// delete after visibility expiry.

#[tokio::test]
async fn message_can_be_deleted_after_its_visibility_timeout_has_passed() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    send(&served.client, &url, "body").await;
    let handle = receive_hidden_for(&served.client, &url, 0).await.remove(0).receipt_handle.unwrap();
    assert_eq!(served.world.queues.depth("q").await.unwrap().visible, 1, "it has come back");
    served.client.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    assert!(receive(&served.client, &url).await.is_empty());
}

// DLQ after maxReceiveCount=2, attrs and id kept.

/// A queue whose messages go to another one after so many receives. The URLs of both.
async fn queue_with_dead_letters(served: &Served, max_receive_count: u32) -> (String, String) {
    let dlq = served.queue("dlq").await;
    let policy = redrive(max_receive_count);
    let create = served.client.create_queue().queue_name("q").attributes(QueueAttributeName::RedrivePolicy, policy);
    (create.send().await.unwrap().queue_url.unwrap(), dlq)
}

#[tokio::test]
async fn message_received_twice_in_vain_is_moved_by_the_third_receive_as_it_is() {
    let served = Served::local().await;
    let (url, dlq) = queue_with_dead_letters(&served, 2).await;
    let sent = served.client.send_message().queue_url(&url).message_body("body");
    let sent = sent.message_attributes("traceparent", text(TRACEPARENT)).send().await.unwrap();
    for _ in 0..2 {
        assert_eq!(receive_hidden_for(&served.client, &url, 0).await.len(), 1);
        assert!(receive(&served.client, &dlq).await.is_empty(), "it is not dead yet");
    }
    assert!(receive(&served.client, &url).await.is_empty());
    let dead = receive_one(&served.client, &dlq).await;
    assert_eq!((&dead.message_id, dead.body()), (&sent.message_id, Some("body")));
    assert_eq!(dead.md5_of_message_attributes, sent.md5_of_message_attributes);
    let source = system_attribute(&dead, MessageSystemAttributeName::DeadLetterQueueSourceArn);
    assert_eq!(source, Some("arn:aws:sqs:us-east-1:000000000000:q"));
}

// fresh message behind 3 dead letters, 3 in DLQ.

#[tokio::test]
async fn fresh_message_is_received_although_three_dead_letters_come_first() {
    let served = Served::local().await;
    let (url, dlq) = queue_with_dead_letters(&served, 1).await;
    for body in ["a", "b", "c"] {
        send(&served.client, &url, body).await;
    }
    assert_eq!(receive_hidden_for(&served.client, &url, 0).await.len(), 3);
    send(&served.client, &url, "fresh").await;
    assert_eq!(receive_one(&served.client, &url).await.body(), Some("fresh"));
    assert_eq!(receive(&served.client, &dlq).await.len(), 3);
}

// StartMessageMoveTask.

#[tokio::test]
async fn dead_letters_move_back_to_where_they_came_from() {
    let served = Served::local().await;
    let (url, dlq) = queue_with_dead_letters(&served, 1).await;
    let id = send(&served.client, &url, "body").await;
    assert_eq!(receive_hidden_for(&served.client, &url, 0).await.len(), 1);
    assert!(receive(&served.client, &url).await.is_empty());
    assert_eq!(receive_hidden_for(&served.client, &dlq, 0).await.len(), 1);

    let arn = "arn:aws:sqs:us-east-1:000000000000:dlq";
    let start = served.client.start_message_move_task().source_arn(arn).send().await.unwrap();
    let back = wait_for_one(&served.client, &url).await;
    assert_eq!((back.body(), receive_count(&back)), (Some("body"), Some("1")));
    assert_ne!(back.message_id(), Some(id.as_str()), "it is a new message");
    assert!(receive(&served.client, &dlq).await.is_empty());

    // The task finds out by a further look that nothing is left.
    let list = || served.client.list_message_move_tasks().source_arn(arn).send();
    let mut task = list().await.unwrap().results.unwrap().remove(0);
    while task.status() == Some("RUNNING") {
        assert_eq!(task.task_handle, start.task_handle);
        task = list().await.unwrap().results.unwrap().remove(0);
    }
    assert_eq!((task.status(), task.task_handle()), (Some("COMPLETED"), None));
    assert_eq!((task.approximate_number_of_messages_moved, task.source_arn()), (1, Some(arn)));
    let cancel = served.client.cancel_message_move_task().task_handle(start.task_handle.unwrap()).send().await;
    assert_eq!(code(cancel), "AWS.SimpleQueueService.UnsupportedOperation", "it is over");
}

#[tokio::test]
async fn move_tasks_against_the_rules_are_refused() {
    let served = Served::local().await;
    queue_with_dead_letters(&served, 1).await;
    let arn = |name: &str| format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    let start = |name: &str| served.client.start_message_move_task().source_arn(arn(name));
    assert_eq!(code(start("nowhere").send().await), "ResourceNotFoundException");
    assert_eq!(code(start("q").send().await), "InvalidParameterValue", "it is no dead-letter queue");
    let to_nowhere = start("dlq").destination_arn(arn("nowhere")).send().await;
    assert_eq!(code(to_nowhere), "ResourceNotFoundException");
    let too_fast = start("dlq").max_number_of_messages_per_second(501).send().await;
    assert_eq!(code(too_fast), "InvalidParameterValue");
    let cancel = served.client.cancel_message_move_task().task_handle("garbage").send().await;
    assert_eq!(code(cancel), "ResourceNotFoundException");
    let list = served.client.list_message_move_tasks().source_arn(arn("dlq"));
    assert_eq!(list.clone().send().await.unwrap().results(), []);
    assert_eq!(code(list.max_results(11).send().await), "InvalidParameterValue");
}

// FIFO order/dedup/blocked group; FIFO unblock: there are no FIFO queues.

#[tokio::test]
async fn fifo_queues_are_refused_and_it_is_said_that_there_are_none() {
    let served = Served::local().await;
    let by_name = served.client.create_queue().queue_name("q.fifo");
    let by_attribute = served.client.create_queue().queue_name("q").attributes(QueueAttributeName::FifoQueue, "true");
    for create in [by_name, by_attribute] {
        let error = create.send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("AWS.SimpleQueueService.UnsupportedOperation"));
        assert_eq!(error.message(), Some("FIFO queues are not supported by this endpoint."));
    }
    assert_eq!(code(served.client.create_queue().queue_name("no spaces.fifo").send().await), "InvalidParameterValue");
}

// group id on standard queue (fair queues).

#[tokio::test]
async fn standard_queue_takes_a_group_id_and_no_deduplication_id() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let send = served.client.send_message().queue_url(&url).message_body("b");
    send.clone().message_group_id("tenant-1").send().await.unwrap();
    let received = receive_one(&served.client, &url).await;
    assert_eq!(received.attributes.unwrap()[&MessageSystemAttributeName::MessageGroupId], "tenant-1");
    assert_eq!(code(send.message_deduplication_id("d").send().await), "InvalidParameterValue");
}

// QueueDoesNotExist modeled (send/recv/url).

#[tokio::test]
async fn unknown_queue_is_the_modeled_error_of_every_operation() {
    let served = Served::local().await;
    let url = format!("{}/000000000000/nowhere", served.endpoint);
    let send = served.client.send_message().queue_url(&url).message_body("b").send().await.unwrap_err();
    assert_matches!(send.into_service_error(), SendMessageError::QueueDoesNotExist(_));
    let receive = served.client.receive_message().queue_url(&url).send().await.unwrap_err();
    assert_matches!(receive.into_service_error(), ReceiveMessageError::QueueDoesNotExist(_));
    let find = served.client.get_queue_url().queue_name("nowhere").send().await.unwrap_err();
    assert_matches!(find.into_service_error(), GetQueueUrlError::QueueDoesNotExist(_));
    let batch = served.client.send_message_batch().queue_url(&url).entries(entry("a", "b")).send().await;
    assert_eq!(code(batch), "AWS.SimpleQueueService.NonExistentQueue");
}

// 1 MiB+1 refused / 1 MiB accepted; attrs counted in size.

#[tokio::test]
async fn message_of_1_mib_is_accepted_and_one_byte_more_is_refused() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let send = |body: String| served.client.send_message().queue_url(&url).message_body(body);
    let whole = "x".repeat(1_048_576);
    send(whole.clone()).send().await.unwrap();
    assert_eq!(receive_one(&served.client, &url).await.body, Some(whole.clone()));
    assert_eq!(code(send(format!("{whole}x")).send().await), "InvalidParameterValue");
    // The name, the type and the value of an attribute count: 1 + 6 + 1 bytes here.
    let exact = "x".repeat(1_048_576 - 8);
    send(exact.clone()).message_attributes("a", text("v")).send().await.unwrap();
    let over = send(format!("{exact}x")).message_attributes("a", text("v")).send().await;
    assert_eq!(code(over), "InvalidParameterValue");
}

#[tokio::test]
async fn queues_own_size_limit_counts() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let set = served.client.set_queue_attributes().queue_url(&url);
    set.attributes(QueueAttributeName::MaximumMessageSize, "1024").send().await.unwrap();
    let send = |length| served.client.send_message().queue_url(&url).message_body("x".repeat(length)).send();
    send(1024).await.unwrap();
    assert_eq!(code(send(1025).await), "InvalidParameterValue");
}

// U+0001; empty body.

#[tokio::test]
async fn bodies_against_the_rules_are_refused() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let send = |body: &str| served.client.send_message().queue_url(&url).message_body(body).send();
    assert_eq!(code(send("\u{1}").await), "InvalidMessageContents");
    assert_eq!(code(send("").await), "MissingParameter");
    send("\t\r\n ü 😀").await.unwrap();
    assert_eq!(receive_one(&served.client, &url).await.body(), Some("\t\r\n ü 😀"));
}

// counts 3/2/1, purge.

#[tokio::test]
async fn attributes_tell_how_many_messages_there_are() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let send = |delay| served.client.send_message().queue_url(&url).message_body("b").delay_seconds(delay).send();
    for delay in [0, 0, 0, 0, 0, 900] {
        send(delay).await.unwrap();
    }
    let take = served.client.receive_message().queue_url(&url).max_number_of_messages(2).send().await.unwrap();
    assert_eq!(take.messages().len(), 2);
    let attributes = served.client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All);
    let attributes = attributes.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessages], "3");
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessagesNotVisible], "2");
    assert_eq!(attributes[&QueueAttributeName::ApproximateNumberOfMessagesDelayed], "1");
    assert_eq!(attributes[&QueueAttributeName::QueueArn], "arn:aws:sqs:us-east-1:000000000000:q");
    assert_eq!(attributes[&QueueAttributeName::VisibilityTimeout], "30");

    served.client.purge_queue().queue_url(&url).send().await.unwrap();
    assert!(served.world.queues.depth("q").await.unwrap().is_empty());
    let again = served.client.purge_queue().queue_url(&url).send().await;
    assert_eq!(code(again), "AWS.SimpleQueueService.PurgeQueueInProgress");
}

// delay 1 s.

#[tokio::test]
async fn delayed_message_comes_when_its_delay_is_over() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    served.client.send_message().queue_url(&url).message_body("later").delay_seconds(1).send().await.unwrap();
    let later = wait_for_one(&served.client, &url).await;
    assert_eq!((later.body(), receive_count(&later)), (Some("later"), Some("1")));
}

// MaxNumber 11 / Wait 21 / Max 0 refused.

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let receive = || served.client.receive_message().queue_url(&url);
    assert_eq!(code(receive().max_number_of_messages(11).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().max_number_of_messages(0).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().wait_time_seconds(21).send().await), "InvalidParameterValue");
    assert_eq!(code(receive().visibility_timeout(43_201).send().await), "InvalidParameterValue");
    let send = served.client.send_message().queue_url(&url).message_body("b").delay_seconds(901).send().await;
    assert_eq!(code(send), "InvalidParameterValue");
}

// 2000 messages, 8 consumers, exactly once.

/// Receives and deletes until nothing comes any more; returns the messages' bodies.
async fn consume(client: Client, url: String) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let call = client.receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(1);
        let received = call.send().await.unwrap().messages.unwrap_or_default();
        if received.is_empty() {
            return bodies;
        }
        for message in received {
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
            bodies.push(message.body.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_2000_messages_reaches_exactly_one_of_8_consumers() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let mut consumers = JoinSet::new();
    for _ in 0..8 {
        consumers.spawn(consume(served.client.clone(), url.clone()));
    }
    for batch in 0..200 {
        let entries = (0..10).map(|number| entry(&number.to_string(), &format!("{}", batch * 10 + number))).collect();
        let sent = served.client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await;
        assert_eq!(sent.unwrap().failed, []);
    }
    let bodies: Vec<_> = consumers.join_all().await.into_iter().flatten().collect();
    assert_eq!(bodies.len(), 2000);
    assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), 2000);
}

// abandoned long poll does not swallow a message.

/// A poll of the queue `q` for 20 s, as it goes over the wire.
fn poll_on_the_wire() -> String {
    let body = r#"{"QueueUrl":"q","WaitTimeSeconds":20}"#;
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn poll_of_a_client_that_hangs_up_swallows_nothing() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    send(&served.client, &url, "first").await;
    let mut connection = TcpStream::connect(served.endpoint.trim_start_matches("http://")).await.unwrap();
    // The second poll waits when the first has been answered: both have come in one piece.
    connection.write_all([poll_on_the_wire(), poll_on_the_wire()].concat().as_bytes()).await.unwrap();
    let mut answer = [0; 8192];
    assert_ne!(connection.read(&mut answer).await.unwrap(), 0);
    connection.shutdown().await.unwrap();
    // It is gone on the other side as well.
    while connection.read(&mut answer).await.unwrap() > 0 {}
    send(&served.client, &url, "second").await;
    let received = receive_one(&served.client, &url).await;
    assert_eq!((received.body(), receive_count(&received)), (Some("second"), Some("1")));
}
