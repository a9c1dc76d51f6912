//! Calls that no SDK would make.

use serde_json::{Value, json};

use super::world::Served;

struct Answer {
    status: u16,
    query_error: String,
    body: Value,
}

async fn call(served: &Served, target: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = reqwest::Client::new().post(&served.endpoint).body(body);
    if let Some(target) = target {
        request = request.header("X-Amz-Target", target);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
    let query_error = response.headers().get("x-amzn-query-error");
    Answer {
        status: response.status().as_u16(),
        query_error: query_error.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default(),
        body: response.json().await.unwrap(),
    }
}

#[tokio::test]
async fn operations_that_sqs_does_not_have_are_unknown() {
    let served = Served::local().await;
    for target in [None, Some("DynamoDB_20120810.GetItem"), Some("AmazonSQS.Send")] {
        let answer = call(&served, target, "{}").await;
        assert_eq!(answer.status, 404, "{target:?}");
        assert_eq!(answer.body["__type"], "com.amazon.coral.service#UnknownOperationException");
    }
}

#[tokio::test]
async fn body_that_cannot_be_read_is_a_serialization_error() {
    let served = Served::local().await;
    for body in ["", "not json", "[]", r#"{"QueueUrl": 5}"#, r#"{"QueueUrl": "q", "MessageBody": {}}"#] {
        let answer = call(&served, Some("AmazonSQS.SendMessage"), body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.body["__type"], "com.amazon.coral.service#SerializationException", "{body}");
    }
}

#[tokio::test]
async fn body_that_is_too_long_is_refused_as_a_message_that_is() {
    let served = Served::local().await;
    for (operation, code) in [
        ("SendMessage", "InvalidParameterValue;Sender"),
        ("SendMessageBatch", "AWS.SimpleQueueService.BatchRequestTooLong;Sender"),
        ("DeleteMessage", "InvalidParameterValue;Sender"),
    ] {
        let answer = call(&served, Some(&format!("AmazonSQS.{operation}")), vec![b' '; 8 * 1024 * 1024 + 1]).await;
        assert_eq!((answer.status, answer.query_error.as_str()), (400, code), "{operation}");
        assert!(answer.body["message"].as_str().unwrap().contains("longer than") || operation == "SendMessage");
    }
}

#[tokio::test]
async fn missing_parameters_are_named() {
    let served = Served::local().await;
    for (operation, body, parameter) in [
        ("CreateQueue", "{}", "QueueName"),
        ("SendMessage", "{}", "QueueUrl"),
        ("SendMessage", r#"{"QueueUrl":"q"}"#, "MessageBody"),
        ("ReceiveMessage", "{}", "QueueUrl"),
        ("DeleteMessage", r#"{"QueueUrl":"q"}"#, "ReceiptHandle"),
        ("ChangeMessageVisibility", r#"{"QueueUrl":"q","ReceiptHandle":"h"}"#, "VisibilityTimeout"),
    ] {
        let answer = call(&served, Some(&format!("AmazonSQS.{operation}")), body).await;
        assert_eq!((answer.status, answer.query_error.as_str()), (400, "MissingParameter;Sender"), "{operation}");
        assert_eq!(answer.body["message"], format!("The request must contain the parameter {parameter}."));
    }
}

#[tokio::test]
async fn error_has_its_type_in_the_body_and_its_code_in_the_header() {
    let served = Served::local().await;
    let answer = call(&served, Some("AmazonSQS.PurgeQueue"), r#"{"QueueUrl":"q"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.query_error, "AWS.SimpleQueueService.NonExistentQueue;Sender");
    assert_eq!(answer.body["__type"], "com.amazonaws.sqs#QueueDoesNotExist");
}

#[tokio::test]
async fn attribute_that_is_not_base64_refuses_its_message_alone() {
    let served = Served::local().await;
    served.queue("q").await;
    let attributes = json!({ "b": { "DataType": "Binary", "BinaryValue": "%" } });
    let entries = json!([
        { "Id": "bad", "MessageBody": "b", "MessageAttributes": attributes },
        { "Id": "good", "MessageBody": "b" },
    ]);
    let body = json!({ "QueueUrl": "q", "Entries": entries }).to_string();
    let answer = call(&served, Some("AmazonSQS.SendMessageBatch"), body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["Failed"][0]["Id"], "bad");
    assert_eq!(answer.body["Successful"][0]["Id"], "good");
}
