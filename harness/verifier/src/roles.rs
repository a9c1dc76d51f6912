//! The roles of a contract, made ready for telling which span has which.

use std::collections::{BTreeMap, HashMap};

use crate::contract::{Per, SpanContract, TraceContract};
use crate::text::{InvalidPattern, TextRule};

/// A role, by its place among those of its contract; parents stand before their children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoleId(pub(crate) u16);

impl RoleId {
    /// Its place.
    pub(crate) fn place(self) -> usize {
        self.0.into()
    }
}

/// A service of a contract, by its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceId(u16);

/// What a span is to a contract, by its service and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// It is in this role.
    Role(RoleId),
    /// It may be there and need not: an extra, by its place in the contract.
    Extra(u16),
    /// It comes from a service of the contract, which does not name it.
    Unnamed(ServiceId),
    /// It comes from another service.
    Foreign,
}

/// A role with its relations.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) service: ServiceId,
    pub(crate) span: SpanContract,
    pub(crate) parent: Option<RoleId>,
    pub(crate) link: Option<RoleId>,
    /// The root of its trace.
    pub(crate) root: RoleId,
    pub(crate) depth: usize,
}

/// A span that may be there.
#[derive(Debug, Clone)]
pub(crate) struct Extra {
    pub(crate) name: String,
    pub(crate) per: Per,
    pub(crate) at_most: u32,
}

/// The roles of a contract.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    roles: Vec<Role>,
    extras: Vec<Extra>,
    services: BTreeMap<String, ServiceId>,
    by_exact_name: HashMap<String, HashMap<String, Part>>,
    /// Those whose names are patterns, with their services.
    by_pattern: Vec<(String, TextRule, Part)>,
}

impl Roles {
    /// The roles of a contract that [`TraceContract::validate`] accepts.
    ///
    /// # Errors
    /// If a name's pattern is no regular expression.
    pub(crate) fn new(contract: &TraceContract) -> Result<Self, InvalidPattern> {
        let mut names: Vec<_> = contract.spans.keys().map(|role| (depth(contract, role), role)).collect();
        names.sort_unstable();
        let mut roles = Self::default();
        for &(depth, name) in &names {
            roles.push_role(name, &contract.spans[name], depth)?;
        }
        for place in 0..roles.roles.len() {
            roles.roles[place].link = roles.roles[place].span.link.as_deref().and_then(|link| roles.named(link));
        }
        roles.push_extras(contract)?;
        Ok(roles)
    }

    fn push_role(&mut self, name: &str, span: &SpanContract, depth: usize) -> Result<(), InvalidPattern> {
        let own = RoleId(u16::try_from(self.roles.len()).unwrap_or(u16::MAX));
        let parent = span.parent.as_deref().and_then(|parent| self.named(parent));
        let root = parent.map_or(own, |parent| self.get(parent).root);
        let next = ServiceId(u16::try_from(self.services.len()).unwrap_or(u16::MAX));
        let service = *self.services.entry(span.service.clone()).or_insert(next);
        self.recognise(&span.service, TextRule::of_name(&span.name)?, Part::Role(own));
        let (name, span) = (name.to_owned(), span.clone());
        self.roles.push(Role { name, service, span, parent, link: None, root, depth });
        Ok(())
    }

    fn push_extras(&mut self, contract: &TraceContract) -> Result<(), InvalidPattern> {
        for (place, (name, extra)) in (0..).zip(&contract.extras) {
            self.recognise(&extra.service, TextRule::of_name(&extra.name)?, Part::Extra(place));
            self.extras.push(Extra { name: name.clone(), per: extra.per, at_most: extra.at_most });
        }
        Ok(())
    }

    /// Notes by what service and name a part is told.
    fn recognise(&mut self, service: &str, name: TextRule, part: Part) {
        match name {
            TextRule::Exact(name) => {
                self.by_exact_name.entry(service.to_owned()).or_default().entry(name).or_insert(part);
            }
            pattern => self.by_pattern.push((service.to_owned(), pattern, part)),
        }
    }

    fn named(&self, name: &str) -> Option<RoleId> {
        let place = self.roles.iter().position(|role| role.name == name)?;
        u16::try_from(place).ok().map(RoleId)
    }

    /// What the span with this `service.name` and name is. An exact name goes before a pattern.
    pub(crate) fn part(&self, service: &str, name: &str) -> Part {
        let exact = self.by_exact_name.get(service).and_then(|names| names.get(name)).copied();
        let fits = |(of, rule, part): &(String, TextRule, Part)| (of == service && rule.accepts(name)).then_some(*part);
        let named = exact.or_else(|| self.by_pattern.iter().find_map(fits));
        let unnamed = || self.services.get(service).map_or(Part::Foreign, |service| Part::Unnamed(*service));
        named.unwrap_or_else(unnamed)
    }

    /// The role itself.
    pub(crate) fn get(&self, role: RoleId) -> &Role {
        &self.roles[role.place()]
    }

    /// All roles, parents before their children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RoleId, &Role)> {
        (0..).map(RoleId).zip(&self.roles)
    }

    /// An extra.
    pub(crate) fn extra(&self, place: u16) -> &Extra {
        &self.extras[usize::from(place)]
    }

    /// What a finding about a span is about: its role, or what it says of itself.
    pub(crate) fn subject(&self, role: Option<RoleId>, service: &str, name: &str) -> String {
        role.map_or_else(|| format!("{service} {name:?}"), |role| self.get(role).name.clone())
    }

    /// What there is one span in the role for.
    pub(crate) fn per_of(&self, role: RoleId) -> Per {
        self.get(role).span.per
    }

    /// The roles of which there is one for each `per`.
    pub(crate) fn per(&self, per: Per) -> impl Iterator<Item = RoleId> {
        self.iter().filter(move |(_, role)| role.span.per == per).map(|(id, _)| id)
    }

    /// Whether any role is made from what messages carry.
    pub(crate) fn needs_carriers(&self) -> bool {
        let is_carried = |role: &Role| {
            matches!(role.span.per, Per::Delivery | Per::Invocation) && (role.parent.is_some() || role.link.is_some())
        };
        self.iter().any(|(_, role)| is_carried(role))
    }

    /// How many roles there are.
    pub(crate) const fn len(&self) -> usize {
        self.roles.len()
    }
}

/// How many roles stand above a role.
fn depth(contract: &TraceContract, role: &str) -> usize {
    let parent = |role: &&str| contract.spans.get(*role)?.parent.as_deref();
    std::iter::successors(Some(role), parent).take(contract.spans.len()).count() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::notation::contract;

    #[test]
    fn exact_name_goes_before_a_pattern_and_a_role_before_an_extra() {
        let contract = contract(
            "server api SERVER \"POST /x\" per=request
             any api SERVER /POST .*/ per=request
             extra canary api /.*canary/ per=environment",
        );
        let roles = Roles::new(&contract).unwrap();
        let role = |service, name| match roles.part(service, name) {
            Part::Role(role) => roles.get(role).name.clone(),
            Part::Extra(extra) => roles.extra(extra).name.clone(),
            other => format!("{other:?}"),
        };
        let cases = [("POST /x", "server"), ("POST /y", "any"), ("POST canary", "any"), ("a canary", "canary")];
        for (name, expected) in cases {
            assert_eq!(role("api", name), expected);
        }
        assert_eq!(role("api", "GET /x"), "Unnamed(ServiceId(0))");
        assert_eq!(role("other", "POST /x"), "Foreign");
    }

    #[test]
    fn parents_stand_before_their_children_and_know_their_root() {
        let contract = contract(
            "z api SERVER \"z\" per=request
             a api PRODUCER \"a\" parent=z per=message
             m worker CONSUMER \"m\" link=a per=delivery",
        );
        let roles = Roles::new(&contract).unwrap();
        let names: Vec<_> = roles.iter().map(|(_, role)| role.name.as_str()).collect();
        assert_eq!(names, ["m", "z", "a"]);
        let a = roles.get(RoleId(2));
        assert_eq!((a.parent, a.root, a.depth), (Some(RoleId(1)), RoleId(1), 1));
        assert_eq!(roles.get(RoleId(0)).link, Some(RoleId(2)));
    }
}
