//! Queues, functions and their environments.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use verifier::contract::Per;
use verifier::event::{Delivery, Fault, InvocationOutcome, OpenExchanges, Peer, ProcessEnd, ResetReason};
use verifier::{EnvironmentId, EventKind, InvocationId, MessageId};

use super::spans::{Contexts, Key, Made, Telling, span_id, trace_id};
use super::system::{Maker, System};
use super::truth::{Fate, Purpose};
use super::world::{Action, World, internal_span};

/// A message with all that its handling needs.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) worker: usize,
    pub(crate) request: u32,
    /// Its request, if that was promised a trace.
    pub(crate) promised: Option<u32>,
    /// The spans of its request and its sending.
    pub(crate) contexts: Contexts,
    pub(crate) carried: Key,
    pub(crate) receives: u32,
}

/// Something that is going to happen in the cloud. What is planned for a process is void once that has ended.
#[derive(Debug)]
pub(super) enum Step {
    /// A message becomes visible.
    Show(Box<Message>),
    /// A batch that was throttled is tried again.
    Retry {
        batch: Vec<Message>,
        attempts: u32,
    },
    /// A process is ready for its first invocation.
    Begin {
        process: Process,
        batch: Vec<Message>,
    },
    /// A function exports what has ended.
    Export(Process),
    Finish(Process),
    Kill(Process),
    /// What had left a killed environment comes to the endpoint.
    Straggle {
        peer: Peer,
        worker: usize,
        spans: Vec<Made>,
    },
}

/// A process of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    environment: u32,
    generation: u32,
}

/// All queues and environments.
#[derive(Debug)]
pub(super) struct Cloud {
    /// For each worker, its visible messages.
    visible: Vec<VecDeque<Message>>,
    environments: BTreeMap<u32, Environment>,
    numbered: u32,
    invocations: u64,
}

#[derive(Debug)]
struct Environment {
    id: EnvironmentId,
    worker: usize,
    generation: u32,
    state: State,
    invocations: u32,
    /// Spans that have ended, or will within the invocation, and wait for their export.
    pending: Vec<Made>,
    /// Spans of the invocation that got lost. If it is killed, nobody can tell them from those that it had not
    /// exported.
    lost: Vec<Made>,
}

#[derive(Debug)]
enum State {
    /// Its process is being started, or works.
    Busy(Option<Busy>),
    /// It waits for its next invocation.
    Idle { is_frozen: bool },
    /// It was reset: its process begins with its next invocation.
    Reset,
}

#[derive(Debug)]
struct Busy {
    invocation: InvocationId,
    batch: Vec<Message>,
    outcome: Outcome,
}

/// How an invocation will end, if nobody kills it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// With these records reported as failed.
    Succeeds {
        failed: Vec<usize>,
    },
    Fails,
    TimesOut,
}

impl Outcome {
    fn is_failed(&self, record: usize) -> bool {
        match self {
            Self::Succeeds { failed } => failed.contains(&record),
            Self::Fails | Self::TimesOut => true,
        }
    }
}

impl Cloud {
    pub(super) fn new(system: &System) -> Self {
        let visible = system.workers.iter().map(|_| VecDeque::new()).collect();
        Self { visible, environments: BTreeMap::new(), numbered: 0, invocations: 0 }
    }

    fn of(&mut self, process: Process) -> Option<&mut Environment> {
        self.environments.get_mut(&process.environment).filter(|known| known.generation == process.generation)
    }

    /// An environment that could take an invocation.
    fn free(&self, worker: usize) -> Option<u32> {
        let is_free = |known: &Environment| known.worker == worker && !matches!(known.state, State::Busy(_));
        self.environments.iter().find(|(_, known)| is_free(known)).map(|(number, _)| *number)
    }

    fn has_room(&self, worker: usize, concurrency: usize) -> bool {
        let own = self.environments.values().filter(|known| known.worker == worker).count();
        own < concurrency || self.free(worker).is_some()
    }
}

impl World<'_> {
    pub(super) fn cloud_step(&mut self, step: Step) {
        match step {
            Step::Show(message) => self.enqueue(*message),
            Step::Retry { batch, attempts } => self.retry(batch, attempts),
            Step::Begin { process, batch } => self.begin_process(process, batch),
            Step::Export(process) => self.export_ended(process),
            Step::Finish(process) => self.finish(process),
            Step::Kill(process) => self.kill(process),
            Step::Straggle { peer, worker, spans } => {
                let lost = self.export(&peer, Maker::Function(worker), spans);
                lost.iter().for_each(|made| self.truth.tell(made.purpose, Fate::Excused));
            }
        }
    }

    /// A message can be received.
    pub(super) fn enqueue(&mut self, message: Message) {
        let worker = message.worker;
        self.cloud.visible[worker].push_back(message);
        self.pump(worker);
    }

    /// The event source of a function takes messages, as long as there is somebody for them.
    fn pump(&mut self, worker: usize) {
        let (concurrency, batch_size) =
            (self.system.workers[worker].concurrency, self.system.workers[worker].batch_size);
        while !self.cloud.visible[worker].is_empty() && self.cloud.has_room(worker, concurrency) {
            let size = (1 + self.dice.below(batch_size)).min(self.cloud.visible[worker].len());
            let mut batch: Vec<_> = self.cloud.visible[worker].drain(..size).collect();
            for message in &mut batch {
                message.receives += 1;
                let (message, receive_count) = (message.id.clone(), message.receives);
                self.tell(EventKind::MessageReceived { message, receive_count });
            }
            match self.plan.fails && self.dice.one_in(40) {
                true => self.throttle(batch, 1),
                false => self.invoke(batch),
            }
        }
    }

    fn throttle(&mut self, batch: Vec<Message>, attempts: u32) {
        let function = self.system.workers[batch[0].worker].function.clone();
        self.tell(EventKind::InvocationThrottled { function, records: batch.len() as u32 });
        let after = self.dice.millis(50, 300);
        self.schedule(after, Action::Cloud(Step::Retry { batch, attempts }));
    }

    fn retry(&mut self, batch: Vec<Message>, attempts: u32) {
        let worker = batch[0].worker;
        if self.cloud.has_room(worker, self.system.workers[worker].concurrency) {
            self.invoke(batch);
        } else if attempts < 4 {
            self.throttle(batch, attempts + 1);
        } else {
            batch.into_iter().for_each(|message| self.give_back(message));
        }
    }

    /// A batch goes to an environment that is free, or to a new one.
    fn invoke(&mut self, batch: Vec<Message>) {
        let worker = batch[0].worker;
        let Some(number) = self.cloud.free(worker) else {
            let number = self.new_environment(worker);
            self.start_process(number, batch);
            return;
        };
        let known = self.cloud.environments.get_mut(&number).unwrap();
        match std::mem::replace(&mut known.state, State::Busy(None)) {
            State::Reset => self.start_process(number, batch),
            State::Idle { is_frozen } => {
                let environment = known.id.clone();
                if is_frozen {
                    self.tell(EventKind::EnvironmentThawed { environment });
                }
                self.begin_invocation(number, batch);
            }
            State::Busy(_) => unreachable!("a free environment is not busy"),
        }
    }

    fn new_environment(&mut self, worker: usize) -> u32 {
        self.cloud.numbered += 1;
        let number = self.cloud.numbered;
        let id = EnvironmentId::new(format!("{}-{number}", self.system.workers[worker].function));
        let state = State::Busy(None);
        let known =
            Environment { id, worker, generation: 0, state, invocations: 0, pending: Vec::new(), lost: Vec::new() };
        self.cloud.environments.insert(number, known);
        number
    }

    /// The Init phase.
    fn start_process(&mut self, number: u32, batch: Vec<Message>) {
        let known = self.cloud.environments.get_mut(&number).unwrap();
        known.invocations = 0;
        let (environment, worker, generation) = (known.id.clone(), known.worker, known.generation);
        let function = self.system.workers[worker].function.clone();
        self.tell(EventKind::EnvironmentStarted { environment, function, pid: 100 + number });
        let init = self.dice.millis(8, 200);
        let spans = self.init_spans(worker, init);
        self.cloud.environments.get_mut(&number).unwrap().pending = spans;
        let process = Process { environment: number, generation };
        if self.dice.one_in(3) {
            self.schedule(init - Duration::from_millis(2), Action::Cloud(Step::Export(process)));
        }
        self.schedule(init, Action::Cloud(Step::Begin { process, batch }));
    }

    /// The spans of a process's start.
    fn init_spans(&mut self, worker: usize, init: Duration) -> Vec<Made> {
        let mut contexts = Contexts::new(self.system);
        let end = self.now + init - Duration::from_millis(4);
        let telling = Telling { start: self.now, end, ..Telling::default() };
        let purpose = Purpose::Row { per: Per::Environment, promised: None, required: true };
        let mut spans = Vec::new();
        for (place, _) in self.system.of_function(Per::Environment, worker) {
            let span = self.system.span(place, &telling, &mut contexts, &mut self.dice);
            spans.push(Made { span, purpose, heirs: Vec::new() });
        }
        let service = &self.system.workers[worker].service;
        let extra = self.system.contract.extras.get("warm-up").filter(|extra| extra.service == *service);
        if let Some(extra) = extra.filter(|_| self.dice.flip()) {
            let parent = (trace_id(&mut self.dice), span_id(&mut self.dice));
            let times = (self.now, end);
            let mut span = internal_span(parent, extra.name.as_str().to_owned(), times, &mut self.dice);
            span.parent_span_id = None;
            spans.push(Made { span, purpose: Purpose::Extra, heirs: Vec::new() });
        }
        spans
    }

    fn begin_process(&mut self, process: Process, batch: Vec<Message>) {
        let Some(known) = self.cloud.of(process) else { return };
        let (environment, worker) = (known.id.clone(), known.worker);
        let asked = self.system.of_function(Per::Environment, worker).count() as u64;
        self.truth.ask(Per::Environment, asked);
        let init = Duration::from_millis(8);
        self.tell(EventKind::EnvironmentInitialized { environment: environment.clone(), init });
        if self.dice.one_in(3) {
            self.export_ended(process);
        }
        if self.dice.one_in(3) {
            self.tell(EventKind::EnvironmentFrozen {
                environment: environment.clone(),
                open: OpenExchanges::default(),
            });
            self.tell(EventKind::EnvironmentThawed { environment });
        }
        self.begin_invocation(process.environment, batch);
    }

    fn begin_invocation(&mut self, number: u32, batch: Vec<Message>) {
        self.cloud.invocations += 1;
        let invocation = InvocationId::new(format!("invocation-{}", self.cloud.invocations));
        let known = self.cloud.environments.get_mut(&number).unwrap();
        known.invocations += 1;
        let (environment, worker, cold) = (known.id.clone(), known.worker, known.invocations == 1);
        let process = Process { environment: number, generation: known.generation };
        let record = |message: &Message| Delivery { message: message.id.clone(), receive_count: message.receives };
        let deliveries = batch.iter().map(record).collect();
        self.tell(EventKind::InvocationStarted { invocation: invocation.clone(), environment, cold, deliveries });
        self.count_invocation(worker, batch.len() as u64);
        let outcome = self.outcome(batch.len());
        let took = self.plan_exports(process, batch.len());
        let spans = self.work(worker, &invocation, &batch, &outcome);
        let known = self.cloud.environments.get_mut(&number).unwrap();
        known.pending.extend(spans);
        known.state = State::Busy(Some(Busy { invocation, batch, outcome }));
        if self.plan.kills && self.dice.one_in(50) {
            let after = self.dice.micros(0, took.as_micros() as u64);
            self.schedule(after, Action::Cloud(Step::Kill(process)));
        }
    }

    fn count_invocation(&mut self, worker: usize, records: u64) {
        self.truth.deliveries += records;
        let of_delivery = self.system.of_function(Per::Delivery, worker).count() as u64;
        self.truth.ask(Per::Delivery, records * of_delivery);
        let of_invocation = self.system.of_function(Per::Invocation, worker).count() as u64;
        self.truth.ask(Per::Invocation, of_invocation);
    }

    fn outcome(&mut self, records: usize) -> Outcome {
        match self.dice.below(60) {
            0..=1 if self.plan.fails => Outcome::Fails,
            2 if self.plan.fails => Outcome::TimesOut,
            3..=6 if self.plan.fails => {
                Outcome::Succeeds { failed: (0..records).filter(|_| self.dice.flip()).collect() }
            }
            _ => Outcome::Succeeds { failed: Vec::new() },
        }
    }

    /// When the function flushes: here and there on its way, and at its end. Answers how long it takes.
    fn plan_exports(&mut self, process: Process, records: usize) -> Duration {
        let worked = record_end(records);
        if self.dice.one_in(3) {
            let after = self.dice.micros(500, worked.as_micros() as u64);
            self.schedule(after, Action::Cloud(Step::Export(process)));
        }
        let flush = worked + self.dice.micros(100, 9_000);
        self.schedule(flush, Action::Cloud(Step::Export(process)));
        let end = flush + self.dice.micros(100, 9_000);
        self.schedule(end, Action::Cloud(Step::Finish(process)));
        end
    }

    /// The spans of an invocation and its records.
    fn work(&mut self, worker: usize, invocation: &InvocationId, batch: &[Message], outcome: &Outcome) -> Vec<Made> {
        let carried: Vec<_> = batch.iter().map(|message| message.carried).collect();
        let mut contexts = batch[0].contexts.clone();
        let telling = Telling {
            request: (batch.len() == 1).then_some(batch[0].request),
            message: (batch.len() == 1).then_some(&batch[0].id),
            invocation: Some(invocation),
            failed: matches!(outcome, Outcome::Fails | Outcome::TimesOut),
            carried: &carried,
            start: self.now,
            end: self.now + record_end(batch.len()),
        };
        let purpose = Purpose::Row { per: Per::Invocation, promised: None, required: true };
        let mut spans = Vec::new();
        for (place, _) in self.system.of_function(Per::Invocation, worker) {
            let heirs = batch.iter().filter_map(|message| message.promised).collect();
            let span = self.system.span(place, &telling, &mut contexts, &mut self.dice);
            spans.push(Made { span, purpose, heirs });
        }
        let has_own = !spans.is_empty();
        for (record, message) in batch.iter().enumerate() {
            let failed = outcome.is_failed(record);
            let contexts = if !has_own { message.contexts.clone() } else { contexts.clone() };
            spans.extend(self.record_spans(worker, invocation, (record, message, failed), contexts));
        }
        spans
    }

    fn record_spans(
        &mut self,
        worker: usize,
        invocation: &InvocationId,
        (record, message, failed): (usize, &Message, bool),
        mut contexts: Contexts,
    ) -> Vec<Made> {
        let telling = Telling {
            request: Some(message.request),
            message: Some(&message.id),
            invocation: Some(invocation),
            failed,
            carried: &[message.carried],
            start: self.now + record_end(record) + Duration::from_micros(100),
            end: self.now + record_end(record + 1) - Duration::from_micros(300),
        };
        let purpose = Purpose::Row { per: Per::Delivery, promised: message.promised, required: true };
        let mut spans = Vec::new();
        for (place, _) in self.system.of_function(Per::Delivery, worker) {
            let span = self.system.span(place, &telling, &mut contexts, &mut self.dice);
            spans.push(Made { span, purpose, heirs: Vec::new() });
        }
        spans
    }

    /// A function exports those of its spans that have ended.
    fn export_ended(&mut self, process: Process) {
        let now = self.now;
        let Some(known) = self.cloud.of(process) else { return };
        let (peer, worker) = (Peer::Environment(known.id.clone()), known.worker);
        let ended: Vec<_> = known.pending.extract_if(.., |made| made.span.end <= now).collect();
        let lost = self.export(&peer, Maker::Function(worker), ended);
        self.cloud.of(process).unwrap().lost.extend(lost);
    }

    fn finish(&mut self, process: Process) {
        let Some(known) = self.cloud.of(process) else { return };
        let (environment, worker) = (known.id.clone(), known.worker);
        let State::Busy(Some(Busy { invocation, batch, outcome })) =
            std::mem::replace(&mut known.state, State::Idle { is_frozen: false })
        else {
            unreachable!("what finishes was busy");
        };
        assert!(known.pending.is_empty(), "a correct function flushes");
        let lost = std::mem::take(&mut known.lost);
        self.miss(&lost);
        self.tell(EventKind::InvocationFinished { invocation, outcome: told(&outcome, &batch) });
        if outcome == Outcome::TimesOut {
            let end = ProcessEnd { code: None, signal: Some(9), ordered: false, output: Vec::new() };
            self.tell(EventKind::EnvironmentReset { environment, reason: ResetReason::TimedOut, end });
            self.reset(process);
        } else if self.cloud.visible[worker].is_empty() || self.dice.flip() {
            self.tell(EventKind::EnvironmentFrozen { environment, open: OpenExchanges::default() });
            self.cloud.of(process).unwrap().state = State::Idle { is_frozen: true };
        }
        for (record, message) in batch.into_iter().enumerate() {
            match outcome.is_failed(record) {
                true => self.give_back(message),
                false => self.delete(message),
            }
        }
        self.pump(worker);
    }

    fn reset(&mut self, process: Process) {
        let known = self.cloud.of(process).unwrap();
        known.generation += 1;
        known.state = State::Reset;
    }

    fn delete(&mut self, message: Message) {
        self.under_way -= 1;
        self.tell(EventKind::MessageDeleted { message: message.id });
    }

    /// A message becomes visible again after a while, or goes to the dead-letter queue.
    fn give_back(&mut self, message: Message) {
        self.tell(EventKind::MessageReturned { message: message.id.clone() });
        if message.receives < self.system.workers[message.worker].max_receives {
            let after = self.dice.millis(1, 900);
            self.schedule(after, Action::Cloud(Step::Show(Box::new(message))));
            return;
        }
        self.under_way -= 1;
        self.tell(EventKind::MessageDeadLettered { message: message.id, queue: "dead".to_owned() });
    }

    /// The scenario kills an environment in an invocation. What had not been exported is excused, but for what
    /// is on its way already.
    fn kill(&mut self, process: Process) {
        let Some(known) = self.cloud.of(process) else { return };
        if !matches!(known.state, State::Busy(Some(_))) {
            return;
        }
        let (environment, worker, pending) = (known.id.clone(), known.worker, std::mem::take(&mut known.pending));
        let lost = std::mem::take(&mut known.lost);
        let State::Busy(Some(Busy { invocation, batch, .. })) =
            std::mem::replace(&mut known.state, State::Idle { is_frozen: false })
        else {
            return;
        };
        let order = Fault::EnvironmentKilled { environment: environment.clone(), invocation: Some(invocation.clone()) };
        self.tell(EventKind::FaultInjected(order));
        self.tell(EventKind::InvocationFinished { invocation, outcome: InvocationOutcome::EnvironmentDied });
        let is_gone = self.lose(process);
        lost.iter().for_each(|made| self.truth.tell(made.purpose, Fate::Excused));
        self.bury(pending, is_gone, (environment, worker));
        batch.into_iter().for_each(|message| self.give_back(message));
        self.pump(worker);
    }

    fn bury(&mut self, pending: Vec<Made>, is_gone: bool, (environment, worker): (EnvironmentId, usize)) {
        let now = self.now;
        let (ended, open): (Vec<_>, Vec<_>) = pending.into_iter().partition(|made| made.span.end <= now);
        let straggles = is_gone && !ended.is_empty() && self.dice.one_in(3);
        let (stragglers, dead) = if straggles { (ended, open) } else { (Vec::new(), [ended, open].concat()) };
        dead.iter().for_each(|made| self.truth.tell(made.purpose, Fate::Excused));
        if straggles {
            let (peer, after) = (Peer::Environment(environment), self.dice.micros(50, 4_000));
            self.schedule(after, Action::Cloud(Step::Straggle { peer, worker, spans: stragglers }));
        }
    }

    /// An environment ends on order, or its process alone. Answers whether it is gone for good.
    fn lose(&mut self, process: Process) -> bool {
        let environment = self.cloud.of(process).unwrap().id.clone();
        let end = ProcessEnd { code: None, signal: Some(9), ordered: true, output: Vec::new() };
        let is_gone = self.dice.flip();
        if is_gone {
            self.tell(EventKind::EnvironmentEnded { environment, end });
            self.cloud.environments.remove(&process.environment);
        } else {
            self.tell(EventKind::EnvironmentReset { environment, reason: ResetReason::Exited, end });
            self.reset(process);
        }
        is_gone
    }

    /// What happens to environments that nobody uses.
    pub(super) fn live_on(&mut self) {
        if !self.plan.kills || !self.dice.one_in(20) {
            return;
        }
        let is_idle = |known: &Environment| matches!(known.state, State::Idle { is_frozen: true });
        let idle = self.cloud.environments.iter().find(|(_, known)| is_idle(known));
        let Some((number, known)) = idle else { return };
        let (process, environment) = (Process { environment: *number, generation: known.generation }, known.id.clone());
        if self.dice.flip() {
            let order = Fault::EnvironmentKilled { environment, invocation: None };
            self.tell(EventKind::FaultInjected(order));
        }
        self.lose(process);
    }

    pub(super) fn is_cloud_idle(&self) -> bool {
        self.cloud.environments.values().all(|known| !matches!(known.state, State::Busy(_)))
    }

    /// The run is over: what is frozen is killed as it is.
    pub(super) fn end_environments(&mut self) {
        for (_, known) in std::mem::take(&mut self.cloud.environments) {
            let end = ProcessEnd { code: None, signal: Some(9), ordered: true, output: Vec::new() };
            self.tell(EventKind::EnvironmentEnded { environment: known.id, end });
        }
    }
}

/// When so many records have been handled, after the start of their invocation.
fn record_end(records: usize) -> Duration {
    Duration::from_millis(1) + Duration::from_millis(3) * records as u32
}

fn told(outcome: &Outcome, batch: &[Message]) -> InvocationOutcome {
    match outcome {
        Outcome::Succeeds { failed } => {
            InvocationOutcome::Succeeded { failed: failed.iter().map(|record| batch[*record].id.clone()).collect() }
        }
        Outcome::Fails => InvocationOutcome::Failed { error_type: "E".to_owned(), error_message: "no".to_owned() },
        Outcome::TimesOut => InvocationOutcome::TimedOut,
    }
}
