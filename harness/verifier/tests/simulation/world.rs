//! The run of a correct system: its load, its services and their exporters, in virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use verifier::contract::Per;
use verifier::event::{
    Carrier, Export, ExportAnswer, JOURNAL_VERSION, Patience, Phase, ProcessEnd, RequestOutcome, RunStarted,
};
use verifier::otlp::Payload;
use verifier::span::{ResourceSpans, SpanStatus};
use verifier::{Event, EventKind, MessageId, Peer, Span, SpanKind, Timestamp};

use super::cloud::{Cloud, Message};
use super::dice::Dice;
use super::spans::{Contexts, Key, Made, TAG, Telling, attribute, request_id, span_id, trace_id};
use super::system::{Maker, REQUEST_KEY, System};
use super::truth::{Fate, Purpose, Truth};

/// When every run begins.
const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
/// How far apart ticks are.
const TICK: Duration = Duration::from_millis(100);
/// A service exports when this many spans have ended, however young they are.
const BATCH: usize = 512;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) requests: u32,
    /// How many requests arrive in a second.
    pub(crate) rate: u32,
    /// Whether exporters send batches again whose answers were lost.
    pub(crate) repeats: bool,
    /// Whether requests are refused, or get no answer.
    pub(crate) refuses: bool,
    /// Whether functions fail, time out and are throttled.
    pub(crate) fails: bool,
    /// Whether the scenario kills environments, and lets idle ones go.
    pub(crate) kills: bool,
    /// Whether spans come that have nothing to do with the run.
    pub(crate) strangers: bool,
    /// One of so many spans is lost, at random.
    pub(crate) loses_one_in: Option<usize>,
}

impl Plan {
    /// Nothing but requests that are accepted.
    pub(crate) const fn calm(requests: u32) -> Self {
        Self {
            requests,
            rate: 50,
            repeats: false,
            refuses: false,
            fails: false,
            kills: false,
            strangers: false,
            loses_one_in: None,
        }
    }

    /// All that a correct system must get over.
    pub(crate) const fn rough(requests: u32) -> Self {
        Self { refuses: true, fails: true, kills: true, strangers: true, ..Self::calm(requests) }
    }
}

/// Something that is going to happen.
#[derive(Debug)]
pub(super) enum Action {
    Tick,
    Arrive(u32),
    Send(Box<Message>),
    Answer { request: u32, intended: Timestamp, outcome: RequestOutcome, spans: Vec<(usize, Made)> },
    Flush(usize),
    Repeat(Box<Export>),
    Stop,
    End,
    Cloud(super::cloud::Step),
}

struct Entry {
    at: Timestamp,
    number: u64,
    action: Action,
}

/// A long-running service.
#[derive(Debug, Default)]
struct Service {
    /// Spans that have ended and wait for their export.
    ended: Vec<Made>,
    is_flush_due: bool,
}

/// A run that goes on as its events are taken.
pub(crate) struct World<'a> {
    pub(super) system: &'a System,
    pub(super) plan: Plan,
    pub(super) dice: Dice,
    pub(super) now: Timestamp,
    agenda: BinaryHeap<Reverse<Entry>>,
    scheduled: u64,
    told: VecDeque<Event>,
    pub(super) truth: Truth,
    services: Vec<Service>,
    pub(super) cloud: Cloud,
    /// Requests without an answer, and messages that have not left their queues.
    pub(super) under_way: u64,
    exports: u64,
    stopping: bool,
    ended: bool,
}

impl<'a> World<'a> {
    /// A run of this system, from this seed.
    pub(crate) fn new(system: &'a System, plan: Plan, seed: u64) -> Self {
        let mut world = Self {
            system,
            plan,
            dice: Dice::new(seed),
            now: START,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            told: VecDeque::new(),
            truth: Truth::default(),
            services: system.services.iter().map(|_| Service::default()).collect(),
            cloud: Cloud::new(system),
            under_way: u64::from(plan.requests),
            exports: 0,
            stopping: false,
            ended: false,
        };
        world.begin(seed);
        world
    }

    /// What was counted until now.
    pub(crate) const fn truth(&self) -> &Truth {
        &self.truth
    }

    fn begin(&mut self, seed: u64) {
        let run = self.run_started(seed);
        self.tell(EventKind::RunStarted(Box::new(run)));
        for service in self.system.services.clone() {
            self.tell(EventKind::ServiceStarted { service, pid: 10 });
        }
        self.tell(EventKind::PhaseStarted { phase: Phase::Load });
        self.tell(EventKind::LoadStarted { scheduled: u64::from(self.plan.requests), rate: f64::from(self.plan.rate) });
        self.schedule(TICK, Action::Tick);
        self.schedule(Duration::from_millis(1), Action::Arrive(0));
    }

    fn run_started(&self, seed: u64) -> RunStarted {
        RunStarted {
            version: JOURNAL_VERSION,
            run: "simulated".to_owned(),
            tag: TAG,
            seed,
            harness: "0".to_owned(),
            system: "simulated".to_owned(),
            entry: self.system.services[0].clone(),
            scenario: "simulated".to_owned(),
            faults: Vec::new(),
            contract: self.system.contract.clone(),
            correlation: self.system.correlation(),
            patience: Patience::default(),
            excused_at_most: None,
        }
    }

    pub(super) fn tell(&mut self, kind: EventKind) {
        self.told.push_back(Event { at: self.now, kind });
    }

    pub(super) fn schedule(&mut self, after: Duration, action: Action) {
        self.scheduled += 1;
        self.agenda.push(Reverse(Entry { at: self.now + after, number: self.scheduled, action }));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Tick => self.tick(),
            Action::Arrive(request) => self.arrive(request),
            Action::Send(message) => self.send(*message),
            Action::Answer { request, intended, outcome, spans } => self.answer(request, intended, outcome, spans),
            Action::Flush(service) => self.flush(service),
            Action::Repeat(export) => self.repeat(*export),
            Action::Stop => self.stop(),
            Action::End => self.end(),
            Action::Cloud(step) => self.cloud_step(step),
        }
    }

    fn tick(&mut self) {
        self.tell(EventKind::Ticked);
        if self.ended {
            return;
        }
        self.schedule(TICK, Action::Tick);
        self.live_on();
        if self.plan.strangers && self.dice.one_in(20) {
            self.meet_a_stranger();
        }
        if self.under_way == 0 && self.is_cloud_idle() && !std::mem::replace(&mut self.stopping, true) {
            self.tell(EventKind::PhaseStarted { phase: Phase::Drain });
            let after = self.dice.millis(0, 8_000);
            self.schedule(after, Action::Stop);
        }
    }

    /// A request comes in, and it is decided what becomes of it.
    fn arrive(&mut self, request: u32) {
        let intended = self.now - self.dice.micros(0, 2_000);
        self.truth.sent += 1;
        self.tell(EventKind::RequestStarted { request: request_id(request), intended });
        if request + 1 < self.plan.requests {
            let apart = self.dice.micros(1, 2_000_000 / u64::from(self.plan.rate));
            self.schedule(apart, Action::Arrive(request + 1));
        } else {
            self.tell(EventKind::LoadFinished { sent: u64::from(self.plan.requests) });
        }
        match self.dice.below(24) {
            0 if self.plan.refuses => self.refuse(request, intended),
            1 if self.plan.refuses => self.lose_answer(request, intended),
            _ => self.accept(request, intended),
        }
    }

    fn accept(&mut self, request: u32, intended: Timestamp) {
        self.truth.accepted += 1;
        let took = self.dice.millis(12, 60);
        let (spans, trace) = self.handle(request, took, true);
        let asked = self.system.roles(Per::Request, |_| true).count() as u64;
        self.truth.ask(Per::Request, asked);
        let trace_id = trace.filter(|_| self.system.echoes);
        let outcome = RequestOutcome::Answered { status: 202, accepted: true, trace_id };
        self.schedule(took, Action::Answer { request, intended, outcome, spans });
    }

    /// The client gives up, although the request may be handled well, or never have been seen.
    fn lose_answer(&mut self, request: u32, intended: Timestamp) {
        self.truth.unanswered += 1;
        let took = self.dice.millis(12, 60);
        let (spans, _) = if self.dice.flip() { self.handle(request, took, false) } else { (Vec::new(), None) };
        let outcome = RequestOutcome::Unanswered { error: "time-out".to_owned() };
        self.schedule(took, Action::Answer { request, intended, outcome, spans });
    }

    fn refuse(&mut self, request: u32, intended: Timestamp) {
        self.truth.refused += 1;
        let (status, took) = (*self.dice.pick(&[400, 429, 500, 503]), self.dice.millis(1, 9));
        let mut contexts = Contexts::new(self.system);
        let spans = if self.dice.flip() {
            self.request_spans((request, false, status >= 500), took, &mut contexts)
        } else {
            Vec::new()
        };
        let outcome = RequestOutcome::Answered { status, accepted: false, trace_id: None };
        self.schedule(took, Action::Answer { request, intended, outcome, spans });
    }

    /// A request is handled: its messages are sent, and its spans end with it. Answers those, and their trace.
    fn handle(
        &mut self,
        request: u32,
        took: Duration,
        accepted: bool,
    ) -> (Vec<(usize, Made)>, Option<verifier::TraceId>) {
        let mut contexts = Contexts::new(self.system);
        let mut spans = self.request_spans((request, accepted, false), took, &mut contexts);
        let trace = spans.first().map(|(_, made)| made.span.trace_id);
        for worker in 0..self.system.workers.len() {
            let messages = 1 + self.dice.below(self.system.workers[worker].messages);
            for number in 0..messages {
                let after = took * (number as u32 + 1) / (messages as u32 + 1);
                let name = format!("{request}-{worker}-{number}");
                spans.extend(self.prepare((request, accepted), worker, after, &name, contexts.clone()));
            }
        }
        (spans, trace)
    }

    /// The spans that there is one of for the request.
    fn request_spans(
        &mut self,
        (request, accepted, failed): (u32, bool, bool),
        took: Duration,
        contexts: &mut Contexts,
    ) -> Vec<(usize, Made)> {
        let (start, end) = (self.now, self.now + took);
        let telling = Telling { request: Some(request), failed, start, end, ..Telling::default() };
        let purpose = Purpose::Row { per: Per::Request, promised: accepted.then_some(request), required: accepted };
        let mut spans = Vec::new();
        for (place, role) in self.system.roles(Per::Request, |_| true) {
            let Maker::Service(service) = role.maker else { continue };
            let mut span = self.system.span(place, &telling, contexts, &mut self.dice);
            // Where nothing else can tell whose they are, the root does.
            let must_name = role.parent.is_none() && !(self.system.echoes && accepted);
            if must_name && span.attribute(REQUEST_KEY).is_none() {
                span.attributes.push(attribute(REQUEST_KEY, request_id(request).to_string()));
            }
            spans.push((service, Made { span, purpose, heirs: Vec::new() }));
        }
        spans.extend(self.extra_of(contexts, (start, end)));
        spans
    }

    /// A span that the contract allows for each request, and that need not be there.
    fn extra_of(&mut self, contexts: &Contexts, (start, end): (Timestamp, Timestamp)) -> Option<(usize, Made)> {
        let extra = self.system.contract.extras.get("canary").filter(|_| self.dice.one_in(3))?;
        let server = self.system.roles(Per::Request, |role| role.name == "server").next()?.0;
        let (parent, name) = (contexts.get(server)?, extra.name.as_str().to_owned());
        let span = internal_span(parent, name, (start, end), &mut self.dice);
        let service = self.system.services.iter().position(|service| *service == extra.service)?;
        Some((service, Made { span, purpose: Purpose::Extra, heirs: Vec::new() }))
    }

    /// A message that will be sent after a while, and the spans of its sending.
    fn prepare(
        &mut self,
        (request, accepted): (u32, bool),
        worker: usize,
        after: Duration,
        name: &str,
        mut contexts: Contexts,
    ) -> Vec<(usize, Made)> {
        let message = MessageId::new(format!("message-{name}"));
        let (start, end) = (self.now + after - Duration::from_millis(1), self.now + after + Duration::from_millis(1));
        let telling = Telling { request: Some(request), message: Some(&message), start, end, ..Telling::default() };
        let purpose = Purpose::Row { per: Per::Message, promised: accepted.then_some(request), required: true };
        let mut spans = Vec::new();
        for (place, role) in self.system.of_message(worker) {
            let Maker::Service(service) = role.maker else { continue };
            let span = self.system.span(place, &telling, &mut contexts, &mut self.dice);
            spans.push((service, Made { span, purpose, heirs: Vec::new() }));
        }
        let carried = contexts.get(self.system.workers[worker].carried).unwrap();
        let promised = accepted.then_some(request);
        let sent = Message { id: message, worker, request, promised, contexts, carried, receives: 0 };
        self.under_way += 1;
        if self.plan.fails && self.dice.one_in(60) {
            let again = Message { id: MessageId::new(format!("message-{name}-again")), ..sent.clone() };
            self.under_way += 1;
            self.truth.sent_again += self.system.of_message(worker).count() as u64;
            self.schedule(after + Duration::from_millis(3), Action::Send(Box::new(again)));
        }
        self.schedule(after, Action::Send(Box::new(sent)));
        spans
    }

    fn send(&mut self, message: Message) {
        let worker = &self.system.workers[message.worker];
        self.truth.messages += 1;
        let asked = self.system.of_message(message.worker).count() as u64;
        self.truth.ask(Per::Message, asked);
        self.tell(EventKind::MessageSent {
            queue: worker.queue.clone(),
            message: message.id.clone(),
            request: self.system.shows_requests.then(|| request_id(message.request)),
            carrier: carrier(message.carried),
        });
        self.enqueue(message);
    }

    fn answer(&mut self, request: u32, intended: Timestamp, outcome: RequestOutcome, spans: Vec<(usize, Made)>) {
        self.under_way -= 1;
        self.tell(EventKind::RequestFinished { request: request_id(request), intended, outcome });
        for (service, made) in spans {
            self.services[service].ended.push(made);
            if self.services[service].ended.len() >= BATCH {
                self.flush(service);
            } else if !std::mem::replace(&mut self.services[service].is_flush_due, true) {
                let after = self.dice.millis(100, 5_000);
                self.schedule(after, Action::Flush(service));
            }
        }
    }

    /// A service exports what has ended.
    fn flush(&mut self, service: usize) {
        self.services[service].is_flush_due = false;
        let mut ended = std::mem::take(&mut self.services[service].ended);
        let peer = Peer::Service(self.system.services[service].clone());
        while !ended.is_empty() {
            let rest = ended.split_off(ended.len().min(1 + self.dice.below(BATCH)));
            let lost = self.export(&peer, Maker::Service(service), std::mem::replace(&mut ended, rest));
            self.miss(&lost);
        }
    }

    /// Spans come to the endpoint, but for those that get lost.
    /// Answers what got lost.
    pub(super) fn export(&mut self, peer: &Peer, maker: Maker, spans: Vec<Made>) -> Vec<Made> {
        let mut lost = Vec::new();
        let mut batches = vec![ResourceSpans { resource: self.system.resource(maker), spans: Vec::new() }];
        for made in spans {
            let is_lost = self.plan.loses_one_in.is_some_and(|sides| self.dice.one_in(sides));
            // Of what nobody asks for, the root alone tells whose it is.
            if is_lost && matches!(made.purpose, Purpose::Row { required: true, .. }) {
                lost.push(made);
                continue;
            }
            self.truth.tell(made.purpose, Fate::Came);
            if self.dice.one_in(64) {
                batches.push(ResourceSpans { resource: self.system.resource(maker), spans: Vec::new() });
            }
            batches.last_mut().unwrap().spans.push(made.span);
        }
        let count = batches.iter().map(|batch| batch.spans.len()).sum::<usize>();
        if count == 0 {
            return lost;
        }
        let export = Export {
            export: self.exports,
            peer: peer.clone(),
            answer: ExportAnswer::Stored,
            payload: Payload::of(&batches),
        };
        self.exports += 1;
        if self.plan.repeats && self.dice.one_in(8) {
            self.send_again(&export);
        }
        self.tell(EventKind::ExportAnswered(Box::new(export)));
        lost
    }

    /// Spans are lost for good.
    pub(super) fn miss(&mut self, lost: &[Made]) {
        for made in lost {
            self.truth.tell(made.purpose, Fate::Lost);
            made.heirs.iter().for_each(|heir| self.truth.impair(*heir, Fate::Lost));
        }
    }

    /// The answer to an export is lost: it is sent again, by a function at once and by a service after a while.
    fn send_again(&mut self, export: &Export) {
        let after = match export.peer {
            Peer::Environment(_) => Duration::ZERO,
            _ => self.dice.millis(10, 3_000),
        };
        self.schedule(after, Action::Repeat(Box::new(export.clone())));
    }

    fn repeat(&mut self, export: Export) {
        if self.ended {
            return;
        }
        self.truth.duplicated += export.payload.span_count() as u64;
        let export = Export { export: self.exports, ..export };
        self.exports += 1;
        self.tell(EventKind::ExportAnswered(Box::new(export)));
    }

    /// Somebody else sends a span to the endpoint.
    fn meet_a_stranger(&mut self) {
        let parent = (trace_id(&mut self.dice), span_id(&mut self.dice));
        let span = internal_span(parent, "backup".to_owned(), (self.now, self.now), &mut self.dice);
        let resource = verifier::span::Resource { attributes: vec![attribute("service.name", "stranger")] };
        let payload = Payload::of(&[ResourceSpans { resource, spans: vec![span] }]);
        self.truth.tell(Purpose::Foreign, Fate::Came);
        let export = Export { export: self.exports, peer: Peer::Anyone, answer: ExportAnswer::Stored, payload };
        self.exports += 1;
        self.tell(EventKind::ExportAnswered(Box::new(export)));
    }

    /// The services are told to stop, and flush.
    fn stop(&mut self) {
        self.tell(EventKind::PhaseStarted { phase: Phase::Stop });
        for service in 0..self.services.len() {
            self.tell(EventKind::ServiceStopping { service: self.system.services[service].clone() });
            self.flush(service);
        }
        let after = self.dice.millis(4_000, 6_000);
        self.schedule(after, Action::End);
    }

    fn end(&mut self) {
        self.end_environments();
        for service in self.system.services.clone() {
            let end = ProcessEnd { code: Some(0), signal: None, ordered: true, output: Vec::new() };
            self.tell(EventKind::ServiceEnded { service, end });
        }
        self.tell(EventKind::RunFinished);
        self.ended = true;
        self.agenda.clear();
    }
}

impl Iterator for World<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        while self.told.is_empty() {
            let Reverse(Entry { at, action, .. }) = self.agenda.pop()?;
            self.now = at;
            self.act(action);
        }
        self.told.pop_front()
    }
}

/// What a message carries.
pub(super) fn carrier((trace, span): Key) -> Carrier {
    Carrier { traceparent: Some(format!("00-{trace}-{span}-01")), ..Carrier::default() }
}

/// A span that no role of the contract asks for, below another.
pub(super) fn internal_span(
    (trace_id, parent): Key,
    name: String,
    (start, end): (Timestamp, Timestamp),
    dice: &mut Dice,
) -> Span {
    Span {
        trace_id,
        span_id: span_id(dice),
        parent_span_id: Some(parent),
        name,
        kind: SpanKind::Internal,
        start,
        end,
        status: SpanStatus::Unset,
        flags: 0x101,
        dropped: 0,
        attributes: Vec::new(),
        links: Vec::new(),
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
