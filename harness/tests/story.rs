//! `harness verify --request` on the journal of a real run.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(repository()).args(arguments).output().unwrap()
}

/// What a command printed, and that it exited with this code.
#[track_caller]
fn printed(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

/// The places of these parts in a text, each after the one before it.
#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let place = rest.find(part);
        assert!(place.is_some(), "{part:?} does not follow in:\n{text}");
        rest = &rest[place.unwrap() + part.len()..];
    }
}

fn texts<'a>(values: &'a Value, key: &str) -> Vec<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
}

#[test]
fn story_of_a_request_whose_context_was_stripped_is_told_by_any_of_its_names() {
    let out = tempfile::tempdir().unwrap();
    let reports = out.path().to_str().unwrap();
    let soak = ["soak", "--rate", "20", "--duration", "2s", "--fault", "strip-context", "--out", reports];
    let (verdict, _) = printed(&harness(&soak), 10);
    let latest = out.path().join("latest");
    let verify = |arguments: &[&str]| {
        let mut all = vec!["verify", latest.to_str().unwrap()];
        all.extend(arguments);
        harness(&all)
    };

    let (json, _) = printed(&verify(&["--request", "7", "--json"]), 10);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["number"], &json["verdict"]), (&7.into(), &"fail".into()));
    assert_eq!(texts(&json["findings"], "code"), ["carrier-missing", "trace-fragmented"]);
    assert_eq!(json["findings"][1]["follows_from"]["code"], "carrier-missing");
    let spans: Vec<_> = json["spans"].as_array().unwrap().iter().map(|span| &span["span"]).collect();
    assert_eq!(spans.len(), 3, "{json}");
    let traces: Vec<_> = json["traces"].as_array().unwrap().iter().map(|trace| trace.as_str().unwrap()).collect();
    assert_eq!(traces.len(), 2, "the consumer is in a trace of its own");
    let consumer = spans.iter().find(|span| span["name"] == "sqs.process").unwrap();
    assert_eq!(consumer["trace_id"], traces[1]);

    let (text, _) = printed(&verify(&["--request", "7"]), 10);
    let request = json["request"].as_str().unwrap();
    for name in [request, traces[0], traces[1]] {
        assert_eq!(printed(&verify(&["--request", name]), 10).0, text, "{name}");
    }
    assert_in_order(
        &text,
        &[
            &format!("FAIL  request {request}: 1 finding, and 1 consequence"),
            "carrier-missing  message",
            "trace-fragmented  consumer, follows from carrier-missing (message)",
            "what happened",
            "0.00  ┌",
            "SERVER POST /onboard starts",
            "← carrier-missing",
            "fault: its trace context is dropped",
            "thawed",
            "starts",
            "CONSUMER sqs.process ends",
            "← trace-fragmented",
            "frozen",
            &format!("trace {}", traces[0]),
            "└─ PRODUCER sqs.send",
            &format!("trace {}", traces[1]),
            "by request id",
        ],
    );

    // Each finding tells how to see such a story.
    let command = verdict.lines().find_map(|line| line.trim().strip_prefix("whole story ")).unwrap();
    let arguments: Vec<_> = command.split(' ').skip(1).collect();
    let (of_example, _) = printed(&harness(&arguments), 10);
    assert!(of_example.contains(&format!("FAIL  request {}", arguments.last().unwrap())), "{of_example}");

    let (_, unknown) = printed(&verify(&["--request", "40"]), 2);
    assert!(unknown.contains("it holds 40 requests, from"), "{unknown}");
    let (_, nonsense) = printed(&verify(&["--request", "nonsense"]), 2);
    assert!(nonsense.contains("7f3a9c2e-0000002a"), "{nonsense}");
}
