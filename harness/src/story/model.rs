//! The story of one request: what happened, in the order of time, and its spans.

use verifier::event::{ExportAnswer, Peer, RequestOutcome, RunStarted};
use verifier::watch::{AbsentSpan, Watched};
use verifier::{EventKind, FindingCode, RequestId, Span, SpanId, Timestamp, TraceId};

/// Everything that a journal tells of one request.
#[derive(Debug, Clone)]
pub struct Story {
    /// The request.
    pub request: RequestId,
    /// How its run was set up.
    pub run: RunStarted,
    /// When it was sent: where the time line begins.
    pub began: Timestamp,
    /// How it ended, if it did.
    pub outcome: Option<RequestOutcome>,
    /// What the verifier found about it.
    pub judged: Watched,
    /// What happened, in the order of time.
    pub rows: Vec<Row>,
    /// Its spans, each of them once, parents before their children.
    pub spans: Vec<StorySpan>,
    /// The spans that should be there and are not.
    pub absent: Vec<AbsentSpan>,
    /// What was not kept because there is too much of it.
    pub left_out: LeftOut,
}

/// How much of a story was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Rows.
    pub rows: u64,
    /// Spans.
    pub spans: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When; that of a span's start or end is by the clock of the process that made it.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// What is wrong with it.
    pub codes: Vec<FindingCode>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A row of the ledger, as the journal has it.
    Ledger(Box<EventKind>),
    /// A span started.
    SpanStarted(SpanKey),
    /// A span ended.
    SpanEnded(SpanKey),
    /// An export with spans of the request reached the endpoint and was answered.
    Exported(ExportSeen),
}

/// An export, as far as it is about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSeen {
    /// Its number at the endpoint, counted from 0.
    pub export: u64,
    /// Who sent it.
    pub peer: Peer,
    /// What the endpoint answered.
    pub answer: ExportAnswer,
    /// The request's spans in it.
    pub spans: Vec<SpanKey>,
    /// How many other spans it holds.
    pub others: usize,
}

/// What makes two spans the same span.
pub type SpanKey = (TraceId, SpanId);

/// A span of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorySpan {
    /// The span as it was exported.
    pub span: Span,
    /// Its resource's `service.name`, if it has one.
    pub service: Option<String>,
    /// How it was found to be the request's.
    pub matched_by: MatchedBy,
    /// The times that it was received, the first one first.
    pub receipts: Vec<Receipt>,
    /// How deep it stands in the tree: 0 for a root, or a span whose parent is not in the story.
    pub depth: usize,
    /// What is wrong with it.
    pub codes: Vec<FindingCode>,
}

impl StorySpan {
    /// What makes it the same span as another.
    pub fn key(&self) -> SpanKey {
        (self.span.trace_id, self.span.span_id)
    }

    /// The receipt that counts: the first one that was stored, if any was.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipts.iter().find(|receipt| receipt.stored).or(self.receipts.first())
    }
}

/// One time that a span was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// When.
    pub at: Timestamp,
    /// The number of its export at the endpoint.
    pub export: u64,
    /// Who sent it.
    pub peer: Peer,
    /// Whether the endpoint kept it.
    pub stored: bool,
}

/// How a span was found to be the request's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchedBy {
    /// By the verifier, with this key.
    Verifier(String),
    /// It names the request in an attribute.
    RequestId,
    /// It names one of the request's messages in an attribute.
    MessageId,
    /// It names an invocation that one of the request's messages was delivered to, in an attribute.
    InvocationId,
    /// It is in a trace of the request.
    TraceId,
    /// It links to a trace of the request.
    Link,
    /// It is in a trace of the request, and names another one.
    OtherRequest(RequestId),
}

impl MatchedBy {
    /// The key in words.
    pub fn in_words(&self) -> String {
        match self {
            Self::Verifier(key) => key.clone(),
            Self::RequestId => "request id".to_owned(),
            Self::MessageId => "message id".to_owned(),
            Self::InvocationId => "invocation id".to_owned(),
            Self::TraceId => "trace id".to_owned(),
            Self::Link => "link".to_owned(),
            Self::OtherRequest(request) => format!("trace id; names request {request}"),
        }
    }
}

impl Story {
    /// The traces that its spans are in, in the order in which they show.
    pub fn traces(&self) -> Vec<TraceId> {
        let mut traces: Vec<TraceId> = Vec::new();
        for span in &self.spans {
            if !traces.contains(&span.span.trace_id) {
                traces.push(span.span.trace_id);
            }
        }
        traces
    }

    /// The span with this key.
    pub fn span(&self, key: SpanKey) -> Option<&StorySpan> {
        self.spans.iter().find(|span| span.key() == key)
    }
}
