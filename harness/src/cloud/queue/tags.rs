//! A queue's tags (SQS API, `TagQueue`; the limits are those of the Developer Guide, "cost allocation tags").

use std::collections::BTreeMap;

use super::error::{ErrorKind, SqsError};

/// Tags by their keys.
pub(super) type Tags = BTreeMap<String, String>;

const MAX_TAGS: usize = 50;
const MAX_KEY_CHARACTERS: usize = 128;
const MAX_VALUE_CHARACTERS: usize = 256;

/// Adds tags to those that are there, in whose place they come if they have the same key; all of them, or
/// none if one is not allowed.
pub(super) fn add(tags: &mut Tags, given: &Tags) -> Result<(), SqsError> {
    given.iter().try_for_each(|(key, value)| check(key, value))?;
    let new = given.keys().filter(|key| !tags.contains_key(*key)).count();
    if tags.len() + new > MAX_TAGS {
        return Err(refused(format!("A queue can have at most {MAX_TAGS} tags.")));
    }
    tags.extend(given.clone());
    Ok(())
}

fn check(key: &str, value: &str) -> Result<(), SqsError> {
    if !(1..=MAX_KEY_CHARACTERS).contains(&key.chars().count()) {
        return Err(refused(format!("Tag keys must be between 1 and {MAX_KEY_CHARACTERS} characters in length.")));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(refused(format!("The tag key {key:?} begins with aws:, which is for AWS itself.")));
    }
    if value.chars().count() > MAX_VALUE_CHARACTERS {
        return Err(refused(format!("Tag values must be at most {MAX_VALUE_CHARACTERS} characters in length.")));
    }
    Ok(())
}

fn refused(message: String) -> SqsError {
    SqsError::new(ErrorKind::InvalidParameterValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tags {
        Tags::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn tags_against_the_rules_are_refused_and_none_is_added() {
        let mut tags = Tags::new();
        for (key, value) in [("", "v"), (&*"k".repeat(129), "v"), ("AWS:k", "v"), ("k", &*"v".repeat(257))] {
            let mut given = tag("a", "allowed");
            given.extend(tag(key, value));
            assert_eq!(add(&mut tags, &given).unwrap_err().kind, ErrorKind::InvalidParameterValue, "{key} {value}");
        }
        assert_eq!(tags, Tags::new());
        add(&mut tags, &tag(&"ü".repeat(128), &"ü".repeat(256))).unwrap();
    }

    #[test]
    fn queue_has_50_tags_at_most_and_any_of_them_can_be_set_again() {
        let mut tags = Tags::new();
        for number in 0..50 {
            add(&mut tags, &tag(&format!("k{number}"), "v")).unwrap();
        }
        assert!(add(&mut tags, &tag("k50", "v")).is_err());
        add(&mut tags, &tag("k49", "again")).unwrap();
        assert_eq!(tags["k49"], "again");
    }
}
