//! A contract, and the system that fulfils it.

use std::collections::BTreeMap;

use verifier::contract::{ExtraSpan, ForeignSpans, NameRule, Per, SpanContract, StatusRule, TraceContract, ValueRule};
use verifier::event::Correlation;
use verifier::{SpanKind, TraceContract as Contract};

use super::dice::Dice;

/// The attribute in which spans name their request.
pub(crate) const REQUEST_KEY: &str = "app.customer.id";
/// The attribute in which spans name their message.
pub(crate) const MESSAGE_KEY: &str = "messaging.message.id";
/// The attribute in which spans name their invocation.
pub(crate) const INVOCATION_KEY: &str = "faas.invocation_id";

/// A system that fulfils its contract.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) contract: TraceContract,
    /// The contract's spans, parents before their children.
    pub(crate) roles: Vec<Role>,
    /// The long-running services; requests are sent to the first.
    pub(crate) services: Vec<String>,
    /// The functions, each with its queue.
    pub(crate) workers: Vec<Worker>,
    /// Whether answers tell the trace id.
    pub(crate) echoes: bool,
    /// Whether it can be seen in messages which request they are for.
    pub(crate) shows_requests: bool,
}

/// A span of the contract, made ready for making spans.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) span: SpanContract,
    pub(crate) parent: Option<usize>,
    pub(crate) depth: u32,
    /// Whether the parent is made by another process.
    pub(crate) is_remote: bool,
    /// Whether it links to what its messages carry.
    pub(crate) links: bool,
    pub(crate) maker: Maker,
    /// What its spans name at least.
    pub(crate) names: Names,
}

/// What a span names in its attributes, whatever else it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Nothing: something else tells whose it is.
    Nothing,
    /// Its request, or its message.
    RequestOrMessage,
}

/// Who makes a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A service, by its place.
    Service(usize),
    /// A function, by its place.
    Function(usize),
}

/// A function with its queue.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) queue: String,
    pub(crate) function: String,
    pub(crate) service: String,
    /// The most messages that a request has for it; at least one.
    pub(crate) messages: usize,
    pub(crate) batch_size: usize,
    pub(crate) max_receives: u32,
    /// How many environments there may be at a time.
    pub(crate) concurrency: usize,
    /// The role whose context messages carry.
    pub(crate) carried: usize,
}

/// How a function's spans hang together with what its messages carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A span for each delivery, below the producer.
    Child,
    /// A span for each delivery, below the producer and with a link to it.
    ChildWithLink,
    /// A span for each delivery that begins a trace of its own, with a link to the producer.
    Linked,
    /// A span for each invocation that begins a trace of its own, with a link for each record; below it a span
    /// for each delivery.
    Batch,
    /// A span for each invocation of a single record, below its producer; below it a span for the delivery.
    Invocation,
}

impl Shape {
    pub(crate) const ALL: [Self; 5] = [Self::Child, Self::ChildWithLink, Self::Linked, Self::Batch, Self::Invocation];
}

impl System {
    /// The reference system: server > producer > consumer.
    pub(crate) fn reference(dice: &mut Dice) -> Self {
        let mut draft = Draft::new(dice);
        draft.request_span("server", "api", SpanKind::Server, None);
        draft.add_worker(Shape::Child, "server", 1);
        draft.finish()
    }

    /// A system with a function of this shape.
    pub(crate) fn of_shape(shape: Shape, dice: &mut Dice) -> Self {
        let mut draft = Draft::new(dice);
        let sender = draft.add_front();
        draft.add_worker(shape, &sender, 1);
        draft.decorate();
        draft.finish()
    }

    /// Any system: one to three services, none to two functions.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut draft = Draft::new(dice);
        let sender = draft.add_front();
        let workers = draft.dice.below(5).div_ceil(2);
        for _ in 0..workers {
            let shape = *draft.dice.pick(&Shape::ALL);
            draft.add_worker(shape, &sender, workers);
        }
        draft.decorate();
        draft.finish()
    }

    /// In which attributes spans say what they are for.
    pub(crate) fn correlation(&self) -> Correlation {
        let keys = |key: &str| vec![key.to_owned()];
        Correlation { request: keys(REQUEST_KEY), message: keys(MESSAGE_KEY), invocation: keys(INVOCATION_KEY) }
    }

    /// The roles of this kind that this process makes, parents before their children.
    pub(crate) fn roles(&self, per: Per, is_made: impl Fn(&Role) -> bool) -> impl Iterator<Item = (usize, &Role)> {
        self.roles.iter().enumerate().filter(move |(_, role)| role.span.per == per && is_made(role))
    }

    /// The roles that there is one span in for each message of a worker's queue.
    pub(crate) fn of_message(&self, worker: usize) -> impl Iterator<Item = (usize, &Role)> {
        let queue = self.workers[worker].queue.clone();
        self.roles(Per::Message, move |role| role.span.queue.as_ref().is_none_or(|of| *of == queue))
    }

    /// The roles of this kind of a function.
    pub(crate) fn of_function(&self, per: Per, worker: usize) -> impl Iterator<Item = (usize, &Role)> {
        self.roles(per, move |role| role.maker == Maker::Function(worker))
    }
}

/// A system that is being drawn up.
struct Draft<'a> {
    dice: &'a mut Dice,
    contract: Contract,
    services: Vec<String>,
    workers: Vec<Worker>,
    /// The roles whose context each worker's messages carry.
    carried: Vec<String>,
    names: BTreeMap<String, Names>,
}

impl<'a> Draft<'a> {
    fn new(dice: &'a mut Dice) -> Self {
        let contract = TraceContract {
            name: "simulated".to_owned(),
            spans: BTreeMap::new(),
            extras: BTreeMap::new(),
            resource: BTreeMap::new(),
            foreign: ForeignSpans::Count,
            sampling: None,
            severity: BTreeMap::new(),
        };
        let (services, workers, carried, names) = (vec!["api".to_owned()], Vec::new(), Vec::new(), BTreeMap::new());
        Self { dice, contract, services, workers, carried, names }
    }

    fn span(&mut self, role: &str, service: &str, kind: SpanKind, parent: Option<&str>, per: Per) -> &mut SpanContract {
        let span = SpanContract {
            service: service.to_owned(),
            name: NameRule::Exact(format!("{role} {service}")),
            kind,
            parent: parent.map(str::to_owned),
            link: None,
            per,
            queue: None,
            function: None,
            attributes: BTreeMap::new(),
            resource: BTreeMap::new(),
            status: StatusRule::Any,
            max_duration: None,
        };
        self.contract.spans.entry(role.to_owned()).or_insert(span)
    }

    fn request_span(&mut self, role: &str, service: &str, kind: SpanKind, parent: Option<&str>) {
        self.span(role, service, kind, parent, Per::Request);
    }

    /// What handles requests, with up to three services. Answers the role whose spans send messages.
    fn add_front(&mut self) -> String {
        let mut root = None;
        if self.dice.one_in(3) {
            self.services.insert(0, "gateway".to_owned());
            self.request_span("edge", "gateway", SpanKind::Server, None);
            self.request_span("edge-call", "gateway", SpanKind::Client, Some("edge"));
            root = Some("edge-call");
        }
        self.request_span("server", "api", SpanKind::Server, root);
        if self.dice.one_in(4) {
            self.services.push("audit".to_owned());
            self.request_span("audit-call", "api", SpanKind::Client, Some("server"));
            self.request_span("audit", "audit", SpanKind::Server, Some("audit-call"));
        }
        self.add_chain("server", "api", Per::Request, |_| {})
    }

    /// None to three internal spans, each below the one before. Answers the last of them, or what they hang from.
    fn add_chain(&mut self, top: &str, service: &str, per: Per, adapt: impl Fn(&mut SpanContract)) -> String {
        let mut last = top.to_owned();
        for step in 0..self.dice.below(6).saturating_sub(2) {
            let role = format!("{top}-step-{step}");
            adapt(self.span(&role, service, SpanKind::Internal, Some(&last), per));
            last = role;
        }
        last
    }

    /// A queue, what sends to it, and the function that handles its messages.
    fn add_worker(&mut self, shape: Shape, sender: &str, of: usize) {
        let place = self.workers.len();
        let named = |what: &str| if of == 1 { what.to_owned() } else { format!("{what}-{place}") };
        let (queue, function, service) = (named("queue"), named("function"), named("worker"));
        let producer = self.add_producer(&named("producer"), sender, (of > 1).then_some(&queue));
        let is_single = shape == Shape::Invocation || self.dice.one_in(3);
        self.workers.push(Worker {
            queue: queue.clone(),
            function: function.clone(),
            service,
            messages: 1 + self.dice.below(5).saturating_sub(2),
            batch_size: if is_single { 1 } else { 2 + self.dice.below(8) },
            max_receives: 2 + self.dice.below(3) as u32,
            concurrency: 1 + self.dice.below(8),
            carried: 0,
        });
        self.carried.push(producer.clone());
        self.add_function(shape, &producer, (of > 1).then_some((queue, function)));
    }

    /// The span that sends a message, perhaps with one around it. Answers the one whose context is injected.
    fn add_producer(&mut self, role: &str, sender: &str, queue: Option<&String>) -> String {
        let mut parent = sender.to_owned();
        if self.dice.one_in(4) {
            let around = format!("{role}-around");
            self.span(&around, "api", SpanKind::Internal, Some(&parent), Per::Message).queue = queue.cloned();
            parent = around;
        }
        self.span(role, "api", SpanKind::Producer, Some(&parent), Per::Message).queue = queue.cloned();
        if self.dice.one_in(4) {
            let within = format!("{role}-encode");
            self.span(&within, "api", SpanKind::Internal, Some(role), Per::Message).queue = queue.cloned();
        }
        role.to_owned()
    }

    fn add_function(&mut self, shape: Shape, producer: &str, only: Option<(String, String)>) {
        let worker = self.workers.last().unwrap().clone();
        let (service, consumer) = (worker.service.as_str(), format!("consumer-of-{producer}"));
        let per = |per: Per| {
            let only = only.clone();
            move |span: &mut SpanContract| {
                (span.queue, span.function) = match (&only, per) {
                    (Some((queue, function)), Per::Delivery) => (Some(queue.clone()), Some(function.clone())),
                    (Some((_, function)), _) => (None, Some(function.clone())),
                    (None, _) => (None, None),
                }
            }
        };
        let below = matches!(shape, Shape::Child | Shape::ChildWithLink | Shape::Invocation).then_some(producer);
        let link = matches!(shape, Shape::ChildWithLink | Shape::Linked | Shape::Batch).then(|| producer.to_owned());
        let is_per_invocation = matches!(shape, Shape::Batch | Shape::Invocation);
        let of = if is_per_invocation { Per::Invocation } else { Per::Delivery };
        let span = self.span(&consumer, service, SpanKind::Consumer, below, of);
        span.link = link;
        per(of)(span);
        if is_per_invocation {
            let process = format!("{consumer}-record");
            per(Per::Delivery)(self.span(&process, service, SpanKind::Internal, Some(&consumer), Per::Delivery));
            // In a trace of the invocation's own, neither that nor the environment tells for certain whose it is.
            let names = if shape == Shape::Batch { Names::RequestOrMessage } else { Names::Nothing };
            self.names.insert(process.clone(), names);
            let last = self.add_chain(&process, service, Per::Delivery, per(Per::Delivery));
            self.name_chain(&process, &last, names);
        } else {
            self.add_chain(&consumer, service, Per::Delivery, per(Per::Delivery));
        }
        if self.dice.one_in(4) {
            let init = format!("init-{service}");
            per(Per::Environment)(self.span(&init, service, SpanKind::Internal, None, Per::Environment));
        }
    }

    fn name_chain(&mut self, top: &str, last: &str, names: Names) {
        let of_chain = self.contract.spans.keys().filter(|role| role.starts_with(top) || *role == last);
        let of_chain: Vec<_> = of_chain.cloned().collect();
        self.names.extend(of_chain.into_iter().map(|role| (role, names)));
    }

    /// What the contract asks of names, attributes, resources, statuses and durations; extras.
    fn decorate(&mut self) {
        let roles: Vec<_> = self.contract.spans.keys().cloned().collect();
        for role in roles {
            let rules = [self.dice.below(4), self.dice.below(4)];
            let status = *self.dice.pick(&[StatusRule::Any, StatusRule::Outcome, StatusRule::NoError]);
            let timed = self.dice.one_in(6);
            let span = self.contract.spans.get_mut(&role).unwrap();
            span.attributes.extend(rules.into_iter().filter_map(value_rule).map(|(key, rule)| (key.to_owned(), rule)));
            span.status =
                if span.kind == SpanKind::Internal && status == StatusRule::Outcome { StatusRule::Any } else { status };
            span.max_duration = timed.then(|| std::time::Duration::from_secs(60));
            if let (true, NameRule::Exact(name)) = (timed, &span.name) {
                span.name = NameRule::Pattern(format!("{name} [0-9]+"));
            }
        }
        if self.dice.flip() {
            self.contract.resource.insert("cx.application.name".to_owned(), ValueRule::Exact("shop".to_owned()));
        }
        if self.dice.flip() {
            self.add_extra("canary", "api", Per::Request);
        }
        if let (true, Some(worker)) = (self.dice.flip(), self.workers.first().cloned()) {
            self.add_extra("warm-up", &worker.service, Per::Environment);
        }
    }

    fn add_extra(&mut self, name: &str, service: &str, per: Per) {
        let extra = ExtraSpan {
            service: service.to_owned(),
            name: NameRule::Exact(format!("{name} {service}")),
            per,
            at_most: 1 + self.dice.below(2) as u32,
        };
        self.contract.extras.insert(name.to_owned(), extra);
    }

    fn finish(self) -> System {
        self.contract.validate().unwrap();
        let depth_of = |role: &String| {
            let parent = |role: &String| self.contract.spans[role].parent.clone();
            std::iter::successors(Some(role.clone()), parent).count() as u32 - 1
        };
        let mut in_order: Vec<_> = self.contract.spans.keys().map(|role| (depth_of(role), role.clone())).collect();
        in_order.sort();
        let place_of = |name: &str| in_order.iter().position(|(_, role)| role == name).unwrap();
        let mut workers = self.workers;
        workers.iter_mut().zip(&self.carried).for_each(|(worker, role)| worker.carried = place_of(role));
        let role = |(depth, name): &(u32, String)| {
            let span = self.contract.spans[name].clone();
            let parent = span.parent.as_deref();
            Role {
                name: name.clone(),
                parent: parent.map(place_of),
                depth: *depth,
                is_remote: parent.is_some_and(|parent| self.contract.spans[parent].service != span.service),
                links: span.link.is_some(),
                maker: maker(&span.service, &self.services, &workers),
                names: self.names.get(name).copied().unwrap_or(Names::Nothing),
                span,
            }
        };
        let roles = in_order.iter().map(role).collect();
        let (echoes, shows_requests) = (self.dice.flip(), self.dice.flip());
        System { contract: self.contract.clone(), roles, services: self.services, workers, echoes, shows_requests }
    }
}

fn maker(service: &str, services: &[String], workers: &[Worker]) -> Maker {
    let of_services = services.iter().position(|name| name == service).map(Maker::Service);
    let of_functions = || workers.iter().position(|worker| worker.service == service).map(Maker::Function);
    of_services.or_else(of_functions).unwrap()
}

/// One of a few rules for an attribute; none, for one of the numbers.
fn value_rule(number: usize) -> Option<(&'static str, ValueRule)> {
    match number {
        0 => Some(("app.tier", ValueRule::Exact("backend".to_owned()))),
        1 => Some(("app.note", ValueRule::Present)),
        2 => Some(("app.route", ValueRule::Pattern("/v[0-9]+/.*".to_owned()))),
        _ => None,
    }
}
