//! The binary, as a user meets it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

use crate::support::{Client, KEY, exporter, soon, span};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-coralogix"));
    command.args(arguments).env_remove("CORALOGIX_API_KEY").kill_on_drop(true);
    command
}

async fn output(arguments: &[&str]) -> Output {
    soon("the program", command(arguments).output()).await.unwrap()
}

/// The program, listening.
struct Running {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
    guide: String,
}

/// How a program ended, and what it printed.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Running {
    /// Starts the program on a free port and reads its guide up to the address.
    async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut guide = String::new();
        let address = loop {
            let start = guide.len();
            let read = soon("the guide", stderr.read_line(&mut guide)).await.unwrap();
            assert_ne!(read, 0, "the program ended: {guide}");
            if let Some((_, url)) = guide[start..].split_once("OTEL_EXPORTER_OTLP_ENDPOINT=") {
                break url.trim().split_once("://").unwrap().1.parse().unwrap();
            }
        };
        Self { child, address, stderr, guide }
    }

    async fn signal(self, signal: Signal) -> Ended {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed());
        kill(pid, signal).unwrap();
        self.ended().await
    }

    async fn ended(mut self) -> Ended {
        let mut rest = String::new();
        soon("standard error", self.stderr.read_to_string(&mut rest)).await.unwrap();
        let output = soon("the end of the program", self.child.wait_with_output()).await.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Ended { code: output.status.code(), stdout, stderr: self.guide + &rest }
    }
}

#[tokio::test]
async fn help_teaches_options_examples_and_exit_codes() {
    let help = output(&["--help"]).await;
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    for part in ["--listen", "127.0.0.1:4317", "--tls", "--ca-file", "CORALOGIX_API_KEY", "Examples:", "Exit codes:"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    for arguments in [&["--no-such-option"][..], &["--listen", "nowhere"], &["--key", ""]] {
        let wrong = output(arguments).await;
        assert_eq!(wrong.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(wrong.stderr).unwrap().starts_with("error: "), "{arguments:?}");
    }
}

#[tokio::test]
async fn port_in_use_is_one_message_and_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, "of the one that has the port").unwrap();
    let failed = output(&["--listen", &address, "--tls", "--ca-file", ca_file.to_str().unwrap()]).await;

    assert_eq!(failed.status.code(), Some(3));
    let message = String::from_utf8(failed.stderr).unwrap();
    assert!(message.starts_with(&format!("error: cannot listen on {address}: ")), "{message}");
    assert!(message.contains("--listen"), "{message}");
    assert_eq!(message.lines().count(), 2, "{message}");
    assert_eq!(std::fs::read_to_string(ca_file).unwrap(), "of the one that has the port");
}

#[tokio::test]
async fn ca_file_that_cannot_be_written_is_exit_code_3() {
    let failed = output(&["--listen", "127.0.0.1:0", "--tls", "--ca-file", "/no/such/folder/ca.pem"]).await;
    assert_eq!(failed.status.code(), Some(3));
    let message = String::from_utf8(failed.stderr).unwrap();
    assert!(message.contains("/no/such/folder/ca.pem"), "{message}");
}

#[tokio::test]
async fn what_it_receives_is_printed_without_any_key() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &["--tls", "--key", KEY, "--key", "second-key", "--verbose"]).await;
    let ca_pem = std::fs::read_to_string(folder.path().join("mock-coralogix-ca.pem")).unwrap();
    let client = |key| Client { key: Some(key), ca_pem: Some(&ca_pem), gzip: false }.exporter(running.address);
    let mut telling = span("POST /onboard");
    telling.attributes.push(KeyValue::new("leak", format!("Bearer {KEY}")));
    client(KEY).export(vec![telling]).await.unwrap();
    client("second-key").export(vec![span("a"), span("b")]).await.unwrap();
    client("third-and-wrong").export(vec![span("c")]).await.unwrap_err();

    let ended = running.signal(Signal::SIGINT).await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("#0 stored 1 span from 127.0.0.1:"), "{}", ended.stdout);
    assert!(ended.stdout.contains("07070707070707070707070707070707 0808080808080808 root"), "{}", ended.stdout);
    assert!(ended.stdout.contains("leak = Bearer ***\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("#2 UNAUTHENTICATED 1 span from"), "{}", ended.stdout);
    let summary = "Stored 2 exports with 3 spans; UNAUTHENTICATED 1 export with 1 span; refused 0.\n";
    assert!(ended.stderr.ends_with(summary), "{}", ended.stderr);
    for secret in [KEY, "second-key", "third-and-wrong"] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret} was printed");
    }
    assert!(!ended.stdout.contains('\u{1b}'), "colours although nobody sees them: {}", ended.stdout);
}

#[tokio::test]
async fn json_is_one_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &["--json"]).await;
    exporter(running.address).export(vec![span("a")]).await.unwrap();
    let keyless = Client::default().exporter(running.address);
    keyless.export(vec![span("b")]).await.unwrap_err();

    let ended = running.signal(Signal::SIGTERM).await;
    assert_eq!(ended.code, Some(0));
    let lines: Vec<serde_json::Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["export"], &lines[0]["answer"]), (&0.into(), &"stored".into()));
    assert_eq!(lines[0]["resource_spans"][0]["spans"][0]["name"], "a");
    assert_eq!(lines[1]["answer"], "unauthenticated");
    assert!(lines[0]["received_at"].as_u64() <= lines[1]["received_at"].as_u64());
}

#[tokio::test]
async fn reader_that_goes_away_ends_the_program_in_peace() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path(), &[]).await;
    drop(running.child.stdout.take());
    // A process that another test is starting can hold a copy of the pipe for a moment, so that the
    // first lines still find a reader.
    let exporter = exporter(running.address);
    let exporting = async {
        while exporter.export(vec![span("a")]).await.is_ok() {
            tokio::task::yield_now().await;
        }
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = running.ended() => ended,
        never = exporting => never,
    };
    assert_eq!(ended.code, Some(0));
}
