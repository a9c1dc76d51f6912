//! The names of spans: each is kept once, and only so many of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::roles::Part;
use crate::rules::trace::NameId;

/// How many names are told apart. A name may hold an id; those beyond are one name for each part of the contract.
const NAMES: usize = 65_536;

/// What is shown in place of names that are too many.
const OTHERS: &str = "(one of too many names)";

/// A name with the service that it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) service: Arc<str>,
    pub(crate) name: Box<str>,
    /// What spans of this name are to the contract.
    pub(crate) part: Part,
}

/// All names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    services: HashMap<Arc<str>, HashMap<Box<str>, NameId>>,
    named: Vec<Named>,
    others: HashMap<Part, NameId>,
}

impl Names {
    /// The id of a name; `part` is asked once for each name.
    pub(crate) fn id(&mut self, service: &str, name: &str, part: impl FnOnce() -> Part) -> NameId {
        if let Some(id) = self.services.get(service).and_then(|names| names.get(name)) {
            return *id;
        }
        let part = part();
        if self.named.len() < NAMES { self.push(service, name, part) } else { self.other(part) }
    }

    fn push(&mut self, service: &str, name: &str, part: Part) -> NameId {
        let known = self.services.get_key_value(service).map(|(service, _)| service.clone());
        let service = known.unwrap_or_else(|| service.into());
        let id = self.next(Named { service: service.clone(), name: name.into(), part });
        self.services.entry(service).or_default().insert(name.into(), id);
        id
    }

    fn other(&mut self, part: Part) -> NameId {
        if let Some(id) = self.others.get(&part) {
            return *id;
        }
        let id = self.next(Named { service: "?".into(), name: OTHERS.into(), part });
        self.others.insert(part, id);
        id
    }

    fn next(&mut self, named: Named) -> NameId {
        let id = NameId(u32::try_from(self.named.len()).unwrap_or(u32::MAX));
        self.named.push(named);
        id
    }

    /// The name with this id.
    pub(crate) fn get(&self, id: NameId) -> &Named {
        &self.named[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_one_id_in_each_service() {
        let mut names = Names::default();
        let mut id = |service, name| names.id(service, name, || Part::Foreign);
        let first = id("api", "a");
        assert_eq!(id("api", "a"), first);
        assert_ne!(id("worker", "a"), first);
        assert_ne!(id("api", "b"), first);
        assert_eq!((&*names.get(first).service, &*names.get(first).name), ("api", "a"));
    }

    #[test]
    fn names_beyond_the_bound_share_one_for_each_part() {
        let mut names = Names::default();
        for number in 0..NAMES {
            names.id("api", &number.to_string(), || Part::Foreign);
        }
        let beyond = names.id("api", "one more", || Part::Foreign);
        assert_eq!(names.id("api", "and one", || Part::Foreign), beyond);
        assert_ne!(names.id("api", "another", || Part::Extra(0)), beyond);
        assert_eq!(&*names.get(beyond).name, OTHERS);
        assert_ne!(names.id("api", "7", || Part::Foreign), beyond);
        assert_eq!(names.named.len(), NAMES + 2);
    }
}
