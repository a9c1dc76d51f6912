//! What contracts can say, and what is said about those that are wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use verifier::contract::{ForeignSpans, NameRule, Per, StatusRule, ValueRule};
use verifier::{FindingCode, Severity, TraceContract};

use super::read::parse;
use crate::input::{InputError, Source};

fn read(text: &str) -> Result<TraceContract, InputError> {
    parse(&Source::new(Path::new("contract.toml"), text))
}

fn error(text: &str) -> InputError {
    read(text).unwrap_err()
}

const SERVER: &str =
    "name = \"n\"\n[span.server]\nservice = \"api\"\nname = \"POST /\"\nkind = \"server\"\nper = \"request\"\n";

#[test]
fn a_parent_that_is_no_span_is_shown_with_those_that_are() {
    let error = error(&format!("{SERVER}parent = \"sever\"\n"));
    assert_eq!((error.line(), error.column()), (Some(7), Some(10)));
    assert_eq!(error.message(), "the parent `sever` is not a span of this contract");
    assert_eq!(error.choices(), ["server"]);
    assert_eq!(error.suggestion(), Some("server"));
}

#[test]
fn spans_that_cannot_be_told_apart_are_shown_at_their_table() {
    let error = error(&format!("{SERVER}{}", SERVER.replace("name = \"n\"\n", "").replace("server]", "twin]")));
    assert_eq!(error.line(), Some(7));
    assert!(error.message().contains("cannot be told apart"), "{error}");
}

#[test]
fn a_contract_without_spans_is_refused() {
    let error = error("name = \"n\"\n[span]\n");
    assert_eq!(error.message(), "the contract names no span: every run would pass");
}

#[test]
fn an_unknown_kind_is_shown_with_the_kinds_there_are() {
    let error = error(&SERVER.replace("\"server\"", "\"sever\""));
    assert_eq!(error.message(), "unknown value `sever`");
    assert_eq!(error.suggestion(), Some("server"));
    assert_eq!(error.line(), Some(5));
}

/// A consumer below the server, with more of its table.
fn with_consumer(more: &str) -> String {
    format!(
        "{SERVER}[span.consumer]\nservice = \"worker\"\nname = \"process\"\nkind = \"consumer\"\nper = \"delivery\"\n{more}"
    )
}

#[test]
fn every_key_is_read() {
    let contract = read(
        "name = \"n\"\nforeign = \"forbid\"\nsampling = 0.25\n\
         [severity]\nspan-late = \"failure\"\n\
         [resource]\n\"service.version\" = { present = true }\n\
         [span.server]\nservice = \"api\"\nname = { pattern = \"POST /.*\" }\nkind = \"server\"\nper = \"request\"\n\
         status = \"outcome\"\nmax_duration = \"2s\"\n\
         [span.server.attributes]\n\"http.response.status_code\" = 202\nok = true\nratio = 2.0\nname = \"present\"\n\
         [span.server.resource]\n\"host.name\" = { pattern = \"ip-.*\" }\n\
         [span.consumer]\nservice = \"worker\"\nname = \"process\"\nkind = \"consumer\"\nlink = \"server\"\nper = \"delivery\"\n\
         queue = \"jobs\"\nfunction = \"worker\"\n\
         [extra.canary]\nservice = \"worker\"\nname = \"canary\"\nper = \"environment\"\nat_most = 2\n",
    )
    .unwrap();
    let server = &contract.spans["server"];
    assert_eq!((contract.foreign, contract.sampling), (ForeignSpans::Forbid, Some(0.25)));
    assert_eq!(contract.severity, BTreeMap::from([(FindingCode::SpanLate, Severity::Failure)]));
    assert_eq!(contract.resource["service.version"], ValueRule::Present);
    assert_eq!(server.name, NameRule::Pattern("POST /.*".to_owned()));
    assert_eq!((server.status, server.max_duration), (StatusRule::Outcome, Some(Duration::from_secs(2))));
    let exact = |text: &str| ValueRule::Exact(text.to_owned());
    let values = ["http.response.status_code", "ok", "ratio", "name"].map(|key| server.attributes[key].clone());
    assert_eq!(values, [exact("202"), exact("true"), exact("2.0"), exact("present")]);
    assert_eq!(server.resource["host.name"], ValueRule::Pattern("ip-.*".to_owned()));
    let consumer = &contract.spans["consumer"];
    assert_eq!((consumer.parent.as_deref(), consumer.link.as_deref()), (None, Some("server")));
    assert_eq!((consumer.queue.as_deref(), consumer.function.as_deref()), (Some("jobs"), Some("worker")));
    let canary = &contract.extras["canary"];
    assert_eq!((canary.per, canary.at_most), (Per::Environment, 2));
}

#[test]
fn link_that_is_no_span_is_shown_at_the_link() {
    let error = error(&with_consumer("link = \"producer\"\n"));
    assert_eq!((error.line(), error.column()), (Some(12), Some(8)));
    assert_eq!(error.message(), "the link `producer` is not a span of this contract");
    assert_eq!(error.choices(), ["consumer", "server"]);
}

#[test]
fn parent_of_which_there_may_be_several_is_refused_with_what_could_be_one() {
    let text = with_consumer("").replacen("per = \"request\"\n", "per = \"request\"\nparent = \"consumer\"\n", 1);
    let error = error(&text);
    assert_eq!(error.message(), "a span per request cannot have a parent per delivery; it can be per request");
    assert_eq!(error.line(), Some(7));
}

#[test]
fn parents_that_lead_in_a_circle_are_shown_at_one_of_them() {
    let text = with_consumer("parent = \"other\"\n")
        + "[span.other]\nservice = \"worker\"\nname = \"o\"\nkind = \"internal\"\nper = \"delivery\"\nparent = \"consumer\"\n";
    let error = error(&text);
    assert!(error.message().contains("never to a root"), "{error}");
    assert_eq!(error.line(), Some(12));
}

#[test]
fn pattern_that_is_none_is_shown_with_what_is_wrong_with_it() {
    let name = error(&SERVER.replace("\"POST /\"", "{ pattern = \"POST (\" }"));
    assert_eq!(name.message(), "\"POST (\" is not a regular expression: unclosed group");
    assert_eq!((name.line(), name.column()), (Some(4), Some(8)));
    let value = error(&format!("{SERVER}[span.server.attributes]\na = {{ pattern = \"[\" }}\n"));
    assert_eq!((value.line(), value.column()), (Some(8), Some(5)));
    assert!(value.message().contains("unclosed character class"), "{value}");
}

#[test]
fn value_that_is_none_is_shown_with_what_is_possible() {
    let wrong = |value: &str| error(&format!("{SERVER}[span.server.attributes]\na = {value}\n"));
    assert!(wrong("[1]").message().contains("{ present = true }"), "{}", wrong("[1]"));
    assert_eq!(wrong("[1]").line(), Some(8));
    assert_eq!(wrong("{ presnt = true }").suggestion(), Some("present"));
    assert!(wrong("{ present = false }").message().contains("leave the attribute out"));
}

#[test]
fn unknown_code_severity_and_status_are_shown_with_those_there_are() {
    let code =
        error(&format!("[severity]\nspan-lat = \"failure\"\n{}", SERVER.replace("name = \"n\"\n", "")).replacen(
            "[severity]",
            "name = \"n\"\n[severity]",
            1,
        ));
    assert_eq!((code.line(), code.suggestion()), (Some(3), Some("span-late")));
    let severity = error(&format!("{SERVER}[severity]\nspan-late = \"fail\"\n"));
    assert_eq!(severity.choices(), ["failure", "info", "warning"]);
    let status = error(&format!("{SERVER}status = \"outcom\"\n"));
    assert_eq!(status.suggestion(), Some("outcome"));
}

#[test]
fn sampling_is_a_fraction_of_all_traces() {
    let with = |sampling: &str| read(&SERVER.replacen('\n', &format!("\nsampling = {sampling}\n"), 1));
    assert_eq!(with("1.0").unwrap().sampling, Some(1.0));
    for sampling in ["0.0", "1.1", "-0.5", "nan"] {
        let error = with(sampling).unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(2), Some(12)), "{sampling}: {error}");
    }
}

#[test]
fn extra_that_may_not_be_there_is_refused() {
    let error =
        error(&format!("{SERVER}[extra.canary]\nservice = \"w\"\nname = \"c\"\nper = \"environment\"\nat_most = 0\n"));
    assert_eq!(error.line(), Some(11));
    assert!(error.message().starts_with("at_most is 1 or more"), "{error}");
}

#[test]
fn shipped_contracts_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("scenarios/contracts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    files.extend([root.join("system/contract.toml"), root.join("harness/src/templates/contract.toml")]);
    for file in files {
        let contract = super::read(&file);
        assert!(contract.is_ok(), "{}", contract.unwrap_err());
    }
}
