//! The load generator against a server of the test's own.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use verifier::event::RequestOutcome;
use verifier::{Event, EventKind, RequestId, Timestamp, TraceId};

use super::*;
use crate::journal::Recorder;
use crate::template::Template;

const TAG: u32 = 0x7f3a_9c2e;
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What a server saw of one request.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    content_type: Option<String>,
    run: Option<String>,
    body: String,
}

/// A server in this process, and what it saw.
struct Server {
    base_url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves all requests with one answer.
    async fn answering<R: IntoResponse, F: Future<Output = R> + Send>(
        answer: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let router = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
            log.lock().unwrap().push(Seen::new(&uri, &headers, &body));
            answer().await.into_response()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, seen }
    }

    /// Accepts each request at once.
    async fn accepting() -> Self {
        Self::answering(async || StatusCode::ACCEPTED).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Seen {
    fn new(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Self {
        let header = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let body = String::from_utf8(body.to_vec()).unwrap();
        Self { path: uri.to_string(), content_type: header("content-type"), run: header("x-run"), body }
    }
}

fn plan(base_url: &str) -> LoadPlan {
    LoadPlan {
        base_url: base_url.to_owned(),
        method: http::Method::POST,
        path: Template::parse("/onboard/{request.id}"),
        headers: Vec::new(),
        body: Some(Template::parse(r#"{"customer_id":"{request.id}"}"#)),
        accept: vec![202],
        timeout: Duration::from_secs(10),
        trace_id: None,
        tag: TAG,
        users: 20,
    }
}

fn schedule(requests: u32) -> Schedule {
    Schedule::Constant { rate: 200.0, duration: Duration::from_secs(1) * requests / 200 }
}

/// A load that came to its end, and what it recorded.
struct Sent {
    outcome: Result<LoadOutcome, LoadError>,
    events: Vec<Event>,
    progress: Arc<Progress>,
}

async fn send(plan: LoadPlan, schedule: Schedule, stop: CancellationToken) -> Sent {
    let (recorder, mut stream) = Recorder::new();
    let progress = Arc::new(Progress::default());
    let outcome = run(plan, schedule, recorder, stop, Arc::clone(&progress)).await;
    let mut events = Vec::new();
    while let Some(event) = stream.recv().await {
        events.push(event);
    }
    Sent { outcome, events, progress }
}

async fn send_all(plan: LoadPlan, requests: u32) -> Sent {
    send(plan, schedule(requests), CancellationToken::new()).await
}

impl Sent {
    fn outcome(&self) -> LoadOutcome {
        *self.outcome.as_ref().unwrap()
    }

    fn started(&self) -> BTreeMap<RequestId, (Timestamp, Timestamp)> {
        let started = self.events.iter().filter_map(|event| match event.kind {
            EventKind::RequestStarted { request, intended } => Some((request, (intended, event.at))),
            _ => None,
        });
        started.collect()
    }

    fn finished(&self) -> BTreeMap<RequestId, (Timestamp, RequestOutcome)> {
        let finished = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::RequestFinished { request, intended, outcome } => Some((*request, (*intended, outcome.clone()))),
            _ => None,
        });
        finished.collect()
    }

    fn outcomes(&self) -> Vec<RequestOutcome> {
        self.finished().into_values().map(|(_, outcome)| outcome).collect()
    }
}

fn answered(status: u16, accepted: bool) -> RequestOutcome {
    RequestOutcome::Answered { status, accepted, trace_id: None }
}

#[tokio::test]
async fn each_request_of_the_schedule_arrives_once() {
    let server = Server::accepting().await;
    let sent = send_all(plan(&server.base_url), 60).await;

    assert_eq!(sent.outcome(), LoadOutcome { scheduled: 60, sent: 60, accepted: 60 });
    assert!(!sent.outcome().ended_early());
    let ids: Vec<_> = (0..60).map(|number| RequestId::new(TAG, number)).collect();
    let mut paths: Vec<_> = server.seen().into_iter().map(|seen| seen.path).collect();
    paths.sort();
    assert_eq!(paths, ids.iter().map(|id| format!("/onboard/{id}")).collect::<Vec<_>>());
    assert_eq!(sent.started().into_keys().collect::<Vec<_>>(), ids);
    assert_eq!(sent.finished().into_keys().collect::<Vec<_>>(), ids);
    assert_eq!(sent.events.len(), 2 * 60 + 2, "nothing is recorded twice");
}

#[tokio::test]
async fn the_load_is_framed_by_its_begin_and_end() {
    let server = Server::accepting().await;
    let sent = send_all(plan(&server.base_url), 10).await;
    let kinds = (&sent.events.first().unwrap().kind, &sent.events.last().unwrap().kind);
    assert_eq!(*kinds.0, EventKind::LoadStarted { scheduled: 10, rate: 200.0 });
    assert_eq!(*kinds.1, EventKind::LoadFinished { sent: 10 });
    let progress = &sent.progress;
    assert_eq!((progress.scheduled(), progress.started(), progress.finished()), (10, 10, 10));
    assert_eq!((progress.accepted(), progress.in_flight()), (10, 0));
}

#[tokio::test]
async fn requests_are_due_when_the_schedule_says_and_never_start_before() {
    let server = Server::accepting().await;
    let sent = send_all(plan(&server.base_url), 40).await;
    let started = sent.started();
    let first = started[&RequestId::new(TAG, 0)].0;
    for (request, (intended, actual)) in &started {
        let due = schedule(40).intended(u64::from(request.number())).unwrap();
        assert_eq!(intended.since(first), due, "{request}");
        assert!(actual >= intended, "{request}");
        assert_eq!(sent.finished()[request].0, *intended, "{request}");
    }
}

#[tokio::test]
async fn a_request_that_finds_no_user_free_is_sent_late_and_not_left_out() {
    let server = Server::answering(async || {
        tokio::time::sleep(Duration::from_millis(30)).await;
        StatusCode::ACCEPTED
    })
    .await;
    let sent = send_all(LoadPlan { users: 1, ..plan(&server.base_url) }, 10).await;
    assert_eq!(sent.outcome().sent, 10);
    let (intended, actual) = sent.started()[&RequestId::new(TAG, 9)];
    assert_eq!(intended.since(sent.started()[&RequestId::new(TAG, 0)].0), Duration::from_millis(45));
    assert!(actual.since(intended) >= Duration::from_millis(9 * 30 - 45), "one user sends one after the other");
}

#[tokio::test]
async fn stop_ends_the_load_early_and_waits_for_what_is_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let arrived = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let server = {
        let (gate, arrived, stop) = (Arc::clone(&gate), Arc::clone(&arrived), stop.clone());
        Server::answering(move || {
            let (gate, arrived, stop) = (Arc::clone(&gate), Arc::clone(&arrived), stop.clone());
            async move {
                // The fifth arrival stops the load; only then is anything answered.
                if arrived.fetch_add(1, Ordering::SeqCst) + 1 == 5 {
                    stop.cancel();
                    gate.add_permits(1_000);
                }
                gate.acquire().await.unwrap().forget();
                StatusCode::ACCEPTED
            }
        })
        .await
    };
    let sent = send(plan(&server.base_url), schedule(100_000), stop).await;

    let outcome = sent.outcome();
    assert!(outcome.ended_early() && outcome.sent >= 5, "{outcome:?}");
    assert_eq!(outcome.accepted, outcome.sent, "what was in flight was answered");
    assert_eq!(server.seen().len() as u64, outcome.sent);
    assert_eq!(sent.started().keys().collect::<Vec<_>>(), sent.finished().keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_load_that_is_stopped_before_it_begins_sends_nothing() {
    let server = Server::accepting().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let sent = send(plan(&server.base_url), schedule(1_000), stop).await;
    assert_eq!(sent.outcome(), LoadOutcome { scheduled: 1_000, sent: 0, accepted: 0 });
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_status_that_promises_nothing_is_answered_and_not_accepted() {
    let server = Server::answering(async || StatusCode::INTERNAL_SERVER_ERROR).await;
    let sent = send_all(plan(&server.base_url), 10).await;
    assert_eq!(sent.outcome(), LoadOutcome { scheduled: 10, sent: 10, accepted: 0 });
    assert_eq!(sent.outcomes(), vec![answered(500, false); 10]);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_a_second_request() {
    let server = Server::answering(async || (StatusCode::SEE_OTHER, [("location", "/elsewhere")])).await;
    let sent = send_all(plan(&server.base_url), 5).await;
    assert_eq!(sent.outcomes(), vec![answered(303, false); 5]);
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_connection_that_is_closed_leaves_the_outcome_open() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let sent = send_all(plan(&base_url), 5).await;
    assert_eq!(sent.outcome(), LoadOutcome { scheduled: 5, sent: 5, accepted: 0 });
    for outcome in sent.outcomes() {
        let RequestOutcome::Unanswered { error } = outcome else { panic!("{outcome:?}") };
        assert!(error.starts_with("error sending request: "), "{error}");
        assert!(
            !error.contains("127.0.0.1") && !error.contains("7f3a9c2e"),
            "errors that are alike read alike: {error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_leaves_the_outcome_open() {
    let server = Server::answering(std::future::pending::<StatusCode>).await;
    let impatient = LoadPlan { timeout: Duration::from_millis(50), ..plan(&server.base_url) };
    let sent = send_all(impatient, 5).await;
    assert_eq!(sent.outcome().sent, 5);
    for outcome in sent.outcomes() {
        let RequestOutcome::Unanswered { error } = outcome else { panic!("{outcome:?}") };
        assert!(error.contains("timed out"), "{error}");
    }
}

#[tokio::test]
async fn the_trace_id_is_read_from_a_header() {
    let server = Server::answering(async || (StatusCode::ACCEPTED, [("x-trace-id", TRACE_ID)])).await;
    let location = Some("header:x-trace-id".parse().unwrap());
    let sent = send_all(LoadPlan { trace_id: location, ..plan(&server.base_url) }, 5).await;
    assert_eq!(sent.outcomes(), vec![accepted_with_trace_id(); 5]);
}

#[tokio::test]
async fn the_trace_id_is_read_from_the_body() {
    let server = Server::answering(async || (StatusCode::ACCEPTED, Json([("trace", TRACE_ID)]))).await;
    let location = Some("json:/0/1".parse().unwrap());
    let sent = send_all(LoadPlan { trace_id: location, ..plan(&server.base_url) }, 5).await;
    assert_eq!(sent.outcomes(), vec![accepted_with_trace_id(); 5]);
}

fn accepted_with_trace_id() -> RequestOutcome {
    let trace_id = Some(TRACE_ID.parse::<TraceId>().unwrap());
    RequestOutcome::Answered { status: 202, accepted: true, trace_id }
}

#[tokio::test]
async fn body_and_headers_bear_the_request_id() {
    let server = Server::accepting().await;
    let header = (http::HeaderName::from_static("x-run"), Template::parse("run-{request.id}"));
    let sent = send_all(LoadPlan { headers: vec![header], ..plan(&server.base_url) }, 3).await;
    assert_eq!(sent.outcome().sent, 3);
    for seen in server.seen() {
        let id = seen.path.strip_prefix("/onboard/").unwrap();
        assert_eq!(seen.body, format!(r#"{{"customer_id":"{id}"}}"#));
        assert_eq!(seen.run, Some(format!("run-{id}")));
        assert_eq!(seen.content_type.as_deref(), Some("application/json"));
    }
}

#[tokio::test]
async fn a_plan_without_a_value_is_refused_before_anything_is_sent() {
    let server = Server::accepting().await;
    let path = Template::parse("/{run.id}");
    let sent = send_all(LoadPlan { path, ..plan(&server.base_url) }, 3).await;
    assert_eq!(sent.outcome.unwrap_err().to_string(), "there is no value for the placeholder {run.id}");
    assert!(sent.events.is_empty() && server.seen().is_empty());
}

/// Tells `load_keeps_stdout_clean` that it is the child, whose stdout is read.
const CHILD: &str = "LOAD_TEST_CHILD";

async fn send_with_answers_and_errors() {
    let server = Server::accepting().await;
    assert_eq!(send_all(plan(&server.base_url), 20).await.outcome().accepted, 20);
    let nobody = send_all(plan("http://127.0.0.1:1"), 20).await;
    assert_eq!(nobody.outcome().accepted, 0);
}

#[tokio::test]
async fn load_keeps_stdout_clean() {
    if std::env::var_os(CHILD).is_some() {
        return send_with_answers_and_errors().await;
    }
    let this = "load::tests::load_keeps_stdout_clean";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([this, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("1 passed"), "the child is this test: {stdout}");
    let of_others = |line: &&str| {
        let of_libtest = ["running 1 test", "test result: ok. 1 passed"].iter().any(|text| line.starts_with(text));
        !line.is_empty() && !of_libtest && *line != format!("test {this} ... ok")
    };
    assert_eq!(stdout.lines().filter(of_others).collect::<Vec<_>>(), [""; 0]);
}
