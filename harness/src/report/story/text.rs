//! One request's story on the terminal: the verdict first, then what happened, then the spans.

use std::fmt::Write as _;

use anstyle::Style;
use verifier::event::RequestOutcome;
use verifier::watch::WatchedCase;
use verifier::{FindingCode, Verdict};

use super::layout::{BOLD, DIM, GREEN, RED, YELLOW, plain, style_of, wrapped};
use super::words::{counted, outcome_in_words};
use super::{timeline, waterfall};
use crate::story::Story;

/// A story as text with colours. `width` is the terminal's, in columns.
pub fn render(story: &Story, width: usize) -> String {
    let mut text = String::new();
    headline(&mut text, story, width);
    facts(&mut text, story, width);
    findings(&mut text, story, width);
    timeline::render(&mut text, story, width);
    waterfall::render(&mut text, story, width);
    text
}

fn headline(text: &mut String, story: &Story, width: usize) {
    let (style, word) = match story.judged.verdict() {
        Verdict::Pass => (GREEN, "PASS"),
        Verdict::Fail => (RED, "FAIL"),
        Verdict::Inconclusive => (YELLOW, "INCONCLUSIVE"),
    };
    text.push('\n');
    let sentence = format!("request {}: {}", story.request, sentence(story));
    let mut lines = wrapped(&sentence, width.saturating_sub(word.len() + 2)).into_iter();
    let first = lines.next().unwrap_or_default();
    let _ = writeln!(text, "{style}{word}{style:#}  {BOLD}{first}{BOLD:#}");
    for line in lines {
        let _ = writeln!(text, "{:1$}{BOLD}{line}{BOLD:#}", "", word.len() + 2);
    }
    text.push('\n');
}

fn sentence(story: &Story) -> String {
    let promised = matches!(story.outcome, Some(RequestOutcome::Answered { accepted: true, .. }));
    match story.judged.verdict() {
        Verdict::Fail => what_was_found(story),
        Verdict::Inconclusive => "the journal ends before it was over".to_owned(),
        Verdict::Pass if !promised => "it was not accepted, so no trace was promised".to_owned(),
        Verdict::Pass if !story.absent.is_empty() => {
            "it became exactly one trace, but for what an ordered kill took".to_owned()
        }
        Verdict::Pass => "it became exactly one trace".to_owned(),
    }
}

fn what_was_found(story: &Story) -> String {
    let (following, own): (Vec<_>, Vec<_>) = distinct(story).partition(|case| case.follows_from.is_some());
    match (own.len(), following.len()) {
        (own, 0) => counted(own, "finding"),
        (0, following) => format!("{}, which other findings of the run explain", counted(following, "consequence")),
        (own, following) => format!("{}, and {}", counted(own, "finding"), counted(following, "consequence")),
    }
}

/// The cases, one for each finding.
fn distinct(story: &Story) -> impl Iterator<Item = &WatchedCase> {
    let cases = &story.judged.cases;
    let is_first = |place: usize| !cases[..place].iter().any(|earlier| is_same_finding(earlier, &cases[place]));
    (0..cases.len()).filter(move |&place| is_first(place)).map(|place| &cases[place])
}

fn is_same_finding(one: &WatchedCase, other: &WatchedCase) -> bool {
    (one.code, one.cause, &one.subject) == (other.code, other.cause, &other.subject)
}

fn facts(text: &mut String, story: &Story, width: usize) {
    let run = &story.run;
    let faults = if run.faults.is_empty() { String::new() } else { format!(", with {}", run.faults.join(", ")) };
    let answer = story.outcome.as_ref().map_or("none yet".to_owned(), outcome_in_words);
    let spans = match story.traces().len() {
        0 => "none".to_owned(),
        1 => format!("{} in one trace", story.spans.len()),
        several => format!("{} in {several} traces", story.spans.len()),
    };
    for (name, fact) in [
        ("number", format!("{} of run {}, scenario {}{faults}", story.request.number(), run.run, run.scenario)),
        ("answer", answer),
        ("spans", spans),
    ] {
        let lines = wrapped(&plain(&fact), width.saturating_sub(12)).join("\n            ");
        let _ = writeln!(text, "  {DIM}{name:<9}{DIM:#} {lines}");
    }
    text.push('\n');
}

fn findings(text: &mut String, story: &Story, width: usize) {
    for case in distinct(story) {
        finding(text, story, case, width);
    }
    if !story.judged.cases.is_empty() {
        text.push('\n');
    }
}

fn finding(text: &mut String, story: &Story, case: &WatchedCase, width: usize) {
    let style = style_of(case.severity);
    let root = case.follows_from.as_ref().map(|root| format!(", follows from {} ({})", root.code, root.subject));
    let root = root.unwrap_or_default();
    let WatchedCase { code, subject, cause, .. } = case;
    let _ = writeln!(text, "{style}{code}{style:#}  {BOLD}{subject}{BOLD:#}{DIM}{root}{DIM:#}");
    // What a consequence means is said by its cause.
    if case.follows_from.is_none() {
        indented(text, &cause.to_string(), 2, width, Style::new());
    }
    for evidence in evidence_of(story, case) {
        indented(text, &plain(&evidence), 4, width, DIM);
    }
}

fn indented(text: &mut String, content: &str, indent: usize, width: usize, style: Style) {
    for line in wrapped(content, width.saturating_sub(indent)) {
        let _ = writeln!(text, "{:indent$}{style}{line}{style:#}", "");
    }
}

/// What shows a case. A request's cases share their evidence, each line with its code before it.
fn evidence_of(story: &Story, case: &WatchedCase) -> Vec<String> {
    let same = story.judged.cases.iter().filter(|other| is_same_finding(other, case));
    let mut evidence: Vec<String> = Vec::new();
    for line in same.flat_map(|case| &case.example.evidence) {
        let told = match line.split_once(": ") {
            Some((code, rest)) if code == case.code.as_str() => rest,
            Some((code, _)) if code.parse::<FindingCode>().is_ok() => continue,
            _ => line,
        };
        if !evidence.iter().any(|known| known == told) {
            evidence.push(told.to_owned());
        }
    }
    evidence
}
