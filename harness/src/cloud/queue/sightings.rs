//! Which messages of an external endpoint were received here, and how they were seen last.

use std::collections::{HashMap, VecDeque};

use verifier::MessageId;

/// Of how many received messages it is remembered which handle they have: more than can be in flight.
const REMEMBERED: usize = 200_000;

/// The messages that were received here.
#[derive(Debug, Default)]
pub(super) struct Seen {
    messages: HashMap<MessageId, Sighting>,
    /// The messages by their newest receipt handle.
    by_handle: HashMap<String, MessageId>,
    /// The messages in the order in which they were first seen.
    order: VecDeque<MessageId>,
}

/// Where and how a message was seen last.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) queue: String,
    handle: String,
    /// Whether its return has been recorded since.
    pub(super) returned: bool,
}

impl Seen {
    /// Notes a received message, and tells how it was seen before.
    pub(super) fn note(&mut self, id: &MessageId, queue: &str, handle: &str) -> Option<Sighting> {
        let sighting = Sighting { queue: queue.to_owned(), handle: handle.to_owned(), returned: false };
        let before = self.messages.insert(id.clone(), sighting);
        match &before {
            Some(before) => {
                self.by_handle.remove(&before.handle);
            }
            None => self.order.push_back(id.clone()),
        }
        self.by_handle.insert(handle.to_owned(), id.clone());
        before
    }

    /// Forgets the message whose newest handle this is.
    pub(super) fn forget(&mut self, handle: &str) -> Option<MessageId> {
        let id = self.by_handle.remove(handle)?;
        self.messages.remove(&id);
        Some(id)
    }

    /// Notes that the message whose newest handle this is has been returned.
    pub(super) fn mark_returned(&mut self, handle: &str) -> Option<MessageId> {
        let id = self.by_handle.get(handle)?;
        self.messages.get_mut(id)?.returned = true;
        Some(id.clone())
    }

    /// Forgets the oldest messages beyond what may be remembered; tells how many.
    pub(super) fn shrink(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.order.len() > REMEMBERED
            && let Some(id) = self.order.pop_front()
        {
            // Those that were deleted have been forgotten before.
            if let Some(sighting) = self.messages.remove(&id) {
                self.by_handle.remove(&sighting.handle);
                forgotten += 1;
            }
        }
        forgotten
    }
}
