//! `harness lambda`, as its users run it: a function on its own.
//!
//! The function is this very program, started once more to run one of its tests, with the real
//! `lambda_runtime`.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use harness::target::freezer::Freezer;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The test that is the function as well.
const FUNCTION: &str = "events_take_turns_in_an_environment_that_is_frozen_in_between";

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    match event.payload["do"].as_str() {
        Some("fail") => Err("no database".into()),
        Some("exit") => std::process::exit(3),
        _ => Ok(json!({ "saw": event.payload })),
    }
}

#[tokio::test]
async fn events_take_turns_in_an_environment_that_is_frozen_in_between() {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        // Of the two, only a function has a handler.
        if env::var_os("_HANDLER").is_none() {
            return run_extension().await;
        }
        return lambda_runtime::run(service_fn(handle)).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let events = [event(&folder, "a", "{}"), event(&folder, "b", "[1]")];
    let output = lambda(
        &folder,
        &["--invocations", "3", "--gap", "1ms", "--json", "--event", &events[0], "--event", &events[1]],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let kinds = kinds(&output);
    let invocation = ["environment_thawed", "invocation_started", "invocation_finished", "environment_frozen"];
    let expected = [
        &["environment_started", "environment_initialized", "environment_frozen"][..],
        &invocation.repeat(3),
        &["environment_ended", "run_finished"],
    ];
    assert_eq!(kinds, expected.concat());
}

fn event(folder: &TempDir, name: &str, text: &str) -> String {
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// `harness lambda` with these options, in a folder of its own.
fn command(folder: &Path, options: &[&str], function: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.current_dir(folder).arg("lambda").args(options).arg("--").args(function);
    command
}

fn lambda(folder: &TempDir, options: &[&str]) -> Output {
    let program: PathBuf = env::current_exe().unwrap();
    let function = [program.to_str().unwrap(), "--exact", FUNCTION, "--nocapture"];
    command(folder.path(), options, &function).output().unwrap()
}

/// The kinds of the events that were printed, a line each.
fn kinds(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let kind = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        match &event["kind"] {
            Value::String(kind) => kind.clone(),
            kind => kind.as_object().unwrap().keys().next().unwrap().clone(),
        }
    };
    text.lines().map(kind).collect()
}

fn text(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn invocations_are_told_in_words_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let output = lambda(&folder, &["--invocations", "2", "--gap", "1ms"]);
    let (stdout, _) = text(&output);
    assert!(stdout.contains("function-1  #1 cold, ") && stdout.contains("function-1  #2 warm, "), "{stdout}");
    assert!(stdout.contains("invocations 2: 2 succeeded, 0 did not"), "{stdout}");
}

#[test]
fn failing_invocation_is_told_and_decides_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let fail = event(&folder, "fail", r#"{"do":"fail"}"#);
    let output = lambda(&folder, &["--event", &fail]);
    let (stdout, _) = text(&output);
    assert_eq!(output.status.code(), Some(10), "{stdout}");
    assert!(stdout.contains("no database"), "{stdout}");
}

#[test]
fn function_goes_on_after_it_has_died() {
    let folder = tempfile::tempdir().unwrap();
    let (exit, good) = (event(&folder, "exit", r#"{"do":"exit"}"#), event(&folder, "good", "{}"));
    let output = lambda(&folder, &["--event", &exit, "--event", &good, "--gap", "1ms"]);
    let (stdout, _) = text(&output);
    assert_eq!(output.status.code(), Some(10), "{stdout}");
    assert!(stdout.contains("invocations 2: 1 succeeded, 1 did not"), "{stdout}");
}

#[test]
fn function_that_cannot_start_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), &[], &["/bin/sh", "-c", "echo no library; exit 5"]).output().unwrap();
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(3), "{stdout}{stderr}");
    assert!(stderr.contains("exit code 5") && stderr.contains("no library"), "{stderr}");
}

/// Where a cgroup can be had, it is used; where not, that is told before anything is made or started.
#[test]
fn freezer_that_cannot_be_had_is_a_set_up_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = lambda(&folder, &["--freezer", "cgroup2"]);
    let (stdout, stderr) = text(&output);
    match Freezer::Cgroup2.check() {
        Ok(()) => assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}"),
        Err(error) => {
            assert_eq!(output.status.code(), Some(3), "{stdout}{stderr}");
            assert!(stderr.contains(&error.to_string()), "{stderr}");
            assert!(!folder.path().join("reports").exists());
        }
    }
}

/// An extension that asks for its events for ever.
async fn run_extension() {
    let api = format!("http://{}/2020-01-01/extension", env::var("AWS_LAMBDA_RUNTIME_API").unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let register = client.post(format!("{api}/register")).header("lambda-extension-name", "watcher");
    let registered = register.body(r#"{"events":["INVOKE"]}"#).send().await.unwrap();
    let identifier = &registered.headers()["lambda-extension-identifier"];
    loop {
        let next = client.get(format!("{api}/event/next")).header("lambda-extension-identifier", identifier);
        next.send().await.unwrap();
    }
}

#[test]
fn extension_is_started_beside_the_function_and_named_as_its_file() {
    let folder = tempfile::tempdir().unwrap();
    // On AWS an extension is a file, and is given no arguments.
    let script = format!("#!/bin/sh\nexec {:?} --exact {FUNCTION} --nocapture\n", env::current_exe().unwrap());
    let file = event(&folder, "watcher", &script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let output = lambda(&folder, &["--extension", "watcher"]);
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("watcher wants INVOKE"), "{stdout}");
    let output = lambda(&folder, &["--extension", "watcher", "--extension", "./watcher"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn bad_event_and_reserved_variable_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broken = event(&folder, "broken", "{");
    let output = lambda(&folder, &["--event", &broken]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = lambda(&folder, &["--env", "AWS_REGION=moon-1"]);
    let (_, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("Lambda sets AWS_REGION itself"), "{stderr}");
}

/// Waits until a line on standard error holds this text; answers the line.
fn until(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    lines.map(Result::unwrap).find(|line| line.contains(text)).unwrap()
}

#[tokio::test]
async fn function_is_invoked_with_what_is_sent_to_its_queue_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let program = env::current_exe().unwrap();
    let function = [program.to_str().unwrap(), "--exact", FUNCTION, "--nocapture"];
    let mut command = command(folder.path(), &["--queue", "jobs"], &function);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = until(&mut told, "Polling").split_whitespace().nth(1).unwrap().trim_end_matches(',').to_owned();
    send(&url, "{}").await;
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(until(&mut printed, "Invoke").contains("succeeded"));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(until(&mut printed, "invocations").contains("1: 1 succeeded"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

async fn send(url: &str, body: &str) {
    let request = json!({ "QueueUrl": url, "MessageBody": body });
    let sent = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = sent.post(url).header("x-amz-target", "AmazonSQS.SendMessage");
    let sent = sent.header("content-type", "application/x-amz-json-1.0").body(request.to_string()).send().await;
    assert_eq!(sent.unwrap().status(), 200);
}
