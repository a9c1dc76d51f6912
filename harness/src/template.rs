//! Strings with placeholders, such as `{otlp.endpoint}`, that the harness fills in.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A string of a manifest, with its placeholders found.
///
/// A placeholder is two or more lower-case words with dots between them, in braces. All other braces
/// are text, so a JSON body needs no escapes: `{"customer_id":"{request.id}"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(String),
}

/// A placeholder that there is no value for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no value for the placeholder {{{0}}}")]
pub struct MissingValue(String);

/// The values of placeholders, by their names without braces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same values and this one, which replaces an earlier one of its name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of a placeholder.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Template {
    /// Finds the placeholders of a string.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut end = 0;
        for range in placeholders(text) {
            parts.push(Part::Text(text[end..range.start].to_owned()));
            parts.push(Part::Placeholder(text[range.start + 1..range.end - 1].to_owned()));
            end = range.end;
        }
        parts.push(Part::Text(text[end..].to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Self(parts)
    }

    /// The names of its placeholders, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The string with all placeholders filled in.
    ///
    /// # Errors
    /// If a placeholder has no value.
    pub fn render(&self, values: &Values) -> Result<String, MissingValue> {
        self.0.iter().try_fold(String::new(), |rendered, part| match part {
            Part::Text(text) => Ok(rendered + text),
            Part::Placeholder(name) => {
                values.get(name).map(|value| rendered + value).ok_or_else(|| MissingValue(name.clone()))
            }
        })
    }

    /// The template that is left when the placeholders that have a value are filled in.
    ///
    /// What must be rendered for each request is so made ready once.
    #[must_use]
    pub fn bind(&self, values: &Values) -> Self {
        let bound = self.0.iter().map(|part| match part {
            Part::Placeholder(name) => values.get(name).map_or_else(|| part.clone(), |v| Part::Text(v.to_owned())),
            Part::Text(_) => part.clone(),
        });
        Self(bound.collect())
    }
}

impl fmt::Display for Template {
    /// The string as it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Placeholder(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Where the placeholders of a string are, braces included.
fn placeholders(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('{').filter_map(|(start, _)| {
        let name = text[start + 1..].split_once('}')?.0;
        is_name(name).then(|| start..start + name.len() + 2)
    })
}

/// Whether this is the name of a placeholder: two or more lower-case words with dots between them.
fn is_name(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
    };
    text.contains('.') && text.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Template::parse(text).names().map(str::to_owned).collect()
    }

    #[test]
    fn placeholders_are_found_inside_json() {
        let body = r#"{"customer_id":"{request.id}","nested":{"run":"{run.id}"},"list":[{}]}"#;
        assert_eq!(names(body), ["request.id", "run.id"]);
        let values = Values::new().with("request.id", "7f3a9c2e-0000002a").with("run.id", "r1");
        let rendered = r#"{"customer_id":"7f3a9c2e-0000002a","nested":{"run":"r1"},"list":[{}]}"#;
        assert_eq!(Template::parse(body).render(&values).unwrap(), rendered);
    }

    #[test]
    fn braces_that_hold_no_dotted_lower_case_name_are_text() {
        for text in ["{}", "{a}", "{.}", "{a.}", "{A.b}", "{a b.c}", "{a.b", "a.b}", "{\"a.b\"}", "{{", "ü{ü.ü}"] {
            assert_eq!(names(text), [""; 0], "{text}");
            assert_eq!(Template::parse(text).render(&Values::new()).unwrap(), text);
        }
    }

    #[test]
    fn adjacent_and_doubly_braced_placeholders_are_filled_in() {
        let values = Values::new().with("a.b", "1").with("queue.on-board_2.url", "2");
        assert_eq!(Template::parse("{a.b}{queue.on-board_2.url}").render(&values).unwrap(), "12");
        assert_eq!(Template::parse("{{a.b}}").render(&values).unwrap(), "{1}");
    }

    #[test]
    fn a_placeholder_without_a_value_is_named() {
        let error = Template::parse("x {run.id}").render(&Values::new()).unwrap_err();
        assert_eq!(error.to_string(), "there is no value for the placeholder {run.id}");
    }

    #[test]
    fn binding_fills_in_what_is_known_and_keeps_the_rest() {
        let bound = Template::parse("{run.id}/{request.id}").bind(&Values::new().with("run.id", "{request.id}"));
        assert_eq!(bound.to_string(), "{request.id}/{request.id}");
        let rendered = bound.render(&Values::new().with("request.id", "7")).unwrap();
        assert_eq!(rendered, "{request.id}/7", "a value is text, never a template again");
    }
}
