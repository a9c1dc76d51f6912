//! What a text must be: the rules of a contract for names and values, compiled once.

use regex::Regex;

use crate::contract::{NameRule, ValueRule};

/// A pattern of a contract that is no regular expression.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{pattern:?} is not a regular expression: {source}")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub source: regex::Error,
}

/// What a text must be.
#[derive(Debug, Clone)]
pub(crate) enum TextRule {
    /// Anything but the empty text.
    Present,
    /// This text.
    Exact(String),
    /// A text that is matched as a whole.
    Pattern {
        /// The pattern as the contract has it.
        text: String,
        /// The pattern, tied to beginning and end.
        regex: Regex,
    },
}

impl TextRule {
    /// The rule that a text is matched as a whole.
    ///
    /// # Errors
    /// If the pattern is no regular expression.
    pub(crate) fn pattern(pattern: &str) -> Result<Self, InvalidPattern> {
        // By itself first: `a)(b` would be one in the group that ties it to beginning and end.
        let regex = Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z")));
        let regex = regex.map_err(|source| InvalidPattern { pattern: pattern.to_owned(), source })?;
        Ok(Self::Pattern { text: pattern.to_owned(), regex })
    }

    /// The rule for a value.
    ///
    /// # Errors
    /// If a pattern is no regular expression.
    pub(crate) fn of_value(rule: &ValueRule) -> Result<Self, InvalidPattern> {
        match rule {
            ValueRule::Present => Ok(Self::Present),
            ValueRule::Exact(text) => Ok(Self::Exact(text.clone())),
            ValueRule::Pattern(pattern) => Self::pattern(pattern),
        }
    }

    /// The rule for a name.
    ///
    /// # Errors
    /// If a pattern is no regular expression.
    pub(crate) fn of_name(rule: &NameRule) -> Result<Self, InvalidPattern> {
        match rule {
            NameRule::Exact(text) => Ok(Self::Exact(text.clone())),
            NameRule::Pattern(pattern) => Self::pattern(pattern),
        }
    }

    /// Whether a text is what it must be.
    pub(crate) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Present => !text.is_empty(),
            Self::Exact(exact) => exact == text,
            Self::Pattern { regex, .. } => regex.is_match(text),
        }
    }
}

impl std::fmt::Display for TextRule {
    /// What is asked for, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Present => f.write_str("anything but the empty text"),
            Self::Exact(text) => write!(f, "{text:?}"),
            Self::Pattern { text, .. } => write!(f, "a match of /{text}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(rule: &ValueRule, text: &str) -> bool {
        TextRule::of_value(rule).unwrap().accepts(text)
    }

    #[test]
    fn present_is_anything_but_the_empty_text() {
        assert!(accepts(&ValueRule::Present, " "));
        assert!(!accepts(&ValueRule::Present, ""));
    }

    #[test]
    fn exact_text_is_that_text_and_no_other() {
        assert!(accepts(&ValueRule::Exact("202".to_owned()), "202"));
        assert!(!accepts(&ValueRule::Exact("202".to_owned()), "2020"));
    }

    #[test]
    fn pattern_matches_the_whole_text() {
        let pattern = ValueRule::Pattern("POST|GET /x".to_owned());
        assert!(accepts(&pattern, "POST") && accepts(&pattern, "GET /x"));
        assert!(!accepts(&pattern, "POST /x") && !accepts(&pattern, "GET /x\n") && !accepts(&pattern, ""));
    }

    #[test]
    fn pattern_that_is_no_regular_expression_is_an_error() {
        let error = TextRule::of_name(&NameRule::Pattern("(".to_owned())).unwrap_err();
        assert!(error.to_string().starts_with("\"(\" is not a regular expression"), "{error}");
    }
}
