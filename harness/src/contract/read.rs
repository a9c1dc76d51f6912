//! From a contract as it is written to the one that the verifier uses, with every error on the way.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use verifier::contract::{ContractError, ExtraSpan, NameRule, Relation, SpanContract, ValueRule};
use verifier::{FindingCode, Severity, TraceContract};

use super::raw::{RawContract, RawExtra, RawName, RawSpan, RawValue};
use crate::input::{InputError, Source};
use crate::manifest::raw::{Named, Text};

/// The most spans that an extra can allow for each of what it is for.
const AT_MOST: RangeInclusive<i64> = 1..=1_000_000;

/// The system that a contract is for, as far as contracts can name parts of it.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The names of its queues.
    pub queues: &'a [&'a str],
    /// The names of its functions.
    pub functions: &'a [&'a str],
}

/// Reads and validates a contract.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn read(file: &Path) -> Result<TraceContract, InputError> {
    parse(&Source::read(file)?, None)
}

/// Reads and validates the contract of a system: what it is asked of must be there, since what is asked of a
/// queue or a function that is not there could never fail.
///
/// # Errors
/// The first thing that is wrong with the file.
pub fn read_for(file: &Path, system: Parts<'_>) -> Result<TraceContract, InputError> {
    parse(&Source::read(file)?, Some(system))
}

pub(super) fn parse(source: &Source, system: Option<Parts<'_>>) -> Result<TraceContract, InputError> {
    let raw: RawContract = source.parse()?;
    let reader = Reader { source, system };
    let contract = reader.contract(&raw)?;
    contract.validate().map_err(|error| located(source, &raw, &error))?;
    Ok(contract)
}

/// Reads the parts of one contract.
struct Reader<'a> {
    source: &'a Source,
    /// The system that it is for, if that is known.
    system: Option<Parts<'a>>,
}

impl Reader<'_> {
    fn contract(&self, raw: &RawContract) -> Result<TraceContract, InputError> {
        let spans = raw.span.iter().map(|(role, span)| Ok((role.get_ref().clone(), self.span(span)?)));
        let extras = raw.extra.iter().map(|(name, extra)| Ok((name.get_ref().clone(), self.extra(extra)?)));
        Ok(TraceContract {
            name: self.not_empty(&raw.name, "a contract needs a name")?,
            spans: spans.collect::<Result<_, _>>()?,
            extras: extras.collect::<Result<_, _>>()?,
            resource: value_rules(&raw.resource),
            foreign: raw.foreign,
            sampling: raw.sampling.as_ref().map(|sampling| *sampling.get_ref()),
            severity: self.severity(&raw.severity)?,
        })
    }

    fn span(&self, raw: &RawSpan) -> Result<SpanContract, InputError> {
        let text = |text: &Text| text.get_ref().clone();
        self.is_there("queue", raw.queue.as_ref(), self.system.map(|system| system.queues))?;
        self.is_there("function", raw.function.as_ref(), self.system.map(|system| system.functions))?;
        Ok(SpanContract {
            service: self.service(&raw.service)?,
            name: self.name(&raw.name)?,
            kind: raw.kind,
            parent: raw.parent.as_ref().map(text),
            link: raw.link.as_ref().map(text),
            per: raw.per,
            queue: raw.queue.as_ref().map(text),
            function: raw.function.as_ref().map(text),
            attributes: value_rules(&raw.attributes),
            resource: value_rules(&raw.resource),
            status: raw.status,
            max_duration: raw.max_duration.as_ref().map(|duration| duration.get_ref().0),
        })
    }

    fn extra(&self, raw: &RawExtra) -> Result<ExtraSpan, InputError> {
        Ok(ExtraSpan {
            service: self.service(&raw.service)?,
            name: self.name(&raw.name)?,
            per: raw.per,
            at_most: raw.at_most.as_ref().map_or(Ok(1), |at_most| self.at_most(at_most))?,
        })
    }

    fn at_most(&self, at_most: &Spanned<i64>) -> Result<u32, InputError> {
        let number = Some(*at_most.get_ref()).filter(|number| AT_MOST.contains(number));
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            let message = format!("at_most is from {} to {}, not {at_most}", AT_MOST.start(), AT_MOST.end());
            self.source.error(at_most.span(), message)
        })
    }

    fn service(&self, service: &Text) -> Result<String, InputError> {
        self.not_empty(service, "a span needs a service: the `service.name` of who makes it")
    }

    fn name(&self, name: &Spanned<RawName>) -> Result<NameRule, InputError> {
        match &name.get_ref().0 {
            rule if rule.as_str().is_empty() => Err(self.source.error(name.span(), "a span needs a name")),
            rule => Ok(rule.clone()),
        }
    }

    fn not_empty(&self, text: &Text, message: &str) -> Result<String, InputError> {
        match text.get_ref().trim().is_empty() {
            true => Err(self.source.error(text.span(), message)),
            false => Ok(text.get_ref().clone()),
        }
    }

    /// Checks that the system has the queue or function that a span is asked for.
    fn is_there(&self, kind: &str, name: Option<&Text>, known: Option<&[&str]>) -> Result<(), InputError> {
        let (Some(name), Some(known)) = (name, known) else { return Ok(()) };
        if known.contains(&name.get_ref().as_str()) {
            return Ok(());
        }
        let message = format!("the system has no [{kind}.{}]", name.get_ref());
        Err(self.source.error(name.span(), message).with_choices(name.get_ref(), known.iter().copied()))
    }

    fn severity(&self, raw: &Named<Severity>) -> Result<BTreeMap<FindingCode, Severity>, InputError> {
        raw.iter().map(|(code, severity)| Ok((self.code(code)?, *severity))).collect()
    }

    fn code(&self, code: &Text) -> Result<FindingCode, InputError> {
        code.get_ref().parse().map_err(|_| {
            let message = format!("`{}` is not the code of a finding", code.get_ref());
            let choices = FindingCode::ALL.iter().map(|code| code.as_str());
            self.source.error(code.span(), message).with_choices(code.get_ref(), choices)
        })
    }
}

fn value_rules(raw: &Named<Spanned<RawValue>>) -> BTreeMap<String, ValueRule> {
    raw.iter().map(|(key, value)| (key.get_ref().clone(), value.get_ref().0.clone())).collect()
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
    if let ContractError::SpanAndExtra { .. } = error {
        return raw.extra.get_key_value(role).map(|(table, _)| table.span());
    }
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
        ContractError::OutOfPlace { key: "queue", .. } => span.queue.as_ref().map(Spanned::span),
        ContractError::OutOfPlace { .. } => span.function.as_ref().map(Spanned::span),
        ContractError::NoTime { .. } => span.max_duration.as_ref().map(Spanned::span),
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
