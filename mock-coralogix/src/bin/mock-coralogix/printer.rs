//! Prints what is received, as it comes.

use std::io::{self, Write};
use std::sync::Mutex;

use mock_coralogix::{Observer, Received, Refusal};
use tokio_util::sync::CancellationToken;
use verifier::Peer;
use verifier::event::{Export, ExportAnswer};

use crate::cli::Cli;
use crate::{json, text};

/// Keys that are shorter are not masked: they are words that stand in other texts as well.
const SHORTEST_MASKED_KEY: usize = 8;

/// Prints what is received, before its sender has the answer.
pub(crate) struct Printer {
    format: Format,
    secrets: Vec<String>,
    output: Mutex<Output>,
    /// Nothing can be printed any more.
    failed: CancellationToken,
}

#[derive(Clone, Copy)]
enum Format {
    Text { verbose: bool },
    Json,
}

#[derive(Default)]
struct Output {
    totals: Totals,
    error: Option<io::Error>,
}

/// What was received.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Exports and their spans that were answered with OK.
    pub(crate) stored: Count,
    /// Exports and their spans that were answered with UNAUTHENTICATED.
    pub(crate) unauthenticated: Count,
    /// Exports and their spans that were answered with another error, or stored in part.
    pub(crate) rejected: Count,
    /// What was refused before it could be read as an export.
    pub(crate) refused: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) exports: usize,
    pub(crate) spans: usize,
}

impl Printer {
    pub(crate) fn new(cli: &Cli) -> Self {
        let format = if cli.json { Format::Json } else { Format::Text { verbose: cli.verbose } };
        let secrets = cli.keys.iter().filter(|key| key.len() >= SHORTEST_MASKED_KEY).cloned().collect();
        Self { format, secrets, output: Mutex::default(), failed: CancellationToken::new() }
    }

    /// Resolves when nothing can be printed any more.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// Why something could not be printed. That the reader of the output went away is none: it has
    /// seen what it wanted.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut output = self.lock();
        // The summary is for whoever looks; what was received has been printed.
        let _ = writeln!(anstream::stderr(), "{}", text::summary(&output.totals));
        match output.error.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts and prints one thing, without anything else between its lines.
    fn print(&self, count: impl FnOnce(&mut Totals), rendered: String) {
        let mut output = self.lock();
        count(&mut output.totals);
        if output.error.is_some() {
            return;
        }
        if let Err(error) = write_out(&self.masked(rendered)) {
            output.error = Some(error);
            self.failed.cancel();
        }
    }

    fn masked(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Output> {
        // Totals are valid at every moment, so a panic elsewhere does not spoil them.
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

impl Observer for Printer {
    fn export(&self, received: Received, export: Export) {
        let rendered = match self.format {
            Format::Text { verbose } => text::export(received, &export, verbose),
            Format::Json => json::export(received, &export),
        };
        self.print(|totals| totals.count(&export), rendered);
    }

    fn refused(&self, received: Received, _: &Peer, refusal: Refusal) {
        let rendered = match self.format {
            Format::Text { .. } => text::refusal(received, &refusal),
            Format::Json => json::refusal(received, &refusal),
        };
        self.print(|totals| totals.refused += 1, rendered);
    }
}

impl Totals {
    fn count(&mut self, export: &Export) {
        let count = match export.answer {
            ExportAnswer::Stored => &mut self.stored,
            ExportAnswer::Unauthenticated => &mut self.unauthenticated,
            ExportAnswer::PartialSuccess { .. } | ExportAnswer::Refused { .. } => &mut self.rejected,
        };
        count.exports += 1;
        count.spans += export.payload.span_count();
    }
}
