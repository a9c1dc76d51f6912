//! Words for tests that use AWS's SDK.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, Message, MessageAttributeValue, MessageSystemAttributeName, SendMessageBatchRequestEntry,
};

/// The code of an error that the SDK reports.
pub(super) fn code<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    result: Result<T, SdkError<E, R>>,
) -> String {
    result.unwrap_err().as_service_error().expect("the service answered").code().unwrap_or_default().to_owned()
}

pub(super) fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

pub(super) fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

pub(super) async fn receive(client: &Client, url: &str) -> Vec<Message> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(10).message_attribute_names("All");
    call.message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap_or_default()
}

pub(super) async fn receive_one(client: &Client, url: &str) -> Message {
    receive(client, url).await.pop().expect("a message is visible")
}

/// The ids and codes of the failed entries of a batch.
pub(super) fn failures(failed: &[BatchResultErrorEntry]) -> Vec<(&str, &str, bool)> {
    failed.iter().map(|entry| (entry.id(), entry.code(), entry.sender_fault())).collect()
}

/// Sends a message with this body.
pub(super) async fn send(client: &Client, url: &str, body: &str) -> String {
    client.send_message().queue_url(url).message_body(body).send().await.unwrap().message_id.unwrap()
}

/// Waits for a message.
pub(super) async fn wait_for_one(client: &Client, url: &str) -> Message {
    let call = client.receive_message().queue_url(url).wait_time_seconds(20);
    let call = call.message_system_attribute_names(MessageSystemAttributeName::All).message_attribute_names("All");
    call.send().await.unwrap().messages.unwrap_or_default().pop().expect("a message comes while the poll waits")
}

/// Receives what is visible, with a visibility time-out of this many seconds.
pub(super) async fn receive_hidden_for(client: &Client, url: &str, seconds: i32) -> Vec<Message> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(seconds);
    call.send().await.unwrap().messages.unwrap_or_default()
}

/// A system attribute of a message.
pub(super) fn system_attribute(message: &Message, name: MessageSystemAttributeName) -> Option<&str> {
    message.attributes.as_ref()?.get(&name).map(String::as_str)
}

/// How often a message has been received.
pub(super) fn receive_count(message: &Message) -> Option<&str> {
    system_attribute(message, MessageSystemAttributeName::ApproximateReceiveCount)
}
