//! What ties an event or a span to the request.

use std::collections::{BTreeMap, BTreeSet};

use verifier::event::{Carrier, Correlation, Delivery, Export, Fault, RequestOutcome};
use verifier::watch::Watched;
use verifier::{EnvironmentId, Event, EventKind, InvocationId, MessageId, RequestId, Span, TraceId};

use super::model::{MatchedBy, SpanKey};

/// Everything by which something can be known to belong to one request. It grows while a journal is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    request: RequestId,
    correlation: Correlation,
    traces: BTreeSet<TraceId>,
    /// Traces that it may share with others whose messages were delivered together with its own.
    shared_traces: BTreeSet<TraceId>,
    /// Its messages, and the queues that they were sent to.
    messages: BTreeMap<MessageId, String>,
    /// The invocations that its messages were delivered to, and where they ran.
    invocations: BTreeMap<InvocationId, EnvironmentId>,
    /// Messages of other requests that were delivered to the same invocations.
    batch_mates: BTreeSet<MessageId>,
    /// The traces that those carry.
    foreign_traces: BTreeSet<TraceId>,
    /// The keys by which the verifier has found spans to be the request's.
    judged: BTreeMap<SpanKey, String>,
}

impl Keys {
    /// The keys of a request of which nothing is known yet.
    pub fn new(request: RequestId) -> Self {
        Self {
            request,
            correlation: Correlation::default(),
            traces: BTreeSet::new(),
            shared_traces: BTreeSet::new(),
            messages: BTreeMap::new(),
            invocations: BTreeMap::new(),
            batch_mates: BTreeSet::new(),
            foreign_traces: BTreeSet::new(),
            judged: BTreeMap::new(),
        }
    }

    /// Learns what an event tells of the request.
    pub fn learn(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted(run) => self.correlation = run.correlation.clone(),
            EventKind::RequestFinished { request, outcome, .. } if *request == self.request => {
                self.learn_trace(answered_trace(outcome));
            }
            EventKind::MessageSent { queue, message, request, carrier } => {
                self.learn_message(queue, message, *request, carrier);
            }
            EventKind::InvocationStarted { invocation, environment, deliveries, .. } => {
                self.learn_invocation(invocation, environment, deliveries);
            }
            EventKind::ExportAnswered(export) => self.learn_export(export),
            _ => {}
        }
    }

    /// Learns what the verifier has found.
    pub fn learn_judged(&mut self, watched: &Watched) {
        for span in &watched.spans {
            self.judged.insert((span.trace_id, span.span_id), span.matched_by.clone());
            self.learn_seen_trace(span.trace_id);
        }
    }

    fn learn_trace(&mut self, trace: Option<TraceId>) {
        self.traces.extend(trace.filter(|trace| trace.is_valid()));
    }

    fn learn_message(&mut self, queue: &str, id: &MessageId, request: Option<RequestId>, carrier: &Carrier) {
        let trace = carried_trace(carrier);
        let is_own = match request {
            Some(request) => request == self.request,
            None => trace.is_some_and(|trace| self.traces.contains(&trace)),
        };
        if is_own {
            self.messages.insert(id.clone(), queue.to_owned());
            self.learn_trace(trace);
        } else if self.batch_mates.contains(id) {
            self.foreign_traces.extend(trace);
        }
    }

    fn learn_invocation(&mut self, id: &InvocationId, environment: &EnvironmentId, deliveries: &[Delivery]) {
        if !deliveries.iter().any(|delivery| self.has_message(&delivery.message)) {
            return;
        }
        self.invocations.insert(id.clone(), environment.clone());
        let mates = deliveries.iter().map(|delivery| &delivery.message);
        self.batch_mates.extend(mates.filter(|message| !self.messages.contains_key(*message)).cloned());
    }

    fn learn_export(&mut self, export: &Export) {
        for span in export.payload.to_resource_spans().iter().flat_map(|batch| &batch.spans) {
            match self.tie(span) {
                None | Some(MatchedBy::TraceId | MatchedBy::OtherRequest(_)) => {}
                Some(_) => self.learn_seen_trace(span.trace_id),
            }
        }
    }

    /// A span of the request is in this trace. If nobody has promised that, and messages of others were delivered
    /// together with its own, the trace may be the whole batch's.
    fn learn_seen_trace(&mut self, trace: TraceId) {
        if self.batch_mates.is_empty() {
            self.learn_trace(Some(trace));
        } else {
            self.shared_traces.insert(trace);
        }
    }

    /// How a span is found to be a part of the request's story, if it is.
    pub fn tie(&self, span: &Span) -> Option<MatchedBy> {
        if let Some(key) = self.judged.get(&(span.trace_id, span.span_id)) {
            return Some(MatchedBy::Verifier(key.clone()));
        }
        let in_trace = self.traces.contains(&span.trace_id);
        match self.named_request(span) {
            Some(request) if request == self.request => return Some(MatchedBy::RequestId),
            Some(request) => return in_trace.then_some(MatchedBy::OtherRequest(request)),
            None => {}
        }
        self.tie_by_message(span)
            .or_else(|| self.tie_by_invocation(span))
            .or_else(|| in_trace.then_some(MatchedBy::TraceId))
            .or_else(|| self.tie_to_a_batch(span))
    }

    /// The request that a span names. One of another run is none.
    fn named_request(&self, span: &Span) -> Option<RequestId> {
        let named = self.correlation.request.iter().filter_map(|key| span.attribute(key));
        named.filter_map(RequestId::find_in).find(|request| request.run() == self.request.run())
    }

    fn tie_by_message(&self, span: &Span) -> Option<MatchedBy> {
        let mut named = self.correlation.message.iter().filter_map(|key| span.attribute(key));
        named.any(|id| self.has_message(&MessageId::new(id))).then_some(MatchedBy::MessageId)
    }

    fn tie_by_invocation(&self, span: &Span) -> Option<MatchedBy> {
        let mut named = self.correlation.invocation.iter().filter_map(|key| span.attribute(key));
        let is_own = named.any(|id| self.has_invocation(&InvocationId::new(id)));
        (is_own && !self.is_a_batch_mates(span)).then_some(MatchedBy::InvocationId)
    }

    /// A span for a whole batch links to the traces of its messages; its children are in its own trace.
    fn tie_to_a_batch(&self, span: &Span) -> Option<MatchedBy> {
        if self.is_a_batch_mates(span) {
            return None;
        }
        let links = span.links.iter().any(|link| self.traces.contains(&link.trace_id));
        let shares = self.shared_traces.contains(&span.trace_id);
        links.then_some(MatchedBy::Link).or(shares.then_some(MatchedBy::TraceId))
    }

    /// Whether a span is for another message of the same batch.
    fn is_a_batch_mates(&self, span: &Span) -> bool {
        let mut named = self.correlation.message.iter().filter_map(|key| span.attribute(key));
        let in_foreign_trace = self.foreign_traces.contains(&span.trace_id) && !self.traces.contains(&span.trace_id);
        in_foreign_trace || named.any(|id| self.batch_mates.contains(&MessageId::new(id)))
    }

    /// The request.
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// Whether this is a message of the request.
    pub fn has_message(&self, message: &MessageId) -> bool {
        self.messages.contains_key(message)
    }

    /// The queue that a message of the request was sent to.
    pub fn queue_of(&self, message: &MessageId) -> Option<&str> {
        self.messages.get(message).map(String::as_str)
    }

    /// Whether a message of the request was delivered to this invocation.
    pub fn has_invocation(&self, invocation: &InvocationId) -> bool {
        self.invocations.contains_key(invocation)
    }

    /// Where an invocation ran that a message of the request was delivered to.
    pub fn environment_of(&self, invocation: &InvocationId) -> Option<&EnvironmentId> {
        self.invocations.get(invocation)
    }

    /// Whether a message of the request was delivered to this environment.
    pub fn has_environment(&self, environment: &EnvironmentId) -> bool {
        self.invocations.values().any(|known| known == environment)
    }

    /// Whether a fault was done to a message of the request.
    pub fn is_hit_by(&self, fault: &Fault) -> bool {
        match fault {
            Fault::ContextStripped { message } | Fault::BodyCorrupted { message } => self.has_message(message),
            _ => false,
        }
    }
}

fn answered_trace(outcome: &RequestOutcome) -> Option<TraceId> {
    match outcome {
        RequestOutcome::Answered { trace_id, .. } => *trace_id,
        RequestOutcome::Unanswered { .. } => None,
    }
}

/// The trace id in a carrier's `traceparent` (W3C Trace Context § 3.2.2), as far as it can be read.
fn carried_trace(carrier: &Carrier) -> Option<TraceId> {
    carrier.traceparent.as_deref()?.split('-').nth(1)?.parse().ok()
}
