//! Lines of a limited width.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use verifier::{FindingCode, Severity, Timestamp};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();

/// How many columns a text takes. Combining and wide characters count as one, as elsewhere in reports.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Text in lines of at most that width, broken between words. A word that is longer is broken after a hyphen, or
/// else anywhere.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').flat_map(|word| pieces(word, width)) {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&word) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// A word in pieces of at most that width.
fn pieces(word: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest: Vec<_> = word.chars().collect();
    while rest.len() > width {
        let hyphen = rest[..width].iter().rposition(|&character| character == '-');
        let tail = rest.split_off(hyphen.map_or(width, |hyphen| hyphen + 1));
        pieces.push(rest.into_iter().collect());
        rest = tail;
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

/// Text that is cut to a width, with an ellipsis for what is not there.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Text from telemetry or from a process: a control character could do anything to a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Where something is wrong: an arrow and the codes, as text and as its style.
pub(super) fn mark(codes: &[FindingCode]) -> Option<(String, Style)> {
    let heaviest = codes.iter().map(|code| code.severity()).max()?;
    let names: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    Some((format!("← {}", names.join(", ")), style_of(heaviest)))
}

/// The style of what weighs that much.
pub(super) fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Failure => RED,
        Severity::Warning => YELLOW,
        Severity::Info => CYAN,
    }
}

/// The milliseconds from one instant to another; negative if that was before.
pub(super) fn millis_between(from: Timestamp, to: Timestamp) -> f64 {
    if to >= from { millis(to.since(from)) } else { -millis(from.since(to)) }
}

/// A duration's milliseconds.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A duration with its unit and three digits or so.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 60.0 => format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 13), ["one two three"]);
        assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("a ab-cd-efgh", 7), ["a", "ab-cd-", "efgh"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn cut_text_says_that_it_was_cut() {
        assert_eq!(cut("onboarding", 10), "onboarding");
        assert_eq!(cut("onboarding", 9), "onboardi…");
    }

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }

    #[test]
    fn durations_carry_their_unit() {
        let short: Vec<_> = [250, 5_500, 12_300, 1_234_000, 83_000_000]
            .map(|micros| short(Duration::from_micros(micros)))
            .into_iter()
            .collect();
        assert_eq!(short, ["0.25 ms", "5.5 ms", "12 ms", "1.2 s", "1 min 23 s"]);
    }
}
