//! Names that come again and again are kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// How many names are kept. A name should be of few kinds, but may hold an id; such names are not worth keeping.
const KEPT: usize = 4_096;

/// The names that were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(HashSet<Arc<str>>);

impl Names {
    /// A name: the one that is kept, if there is one.
    pub(crate) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.0.len() < KEPT {
            self.0.insert(Arc::clone(&name));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_kept_once_and_only_so_many_are() {
        let mut names = Names::default();
        let first = names.intern("a");
        assert!(Arc::ptr_eq(&first, &names.intern("a")));
        (0..2 * KEPT).for_each(|number| _ = names.intern(&number.to_string()));
        assert_eq!(names.0.len(), KEPT);
        assert!(Arc::ptr_eq(&first, &names.intern("a")));
        assert_eq!(&*names.intern("beyond"), "beyond");
    }
}
