//! What is wrong with a contract that can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{NameRule, Per, SpanContract, TraceContract, ValueRule};
use crate::text::TextRule;

/// How many attributes of one span can be asked for. Which of them were seen is kept in 64 bits, of which some are
/// for those that tell a span's request, message and invocation.
const ATTRIBUTES_AT_MOST: usize = 48;

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
    /// More attributes of one span are asked for than are looked at.
    #[error("{asked} attributes of one span are asked for; the most are {ATTRIBUTES_AT_MOST}")]
    TooManyAttributes {
        /// The role.
        role: String,
        /// How many.
        asked: usize,
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
            | Self::TooManyAttributes { role, .. }
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

    /// Checks that the parents of `role` lead to a root. Those that do not exist are told by themselves.
    fn validate_root(&self, role: &str) -> Result<(), ContractError> {
        let parent = |at: &&str| self.spans.get(*at)?.parent.as_deref();
        let mut line = std::iter::successors(Some(role), parent);
        // Who is still reached after as many steps as there are roles is one of the circle, which `role` need not be.
        let in_circle = line.nth(self.spans.len());
        in_circle.map_or(Ok(()), |role| Err(ContractError::ParentCycle { role: role.to_owned() }))
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
        if self.attributes.len() > ATTRIBUTES_AT_MOST {
            let (role, asked) = (role.to_owned(), self.attributes.len());
            return Err(ContractError::TooManyAttributes { role, asked });
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
    fn circle_of_parents_is_told_of_a_role_that_is_in_it() {
        let circle = contract(
            "a api INTERNAL \"a\" parent=b per=request
             b api INTERNAL \"b\" parent=c per=request
             c api INTERNAL \"c\" parent=b per=request",
        );
        let ContractError::ParentCycle { role } = error(&circle) else { panic!("{}", error(&circle)) };
        assert!(role == "b" || role == "c", "{role}");
        let own = contract("a api INTERNAL \"a\" parent=a per=request");
        assert_eq!(error(&own), ContractError::ParentCycle { role: "a".to_owned() });
        let line = contract(
            "a api INTERNAL \"a\" parent=b per=request
             b api INTERNAL \"b\" parent=c per=request
             c api INTERNAL \"c\" per=request",
        );
        assert_eq!(line.validate(), Ok(()));
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
    fn no_more_attributes_are_asked_for_than_are_looked_at() {
        let contract = |count: usize| {
            let attributes: String = (0..count).map(|number| format!(" has=a{number}")).collect();
            contract(&format!("a api INTERNAL \"a\" per=request{attributes}"))
        };
        assert_eq!(contract(48).validate(), Ok(()));
        assert_eq!(error(&contract(49)), ContractError::TooManyAttributes { role: "a".to_owned(), asked: 49 });
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
