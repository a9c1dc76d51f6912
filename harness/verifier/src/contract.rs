//! The trace contract: what a complete trace of one request looks like, as data.
//!
//! # How it is written
//! ```toml
//! name     = "onboarding"
//! foreign  = "count"                                # spans of no request: counted, or "forbid"
//! sampling = 0.1                                    # the sampled fraction; left out: every trace
//!
//! [severity]                                        # what findings weigh: "failure", "warning", "info"
//! span-late = "failure"
//!
//! [resource]                                        # what every resource says
//! "cx.application.name" = { present = true }
//!
//! [span.consumer]                                   # one table for each role
//! service      = "worker"                           # the `service.name`
//! name         = "process jobs"                     # or { pattern = "process .*" }
//! kind         = "consumer"                         # internal, server, client, producer, consumer
//! parent       = "producer"                         # a role; left out: a root
//! link         = "producer"                         # a role, beside the parent or in its place
//! per          = "delivery"                         # what there is one for, see below
//! queue        = "jobs"                             # of this queue alone
//! function     = "worker"                           # of this function alone
//! status       = "outcome"                          # or "no_error"; left out: any
//! max_duration = "2s"
//!
//! [span.consumer.attributes]
//! "messaging.system"     = "aws_sqs"                # this value; numbers, true and false as well
//! "messaging.message.id" = { present = true }       # any but the empty text
//! "customer.id"          = { pattern = "[0-9a-f-]+" }
//!
//! [span.consumer.resource]                          # beside what every resource says
//! "faas.name" = "worker"
//!
//! [extra.canary]                                    # a span that may be there and need not
//! service = "worker"
//! name    = "canary"
//! per     = "environment"
//! at_most = 1
//! ```
//! Patterns are regular expressions (crate `regex`) for the whole text. A span has the role whose service and
//! exact name are its own; else the first role whose pattern fits its name, those nearer to a root before others
//! and then by the roles' names; else the first extra.
//!
//! # What can refer to what
//! A reference must lead to one span. So a parent is for the same as its child, or for something that this is a
//! part of; and a link leads to the span whose context a message carries.
//!
//! | `per` | one for each | the `parent` is per | the `link` is per | `queue` | `function` |
//! |---|---|---|---|---|---|
//! | `request` | accepted request | request | - | - | - |
//! | `message` | message in a queue | request, message | - | yes | - |
//! | `delivery` | record that a function was given | request, message, delivery, invocation | request, message | yes | yes |
//! | `invocation` | invocation, whatever its records | request, message, invocation | request, message | - | yes |
//! | `environment` | execution environment | environment | - | - | yes |
//!
//! - A span per delivery whose parent (or link) is per message belongs to the very message that was delivered; below
//!   a span per delivery it belongs to the same delivery, and below one per invocation to the invocation that was
//!   given the record.
//! - A span per invocation is made from several messages. As a child of a span per message it has one of those that
//!   its records carry as its parent; by a link it has one link *for each* of its records.
//! - A span per environment is in no request's trace. Nothing but another one per environment can be below it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::code::{FindingCode, Severity};
use crate::span::SpanKind;
use crate::text::TextRule;
use crate::time::nanoseconds;

/// What a complete trace of one request consists of. Read from a `contract.toml` by the harness, which knows
/// the places of errors; this is the form of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceContract {
    /// Its name, for reports.
    pub name: String,
    /// The spans, each under the name of its role in the trace (`[span.consumer]`).
    #[serde(rename = "span")]
    pub spans: BTreeMap<String, SpanContract>,
    /// Spans that may be there and need not (`[extra.canary]`).
    #[serde(default, rename = "extra", skip_serializing_if = "BTreeMap::is_empty")]
    pub extras: BTreeMap<String, ExtraSpan>,
    /// What every resource must say, whatever its service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, ValueRule>,
    /// What to do with spans that belong to no request of the run.
    #[serde(default)]
    pub foreign: ForeignSpans,
    /// The fraction of traces that is sampled, where it is not all of them: above 0, at most 1. A trace
    /// that is missing as a whole is then counted as not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// What findings weigh, where that differs from their own severity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub severity: BTreeMap<FindingCode, Severity>,
}

/// What the span in one role must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanContract {
    /// The `service.name` of the resource that makes it.
    pub service: String,
    /// Its name.
    pub name: NameRule,
    /// Its kind.
    pub kind: SpanKind,
    /// The role of its parent. Left out, the span is the root of its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The role that it links to: one link for each message that it is made from. It may link and have a
    /// parent, as OpenTelemetry's conventions for messaging allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What there is one of these spans for.
    pub per: Per,
    /// Only for messages of this queue, where a system has several. Left out: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only for deliveries, invocations and environments of this function, where a system has several. Left
    /// out: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The attributes that it must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, ValueRule>,
    /// The resource attributes that it must have, beside those of every resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, ValueRule>,
    /// What its status must be.
    #[serde(default, skip_serializing_if = "StatusRule::is_any")]
    pub status: StatusRule,
    /// How long it may last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_nanoseconds")]
    pub max_duration: Option<Duration>,
}

/// A span that may be there and need not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraSpan {
    /// The `service.name` of the resource that makes it.
    pub service: String,
    /// Its name.
    pub name: NameRule,
    /// What there may be such spans for.
    pub per: Per,
    /// How many there may be for each; at least 1.
    #[serde(default = "one")]
    pub at_most: u32,
}

const fn one() -> u32 {
    1
}

/// What a span's name must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameRule {
    /// This name.
    Exact(String),
    /// A name that this regular expression matches as a whole.
    Pattern(String),
}

/// What the value of an attribute must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRule {
    /// Anything but the empty text.
    Present,
    /// This text; numbers and truth values as they are written in JSON.
    Exact(String),
    /// A text that this regular expression matches as a whole.
    Pattern(String),
}

/// What a span's status must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusRule {
    /// Anything.
    #[default]
    Any,
    /// Error if and only if the ledger says that the operation failed: an answer of 500 or more, an
    /// invocation or a record of it that failed.
    Outcome,
    /// Unset or Ok.
    NoError,
}

impl StatusRule {
    /// Whether it asks for nothing.
    pub const fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

/// What to do with spans that belong to no request of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignSpans {
    /// They are counted.
    #[default]
    Count,
    /// Each is a finding.
    Forbid,
}

/// What there is one span for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One for each accepted request.
    Request,
    /// One for each message that was put into a queue for the request; at least one.
    Message,
    /// One for each time that a message of the request was handed to a function; at least one for
    /// each message.
    Delivery,
    /// One for each invocation of a function, however many messages it was given.
    Invocation,
    /// One for each execution environment that was initialised.
    Environment,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Request, Self::Message, Self::Delivery, Self::Invocation, Self::Environment];

    /// Its name in a contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Message => "message",
            Self::Delivery => "delivery",
            Self::Invocation => "invocation",
            Self::Environment => "environment",
        }
    }
}

impl NameRule {
    /// The text of the rule: a name, or a pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Pattern(text) => text,
        }
    }
}

impl From<&str> for NameRule {
    fn from(name: &str) -> Self {
        Self::Exact(name.to_owned())
    }
}

impl std::fmt::Display for NameRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Durations that may be left out, as whole nanoseconds.
mod optional_nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::nanoseconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}

/// What is wrong with a contract although it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// It names no span, so it could never fail.
    #[error("the contract names no span: every run would pass")]
    Empty,
    /// The sampled fraction is none.
    #[error("sampling is a fraction above 0 and at most 1 (all traces)")]
    Sampling,
    /// A parent or a link is not one of the roles.
    #[error("the {relation} `{named}` is not a span of this contract")]
    UnknownRole {
        /// The role whose parent or link it is.
        role: String,
        /// Which of the two.
        relation: Relation,
        /// The role that was named.
        named: String,
        /// The roles that there are.
        choices: Vec<String>,
    },
    /// Following the parents from a role never comes to a root.
    #[error("following the parents from {role:?} leads back to it and never to a root")]
    ParentCycle {
        /// The role.
        role: String,
    },
    /// A parent or a link that cannot be: there is no telling which of its spans it should be.
    #[error("a span per {per} cannot have a {relation} per {other}{}", or_else(choices))]
    Unrelated {
        /// The role.
        role: String,
        /// Whether it is about its parent or its link.
        relation: Relation,
        /// What there is one of its spans for.
        per: &'static str,
        /// What there is one of the other's for.
        other: &'static str,
        /// What there could be one of the other's for.
        choices: Vec<&'static str>,
    },
    /// Two roles could not be told apart.
    #[error("{role:?} and {other:?} have the same service and name, so their spans cannot be told apart")]
    Ambiguous {
        /// The one role, or extra.
        role: String,
        /// The other.
        other: String,
    },
    /// A pattern is no regular expression.
    #[error("{pattern:?} is not a regular expression: {why}")]
    Pattern {
        /// The role, or extra; none for what every resource must say.
        role: Option<String>,
        /// The attribute whose value it is for; none for the name.
        attribute: Option<String>,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A span is asked for a queue or a function that it has nothing to do with.
    #[error("`{key}` is for spans per {}; this one is per {per}", choices.join(", "))]
    OutOfPlace {
        /// The role.
        role: String,
        /// `queue` or `function`.
        key: &'static str,
        /// What there is one of its spans for.
        per: &'static str,
        /// What there would have to be one for.
        choices: Vec<&'static str>,
    },
    /// A span may last no time at all, so each would be wrong.
    #[error("max_duration is longer than nothing")]
    NoTime {
        /// The role.
        role: String,
    },
    /// A span and an extra have one name, so findings could not say which of them they mean.
    #[error("there is a span and an extra with the name {role:?}")]
    SpanAndExtra {
        /// The name.
        role: String,
    },
    /// An extra that may not be there is none.
    #[error("at_most is 1 or more: an extra that may not be there need not be named")]
    NoneAllowed {
        /// The extra.
        role: String,
    },
}

/// How a role refers to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// As its parent.
    Parent,
    /// By a link.
    Link,
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Parent => "parent",
            Self::Link => "link",
        })
    }
}

impl ContractError {
    /// The role or extra whose table is to blame, if it is a single one's.
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Empty | Self::Sampling => None,
            Self::UnknownRole { role, .. }
            | Self::ParentCycle { role }
            | Self::Unrelated { role, .. }
            | Self::Ambiguous { role, .. }
            | Self::OutOfPlace { role, .. }
            | Self::NoTime { role }
            | Self::SpanAndExtra { role }
            | Self::NoneAllowed { role } => Some(role),
            Self::Pattern { role, .. } => role.as_deref(),
        }
    }
}

impl Per {
    /// What there can be one span for whose child there is one of for each of these: for the same, or for what
    /// this is a part of. Of anything else there may be several, and no telling which it should be.
    const fn parents(self) -> &'static [Self] {
        match self {
            Self::Request => &[Self::Request],
            Self::Message => &[Self::Request, Self::Message],
            Self::Delivery => &[Self::Request, Self::Message, Self::Delivery, Self::Invocation],
            // One of those whose context one of its messages carries.
            Self::Invocation => &[Self::Request, Self::Message, Self::Invocation],
            Self::Environment => &[Self::Environment],
        }
    }

    /// What there can be one span for that one of these links to: what a message carries.
    const fn links(self) -> &'static [Self] {
        match self {
            Self::Delivery | Self::Invocation => &[Self::Request, Self::Message],
            Self::Request | Self::Message | Self::Environment => &[],
        }
    }

    /// What is about messages, which are in one queue.
    const OF_A_QUEUE: &[Self] = &[Self::Message, Self::Delivery];

    /// What happens in one function.
    const OF_A_FUNCTION: &[Self] = &[Self::Delivery, Self::Invocation, Self::Environment];
}

impl TraceContract {
    /// Checks what the format alone cannot: that parents exist and lead to a root, that roles can be told
    /// apart, that there is a way to tell which span another one should refer to, and that patterns are ones.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the roles' names.
    pub fn validate(&self) -> Result<(), ContractError> {
        if self.spans.is_empty() {
            return Err(ContractError::Empty);
        }
        if self.sampling.is_some_and(|sampling| !(sampling > 0.0 && sampling <= 1.0)) {
            return Err(ContractError::Sampling);
        }
        for (role, span) in &self.spans {
            self.validate_relation(role, span, Relation::Parent, span.parent.as_deref(), span.per.parents())?;
            self.validate_relation(role, span, Relation::Link, span.link.as_deref(), span.per.links())?;
            self.validate_root(role)?;
            span.validate_scope(role)?;
        }
        self.validate_names()?;
        self.validate_patterns()
    }

    fn validate_relation(
        &self,
        role: &str,
        span: &SpanContract,
        relation: Relation,
        named: Option<&str>,
        possible: &[Per],
    ) -> Result<(), ContractError> {
        let Some(named) = named else { return Ok(()) };
        let (role, choices) = (role.to_owned(), || self.spans.keys().cloned().collect());
        let Some(other) = self.spans.get(named) else {
            return Err(ContractError::UnknownRole { role, relation, named: named.to_owned(), choices: choices() });
        };
        if possible.contains(&other.per) {
            return Ok(());
        }
        let (per, other) = (span.per.as_str(), other.per.as_str());
        Err(ContractError::Unrelated { role, relation, per, other, choices: names(possible) })
    }

    /// Checks that the parents of `role`, which exist, lead to a root.
    fn validate_root(&self, role: &str) -> Result<(), ContractError> {
        let parent = |at: &&str| self.spans.get(*at)?.parent.as_deref();
        let line = std::iter::successors(Some(role), parent).take(self.spans.len() + 1);
        match line.count() > self.spans.len() {
            true => Err(ContractError::ParentCycle { role: role.to_owned() }),
            false => Ok(()),
        }
    }

    fn validate_names(&self) -> Result<(), ContractError> {
        if let Some(role) = self.extras.keys().find(|extra| self.spans.contains_key(*extra)) {
            return Err(ContractError::SpanAndExtra { role: role.clone() });
        }
        let roles = self.spans.iter().map(|(role, span)| (role, &span.service, &span.name));
        let extras = self.extras.iter().map(|(role, extra)| (role, &extra.service, &extra.name));
        let mut seen = BTreeMap::new();
        for (role, service, name) in roles.chain(extras) {
            if let Some(other) = seen.insert((service, name), role) {
                return Err(ContractError::Ambiguous { role: role.clone(), other: other.clone() });
            }
        }
        let none_allowed = self.extras.iter().find(|(_, extra)| extra.at_most == 0);
        none_allowed.map_or(Ok(()), |(role, _)| Err(ContractError::NoneAllowed { role: role.clone() }))
    }

    fn validate_patterns(&self) -> Result<(), ContractError> {
        let values = |role: Option<&String>, rules: &BTreeMap<String, ValueRule>| {
            rules.iter().try_for_each(|(key, rule)| match rule {
                ValueRule::Pattern(pattern) => validate_pattern(role, Some(key), pattern),
                ValueRule::Present | ValueRule::Exact(_) => Ok(()),
            })
        };
        values(None, &self.resource)?;
        for (role, span) in &self.spans {
            validate_name(role, &span.name)?;
            values(Some(role), &span.attributes)?;
            values(Some(role), &span.resource)?;
        }
        self.extras.iter().try_for_each(|(role, extra)| validate_name(role, &extra.name))
    }
}

impl SpanContract {
    /// Checks that it is asked for where there can be such a span, and in a time that a span can take.
    fn validate_scope(&self, role: &str) -> Result<(), ContractError> {
        let scopes = [("queue", &self.queue, Per::OF_A_QUEUE), ("function", &self.function, Per::OF_A_FUNCTION)];
        for (key, scope, possible) in scopes {
            if scope.is_some() && !possible.contains(&self.per) {
                let (role, per) = (role.to_owned(), self.per.as_str());
                return Err(ContractError::OutOfPlace { role, key, per, choices: names(possible) });
            }
        }
        match self.max_duration {
            Some(Duration::ZERO) => Err(ContractError::NoTime { role: role.to_owned() }),
            _ => Ok(()),
        }
    }
}

/// What there could be in the place of what cannot be.
fn or_else(choices: &[&str]) -> String {
    if choices.is_empty() { "; it can have none".to_owned() } else { format!("; it can be per {}", choices.join(", ")) }
}

fn names(pers: &[Per]) -> Vec<&'static str> {
    pers.iter().map(|per| per.as_str()).collect()
}

fn validate_name(role: &String, name: &NameRule) -> Result<(), ContractError> {
    match name {
        NameRule::Pattern(pattern) => validate_pattern(Some(role), None, pattern),
        NameRule::Exact(_) => Ok(()),
    }
}

fn validate_pattern(role: Option<&String>, attribute: Option<&String>, pattern: &str) -> Result<(), ContractError> {
    let compiled = TextRule::pattern(pattern);
    compiled.map(|_| ()).map_err(|error| ContractError::Pattern {
        role: role.cloned(),
        attribute: attribute.cloned(),
        pattern: pattern.to_owned(),
        // The library draws the place below the pattern; what is wrong stands in the last line.
        why: error.source.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::notation::contract;

    fn error(contract: &TraceContract) -> ContractError {
        contract.validate().unwrap_err()
    }

    /// What spans per `per` can refer to by a relation.
    fn possible(per: Per, relation: Relation) -> Vec<Per> {
        let is_valid = |other: &Per| {
            let (per, other) = (per.as_str(), other.as_str());
            let text = format!("a api INTERNAL \"a\" per={other}\nb api INTERNAL \"b\" {relation}=a per={per}");
            contract(&text).validate().is_ok()
        };
        Per::ALL.into_iter().filter(is_valid).collect()
    }

    #[test]
    fn parent_is_for_the_same_or_for_what_that_is_a_part_of() {
        use Per::{Delivery, Environment, Invocation, Message, Request};
        let parents = Per::ALL.map(|per| possible(per, Relation::Parent));
        assert_eq!(
            parents,
            [
                vec![Request],
                vec![Request, Message],
                vec![Request, Message, Delivery, Invocation],
                vec![Request, Message, Invocation],
                vec![Environment],
            ]
        );
    }

    #[test]
    fn link_leads_from_what_handles_messages_to_what_they_carry() {
        let links = Per::ALL.map(|per| possible(per, Relation::Link));
        let carried = vec![Per::Request, Per::Message];
        assert_eq!(links, [vec![], vec![], carried.clone(), carried, vec![]]);
    }

    #[test]
    fn reference_that_cannot_be_is_told_with_what_could() {
        let child = contract("a api INTERNAL \"a\" per=delivery\nb api INTERNAL \"b\" parent=a per=message");
        let message = "a span per message cannot have a parent per delivery; it can be per request, message";
        assert_eq!(error(&child).to_string(), message);
        let link = contract("a api INTERNAL \"a\" per=request\nb api INTERNAL \"b\" link=a per=message");
        assert_eq!(error(&link).to_string(), "a span per message cannot have a link per request; it can have none");
    }

    #[test]
    fn queue_is_for_spans_of_messages_and_function_for_those_in_it() {
        let possible = |set: fn(&mut SpanContract)| {
            let is_valid = |per: &Per| {
                let mut contract = contract(&format!("a api INTERNAL \"a\" per={}", per.as_str()));
                contract.spans.values_mut().for_each(set);
                contract.validate().is_ok()
            };
            Per::ALL.into_iter().filter(is_valid).collect::<Vec<_>>()
        };
        let of_queue = possible(|span| span.queue = Some("jobs".to_owned()));
        assert_eq!(of_queue, [Per::Message, Per::Delivery]);
        let of_function = possible(|span| span.function = Some("worker".to_owned()));
        assert_eq!(of_function, [Per::Delivery, Per::Invocation, Per::Environment]);
    }

    #[test]
    fn span_that_may_take_no_time_is_refused() {
        let contract = |nanos: u64| contract(&format!("a api INTERNAL \"a\" per=request max={nanos}"));
        assert_eq!(error(&contract(0)), ContractError::NoTime { role: "a".to_owned() });
        assert_eq!(contract(1).validate(), Ok(()));
    }

    #[test]
    fn span_and_extra_cannot_share_a_name_nor_what_they_are_told_by() {
        let extra = |line: &str| contract(&format!("a api INTERNAL \"a\" per=request\nextra {line} per=request"));
        assert_eq!(error(&extra("a api \"b\"")), ContractError::SpanAndExtra { role: "a".to_owned() });
        let ambiguous = ContractError::Ambiguous { role: "b".to_owned(), other: "a".to_owned() };
        assert_eq!(error(&extra("b api \"a\"")), ambiguous);
        assert_eq!(extra("b other \"a\"").validate(), Ok(()));
        assert_eq!(extra("b api /a/").validate(), Ok(()), "an exact name goes before a pattern");
    }

    #[test]
    fn pattern_must_be_one_by_itself() {
        let name = |pattern: &str| contract(&format!("a api INTERNAL /{pattern}/ per=request")).validate();
        assert_eq!(name("POST|GET"), Ok(()));
        for pattern in ["a)(b", "(", "[", "*", r"\1"] {
            let error = name(pattern).unwrap_err();
            assert!(matches!(&error, ContractError::Pattern { pattern: named, .. } if named == pattern), "{error}");
        }
    }
}
