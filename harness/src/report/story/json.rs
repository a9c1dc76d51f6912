//! One request's story for programs.

use serde::Serialize;
use verifier::event::RequestOutcome;
use verifier::watch::{AbsentSpan, WatchedCase};
use verifier::{EventKind, FindingCode, RequestId, Span, Timestamp, TraceId, Verdict};

use super::layout::{millis, millis_between};
use super::words::{Names, Told, peer};
use crate::story::Story;
use crate::story::model::{Receipt, Row, StorySpan, What};

/// A story as JSON. Times are in milliseconds since the request was sent.
#[derive(Debug, Serialize)]
pub struct StoryJson<'a> {
    request: RequestId,
    number: u32,
    verdict: Verdict,
    settled: bool,
    run: &'a str,
    system: &'a str,
    scenario: &'a str,
    seed: u64,
    faults: &'a [String],
    /// When the request was sent, in nanoseconds since the Unix epoch.
    began: Timestamp,
    outcome: Option<&'a RequestOutcome>,
    traces: Vec<TraceId>,
    findings: &'a [WatchedCase],
    rows: Vec<RowJson<'a>>,
    spans: Vec<SpanJson<'a>>,
    absent: &'a [AbsentSpan],
    left_out: LeftOutJson,
}

#[derive(Debug, Serialize)]
struct RowJson<'a> {
    at_ms: f64,
    who: String,
    text: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    codes: &'a [FindingCode],
    /// The ledger's row as the journal has it; the rows of telemetry have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a EventKind>,
}

#[derive(Debug, Serialize)]
struct SpanJson<'a> {
    depth: usize,
    start_ms: f64,
    duration_ms: f64,
    service: Option<&'a str>,
    matched_by: String,
    codes: &'a [FindingCode],
    received: Vec<ReceiptJson>,
    span: &'a Span,
}

#[derive(Debug, Serialize)]
struct ReceiptJson {
    at_ms: f64,
    export: u64,
    peer: String,
    stored: bool,
}

#[derive(Debug, Serialize)]
struct LeftOutJson {
    rows: u64,
    spans: u64,
}

impl<'a> StoryJson<'a> {
    /// The story as JSON.
    pub fn new(story: &'a Story) -> Self {
        let names = Names::new(story);
        Self {
            request: story.request,
            number: story.request.number(),
            verdict: story.judged.verdict(),
            settled: story.judged.settled,
            run: &story.run.run,
            system: &story.run.system,
            scenario: &story.run.scenario,
            seed: story.run.seed,
            faults: &story.run.faults,
            began: story.began,
            outcome: story.outcome.as_ref(),
            traces: story.traces(),
            findings: &story.judged.cases,
            rows: story.rows.iter().map(|row| RowJson::new(row, names.tell(row), story.began)).collect(),
            spans: story.spans.iter().map(|span| SpanJson::new(span, story.began)).collect(),
            absent: &story.absent,
            left_out: LeftOutJson { rows: story.left_out.rows, spans: story.left_out.spans },
        }
    }

    /// As text, with a line feed at its end.
    ///
    /// # Errors
    /// Those of the serialiser; there should be none.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

impl<'a> RowJson<'a> {
    fn new(row: &'a Row, told: Told, began: Timestamp) -> Self {
        let event = match &row.what {
            What::Ledger(kind) => Some(&**kind),
            What::SpanStarted(_) | What::SpanEnded(_) | What::Exported(_) => None,
        };
        Self { at_ms: millis_between(began, row.at), who: told.who, text: told.text, codes: &row.codes, event }
    }
}

impl<'a> SpanJson<'a> {
    fn new(seen: &'a StorySpan, began: Timestamp) -> Self {
        let receipt = |receipt: &Receipt| ReceiptJson {
            at_ms: millis_between(began, receipt.at),
            export: receipt.export,
            peer: peer(&receipt.peer),
            stored: receipt.stored,
        };
        Self {
            depth: seen.depth,
            start_ms: millis_between(began, seen.span.start),
            duration_ms: millis(seen.span.end.since(seen.span.start)),
            service: seen.service.as_deref(),
            matched_by: seen.matched_by.in_words(),
            codes: &seen.codes,
            received: seen.receipts.iter().map(receipt).collect(),
            span: &seen.span,
        }
    }
}
