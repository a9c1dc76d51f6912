//! The manifest as it is written, with the place of everything that is validated later.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use toml::Spanned;

/// A string and its place.
pub(crate) type Text = Spanned<String>;
/// Named tables or values, with the places of their names.
pub(crate) type Named<T> = BTreeMap<Text, T>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawManifest {
    pub(super) name: Text,
    pub(super) contract: Text,
    pub(super) service: Named<RawService>,
    #[serde(default)]
    pub(super) queue: Named<RawQueue>,
    #[serde(default)]
    pub(super) function: Named<RawFunction>,
    pub(super) request: RawRequest,
    #[serde(default)]
    pub(super) correlation: RawCorrelation,
    #[serde(default)]
    pub(super) env: Named<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    pub(super) build: Option<Spanned<Vec<Text>>>,
    pub(super) command: Spanned<Vec<Text>>,
    pub(super) health: Option<Text>,
    pub(super) stop_timeout: Option<RawDuration>,
    #[serde(default)]
    pub(super) env: Named<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    pub(super) visibility_timeout: Option<Spanned<RawDuration>>,
    pub(super) max_receive_count: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFunction {
    pub(super) build: Option<Spanned<Vec<Text>>>,
    pub(super) command: Spanned<Vec<Text>>,
    pub(super) queue: Text,
    pub(super) timeout: Option<Spanned<RawDuration>>,
    pub(super) memory_mb: Option<Spanned<i64>>,
    pub(super) batch_size: Option<Spanned<i64>>,
    pub(super) batch_window: Option<Spanned<RawDuration>>,
    pub(super) max_concurrency: Option<Spanned<i64>>,
    pub(super) reserved_concurrency: Option<Spanned<i64>>,
    pub(super) provisioned_concurrency: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) report_batch_item_failures: bool,
    #[serde(default)]
    pub(super) env: Named<Text>,
    #[serde(default)]
    pub(super) extension: Named<RawExtension>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExtension {
    pub(super) command: Spanned<Vec<Text>>,
    #[serde(default)]
    pub(super) env: Named<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequest {
    pub(super) service: Text,
    pub(super) method: Option<Text>,
    pub(super) path: Text,
    #[serde(default)]
    pub(super) headers: Named<Text>,
    pub(super) body: Option<Text>,
    pub(super) accept: Option<Spanned<Vec<Spanned<i64>>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCorrelation {
    pub(super) response_trace_id: Option<Text>,
    pub(super) message_body: Option<Text>,
    pub(super) span_attributes: Option<Vec<Text>>,
    pub(super) message_attributes: Option<Vec<Text>>,
    pub(super) invocation_attributes: Option<Vec<Text>>,
}

/// A duration in words, such as `"10s"` or `"1m 30s"`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawDuration(pub(crate) Duration);

impl<'de> Deserialize<'de> for RawDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = RawDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10s\" or \"500ms\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawDuration, E> {
        humantime::parse_duration(text)
            .map(RawDuration)
            .map_err(|_| E::custom(format_args!("`{text}` is no duration: write it as \"10s\" or \"500ms\"")))
    }
}
