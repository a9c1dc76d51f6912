//! The verdict on the terminal, for people: the verdict first, then the figures, then what was found.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use verifier::finding::{Example, TreeLine};
use verifier::tally::{Equation, TraceTally};
use verifier::{Conclusion, Finding, Judgement, Severity};

use crate::measure::Durations;
use crate::outcome::Outcome;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// The least width at which the expected trace stands beside the seen one, and not above it.
const SIDE_BY_SIDE: usize = 120;

/// What a run came to, as text with colours. `width` is the terminal's, in columns.
pub fn render(outcome: &Outcome, folder: Option<&Path>, width: usize) -> String {
    let mut text = verdict(outcome, folder.map(verify_command).as_deref(), width);
    footer(&mut text, outcome, folder);
    text
}

/// What a recorded run came to that was judged again, from its journal at these paths.
pub fn render_replayed(outcome: &Outcome, paths: &[PathBuf], width: usize) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    verdict(outcome, Some(&verify_command(Path::new(&paths.join(" ")))), width)
}

/// The command that judges a run again, as this one was started: it can be pasted.
fn verify_command(journal: &Path) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "harness".to_owned());
    format!("{program} verify {}", journal.display())
}

/// The verdict, the figures and the findings. `verify` is the command that judges the run again.
fn verdict(outcome: &Outcome, verify: Option<&str>, width: usize) -> String {
    let mut text = String::new();
    headline(&mut text, outcome);
    figures(&mut text, outcome, width);
    for finding in &outcome.judgement.findings {
        render_finding(&mut text, finding, verify, width);
    }
    broken_books(&mut text, &outcome.judgement);
    text
}

/// Appends a line. Writing to a string cannot fail.
macro_rules! line {
    ($text:expr) => { $text.push('\n') };
    ($text:expr, $($arg:tt)*) => {{ let _ = writeln!($text, $($arg)*); }};
}

fn headline(text: &mut String, outcome: &Outcome) {
    let judgement = &outcome.judgement;
    let traces = judgement.tally.traces;
    let early = if outcome.interrupted { " (ended early)" } else { "" };
    headline_of(text, judgement, &sentence(judgement.conclusion, traces), early);
}

/// The verdict, what it means in a sentence, and what is in doubt.
pub(super) fn headline_of(text: &mut String, judgement: &Judgement, sentence: &str, early: &str) {
    let (style, word) = match judgement.conclusion {
        Conclusion::Passed => (GREEN, "PASS"),
        Conclusion::Failed => (RED, "FAIL"),
        _ => (YELLOW, "INCONCLUSIVE"),
    };
    line!(text);
    line!(text, "{style}{word}{style:#}  {BOLD}{sentence}{BOLD:#}{early}");
    for doubt in &judgement.doubts {
        line!(text, "  {YELLOW}?{YELLOW:#} {doubt}");
    }
    line!(text);
}

fn sentence(conclusion: Conclusion, traces: TraceTally) -> String {
    let TraceTally { expected, excused, unsampled, .. } = traces;
    let count = grouped(expected);
    match conclusion {
        Conclusion::Passed if unsampled > 0 => format!(
            "each of {count} accepted requests became exactly one trace, or was not sampled ({})",
            grouped(unsampled)
        ),
        Conclusion::Passed if excused > 0 => format!(
            "each of {count} accepted requests became exactly one trace, {} of them but for what ordered kills took",
            grouped(excused)
        ),
        Conclusion::Passed => format!("each of {count} accepted requests became exactly one trace"),
        Conclusion::Failed if traces.at_fault() == 0 => {
            format!("none of {count} traces is at fault, and the system is: what was found here loses spans elsewhere")
        }
        Conclusion::Failed => {
            let lost = grouped(traces.at_fault());
            format!("{lost} of {count} traces are not as the contract wants them")
        }
        Conclusion::NothingVerified if expected > 0 => {
            "all spans of a kind are excused: nothing was verified of them".to_owned()
        }
        Conclusion::NothingVerified => "no request was accepted, so nothing was verified".to_owned(),
        Conclusion::Inconclusive => "the evidence does not suffice".to_owned(),
        Conclusion::BooksBroken => "the harness's own books do not balance: a bug of the harness".to_owned(),
    }
}

fn figures(text: &mut String, outcome: &Outcome, width: usize) {
    let figures = [
        ("requests", requests(outcome)),
        ("traces", traces(outcome)),
        ("spans", spans(outcome)),
        ("latency", quantiles(&outcome.measurements.latency) + ", from the intended start"),
        ("queue", queue(outcome)),
        ("lambda", lambda(outcome)),
        ("used", used(outcome)),
    ];
    print_figures(text, &figures, width);
}

/// Figures with their names; those that say nothing are left out.
pub(super) fn print_figures(text: &mut String, figures: &[(&str, String)], width: usize) {
    for (name, figure) in figures.iter().filter(|(_, figure)| !figure.is_empty()) {
        let figure = wrapped(figure, width.saturating_sub(12)).join("\n            ");
        line!(text, "  {DIM}{name:<9}{DIM:#} {figure}");
    }
    line!(text);
}

/// A figure in lines of that width, broken where one part ends and the next begins.
fn wrapped(figure: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts(figure) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + part.chars().count() <= width => *line += &format!(" {part}"),
            _ => lines.push(part),
        }
    }
    lines
}

/// The parts between which a line may break: those that end in a comma or semicolon. Not at every comma:
/// thousands have one, too.
fn parts(figure: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in figure.split(' ') {
        match parts.last_mut() {
            Some(part) if !part.ends_with([',', ';']) => *part += &format!(" {word}"),
            _ => parts.push(word.to_owned()),
        }
    }
    parts
}

fn requests(outcome: &Outcome) -> String {
    let requests = outcome.judgement.tally.requests;
    let achieved = outcome.measurements.achieved_rate().map_or(String::new(), |rate| format!(" at {rate:.2}/s"));
    let mut figure = format!("{} of {} sent{achieved}", grouped(requests.sent), grouped(requests.scheduled));
    let _ = write!(figure, ", {} accepted", grouped(requests.accepted));
    append_unless_zero(&mut figure, requests.refused, "refused");
    append_unless_zero(&mut figure, requests.unanswered, "without an answer");
    let _ = write!(figure, ", {} started late", grouped(requests.late_starts));
    figure
}

fn traces(outcome: &Outcome) -> String {
    let tally = &outcome.judgement.tally;
    let mut figure = format!("{} of {} complete", grouped(tally.traces.complete), grouped(tally.traces.expected));
    append_unless_zero(&mut figure, tally.traces.excused, "excused");
    append_unless_zero(&mut figure, tally.traces.unsampled, "not sampled");
    match tally.loss_bound() {
        Some(bound) => format!("{figure}; 95 % sure that fewer than {:.3} % are lost", bound * 100.0),
        None => figure,
    }
}

fn spans(outcome: &Outcome) -> String {
    let spans = outcome.judgement.tally.spans;
    let mut figure = format!(
        "{} of {} matched, {} missing",
        grouped(spans.matched),
        grouped(spans.expected),
        grouped(spans.missing)
    );
    for (count, what) in [
        (spans.excused, "excused"),
        (spans.unsampled, "not sampled"),
        (spans.extra, "extra"),
        (spans.duplicated, "duplicated"),
        (spans.unexpected, "unexpected"),
        (spans.foreign, "foreign"),
        (spans.forgotten, "too late to judge"),
        (spans.rejected, "in refused exports"),
    ] {
        append_unless_zero(&mut figure, count, what);
    }
    figure
}

fn lambda(outcome: &Outcome) -> String {
    let measured = &outcome.measurements;
    let counts = measured.lambda;
    let mut figure = format!("{} invocations", grouped(counts.invocations));
    let _ = write!(figure, ", {} cold starts", grouped(counts.cold_starts));
    append_median(&mut figure, "init", &measured.init);
    append_median(&mut figure, "platform", &measured.platform_delay);
    let _ = write!(figure, ", {} environments, {} freezes", grouped(counts.environments), grouped(counts.freezes));
    append_unless_zero(&mut figure, counts.failed, "failed");
    append_unless_zero(&mut figure, counts.throttled, "throttled");
    append_unless_zero(&mut figure, counts.killed, "killed on order");
    for (reason, count) in counts.resets.by_reason() {
        append_unless_zero(&mut figure, count, &format!("reset ({reason})"));
    }
    append_unless_zero(&mut figure, counts.escaped, "processes escaped");
    append_unless_zero(&mut figure, counts.refused_calls, "calls refused");
    figure
}

/// What happened to messages, if anything did beside being handled at once.
fn queue(outcome: &Outcome) -> String {
    let counts = outcome.measurements.queue;
    let mut figure = String::new();
    append_unless_zero(&mut figure, counts.redelivered, "redelivered");
    append_unless_zero(&mut figure, counts.dead_lettered, "to dead-letter queues");
    append_unless_zero(&mut figure, counts.corrupted, "corrupted on purpose");
    figure
}

fn append_median(figure: &mut String, what: &str, durations: &Durations) {
    if let Some(median) = durations.quantile(0.5) {
        let _ = write!(figure, " ({what} p50 {})", short(median));
    }
}

fn used(outcome: &Outcome) -> String {
    let resources = &outcome.measurements.resources;
    let most = resources.harness_rss_by_minute.iter().max().copied().unwrap_or(0);
    let (harness, system) = (resources.harness.cpu.as_secs_f64(), resources.system.cpu.as_secs_f64());
    format!("{harness:.1} s of CPU by the harness, {system:.1} s by the system; {} MiB by the harness", most >> 20)
}

fn quantiles(durations: &Durations) -> String {
    let quantile = |share| durations.quantile(share).map_or("-".to_owned(), short);
    let max = durations.max().map_or("-".to_owned(), short);
    format!("p50 {}, p95 {}, p99 {}, max {max}", quantile(0.5), quantile(0.95), quantile(0.99))
}

pub(super) fn render_finding(text: &mut String, finding: &Finding, verify: Option<&str>, width: usize) {
    let style = if finding.severity == Severity::Failure { RED } else { YELLOW };
    let Finding { code, subject, count, cause, .. } = finding;
    line!(text, "{style}{code}{style:#}  {BOLD}{subject}{BOLD:#}, {}", times(*count));
    line!(text, "  {cause}");
    for (code, count) in &finding.consequences {
        line!(text, "  {DIM}from it follows{DIM:#} {code}, {}", times(*count));
    }
    // The one with a trace to show, if there is one.
    let example = finding.examples.iter().find(|example| !example.seen.is_empty()).or(finding.examples.first());
    if let Some(example) = example {
        render_example(text, example, width);
        if let (Some(verify), Some(request)) = (verify, example.request) {
            line!(text, "    {DIM}whole story{DIM:#} {verify} --request {request}");
        }
    }
    line!(text);
}

fn render_example(text: &mut String, example: &Example, width: usize) {
    let of = match (example.request, example.trace) {
        (Some(request), Some(trace)) => Some(format!("request {request} in trace {trace}")),
        (Some(request), None) => Some(format!("request {request}")),
        (None, Some(trace)) => Some(format!("trace {trace}")),
        (None, None) => None,
    };
    if let Some(of) = of {
        line!(text, "  {DIM}for example{DIM:#} {of}");
    }
    for evidence in &example.evidence {
        line!(text, "    {evidence}");
    }
    let (expected, seen) = (tree(&example.expected), tree(&example.seen));
    if expected.is_empty() && seen.is_empty() {
        return;
    }
    let left = expected.iter().map(Drawn::width).max().unwrap_or(0).max("expected".len());
    let right = seen.iter().map(Drawn::width).max().unwrap_or(0);
    if width >= SIDE_BY_SIDE && left + right + 8 <= width {
        beside(text, &expected, &seen, left);
    } else {
        below(text, "expected", &expected);
        below(text, "seen", &seen);
    }
}

fn beside(text: &mut String, expected: &[Drawn], seen: &[Drawn], left: usize) {
    line!(text, "    {DIM}{:left$}    seen{DIM:#}", "expected");
    for row in 0..expected.len().max(seen.len()) {
        let (expected, seen) = (expected.get(row), seen.get(row));
        let padding = left - expected.map_or(0, Drawn::width);
        let of = |drawn: Option<&Drawn>| drawn.map_or(String::new(), Drawn::render);
        line!(text, "    {}{:padding$}    {}", of(expected), "", of(seen));
    }
}

fn below(text: &mut String, title: &str, lines: &[Drawn]) {
    line!(text, "    {DIM}{title}{DIM:#}");
    for drawn in lines {
        line!(text, "      {}", drawn.render());
    }
    if lines.is_empty() {
        line!(text, "      nothing");
    }
}

/// One line of a drawn trace.
struct Drawn {
    text: String,
    note: String,
}

impl Drawn {
    fn width(&self) -> usize {
        self.text.chars().count() + self.note.chars().count()
    }

    fn render(&self) -> String {
        format!("{}{RED}{}{RED:#}", self.text, self.note)
    }
}

fn tree(lines: &[TreeLine]) -> Vec<Drawn> {
    let branch = |depth: usize| if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
    let note = |line: &TreeLine| line.note.as_ref().map_or(String::new(), |note| format!("  ← {note}"));
    lines.iter().map(|line| Drawn { text: branch(line.depth) + &line.text, note: note(line) }).collect()
}

pub(super) fn broken_books(text: &mut String, judgement: &Judgement) {
    for identity in judgement.identities.iter().filter(|identity| !identity.balances()) {
        let Equation { text: what, left, right } = identity;
        line!(text, "{RED}out of balance{RED:#}  {left} {what}, and {right:?}");
    }
}

fn footer(text: &mut String, outcome: &Outcome, folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    line!(text, "  {DIM}report{DIM:#}    {}", folder.display());
    if outcome.judgement.conclusion != Conclusion::Passed {
        line!(text, "  {DIM}reproduce{DIM:#} {}", verify_command(folder));
    }
}

pub(super) fn append_unless_zero(figure: &mut String, count: u64, what: &str) {
    if count > 0 {
        let separator = if figure.is_empty() { "" } else { ", " };
        let _ = write!(figure, "{separator}{} {what}", grouped(count));
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", grouped(count)) }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A duration with as many digits as a person wants.
fn short(duration: Duration) -> String {
    match duration.as_secs_f64() * 1_000.0 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verifier::event::{Fault, ResetReason};
    use verifier::{EnvironmentId, Event, EventKind, MessageId, Timestamp};

    use crate::outcome::Reading;

    fn outcome_of(kinds: impl IntoIterator<Item = EventKind>) -> Outcome {
        let mut reading = Reading::default();
        for kind in kinds {
            reading.take(&Event { at: Timestamp::default(), kind });
        }
        reading.outcome()
    }

    #[test]
    fn verdict_tells_excused_traces_apart_from_complete_ones_and_from_those_at_fault() {
        let of = |conclusion, complete, excused| {
            sentence(conclusion, TraceTally { expected: 10, complete, excused, unsampled: 0 })
        };
        let passed = of(Conclusion::Passed, 7, 3);
        assert_eq!(
            passed,
            "each of 10 accepted requests became exactly one trace, 3 of them but for what ordered kills took"
        );
        assert_eq!(of(Conclusion::Passed, 10, 0), "each of 10 accepted requests became exactly one trace");
        assert_eq!(of(Conclusion::Failed, 5, 3), "2 of 10 traces are not as the contract wants them");
        assert!(of(Conclusion::Failed, 7, 3).starts_with("none of 10 traces is at fault"));
    }

    #[test]
    fn figures_of_what_did_not_happen_are_not_shown() {
        let quiet = outcome_of([]);
        assert_eq!(lambda(&quiet), "0 invocations, 0 cold starts, 0 environments, 0 freezes");
        assert!(!render(&quiet, None, 100).contains("queue"));
    }

    #[test]
    fn figures_tell_kills_resets_throttles_and_dead_letters() {
        let environment = EnvironmentId::new("worker-1");
        let end = verifier::event::ProcessEnd { code: None, signal: Some(9), ordered: false, output: Vec::new() };
        let rough = outcome_of([
            EventKind::PlatformDelayed { environment: environment.clone(), delay: Duration::from_millis(250) },
            EventKind::FaultInjected(Fault::EnvironmentKilled { environment: environment.clone(), invocation: None }),
            EventKind::EnvironmentReset { environment, reason: ResetReason::OutOfMemory, end },
            EventKind::InvocationThrottled { function: "worker".to_owned(), records: 1 },
            EventKind::MessageDeadLettered { message: MessageId::new("m"), queue: "dead".to_owned() },
        ]);
        assert_eq!(
            lambda(&rough),
            "0 invocations, 0 cold starts (platform p50 250 ms), 0 environments, 0 freezes, 1 throttled, \
             1 killed on order, 1 reset (out of memory)"
        );
        assert_eq!(queue(&rough), "1 to dead-letter queues");
        assert!(render(&rough, None, 200).contains("1 to dead-letter queues"));
    }

    #[test]
    fn figures_break_between_their_parts() {
        assert_eq!(wrapped("10 sent, 9 accepted, 1 late", 80), ["10 sent, 9 accepted, 1 late"]);
        assert_eq!(wrapped("10 sent, 9 accepted, 1 late", 20), ["10 sent, 9 accepted,", "1 late"]);
        assert_eq!(wrapped("1,000 sent", 3), ["1,000 sent"]);
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        let grouped: Vec<_> = [0, 999, 1_000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_as_many_digits_as_are_wanted() {
        let short: Vec<_> = [1_234, 56_789, 4_321_000].into_iter().map(Duration::from_micros).map(short).collect();
        assert_eq!(short, ["1.23 ms", "57 ms", "4.3 s"]);
    }
}
