//! What is received as JSON, one object a line.

use std::net::SocketAddr;
use std::time::SystemTime;

use mock_coralogix::{Received, Refusal};
use serde::Serialize;
use verifier::event::{Export, ExportAnswer};
use verifier::span::ResourceSpans;
use verifier::{Peer, Timestamp};

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    /// Nanoseconds since the Unix epoch.
    received_at: Timestamp,
    from: SocketAddr,
    #[serde(flatten)]
    export: Option<ReadableExport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// An export with its spans for people and scripts to read, and not as the bytes that came.
#[derive(Serialize)]
struct ReadableExport<'a> {
    export: u64,
    peer: &'a Peer,
    answer: &'a ExportAnswer,
    resource_spans: Vec<ResourceSpans>,
}

impl<'a> From<&'a Export> for ReadableExport<'a> {
    fn from(Export { export, peer, answer, payload }: &'a Export) -> Self {
        Self { export: *export, peer, answer, resource_spans: payload.to_resource_spans() }
    }
}

/// An export with all it holds.
pub(crate) fn export(received: Received, export: &Export) -> String {
    line(received, Some(export.into()), None)
}

/// A refusal with its reason.
pub(crate) fn refusal(received: Received, refusal: &Refusal) -> String {
    line(received, None, Some(refusal.to_string()))
}

fn line(received: Received, export: Option<ReadableExport<'_>>, refused: Option<String>) -> String {
    let line = Line { received_at: wall_clock(received), from: received.from, export, refused };
    // Every part of a line has a form in JSON; should one not, the line says so in its place.
    let json = serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    json + "\n"
}

fn wall_clock(received: Received) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_nanos(0) + now.saturating_sub(received.at.elapsed())
}
