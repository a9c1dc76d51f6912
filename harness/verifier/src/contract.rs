//! The trace contract: what a complete trace of one request looks like, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::span::SpanKind;

/// What a complete trace of one request consists of. Read from a `contract.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceContract {
    /// Its name, for reports.
    pub name: String,
    /// The spans, each under the name of its role in the trace (`[span.consumer]`).
    #[serde(rename = "span")]
    pub spans: BTreeMap<String, SpanContract>,
}

/// What the span in one role must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanContract {
    /// The `service.name` of the resource that makes it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// The role of its parent. Left out, the span is the root of its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What there is one of these spans for.
    pub per: Per,
}

/// What there is one span for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One for each accepted request.
    Request,
    /// One for each message that was put into a queue for the request; at least one.
    Message,
    /// One for each time that a message of the request was handed to a function; at least one for
    /// each message.
    Delivery,
}

impl Per {
    /// Its name in a contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Message => "message",
            Self::Delivery => "delivery",
        }
    }
}

/// What is wrong with a contract although it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// It names no span, so it could never fail.
    #[error("the contract names no span: every run would pass")]
    Empty,
    /// A parent is not one of the roles.
    #[error("the parent {parent:?} is not a span of this contract; its spans are: {}", choices.join(", "))]
    UnknownParent {
        /// The role whose parent it is.
        role: String,
        /// The parent that was named.
        parent: String,
        /// The roles that there are.
        choices: Vec<String>,
    },
    /// Following the parents from a role never comes to a root.
    #[error("following the parents from {role:?} leads back to it and never to a root")]
    ParentCycle {
        /// The role.
        role: String,
    },
    /// Two roles could not be told apart.
    #[error("{role:?} and {other:?} have the same service and name, so their spans cannot be told apart")]
    Ambiguous {
        /// The one role.
        role: String,
        /// The other.
        other: String,
    },
}

impl ContractError {
    /// The role whose table is to blame, if it is a single one's.
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Empty => None,
            Self::UnknownParent { role, .. } | Self::ParentCycle { role } | Self::Ambiguous { role, .. } => Some(role),
        }
    }
}

impl TraceContract {
    /// Checks what the format alone cannot: that parents exist and lead to a root, and that roles can
    /// be told apart.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the roles' names.
    pub fn validate(&self) -> Result<(), ContractError> {
        if self.spans.is_empty() {
            return Err(ContractError::Empty);
        }
        let mut seen = BTreeMap::new();
        for (role, span) in &self.spans {
            self.validate_parents(role)?;
            if let Some(other) = seen.insert((&span.service, &span.name), role) {
                return Err(ContractError::Ambiguous { role: role.clone(), other: other.clone() });
            }
        }
        Ok(())
    }

    /// Checks that the parents of `role` exist and lead to a root.
    fn validate_parents(&self, role: &str) -> Result<(), ContractError> {
        let mut at = role;
        for _ in 0..=self.spans.len() {
            let Some(parent) = self.spans.get(at).and_then(|span| span.parent.as_deref()) else { return Ok(()) };
            if !self.spans.contains_key(parent) {
                let choices = self.spans.keys().cloned().collect();
                return Err(ContractError::UnknownParent { role: at.to_owned(), parent: parent.to_owned(), choices });
            }
            at = parent;
        }
        Err(ContractError::ParentCycle { role: role.to_owned() })
    }
}
