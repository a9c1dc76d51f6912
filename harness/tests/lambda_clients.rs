//! AWS's own runtime clients, for Python and Node.js, under the local Lambda.
//!
//! They have to be installed: `pip install awslambdaric==4.2.2 --target DIR`, `npm install
//! aws-lambda-ric@4.0.2 --prefix DIR` (which builds it, with cmake). `LAMBDA_PYTHON_CLIENT` and
//! `LAMBDA_NODE_CLIENT` name these folders. Where one is not there, its tests say so and pass; but not in
//! CI (`CI=true`), unless the variable is `none` there, for which CI has to have its reason.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[path = "support/function.rs"]
mod function;
#[expect(dead_code, reason = "what other tests need")]
mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use assert_matches::assert_matches;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use harness::cloud::environment::{AfterInit, Environment, InitCause, Invocation, Invoked};
use harness::cloud::function::{BoxError, Function, FunctionSpec, Wired, Wiring};
use harness::cloud::network::Network;
use harness::target::Spawner;
use serde_json::{Value, json};
use support::{Events, states};
use tempfile::TempDir;
use verifier::event::{Delivery, InvocationOutcome, ResetReason};
use verifier::{EnvironmentId, EventKind, MessageId};

/// A client in its language, and a function for it.
struct Language {
    name: &'static str,
    /// The variable that names the folder of its client.
    variable: &'static str,
    /// A program that succeeds if the client is there.
    probe: fn(&str) -> Vec<String>,
    command: fn(&str) -> Vec<String>,
    /// Where its modules are looked for.
    path: &'static str,
    file: &'static str,
    source: &'static str,
    /// What it reports if there is no such file.
    import_error: &'static str,
    /// What it calls an error of the handler.
    handler_error: &'static str,
}

const PYTHON: Language = Language {
    name: "Python",
    variable: "LAMBDA_PYTHON_CLIENT",
    probe: |_| words(&["python3", "-c", "import awslambdaric.bootstrap, runtime_client"]),
    command: |handler| words(&["python3", "-m", "awslambdaric", handler]),
    path: "PYTHONPATH",
    file: "handler.py",
    source: r#"
import os

def handle(event, context):
    if event["do"] == "fail":
        raise ValueError("no database")
    if event["do"] == "exit":
        os._exit(3)
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "in time": 0 < context.get_remaining_time_in_millis() <= 30000,
        "trace": os.environ["_X_AMZN_TRACE_ID"],
    }
"#,
    import_error: "Runtime.ImportModuleError",
    handler_error: "ValueError",
};

const NODE: Language = Language {
    name: "Node.js",
    variable: "LAMBDA_NODE_CLIENT",
    probe: |folder| {
        // It can only be loaded by a function.
        let client = format!("require('fs').accessSync('{folder}/node_modules/aws-lambda-ric/rapid-client.node')");
        words(&["node", "-e", &client])
    },
    command: |handler| {
        let folder = env::var(NODE.variable).unwrap_or_default();
        words(&["node", &format!("{folder}/node_modules/aws-lambda-ric/index.mjs"), handler])
    },
    path: "NODE_PATH",
    file: "handler.js",
    source: r#"
exports.handle = async (event, context) => {
    if (event.do === "fail") throw new TypeError("no database");
    if (event.do === "exit") process.exit(3);
    const remaining = context.getRemainingTimeInMillis();
    return {
        id: context.awsRequestId,
        arn: context.invokedFunctionArn,
        "in time": remaining > 0 && remaining <= 30000,
        trace: process.env._X_AMZN_TRACE_ID,
    };
};
"#,
    import_error: "Runtime.ImportModuleError",
    handler_error: "TypeError",
};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Language {
    /// The folder of its client, if that is there. In CI, it has to be.
    fn client(&self) -> Option<String> {
        let folder = env::var(self.variable).unwrap_or_default();
        let probe = (self.probe)(&folder);
        let mut command = Command::new(&probe[0]);
        command.args(&probe[1..]).env(self.path, &folder).stderr(Stdio::null()).stdout(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Some(folder);
        }
        let missing =
            format!("AWS's runtime client for {} is not there: see {} in {}", self.name, self.variable, file!());
        assert!(folder == "none" || env::var("CI").as_deref() != Ok("true"), "{missing}");
        say(&format!("skipped: {missing}"));
        None
    }

    /// A function with its handler; nothing if its client is not there.
    fn function(&self, handler: &str) -> Option<Lambda> {
        let client = self.client()?;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(self.file), self.source).unwrap();
        let env = vec![(self.path.to_owned(), client)];
        let spec = FunctionSpec { env, ..function::spec((self.command)(handler), folder.path()) };
        let (recorder, events) = Events::record();
        let spawner = Spawner::start(Some(Path::new(env!("CARGO_BIN_EXE_harness")))).unwrap();
        let function = Arc::new(Function::new(spec, spawner, recorder, Arc::new(Unwired)));
        Some(Lambda { function, events, _folder: folder })
    }
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn say(words: &str) {
    eprintln!("{words}");
}

struct Unwired;

impl Wiring for Unwired {
    fn wire<'a>(&'a self, _: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        Box::pin(async { Ok(Wired { env: Vec::new(), network: Network::default(), guard: Box::new(()) }) })
    }
}

struct Lambda {
    function: Arc<Function>,
    events: Events,
    _folder: TempDir,
}

impl Lambda {
    /// Invokes the function; answers what became of that and the body of its response.
    async fn invoke(&self, environment: Environment, what: &str) -> (Invoked, Value) {
        let response = Arc::new(Mutex::new(Vec::new()));
        let body = Arc::clone(&response);
        let failures = Box::new(move |response: &[u8]| {
            *body.lock().unwrap() = response.to_owned();
            Vec::new()
        });
        let deliveries = vec![Delivery { message: MessageId::new("a"), receive_count: 1 }];
        let event = Bytes::from(json!({ "do": what }).to_string());
        let invoked = environment.invoke(&Invocation { deliveries, event, failures }).await;
        let response = serde_json::from_slice(&response.lock().unwrap()).unwrap_or_default();
        (invoked, response)
    }

    fn find<T>(&mut self, find: impl Fn(&EventKind) -> Option<T>) -> Vec<T> {
        self.events.seen().iter().filter_map(find).collect()
    }
}

/// Everything that a client does in the life of an environment.
async fn is_served(language: &Language) {
    let Some(mut lambda) = language.function("handler.handle") else { return };
    let environment = Environment::start(&lambda.function, AfterInit::Freeze).await.unwrap();
    let pid = lambda.find(|event| match event {
        EventKind::EnvironmentStarted { pid, .. } => Some(*pid),
        _ => None,
    })[0];
    let (invoked, response) = lambda.invoke(environment, "answer").await;
    assert_eq!(invoked.outcome, InvocationOutcome::Succeeded { failed: Vec::new() });
    let id = lambda.find(|event| match event {
        EventKind::InvocationStarted { invocation, .. } => Some(invocation.to_string()),
        _ => None,
    });
    assert_eq!(response["id"], id[0]);
    assert_eq!(response["arn"], "arn:aws:lambda:eu-west-1:123456789012:function:worker");
    assert_eq!(response["in time"], true);
    assert!(response["trace"].as_str().unwrap().contains(";Sampled=0"), "{response}");
    assert!(states(pid).iter().all(|state| *state == 'T'), "it is frozen");

    let (invoked, _) = lambda.invoke(invoked.environment.unwrap(), "fail").await;
    assert_matches!(&invoked.outcome, InvocationOutcome::Failed { error_type, error_message }
        if error_type == language.handler_error && error_message == "no database");
    let (invoked, _) = lambda.invoke(invoked.environment.unwrap(), "exit").await;
    assert_eq!(invoked.outcome, InvocationOutcome::EnvironmentDied);
    let (invoked, _) = lambda.invoke(invoked.environment.unwrap(), "answer").await;
    assert_eq!(invoked.outcome, InvocationOutcome::Succeeded { failed: Vec::new() }, "it is started again");
    let resets = lambda.find(|event| match event {
        EventKind::EnvironmentReset { reason, end, .. } => Some((*reason, end.code)),
        _ => None,
    });
    assert_eq!(resets, [(ResetReason::Exited, Some(3))]);
    let refused = lambda.find(|event| matches!(event, EventKind::CallRefused { .. }).then(|| event.clone()));
    assert_eq!(refused, [], "nothing that it does is refused");
}

/// A handler that is not there is reported by the client.
async fn failure_to_start_is_told(language: &Language) {
    let Some(lambda) = language.function("nowhere.handle") else { return };
    let failure = Environment::start(&lambda.function, AfterInit::Freeze).await.unwrap_err();
    assert_matches!(failure.cause, InitCause::Reported(error) if error.error_type == language.import_error);
}

#[tokio::test]
async fn client_for_python_is_served() {
    is_served(&PYTHON).await;
}

#[tokio::test]
async fn client_for_python_tells_why_it_cannot_start() {
    failure_to_start_is_told(&PYTHON).await;
}

#[tokio::test]
async fn client_for_node_is_served() {
    is_served(&NODE).await;
}

#[tokio::test]
async fn client_for_node_tells_why_it_cannot_start() {
    failure_to_start_is_told(&NODE).await;
}
