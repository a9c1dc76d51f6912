//! What the queues can do to a message on purpose, when they accept it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use verifier::MessageId;
use verifier::event::Fault;

use super::message::NewMessage;

/// The message attributes of W3C Trace Context (§ 3.2 and § 3.3).
pub(super) const TRACEPARENT: &str = "traceparent";
/// See [`TRACEPARENT`].
pub(super) const TRACESTATE: &str = "tracestate";

/// What every character of a corrupted body is: no JSON, XML, Base64 or number begins with it, and SQS
/// allows it.
const CORRUPTED: &str = "%";

/// Something that is done to messages that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFault {
    /// The trace context is dropped: the attributes `traceparent` and `tracestate`, and `AWSTraceHeader`.
    StripContext,
    /// The body of some messages becomes one that no handler can read, of the same length.
    CorruptBody {
        /// One in this many messages, on average.
        one_in: NonZeroU32,
        /// The run's seed. With it, a message's place in the order in which messages are sent says
        /// whether it is one of them.
        seed: u64,
    },
}

impl MessageFault {
    /// Does it to the message that is the n-th since it was switched on. Says whether it was done: not
    /// if the message has nothing to do it to, or is not one of those that it is done to.
    fn apply(self, message: &mut NewMessage, n: u64) -> bool {
        match self {
            Self::StripContext => strip_context(message),
            Self::CorruptBody { one_in, seed } => is_chosen(n, one_in, seed) && corrupt_body(message),
        }
    }

    /// The fault as a fact about the message that it was done to.
    pub(super) fn on(self, message: MessageId) -> Fault {
        match self {
            Self::StripContext => Fault::ContextStripped { message },
            Self::CorruptBody { .. } => Fault::BodyCorrupted { message },
        }
    }
}

fn strip_context(message: &mut NewMessage) -> bool {
    let traceparent = message.attributes.remove(TRACEPARENT).is_some();
    let tracestate = message.attributes.remove(TRACESTATE).is_some();
    let header = message.trace_header.take().is_some();
    traceparent || tracestate || header
}

fn is_chosen(n: u64, one_in: NonZeroU32, seed: u64) -> bool {
    StdRng::seed_from_u64(seed ^ n.rotate_left(32)).random_range(0..one_in.get()) == 0
}

fn corrupt_body(message: &mut NewMessage) -> bool {
    message.body = CORRUPTED.repeat(message.body.len());
    true
}

/// The faults that are switched on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<Active>>>);

/// A fault that is switched on.
#[derive(Debug)]
struct Active {
    fault: MessageFault,
    /// How many messages have come since.
    messages: u64,
}

impl Active {
    fn apply(&mut self, message: &mut NewMessage) -> Option<MessageFault> {
        let n = self.messages;
        self.messages += 1;
        self.fault.apply(message, n).then_some(self.fault)
    }
}

impl Faults {
    /// Switches a fault on, until the guard is dropped.
    pub(super) fn inject(&self, fault: MessageFault) -> FaultGuard {
        self.active().push(Active { fault, messages: 0 });
        FaultGuard { faults: self.clone(), fault }
    }

    /// Does to a message what is switched on; tells what was done.
    pub(super) fn apply(&self, message: &mut NewMessage) -> Vec<MessageFault> {
        self.active().iter_mut().filter_map(|active| active.apply(message)).collect()
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a fault switched on; dropped, it is off again.
#[derive(Debug)]
#[must_use = "the fault ends when its guard is dropped"]
pub struct FaultGuard {
    faults: Faults,
    fault: MessageFault,
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        let mut active = self.faults.active();
        if let Some(at) = active.iter().position(|active| active.fault == self.fault) {
            active.swap_remove(at);
        }
    }
}
