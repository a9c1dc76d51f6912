//! The ledger: load, queue and function events, folded into one record per request.

use std::collections::{BTreeMap, HashMap};

use crate::event::{Carrier, Delivery, Event, EventKind, Fault, InvocationOutcome, Peer, RequestOutcome};
use crate::id::{EnvironmentId, InvocationId, MessageId, RequestId, TraceId};
use crate::processes::{Host, Processes};
use crate::time::Timestamp;
use crate::traceparent::TraceParent;

/// Everything that the ledger knows about one request.
#[derive(Debug, Clone)]
pub(crate) struct RequestRecord {
    /// How it ended.
    pub(crate) outcome: Option<RequestOutcome>,
    /// The messages that were queued for it.
    pub(crate) messages: Vec<MessageRecord>,
    /// How many messages for it a queue refused.
    pub(crate) refused_sends: u32,
    /// When its last row was written.
    pub(crate) last_row: Timestamp,
}

impl RequestRecord {
    fn new(started: Timestamp) -> Self {
        Self { outcome: None, messages: Vec::new(), refused_sends: 0, last_row: started }
    }

    /// Whether its answer promises a trace.
    pub(crate) fn accepted(&self) -> bool {
        matches!(self.outcome, Some(RequestOutcome::Answered { accepted: true, .. }))
    }

    /// The trace id in its answer.
    pub(crate) fn answered_trace(&self) -> Option<TraceId> {
        match self.outcome {
            Some(RequestOutcome::Answered { trace_id, .. }) => trace_id,
            _ => None,
        }
    }

    /// Whether the context that a message of it carries says that its trace is not sampled.
    pub(crate) fn is_sampled_out(&self) -> bool {
        self.messages.iter().filter_map(MessageRecord::traceparent).any(|parent| !parent.sampled)
    }

    /// Whether every row of it is terminal, and no further one can be expected.
    pub(crate) fn is_over_for_good(&self) -> bool {
        self.is_over() && !self.messages.iter().any(MessageRecord::is_in_hand)
    }

    /// Whether every row of it is terminal.
    pub(crate) fn is_over(&self) -> bool {
        self.outcome.is_some() && self.messages.iter().all(MessageRecord::is_over)
    }
}

/// Everything that the ledger knows about one message.
#[derive(Debug, Clone)]
pub(crate) struct MessageRecord {
    pub(crate) message: MessageId,
    /// The queue that accepted it.
    pub(crate) queue: Box<str>,
    /// When that was.
    pub(crate) sent: Timestamp,
    /// The trace context as its sender attached it.
    pub(crate) carrier: Carrier,
    /// Whether the harness dropped that context on purpose.
    pub(crate) stripped: bool,
    /// Whether the harness spoilt its body on purpose.
    pub(crate) corrupted: bool,
    /// Whether it may have been received for a function that could not take it, through no fault of its
    /// own: no concurrency was left, or its environment was killed on order.
    pub(crate) turned_away: bool,
    /// How often somebody has received it from its queue.
    receipts: usize,
    pub(crate) deliveries: Vec<DeliveryRecord>,
    /// How it left the queue.
    pub(crate) end: Option<MessageEnd>,
}

impl MessageRecord {
    /// Its trace context, if it carries a valid one.
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        self.carrier.traceparent.as_deref()?.parse().ok()
    }

    /// Whether a function may still be given what somebody has received: a copy that waits for longer than its
    /// visibility time-out is overtaken by the next. What a service received and deleted was for no function.
    fn is_in_hand(&self) -> bool {
        let is_for_a_function = !self.deliveries.is_empty() || self.end != Some(MessageEnd::Deleted);
        is_for_a_function && self.receipts > self.deliveries.len()
    }

    fn is_over(&self) -> bool {
        self.end.is_some() && self.deliveries.iter().all(|delivery| delivery.end.is_some())
    }
}

/// How a message left its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageEnd {
    Deleted,
    DeadLettered,
}

/// One time that a message was handed to a function.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryRecord {
    pub(crate) invocation: InvocationId,
    pub(crate) host: Host,
    /// When it was handed over; nothing can have come of it before.
    pub(crate) started: Timestamp,
    pub(crate) receive_count: u32,
    /// Whether the scenario ordered a kill of its environment in its very invocation.
    pub(crate) killed: bool,
    /// Whether a connection to the endpoint was still being made when its environment was frozen.
    pub(crate) connecting: bool,
    /// How its invocation ended.
    pub(crate) end: Option<DeliveryEnd>,
    /// When that was.
    pub(crate) ended: Timestamp,
    /// Whether its invocation failed, or told that this very record did.
    pub(crate) failed: bool,
}

impl DeliveryRecord {
    /// Whether the runtime answered, well or with an error.
    pub(crate) fn is_answered(&self) -> bool {
        self.end == Some(DeliveryEnd::Answered)
    }

    /// Whether its spans need not be there: the scenario itself had its environment killed in its very
    /// invocation, and that is how the invocation ended. No other end is excused.
    pub(crate) fn is_excusable(&self) -> bool {
        self.killed && self.end == Some(DeliveryEnd::EnvironmentDied)
    }
}

/// How the invocation of a delivery ended, as far as its spans depend on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryEnd {
    /// The runtime answered, with a response or an error: the handler had its chance to flush.
    Answered,
    TimedOut,
    EnvironmentDied,
}

impl From<&InvocationOutcome> for DeliveryEnd {
    fn from(outcome: &InvocationOutcome) -> Self {
        match outcome {
            InvocationOutcome::Succeeded { .. } | InvocationOutcome::Failed { .. } => Self::Answered,
            InvocationOutcome::TimedOut => Self::TimedOut,
            InvocationOutcome::EnvironmentDied => Self::EnvironmentDied,
        }
    }
}

/// Where a message's record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    /// With its request.
    Request(RequestId),
    /// With the messages whose request is not known.
    Nobody,
}

/// The records of all open requests, and what is needed to find them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    requests: BTreeMap<RequestId, RequestRecord>,
    /// Messages that do not say whose they are, in the order of their identifiers.
    ownerless: BTreeMap<MessageId, MessageRecord>,
    owners: HashMap<MessageId, Owner>,
    invocations: HashMap<InvocationId, Invocation>,
    /// The latest invocation of each environment that lives.
    latest: HashMap<EnvironmentId, InvocationId>,
    /// The invocations in which living environments are killed on order.
    kills: HashMap<EnvironmentId, InvocationId>,
    /// When something last happened that keeps messages from functions through no fault of theirs.
    turned_away: Option<Timestamp>,
}

/// An invocation's start.
struct Handover<'a> {
    invocation: &'a InvocationId,
    host: Host,
    deliveries: &'a [Delivery],
}

/// An invocation whose environment has had no later one.
#[derive(Debug, Clone)]
struct Invocation {
    environment: EnvironmentId,
    messages: Vec<MessageId>,
    /// The request of all its records, if they share one.
    request: Option<RequestId>,
    running: bool,
}

impl Ledger {
    /// Posts an event. Answers the request whose record changed; an invocation's end can change more.
    pub(crate) fn post(&mut self, event: &Event, processes: &Processes) -> Vec<RequestId> {
        let at = event.at;
        match &event.kind {
            EventKind::RequestStarted { request, .. } => self.start_request(*request, at),
            EventKind::RequestFinished { request, outcome, .. } => self.finish_request(*request, at, outcome),
            EventKind::MessageSent { queue, message, request, carrier } => {
                let record = MessageRecord::new(message.clone(), queue, carrier.clone(), at);
                self.send(record, *request)
            }
            EventKind::SendRefused { request, .. } => self.refuse_send(*request, at),
            // Once it has left its queue, it is received from its dead-letter queue.
            EventKind::MessageReceived { message, .. } => {
                self.change_message(message, at, |record| record.receipts += usize::from(record.end.is_none()))
            }
            EventKind::MessageDeleted { message } => self.end_message(message, MessageEnd::Deleted, processes, at),
            EventKind::MessageDeadLettered { message, .. } => {
                self.end_message(message, MessageEnd::DeadLettered, processes, at)
            }
            EventKind::FaultInjected(Fault::ContextStripped { message }) => {
                self.change_message(message, at, |record| record.stripped = true)
            }
            EventKind::FaultInjected(Fault::BodyCorrupted { message }) => {
                self.change_message(message, at, |record| record.corrupted = true)
            }
            EventKind::FaultInjected(Fault::EnvironmentKilled { environment, invocation }) => {
                self.kill(environment, invocation.as_ref(), at)
            }
            EventKind::InvocationThrottled { .. } => {
                self.turned_away = Some(at);
                Vec::new()
            }
            EventKind::InvocationStarted { invocation, environment, deliveries, .. } => {
                let host = processes.host(environment);
                self.deliver(Handover { invocation, host, deliveries }, at)
            }
            EventKind::EnvironmentFrozen { environment, open } if open.connections > 0 => {
                self.change_latest(environment, at, |delivery| delivery.connecting = true)
            }
            EventKind::ExportRefused { peer: Peer::Environment(environment), .. } => {
                self.change_latest(environment, at, |delivery| delivery.host.refused = true)
            }
            EventKind::InvocationFinished { invocation, outcome } => self.finish_invocation(invocation, outcome, at),
            EventKind::EnvironmentReset { environment, .. } | EventKind::EnvironmentEnded { environment, .. } => {
                self.end_process(environment)
            }
            _ => Vec::new(),
        }
    }

    fn start_request(&mut self, request: RequestId, at: Timestamp) -> Vec<RequestId> {
        self.requests.insert(request, RequestRecord::new(at));
        vec![request]
    }

    fn finish_request(&mut self, request: RequestId, at: Timestamp, outcome: &RequestOutcome) -> Vec<RequestId> {
        let record = self.requests.entry(request).or_insert_with(|| RequestRecord::new(at));
        record.outcome = Some(outcome.clone());
        record.last_row = at;
        vec![request]
    }

    /// Gives the request those messages that do not say whose they are and carry its trace.
    pub(crate) fn adopt(&mut self, request: RequestId, trace: TraceId) {
        if !self.requests.contains_key(&request) || self.ownerless.is_empty() {
            return;
        }
        let carries = |record: &MessageRecord| record.traceparent().is_some_and(|parent| parent.trace_id == trace);
        let adopted: Vec<_> = self.ownerless.extract_if(.., |_, record| carries(record)).collect();
        for (message, record) in adopted {
            self.owners.insert(message, Owner::Request(request));
            if let Some(owner) = self.requests.get_mut(&request) {
                owner.messages.push(record);
            }
        }
    }

    fn send(&mut self, record: MessageRecord, request: Option<RequestId>) -> Vec<RequestId> {
        let message = record.message.clone();
        match request.and_then(|request| Some((request, self.requests.get_mut(&request)?))) {
            Some((request, owner)) => {
                owner.last_row = record.sent;
                owner.messages.push(record);
                self.owners.insert(message, Owner::Request(request));
                vec![request]
            }
            None => {
                self.ownerless.insert(message.clone(), record);
                self.owners.insert(message.clone(), Owner::Nobody);
                Vec::new()
            }
        }
    }

    fn refuse_send(&mut self, request: Option<RequestId>, at: Timestamp) -> Vec<RequestId> {
        let Some((request, record)) = request.and_then(|id| Some((id, self.requests.get_mut(&id)?))) else {
            return Vec::new();
        };
        record.refused_sends += 1;
        record.last_row = at;
        vec![request]
    }

    fn end_message(
        &mut self,
        message: &MessageId,
        end: MessageEnd,
        processes: &Processes,
        at: Timestamp,
    ) -> Vec<RequestId> {
        // A function that dies by itself may have done so with this message waiting for it.
        let turned_away = self.turned_away.filter(|_| processes.death_of_any_function().is_none());
        self.change_message(message, at, |record| {
            record.end = Some(end);
            record.turned_away = turned_away >= Some(record.sent);
        })
    }

    /// Notes an order to kill an environment; it may come before the invocation has begun.
    fn kill(
        &mut self,
        environment: &EnvironmentId,
        invocation: Option<&InvocationId>,
        at: Timestamp,
    ) -> Vec<RequestId> {
        self.turned_away = Some(at);
        let Some(invocation) = invocation else { return Vec::new() };
        self.kills.insert(environment.clone(), invocation.clone());
        self.change_deliveries(invocation, at, |delivery| delivery.killed = true)
    }

    fn deliver(&mut self, handover: Handover<'_>, at: Timestamp) -> Vec<RequestId> {
        let mut changed = Vec::new();
        for Delivery { message, receive_count } in handover.deliveries {
            let delivery = DeliveryRecord {
                invocation: handover.invocation.clone(),
                host: handover.host.clone(),
                started: at,
                receive_count: *receive_count,
                killed: self.kills.get(&handover.host.environment) == Some(handover.invocation),
                connecting: false,
                end: None,
                ended: at,
                failed: false,
            };
            changed.extend(self.change_message(message, at, |record| record.deliveries.push(delivery)));
        }
        self.begin_invocation(handover.invocation, &handover.host.environment, handover.deliveries);
        changed
    }

    fn begin_invocation(&mut self, invocation: &InvocationId, environment: &EnvironmentId, deliveries: &[Delivery]) {
        let messages: Vec<_> = deliveries.iter().map(|delivery| delivery.message.clone()).collect();
        let mut owners = messages.iter().map(|message| self.owner_of(message));
        let first = owners.next().flatten();
        let request = if owners.all(|owner| owner == first) { first } else { None };
        self.invocations.insert(
            invocation.clone(),
            Invocation { environment: environment.clone(), messages, request, running: true },
        );
        if let Some(previous) = self.latest.insert(environment.clone(), invocation.clone()) {
            self.forget_if_ended(&previous);
        }
    }

    fn forget_if_ended(&mut self, invocation: &InvocationId) {
        if self.invocations.get(invocation).is_some_and(|known| !known.running) {
            self.invocations.remove(invocation);
        }
    }

    fn finish_invocation(
        &mut self,
        invocation: &InvocationId,
        outcome: &InvocationOutcome,
        at: Timestamp,
    ) -> Vec<RequestId> {
        let Some(known) = self.invocations.get_mut(invocation) else { return Vec::new() };
        known.running = false;
        let environment = known.environment.clone();
        let end = Some(DeliveryEnd::from(outcome));
        let mut changed = self.change_deliveries(invocation, at, |delivery| {
            (delivery.end, delivery.ended) = (end, at);
            delivery.failed = !matches!(outcome, InvocationOutcome::Succeeded { .. });
        });
        if let InvocationOutcome::Succeeded { failed } = outcome {
            changed.extend(failed.iter().flat_map(|message| self.fail_record(message, invocation, at)));
        }
        if self.latest.get(&environment) != Some(invocation) {
            self.invocations.remove(invocation);
        }
        changed
    }

    /// Notes that an invocation reported this record of its as failed.
    fn fail_record(&mut self, message: &MessageId, invocation: &InvocationId, at: Timestamp) -> Vec<RequestId> {
        self.change_message(message, at, |record| {
            record.change_deliveries(invocation, |delivery| delivery.failed = true)
        })
    }

    /// An environment has lost its process: for good, or until it is started again.
    fn end_process(&mut self, environment: &EnvironmentId) -> Vec<RequestId> {
        self.kills.remove(environment);
        if let Some(latest) = self.latest.remove(environment) {
            self.forget_if_ended(&latest);
        }
        Vec::new()
    }

    /// Changes the records of the deliveries that an environment has, or has had last.
    fn change_latest(
        &mut self,
        environment: &EnvironmentId,
        at: Timestamp,
        change: impl Fn(&mut DeliveryRecord),
    ) -> Vec<RequestId> {
        let Some(latest) = self.latest.get(environment).cloned() else { return Vec::new() };
        self.change_deliveries(&latest, at, change)
    }

    /// Changes the records of an invocation's deliveries, and answers their requests.
    fn change_deliveries(
        &mut self,
        invocation: &InvocationId,
        at: Timestamp,
        change: impl Fn(&mut DeliveryRecord),
    ) -> Vec<RequestId> {
        let Some(known) = self.invocations.get(invocation) else { return Vec::new() };
        let messages = known.messages.clone();
        let of_message =
            |message| self.change_message(message, at, |record| record.change_deliveries(invocation, &change));
        messages.iter().flat_map(of_message).collect()
    }

    /// Changes a message's record, and answers its request.
    fn change_message(
        &mut self,
        message: &MessageId,
        at: Timestamp,
        change: impl FnOnce(&mut MessageRecord),
    ) -> Vec<RequestId> {
        let Some(request) = self.owners.get(message) else { return Vec::new() };
        let Owner::Request(request) = *request else {
            self.ownerless.entry(message.clone()).and_modify(change);
            return Vec::new();
        };
        let Some(owner) = self.requests.get_mut(&request) else { return Vec::new() };
        if let Some(record) = owner.messages.iter_mut().find(|record| record.message == *message) {
            change(record);
            owner.last_row = at;
        }
        vec![request]
    }

    /// The request of a message, if it is open and known.
    pub(crate) fn owner_of(&self, message: &MessageId) -> Option<RequestId> {
        match self.owners.get(message)? {
            Owner::Request(request) => Some(*request),
            Owner::Nobody => None,
        }
    }

    /// The record of an open request.
    pub(crate) fn request(&self, request: RequestId) -> Option<&RequestRecord> {
        self.requests.get(&request)
    }

    /// All open requests.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (RequestId, &RequestRecord)> {
        self.requests.iter().map(|(id, record)| (*id, record))
    }

    /// Messages whose request is not known.
    pub(crate) fn ownerless(&self) -> impl Iterator<Item = &MessageRecord> {
        self.ownerless.values()
    }

    /// How many invocations run.
    pub(crate) fn running_invocations(&self) -> usize {
        self.invocations.values().filter(|invocation| invocation.running).count()
    }

    /// The record of a message, whether or not its request is known.
    pub(crate) fn message(&self, message: &MessageId) -> Option<&MessageRecord> {
        match self.owners.get(message)? {
            Owner::Nobody => self.ownerless.get(message),
            Owner::Request(request) => {
                self.requests.get(request)?.messages.iter().find(|record| record.message == *message)
            }
        }
    }

    /// The request that an invocation works for, or has worked for, if all records agree on it.
    pub(crate) fn request_of_invocation(&self, invocation: &InvocationId) -> Option<RequestId> {
        self.invocations.get(invocation)?.request
    }

    /// Whether an environment works, or has worked last, for several requests, or for one that is not known.
    pub(crate) fn is_shared(&self, environment: &EnvironmentId) -> bool {
        let latest = self.latest.get(environment).and_then(|latest| self.invocations.get(latest));
        latest.is_some_and(|latest| latest.request.is_none() && !latest.messages.is_empty())
    }

    /// The request that an environment works for, or has worked for last, if all records agree on it.
    pub(crate) fn request_in(&self, environment: &EnvironmentId) -> Option<RequestId> {
        self.invocations.get(self.latest.get(environment)?)?.request
    }

    /// Takes out the messages whose request is not known and that nobody will hear of again: all of
    /// them, or those that were sent before an instant and are done.
    pub(crate) fn give_up_ownerless(&mut self, sent_before: Option<Timestamp>) -> Vec<MessageRecord> {
        let done = |record: &MessageRecord| sent_before.is_none_or(|instant| record.sent < instant && record.is_over());
        let given_up: Vec<_> =
            self.ownerless.extract_if(.., |_, record| done(record)).map(|(_, record)| record).collect();
        for record in &given_up {
            self.owners.remove(&record.message);
        }
        given_up
    }

    /// Takes a request's record out; nothing will be posted to it any more.
    pub(crate) fn close(&mut self, request: RequestId) -> Option<RequestRecord> {
        let record = self.requests.remove(&request)?;
        for message in &record.messages {
            self.owners.remove(&message.message);
        }
        Some(record)
    }
}

impl MessageRecord {
    fn new(message: MessageId, queue: &str, carrier: Carrier, sent: Timestamp) -> Self {
        Self {
            message,
            queue: queue.into(),
            sent,
            carrier,
            stripped: false,
            corrupted: false,
            turned_away: false,
            receipts: 0,
            deliveries: Vec::new(),
            end: None,
        }
    }

    fn change_deliveries(&mut self, invocation: &InvocationId, change: impl Fn(&mut DeliveryRecord)) {
        self.deliveries.iter_mut().filter(|delivery| delivery.invocation == *invocation).for_each(change);
    }
}
