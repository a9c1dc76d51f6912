//! A scenario as it is written, with the place of everything that is validated later.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use verifier::event::Cut;

use super::model::EnvironmentChoice;
use crate::manifest::raw::{RawDuration, Text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) system: PathBuf,
    pub(super) seed: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) faults: Vec<Text>,
    pub(super) load: RawLoad,
    #[serde(default)]
    pub(super) lambda: RawLambda,
    #[serde(default)]
    pub(super) network: RawNetwork,
    #[serde(default)]
    pub(super) allow: RawAllow,
    #[serde(default)]
    pub(super) patience: RawPatience,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLoad {
    pub(super) rate: Spanned<f64>,
    pub(super) duration: Spanned<RawDuration>,
    pub(super) timeout: Option<Spanned<RawDuration>>,
    pub(super) users: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLambda {
    pub(super) recycle_after: Option<Spanned<i64>>,
    pub(super) idle_timeout: Option<Spanned<RawDuration>>,
    pub(super) kill: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) freezer: RawFreezer,
    pub(super) freeze_delay: Option<RawDuration>,
    #[serde(default)]
    pub(super) environments: EnvironmentChoice,
    pub(super) platform_delay: Option<Spanned<RawDuration>>,
    pub(super) scaling: Option<RawScaling>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawFreezer {
    #[default]
    Signals,
    Cgroup2,
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScaling {
    pub(super) start: Option<Spanned<i64>>,
    pub(super) per_minute: Option<Spanned<i64>>,
    pub(super) time_scale: Option<Spanned<f64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    pub(super) latency: Option<RawDuration>,
    pub(super) cut: Option<Cut>,
    pub(super) cut_after: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllow {
    pub(super) excused: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPatience {
    pub(super) late_after: Option<RawDuration>,
    pub(super) missing_after: Option<Spanned<RawDuration>>,
    pub(super) remembered_for: Option<RawDuration>,
    pub(super) late_start_after: Option<RawDuration>,
    pub(super) flush_budget: Option<RawDuration>,
}
