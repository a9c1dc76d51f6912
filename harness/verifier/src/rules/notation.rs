//! A notation for traces: a span in a line, its parent above it and less indented.
//!
//! `api SERVER 1 "POST /x" start=5000000` is the span 1 of the service `api`. What may follow: the name in
//! quotes, `parent=ID`, `flags=0x301`, `content=N`, `start=NANOSECONDS` after the trace's beginning or
//! `start=unset`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::{ExtraSpan, ForeignSpans, NameRule, Per, SpanContract, StatusRule, TraceContract, ValueRule};
use crate::id::{SpanId, TraceId};
use crate::rules::trace::{NameId, ProcessId, TraceSpan};
use crate::span::SpanKind;
use crate::time::Timestamp;

/// The contract of a system of three spans.
pub(crate) const ONBOARDING: &str = "server api SERVER \"POST /x\" per=request
    producer api PRODUCER \"send\" parent=server per=message
    consumer worker CONSUMER \"process\" parent=producer per=delivery";

/// When traces begin.
pub(crate) const BEGIN: u64 = 1_700_000_000_000_000_000;

/// A line of the notation.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) service: &'a str,
    pub(crate) kind: SpanKind,
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: &'a str,
    /// What else is said, as `key=value`.
    pub(crate) fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    pub(crate) fn field(&self, key: &str) -> Option<&'a str> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The trace and the span that it links to.
    pub(crate) fn link(&self) -> Option<(u64, u64)> {
        let (trace, span) = self.field("link")?.split_once(':')?;
        Some((trace.parse().unwrap(), span.parse().unwrap()))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.field(key).map(|value| match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => value.parse().unwrap(),
        })
    }

    /// Its flags; none, if it says nothing.
    pub(crate) fn flags(&self) -> u32 {
        self.number("flags").unwrap_or_default().try_into().unwrap()
    }

    /// When it starts; the `place`-th span 10 µs after the one before.
    pub(crate) fn start(&self, place: usize) -> u64 {
        match self.field("start") {
            Some("unset") => 0,
            Some(_) => BEGIN + self.number("start").unwrap(),
            None => BEGIN + 10_000 * u64::try_from(place).unwrap(),
        }
    }
}

/// The lines of a text.
pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    let mut above: Vec<(usize, u64)> = Vec::new();
    let mut lines = Vec::new();
    for text in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = text.len() - text.trim_start().len();
        above.retain(|(other, _)| *other < depth);
        let mut line = line(text.trim());
        line.parent = line.number("parent").or(above.last().filter(|_| line.field("root").is_none()).map(|up| up.1));
        above.push((depth, line.id));
        lines.push(line);
    }
    lines
}

fn line(text: &str) -> Line<'_> {
    let (before, rest) = text.split_once('"').unwrap_or((text, ""));
    let (name, after) = rest.split_once('"').unwrap_or(("", ""));
    let words: Vec<_> = before.split_whitespace().chain(after.split_whitespace()).collect();
    let [service, kind, id, ref fields @ ..] = words[..] else { panic!("service, kind and id: {text}") };
    let fields = fields.iter().map(|field| field.split_once('=').unwrap()).collect();
    Line { service, kind: kind_of(kind), id: id.parse().unwrap(), parent: None, name, fields }
}

fn kind_of(text: &str) -> SpanKind {
    use SpanKind::{Client, Consumer, Internal, Producer, Server, Unspecified};
    let all = [Unspecified, Internal, Server, Client, Producer, Consumer];
    all.into_iter().find(|kind| kind.to_string() == text).unwrap()
}

/// The trace id with this number.
pub(crate) fn trace_id(number: u64) -> TraceId {
    TraceId::from_bytes(u128::from(number).to_be_bytes())
}

/// The span id with this number.
pub(crate) fn span_id(number: u64) -> SpanId {
    SpanId::from_bytes(number.to_be_bytes())
}

/// The spans of a trace; each service is a process.
pub(crate) fn spans(text: &str) -> Vec<TraceSpan> {
    let lines = lines(text);
    let number = |service: &str| lines.iter().position(|line| line.service == service).unwrap();
    let span = |(place, line): (usize, &Line<'_>)| TraceSpan {
        span_id: span_id(line.id),
        parent: line.parent.map(span_id),
        start: Timestamp::from_unix_nanos(line.start(place)),
        end: Timestamp::from_unix_nanos(line.start(place) + 1_000_000),
        content: line.number("content").unwrap_or_default(),
        process: ProcessId(number(line.service).try_into().unwrap()),
        name: NameId(0),
        flags: line.flags(),
        kind: line.kind,
    };
    lines.iter().enumerate().map(span).collect()
}

/// A contract, a role in a line: `consumer worker CONSUMER "process" parent=producer per=delivery`. A name
/// between slashes is a pattern. `extra NAME SERVICE "name" per=environment` is an extra. What may follow:
/// `link=ROLE`, `max=NANOSECONDS`, `status=no_error`, `has=KEY`, `is=KEY:VALUE`, `like=KEY:PATTERN`, and the
/// same for the resource: `resource=KEY`.
pub(crate) fn contract(text: &str) -> TraceContract {
    let mut contract = TraceContract {
        name: "test".to_owned(),
        spans: BTreeMap::new(),
        extras: BTreeMap::new(),
        resource: BTreeMap::new(),
        foreign: ForeignSpans::Count,
        sampling: None,
        severity: BTreeMap::new(),
    };
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("extra ") {
            Some(extra) => push_extra(&mut contract, extra),
            None => push_role(&mut contract, line),
        }
    }
    contract
}

fn push_extra(contract: &mut TraceContract, line: &str) {
    let (words, name, fields) = words(line);
    let extra = ExtraSpan { service: words[1].to_owned(), name, per: per(&fields), at_most: 1 };
    contract.extras.insert(words[0].to_owned(), extra);
}

fn push_role(contract: &mut TraceContract, line: &str) {
    let (words, name, fields) = words(line);
    let field = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    let mut span = SpanContract {
        service: words[1].to_owned(),
        name,
        kind: kind_of(words[2]),
        parent: field("parent"),
        link: field("link"),
        per: per(&fields),
        queue: None,
        function: None,
        attributes: BTreeMap::new(),
        resource: BTreeMap::new(),
        status: if field("status").is_some() { StatusRule::NoError } else { StatusRule::Any },
        max_duration: field("max").map(|nanos| Duration::from_nanos(nanos.parse().unwrap())),
    };
    for (what, value) in &fields {
        let (key, text) = value.split_once(':').unwrap_or((value, ""));
        let (rules, rule) = match *what {
            "has" => (&mut span.attributes, ValueRule::Present),
            "is" => (&mut span.attributes, ValueRule::Exact(text.to_owned())),
            "like" => (&mut span.attributes, ValueRule::Pattern(text.to_owned())),
            "resource" => (&mut span.resource, ValueRule::Present),
            _ => continue,
        };
        rules.insert(key.to_owned(), rule);
    }
    contract.spans.insert(words[0].to_owned(), span);
}

/// The words before the name, the name, and the fields after it.
fn words(line: &str) -> (Vec<&str>, NameRule, Vec<(&str, &str)>) {
    let quote = line.find(['"', '/']).unwrap();
    let mark = line[quote..].chars().next().unwrap();
    let (name, fields) = line[quote + 1..].split_once(mark).unwrap();
    let rule = if mark == '"' { NameRule::Exact } else { NameRule::Pattern };
    let fields = fields.split_whitespace().map(|field| field.split_once('=').unwrap()).collect();
    (line[..quote].split_whitespace().collect(), rule(name.to_owned()), fields)
}

fn per(fields: &[(&str, &str)]) -> Per {
    let (_, wanted) = fields.iter().find(|(key, _)| *key == "per").unwrap();
    Per::ALL.into_iter().find(|per| per.as_str() == *wanted).unwrap()
}
