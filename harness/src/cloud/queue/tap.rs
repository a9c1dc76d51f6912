//! What passes through the queues, as ledger events.

use std::fmt;

use verifier::event::Carrier;
use verifier::{EventKind, MessageId, RequestId};

use super::error::SqsError;
use super::fault::{MessageFault, TRACEPARENT, TRACESTATE};
use super::message::{MessageAttribute, NewMessage};
use super::queues::Correlation;
use crate::journal::Recorder;

/// Is told what becomes of messages by whoever knows it, before anybody else can see it.
///
/// It is called with a queue locked, so it must not wait and must not call back.
pub(super) trait Observer: fmt::Debug + Send + Sync {
    /// A message was received, for this many times now.
    fn received(&self, message: &MessageId, receive_count: u32);
    /// A message that had been received is visible again.
    fn returned(&self, message: &MessageId);
    /// A message is gone: deleted by a consumer, purged, or kept for as long as its queue keeps any.
    fn deleted(&self, message: &MessageId);
    /// A message was moved to the dead-letter queue with this name.
    fn dead_lettered(&self, message: &MessageId, queue: &str);
    /// A message goes from a dead-letter queue to the queue with this name. There, it is a new one.
    fn redriven(&self, from: &MessageId, to: &MessageId, queue: &str, message: &NewMessage);
}

/// Turns what passes into events.
#[derive(Debug, Clone)]
pub(super) struct Tap {
    recorder: Recorder,
    correlation: Correlation,
}

/// What is known of a message that is being sent, before the queue has answered.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    queue: String,
    request: Option<RequestId>,
    carrier: Carrier,
}

impl Tap {
    pub(super) const fn new(recorder: Recorder, correlation: Correlation) -> Self {
        Self { recorder, correlation }
    }

    /// Notes a message as its sender made it, before anything is done to it.
    pub(super) fn sending(&self, queue: &str, message: &NewMessage) -> Sending {
        Sending { queue: queue.to_owned(), request: self.request_of(&message.body), carrier: carrier_of(message) }
    }

    /// The queue accepts the message, to which `faults` were done.
    pub(super) fn sent(&self, sending: &Sending, message: &MessageId, faults: &[MessageFault]) {
        let Sending { queue, request, carrier } = sending.clone();
        self.recorder.record(EventKind::MessageSent { queue, message: message.clone(), request, carrier });
        for fault in faults {
            self.recorder.record(EventKind::FaultInjected(fault.on(message.clone())));
        }
    }

    /// The queue refuses the message.
    pub(super) fn refused(&self, sending: &Sending, error: &SqsError) {
        let Sending { queue, request, .. } = sending.clone();
        self.recorder.record(EventKind::SendRefused { queue, request, code: error.code().to_owned() });
    }

    /// Something that should have been recorded cannot be.
    pub(super) fn lost(&self, what: &str, count: u64) {
        self.recorder.record(EventKind::EvidenceLost { what: what.to_owned(), count });
    }

    /// The request that a message says it belongs to.
    fn request_of(&self, body: &str) -> Option<RequestId> {
        let pointer = self.correlation.message_body.as_deref()?;
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        RequestId::find_in(body.pointer(pointer)?.as_str()?)
    }
}

impl Observer for Tap {
    fn received(&self, message: &MessageId, receive_count: u32) {
        self.recorder.record(EventKind::MessageReceived { message: message.clone(), receive_count });
    }

    fn returned(&self, message: &MessageId) {
        self.recorder.record(EventKind::MessageReturned { message: message.clone() });
    }

    fn deleted(&self, message: &MessageId) {
        self.recorder.record(EventKind::MessageDeleted { message: message.clone() });
    }

    fn dead_lettered(&self, message: &MessageId, queue: &str) {
        self.recorder.record(EventKind::MessageDeadLettered { message: message.clone(), queue: queue.to_owned() });
    }

    fn redriven(&self, from: &MessageId, to: &MessageId, queue: &str, message: &NewMessage) {
        self.sent(&self.sending(queue, message), to, &[]);
        self.deleted(from);
    }
}

fn carrier_of(message: &NewMessage) -> Carrier {
    let text = |name| message.attributes.get(name).and_then(MessageAttribute::as_text).map(str::to_owned);
    Carrier { traceparent: text(TRACEPARENT), tracestate: text(TRACESTATE), xray: message.trace_header.clone() }
}
