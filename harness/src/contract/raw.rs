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
    pub(super) name: String,
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
    pub(super) service: String,
    pub(super) name: Spanned<RawName>,
    pub(super) kind: SpanKind,
    pub(super) parent: Option<Text>,
    pub(super) link: Option<Text>,
    pub(super) per: Per,
    pub(super) queue: Option<String>,
    pub(super) function: Option<String>,
    #[serde(default)]
    pub(super) attributes: Named<Spanned<RawValue>>,
    #[serde(default)]
    pub(super) resource: Named<Spanned<RawValue>>,
    #[serde(default)]
    pub(super) status: StatusRule,
    pub(super) max_duration: Option<RawDuration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtra {
    pub(super) service: String,
    pub(super) name: Spanned<RawName>,
    pub(super) per: Per,
    pub(super) at_most: Option<Spanned<u32>>,
}

/// A name: a text, or `{ pattern = "…" }`.
pub(super) struct RawName(pub(super) NameRule);

/// A value: a text, a number, a truth value, `{ present = true }` or `{ pattern = "…" }`.
pub(super) struct RawValue(pub(super) ValueRule);

impl<'de> Deserialize<'de> for RawName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = RawName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or { pattern = \"…\" }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawName, E> {
                Ok(RawName(NameRule::Exact(name.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawName, A::Error> {
                const KEYS: &[&str] = &["pattern"];
                match map.next_entry::<String, String>()? {
                    Some((key, pattern)) if key == "pattern" => Ok(RawName(NameRule::Pattern(pattern))),
                    Some((key, _)) => Err(de::Error::unknown_field(&key, KEYS)),
                    None => Err(de::Error::missing_field("pattern")),
                }
            }
        }

        deserializer.deserialize_any(Name)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AttributeValue;

        impl<'de> Visitor<'de> for AttributeValue {
            type Value = RawValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false, { present = true }, or { pattern = \"…\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawValue, E> {
                Ok(exact(text))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawValue, E> {
                Ok(exact(value))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawValue, E> {
                Ok(exact(number))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawValue, E> {
                Ok(exact(serde_json::Value::from(number)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
                const KEYS: &[&str] = &["present", "pattern"];
                match map.next_key::<String>()?.as_deref() {
                    Some("pattern") => Ok(RawValue(ValueRule::Pattern(map.next_value()?))),
                    Some("present") if map.next_value()? => Ok(RawValue(ValueRule::Present)),
                    Some("present") => Err(de::Error::custom("write { present = true }, or leave the attribute out")),
                    Some(key) => Err(de::Error::unknown_field(key, KEYS)),
                    None => Err(de::Error::missing_field("present")),
                }
            }
        }

        deserializer.deserialize_any(AttributeValue)
    }
}

/// A value as it is written in JSON, without quotes.
fn exact(value: impl ToString) -> RawValue {
    RawValue(ValueRule::Exact(value.to_string()))
}
