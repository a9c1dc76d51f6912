//! One queue's messages. Told the time, it never asks for it and never waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use verifier::MessageId;

use super::attributes::QueueAttributes;
use super::error::{ErrorKind, SqsError};
use super::limits::{BETWEEN_PURGES, MAX_IN_FLIGHT};
use super::md5;
use super::message::{NewMessage, ReceivedMessage};
use super::queues::Depth;
use super::receipt::{self, Receipt};
use super::tap::Observer;

/// A message's number in its queue; never given twice.
type Serial = u64;

/// Who sends everything, as far as `SenderId` tells: callers are not identified.
const SENDER_ID: &str = "AIDAEXAMPLESENDERID00";

/// A message, wherever it is.
#[derive(Debug)]
pub(super) struct StoredMessage {
    id: MessageId,
    content: NewMessage,
    md5_of_body: String,
    sent: Instant,
    /// How often it has been received, in all queues together (SQS `ApproximateReceiveCount`).
    receive_count: u32,
    first_received: Option<Instant>,
    dead_letter_source: Option<String>,
}

impl StoredMessage {
    /// A message that is accepted now.
    pub(super) fn new(id: MessageId, content: NewMessage, now: Instant) -> Self {
        Self {
            id,
            md5_of_body: md5::of_text(&content.body),
            content,
            sent: now,
            receive_count: 0,
            first_received: None,
            dead_letter_source: None,
        }
    }

    /// The message as a new one, which is accepted now (SQS Developer Guide, "dead-letter queue redrive":
    /// it is given another identifier, and its retention begins anew).
    fn renewed(self, id: MessageId, now: Instant) -> Self {
        Self::new(id, self.content, now)
    }
}

/// What there is to move out of a dead-letter queue.
#[derive(Debug)]
pub(super) enum ToMove<T> {
    /// A message, and where it goes.
    Message(StoredMessage, T),
    /// Nothing.
    Nothing,
    /// A message that has nowhere to go, and stays. It came from the queue with this ARN, if from any.
    Nowhere(Option<String>),
}

/// The run's instants as SQS writes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct EpochClock {
    /// An instant.
    pub(super) instant: Instant,
    /// The time from the Unix epoch until then.
    pub(super) since_epoch: Duration,
}

impl EpochClock {
    /// Milliseconds since the Unix epoch.
    pub(super) fn millis(&self, at: Instant) -> u128 {
        (self.since_epoch + at.saturating_duration_since(self.instant)).as_millis()
    }
}

#[derive(Debug)]
struct Entry {
    message: StoredMessage,
    place: Place,
    /// The receive count with which it came into this queue: its redrive policy counts from here.
    receive_count_before: u32,
    /// When its retention ends.
    expires: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It can be received. Its serial number is in `ready`, once.
    Visible,
    /// It was sent with a delay, which ends then.
    Delayed(Instant),
    /// It was received, and comes back then.
    InFlight(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Its delay or its visibility time-out ends.
    Visible,
    /// Its retention ends.
    Expiry,
}

/// What a look into the queue brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The messages that are in flight now.
    pub(super) received: Vec<ReceivedMessage>,
    /// Messages that were taken out, for the dead-letter queue.
    pub(super) dead: Vec<StoredMessage>,
}

/// One queue's messages.
#[derive(Debug)]
pub(super) struct Store {
    arn: String,
    /// Marks its receipt handles.
    tag: String,
    attributes: QueueAttributes,
    clock: EpochClock,
    observer: Arc<dyn Observer>,
    entries: HashMap<Serial, Entry>,
    /// The visible messages in their order, and numbers of some that were deleted meanwhile.
    ready: VecDeque<Serial>,
    /// All that will happen by itself, so that it is found in O(log n).
    timers: BTreeSet<(Instant, Serial, Timer)>,
    delayed: usize,
    in_flight: usize,
    next_serial: Serial,
    purged: Option<Instant>,
    modified: Option<Instant>,
}

impl Store {
    pub(super) fn new(
        arn: String,
        tag: String,
        attributes: QueueAttributes,
        clock: EpochClock,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            arn,
            tag,
            attributes,
            clock,
            observer,
            entries: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            delayed: 0,
            in_flight: 0,
            next_serial: 0,
            purged: None,
            modified: None,
        }
    }

    /// The queue's attributes.
    pub(super) const fn attributes(&self) -> &QueueAttributes {
        &self.attributes
    }

    /// Sets other attributes. A new retention period counts for the messages that are there, too.
    pub(super) fn set_attributes(&mut self, attributes: QueueAttributes, now: Instant) {
        self.attributes = attributes;
        self.modified = Some(now);
        for (serial, entry) in &mut self.entries {
            self.timers.remove(&(entry.expires, *serial, Timer::Expiry));
            entry.expires = entry.message.sent + self.attributes.retention;
            self.timers.insert((entry.expires, *serial, Timer::Expiry));
        }
    }

    /// When attributes were set, if they ever were after the queue's creation.
    pub(super) const fn modified(&self) -> Option<Instant> {
        self.modified
    }

    /// How many messages there are.
    pub(super) fn depth(&self) -> Depth {
        let visible = self.entries.len() - self.delayed - self.in_flight;
        Depth { visible, in_flight: self.in_flight, delayed: self.delayed }
    }

    /// Whether a receive would bring something.
    pub(super) fn is_receivable(&self) -> bool {
        self.depth().visible > 0 && !self.is_at_limit()
    }

    /// Whether no further message may be in flight.
    pub(super) const fn is_at_limit(&self) -> bool {
        self.in_flight >= MAX_IN_FLIGHT
    }

    /// When something will happen by itself.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Lets everything happen that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(&(at, serial, timer)) = self.timers.first()
            && at <= now
        {
            match timer {
                Timer::Visible => self.show(serial),
                Timer::Expiry => self.discard(serial),
            }
        }
    }

    /// Puts a message in, hidden for the delay.
    pub(super) fn insert(&mut self, message: StoredMessage, now: Instant, delay: Duration) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let expires = message.sent + self.attributes.retention;
        let place = if delay.is_zero() { Place::Visible } else { Place::Delayed(now + delay) };
        let receive_count_before = message.receive_count;
        self.timers.insert((expires, serial, Timer::Expiry));
        self.entries.insert(serial, Entry { message, place, receive_count_before, expires });
        self.arrive(serial, place);
    }

    /// Takes up to `max` messages for a consumer, hidden for the given time or else the queue's.
    ///
    /// Messages that were received too often are taken out on the way, if there is a queue for them.
    pub(super) fn take(
        &mut self,
        now: Instant,
        max: usize,
        hidden: Option<Duration>,
        dead_letter_queue: Option<&str>,
    ) -> Taken {
        let until = now + hidden.unwrap_or(self.attributes.visibility_timeout);
        let mut taken = Taken::default();
        while taken.received.len() < max && !self.is_at_limit() {
            let Some(serial) = self.pop_ready() else { break };
            match dead_letter_queue {
                Some(queue) if self.is_exhausted(serial) => taken.dead.extend(self.take_out(serial, queue)),
                _ => taken.received.extend(self.hand_out(serial, now, until)),
            }
        }
        taken
    }

    /// Takes the next visible message out, to where `target` says that it goes; it is given the ARN of
    /// the queue that the message came from.
    pub(super) fn take_to_move<T>(
        &mut self,
        now: Instant,
        target: impl FnOnce(Option<&str>) -> Option<(String, T)>,
    ) -> ToMove<T> {
        let Some(serial) = self.pop_ready() else { return ToMove::Nothing };
        let origin = self.entries.get(&serial).and_then(|entry| entry.message.dead_letter_source.clone());
        let Some((queue, target)) = target(origin.as_deref()) else {
            self.ready.push_front(serial);
            return ToMove::Nowhere(origin);
        };
        let Some(message) = self.remove(serial) else { return ToMove::Nothing };
        let id = MessageId::new(Uuid::new_v4().to_string());
        self.observer.redriven(&message.id, &id, &queue, &message.content);
        ToMove::Message(message.renewed(id, now), target)
    }

    /// Deletes the message of a receipt handle.
    ///
    /// The newest handle works whether or not the message is still in flight. Older ones are accepted
    /// and have no effect, as are those of messages that are gone (SQS API, `DeleteMessage`).
    pub(super) fn delete(&mut self, handle: &str) -> Result<(), SqsError> {
        let receipt = self.receipt(handle)?;
        let is_newest = |entry: &Entry| entry.message.receive_count == receipt.receive_count;
        if self.entries.get(&receipt.serial).is_some_and(is_newest) {
            self.discard(receipt.serial);
        }
        Ok(())
    }

    /// Hides a message that is in flight for another time from now on.
    pub(super) fn change_visibility(&mut self, handle: &str, now: Instant, hidden: Duration) -> Result<(), SqsError> {
        let receipt = self.receipt(handle)?;
        let entry = self.entries.get(&receipt.serial).ok_or_else(|| {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            SqsError::invalid_value("ReceiptHandle", handle, reason)
        })?;
        let is_newest = entry.message.receive_count == receipt.receive_count;
        if !is_newest || !matches!(entry.place, Place::InFlight(_)) {
            return Err(SqsError::new(ErrorKind::MessageNotInflight, "The specified message isn't in flight."));
        }
        if hidden.is_zero() {
            self.show(receipt.serial);
        } else {
            self.enter(receipt.serial, Place::InFlight(now + hidden));
        }
        Ok(())
    }

    /// Deletes all messages; at most once a minute.
    pub(super) fn purge(&mut self, queue: &str, now: Instant) -> Result<(), SqsError> {
        if self.purged.is_some_and(|purged| now < purged + BETWEEN_PURGES) {
            let message = format!("Only one PurgeQueue operation on {queue} is allowed every 60 seconds.");
            return Err(SqsError::new(ErrorKind::PurgeQueueInProgress, message));
        }
        self.purged = Some(now);
        self.clear();
        Ok(())
    }

    /// Deletes all messages.
    pub(super) fn clear(&mut self) {
        let mut serials: Vec<_> = self.entries.keys().copied().collect();
        serials.sort_unstable();
        for serial in serials {
            self.discard(serial);
        }
        self.ready.clear();
    }

    /// Checks that a handle is one of this queue's.
    fn receipt(&self, handle: &str) -> Result<Receipt, SqsError> {
        let receipt: Receipt = handle.parse()?;
        let known = receipt.queue == self.tag && receipt.serial < self.next_serial;
        known.then_some(receipt).ok_or_else(|| receipt::invalid(handle))
    }

    fn pop_ready(&mut self) -> Option<Serial> {
        loop {
            let serial = self.ready.pop_front()?;
            if self.entries.contains_key(&serial) {
                return Some(serial);
            }
        }
    }

    /// Whether a message was received so often that the next receive moves it away.
    fn is_exhausted(&self, serial: Serial) -> bool {
        let Some(redrive) = &self.attributes.redrive else { return false };
        self.entries
            .get(&serial)
            .is_some_and(|entry| entry.message.receive_count - entry.receive_count_before >= redrive.max_receive_count)
    }

    /// Gives a message to a consumer. Nothing else counts a receive.
    fn hand_out(&mut self, serial: Serial, now: Instant, until: Instant) -> Option<ReceivedMessage> {
        self.enter(serial, Place::InFlight(until));
        let message = &mut self.entries.get_mut(&serial)?.message;
        message.receive_count += 1;
        message.first_received.get_or_insert(now);
        let message = &self.entries.get(&serial)?.message;
        self.observer.received(&message.id, message.receive_count);
        Some(self.received(serial, message))
    }

    fn received(&self, serial: Serial, message: &StoredMessage) -> ReceivedMessage {
        let receipt = Receipt { queue: self.tag.clone(), serial, receive_count: message.receive_count };
        ReceivedMessage {
            message_id: message.id.as_str().to_owned(),
            receipt_handle: receipt.to_string(),
            body: message.content.body.clone(),
            md5_of_body: message.md5_of_body.clone(),
            attributes: self.system_attributes(message).map(|(name, value)| (name.to_owned(), value)).collect(),
            message_attributes: message.content.attributes.clone(),
            md5_of_message_attributes: md5::of_attributes(&message.content.attributes),
        }
    }

    fn system_attributes<'a>(
        &self,
        message: &'a StoredMessage,
    ) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
        let millis = |at: Instant| self.clock.millis(at).to_string();
        let first_received = message.first_received.map(millis);
        [
            ("SenderId", Some(SENDER_ID.to_owned())),
            ("SentTimestamp", Some(millis(message.sent))),
            ("ApproximateReceiveCount", Some(message.receive_count.to_string())),
            ("ApproximateFirstReceiveTimestamp", first_received),
            ("AWSTraceHeader", message.content.trace_header.clone()),
            ("MessageGroupId", message.content.group_id.clone()),
            ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Takes a message out, for the dead-letter queue with this name.
    fn take_out(&mut self, serial: Serial, dead_letter_queue: &str) -> Option<StoredMessage> {
        let mut message = self.remove(serial)?;
        message.dead_letter_source = Some(self.arn.clone());
        self.observer.dead_lettered(&message.id, dead_letter_queue);
        Some(message)
    }

    /// Ends a message's delay or time in flight.
    fn show(&mut self, serial: Serial) {
        if let Some(entry) = self.entries.get(&serial)
            && matches!(entry.place, Place::InFlight(_))
        {
            self.observer.returned(&entry.message.id);
        }
        self.enter(serial, Place::Visible);
    }

    /// Deletes a message.
    fn discard(&mut self, serial: Serial) {
        if let Some(message) = self.remove(serial) {
            self.observer.deleted(&message.id);
        }
    }

    /// Moves a message from its place to another one.
    fn enter(&mut self, serial: Serial, place: Place) {
        let Some(entry) = self.entries.get_mut(&serial) else { return };
        let left = std::mem::replace(&mut entry.place, place);
        self.leave(serial, left);
        self.arrive(serial, place);
    }

    /// Removes a message; its number in `ready` stays behind and is passed over later.
    fn remove(&mut self, serial: Serial) -> Option<StoredMessage> {
        let entry = self.entries.remove(&serial)?;
        self.timers.remove(&(entry.expires, serial, Timer::Expiry));
        self.leave(serial, entry.place);
        Some(entry.message)
    }

    /// Books that a message came to a place.
    fn arrive(&mut self, serial: Serial, place: Place) {
        match place {
            Place::Visible => self.ready.push_back(serial),
            Place::Delayed(until) => {
                self.delayed += 1;
                self.timers.insert((until, serial, Timer::Visible));
            }
            Place::InFlight(until) => {
                self.in_flight += 1;
                self.timers.insert((until, serial, Timer::Visible));
            }
        }
    }

    /// Books that a message left a place.
    fn leave(&mut self, serial: Serial, place: Place) {
        match place {
            Place::Visible => {}
            Place::Delayed(until) => {
                self.delayed -= 1;
                self.timers.remove(&(until, serial, Timer::Visible));
            }
            Place::InFlight(until) => {
                self.in_flight -= 1;
                self.timers.remove(&(until, serial, Timer::Visible));
            }
        }
    }
}
