//! Reads a trace contract, `contract.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use verifier::contract::{ContractError, ForeignSpans, NameRule, Per, SpanContract, StatusRule};
use verifier::{SpanKind, TraceContract};

use crate::input::{InputError, Source};
use crate::manifest::raw::Named;

/// Reads and validates a contract.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn read(file: &Path) -> Result<TraceContract, InputError> {
    let source = Source::read(file)?;
    let contract = source.parse::<RawContract>()?.into_contract();
    contract.validate().map_err(|error| located(&source, &error))?;
    Ok(contract)
}

/// A contract as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    name: String,
    span: BTreeMap<String, RawSpan>,
}

/// A span as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpan {
    service: String,
    name: String,
    kind: SpanKind,
    parent: Option<String>,
    per: Per,
}

impl RawContract {
    fn into_contract(self) -> TraceContract {
        TraceContract {
            name: self.name,
            spans: self.span.into_iter().map(|(role, span)| (role, span.into_contract())).collect(),
            extras: BTreeMap::new(),
            resource: BTreeMap::new(),
            foreign: ForeignSpans::Count,
            sampling: None,
            severity: BTreeMap::new(),
        }
    }
}

impl RawSpan {
    fn into_contract(self) -> SpanContract {
        let Self { service, name, kind, parent, per } = self;
        let (attributes, resource) = (BTreeMap::new(), BTreeMap::new());
        let name = NameRule::Exact(name);
        let (link, status, max_duration) = (None, StatusRule::Any, None);
        let (queue, function) = (None, None);
        SpanContract {
            service,
            name,
            kind,
            parent,
            link,
            per,
            queue,
            function,
            attributes,
            resource,
            status,
            max_duration,
        }
    }
}

/// A contract, for the places of its roles alone.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    span: Named<SpanPlaces>,
}

#[derive(Deserialize)]
struct SpanPlaces {
    parent: Option<Spanned<String>>,
}

/// Gives the error of a contract its place in the file.
fn located(source: &Source, error: &ContractError) -> InputError {
    let found = match source.parse::<Places>() {
        Ok(places) => place(&places, error),
        Err(error) => return error,
    };
    match found {
        Some(range) => with_choices(source.error(range, message(error)), error),
        None => InputError::of_file(source.file(), message(error)),
    }
}

/// The parent that is wrong, or the role whose table is.
fn place(places: &Places, error: &ContractError) -> Option<std::ops::Range<usize>> {
    let (role, span) = places.span.get_key_value(error.role()?)?;
    let parent = span.parent.as_ref().filter(|_| !matches!(error, ContractError::Ambiguous { .. }));
    Some(parent.map_or_else(|| role.span(), Spanned::span))
}

fn message(error: &ContractError) -> String {
    match error {
        ContractError::UnknownParent { parent, .. } => format!("the parent `{parent}` is not a span of this contract"),
        other => other.to_string(),
    }
}

fn with_choices(located: InputError, error: &ContractError) -> InputError {
    match error {
        ContractError::UnknownParent { parent, choices, .. } => located.with_choices(parent, choices.iter().cloned()),
        _ => located,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> InputError {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("contract.toml");
        std::fs::write(&file, text).unwrap();
        read(&file).unwrap_err()
    }

    const SERVER: &str =
        "name = \"n\"\n[span.server]\nservice = \"api\"\nname = \"POST /\"\nkind = \"server\"\nper = \"request\"\n";

    #[test]
    fn a_parent_that_is_no_span_is_shown_with_those_that_are() {
        let error = error(&format!("{SERVER}parent = \"sever\"\n"));
        assert_eq!((error.line(), error.column()), (Some(7), Some(10)));
        assert_eq!(error.message(), "the parent `sever` is not a span of this contract");
        assert_eq!(error.choices(), ["server"]);
        assert_eq!(error.suggestion(), Some("server"));
    }

    #[test]
    fn spans_that_cannot_be_told_apart_are_shown_at_their_table() {
        let error = error(&format!("{SERVER}{}", SERVER.replace("name = \"n\"\n", "").replace("server]", "twin]")));
        assert_eq!(error.line(), Some(7));
        assert!(error.message().contains("cannot be told apart"), "{error}");
    }

    #[test]
    fn a_contract_without_spans_is_refused() {
        let error = error("name = \"n\"\n[span]\n");
        assert_eq!(error.message(), "the contract names no span: every run would pass");
    }

    #[test]
    fn an_unknown_kind_is_shown_with_the_kinds_there_are() {
        let error = error(&SERVER.replace("\"server\"", "\"sever\""));
        assert_eq!(error.message(), "unknown value `sever`");
        assert_eq!(error.suggestion(), Some("server"));
        assert_eq!(error.line(), Some(5));
    }
}
