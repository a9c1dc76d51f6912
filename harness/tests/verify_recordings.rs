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

/// A recording in every form: its file's name, and its content.
fn forms(trace: &str) -> Vec<(&'static str, Vec<u8>)> {
    let protobuf = mock_coralogix::otlp_json::read(trace.as_bytes()).unwrap().payload.bytes().to_vec();
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(trace).unwrap()).unwrap();
    let lines = format!("{trace}\n{}\n", trace.replace("5b8efff7", "00000000"));
    let of_both = framed(&[protobuf.clone(), Vec::new(), trace.replace("5b8efff7", "00000000").into()]);
    vec![
        ("one.json", trace.into()),
        ("one.json.gz", gzip(trace.as_bytes())),
        ("byte-order-mark.json", format!("\u{feff}{trace}").into()),
        ("pretty.json", pretty.into()),
        ("lines.jsonl", lines.clone().into()),
        ("no-newlines.jsonl", lines.replace('\n', "").into()),
        ("list.json", format!("[{trace}]").into()),
        (
            "pretty-list.json.zst",
            zstd(
                format!("[\n{trace},\n{trace}\n]")
                    .replace("},{", "},\n{")
                    .replacen("5b8efff7", "00000000", 3)
                    .as_bytes(),
            ),
        ),
        ("one.pb", protobuf.clone()),
        ("one.pb.gz", gzip(&protobuf)),
        ("framed.pb", framed(std::slice::from_ref(&protobuf))),
        ("framed-empty-first.pb", framed(&[Vec::new(), protobuf.clone()])),
        ("framed-protobuf-and-json", of_both),
        ("framed-zstd.pb", framed(&[zstd(&protobuf)])),
        ("framed-json-zstd", framed(&[zstd(trace.as_bytes())])),
        ("framed.pb.zst", zstd(&framed(std::slice::from_ref(&protobuf)))),
        ("lines.jsonl.gz", gzip(lines.as_bytes())),
        // As the exporter flushes: many frames of zstd in one file.
        ("lines.jsonl.zst", lines.lines().flat_map(|line| zstd(format!("{line}\n").as_bytes())).collect()),
        ("lines.gz.zst", zstd(&gzip(lines.as_bytes()))),
        // The form shows in the content.
        ("protobuf.json", protobuf),
        ("json.pb", trace.into()),
    ]
}

#[test]
fn healthy_recording_passes_in_every_form() {
    let folder = Folder::new();
    let contract = folder.file("contract.toml", CONTRACT.as_bytes());
    for (name, content) in forms(TRACE) {
        let file = folder.file(name, &content);
        let (code, text) = verdict(&file, &["--contract", contract.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {text}");
        assert!(text.contains("as the contract jobs wants"), "{name}: {text}");
        let (code, text) = verdict(&file, &[]);
        assert_eq!(code, 0, "{name}: {text}");
    }
}

#[test]
fn planted_defect_is_found_in_every_form() {
    let folder = Folder::new();
    let contract = folder.file("contract.toml", CONTRACT.as_bytes());
    let broken = TRACE.replace(r#""parentSpanId":"0000000000000002""#, r#""parentSpanId":"0000000000000001""#);
    for (name, content) in forms(&broken) {
        let (code, text) = verdict(&folder.file(name, &content), &["--contract", contract.to_str().unwrap()]);
        assert_eq!(code, 10, "{name}: {text}");
        assert!(text.contains("parent-wrong"), "{name}: {text}");
    }
}

#[test]
fn protobuf_that_begins_like_json_is_protobuf() {
    // A resource's spans of 123 bytes begin with "\n{", and of 91 with "\n[".
    for (length, begin) in [(123, b"\n{"), (91, b"\n[")] {
        let padded = |padding: usize| {
            let name = "x".repeat(padding);
            let span = r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"0000000000000001","kind":2"#;
            let json = format!(
                r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"spans":[{{{span},"name":"{name}","startTimeUnixNano":1,"endTimeUnixNano":2}}]}}]}}]}}"#
            );
            mock_coralogix::otlp_json::read(json.as_bytes()).unwrap().payload.bytes().to_vec()
        };
        let bytes = (0..length).map(padded).find(|bytes| bytes.starts_with(begin)).unwrap();
        let folder = Folder::new();
        let (code, text) = verdict(&folder.file("trace", &bytes), &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&text).expect(&text);
        assert_eq!(json["spans"]["received"], 1, "{code}: {text}");
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
    assert_eq!((&json["verdict"], &json["exports"], &json["contract"]), (&"fail".into(), &1.into(), &().into()));
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
    let half = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    let lines = format!("{TRACE}\n{TRACE}\n");
    // So much that what is missing is not all that is compressed.
    let many: String = (0..4_000).map(|number| TRACE.replace("5b8efff7", &format!("{number:08x}")) + "\n").collect();
    let cases = [
        ("cut.jsonl", format!("{TRACE}\n{}", &TRACE[..200]).into_bytes()),
        ("cut-list.json", format!("[{TRACE}").into_bytes()),
        ("cut.pb", half(framed(&[protobuf(), protobuf()]))),
        ("cut-in-the-length.pb", [framed(&[protobuf()]), vec![0, 0]].concat()),
        ("cut.jsonl.gz", half(gzip(lines.as_bytes()))),
        ("cut-many.jsonl.gz", half(gzip(many.as_bytes()))),
        ("cut-many.jsonl.zst", half(zstd(many.as_bytes()))),
        ("cut-framed.gz", half(gzip(&framed(&[protobuf()])))),
    ];
    for (name, content) in cases {
        let (code, text) = verdict(&folder.file(name, &content), &[]);
        assert_eq!(code, 5, "{name}: {text}");
        assert!(text.contains(&format!("{name} ends in the middle of an export")), "{name}: {text}");
    }
}

#[test]
fn what_stands_in_the_place_of_spans_makes_a_recording_inconclusive() {
    let folder = Folder::new();
    let misplaced =
        format!("{TRACE}\n{}\n", TRACE.replace(r#""scopeSpans":["#, r#""scopeSpans":[7,{"spans":"none"},"#));
    let (code, text) = verdict(&folder.file("misplaced.jsonl", misplaced.as_bytes()), &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("is something else, 4 times"), "{text}");
}

#[test]
fn id_that_is_none_is_found_and_no_error() {
    let folder = Folder::new();
    for id in ["\"xyz\"", "\"0000000000000000\"", "\"00000000000002\"", "7"] {
        let broken = TRACE.replace(r#""spanId":"0000000000000002""#, &format!(r#""spanId":{id}"#));
        let (code, text) = verdict(&folder.file("broken.json", broken.as_bytes()), &[]);
        assert_eq!(code, 10, "{id}: {text}");
        assert!(text.contains("id-invalid"), "{id}: {text}");
    }
}

#[test]
fn files_of_a_folder_are_judged_together_and_each_once() {
    let folder = Folder::new();
    let (first, second) = TRACE.split_at(
        TRACE.find(r#",{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"worker""#).unwrap(),
    );
    let first = folder.file("1.json", format!("{first}]}}").as_bytes());
    folder.file("2.json", format!("{{\"resourceSpans\":[{}", &second[1..]).as_bytes());
    folder.file(".hidden.json", b"no recording");
    folder.file("readme.txt", b"no recording");
    let contract = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(contract.path(), CONTRACT).unwrap();
    let contract = ["--contract", contract.path().to_str().unwrap()];
    let (code, text) = verdict(folder.0.path(), &[first.to_str().unwrap(), contract[0], contract[1]]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 exports in 2 files"), "{text}");
    let (code, text) = verdict(&first, &contract);
    assert_eq!(code, 10, "{text}");
    assert!(text.contains("span-missing"), "{text}");
}

#[test]
fn any_bytes_are_judged_or_refused_and_nothing_panics() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let folder = Folder::new();
    let forms: Vec<_> = forms(TRACE).into_iter().map(|(_, content)| content).collect();
    let damaged = (prop::sample::select(forms), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let damaged = damaged.prop_map(|(mut content, at, by, is_cut)| {
        let at = at.index(content.len());
        content[at] ^= by;
        if is_cut {
            content.truncate(at);
        }
        content
    });
    let begins = prop::sample::select(vec![&b""[..], b"{", b"\n{\"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\0\0\0\x05"]);
    let random =
        (begins, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(begin, bytes)| [begin, &bytes].concat());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(512) });
    let result = runner.run(&prop_oneof![damaged, random], |content| {
        let file = folder.file("any", &content);
        if let Err(error) = harness::recording::judge(std::slice::from_ref(&file), None) {
            let message = error.to_string();
            prop_assert!(message.starts_with(file.to_str().unwrap()), "{}", message);
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn what_is_no_recording_is_one_error_that_names_the_place() {
    let folder = Folder::new();
    let far = format!("{TRACE}\n{TRACE}\n{{\"resourceSpans\":[}}\n{TRACE}\n");
    let list = format!("[{TRACE},7]");
    let broken = framed(&[protobuf(), vec![0xff; 8], protobuf()]);
    let message = format!("the message at byte {} cannot be read", 4 + protobuf().len());
    let cases: [(&str, &[u8], &str); 10] = [
        ("text.txt", b"hello world, this is no telemetry", "it begins with \"hello world, thi\""),
        ("empty", b"", "it is empty"),
        ("empty.gz", &gzip(b""), "it is empty"),
        ("other.json", b"{\"a\":1}", "other.json:1:7: this is no OTLP: an object without resourceSpans"),
        ("broken.jsonl", far.as_bytes(), "broken.jsonl:3:19: this is no JSON"),
        ("cut.json", &TRACE.as_bytes()[..200], "it is JSON that ends in the middle of the first spans"),
        ("number.json", b"[1,2]", "it begins with \"[1,2]\""),
        ("list.json", list.as_bytes(), "this is no OTLP: invalid type: integer `7`"),
        ("broken.pb", &broken, &message),
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
