//! Random runs of a correct system in a rough world: kills on order, redeliveries, dead letters, batches,
//! resets, throttling. Every choice is drawn from a list, so that a failing run shrinks.

use std::time::Duration;

use verifier::event::{Delivery, InvocationOutcome, Peer, ResetReason};
use verifier::{EnvironmentId, EventKind, InvocationId, Span, SpanId};

use crate::story::{Ids, Story, consumer_in, end, environment, producer, server};

/// How often a message is delivered before it goes to the dead-letter queue.
const MAX_DELIVERIES: u32 = 3;

/// A run that is over, and what it should come to.
pub(crate) struct World {
    pub(crate) story: Story,
    pub(crate) requests: u64,
    pub(crate) deliveries: u64,
    /// Spans that were lost through kills on order.
    pub(crate) excused: u64,
    /// The consumer spans of deliveries whose invocation was answered.
    pub(crate) flushed: Vec<SpanId>,
}

/// Where choices come from; when they are used up, they begin again.
struct Dice<'a> {
    rolls: &'a [u8],
    next: usize,
}

impl Dice<'_> {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.next += 1;
        // Without the second part, the same few rolls could keep a run from ever coming to its end.
        (usize::from(self.rolls[self.next % self.rolls.len()]) + self.next / self.rolls.len()) % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// A delivery in an invocation.
type Record = (Ids, u32);

struct Worker {
    environment: EnvironmentId,
    /// Whether it has a process.
    started: bool,
    frozen: bool,
    busy: Option<Busy>,
}

struct Busy {
    invocation: InvocationId,
    records: Vec<Record>,
    /// How many records' spans have been exported.
    exported: usize,
}

struct Run<'a> {
    dice: Dice<'a>,
    world: World,
    unsent: Vec<Ids>,
    queue: Vec<Record>,
    workers: Vec<Worker>,
    /// Spans that are on their way.
    under_way: Vec<(Peer, Span)>,
    numbered: u32,
}

impl World {
    /// A run of that many requests, with choices from these rolls.
    pub(crate) fn rough(requests: u32, rolls: &[u8]) -> Self {
        // It may wait anywhere, between a flush and the next invocation, too.
        let story = Story::begun(requests).with_flush_budget(Duration::from_secs(3_600));
        let world = Self { story, requests: u64::from(requests), deliveries: 0, excused: 0, flushed: Vec::new() };
        let first = Worker { environment: environment(), started: true, frozen: false, busy: None };
        let second = Worker { environment: EnvironmentId::new("worker-b"), started: false, frozen: false, busy: None };
        let mut run = Run {
            dice: Dice { rolls, next: 0 },
            world,
            unsent: (0..requests).rev().map(Ids).collect(),
            queue: Vec::new(),
            workers: vec![first, second],
            under_way: Vec::new(),
            numbered: 0,
        };
        while run.is_on() {
            run.step();
        }
        run.deliver_telemetry();
        run.world.story = run.world.story.ended();
        run.world
    }
}

impl Run<'_> {
    fn is_on(&self) -> bool {
        let busy = self.workers.iter().any(|worker| worker.busy.is_some());
        busy || !self.unsent.is_empty() || !self.queue.is_empty()
    }

    fn step(&mut self) {
        match self.dice.roll(8) {
            0 | 1 => self.send(),
            2 => self.deliver_one_span(),
            3 if self.dice.one_in(16) => {
                self.deliver_telemetry();
                self.world.story.wait(Duration::from_secs(30));
            }
            4 if self.dice.one_in(8) => {
                self.world.story.tell(EventKind::InvocationThrottled { function: "worker".to_owned(), records: 1 });
            }
            roll => self.work(roll % self.workers.len()),
        }
    }

    fn send(&mut self) {
        let Some(ids) = self.unsent.pop() else { return };
        let story = &mut self.world.story;
        story.start_request(ids);
        story.send(ids, Some(ids.traceparent()));
        story.answer(ids, 202);
        self.under_way.extend([server(ids), producer(ids)]);
        self.queue.push((ids, 1));
    }

    fn deliver_one_span(&mut self) {
        if !self.under_way.is_empty() {
            let place = self.dice.roll(self.under_way.len());
            let span = self.under_way.remove(place);
            self.world.story.tell_fresh_span(span);
        }
    }

    fn deliver_telemetry(&mut self) {
        for span in std::mem::take(&mut self.under_way) {
            self.world.story.tell_fresh_span(span);
        }
    }

    fn work(&mut self, worker: usize) {
        let Worker { environment, started, frozen, busy } = &self.workers[worker];
        let environment = environment.clone();
        match busy {
            Some(_) if self.dice.one_in(10) => self.kill(worker),
            Some(busy) if busy.exported < busy.records.len() => self.export(worker),
            Some(_) => self.finish(worker),
            None if !started => {
                self.world.story.start_environment(&environment);
                self.workers[worker].started = true;
                // Started ahead of its use, or for an invocation.
                if self.dice.one_in(2) {
                    self.freeze(worker);
                }
            }
            None if *frozen && self.dice.one_in(20) => {
                self.world.story.order_kill(&environment, None);
                self.lose_process(worker);
            }
            None => self.invoke(worker),
        }
    }

    fn freeze(&mut self, worker: usize) {
        let environment = self.workers[worker].environment.clone();
        self.world.story.freeze(&environment, 0, 0);
        self.workers[worker].frozen = true;
    }

    fn invoke(&mut self, worker: usize) {
        if self.queue.is_empty() {
            return;
        }
        let environment = self.workers[worker].environment.clone();
        if std::mem::take(&mut self.workers[worker].frozen) {
            self.world.story.thaw(&environment);
        }
        let size = 1 + self.dice.roll(3.min(self.queue.len()));
        let records: Vec<_> = self.queue.drain(..size).collect();
        self.numbered += 1;
        let invocation = InvocationId::new(format!("invocation-{}", self.numbered));
        let delivery = |(ids, count): &Record| Delivery { message: ids.message(), receive_count: *count };
        let deliveries: Vec<_> = records.iter().map(delivery).collect();
        self.world.deliveries += records.len() as u64;
        let cold = false;
        self.world.story.tell(EventKind::InvocationStarted {
            invocation: invocation.clone(),
            environment,
            cold,
            deliveries,
        });
        self.workers[worker].busy = Some(Busy { invocation, records, exported: 0 });
    }

    fn export(&mut self, worker: usize) {
        let Worker { environment, busy: Some(busy), .. } = &mut self.workers[worker] else { return };
        let (ids, delivery) = busy.records[busy.exported];
        busy.exported += 1;
        self.world.story.tell_fresh_span(consumer_in(environment, ids, delivery));
    }

    /// Its invocation ends after the flush: well, with some records reported as failed, or in a time-out.
    fn finish(&mut self, worker: usize) {
        let Some(Busy { invocation, records, .. }) = self.workers[worker].busy.take() else { return };
        if self.dice.one_in(8) {
            self.world.story.tell(EventKind::InvocationFinished { invocation, outcome: InvocationOutcome::TimedOut });
            let environment = self.workers[worker].environment.clone();
            self.world.story.reset(&environment, ResetReason::TimedOut, false);
            self.workers[worker].started = false;
            records.into_iter().for_each(|record| self.give_back(record));
            return;
        }
        let failed: Vec<_> = records.iter().copied().filter(|_| self.dice.one_in(4)).collect();
        let outcome = InvocationOutcome::Succeeded { failed: failed.iter().map(|(ids, _)| ids.message()).collect() };
        self.world.story.tell(EventKind::InvocationFinished { invocation, outcome });
        self.freeze(worker);
        for (ids, delivery) in records {
            self.world.flushed.push(ids.consumer(delivery));
            match failed.contains(&(ids, delivery)) {
                true => self.give_back((ids, delivery)),
                false => self.world.story.delete(ids),
            }
        }
    }

    fn give_back(&mut self, (ids, delivery): Record) {
        self.world.story.give_back(ids);
        match delivery < MAX_DELIVERIES {
            true => self.queue.push((ids, delivery + 1)),
            false => self.world.story.bury(ids),
        }
    }

    /// Its invocation is killed on order. If nothing is started in its place, some of what it had not
    /// flushed may be on its way all the same.
    fn kill(&mut self, worker: usize) {
        let environment = self.workers[worker].environment.clone();
        let Some(Busy { invocation, records, exported }) = self.workers[worker].busy.take() else { return };
        self.world.story.order_kill(&environment, Some(invocation.clone()));
        let outcome = InvocationOutcome::EnvironmentDied;
        self.world.story.tell(EventKind::InvocationFinished { invocation, outcome });
        self.lose_process(worker);
        let is_gone = self.workers[worker].environment != environment;
        for (place, (ids, delivery)) in records.into_iter().enumerate() {
            if place >= exported {
                match is_gone && self.dice.one_in(3) {
                    true => self.under_way.push(consumer_in(&environment, ids, delivery)),
                    false => self.world.excused += 1,
                }
            }
            self.give_back((ids, delivery));
        }
    }

    /// An ordered end: of the environment, or of its process alone.
    fn lose_process(&mut self, worker: usize) {
        let environment = self.workers[worker].environment.clone();
        if self.dice.one_in(2) {
            self.world.story.reset(&environment, ResetReason::Exited, true);
        } else {
            self.world.story.tell(EventKind::EnvironmentEnded { environment, end: end(true) });
            self.numbered += 1;
            self.workers[worker].environment = EnvironmentId::new(format!("worker-{}", 10 + self.numbered));
        }
        self.workers[worker].started = false;
        self.workers[worker].frozen = false;
    }
}
