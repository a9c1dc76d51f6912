//! What is wrong with a file that the user wrote: where, what was found, and what is possible.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file of the user's that cannot be used, as one message for them.
///
/// ```text
/// system.toml:9:1: unknown key `comand`
///   |
/// 9 | comand = ["./api"]
///   | ^^^^^^
///   = did you mean `command`?
///   = possible: `build`, `command`, `env`, `health`, `stop_timeout`
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError(Box<Details>);

/// Boxed, so that a `Result` with this error stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    file: PathBuf,
    place: Option<Place>,
    message: String,
    found: Option<String>,
    choices: Vec<String>,
}

/// A place in a file, with its line as it is drawn below the message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    width: usize,
    text: String,
}

impl InputError {
    /// An error that concerns a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self::new(file, None, message.into())
    }

    fn new(file: &Path, place: Option<Place>, message: String) -> Self {
        Self(Box::new(Details { file: file.to_owned(), place, message, found: None, choices: Vec::new() }))
    }

    /// The same error, with what would have been possible in the place of `found`.
    #[must_use]
    pub fn with_choices<T: Into<String>>(mut self, found: &str, choices: impl IntoIterator<Item = T>) -> Self {
        self.0.found = Some(found.to_owned());
        self.0.choices = choices.into_iter().map(Into::into).collect();
        self
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The line in the file, counted from 1, if the error has a place.
    pub fn line(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.line)
    }

    /// The column in the line in characters, counted from 1, if the error has a place.
    pub fn column(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.column)
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What would have been possible, if that is a list.
    pub fn choices(&self) -> &[String] {
        &self.0.choices
    }

    /// The choice that was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        nearest(self.0.found.as_deref()?, &self.0.choices)
    }
}

impl std::error::Error for InputError {}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.file.display())?;
        match &self.0.place {
            Some(place) => place.fmt_with(&self.0.message, f)?,
            None => write!(f, ": {}", self.0.message)?,
        }
        let margin = self.0.place.as_ref().map_or(0, Place::margin);
        if let Some(suggestion) = self.suggestion() {
            write!(f, "\n{:margin$} = did you mean `{suggestion}`?", "")?;
        }
        if !self.0.choices.is_empty() {
            write!(f, "\n{:margin$} = possible: `{}`", "", self.0.choices.join("`, `"))?;
        }
        Ok(())
    }
}

impl Place {
    /// The place of a range of bytes, or of as much of it as stands in its first line.
    fn new(text: &str, range: Range<usize>) -> Self {
        let start = text.floor_char_boundary(range.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = text.floor_char_boundary(range.end).clamp(start, line_end);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].chars().count().max(1),
            text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }

    /// The width of the line number's column in the drawing.
    fn margin(&self) -> usize {
        self.line.to_string().len()
    }

    fn fmt_with(&self, message: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, width, text } = self;
        let margin = self.margin();
        // A tab before the place stays one, so that the mark stands below it at any tab width.
        let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, ":{line}:{column}: {message}")?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{line} | {text}")?;
        write!(f, "{:margin$} | {indent}{:^<width$}", "", "")
    }
}

/// The text of a file of the user's, to read it and to point into it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// Reads a whole file.
    pub(crate) fn read(file: &Path) -> Result<Self, InputError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| InputError::of_file(file, format!("this file cannot be read: {error}")))?;
        Ok(Self::new(file, text))
    }

    /// A text that stands, or could stand, in this file.
    pub(crate) fn new(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), text: text.into() }
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The part of the text in a range of bytes.
    pub(crate) fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// The text as a value of `T`.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        toml::from_str(&self.text).map_err(|error| self.toml_error(&error))
    }

    /// Something wrong with a range of the text, in bytes.
    pub(crate) fn error(&self, range: Range<usize>, message: impl Into<String>) -> InputError {
        InputError::new(&self.file, Some(Place::new(&self.text, range)), message.into())
    }

    /// TOML's and serde's errors, in the words of this module.
    fn toml_error(&self, error: &toml::de::Error) -> InputError {
        let place = error.span().map(|span| Place::new(&self.text, span));
        let message = error.message();
        let Some(unknown) = Unknown::parse(message) else {
            return InputError::new(&self.file, place, missing(message).unwrap_or_else(|| message.to_owned()));
        };
        let sentence = format!("unknown {} `{}`", unknown.what, unknown.found);
        InputError::new(&self.file, place, sentence).with_choices(unknown.found, unknown.choices)
    }
}

/// What serde says about a key or value that it does not know.
struct Unknown<'a> {
    what: &'static str,
    found: &'a str,
    choices: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    /// Reads ``unknown field `a`, expected `b` or `c` ``: serde has no other way to learn the choices.
    fn parse(message: &'a str) -> Option<Self> {
        let (what, rest) = match message.strip_prefix("unknown field ") {
            Some(rest) => ("key", rest),
            None => ("value", message.strip_prefix("unknown variant ")?),
        };
        let mut quoted = rest.split('`').skip(1).step_by(2);
        let found = quoted.next()?;
        let mut choices: Vec<_> = quoted.collect();
        choices.sort_unstable();
        Some(Self { what, found, choices })
    }
}

/// Says it in terms of TOML that a key is missing, if that is what serde says.
fn missing(message: &str) -> Option<String> {
    message.strip_prefix("missing field ").map(|key| format!("the key {key} is missing"))
}

/// The choice that is nearest to what was found, if it is so near that it was probably meant.
pub(crate) fn nearest<'a>(found: &str, choices: &'a [String]) -> Option<&'a str> {
    let distance = |choice: &str| strsim::damerau_levenshtein(found, choice);
    let near = |choice: &&String| distance(choice) <= (found.chars().count() / 3).max(1);
    choices.iter().filter(near).min_by_key(|choice| distance(choice)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_drawn_below_its_line() {
        let source = Source::new(Path::new("system.toml"), "a = 1\n\tü = \"two\" # three\n");
        let start = source.text.find("\"two").unwrap();
        let error = source.error(start..start + 5, "two is not a number").with_choices("oen", ["one", "three"]);
        let drawn = concat!(
            "system.toml:2:6: two is not a number\n",
            "  |\n",
            "2 | \tü = \"two\" # three\n",
            "  | \t    ^^^^^\n",
            "  = did you mean `one`?\n",
            "  = possible: `one`, `three`",
        );
        assert_eq!(error.to_string(), drawn);
        assert_eq!((error.line(), error.column()), (Some(2), Some(6)));
    }

    #[test]
    fn a_range_over_several_lines_is_marked_in_its_first() {
        let source = Source::new(Path::new("x.toml"), "a = [\n  1,\n]\n");
        let drawn = source.error(4..11, "no").to_string();
        assert!(drawn.ends_with("1 | a = [\n  |     ^"), "{drawn}");
    }

    #[test]
    fn what_is_far_from_every_choice_has_no_suggestion() {
        let error = InputError::of_file(Path::new("x"), "no").with_choices("banana", ["rate", "duration"]);
        assert_eq!(error.suggestion(), None);
        assert_eq!(error.to_string(), "x: no\n = possible: `rate`, `duration`");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Source::read(Path::new("no/such.toml")).unwrap_err();
        assert!(error.to_string().starts_with("no/such.toml: this file cannot be read: "), "{error}");
    }
}
