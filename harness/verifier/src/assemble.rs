//! Which span belongs to which request, and by which key that was found.
//!
//! The request id comes first and the trace id second: a trace id is an observation, so two of them
//! for one request are seen as what they are.

use std::collections::{BTreeMap, HashMap};

use crate::event::{ExportAnswer, Peer};
use crate::id::{RequestId, SpanId, TraceId};
use crate::processes::Cycle;
use crate::roles::RoleId;
use crate::span::SpanKind;
use crate::time::Timestamp;

/// A span that was seen, as far as the rules ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenSpan {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// Its role in the contract, if its service and name have one.
    pub(crate) role: Option<RoleId>,
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) peer: Peer,
    /// The stretch that its peer's life was in when it came.
    pub(crate) cycle: Cycle,
    pub(crate) end: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) answer: ExportAnswer,
    /// The request that it names itself.
    pub(crate) names: Option<RequestId>,
}

impl SeenSpan {
    /// Whether the endpoint kept it.
    pub(crate) fn is_stored(&self) -> bool {
        self.answer == ExportAnswer::Stored
    }

    /// Whether both are the same span.
    pub(crate) fn is_again(&self, other: &Self) -> bool {
        (self.trace_id, self.span_id) == (other.trace_id, other.span_id)
    }
}

/// The key by which a span was found to belong to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MatchedBy {
    /// The span names the request in an attribute.
    RequestId,
    /// The span's trace is the one that the request's messages carry, or its answer names.
    TraceId,
    /// The span came from an environment while it worked for the request alone.
    Invocation,
}

impl MatchedBy {
    /// The key in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequestId => "request id",
            Self::TraceId => "trace id",
            Self::Invocation => "invocation",
        }
    }
}

/// A span of a request, and how that was found.
#[derive(Debug, Clone)]
pub(crate) struct AssembledSpan {
    pub(crate) span: SeenSpan,
    pub(crate) matched_by: MatchedBy,
}

/// The spans of all open requests, and those whose request is not known yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assembly {
    spans: HashMap<RequestId, Vec<AssembledSpan>>,
    /// The request of each trace that is known; the first to claim a trace has it.
    traces: HashMap<TraceId, RequestId>,
    unassigned: BTreeMap<TraceId, Vec<SeenSpan>>,
}

impl Assembly {
    /// Notes that a trace belongs to a request. Answers the spans that have waited for that.
    pub(crate) fn bind(&mut self, trace: TraceId, request: RequestId) -> Vec<SeenSpan> {
        if *self.traces.entry(trace).or_insert(request) != request {
            return Vec::new();
        }
        self.unassigned.remove(&trace).unwrap_or_default()
    }

    /// The request that a trace belongs to.
    pub(crate) fn request_of(&self, trace: TraceId) -> Option<RequestId> {
        self.traces.get(&trace).copied()
    }

    /// Gives a span to an open request.
    pub(crate) fn assign(&mut self, request: RequestId, span: SeenSpan, matched_by: MatchedBy) {
        self.spans.entry(request).or_default().push(AssembledSpan { span, matched_by });
    }

    /// Keeps a span until its request is known.
    pub(crate) fn keep(&mut self, span: SeenSpan) {
        self.unassigned.entry(span.trace_id).or_default().push(span);
    }

    /// The spans of an open request.
    pub(crate) fn spans_of(&self, request: RequestId) -> &[AssembledSpan] {
        self.spans.get(&request).map_or(&[], Vec::as_slice)
    }

    /// How many stored spans are kept: of open requests, and of those that are not known yet.
    pub(crate) fn kept(&self) -> usize {
        let of_requests = self.spans.values().flatten().filter(|span| span.span.is_stored()).count();
        of_requests + self.unassigned.values().map(Vec::len).sum::<usize>()
    }

    /// Takes a request's spans out.
    pub(crate) fn close(&mut self, request: RequestId) -> Vec<AssembledSpan> {
        self.spans.remove(&request).unwrap_or_default()
    }

    /// Forgets a trace of a request that is not remembered any more.
    pub(crate) fn forget(&mut self, trace: TraceId, request: RequestId) {
        if self.request_of(trace) == Some(request) {
            self.traces.remove(&trace);
        }
    }

    /// Takes out the spans that have waited since before `instant` for their request to be known.
    pub(crate) fn give_up(&mut self, instant: Timestamp) -> Vec<SeenSpan> {
        let mut given_up = Vec::new();
        self.unassigned.retain(|_, spans| {
            given_up.extend(spans.extract_if(.., |span| span.received < instant));
            !spans.is_empty()
        });
        given_up
    }
}
