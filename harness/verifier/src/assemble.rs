//! Which span belongs to which request, and by which key that was found.
//!
//! The request id comes first and the trace id late: a trace id is an observation, so two of them for one
//! request are seen as what they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cause::Cause;
use crate::event::Peer;
use crate::id::{EnvironmentId, RequestId, SpanId, TraceId};
use crate::processes::Cycle;
use crate::roles::{Part, RoleId};
use crate::span::SpanKind;
use crate::time::Timestamp;

/// A span that was seen, as far as the rules ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenSpan {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// What it is to the contract, by its service and name.
    pub(crate) part: Part,
    pub(crate) service: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) kind: SpanKind,
    /// OTLP's flags.
    pub(crate) flags: u32,
    /// Whether its status is an error.
    pub(crate) failed: bool,
    pub(crate) links: Vec<(TraceId, SpanId)>,
    pub(crate) peer: Arc<Peer>,
    /// The stretch that its peer's life was in when it came.
    pub(crate) cycle: Cycle,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) received: Timestamp,
    /// Whether the endpoint kept it.
    pub(crate) stored: bool,
    /// Why not, if it did not.
    pub(crate) refusal: Option<Cause>,
    /// Whether something that fails a run is wrong with what it says of itself.
    pub(crate) flawed: bool,
    /// A fingerprint of all that it says.
    pub(crate) content: u64,
    /// The request that it names itself.
    pub(crate) names: Option<RequestId>,
}

impl SeenSpan {
    /// Its trace id and span id: what identifies it.
    pub(crate) const fn key(&self) -> (TraceId, SpanId) {
        (self.trace_id, self.span_id)
    }

    /// The environment that exported it, if it was one.
    pub(crate) fn environment(&self) -> Option<&EnvironmentId> {
        match &*self.peer {
            Peer::Environment(environment) => Some(environment),
            Peer::Service(_) | Peer::Anyone => None,
        }
    }

    /// Its role in the contract, if its service and name have one.
    pub(crate) const fn role(&self) -> Option<RoleId> {
        match self.part {
            Part::Role(role) => Some(role),
            _ => None,
        }
    }

    /// Whether it comes from a service of the contract that does not name it.
    pub(crate) const fn is_unnamed(&self) -> bool {
        matches!(self.part, Part::Unnamed(_))
    }

    /// The trace by which its request may be known: that of what it links to, for a span that begins a trace
    /// of its own, or its own.
    pub(crate) fn known_by(&self) -> TraceId {
        let linked = self.links.first().filter(|_| self.parent.is_none());
        linked.map_or(self.trace_id, |(trace, _)| *trace)
    }
}

/// The key by which a span was found to belong to its request, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MatchedBy {
    /// The span names the request in an attribute.
    RequestId,
    /// The span names a message of the request in an attribute.
    MessageId,
    /// The span names an invocation that worked for the request alone.
    InvocationId,
    /// The span's trace is the one that the request's messages carry, or its answer names.
    TraceId,
    /// The span links to such a trace.
    Link,
    /// The span came from an environment while it worked for the request alone.
    Environment,
}

impl MatchedBy {
    /// The key in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequestId => "request id",
            Self::MessageId => "message id",
            Self::InvocationId => "invocation id",
            Self::TraceId => "trace id",
            Self::Link => "link",
            Self::Environment => "environment",
        }
    }
}

/// A span of a request, and how that was found.
#[derive(Debug, Clone)]
pub(crate) struct AssembledSpan {
    pub(crate) span: SeenSpan,
    pub(crate) matched_by: MatchedBy,
}

/// Who says that a trace belongs to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClaimedBy {
    /// A span that was found to be the request's by another key.
    Span,
    /// The ledger: a message's carrier, or the request's answer.
    Ledger,
}

/// The spans of all open requests, and those whose request is not known yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assembly {
    spans: HashMap<RequestId, Vec<AssembledSpan>>,
    /// The request of each trace that is known; the first to claim a trace has it, the ledger before spans.
    traces: HashMap<TraceId, (ClaimedBy, RequestId)>,
    /// By the traces that their requests may be known by.
    unassigned: BTreeMap<TraceId, Vec<SeenSpan>>,
}

impl Assembly {
    /// Notes that a trace belongs to a request. Answers the spans that have waited for that.
    pub(crate) fn bind(&mut self, trace: TraceId, request: RequestId, by: ClaimedBy) -> Vec<SeenSpan> {
        let claim = self.traces.entry(trace).or_insert((by, request));
        if claim.0 < by {
            *claim = (by, request);
        }
        if claim.1 == request { self.unassigned.remove(&trace).unwrap_or_default() } else { Vec::new() }
    }

    /// The request that a trace belongs to.
    pub(crate) fn request_of(&self, trace: TraceId) -> Option<RequestId> {
        self.traces.get(&trace).map(|(_, request)| *request)
    }

    /// Gives a span to an open request.
    pub(crate) fn assign(&mut self, request: RequestId, span: SeenSpan, matched_by: MatchedBy) {
        self.spans.entry(request).or_default().push(AssembledSpan { span, matched_by });
    }

    /// Keeps a span until its request is known.
    pub(crate) fn keep(&mut self, span: SeenSpan) {
        self.unassigned.entry(span.known_by()).or_default().push(span);
    }

    /// A span that waits for its request to be known and has the same ids.
    pub(crate) fn kept_twin(&self, span: &SeenSpan) -> Option<&SeenSpan> {
        self.unassigned.get(&span.known_by())?.iter().find(|kept| kept.key() == span.key())
    }

    /// The spans of an open request.
    pub(crate) fn spans_of(&self, request: RequestId) -> &[AssembledSpan] {
        self.spans.get(&request).map_or(&[], Vec::as_slice)
    }

    /// How many stored spans are kept: of open requests, and of those that are not known yet.
    pub(crate) fn kept(&self) -> usize {
        let of_requests = self.spans.values().flatten().filter(|span| span.span.stored).count();
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
