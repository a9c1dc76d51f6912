//! The expected spans of one request, from its ledger record and the contract alone.

use crate::contract::{Per, SpanContract};
use crate::ledger::{DeliveryRecord, MessageEnd, MessageRecord, RequestRecord};
use crate::roles::{RoleId, Roles};

/// A place for one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) role: RoleId,
    /// What it is for.
    pub(crate) fact: Fact,
    /// Whether the place must be taken. It need not where the outcome is open to the ledger.
    pub(crate) required: bool,
    /// Whether it is excused if nothing takes it.
    pub(crate) excusable: bool,
}

impl Slot {
    const fn required(role: RoleId, fact: Fact) -> Self {
        Self { role, fact, required: true, excusable: false }
    }

    const fn open(role: RoleId, fact: Fact) -> Self {
        Self { role, fact, required: false, excusable: false }
    }
}

/// The ledger's fact that a span is for; messages and deliveries by their places in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// The request.
    Request,
    /// A message.
    Message(usize),
    /// A delivery of a message.
    Delivery(usize, usize),
    /// A message that the accepted request promises, and that no queue has seen.
    UnsentMessage,
    /// A delivery that a queued message promises, and that has not been seen.
    Undelivered(Option<usize>),
    /// An attempt to send that no queue has accepted.
    RefusedSend,
}

impl Fact {
    /// Whether it stands in the ledger, rather than being promised by something that does.
    pub(crate) const fn is_ledger_row(self) -> bool {
        matches!(self, Self::Request | Self::Message(_) | Self::Delivery(..))
    }

    /// Whether another fact is this one, or a part of it: a message of the request, a delivery of the message.
    pub(crate) fn holds(self, other: Self) -> bool {
        match (self, other) {
            (Self::Message(own), Self::Delivery(message, _) | Self::Undelivered(Some(message))) => own == message,
            (Self::Request, _) | (Self::UnsentMessage, Self::Undelivered(None)) => true,
            (own, other) => own == other,
        }
    }

    /// The message that it is about.
    pub(crate) fn message(self, record: &RequestRecord) -> Option<&MessageRecord> {
        match self {
            Self::Message(message) | Self::Delivery(message, _) | Self::Undelivered(Some(message)) => {
                record.messages.get(message)
            }
            _ => None,
        }
    }

    /// The delivery that it is about.
    pub(crate) fn delivery(self, record: &RequestRecord) -> Option<&DeliveryRecord> {
        match self {
            Self::Delivery(message, delivery) => record.messages.get(message)?.deliveries.get(delivery),
            _ => None,
        }
    }
}

/// The places for a request's spans, parents before their children.
pub(crate) fn expected_slots(record: &RequestRecord, roles: &Roles) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (role, contract) in roles.iter() {
        match contract.span.per {
            Per::Request => slots.push(match record.accepted() {
                true => Slot::required(role, Fact::Request),
                false => Slot::open(role, Fact::Request),
            }),
            Per::Message => slots.extend(message_slots(role, &contract.span, record)),
            Per::Delivery => slots.extend(delivery_slots(role, &contract.span, record)),
            // They belong to no single request.
            Per::Invocation | Per::Environment => {}
        }
    }
    slots
}

/// One for each message; at least one, if the request was accepted. Sends that failed may have theirs.
fn message_slots(role: RoleId, span: &SpanContract, record: &RequestRecord) -> Vec<Slot> {
    let is_of_queue = |message: &usize| is_of_queue(span, &record.messages[*message]);
    let once = (0..record.messages.len()).filter(is_of_queue).filter(|&message| !is_sent_again(record, message));
    let mut slots: Vec<_> = once.map(|message| Slot::required(role, Fact::Message(message))).collect();
    if slots.is_empty() && record.accepted() {
        slots.push(Slot::required(role, Fact::UnsentMessage));
    }
    // A send can fail before any queue sees it; only an answer that promises a trace rules that out.
    let unseen = u32::from(!record.accepted());
    slots.extend((0..record.refused_sends + unseen).map(|_| Slot::open(role, Fact::RefusedSend)));
    slots
}

/// Whether a message bears the very context of an earlier one: the sender's SDK has sent it again,
/// because the first answer did not come in time. Both are in the queue, and one span has sent them.
pub(crate) fn is_sent_again(record: &RequestRecord, message: usize) -> bool {
    let context = |message: &MessageRecord| message.traceparent().map(|parent| (parent.trace_id, parent.span_id));
    let own = context(&record.messages[message]);
    own.is_some() && record.messages[..message].iter().any(|earlier| context(earlier) == own)
}

/// One for each delivery; at least one for each message that was not kept from its function.
fn delivery_slots(role: RoleId, span: &SpanContract, record: &RequestRecord) -> Vec<Slot> {
    if record.messages.is_empty() && record.accepted() {
        return vec![Slot::required(role, Fact::Undelivered(None))];
    }
    let of_message = |(place, message): (usize, &MessageRecord)| match message.deliveries.as_slice() {
        [] if is_kept_from_its_function(message) => Vec::new(),
        [] => vec![Slot::required(role, Fact::Undelivered(Some(place)))],
        deliveries => {
            let own = (0..).zip(deliveries).filter(|(_, delivery)| delivery.host.is_of(span.function.as_deref()));
            own.map(|(number, delivery)| delivery_slot(role, place, number, delivery)).collect()
        }
    };
    let messages = record.messages.iter().enumerate().filter(|(_, message)| is_of_queue(span, message));
    messages.flat_map(of_message).collect()
}

/// Whether a span is asked for messages of this one's queue.
fn is_of_queue(span: &SpanContract, message: &MessageRecord) -> bool {
    span.queue.as_deref().is_none_or(|queue| queue == &*message.queue)
}

fn delivery_slot(role: RoleId, message: usize, number: usize, delivery: &DeliveryRecord) -> Slot {
    Slot { excusable: delivery.is_excusable(), ..Slot::required(role, Fact::Delivery(message, number)) }
}

/// Whether a message went to the dead-letter queue although nobody was given it, and the ledger tells of
/// a reason: then there is nothing that could have made a span.
fn is_kept_from_its_function(message: &MessageRecord) -> bool {
    message.end == Some(MessageEnd::DeadLettered) && message.turned_away
}
