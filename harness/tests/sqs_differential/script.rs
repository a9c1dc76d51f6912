//! What is asked, and how an answer is shown.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
};

use super::{ACCOUNT, REGION};

/// What somebody answered to each step, without what differs from call to call: ids, handles, times.
struct Script<'a> {
    client: &'a Client,
    answers: BTreeMap<&'static str, String>,
}

impl Script<'_> {
    /// Notes an answer: what is shown of it, or the code of the error.
    fn note<T, E: ProvideErrorMetadata, R>(
        &mut self,
        step: &'static str,
        answer: Result<T, SdkError<E, R>>,
        show: impl FnOnce(T) -> String,
    ) {
        let shown = match answer {
            Ok(answer) => show(answer),
            Err(error) => {
                let error = error.as_service_error().and_then(|error| error.code().map(str::to_owned));
                format!("error {}", error.unwrap_or_else(|| "without a code".to_owned()))
            }
        };
        assert_eq!(self.answers.insert(step, shown), None, "{step}: each step has a name of its own");
    }

    /// Creates a queue, and returns its URL.
    async fn queue(&self, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
        let attributes = attributes.iter().map(|(name, value)| (name.clone(), (*value).to_owned())).collect();
        let create = self.client.create_queue().queue_name(name).set_attributes(Some(attributes));
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn send(&self, url: &str, body: &str) {
        self.client.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    /// Receives what is visible, with a visibility time-out of this many seconds.
    async fn receive(&self, url: &str, hidden: i32) -> Vec<Message> {
        let call = self.client.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(hidden);
        let call = call.message_attribute_names("All").message_system_attribute_names(MessageSystemAttributeName::All);
        call.send().await.unwrap().messages.unwrap_or_default()
    }

    async fn create_and_change_queues(&mut self) {
        let client = self.client;
        let create = |name: &str| client.create_queue().queue_name(name);
        let delay = |seconds: &str| create("q").attributes(QueueAttributeName::DelaySeconds, seconds).send();
        self.note("create a queue", delay("5").await, |answer| path(&answer.queue_url.unwrap()));
        self.note("create it again", delay("5").await, |answer| path(&answer.queue_url.unwrap()));
        self.note("create it with another delay", delay("6").await, |_| "created".to_owned());
        let timeout = create("v").attributes(QueueAttributeName::VisibilityTimeout, "99999").send().await;
        self.note("visibility time-out out of range", timeout, |_| "created".to_owned());
        self.note("name with a space", create("a b").send().await, |_| "created".to_owned());
        let unknown = create("u").attributes("Colour".into(), "red").send().await;
        self.note("unknown queue attribute", unknown, |_| "created".to_owned());
        let fifo = create("f.fifo").attributes(QueueAttributeName::FifoQueue, "true").send().await;
        self.note("FIFO queue", fifo, |_| "created".to_owned());

        let url = self.queue("defaults", &[]).await;
        let attributes = |name| client.get_queue_attributes().queue_url(&url).attribute_names(name).send();
        self.note("attributes of a new queue", attributes(QueueAttributeName::All).await, |answer| {
            let mut attributes = answer.attributes.unwrap();
            // In a step of its own.
            attributes.remove(&QueueAttributeName::MaximumMessageSize);
            shown_attributes(&attributes)
        });
        let limit = attributes(QueueAttributeName::MaximumMessageSize).await;
        self.note("size limit of a new queue", limit, |answer| shown_attributes(&answer.attributes.unwrap()));
        let list = client.list_queues().queue_name_prefix("def").send().await;
        self.note("queues by prefix", list, |answer| paths(answer.queue_urls()));
        self.note("delete a queue", client.delete_queue().queue_url(&url).send().await, |_| "deleted".to_owned());
        self.note("delete it again", client.delete_queue().queue_url(&url).send().await, |_| "deleted".to_owned());
    }

    async fn describe_queues(&mut self) {
        let client = self.client;
        let url = self.queue("described", &[]).await;
        client.tag_queue().queue_url(&url).tags("a", "1").tags("b", "2").send().await.unwrap();
        client.untag_queue().queue_url(&url).tag_keys("a").send().await.unwrap();
        self.note("tags", client.list_queue_tags().queue_url(&url).send().await, |answer| {
            format!("{:?}", answer.tags.unwrap_or_default())
        });
        let add = client.add_permission().queue_url(&url).label("l").aws_account_ids("111111111111");
        let add = add.actions("SendMessage");
        self.note("add a permission", add.clone().send().await, |_| "added".to_owned());
        self.note("add it again", add.send().await, |_| "added".to_owned());
        let remove = client.remove_permission().queue_url(&url).label("none").send().await;
        self.note("remove a permission that is not there", remove, |_| "removed".to_owned());
    }

    async fn miss_queues(&mut self) {
        let client = self.client;
        let url = self.queue("missing", &[]).await;
        client.delete_queue().queue_url(&url).send().await.unwrap();
        self.note("URL of a missing queue", client.get_queue_url().queue_name("missing").send().await, |_| {
            "".to_owned()
        });
        let send = client.send_message().queue_url(&url).message_body("b").send().await;
        self.note("send to a missing queue", send, |_| "sent".to_owned());
        let receive = client.receive_message().queue_url(&url).send().await;
        self.note("receive from a missing queue", receive, |_| "received".to_owned());
        self.note("purge a missing queue", client.purge_queue().queue_url(&url).send().await, |_| "purged".to_owned());
    }

    async fn send_attributes(&mut self) {
        let client = self.client;
        let url = self.queue("attributes", &[]).await;
        let send = client.send_message().queue_url(&url).message_body("body");
        let named = |name: &str, value: &str| send.clone().message_attributes(name, text(value)).send();
        self.note("attribute with an empty value", named("tracestate", "").await, |_| "sent".to_owned());
        self.note("attribute of AWS's", named("AWS.x", "v").await, |_| "sent".to_owned());
        self.note("attribute name with a space", named("a b", "v").await, |_| "sent".to_owned());
        let typed = MessageAttributeValue::builder().data_type("Text").string_value("v").build().unwrap();
        let typed = send.clone().message_attributes("x", typed).send().await;
        self.note("attribute of an unknown type", typed, |_| "sent".to_owned());
        let many = |count| (0..count).fold(send.clone(), |send, n| send.message_attributes(format!("a{n}"), text("v")));
        self.note("11 attributes", many(11).send().await, |_| "sent".to_owned());
        client.purge_queue().queue_url(&url).send().await.unwrap();

        let sent = many(8).message_attributes("Hello", text("There")).message_attributes("Help.Me", text("Me"));
        self.note("10 attributes", sent.send().await, |sent| {
            format!("{:?} {:?}", sent.md5_of_message_body, sent.md5_of_message_attributes)
        });
        let receive = |names: &str| {
            client.receive_message().queue_url(&url).visibility_timeout(0).message_attribute_names(names).send()
        };
        self.note("receive all attributes", receive("All").await, shown_messages);
        self.note("receive an attribute by its name", receive("Hello").await, shown_messages);
        self.note("receive attributes by their prefix", receive("Hel.*").await, shown_messages);
        self.note("receive every attribute", receive(".*").await, shown_messages);
    }

    async fn send_trace_header(&mut self) {
        let client = self.client;
        let url = self.queue("header", &[]).await;
        let header =
            MessageSystemAttributeValue::builder().data_type("String").string_value("Root=1-5759e988-bd862e3f");
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        let send = client.send_message().queue_url(&url).message_body("b");
        let sent = send.message_system_attributes(name, header.build().unwrap()).send().await;
        self.note("send a trace header", sent, |sent| format!("{:?}", sent.md5_of_message_system_attributes));
        let received = self.receive(&url, 30).await;
        let attributes = received[0].attributes.clone().unwrap_or_default();
        let mut names: Vec<_> = attributes.keys().map(MessageSystemAttributeName::as_str).collect();
        names.sort_unstable();
        self.answers.insert("system attributes of a received message", format!("{names:?}"));
    }

    async fn send_bodies(&mut self) {
        let client = self.client;
        let url = self.queue("bodies", &[]).await;
        let send = |body: String| client.send_message().queue_url(&url).message_body(body);
        self.note("body with U+0001", send("\u{1}".to_owned()).send().await, |_| "sent".to_owned());
        self.note("empty body", send(String::new()).send().await, |_| "sent".to_owned());
        let longest = "x".repeat(1_048_576);
        self.note("body of 1 MiB", send(longest.clone()).send().await, |_| "sent".to_owned());
        self.note("body of 1 MiB and a byte", send(longest + "x").send().await, |_| "sent".to_owned());
        let small = "x".repeat(1024);
        let url = self.queue("small", &[(QueueAttributeName::MaximumMessageSize, "1024")]).await;
        let send = client.send_message().queue_url(&url).message_body(small);
        self.note("body of the queue's own limit", send.clone().send().await, |_| "sent".to_owned());
        let with_attribute = send.message_attributes("a", text("v")).send().await;
        self.note("body of the queue's own limit, and an attribute", with_attribute, |_| "sent".to_owned());
    }

    async fn send_groups(&mut self) {
        let url = self.queue("groups", &[]).await;
        let send = self.client.send_message().queue_url(&url).message_body("b");
        let grouped = send.clone().message_group_id("tenant").send().await;
        self.note("group id on a standard queue", grouped, |_| "sent".to_owned());
        let deduplicated = send.message_deduplication_id("d").send().await;
        self.note("deduplication id on a standard queue", deduplicated, |_| "sent".to_owned());
    }

    async fn send_batches(&mut self) {
        let client = self.client;
        let url = self.queue("batches", &[]).await;
        let send = |entries: Vec<SendMessageBatchRequestEntry>| {
            client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
        };
        let ten = (0..10).map(|n| entry(&n.to_string(), "b")).collect();
        self.note("batch of 10", send(ten).await, shown_batch);
        let partly = vec![entry("good", "b"), entry("control", "\u{1}"), entry("empty", "")];
        self.note("batch with bad bodies", send(partly).await, shown_batch);
        self.note("empty batch", send(vec![]).await, shown_batch);
        let eleven = (0..11).map(|n| entry(&n.to_string(), "b")).collect();
        self.note("batch of 11", send(eleven).await, shown_batch);
        self.note("batch with an id twice", send(vec![entry("a", "b"), entry("a", "b")]).await, shown_batch);
        self.note("batch with a bad id", send(vec![entry("a b", "b")]).await, shown_batch);
        let long = "x".repeat(600 * 1024);
        self.note("batch that is too long", send(vec![entry("a", &long), entry("b", &long)]).await, shown_batch);
    }

    async fn receive_out_of_range(&mut self) {
        let url = self.queue("ranges", &[]).await;
        // There is something to receive, so that nobody waits.
        self.send(&url, "b").await;
        let receive = || self.client.receive_message().queue_url(&url).visibility_timeout(0);
        let eleven = receive().max_number_of_messages(11).send().await;
        let none = receive().max_number_of_messages(0).send().await;
        let long = receive().wait_time_seconds(21).send().await;
        let hidden = receive().visibility_timeout(43_201).send().await;
        self.note("receive 11 messages", eleven, shown_messages);
        self.note("receive 0 messages", none, shown_messages);
        self.note("wait 21 s", long, shown_messages);
        self.note("hide for longer than 12 h", hidden, shown_messages);
    }

    async fn use_handles(&mut self) {
        let client = self.client;
        let url = self.queue("handles", &[]).await;
        let delete = |handle: &str| client.delete_message().queue_url(&url).receipt_handle(handle).send();
        let change = |handle: &str, seconds| {
            client.change_message_visibility().queue_url(&url).receipt_handle(handle).visibility_timeout(seconds).send()
        };
        self.note("delete by garbage", delete("garbage").await, |_| "deleted".to_owned());
        self.note("change visibility by garbage", change("garbage", 1).await, |_| "changed".to_owned());
        self.send(&url, "b").await;
        let first = self.receive(&url, 30).await.remove(0).receipt_handle.unwrap();
        self.note("change visibility to longer than 12 h", change(&first, 43_201).await, |_| "changed".to_owned());
        self.note("change visibility to 0", change(&first, 0).await, |_| "changed".to_owned());
        let second = self.receive(&url, 30).await;
        self.answers.insert("receive count after a return", count(&second[0]));
        self.note("delete by an old handle", delete(&first).await, |_| "deleted".to_owned());
        self.note("depth after that", self.depth(&url).await, |depth| depth);
        let second = second[0].receipt_handle.clone().unwrap();
        self.note("delete by the newest handle", delete(&second).await, |_| "deleted".to_owned());
        self.note("delete a second time", delete(&second).await, |_| "deleted".to_owned());
        let deleted = change(&second, 5).await;
        self.note("change visibility of a deleted message", deleted, |_| "changed".to_owned());

        self.send(&url, "b").await;
        let expired = self.receive(&url, 0).await.remove(0).receipt_handle.unwrap();
        let visible = change(&expired, 5).await;
        self.note("change visibility of a message that is visible", visible, |_| "changed".to_owned());
        self.note("delete after the visibility time-out", delete(&expired).await, |_| "deleted".to_owned());
        self.answers.insert("received after that", self.receive(&url, 0).await.len().to_string());
    }

    /// How many messages are visible, in flight and delayed.
    async fn depth(&self, url: &str) -> Result<String, SdkError<GetQueueAttributesError>> {
        let call = self.client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        let attributes = call.send().await?.attributes.unwrap_or_default();
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        Ok(counts.map(|name| attributes.get(&name).cloned().unwrap_or_default()).join("/"))
    }

    async fn count_and_purge(&mut self) {
        let url = self.queue("counts", &[]).await;
        for _ in 0..5 {
            self.send(&url, "b").await;
        }
        let delayed = self.client.send_message().queue_url(&url).message_body("b").delay_seconds(900);
        delayed.send().await.unwrap();
        let call = self.client.receive_message().queue_url(&url).max_number_of_messages(2).send().await;
        self.note("receive 2 of 5", call, |answer| answer.messages().len().to_string());
        self.note("counts", self.depth(&url).await, |depth| depth);
        let purge = || self.client.purge_queue().queue_url(&url).send();
        let (first, second) = (purge().await, purge().await);
        self.note("purge", first, |_| "purged".to_owned());
        self.note("purge again at once", second, |_| "purged".to_owned());
        self.note("counts after the purge", self.depth(&url).await, |depth| depth);
    }

    async fn wait_for_messages(&mut self) {
        let url = self.queue("waits", &[]).await;
        let wait = || self.client.receive_message().queue_url(&url).wait_time_seconds(20).send();
        let delayed = self.client.send_message().queue_url(&url).message_body("later").delay_seconds(1);
        delayed.send().await.unwrap();
        let later = wait().await;
        self.note("wait for a delayed message", later, shown_messages);
        let empty = self.client.receive_message().queue_url(&url).wait_time_seconds(1).send().await;
        self.note("wait in vain", empty, shown_messages);
    }

    async fn make_dead_letters(&mut self) {
        let dlq = self.queue("dlq", &[]).await;
        let policy = format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:{REGION}:{ACCOUNT}:dlq","maxReceiveCount":2}}"#);
        let url = self.queue("source", &[(QueueAttributeName::RedrivePolicy, &policy)]).await;
        let call =
            self.client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::RedrivePolicy);
        self.note("redrive policy", call.send().await, |answer| {
            shown_attributes(&answer.attributes.unwrap_or_default())
        });
        let sources = self.client.list_dead_letter_source_queues().queue_url(&dlq).send().await;
        self.note("sources of a dead-letter queue", sources, |answer| paths(answer.queue_urls()));
        let missing = self.client.create_queue().queue_name("m");
        let missing =
            missing.attributes(QueueAttributeName::RedrivePolicy, policy.replace(":dlq", ":none")).send().await;
        self.note("redrive to a missing queue", missing, |_| "created".to_owned());

        self.send(&url, "dead").await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(self.receive(&url, 0).await.first().map(count));
        }
        self.answers.insert("receive counts until it is dead", format!("{seen:?}"));
        let dead = self.receive(&dlq, 0).await;
        let source = |message: &Message| {
            let attributes = message.attributes.clone().unwrap_or_default();
            attributes.get(&MessageSystemAttributeName::DeadLetterQueueSourceArn).cloned()
        };
        self.answers.insert(
            "dead letter",
            format!("{:?}", dead.iter().map(|dead| (dead.body(), count(dead), source(dead))).collect::<Vec<_>>()),
        );
        let start = self.client.start_message_move_task().source_arn(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:dlq"));
        self.note("move dead letters back", start.send().await, |_| "begun".to_owned());
    }
}

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
}

/// A queue's URL without the host.
fn path(url: &str) -> String {
    url.splitn(4, '/').nth(3).unwrap_or_default().to_owned()
}

fn paths(urls: &[String]) -> String {
    format!("{:?}", urls.iter().map(|url| path(url)).collect::<Vec<_>>())
}

fn count(message: &Message) -> String {
    let attributes = message.attributes.clone().unwrap_or_default();
    attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount).cloned().unwrap_or_default()
}

/// A queue's attributes in their order, without times.
fn shown_attributes(attributes: &HashMap<QueueAttributeName, String>) -> String {
    let shown = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let shown: BTreeMap<_, _> = shown.filter(|(name, _)| !name.ends_with("Timestamp")).collect();
    format!("{shown:?}")
}

/// The bodies, the names of the attributes, and the checksums.
fn shown_messages(answer: ReceiveMessageOutput) -> String {
    let show = |message: &Message| {
        let attributes = message.message_attributes.clone().unwrap_or_default();
        let mut names: Vec<_> = attributes.into_keys().collect();
        names.sort_unstable();
        format!("{:?} {names:?} {:?}", message.body(), message.md5_of_message_attributes())
    };
    format!("{:?}", answer.messages().iter().map(show).collect::<Vec<_>>())
}

/// The ids of the entries that succeeded, and the others' with their codes.
fn shown_batch(answer: SendMessageBatchOutput) -> String {
    let successful: Vec<_> = answer.successful.iter().map(|entry| entry.id()).collect();
    let failed: Vec<_> = answer.failed.iter().map(|entry| (entry.id(), entry.code())).collect();
    format!("{successful:?} {failed:?}")
}

pub(crate) async fn answers(client: &Client) -> BTreeMap<&'static str, String> {
    let mut script = Script { client, answers: BTreeMap::new() };
    script.create_and_change_queues().await;
    script.describe_queues().await;
    script.miss_queues().await;
    script.send_attributes().await;
    script.send_trace_header().await;
    script.send_bodies().await;
    script.send_groups().await;
    script.send_batches().await;
    script.receive_out_of_range().await;
    script.use_handles().await;
    script.count_and_purge().await;
    script.wait_for_messages().await;
    script.make_dead_letters().await;
    script.answers
}
