//! For tests: an exporter that stays in the process, and an endpoint for one that does not.

mod collector;
mod exporter;

pub use collector::{Collector, KEY};
pub use exporter::{InMemoryExporter, telemetry, telemetry_with};
