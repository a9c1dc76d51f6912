//! The contract, made ready for looking things up.

use std::collections::HashMap;

use crate::contract::{Per, SpanContract, TraceContract};

/// A role of the contract, by its place in [`Roles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoleId(usize);

/// What the span in one role must look like.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) span: SpanContract,
    pub(crate) parent: Option<RoleId>,
    pub(crate) depth: usize,
}

/// The roles of a contract; parents stand before their children.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    roles: Vec<Role>,
    by_service_and_name: HashMap<String, HashMap<String, RoleId>>,
}

impl Roles {
    /// The roles of a contract that [`TraceContract::validate`] accepts.
    pub(crate) fn new(contract: &TraceContract) -> Self {
        let depth_of = |role: &str| std::iter::successors(Some(role), |at| parent_name(contract, at)).count() - 1;
        let mut names: Vec<_> = contract.spans.keys().map(|role| (depth_of(role), role)).collect();
        names.sort();
        let mut roles = Self::default();
        for (depth, name) in names {
            roles.push(name, contract.spans[name].clone(), depth);
        }
        roles
    }

    fn push(&mut self, name: &str, span: SpanContract, depth: usize) {
        let parent = span.parent.as_deref().and_then(|parent| self.named(parent));
        let by_name = self.by_service_and_name.entry(span.service.clone()).or_default();
        by_name.insert(span.name.as_str().to_owned(), RoleId(self.roles.len()));
        self.roles.push(Role { name: name.to_owned(), span, parent, depth });
    }

    fn named(&self, name: &str) -> Option<RoleId> {
        self.roles.iter().position(|role| role.name == name).map(RoleId)
    }

    /// The role of the span with this `service.name` and name.
    pub(crate) fn of_span(&self, service: &str, name: &str) -> Option<RoleId> {
        self.by_service_and_name.get(service)?.get(name).copied()
    }

    /// The role itself.
    pub(crate) fn get(&self, id: RoleId) -> &Role {
        &self.roles[id.0]
    }

    /// All roles, parents before their children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RoleId, &Role)> {
        self.roles.iter().enumerate().map(|(place, role)| (RoleId(place), role))
    }

    /// What a finding about a span is about: its role, or what it says of itself.
    pub(crate) fn subject(&self, role: Option<RoleId>, service: &str, name: &str) -> String {
        role.map_or_else(|| format!("{service} {name:?}"), |role| self.get(role).name.clone())
    }

    /// The roles of which there is one for each `per`.
    pub(crate) fn per(&self, per: Per) -> impl Iterator<Item = RoleId> {
        self.iter().filter(move |(_, role)| role.span.per == per).map(|(id, _)| id)
    }
}

fn parent_name<'a>(contract: &'a TraceContract, role: &str) -> Option<&'a str> {
    contract.spans.get(role)?.parent.as_deref()
}
