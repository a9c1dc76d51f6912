//! What the queues can do to a message on purpose, when they accept it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use verifier::MessageId;
use verifier::event::Fault;

use super::message::NewMessage;

/// The message attributes of W3C Trace Context (§ 3.2 and § 3.3).
pub(super) const TRACEPARENT: &str = "traceparent";
/// See [`TRACEPARENT`].
pub(super) const TRACESTATE: &str = "tracestate";

/// Something that is done to every message that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFault {
    /// The trace context is dropped: the attributes `traceparent` and `tracestate`, and `AWSTraceHeader`.
    StripContext,
}

impl MessageFault {
    /// Does it. Says whether the message had anything that it could be done to.
    fn apply(self, message: &mut NewMessage) -> bool {
        match self {
            Self::StripContext => strip_context(message),
        }
    }

    /// The fault as a fact about the message that it was done to.
    pub(super) fn on(self, message: MessageId) -> Fault {
        match self {
            Self::StripContext => Fault::ContextStripped { message },
        }
    }
}

fn strip_context(message: &mut NewMessage) -> bool {
    let traceparent = message.attributes.remove(TRACEPARENT).is_some();
    let tracestate = message.attributes.remove(TRACESTATE).is_some();
    let header = message.trace_header.take().is_some();
    traceparent || tracestate || header
}

/// The faults that are switched on. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<MessageFault>>>);

impl Faults {
    /// Switches a fault on, until the guard is dropped.
    pub(super) fn inject(&self, fault: MessageFault) -> FaultGuard {
        self.active().push(fault);
        FaultGuard { faults: self.clone(), fault }
    }

    /// Does to a message what is switched on; tells what was done.
    pub(super) fn apply(&self, message: &mut NewMessage) -> Vec<MessageFault> {
        self.active().iter().copied().filter(|fault| fault.apply(message)).collect()
    }

    fn active(&self) -> MutexGuard<'_, Vec<MessageFault>> {
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
        if let Some(at) = active.iter().position(|fault| *fault == self.fault) {
            active.swap_remove(at);
        }
    }
}
