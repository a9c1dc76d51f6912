//! Our queues and somebody else's, rustack's, asked the same by AWS's SDK. Where they disagree, it is said
//! who is right; a new disagreement fails, as does one that is listed and no more.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod disagreements;
mod script;

use std::sync::Arc;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use disagreements::DISAGREEMENTS;
use harness::cloud::queue::{Correlation, Queues, QueuesConfig, serve};
use harness::journal::Recorder;
use hyper_util::rt::TokioIo;
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use script::answers;
use tokio::net::TcpListener;

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// Our queues, served.
async fn ours() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (recorder, mut events) = Recorder::new();
    let queues = Queues::local(QueuesConfig {
        endpoint: endpoint.clone(),
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        correlation: Correlation::default(),
        recorder,
    });
    // What is recorded is of no interest here.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    tokio::spawn(serve(listener, queues, std::future::pending()));
    client(&endpoint)
}

/// Rustack's, served. Nothing is taken from the environment.
async fn theirs() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = SqsConfig {
        skip_signature_validation: true,
        default_region: REGION.to_owned(),
        account_id: ACCOUNT.to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
    };
    let handler = Arc::new(RustackSqsHandler::new(Arc::new(RustackSqs::new(config))));
    let service = SqsHttpService::new(handler, SqsHttpConfig::default());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(connection), service.clone()));
        }
    });
    client(&format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_answer_as_rustack_does_but_for_the_listed_disagreements() {
    let (ours, theirs) = (answers(&ours().await).await, answers(&theirs().await).await);
    assert!(ours.keys().eq(theirs.keys()), "both go through the whole script");
    let mut wrong = Vec::new();
    for (step, ours) in &ours {
        let theirs = &theirs[step];
        let listed = DISAGREEMENTS.iter().find(|listed| listed.step == *step);
        match listed {
            None if ours != theirs => wrong.push(format!("new: {step}\n  ours   {ours}\n  theirs {theirs}")),
            Some(listed) if (listed.ours, listed.theirs) != (ours, theirs) => wrong.push(format!(
                "not as listed: {step} ({:?} is right: {})\n  ours   {ours}\n  theirs {theirs}",
                listed.right, listed.why
            )),
            _ => {}
        }
    }
    let unknown = DISAGREEMENTS.iter().filter(|listed| !ours.contains_key(listed.step));
    wrong.extend(unknown.map(|listed| format!("no such step: {}", listed.step)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
