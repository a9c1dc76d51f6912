//! A contract as it is written, with the places of everything that is validated later.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use toml::Spanned;
use verifier::SpanKind;
use verifier::contract::{ForeignSpans, NameRule, Per, StatusRule, ValueRule};

use crate::manifest::raw::{Named, RawDuration, Text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContract {
    pub(super) name: Text,
    #[serde(default)]
    pub(super) span: Named<RawSpan>,
    #[serde(default)]
    pub(super) extra: Named<RawExtra>,
    #[serde(default)]
    pub(super) resource: Named<Spanned<RawValue>>,
    #[serde(default)]
    pub(super) foreign: ForeignSpans,
    pub(super) sampling: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) severity: Named<verifier::Severity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpan {
    pub(super) service: Text,
    pub(super) name: Spanned<RawName>,
    pub(super) kind: SpanKind,
    pub(super) parent: Option<Text>,
    pub(super) link: Option<Text>,
    pub(super) per: Per,
    pub(super) queue: Option<Text>,
    pub(super) function: Option<Text>,
    #[serde(default)]
    pub(super) attributes: Named<Spanned<RawValue>>,
    #[serde(default)]
    pub(super) resource: Named<Spanned<RawValue>>,
    #[serde(default)]
    pub(super) status: StatusRule,
    pub(super) max_duration: Option<Spanned<RawDuration>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtra {
    pub(super) service: Text,
    pub(super) name: Spanned<RawName>,
    pub(super) per: Per,
    pub(super) at_most: Option<Spanned<i64>>,
}

/// A name: a text, or `{ pattern = "…" }`.
pub(super) struct RawName(pub(super) NameRule);

/// A value: a text, a number, a truth value, `{ present = true }` or `{ pattern = "…" }`.
pub(super) struct RawValue(pub(super) ValueRule);

impl<'de> Deserialize<'de> for RawName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = NameRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, or { pattern = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<NameRule, E> {
        Ok(NameRule::Exact(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NameRule, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("pattern") => NameRule::Pattern(map.next_value()?).alone_in(&mut map),
            Some(key) => Err(unknown_rule(key, &["pattern"])),
            None => Err(de::Error::missing_field("pattern")),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ValueRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false, { present = true }, or { pattern = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueRule, E> {
        Ok(ValueRule::Exact(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<ValueRule, E> {
        Ok(ValueRule::Exact(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ValueRule, E> {
        Ok(ValueRule::Exact(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<ValueRule, E> {
        match number.is_finite() {
            true => Ok(ValueRule::Exact(serde_json::Value::from(number).to_string())),
            false => Err(E::custom(format_args!("`{number}` is no number that can be compared"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ValueRule, A::Error> {
        match map.next_key::<String>()?.as_deref() {
            Some("pattern") => ValueRule::Pattern(map.next_value()?).alone_in(&mut map),
            Some("present") if map.next_value()? => ValueRule::Present.alone_in(&mut map),
            Some("present") => Err(de::Error::custom("write { present = true }, or leave the attribute out")),
            Some(key) => Err(unknown_rule(key, &["present", "pattern"])),
            None => Err(de::Error::missing_field("present")),
        }
    }
}

/// A rule that is written as a table.
trait TableRule: Sized {
    /// The rule, if nothing stands beside it: what is not read must not look as if it were.
    fn alone_in<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<Self, A::Error> {
        match map.next_key::<String>()? {
            Some(key) => Err(de::Error::custom(format_args!("one rule is enough: `{key}` stands beside another"))),
            None => Ok(self),
        }
    }
}

impl TableRule for NameRule {}
impl TableRule for ValueRule {}

/// A date reaches a visitor as a table whose key is private to the parser.
fn unknown_rule<E: de::Error>(key: &str, rules: &'static [&'static str]) -> E {
    match key.starts_with("$__toml_private") {
        true => E::custom("a date or time is a text: write it in quotes"),
        false => E::unknown_field(key, rules),
    }
}
