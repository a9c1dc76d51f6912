//! What recorded telemetry came to, for people and for programs.

use serde::Serialize;
use verifier::tally::{Equation, SpanTally, TraceTally};
use verifier::{Conclusion, Finding, Verdict};

use super::console::{append_unless_zero, broken_books, grouped, headline_of, print_figures, render_findings};
use crate::recording::Recording;

/// What recorded telemetry came to.
pub fn render(recording: &Recording, width: usize) -> String {
    let Recording { judgement, contract, files, exports, other_signals } = recording;
    let mut text = String::new();
    let sentence = sentence(judgement.conclusion, judgement.tally.traces, contract.as_deref());
    headline_of(&mut text, judgement, &sentence, "");
    let counted = |count: u64, what: &str| format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" });
    let mut read = format!("{} in {}", counted(*exports, "export"), counted(*files, "file"));
    append_unless_zero(&mut read, *other_signals, "lists of other signals skipped");
    let traces = format!(
        "{} of {} complete",
        grouped(judgement.tally.traces.complete),
        grouped(judgement.tally.traces.expected)
    );
    let spans = judgement.tally.spans;
    let mut seen = format!("{} recorded", grouped(spans.exported));
    append_unless_zero(&mut seen, spans.duplicated, "of them copies");
    append_unless_zero(&mut seen, spans.missing, "missing");
    append_unless_zero(&mut seen, spans.foreign, "foreign");
    print_figures(&mut text, &[("read", read), ("traces", traces), ("spans", seen)], width);
    render_findings(&mut text, &judgement.findings, None, width);
    broken_books(&mut text, judgement);
    text
}

/// What programs are told. What only a ledger knows is not in it.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    verdict: Verdict,
    conclusion: Conclusion,
    doubts: &'a [String],
    contract: Option<&'a str>,
    files: u64,
    exports: u64,
    other_signals: u64,
    traces: TraceTally,
    spans: SpanTally,
    findings: &'a [Finding],
    identities: &'a [Equation],
}

/// What recorded telemetry came to, as JSON.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn to_json(recording: &Recording) -> serde_json::Result<String> {
    let Recording { judgement, contract, files, exports, other_signals } = recording;
    let summary = Summary {
        verdict: judgement.conclusion.verdict(),
        conclusion: judgement.conclusion,
        doubts: &judgement.doubts,
        contract: contract.as_deref(),
        files: *files,
        exports: *exports,
        other_signals: *other_signals,
        traces: judgement.tally.traces,
        spans: judgement.tally.spans,
        findings: &judgement.findings,
        identities: &judgement.identities,
    };
    Ok(serde_json::to_string_pretty(&summary)? + "\n")
}

fn sentence(conclusion: Conclusion, traces: TraceTally, contract: Option<&str>) -> String {
    let (count, faulty) = (grouped(traces.expected), grouped(traces.at_fault()));
    match (conclusion, contract) {
        (Conclusion::Passed, Some(contract)) => {
            format!("each of {count} traces is as the contract {contract} wants it")
        }
        (Conclusion::Passed, None) => {
            format!("nothing is wrong with any of {count} traces, as far as they tell without a contract")
        }
        (Conclusion::Failed, _) if traces.at_fault() == 0 => {
            "none of the traces is at fault, and something else is".to_owned()
        }
        (Conclusion::Failed, Some(contract)) => {
            format!("{faulty} of {count} traces are not as the contract {contract} wants them")
        }
        (Conclusion::Failed, None) => format!("something is wrong with {faulty} of {count} traces"),
        (Conclusion::NothingVerified, _) => "there is no trace to verify".to_owned(),
        (Conclusion::Inconclusive, _) => "the evidence does not suffice".to_owned(),
        (Conclusion::BooksBroken, _) => "the harness's own books do not balance: a bug of the harness".to_owned(),
    }
}
