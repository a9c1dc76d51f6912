//! `harness soak --sqs-endpoint`: somebody else's endpoint keeps the messages. Here, it is our own engine,
//! served in the test.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use harness::cloud::queue::{Correlation, Queues, QueuesConfig, serve};
use harness::journal::Recorder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use verifier::{Event, EventKind};

/// An SQS endpoint, and what it sees.
struct Endpoint {
    url: String,
    queues: Queues,
    events: mpsc::Receiver<Event>,
}

impl Endpoint {
    async fn start() -> Self {
        let (recorder, events) = Recorder::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let queues = Queues::local(QueuesConfig {
            endpoint: url.clone(),
            account: "000000000000".to_owned(),
            region: "eu-west-1".to_owned(),
            correlation: Correlation::default(),
            recorder,
        });
        tokio::spawn(serve(listener, queues.clone(), std::future::pending()));
        Self { url, queues, events }
    }

    /// What was seen so far.
    fn seen(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.kind).collect()
    }
}

/// TLS in front of this URL. Its own URL, and the certificate in PEM.
async fn tls_before(url: &str) -> (String, String) {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![signed.cert.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = format!("https://{}", listener.local_addr().unwrap());
    let back = url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (acceptor, back) = (acceptor.clone(), back.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up.
                let Ok(mut client) = acceptor.accept(connection).await else { return };
                let mut server = TcpStream::connect(back).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (front, signed.cert.pem())
}

/// Runs share two cores: one at a time keeps each of them short.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A soak, with nothing of the machine's AWS configuration but these variables.
fn soak_command(out: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).kill_on_drop(true);
    command.args(["soak", "--rate", "20", "--out"]).arg(out).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "eu-west-1").env("HOME", out);
    // Builds go on with what they have.
    for name in ["CARGO_HOME", "RUSTUP_HOME"] {
        let folder = format!(".{}", name.trim_end_matches("_HOME").to_lowercase());
        let usual = std::path::PathBuf::from(std::env::var("HOME").unwrap()).join(folder);
        command.env(name, std::env::var_os(name).unwrap_or_else(|| usual.into()));
    }
    command.envs(env.iter().copied());
    command
}

/// A short soak.
async fn soak(out: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let _alone = ONE_AT_A_TIME.lock().await;
    soak_command(out, arguments, env).args(["--duration", "2s"]).output().await.unwrap()
}

const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

#[track_caller]
fn assert_code(output: &Output, code: i32) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    stderr.into_owned()
}

fn summary(out: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(out.join("latest/summary.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_keeps_the_messages_and_is_left_as_it_was() {
    let mut endpoint = Endpoint::start().await;
    let out = tempfile::tempdir().unwrap();
    let output = soak(out.path(), &["--sqs-endpoint", &endpoint.url], &CREDENTIALS).await;
    let stderr = assert_code(&output, 0);
    let summary = summary(out.path());
    assert_eq!(summary["traces"]["complete"], 40);
    let seen = endpoint.seen();
    let count = |is_it: fn(&EventKind) -> bool| seen.iter().filter(|event| is_it(event)).count();
    assert_eq!(count(|event| matches!(event, EventKind::MessageSent { .. })), 40);
    assert_eq!(count(|event| matches!(event, EventKind::MessageDeleted { .. })), 40);
    for event in &seen {
        if let EventKind::MessageSent { queue, .. } = event {
            assert!(queue.starts_with("harness-") && queue.ends_with("-onboarding"), "{queue}");
            assert!(stderr.contains(queue.as_str()), "{stderr}");
        }
    }
    assert_eq!(endpoint.queues.names().await.unwrap(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_messages_are_seen_to_become_dead_letters_at_another_endpoint() {
    let mut endpoint = Endpoint::start().await;
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--sqs-endpoint", &endpoint.url, "--fault", "corrupt-body", "--seed", "7"];
    let output = soak(out.path(), &arguments, &CREDENTIALS).await;
    let stderr = assert_code(&output, 0);
    let dead = |event: &&EventKind| matches!(event, EventKind::MessageDeadLettered { .. });
    let dead = endpoint.seen().iter().filter(dead).count();
    assert!((1..=12).contains(&dead), "about one in ten of 40: {dead}");
    assert!(!stderr.contains("Gave up"), "{stderr}");
    // Each of them was tried three times.
    assert_eq!(summary(out.path())["lambda"]["invocations"], 40 + 2 * dead);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_run_leaves_nothing_at_the_endpoint() {
    let endpoint = Endpoint::start().await;
    let out = tempfile::tempdir().unwrap();
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut command = soak_command(out.path(), &["--duration", "10m", "--sqs-endpoint", &endpoint.url], &CREDENTIALS);
    let mut going = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(going.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it goes on").contains("Loading") {}
    assert_eq!(endpoint.queues.names().await.unwrap().len(), 2, "a queue and its dead-letter queue");
    kill(Pid::from_raw(going.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    while lines.next_line().await.unwrap().is_some() {}
    assert_eq!(going.wait().await.unwrap().code(), Some(0));
    assert_eq!(endpoint.queues.names().await.unwrap(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_with_a_ca_of_its_own_is_trusted_by_the_standard_variable_alone() {
    let endpoint = Endpoint::start().await;
    let (url, certificate) = tls_before(&endpoint.url).await;
    let out = tempfile::tempdir().unwrap();
    let bundle = out.path().join("bundle.pem");
    std::fs::write(&bundle, certificate).unwrap();
    let output = soak(out.path(), &["--sqs-endpoint", &url], &CREDENTIALS).await;
    let stderr = assert_code(&output, 3);
    assert!(stderr.contains("certificate"), "{stderr}");

    let bundle = [("AWS_CA_BUNDLE", bundle.to_str().unwrap())];
    let output = soak(out.path(), &["--sqs-endpoint", &url], &[&CREDENTIALS[..], &bundle].concat()).await;
    assert_code(&output, 0);
    assert_eq!(summary(out.path())["traces"]["complete"], 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_does_not_answer_or_refuses_is_a_set_up_error_that_says_so() {
    let endpoint = Endpoint::start().await;
    let out = tempfile::tempdir().unwrap();
    // Nobody listens there, as long as the socket is not listening.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}", reserved.local_addr().unwrap());
    let denied = denying().await;
    let missing = [("AWS_CA_BUNDLE", "/no/such/bundle.pem")];
    for (url, env, parts) in [
        (&nowhere, &CREDENTIALS[..], &["queue onboarding", &nowhere, "Connection refused", "AWS_REGION"][..]),
        (&denied, &CREDENTIALS, &["queue onboarding", "InvalidClientTokenId", "AWS_ACCESS_KEY_ID"]),
        (&endpoint.url, &[], &["no AWS credentials were found", "AWS_PROFILE"]),
        (&endpoint.url, &missing, &["AWS_CA_BUNDLE", "/no/such/bundle.pem"]),
    ] {
        let output = soak(out.path(), &["--sqs-endpoint", url], env).await;
        let stderr = assert_code(&output, 3);
        parts.iter().for_each(|part| assert!(stderr.contains(part), "{part}: {stderr}"));
        assert!(!stderr.contains("Left") && !stderr.contains("WARN"), "nothing else is said: {stderr}");
    }
}

/// An endpoint that knows no credentials, as AWS says it.
async fn denying() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let refuse = || async {
        let body = r#"{"__type":"com.amazon.coral.service#InvalidClientTokenId","message":"The security token included in the request is invalid."}"#;
        (http::StatusCode::FORBIDDEN, [("content-type", "application/x-amz-json-1.0")], body)
    };
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(refuse)).into_future());
    url
}

#[tokio::test]
async fn what_is_no_url_of_an_endpoint_is_refused_with_an_example() {
    let out = tempfile::tempdir().unwrap();
    for url in ["", "localhost:4566", "ftp://localhost", "http://", "https://sqs.example/?a=b", "not a url"] {
        let output = soak(out.path(), &["--sqs-endpoint", url], &[]).await;
        let stderr = assert_code(&output, 2);
        assert!(stderr.contains("--sqs-endpoint"), "{stderr}");
    }
}
