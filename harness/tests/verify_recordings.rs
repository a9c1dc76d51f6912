//! `harness verify` on recorded OTLP, in every form that files have.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A healthy trace of the contract below, as OTLP/JSON in one line.
const TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000001","name":"POST /x","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000002000000"},{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000002","parentSpanId":"0000000000000001","name":"send","kind":4,"startTimeUnixNano":"1700000000001000000","endTimeUnixNano":"1700000000002000000"}]}]},{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"worker"}}]},"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000003","parentSpanId":"0000000000000002","name":"process","kind":5,"startTimeUnixNano":"1700000000003000000","endTimeUnixNano":"1700000000004000000"}]}]}]}"#;

const CONTRACT: &str = r#"
name = "jobs"
[span.server]
service = "api"
name = "POST /x"
kind = "server"
per = "request"
[span.producer]
service = "api"
name = "send"
kind = "producer"
parent = "server"
per = "message"
[span.consumer]
service = "worker"
name = "process"
kind = "consumer"
parent = "producer"
per = "delivery"
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn verify(file: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness")).arg("verify").arg(file).args(more).output().unwrap()
}

/// What `verify` says and its exit code.
fn verdict(file: &Path, more: &[&str]) -> (i32, String) {
    let output = verify(file, more);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn protobuf() -> Vec<u8> {
    mock_coralogix::otlp_json::read(TRACE.as_bytes()).unwrap().payload.bytes().to_vec()
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let frame = |message: &Vec<u8>| [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    messages.iter().flat_map(frame).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn healthy_recording_passes_in_every_form() {
    let folder = Folder::new();
    let contract = folder.file("contract.toml", CONTRACT.as_bytes());
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(TRACE).unwrap()).unwrap();
    let lines = format!("{TRACE}\n{}\n", TRACE.replace("5b8efff7", "00000000"));
    let forms: [(&str, Vec<u8>); 10] = [
        ("one.json", TRACE.into()),
        ("pretty.json", pretty.into()),
        ("lines.jsonl", lines.clone().into()),
        ("list.json", format!("[{TRACE}]").into()),
        ("one.pb", protobuf()),
        ("framed.pb", framed(&[protobuf()])),
        ("framed-zstd.pb", framed(&[zstd(&protobuf())])),
        ("framed-json-zstd", framed(&[zstd(TRACE.as_bytes())])),
        ("lines.jsonl.gz", gzip(lines.as_bytes())),
        ("lines.jsonl.zst", zstd(lines.as_bytes())),
    ];
    for (name, content) in forms {
        let file = folder.file(name, &content);
        let (code, text) = verdict(&file, &["--contract", contract.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {text}");
        assert!(text.contains("as the contract jobs wants"), "{name}: {text}");
        let (code, text) = verdict(&file, &[]);
        assert_eq!(code, 0, "{name}: {text}");
    }
}

#[test]
fn defect_is_named_with_its_trace_and_exits_with_10() {
    let folder = Folder::new();
    let contract = folder.file("contract.toml", CONTRACT.as_bytes());
    let broken = TRACE.replace(r#""parentSpanId":"0000000000000002""#, r#""parentSpanId":"0000000000000001""#);
    let file = folder.file("broken.json", broken.as_bytes());
    let (code, text) = verdict(&file, &["--contract", contract.to_str().unwrap()]);
    assert_eq!(code, 10, "{text}");
    assert!(text.contains("parent-wrong") && text.contains("5b8efff798038103d269b633813fc60c"), "{text}");
    let negative = TRACE.replace("1700000000004000000", "1700000000002000000");
    let (code, text) = verdict(&folder.file("negative.json", negative.as_bytes()), &[]);
    assert_eq!(code, 10, "{text}");
    assert!(text.contains("duration-negative"), "{text}");
    let (_, json) = verdict(&folder.file("negative.json", negative.as_bytes()), &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"][0]["code"], "duration-negative");
}

#[test]
fn other_signals_are_skipped_and_told() {
    let folder = Folder::new();
    let mixed = format!("{{\"resourceLogs\":[{{}}]}}\n{TRACE}\n{{\"resourceMetrics\":[]}}\n");
    let (code, text) = verdict(&folder.file("mixed.jsonl", mixed.as_bytes()), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 lists of other signals skipped"), "{text}");
    let (code, text) = verdict(&folder.file("logs.jsonl", b"{\"resourceLogs\":[]}"), &[]);
    assert_eq!(code, 4, "{text}");
}

#[test]
fn recording_that_ends_in_the_middle_is_judged_and_inconclusive() {
    let folder = Folder::new();
    let cut = format!("{TRACE}\n{}", &TRACE[..200]);
    let (code, text) = verdict(&folder.file("cut.jsonl", cut.as_bytes()), &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("ends in the middle of an export"), "{text}");
    let mut message = framed(&[protobuf(), protobuf()]);
    message.truncate(message.len() - 7);
    let (code, text) = verdict(&folder.file("cut.pb", &message), &[]);
    assert_eq!(code, 5, "{text}");
}

#[test]
fn what_is_no_recording_is_one_error_that_names_the_place() {
    let folder = Folder::new();
    let cases: [(&str, &[u8], &str); 6] = [
        ("text.txt", b"hello world, this is no telemetry", "this is no recording"),
        ("empty", b"", "it is empty"),
        ("other.json", b"{\"a\":1}", "document 1: JSON without resourceSpans"),
        ("broken.jsonl", b"{\"resourceSpans\":[]}\n{\"resourceSpans\":[}\n", "broken.jsonl:2:19: this is no JSON"),
        ("number.json", b"[1,2]", "document 1"),
        ("bytes", &[0xff; 64], "this is no recording"),
    ];
    for (name, content, expected) in cases {
        let (code, text) = verdict(&folder.file(name, content), &[]);
        assert_eq!(code, 2, "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
        assert!(!text.contains("panicked"), "{name}: {text}");
    }
    let (code, text) = verdict(&folder.0.path().join("nowhere.json"), &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no journal and no recording here"), "{text}");
}
