//! A journal as defects see it: its spans with their roles, and what can be done to it.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use verifier::contract::{NameRule, Per, SpanContract, TraceContract};
use verifier::event::{Export, ExportAnswer, Peer, RequestOutcome};
use verifier::otlp::Payload;
use verifier::span::{Resource, ResourceSpans};
use verifier::{EnvironmentId, Event, EventKind, MessageId, RequestId, Span, TraceId};

use super::dice::Dice;
use super::spans::{Key, attribute};
use super::system::REQUEST_KEY;

/// Where a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) event: usize,
    pub(crate) resource: usize,
    pub(crate) span: usize,
}

/// A span in its role.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) role: String,
    pub(crate) contract: SpanContract,
    pub(crate) peer: Peer,
    /// The accepted request that it is for; none, if it is for no single one.
    pub(crate) request: Option<RequestId>,
}

impl Seen {
    pub(crate) fn key(&self) -> Key {
        (self.span.trace_id, self.span.span_id)
    }

    pub(crate) fn parent(&self) -> Option<Key> {
        Some((self.span.trace_id, self.span.parent_span_id?))
    }

    pub(crate) fn environment(&self) -> Option<&EnvironmentId> {
        match &self.peer {
            Peer::Environment(environment) => Some(environment),
            _ => None,
        }
    }
}

/// An invocation's events.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) environment: EnvironmentId,
    pub(crate) started: usize,
    pub(crate) finished: usize,
    pub(crate) messages: Vec<MessageId>,
}

/// What a journal holds, as long as it is not changed.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) contract: TraceContract,
    pub(crate) spans: Vec<Seen>,
    /// The spans without a role, by their traces.
    pub(crate) others: Vec<(TraceId, Place)>,
    pub(crate) invocations: Vec<Invocation>,
    /// Accepted requests with their traces.
    pub(crate) traces: BTreeMap<RequestId, TraceId>,
    /// What messages carry, by the places of the events of their sending.
    pub(crate) carriers: Vec<(usize, MessageId, Key)>,
}

impl Journal {
    pub(crate) fn read(events: &[Event]) -> Self {
        let EventKind::RunStarted(run) = &events[0].kind else { panic!("the first event of a journal") };
        let mut journal = Self {
            contract: run.contract.clone(),
            spans: Vec::new(),
            others: Vec::new(),
            invocations: Vec::new(),
            traces: BTreeMap::new(),
            carriers: Vec::new(),
        };
        events.iter().enumerate().for_each(|(place, event)| journal.read_event(place, &event.kind));
        journal.find_requests();
        journal.find_ends(events);
        journal
    }

    fn find_ends(&mut self, events: &[Event]) {
        for invocation in &mut self.invocations {
            let EventKind::InvocationStarted { invocation: own, .. } = &events[invocation.started].kind else {
                continue;
            };
            let is_end = |event: &Event| match &event.kind {
                EventKind::InvocationFinished { invocation, .. } => invocation == own,
                _ => false,
            };
            invocation.finished = events.iter().position(is_end).unwrap_or(events.len());
        }
    }

    fn read_event(&mut self, place: usize, kind: &EventKind) {
        match kind {
            EventKind::RequestFinished {
                request,
                outcome: RequestOutcome::Answered { trace_id: Some(trace), .. },
                ..
            } => _ = self.traces.insert(*request, *trace),
            EventKind::MessageSent { message, carrier, .. } => {
                let carried = carrier.traceparent.as_deref().and_then(read_traceparent);
                self.carriers.extend(carried.map(|carried| (place, message.clone(), carried)));
            }
            EventKind::InvocationStarted { environment, deliveries, .. } => {
                let messages = deliveries.iter().map(|delivery| delivery.message.clone()).collect();
                let environment = environment.clone();
                self.invocations.push(Invocation { environment, started: place, finished: place, messages });
            }
            EventKind::ExportAnswered(export) => self.read_export(place, export),
            _ => {}
        }
    }

    fn read_export(&mut self, event: usize, export: &Export) {
        for (resource, batch) in export.payload.to_resource_spans().into_iter().enumerate() {
            let service = batch.resource.service_name().unwrap_or_default().to_owned();
            for (number, span) in batch.spans.into_iter().enumerate() {
                let place = Place { event, resource, span: number };
                let Some((role, contract)) = role_of(&self.contract, &service, &span.name) else {
                    self.others.push((span.trace_id, place));
                    continue;
                };
                let (peer, contract) = (export.peer.clone(), contract.clone());
                self.spans.push(Seen { place, span, role: role.clone(), contract, peer, request: None });
            }
        }
    }

    /// Finds out which request each span is for, by its trace, its links and what is below it.
    fn find_requests(&mut self) {
        let of_trace: BTreeMap<_, _> = self.traces.iter().map(|(request, trace)| (*trace, *request)).collect();
        for seen in &mut self.spans {
            let by_trace = of_trace.get(&seen.span.trace_id);
            let by_link = seen.span.links.first().and_then(|link| of_trace.get(&link.trace_id));
            let by_name = seen.span.attribute(REQUEST_KEY).and_then(RequestId::find_in);
            let by_name = by_name.filter(|request| self.traces.contains_key(request));
            let is_of_request = matches!(seen.contract.per, Per::Request | Per::Message | Per::Delivery);
            seen.request = by_trace.or(by_link).copied().or(by_name).filter(|_| is_of_request);
        }
    }

    /// The spans that a test accepts.
    pub(crate) fn having(&self, is_wanted: impl Fn(&Seen) -> bool) -> Vec<&Seen> {
        self.spans.iter().filter(|seen| is_wanted(seen)).collect()
    }

    /// One of the spans that a test accepts.
    pub(crate) fn any(&self, dice: &mut Dice, is_wanted: impl Fn(&Seen) -> bool) -> Option<&Seen> {
        let wanted = self.having(is_wanted);
        dice.place(wanted.len()).map(|place| wanted[place])
    }

    pub(crate) fn find(&self, key: Key) -> Option<&Seen> {
        self.spans.iter().find(|seen| seen.key() == key)
    }

    pub(crate) fn children(&self, key: Key) -> impl Iterator<Item = &Seen> {
        self.spans.iter().filter(move |seen| seen.parent() == Some(key))
    }

    /// Whether nothing hangs below a span, no message carries it, and nothing links to it.
    pub(crate) fn is_leaf(&self, seen: &Seen) -> bool {
        let key = seen.key();
        self.children(key).next().is_none() && !self.carriers.iter().any(|(_, _, carried)| *carried == key)
    }

    /// A span of an accepted request below which nothing hangs.
    pub(crate) fn any_leaf(&self, dice: &mut Dice, is_wanted: impl Fn(&Seen) -> bool) -> Option<&Seen> {
        self.any(dice, |seen| seen.request.is_some() && self.is_leaf(seen) && is_wanted(seen))
    }

    /// All spans below a span, and itself.
    pub(crate) fn subtree(&self, key: Key) -> Vec<&Seen> {
        let mut found: Vec<_> = self.find(key).into_iter().collect();
        let mut next = 0;
        while next < found.len() {
            let below: Vec<_> = self.children(found[next].key()).collect();
            found.extend(below);
            next += 1;
        }
        found
    }

    /// The spans that an environment exported within an invocation of its.
    pub(crate) fn exported_in<'a>(&'a self, invocation: &'a Invocation) -> impl Iterator<Item = &'a Seen> {
        self.spans.iter().filter(|seen| {
            let within = invocation.started < seen.place.event && seen.place.event < invocation.finished;
            within && seen.environment() == Some(&invocation.environment)
        })
    }

    /// The invocations of each environment, in order.
    pub(crate) fn lives(&self) -> BTreeMap<EnvironmentId, Vec<&Invocation>> {
        let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for invocation in &self.invocations {
            lives.entry(invocation.environment.clone()).or_default().push(invocation);
        }
        lives
    }
}

fn role_of<'a>(contract: &'a TraceContract, service: &str, name: &str) -> Option<(&'a String, &'a SpanContract)> {
    contract.spans.iter().find(|(_, span)| {
        let is_named = match &span.name {
            NameRule::Exact(exact) => exact == name,
            NameRule::Pattern(pattern) => Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(name),
        };
        span.service == service && is_named
    })
}

fn read_traceparent(text: &str) -> Option<Key> {
    let mut parts = text.split('-').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The export of an event.
pub(crate) fn export_mut(event: &mut Event) -> Option<&mut Export> {
    match &mut event.kind {
        EventKind::ExportAnswered(export) => Some(export),
        _ => None,
    }
}

/// Changes what an export holds.
pub(crate) fn change_batches(event: &mut Event, change: impl FnOnce(&mut Vec<ResourceSpans>)) {
    let export = export_mut(event).unwrap();
    let mut batches = export.payload.to_resource_spans();
    change(&mut batches);
    export.payload = Payload::of(&batches);
}

/// Changes a span.
pub(crate) fn change(events: &mut [Event], place: Place, change: impl FnOnce(&mut Span)) {
    change_batches(&mut events[place.event], |batches| change(&mut batches[place.resource].spans[place.span]));
}

/// Changes what the process says of itself that made a span.
pub(crate) fn change_resource(events: &mut [Event], place: Place, change: impl FnOnce(&mut Resource)) {
    change_batches(&mut events[place.event], |batches| change(&mut batches[place.resource].resource));
}

/// Adds a span beside another.
pub(crate) fn add(events: &mut [Event], place: Place, span: Span) {
    change_batches(&mut events[place.event], |batches| batches[place.resource].spans.push(span));
}

/// Drops spans.
pub(crate) fn drop_spans(events: &mut [Event], mut places: Vec<Place>) {
    places.sort_unstable();
    for place in places.into_iter().rev() {
        change_batches(&mut events[place.event], |batches| _ = batches[place.resource].spans.remove(place.span));
    }
}

/// Lets a span say which request it is for.
pub(crate) fn name_request(span: &mut Span, request: RequestId) {
    span.attributes.retain(|attribute| attribute.key != REQUEST_KEY);
    span.attributes.push(attribute(REQUEST_KEY, request.to_string()));
}

/// Lets time pass before the last event, with its ticks. Answers the place of that event.
pub(crate) fn pause(events: &mut Vec<Event>, duration: Duration) -> usize {
    let mut last = events.pop().unwrap();
    let end = last.at + duration;
    while last.at < end {
        last.at = last.at + Duration::from_millis(100);
        events.push(Event { at: last.at, kind: EventKind::Ticked });
    }
    events.push(last);
    events.len() - 1
}

/// Moves an event to another place, when it happens at the time of the one before that.
pub(crate) fn postpone(events: &mut Vec<Event>, from: usize, to: usize) {
    let mut event = events.remove(from);
    event.at = events[to - 2].at;
    events.insert(to - 1, event);
}

/// An export with one span, from anybody.
pub(crate) fn export_of(at: &Event, peer: Peer, service: &str, span: Span) -> Event {
    let resource = Resource { attributes: vec![attribute("service.name", service)] };
    let payload = Payload::of(&[ResourceSpans { resource, spans: vec![span] }]);
    let export = Export { export: u64::MAX, peer, answer: ExportAnswer::Stored, payload };
    Event { at: at.at, kind: EventKind::ExportAnswered(Box::new(export)) }
}
