//! From a contract as it is written to the one that the verifier uses, with every error on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use verifier::contract::{ContractError, ExtraSpan, Relation, SpanContract, ValueRule};
use verifier::{FindingCode, Severity, TraceContract};

use super::raw::{RawContract, RawExtra, RawSpan, RawValue};
use crate::input::{InputError, Source};
use crate::manifest::raw::Named;

/// Reads and validates a contract.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn read(file: &Path) -> Result<TraceContract, InputError> {
    parse(&Source::read(file)?)
}

pub(super) fn parse(source: &Source) -> Result<TraceContract, InputError> {
    let raw: RawContract = source.parse()?;
    let contract = TraceContract {
        name: raw.name.clone(),
        spans: raw.span.iter().map(|(role, span)| (role.get_ref().clone(), span_contract(span))).collect(),
        extras: raw.extra.iter().map(|(name, extra)| (name.get_ref().clone(), extra_span(extra))).collect(),
        resource: value_rules(&raw.resource),
        foreign: raw.foreign,
        sampling: raw.sampling.as_ref().map(|sampling| *sampling.get_ref()),
        severity: severity(source, &raw.severity)?,
    };
    contract.validate().map_err(|error| located(source, &raw, &error))?;
    Ok(contract)
}

fn span_contract(raw: &RawSpan) -> SpanContract {
    SpanContract {
        service: raw.service.clone(),
        name: raw.name.get_ref().0.clone(),
        kind: raw.kind,
        parent: raw.parent.as_ref().map(|role| role.get_ref().clone()),
        link: raw.link.as_ref().map(|role| role.get_ref().clone()),
        per: raw.per,
        queue: raw.queue.clone(),
        function: raw.function.clone(),
        attributes: value_rules(&raw.attributes),
        resource: value_rules(&raw.resource),
        status: raw.status,
        max_duration: raw.max_duration.map(|duration| duration.0),
    }
}

fn extra_span(raw: &RawExtra) -> ExtraSpan {
    ExtraSpan {
        service: raw.service.clone(),
        name: raw.name.get_ref().0.clone(),
        per: raw.per,
        at_most: raw.at_most.as_ref().map_or(1, |at_most| *at_most.get_ref()),
    }
}

fn value_rules(raw: &Named<Spanned<RawValue>>) -> BTreeMap<String, ValueRule> {
    raw.iter().map(|(key, value)| (key.get_ref().clone(), value.get_ref().0.clone())).collect()
}

fn severity(source: &Source, raw: &Named<Severity>) -> Result<BTreeMap<FindingCode, Severity>, InputError> {
    let known = |code: &Spanned<String>| {
        let text = code.get_ref();
        let unknown = || {
            let error = source.error(code.span(), format!("`{text}` is not the code of a finding"));
            error.with_choices(text, FindingCode::ALL.iter().map(|code| code.as_str()))
        };
        text.parse::<FindingCode>().map_err(|_| unknown())
    };
    raw.iter().map(|(code, severity)| Ok((known(code)?, *severity))).collect()
}

/// Gives the error of a contract its place in the file.
fn located(source: &Source, raw: &RawContract, error: &ContractError) -> InputError {
    let located = match place(raw, error) {
        Some(range) => source.error(range, error.to_string()),
        None => InputError::of_file(source.file(), error.to_string()),
    };
    match error {
        ContractError::UnknownRole { named, choices, .. } => located.with_choices(named, choices.iter().cloned()),
        _ => located,
    }
}

/// What is wrong, or the table in which it is.
fn place(raw: &RawContract, error: &ContractError) -> Option<Range<usize>> {
    if let ContractError::Sampling = error {
        return raw.sampling.as_ref().map(Spanned::span);
    }
    if let ContractError::Pattern { role: None, attribute: Some(key), .. } = error {
        return raw.resource.get(key.as_str()).map(Spanned::span);
    }
    let role = error.role()?;
    match (raw.span.get_key_value(role), raw.extra.get_key_value(role)) {
        (Some((table, span)), _) => Some(place_in_span(span, error).unwrap_or_else(|| table.span())),
        (None, Some((table, extra))) => Some(place_in_extra(extra, error).unwrap_or_else(|| table.span())),
        (None, None) => None,
    }
}

fn place_in_span(span: &RawSpan, error: &ContractError) -> Option<Range<usize>> {
    match error {
        ContractError::UnknownRole { relation, .. } | ContractError::Unrelated { relation, .. } => match relation {
            Relation::Parent => span.parent.as_ref().map(Spanned::span),
            Relation::Link => span.link.as_ref().map(Spanned::span),
        },
        ContractError::ParentCycle { .. } => span.parent.as_ref().map(Spanned::span),
        ContractError::Pattern { attribute: Some(key), .. } => {
            let value = span.attributes.get(key.as_str()).or_else(|| span.resource.get(key.as_str()));
            value.map(Spanned::span)
        }
        ContractError::Pattern { attribute: None, .. } => Some(span.name.span()),
        _ => None,
    }
}

fn place_in_extra(extra: &RawExtra, error: &ContractError) -> Option<Range<usize>> {
    match error {
        ContractError::NoneAllowed { .. } => extra.at_most.as_ref().map(Spanned::span),
        ContractError::Pattern { .. } => Some(extra.name.span()),
        _ => None,
    }
}
