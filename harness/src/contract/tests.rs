//! What contracts can say, and what is said about those that are wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use verifier::contract::{ForeignSpans, NameRule, Per, StatusRule, ValueRule};
use verifier::{FindingCode, Severity, TraceContract};

use super::read::{Parts, parse};
use crate::input::{InputError, Source};

fn read(text: &str) -> Result<TraceContract, InputError> {
    parse(&Source::new(Path::new("contract.toml"), text), None)
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
    assert_eq!(error.line(), Some(18));
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
    assert_eq!((error.line(), error.column()), (Some(11), Some(11)));
    assert_eq!(error.message(), "at_most is from 1 to 1000000, not 0");
}

/// A contract that says something in every place.
const FULL: &str = r#"name = "onboarding"
sampling = 0.5
foreign = "forbid"
[severity]
span-late = "failure"
[resource]
"cx.application.name" = { pattern = "on.*" }
[span.server]
service = "api"
name = "POST /"
kind = "server"
per = "request"
status = "outcome"
max_duration = "2s"
[span.producer]
service = "api"
name = { pattern = "send .*" }
kind = "producer"
parent = "server"
per = "message"
queue = "jobs"
[span.consumer]
service = "worker"
name = "process"
kind = "consumer"
link = "producer"
per = "delivery"
function = "worker"
[span.consumer.attributes]
"messaging.system" = "aws_sqs"
"customer.id" = { pattern = "[0-9]+" }
[span.consumer.resource]
"faas.name" = { present = true }
[extra.canary]
service = "worker"
name = "canary"
per = "environment"
at_most = 2
"#;

/// What is said when a part of the full contract is replaced: the line and column, and what was found.
fn full_error(from: &str, to: &str) -> String {
    assert_eq!(FULL.matches(from).count(), 1, "{from}");
    let error = error(&FULL.replace(from, to));
    let first = error.to_string().lines().next().unwrap().to_owned();
    first.strip_prefix("contract.toml:").map(str::to_owned).unwrap_or(first)
}

#[test]
fn every_error_names_its_place_and_what_was_found() {
    let cases = [
        ("\"onboarding\"", "\" \"", "1:8: a contract needs a name"),
        ("sampling = 0.5", "sampling = 0", "2:12: sampling is a fraction above 0 and at most 1 (all traces)"),
        ("sampling = 0.5", "samplng = 0.5", "2:1: unknown key `samplng`"),
        ("\"forbid\"", "\"forbidden\"", "3:11: unknown value `forbidden`"),
        ("span-late", "span_late", "5:1: `span_late` is not the code of a finding"),
        ("\"failure\"", "\"error\"", "5:13: unknown value `error`"),
        ("\"on.*\"", "\"on(\"", "7:25: \"on(\" is not a regular expression: unclosed group"),
        (
            "[span.server]\nservice = \"api\"",
            "[span.server]\nservice = \"\"",
            "9:11: a span needs a service: the `service.name` of who makes it",
        ),
        ("service = \"api\"\nname = \"POST /\"", "name = \"POST /\"", "8:1: the key `service` is missing"),
        ("\"POST /\"", "\"\"", "10:8: a span needs a name"),
        ("\"POST /\"", "5", "10:8: invalid type: integer `5`, expected a name, or { pattern = \"…\" }"),
        ("kind = \"server\"", "kind = \"servant\"", "11:8: unknown value `servant`"),
        ("per = \"request\"", "per = \"requests\"", "12:7: unknown value `requests`"),
        (
            "per = \"request\"",
            "per = \"request\"\nqueue = \"jobs\"",
            "13:9: `queue` is for spans per message, delivery; this one is per request",
        ),
        (
            "per = \"request\"",
            "per = \"request\"\nparent = \"server\"",
            "13:10: following the parents from \"server\" leads back to it and never to a root",
        ),
        ("\"outcome\"", "\"ok\"", "13:10: unknown value `ok`"),
        ("\"2s\"", "2", "14:16: invalid type: integer `2`, expected a duration such as \"10s\" or \"500ms\""),
        ("\"2s\"", "\"two\"", "14:16: `two` is no duration: write it as \"10s\" or \"500ms\""),
        ("\"2s\"", "\"0s\"", "14:16: max_duration is longer than nothing"),
        (
            "{ pattern = \"send .*\" }",
            "{ pattern = \"a)(b\" }",
            "17:8: \"a)(b\" is not a regular expression: unopened group",
        ),
        ("{ pattern = \"send .*\" }", "{ patern = \"send .*\" }", "17:8: unknown key `patern`"),
        ("{ pattern = \"send .*\" }", "{}", "17:8: the key `pattern` is missing"),
        ("parent = \"server\"", "parent = \"serve\"", "19:10: the parent `serve` is not a span of this contract"),
        (
            "per = \"request\"",
            "per = \"environment\"",
            "19:10: a span per message cannot have a parent per environment; it can be per request, message",
        ),
        (
            "queue = \"jobs\"",
            "function = \"worker\"",
            "21:12: `function` is for spans per delivery, invocation, environment; this one is per message",
        ),
        ("link = \"producer\"", "link = \"produce\"", "26:8: the link `produce` is not a span of this contract"),
        (
            "link = \"producer\"",
            "link = \"consumer\"",
            "26:8: a span per delivery cannot have a link per delivery; it can be per request, message",
        ),
        ("\"aws_sqs\"", "{ present = false }", "30:22: write { present = true }, or leave the attribute out"),
        (
            "\"aws_sqs\"",
            "{ present = true, pattern = \"a\" }",
            "30:22: one rule is enough: `present` stands beside another",
        ),
        ("\"aws_sqs\"", "2026-01-01", "30:22: a date or time is a text: write it in quotes"),
        ("\"aws_sqs\"", "nan", "30:22: `NaN` is no number that can be compared"),
        (
            "\"aws_sqs\"",
            "[]",
            "30:22: invalid type: sequence, expected a text, a number, true or false, { present = true }, or { pattern = \"…\" }",
        ),
        ("\"[0-9]+\"", "\"[0-9+\"", "31:17: \"[0-9+\" is not a regular expression: unclosed character class"),
        (
            "{ present = true }",
            "{ pattern = \"*\" }",
            "33:15: \"*\" is not a regular expression: repetition operator missing expression",
        ),
        ("[extra.canary]", "[extra.consumer]", "34:8: there is a span and an extra with the name \"consumer\""),
        (
            "name = \"canary\"",
            "name = \"process\"",
            "34:8: \"canary\" and \"consumer\" have the same service and name, so their spans cannot be told apart",
        ),
        ("name = \"canary\"", "name = { pattern = \"(\" }", "36:8: \"(\" is not a regular expression: unclosed group"),
        ("at_most = 2", "at_most = 0", "38:11: at_most is from 1 to 1000000, not 0"),
        ("at_most = 2", "at_most = -1", "38:11: at_most is from 1 to 1000000, not -1"),
        ("at_most = 2", "at_least = 2", "38:1: unknown key `at_least`"),
    ];
    read(FULL).unwrap_or_else(|error| panic!("{error}"));
    let wrong = cases.into_iter().filter_map(|(from, to, expected)| {
        let found = full_error(from, to);
        (found != expected).then_some((found, expected))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), []);
}

#[test]
fn what_is_meant_is_suggested() {
    let cases = [
        ("sampling =", "samplng =", "sampling"),
        ("\"forbid\"", "\"forbit\"", "forbid"),
        ("span-late", "span-lat", "span-late"),
        ("kind = \"server\"", "kind = \"sever\"", "server"),
        ("per = \"message\"", "per = \"messages\"", "message"),
        ("parent = \"server\"", "parent = \"sever\"", "server"),
        ("link = \"producer\"", "link = \"producers\"", "producer"),
        ("\"outcome\"", "\"outcomes\"", "outcome"),
        ("{ pattern = \"send .*\" }", "{ patern = \"send .*\" }", "pattern"),
    ];
    for (from, to, meant) in cases {
        assert_eq!(error(&FULL.replacen(from, to, 1)).suggestion(), Some(meant), "{to}");
    }
}

#[test]
fn contract_of_a_system_names_only_what_that_has() {
    let source = Source::new(Path::new("contract.toml"), FULL);
    let with = |queues: &[&str], functions: &[&str]| parse(&source, Some(Parts { queues, functions }));
    assert!(with(&["jobs"], &["other", "worker"]).is_ok());
    let queue = with(&["job", "other"], &["worker"]).unwrap_err();
    assert_eq!((queue.line(), queue.column()), (Some(21), Some(9)));
    assert_eq!((queue.message(), queue.suggestion()), ("the system has no [queue.jobs]", Some("job")));
    assert_eq!(queue.choices(), ["job", "other"]);
    let function = with(&["jobs"], &[]).unwrap_err();
    assert_eq!((function.line(), function.message()), (Some(28), "the system has no [function.worker]"));
}

/// The template as it is when all that it shows in comments is said.
fn template_with_its_comments() -> String {
    let is_key = |text: &str| text.split_once('=').is_some_and(|(key, _)| !key.trim().contains([' ', '`', ',']));
    let is_table = |text: &str| text.starts_with('[');
    let lines = include_str!("../templates/contract.toml").lines();
    let said = lines.map(|line| line.strip_prefix("# ").filter(|text| is_key(text) || is_table(text)).unwrap_or(line));
    said.collect::<Vec<_>>().join("\n")
}

#[test]
fn template_teaches_every_key_and_none_that_is_wrong() {
    let contract = read(&template_with_its_comments()).unwrap_or_else(|error| panic!("{error}"));
    let [consumer, producer, server] = ["consumer", "producer", "server"].map(|role| &contract.spans[role]);
    assert_eq!((contract.foreign, contract.sampling), (ForeignSpans::Forbid, Some(0.1)));
    assert_eq!((contract.severity.len(), contract.resource.len(), contract.extras.len()), (1, 1, 1));
    assert_eq!((server.status, server.max_duration), (StatusRule::Outcome, Some(Duration::from_secs(2))));
    assert_eq!((server.attributes.len(), server.resource.len()), (3, 1));
    assert_eq!(producer.queue.as_deref(), Some("jobs"));
    assert_eq!((consumer.link.as_deref(), consumer.function.as_deref()), (Some("producer"), Some("worker")));
}

#[test]
fn template_fits_the_manifest_that_is_written_beside_it() {
    let contract = Source::new(Path::new("contract.toml"), template_with_its_comments());
    let parts = Parts { queues: &["jobs"], functions: &["worker"] };
    parse(&contract, Some(parts)).unwrap_or_else(|error| panic!("{error}"));
    let manifest: toml::Table = toml::from_str(include_str!("../templates/system.toml")).unwrap();
    for (kind, names) in [("queue", parts.queues), ("function", parts.functions)] {
        assert_eq!(manifest[kind].as_table().unwrap().keys().collect::<Vec<_>>(), names);
    }
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
