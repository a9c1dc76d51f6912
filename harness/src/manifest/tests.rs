//! What a manifest can say, and every way in which it can be wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::cloud::function::RESERVED_VARIABLES;
use crate::input::InputError;
use crate::template::{Template, Values};

const CONTRACT: &str =
    "name = \"c\"\n[span.server]\nservice = \"api\"\nname = \"n\"\nkind = \"server\"\nper = \"request\"\n";

/// The sample of the design, with an own `env` of the function.
const SAMPLE: &str = r#"name     = "onboarding"
contract = "contract.toml"

[service.api]
build   = ["cargo", "build", "--profile", "{cargo.profile}", "-p", "onboarding-api"]
command = ["{cargo.target_dir}/onboarding-api"]
health  = "/health"
stop_timeout = "10s"
env = { PORT = "{service.port}" }

[queue.onboarding]
visibility_timeout = "6s"
max_receive_count  = 3

[function.worker]
build   = ["cargo", "build", "--profile", "{cargo.profile}", "-p", "onboarding-lambda"]
command = ["{cargo.target_dir}/onboarding-lambda"]
queue   = "onboarding"
timeout = "3s"
memory_mb  = 512
batch_size = 1
env = { OTEL_RESOURCE_ATTRIBUTES = "environment={environment.id}" }

[request]
service = "api"
method  = "POST"
path    = "/onboard"
body    = '{"customer_id":"{request.id}","email":"{request.id}@example.com"}'
accept  = [202]

[correlation]
response_trace_id = "header:x-trace-id"
message_body      = "/customer_id"
span_attributes   = ["customer.id"]

[env]
OTEL_EXPORTER_OTLP_ENDPOINT    = "{otlp.endpoint}"
SQS_QUEUE_URL                  = "{queue.onboarding.url}"
AWS_REGION                     = "{aws.region}"
LEVEL                          = "info"
"#;

/// The least that a manifest says.
const LEAST: &str = "name = \"n\"\ncontract = \"contract.toml\"\n\
    [service.api]\ncommand = [\"api\"]\n[request]\nservice = \"api\"\npath = \"/\"\n";

fn folder(manifest: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("contract.toml"), CONTRACT).unwrap();
    let file = folder.path().join("system.toml");
    std::fs::write(&file, manifest).unwrap();
    (folder, file)
}

fn read(manifest: &str) -> Manifest {
    let (_folder, file) = folder(manifest);
    Manifest::read(&file).unwrap_or_else(|error| panic!("{error}"))
}

fn error(manifest: &str) -> InputError {
    let (_folder, file) = folder(manifest);
    Manifest::read(&file).expect_err("this manifest is wrong")
}

/// The error when a part of the sample is replaced, without its folder.
fn sample_error(from: &str, to: &str) -> String {
    assert_eq!(SAMPLE.matches(from).count(), 1, "{from}");
    let error = error(&SAMPLE.replace(from, to));
    let folder = error.file().parent().unwrap().join("").display().to_string();
    error.to_string().replace(&folder, "")
}

#[test]
fn the_sample_of_the_design_is_read() {
    let manifest = read(SAMPLE);
    assert_eq!((manifest.name.as_str(), manifest.contract.name.as_str()), ("onboarding", "c"));
    let api = &manifest.services["api"];
    assert_eq!(api.build.as_ref().map(Vec::len), Some(6));
    assert_eq!(api.health.as_ref().map(Template::to_string).as_deref(), Some("/health"));
    assert_eq!(api.stop_timeout, Duration::from_secs(10));
    let queue = Queue { visibility_timeout: Duration::from_secs(6), max_receive_count: Some(3) };
    assert_eq!(manifest.queues["onboarding"], queue);
    let worker = &manifest.functions["worker"];
    assert_eq!((worker.queue.as_str(), worker.timeout), ("onboarding", Duration::from_secs(3)));
    assert_eq!((worker.memory_mb, worker.batch_size, worker.max_concurrency), (512, 1, 10));
    assert_eq!((manifest.request.method.as_str(), manifest.request.accept.as_slice()), ("POST", &[202][..]));
    assert_eq!(manifest.correlation.response_trace_id.unwrap().to_string(), "header:x-trace-id");
    assert_eq!(manifest.correlation.message_body.as_deref(), Some("/customer_id"));
    assert_eq!(manifest.correlation.span_attributes, ["customer.id"]);
    assert_eq!(manifest.correlation.message_attributes, ["messaging.message.id"]);
    assert_eq!(manifest.correlation.invocation_attributes, ["faas.invocation_id"]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let manifest = read(&format!("{LEAST}[queue.jobs]\n[function.worker]\ncommand = [\"worker\"]\nqueue = \"jobs\"\n"));
    let api = &manifest.services["api"];
    assert!(api.build.is_none() && api.health.is_none() && api.env.is_empty());
    assert_eq!(api.stop_timeout, Duration::from_secs(10));
    assert_eq!(manifest.queues["jobs"], Queue { visibility_timeout: Duration::from_secs(30), max_receive_count: None });
    let worker = &manifest.functions["worker"];
    assert_eq!((worker.timeout, worker.memory_mb), (Duration::from_secs(3), 128));
    assert_eq!((worker.batch_size, worker.max_concurrency), (10, 10));
    assert!(!worker.report_batch_item_failures, "as on AWS, responses are looked at only if that is asked for");
    assert_eq!((manifest.request.method.as_str(), &manifest.request.accept[..]), ("POST", &[200, 201, 202, 204][..]));
    assert!(manifest.request.body.is_none() && manifest.correlation.response_trace_id.is_none());
}

#[test]
fn identities_are_looked_for_where_the_manifest_says_and_nowhere_if_it_says_so() {
    let with = |more: &str| {
        let correlation = read(&SAMPLE.replace("[env]", &format!("{more}\n[env]"))).correlation;
        (correlation.message_attributes, correlation.invocation_attributes)
    };
    let (messages, invocations) = with("message_attributes = [\"msg\", \"m.id\"]\ninvocation_attributes = [\"inv\"]");
    assert_eq!((messages, invocations), (vec!["msg".to_owned(), "m.id".to_owned()], vec!["inv".to_owned()]));
    assert_eq!(with("message_attributes = []\ninvocation_attributes = []"), (Vec::new(), Vec::new()));
    assert_eq!(with("message_attributes = []").1, ["faas.invocation_id"]);
}

#[test]
fn a_function_reports_failed_messages_where_its_manifest_says_so() {
    let reports = |value: &str| SAMPLE.replace("batch_size = 1", &format!("report_batch_item_failures = {value}"));
    assert!(read(&reports("true")).functions["worker"].report_batch_item_failures);
    assert!(!read(&reports("false")).functions["worker"].report_batch_item_failures);
    assert_eq!(error(&reports("\"yes\"")).line(), Some(21));
}

#[test]
fn a_function_can_gather_batches_be_throttled_and_have_extensions() {
    let more = "batch_size = 500\nbatch_window = \"2s\"\nreserved_concurrency = 3\nprovisioned_concurrency = 2\n\
                extension.flusher = { command = [\"./flusher\"], env = { LEVEL = \"info\" } }";
    let manifest = read(&SAMPLE.replace("batch_size = 1", more));
    let worker = &manifest.functions["worker"];
    assert_eq!((worker.batch_size, worker.batch_window), (500, Duration::from_secs(2)));
    assert_eq!((worker.reserved_concurrency, worker.provisioned_concurrency), (Some(3), 2));
    let flusher = &worker.extensions["flusher"];
    assert_eq!((flusher.command[0].to_string(), flusher.env["LEVEL"].to_string()), ("./flusher".into(), "info".into()));
}

#[test]
fn json_bodies_need_no_escapes() {
    let body = read(SAMPLE).request.body.unwrap();
    let rendered = body.render(&Values::new().with("request.id", "7")).unwrap();
    assert_eq!(rendered, r#"{"customer_id":"7","email":"7@example.com"}"#);
}

#[test]
fn a_function_gets_the_shared_variables_but_for_those_that_lambda_sets() {
    let manifest = read(SAMPLE);
    let names = |env: std::collections::BTreeMap<String, Template>| env.into_keys().collect::<Vec<_>>();
    let of_service = manifest.service_env(&manifest.services["api"]);
    let of_function = manifest.function_env(&manifest.functions["worker"]);
    assert_eq!(names(of_service), ["AWS_REGION", "LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT", "PORT", "SQS_QUEUE_URL"]);
    let expected = ["LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", "SQS_QUEUE_URL"];
    assert_eq!(names(of_function), expected);
}

#[test]
fn an_own_variable_stands_before_a_shared_one() {
    let manifest = read(&SAMPLE.replace("{ PORT =", "{ LEVEL = \"debug\", PORT ="));
    let env = manifest.service_env(&manifest.services["api"]);
    assert_eq!(env["LEVEL"].to_string(), "debug");
}

#[test]
fn a_relative_program_starts_from_the_folder_of_the_manifest() {
    let manifest = read(SAMPLE);
    let line = |words: &[&str]| {
        let command: Vec<_> = words.iter().map(|word| Template::parse(word)).collect();
        manifest.command_line(&command, &Values::new().with("cargo.target_dir", "/t")).unwrap()
    };
    assert!(manifest.folder.is_absolute());
    assert_eq!(line(&["./api", "./x"]).program, manifest.folder.join("./api"));
    assert_eq!(line(&["./api", "./x"]).args, ["./x"]);
    assert_eq!(line(&["{cargo.target_dir}/api"]).program, Path::new("/t/api"));
    assert_eq!(line(&["cargo"]).program, Path::new("cargo"));
    assert_eq!(line(&["cargo"]).folder, manifest.folder);
    assert!(manifest.command_line(&[Template::parse("{run.id}")], &Values::new()).is_err());
}

#[test]
fn an_unknown_key_is_shown_with_the_keys_there_are() {
    let expected = concat!(
        "system.toml:7:1: unknown key `helth`\n",
        "  |\n",
        "7 | helth  = \"/health\"\n",
        "  | ^^^^^\n",
        "  = did you mean `health`?\n",
        "  = possible: `build`, `command`, `env`, `health`, `stop_timeout`",
    );
    assert_eq!(sample_error("health  =", "helth  ="), expected);
}

#[test]
fn an_unknown_placeholder_is_shown_with_those_there_are() {
    let expected = concat!(
        "system.toml:25:10: unknown placeholder {queue.onbording.url} in [env]\n",
        "   |\n",
        "25 | URL = \"x={queue.onbording.url}\"\n",
        "   |          ^^^^^^^^^^^^^^^^^^^^^\n",
        "   = did you mean `{queue.onboarding.url}`?\n",
        "   = possible: `{aws.access_key_id}`, `{aws.region}`, `{aws.secret_access_key}`, `{cargo.profile}`, ",
        "`{cargo.target_dir}`, `{otlp.api_key}`, `{otlp.authority}`, `{otlp.ca_file}`, `{otlp.endpoint}`, ",
        "`{queue.onboarding.url}`, `{run.id}`, `{sqs.endpoint}`",
    );
    let text = format!("{LEAST}{}[queue.onboarding]\n[env]\nURL = \"x={{queue.onbording.url}}\"\n", "\n".repeat(15));
    let error = error(&text);
    assert!(error.to_string().ends_with(expected), "{error}");
}

/// The first line of each error: file, line, column and what was found.
#[test]
fn every_error_names_its_place_and_what_was_found() {
    let cases = [
        ("name     = \"onboarding\"", "name = \"\"", "1:8: a system needs a name"),
        ("\"contract.toml\"", "5", "2:12: invalid type: integer `5`, expected a string"),
        (
            "[service.api]",
            "[service.Api]",
            "4:10: `Api` is no name: names have up to 40 lower-case letters, digits, `-` and `_`",
        ),
        ("command = [\"{cargo.target_dir}/onboarding-api\"]\n", "", "4:1: the key `command` is missing"),
        ("[\"{cargo.target_dir}/onboarding-api\"]", "[]", "6:11: a command names its program first; this one is empty"),
        (
            "[\"{cargo.target_dir}/onboarding-api\"]",
            "\"api\"",
            "6:11: invalid type: string \"api\", expected a sequence",
        ),
        ("\"/health\"", "\"health\"", "7:11: the path `health` does not start with `/`"),
        ("\"10s\"", "10", "8:16: invalid type: integer `10`, expected a duration such as \"10s\" or \"500ms\""),
        ("\"10s\"", "\"ten\"", "8:16: `ten` is no duration: write it as \"10s\" or \"500ms\""),
        ("{service.port}", "{environment.id}", "9:17: unknown placeholder {environment.id} in a service"),
        ("{ PORT =", "{ \"A=B\" =", "9:9: an environment variable needs a name without `=`"),
        (
            "\"6s\"",
            "\"1s 500ms\"",
            "12:22: a visibility timeout is a whole number of seconds from 0s to 43200s, not 1s 500ms",
        ),
        ("\"6s\"", "\"13h\"", "12:22: a visibility timeout is a whole number of seconds from 0s to 43200s, not 13h"),
        (
            "\"6s\"",
            "\"2s\"",
            "19:11: the function's timeout of 3s is longer than its queue's visibility_timeout of 2s: Lambda refuses to read such a queue",
        ),
        ("max_receive_count  = 3", "max_receive_count = 0", "13:21: the number of receives is from 1 to 1000, not 0"),
        (
            "\"{cargo.target_dir}/onboarding-lambda\"",
            "\"{service.port}\"",
            "17:13: unknown placeholder {service.port} in a function",
        ),
        ("queue   = \"onboarding\"", "queue = \"onbording\"", "18:9: there is no table [queue.onbording]"),
        ("\"3s\"", "\"901s\"", "19:11: a timeout is a whole number of seconds from 1s to 900s, not 15m 1s"),
        ("512", "100", "20:14: the memory in MiB is from 128 to 10240, not 100"),
        ("batch_size = 1", "batch_size = 10001", "21:14: a batch size is from 1 to 10000, not 10001"),
        ("batch_size = 1", "batch_size = -1", "21:14: a batch size is from 1 to 10000, not -1"),
        (
            "batch_size = 1",
            "batch_size = 11",
            "21:14: a batch of more than 10 messages needs a batch_window of at least 1s",
        ),
        (
            "batch_size = 1",
            "batch_window = \"6m\"",
            "21:16: a batch window is a whole number of seconds from 0s to 300s, not 6m",
        ),
        (
            "batch_size = 1",
            "provisioned_concurrency = 11",
            "21:27: the provisioned concurrency is from 0 to 10, not 11",
        ),
        ("batch_size = 1", "reserved_concurrency = 0", "21:24: a concurrency is from 1 to 1000, not 0"),
        (
            "batch_size = 1",
            "extension.flusher = { command = [\"{environment.id}\"] }",
            "21:35: unknown placeholder {environment.id} in an extension",
        ),
        ("batch_size = 1", "max_concurrency = 1001", "21:19: a concurrency is from 1 to 1000, not 1001"),
        ("service = \"api\"", "service = \"apo\"", "25:11: there is no table [service.apo]"),
        ("\"POST\"", "\"post\"", "26:11: `post` is no method that can be sent"),
        ("\"/onboard\"", "\"onboard\"", "27:11: the path `onboard` does not start with `/`"),
        ("{request.id}@", "{service.port}@", "28:51: unknown placeholder {service.port} in [request]"),
        ("[202]", "[]", "29:11: with no accepted status, no request would promise a trace"),
        ("[202]", "[202, 2002]", "29:17: a status is from 100 to 599, not 2002"),
        (
            "\"header:x-trace-id\"",
            "\"x-trace-id\"",
            "32:21: `x-trace-id` is no place in an answer: write `header:NAME` or `json:/pointer`",
        ),
        (
            "\"/customer_id\"",
            "\"customer_id\"",
            "33:21: `customer_id` is no JSON pointer: it starts with `/`, as in `/customer_id`",
        ),
        ("[\"customer.id\"]", "\"customer.id\"", "34:21: invalid type: string \"customer.id\", expected a sequence"),
        ("[\"customer.id\"]", "[\"\"]", "34:22: an attribute has a name"),
        (
            "[\"customer.id\"]",
            "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]",
            "34:47: an identity is looked for in at most 5 attributes",
        ),
        ("{aws.region}", "{aws.reigon}", "39:35: unknown placeholder {aws.reigon} in [env]"),
        ("{aws.region}", "{request.id}", "39:35: unknown placeholder {request.id} in [env]"),
        ("[env]", "[environment]", "36:2: unknown key `environment`"),
        ("[env]", "[env", "36:5: unclosed table, expected `]`"),
    ];
    let wrong = cases.into_iter().filter_map(|(from, to, expected)| {
        let message = sample_error(from, to);
        let found = message.lines().next()?.strip_prefix("system.toml:")?.to_owned();
        (found != expected).then_some((found, expected))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), []);
}

#[test]
fn a_build_command_knows_cargo_alone() {
    let error = error(&SAMPLE.replace("\"-p\", \"onboarding-api\"", "\"{otlp.endpoint}\""));
    assert_eq!(error.message(), "unknown placeholder {otlp.endpoint} in a build command");
    assert_eq!(error.choices(), ["{cargo.profile}", "{cargo.target_dir}"]);
}

#[test]
fn choices_are_those_of_this_manifest() {
    let queue = error(&SAMPLE.replace("queue   = \"onboarding\"", "queue = \"onbording\""));
    assert_eq!((queue.choices(), queue.suggestion()), (&["onboarding".to_owned()][..], Some("onboarding")));
    let method = error(&SAMPLE.replace("\"POST\"", "\"post\""));
    assert_eq!(method.suggestion(), Some("POST"));
    assert_eq!(method.choices(), ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"]);
}

#[test]
fn a_function_cannot_set_what_lambda_reserves() {
    for name in RESERVED_VARIABLES {
        let error = error(&SAMPLE.replace("OTEL_RESOURCE_ATTRIBUTES", name));
        assert_eq!((error.line(), error.column()), (Some(22), Some(9)), "{name}");
        assert!(error.message().starts_with(&format!("Lambda sets `{name}` itself")), "{error}");
        assert!(error.message().contains("_HANDLER"), "the message lists them: {error}");
    }
}

#[test]
fn a_contract_that_is_not_there_is_an_error_of_the_manifest() {
    let error = error(&SAMPLE.replace("\"contract.toml\"", "\"nowhere.toml\""));
    assert_eq!((error.line(), error.column()), (Some(2), Some(12)));
    assert!(error.message().starts_with("there is no file ") && error.message().ends_with("nowhere.toml"), "{error}");
}

#[test]
fn an_error_in_the_contract_is_an_error_of_the_contract() {
    let (folder, file) = folder(SAMPLE);
    let contract = folder.path().join("contract.toml");
    std::fs::write(&contract, CONTRACT.replace("kind", "kynd")).unwrap();
    let error = Manifest::read(&file).unwrap_err();
    assert_eq!((error.file(), error.line()), (contract.as_path(), Some(5)));
    assert_eq!(error.suggestion(), Some("kind"));
}
