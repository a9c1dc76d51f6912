//! Our own SQS engine: standard queues, in memory. It knows when to look and whom to wake.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;
use verifier::MessageId;

use super::attributes::{AttributeMap, QueueAttributes};
use super::error::{ErrorKind, SqsError};
use super::limits;
use super::message::{NewMessage, ReceivedMessage, SentMessage};
use super::move_task::{MoveReport, MoveRequest, MoveTasks, Step};
use super::permissions::{self, Permission};
use super::queues::{Depth, ReceiveRequest};
use super::store::{EpochClock, Store, StoredMessage, Taken, ToMove};
use super::tags::{self, Tags};
use super::tap::Observer;

/// The engine.
///
/// Locks are held for a look and never over an await, and no two queues are locked at a time. The
/// registry's lock may be taken with a queue locked, and never the other way around.
#[derive(Debug)]
pub(super) struct Engine {
    /// What the queues' ARNs begin with, `arn:aws:sqs:us-east-1:000000000000:`.
    arn_prefix: String,
    clock: EpochClock,
    observer: Arc<dyn Observer>,
    registry: Registry,
    moves: MoveTasks,
}

/// The queues by their names. Cheap to clone.
#[derive(Debug, Clone, Default)]
struct Registry(Arc<RwLock<BTreeMap<String, Arc<Queue>>>>);

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Queue>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Queue>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Arc<Queue>> {
        self.read().get(name).cloned()
    }

    /// The queue with this ARN. They end with the queue's name.
    fn find_by_arn(&self, arn: &str) -> Option<Arc<Queue>> {
        self.find(arn.rsplit(':').next()?).filter(|queue| queue.arn == arn)
    }
}

/// A queue, and those who wait for it.
#[derive(Debug)]
struct Queue {
    name: String,
    arn: String,
    created: Instant,
    tags: Mutex<Tags>,
    store: Mutex<Store>,
    /// Wakes a poll, because there is something to receive.
    wake: Notify,
    /// Wakes the timekeeper, because something will happen earlier than it knows.
    rearm: Arc<Notify>,
}

impl Queue {
    /// Does something to the messages at this instant, then wakes whom it concerns.
    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.advance(now);
        let known_timer = store.next_timer();
        let result = act(&mut store);
        let must_rearm = is_earlier(store.next_timer(), known_timer);
        let is_receivable = store.is_receivable();
        drop(store);
        if must_rearm {
            self.rearm.notify_one();
        }
        // One poll is enough: if it leaves anything, its own look wakes the next one.
        if is_receivable {
            self.wake.notify_one();
        }
        result
    }

    fn tags(&self) -> MutexGuard<'_, Tags> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    /// Wakes the timekeeper, so that it finds out that there is no time to keep any more.
    fn drop(&mut self) {
        self.rearm.notify_one();
    }
}

/// Whether a timer is due before the one that the timekeeper knows.
fn is_earlier(timer: Option<Instant>, known: Option<Instant>) -> bool {
    match (timer, known) {
        (Some(timer), Some(known)) => timer < known,
        (timer, None) => timer.is_some(),
        (None, Some(_)) => false,
    }
}

/// Lets things happen in a queue when they are due, whether or not anybody looks.
///
/// One sleeper for each queue, so that a timer need not wake every poll that waits.
async fn keep_time(queue: Weak<Queue>, rearm: Arc<Notify>) {
    let next_timer = |queue: Arc<Queue>| queue.with(Instant::now(), |store| store.next_timer());
    while let Some(next_timer) = queue.upgrade().map(next_timer) {
        match next_timer {
            None => rearm.notified().await,
            Some(at) => tokio::select! {
                () = rearm.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            },
        }
    }
}

impl Engine {
    /// An engine without queues, whose ARNs begin with `arn_prefix`.
    pub(super) fn new(arn_prefix: String, observer: Arc<dyn Observer>) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = EpochClock { instant: Instant::now(), since_epoch };
        Self { arn_prefix, clock, observer, registry: Registry::default(), moves: MoveTasks::default() }
    }

    /// Creates a queue, or finds it if it is there and each given attribute is the same.
    pub(super) fn create(&self, name: &str, given: &AttributeMap) -> Result<(), SqsError> {
        limits::check_queue_name(name)?;
        let attributes = QueueAttributes::default().with(given)?;
        self.check_redrive(&attributes)?;
        match self.insert(name, attributes) {
            Some(existing) => existing.with(Instant::now(), |store| check_same(store.attributes(), given)),
            None => Ok(()),
        }
    }

    /// Inserts a queue, unless there is one with this name already, which is handed out.
    fn insert(&self, name: &str, attributes: QueueAttributes) -> Option<Arc<Queue>> {
        let mut registry = self.registry.write();
        match registry.entry(name.to_owned()) {
            Entry::Occupied(existing) => Some(existing.get().clone()),
            Entry::Vacant(place) => {
                let queue = place.insert(Arc::new(self.new_queue(name, attributes)));
                tokio::spawn(keep_time(Arc::downgrade(queue), Arc::clone(&queue.rearm)));
                None
            }
        }
    }

    fn new_queue(&self, name: &str, attributes: QueueAttributes) -> Queue {
        let arn = format!("{}{name}", self.arn_prefix);
        let tag = Uuid::new_v4().simple().to_string();
        let store = Store::new(arn.clone(), tag, attributes, self.clock, Arc::clone(&self.observer));
        Queue {
            name: name.to_owned(),
            arn,
            created: Instant::now(),
            tags: Mutex::default(),
            store: Mutex::new(store),
            wake: Notify::new(),
            rearm: Arc::default(),
        }
    }

    /// Deletes a queue with all its messages.
    pub(super) fn delete_queue(&self, name: &str) -> Result<(), SqsError> {
        let queue = self.registry.write().remove(name);
        let queue = queue.ok_or_else(SqsError::no_queue)?;
        queue.with(Instant::now(), Store::clear);
        // Whoever waits finds out that there is nothing to wait for.
        queue.wake.notify_waiters();
        Ok(())
    }

    /// The names of all queues, in their order.
    pub(super) fn names(&self) -> Vec<String> {
        self.registry.read().keys().cloned().collect()
    }

    /// The names of the queues whose dead-letter queue this is.
    pub(super) fn dead_letter_sources(&self, name: &str) -> Result<Vec<String>, SqsError> {
        let target = self.queue(name)?;
        let queues: Vec<_> = self.registry.read().values().cloned().collect();
        let is_source = |queue: &Arc<Queue>| {
            queue.with(Instant::now(), |store| {
                store.attributes().redrive.as_ref().is_some_and(|redrive| redrive.target_arn == target.arn)
            })
        };
        Ok(queues.into_iter().filter(is_source).map(|queue| queue.name.clone()).collect())
    }

    /// All attributes of a queue.
    pub(super) fn attributes(&self, name: &str) -> Result<AttributeMap, SqsError> {
        let queue = self.queue(name)?;
        let (mut map, modified, depth) = queue.with(Instant::now(), |store| {
            (store.attributes().to_map(), store.modified().unwrap_or(queue.created), store.depth())
        });
        let seconds = |at| (self.clock.millis(at) / 1000).to_string();
        map.extend(
            [
                ("QueueArn", queue.arn.clone()),
                ("CreatedTimestamp", seconds(queue.created)),
                ("LastModifiedTimestamp", seconds(modified)),
                ("ApproximateNumberOfMessages", depth.visible.to_string()),
                ("ApproximateNumberOfMessagesNotVisible", depth.in_flight.to_string()),
                ("ApproximateNumberOfMessagesDelayed", depth.delayed.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(map)
    }

    /// Sets some of a queue's attributes; all of them, or none if one is not allowed.
    pub(super) fn set_attributes(&self, name: &str, given: &AttributeMap) -> Result<(), SqsError> {
        let now = Instant::now();
        self.queue(name)?.with(now, |store| {
            let attributes = store.attributes().clone().with(given)?;
            self.check_redrive(&attributes)?;
            store.set_attributes(attributes, now);
            Ok(())
        })
    }

    /// How many messages a queue has.
    pub(super) fn depth(&self, name: &str) -> Result<Depth, SqsError> {
        Ok(self.queue(name)?.with(Instant::now(), |store| store.depth()))
    }

    /// Accepts a message.
    ///
    /// `admit` is called for it once, when nothing can refuse it any more and nobody can see it yet;
    /// what it makes of the message is what the queue keeps. The answer is about what was sent.
    pub(super) fn send(
        &self,
        name: &str,
        mut message: NewMessage,
        admit: impl FnOnce(&MessageId, &mut NewMessage),
    ) -> Result<SentMessage, SqsError> {
        let queue = self.queue(name)?;
        let now = Instant::now();
        let (max_bytes, default_delay) =
            queue.with(now, |store| (store.attributes().max_message_bytes, store.attributes().delay));
        limits::check_message(&message, max_bytes)?;
        let id = Uuid::new_v4().to_string();
        let sent = SentMessage::new(id.clone(), &message);
        let id = MessageId::new(id);
        admit(&id, &mut message);
        let delay = message.delay.unwrap_or(default_delay);
        let message = StoredMessage::new(id, message, now);
        queue.with(now, |store| store.insert(message, now, delay));
        Ok(sent)
    }

    /// Receives messages, and waits for them if there are none.
    ///
    /// Dropped while it waits, it has taken nothing.
    pub(super) async fn receive(&self, name: &str, request: &ReceiveRequest) -> Result<Vec<ReceivedMessage>, SqsError> {
        let mut now = Instant::now();
        let wait = match request.wait {
            Some(wait) => wait,
            None => self.queue(name)?.with(now, |store| store.attributes().wait),
        };
        let deadline = now + wait;
        loop {
            let queue = self.queue(name)?;
            // From here on a wake is kept: what comes after the look below is not missed.
            let woken = queue.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let received = self.look(&queue, request, now);
            if !received.is_empty() {
                return Ok(received);
            }
            if now >= deadline {
                return nothing(&queue, wait);
            }
            tokio::select! {
                biased;
                () = woken => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            now = Instant::now();
        }
    }

    /// Takes what can be taken, and moves dead letters.
    fn look(&self, queue: &Queue, request: &ReceiveRequest, now: Instant) -> Vec<ReceivedMessage> {
        let (Taken { received, dead }, target) = queue.with(now, |store| {
            // Found before anything is removed, so that no dead letter is without a place.
            let target = self.dead_letter_queue(store.attributes());
            let name = target.as_ref().map(|target| target.name.as_str());
            (store.take(now, request.max, request.visibility_timeout, name), target)
        });
        if let Some(target) = target {
            target.with(now, |store| dead.into_iter().for_each(|message| store.insert(message, now, Duration::ZERO)));
        }
        received
    }

    /// Deletes a received message.
    pub(super) fn delete(&self, name: &str, handle: &str) -> Result<(), SqsError> {
        self.queue(name)?.with(Instant::now(), |store| store.delete(handle))
    }

    /// Hides a message that is in flight for this time from now on.
    pub(super) fn change_visibility(&self, name: &str, handle: &str, hidden: Duration) -> Result<(), SqsError> {
        let now = Instant::now();
        self.queue(name)?.with(now, |store| store.change_visibility(handle, now, hidden))
    }

    /// Deletes all messages of a queue.
    pub(super) fn purge(&self, name: &str) -> Result<(), SqsError> {
        let now = Instant::now();
        self.queue(name)?.with(now, |store| store.purge(name, now))
    }

    /// A queue's tags.
    pub(super) fn tags(&self, name: &str) -> Result<Tags, SqsError> {
        Ok(self.queue(name)?.tags().clone())
    }

    /// Adds tags to a queue; all of them, or none if one is not allowed.
    pub(super) fn tag(&self, name: &str, given: &Tags) -> Result<(), SqsError> {
        tags::add(&mut self.queue(name)?.tags(), given)
    }

    /// Takes tags away from a queue, as far as it has them.
    pub(super) fn untag(&self, name: &str, keys: &[String]) -> Result<(), SqsError> {
        self.queue(name)?.tags().retain(|key, _| !keys.contains(key));
        Ok(())
    }

    /// Adds a permission to a queue's policy.
    pub(super) fn add_permission(&self, name: &str, permission: &Permission) -> Result<(), SqsError> {
        self.change_policy(name, |policy, arn| permissions::add(policy, arn, permission))
    }

    /// Removes a permission from a queue's policy.
    pub(super) fn remove_permission(&self, name: &str, label: &str) -> Result<(), SqsError> {
        self.change_policy(name, |policy, arn| permissions::remove(policy, arn, label))
    }

    fn change_policy(
        &self,
        name: &str,
        change: impl FnOnce(Option<&str>, &str) -> Result<String, SqsError>,
    ) -> Result<(), SqsError> {
        let (queue, now) = (self.queue(name)?, Instant::now());
        queue.with(now, |store| {
            let policy = change(store.attributes().policy(), &queue.arn)?;
            store.set_attributes(store.attributes().clone().with_policy(policy), now);
            Ok(())
        })
    }

    /// Begins to move messages out of a dead-letter queue; returns the task's handle.
    pub(super) fn start_move(&self, request: MoveRequest) -> Result<String, SqsError> {
        let source = self.resource(&request.source_arn, "SourceArn")?;
        if self.dead_letter_sources(&source.name)?.is_empty() {
            let message = "Source queue must be configured as a Dead Letter Queue.";
            return Err(SqsError::new(ErrorKind::InvalidParameterValue, message));
        }
        let destination = request.destination_arn.as_deref().map(|arn| self.resource(arn, "DestinationArn"));
        let destination = destination.transpose()?;
        let (now, max_per_second) = (Instant::now(), request.max_per_second);
        let to_move = source.with(now, |store| store.depth()).visible as u64;
        let started = u64::try_from(self.clock.millis(now)).unwrap_or(u64::MAX);
        let handle = self.moves.begin(request, to_move, started)?;
        let registry = self.registry.clone();
        let step = move |now| move_one(&source, destination.as_ref(), &registry, now);
        tokio::spawn(self.moves.clone().carry_out(handle.clone(), max_per_second, step));
        Ok(handle)
    }

    /// The newest tasks that move messages out of a queue.
    pub(super) fn moves(&self, source_arn: &str, max: usize) -> Result<Vec<MoveReport>, SqsError> {
        self.resource(source_arn, "SourceArn")?;
        Ok(self.moves.of(source_arn, max))
    }

    /// Ends a task that moves messages; tells how many it has moved.
    pub(super) fn cancel_move(&self, handle: &str) -> Result<u64, SqsError> {
        self.moves.cancel(handle)
    }

    fn resource(&self, arn: &str, parameter: &str) -> Result<Arc<Queue>, SqsError> {
        self.registry.find_by_arn(arn).ok_or_else(|| {
            let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
            SqsError::new(ErrorKind::ResourceNotFound, message)
        })
    }

    fn queue(&self, name: &str) -> Result<Arc<Queue>, SqsError> {
        self.registry.find(name).ok_or_else(SqsError::no_queue)
    }

    /// The queue that takes the messages which these attributes send away.
    fn dead_letter_queue(&self, attributes: &QueueAttributes) -> Option<Arc<Queue>> {
        self.registry.find_by_arn(&attributes.redrive.as_ref()?.target_arn)
    }

    fn check_redrive(&self, attributes: &QueueAttributes) -> Result<(), SqsError> {
        match &attributes.redrive {
            Some(redrive) if self.dead_letter_queue(attributes).is_none() => Err(redrive.without_target()),
            _ => Ok(()),
        }
    }
}

/// Moves one message out of a dead-letter queue: to the destination, or else to where it came from.
fn move_one(source: &Queue, destination: Option<&Arc<Queue>>, registry: &Registry, now: Instant) -> Step {
    let target = |origin: Option<&str>| {
        let target = destination.cloned().or_else(|| registry.find_by_arn(origin?))?;
        Some((target.name.clone(), target))
    };
    match source.with(now, |store| store.take_to_move(now, target)) {
        ToMove::Message(message, target) => {
            target.with(now, |store| store.insert(message, now, Duration::ZERO));
            Step::Moved
        }
        ToMove::Nothing => Step::Done,
        ToMove::Nowhere(Some(_)) => Step::Failed("AWS.SimpleQueueService.NonExistentQueue"),
        ToMove::Nowhere(None) => Step::Failed("CouldNotDetermineMessageSource"),
    }
}

/// The answer when the wait is over. SQS refuses only those who did not want to wait, if it is because
/// too many messages are in flight (SQS API, `ReceiveMessage`).
fn nothing(queue: &Queue, wait: Duration) -> Result<Vec<ReceivedMessage>, SqsError> {
    if wait.is_zero() && queue.with(Instant::now(), |store| store.is_at_limit()) {
        let message = "Too many messages in flight: the limit of a standard queue is 120,000.";
        return Err(SqsError::new(ErrorKind::OverLimit, message));
    }
    Ok(Vec::new())
}

fn check_same(attributes: &QueueAttributes, given: &AttributeMap) -> Result<(), SqsError> {
    let Some(name) = attributes.difference(given) else { return Ok(()) };
    let message = format!("A queue already exists with the same name and a different value for attribute {name}");
    Err(SqsError::new(ErrorKind::QueueNameExists, message))
}
