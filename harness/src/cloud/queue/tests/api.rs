//! The rest of the API as AWS's own SDK uses it: what is in no row of the table.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use super::sdk::{code, receive};
use super::world::Served;

#[tokio::test]
async fn queues_are_listed_by_prefix_and_page() {
    let served = Served::local().await;
    for name in ["a-1", "a-2", "a-3", "b-1"] {
        served.queue(name).await;
    }
    let list = || served.client.list_queues().queue_name_prefix("a-");
    let url = |name: &str| format!("{}/000000000000/{name}", served.endpoint);
    assert_eq!(list().send().await.unwrap().queue_urls(), [url("a-1"), url("a-2"), url("a-3")]);
    let first = list().max_results(2).send().await.unwrap();
    assert_eq!(first.queue_urls(), [url("a-1"), url("a-2")]);
    let second = list().max_results(2).set_next_token(first.next_token).send().await.unwrap();
    assert_eq!((second.queue_urls(), second.next_token()), ([url("a-3")].as_slice(), None));
}

#[tokio::test]
async fn deleted_queue_is_gone_with_its_messages() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    served.client.send_message().queue_url(&url).message_body("b").send().await.unwrap();
    served.client.delete_queue().queue_url(&url).send().await.unwrap();
    assert!(served.client.get_queue_url().queue_name("q").send().await.is_err());
    served.queue("q").await;
    assert!(receive(&served.client, &url).await.is_empty());
}

#[tokio::test]
async fn host_of_a_queue_url_is_never_looked_at() {
    let served = Served::local().await;
    served.queue("q").await;
    for url in ["http://elsewhere.example:1/000000000000/q", "https://sqs.us-east-1.amazonaws.com/1/q", "q"] {
        served.client.send_message().queue_url(url).message_body("b").send().await.unwrap();
    }
    assert_eq!(served.world.queues.depth("q").await.unwrap().visible, 3);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_waiting_polls() {
    let mut served = Served::local().await;
    let url = served.queue("q").await;
    let poll = tokio::spawn(served.client.receive_message().queue_url(&url).wait_time_seconds(20).send());
    // The poll has arrived when its message has come back to it once.
    served.client.send_message().queue_url(&url).message_body("b").send().await.unwrap();
    assert_eq!(poll.await.unwrap().unwrap().messages().len(), 1);
    let poll = tokio::spawn(served.client.receive_message().queue_url(&url).wait_time_seconds(20).send());
    let stopped = async {
        tokio::task::yield_now().await;
        served.stop().await;
    };
    tokio::time::timeout(Duration::from_secs(10), stopped).await.expect("it stops long before the poll would end");
    drop(poll);
}

#[tokio::test]
async fn tags_are_kept_until_they_are_taken_away() {
    let served = Served::local().await;
    let url = served.client.create_queue().queue_name("q").tags("team", "traces").tags("cost", "1").send().await;
    let url = url.unwrap().queue_url.unwrap();
    served.client.tag_queue().queue_url(&url).tags("cost", "2").tags("stage", "test").send().await.unwrap();
    served.client.untag_queue().queue_url(&url).tag_keys("team").tag_keys("none").send().await.unwrap();
    let tags = served.client.list_queue_tags().queue_url(&url).send().await.unwrap().tags.unwrap();
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(tags, [tag("cost", "2"), tag("stage", "test")].into());
    let reserved = served.client.tag_queue().queue_url(&url).tags("aws:team", "traces").send().await;
    assert_eq!(code(reserved), "InvalidParameterValue");
}

#[tokio::test]
async fn queue_with_tags_against_the_rules_is_not_created() {
    let served = Served::local().await;
    let create = served.client.create_queue().queue_name("q").tags("aws:team", "traces").send().await;
    assert_eq!(code(create), "InvalidParameterValue");
    assert_eq!(served.client.list_queues().send().await.unwrap().queue_urls(), [] as [String; 0]);
}

#[tokio::test]
async fn permissions_are_statements_of_the_queues_policy() {
    let served = Served::local().await;
    let url = served.queue("q").await;
    let add = served.client.add_permission().queue_url(&url).label("sending").aws_account_ids("111111111111");
    add.clone().actions("SendMessage").actions("GetQueueUrl").send().await.unwrap();
    let policy = || async {
        let attributes = served.client.get_queue_attributes().queue_url(&url).attribute_names("Policy".into());
        let policy = attributes.send().await.unwrap().attributes.unwrap().remove(&QueueAttributeName::Policy).unwrap();
        serde_json::from_str::<Value>(&policy).unwrap()
    };
    let statement = policy().await["Statement"][0].clone();
    assert_eq!(statement["Sid"], "sending");
    assert_eq!(statement["Action"], serde_json::json!(["SQS:SendMessage", "SQS:GetQueueUrl"]));
    assert_eq!(code(add.actions("SendMessage").send().await), "InvalidParameterValue", "the label is there");
    let remove = served.client.remove_permission().queue_url(&url).label("sending");
    remove.clone().send().await.unwrap();
    assert_eq!(policy().await["Statement"], serde_json::json!([]));
    assert_eq!(code(remove.send().await), "InvalidParameterValue");
}
