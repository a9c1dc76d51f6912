//! Spans as a correct system makes them.

use std::time::Duration;

use verifier::contract::{NameRule, StatusRule, ValueRule};
use verifier::span::{Attribute, Resource, SpanLink, SpanStatus};
use verifier::{InvocationId, MessageId, RequestId, Span, SpanId, Timestamp, TraceId};

use super::dice::Dice;
use super::system::{INVOCATION_KEY, MESSAGE_KEY, Maker, Names, REQUEST_KEY, Role, System};
use super::truth::Purpose;

/// The tag of every simulated run.
pub(crate) const TAG: u32 = 0x51b0_7a9e;

/// OTLP's flags of a sampled span whose parent, if any, is in its own process.
const LOCAL: u32 = 0x101;
/// OTLP's flags of a sampled span whose parent is in another process.
const REMOTE: u32 = 0x301;

/// What identifies a span.
pub(crate) type Key = (TraceId, SpanId);

/// A span with what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) span: Span,
    pub(crate) purpose: Purpose,
    /// The promised requests whose spans hang below it, though it belongs to none of them.
    pub(crate) heirs: Vec<u32>,
}

/// The spans that there are already for something, by their roles' places.
#[derive(Debug, Clone)]
pub(crate) struct Contexts(Box<[Option<Key>]>);

impl Contexts {
    pub(crate) fn new(system: &System) -> Self {
        Self(vec![None; system.roles.len()].into())
    }

    pub(crate) fn get(&self, role: usize) -> Option<Key> {
        self.0[role]
    }
}

/// What a span tells of, and when it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telling<'a> {
    pub(crate) request: Option<u32>,
    pub(crate) message: Option<&'a MessageId>,
    pub(crate) invocation: Option<&'a InvocationId>,
    /// Whether that failed, as far as the ledger will know.
    pub(crate) failed: bool,
    /// What the messages carry that it is made from.
    pub(crate) carried: &'a [Key],
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// The request with this number.
pub(crate) fn request_id(number: u32) -> RequestId {
    RequestId::new(TAG, number)
}

pub(crate) fn trace_id(dice: &mut Dice) -> TraceId {
    let (high, low) = (dice.roll() | 1, dice.roll());
    TraceId::from_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

pub(crate) fn span_id(dice: &mut Dice) -> SpanId {
    SpanId::from_bytes((dice.roll() | 1).to_be_bytes())
}

/// A key and its value.
pub(crate) fn attribute(key: &str, value: impl Into<String>) -> Attribute {
    Attribute { key: key.to_owned(), value: value.into() }
}

impl System {
    /// What a process says of itself.
    pub(crate) fn resource(&self, maker: Maker) -> Resource {
        let service = match maker {
            Maker::Service(place) => &self.services[place],
            Maker::Function(place) => &self.workers[place].service,
        };
        let rules = self.contract.resource.iter().map(|(key, rule)| attribute(key, value_for(rule)));
        Resource { attributes: std::iter::once(attribute("service.name", service)).chain(rules).collect() }
    }

    /// The span in a role. Notes its context for those below it.
    pub(crate) fn span(&self, place: usize, telling: &Telling<'_>, contexts: &mut Contexts, dice: &mut Dice) -> Span {
        let role = &self.roles[place];
        let parent = role.parent.and_then(|parent| contexts.get(parent));
        let trace_id = parent.map_or_else(|| trace_id(dice), |(trace, _)| trace);
        let span_id = span_id(dice);
        contexts.0[place] = Some((trace_id, span_id));
        let link = |(trace_id, span_id): &Key| SpanLink { trace_id: *trace_id, span_id: *span_id };
        Span {
            trace_id,
            span_id,
            parent_span_id: parent.map(|(_, parent)| parent),
            name: name_for(&role.span.name, dice),
            kind: role.span.kind,
            start: telling.start + inset(role),
            end: telling.end - inset(role),
            status: status_for(role.span.status, telling.failed, dice),
            flags: if role.is_remote { REMOTE } else { LOCAL },
            dropped: 0,
            attributes: self.attributes(role, telling, dice),
            links: if role.links { telling.carried.iter().map(link).collect() } else { Vec::new() },
        }
    }

    fn attributes(&self, role: &Role, telling: &Telling<'_>, dice: &mut Dice) -> Vec<Attribute> {
        let mut attributes: Vec<_> =
            role.span.attributes.iter().map(|(key, rule)| attribute(key, value_for(rule))).collect();
        let must = role.names == Names::RequestOrMessage;
        // Of messages that do not show their request, it is learnt too late.
        let by_message = telling.message.is_some() && dice.flip() && (!must || self.shows_requests);
        if let Some(request) = telling.request.filter(|_| (must && !by_message) || dice.flip()) {
            attributes.push(attribute(REQUEST_KEY, format!("customer-{}", request_id(request))));
        }
        if let Some(message) = telling.message.filter(|_| by_message) {
            attributes.push(attribute(MESSAGE_KEY, message.as_str()));
        }
        if let Some(invocation) = telling.invocation.filter(|_| dice.flip()) {
            attributes.push(attribute(INVOCATION_KEY, invocation.as_str()));
        }
        attributes
    }
}

/// How much later than the whole a span starts that is that deep in its trace, and how much earlier it ends.
fn inset(role: &Role) -> Duration {
    Duration::from_micros(20) * role.depth
}

fn name_for(rule: &NameRule, dice: &mut Dice) -> String {
    match rule {
        NameRule::Exact(name) => name.clone(),
        NameRule::Pattern(pattern) => pattern.replace("[0-9]+", &dice.below(50).to_string()),
    }
}

fn value_for(rule: &ValueRule) -> String {
    match rule {
        ValueRule::Present => "anything".to_owned(),
        ValueRule::Exact(value) => value.clone(),
        ValueRule::Pattern(pattern) => pattern.replace("[0-9]+", "2").replace(".*", "orders"),
    }
}

fn status_for(rule: StatusRule, failed: bool, dice: &mut Dice) -> SpanStatus {
    match (rule, failed) {
        (StatusRule::Outcome, true) => SpanStatus::Error("it failed".to_owned()),
        (StatusRule::Any, true) if dice.flip() => SpanStatus::Error("it failed".to_owned()),
        _ => [SpanStatus::Unset, SpanStatus::Ok][dice.below(2)].clone(),
    }
}
