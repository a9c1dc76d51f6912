//! A page, or the list of all, for a terminal of some width.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use textwrap::Options;
use verifier::{FindingCode, Severity};

use super::page::{page, parts};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const CODE: Style = AnsiColor::Cyan.on_default();

/// Lines longer than this are hard to read, however wide the terminal is.
const WIDEST: usize = 100;

/// What the codes are about; each group begins with this code.
const GROUPS: [(&str, FindingCode); 8] = [
    ("Processes and exports", FindingCode::ProcessDied),
    ("What messages carry", FindingCode::CarrierMissing),
    ("What is not there", FindingCode::TraceMissing),
    ("What nobody asked for", FindingCode::SpanUnexpected),
    ("Who a span is", FindingCode::IdInvalid),
    ("How spans hang together", FindingCode::TraceFragmented),
    ("What a span says", FindingCode::KindWrong),
    ("When it was, and how it came", FindingCode::DurationNegative),
];

/// The page on a code.
pub fn explain(code: FindingCode, width: usize) -> String {
    let width = width.min(WIDEST);
    let severity = code.severity();
    let style = style(severity);
    let mut text = format!("{BOLD}{code}{BOLD:#}  {style}{severity}{style:#}\n\n");
    text.push_str(&filled(code.meaning(), width, ""));
    for (heading, part) in parts(page(code)) {
        text.push('\n');
        if let Some(heading) = heading {
            let _ = writeln!(text, "{BOLD}{heading}{BOLD:#}");
        }
        text.push_str(&body(heading, part, width));
    }
    text
}

fn body(heading: Option<&str>, part: &str, width: usize) -> String {
    if heading == Some("See also") {
        let commands = part.split_whitespace().map(|code| format!("  {DIM}harness explain{DIM:#} {code}\n"));
        return commands.collect();
    }
    part.lines()
        .map(|line| filled(line.trim_start_matches("- "), width, if line.starts_with("- ") { "- " } else { "" }))
        .collect()
}

/// A paragraph in lines of that width; `bullet` stands before the first.
fn filled(text: &str, width: usize, bullet: &str) -> String {
    let (first, other) = (format!("  {bullet}"), " ".repeat(2 + bullet.len()));
    let options = Options::new(width).initial_indent(&first).subsequent_indent(&other).break_words(false);
    coloured(&textwrap::fill(text, options)) + "\n"
}

/// What stands between backticks is code.
fn coloured(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(place, part)| if place % 2 == 1 { format!("{CODE}{part}{CODE:#}") } else { part.to_owned() }).collect()
}

/// All codes, with what they weigh and mean.
pub fn list(width: usize) -> String {
    let width = width.min(WIDEST + 40);
    let mut text = String::new();
    for code in FindingCode::ALL {
        if let Some((title, _)) = GROUPS.iter().find(|(_, first)| first == code) {
            let _ = writeln!(text, "\n{BOLD}{title}{BOLD:#}");
        }
        text.push_str(&entry(*code, width));
    }
    let _ =
        writeln!(text, "\n{DIM}harness explain CODE{DIM:#} tells more. A contract can change what a finding weighs.");
    text
}

fn entry(code: FindingCode, width: usize) -> String {
    let style = style(code.severity());
    let indent = " ".repeat(35);
    let options = Options::new(width).initial_indent(&indent).subsequent_indent(&indent);
    let meaning = textwrap::fill(code.meaning(), options);
    // The columns of what stands before are counted without its colours.
    format!("  {code:<23} {style}{:<8}{style:#} {}\n", code.severity(), meaning.trim_start())
}

const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Failure => AnsiColor::Red.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Info => DIM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [80, 200] {
            let pages = FindingCode::ALL.iter().map(|code| explain(*code, width)).chain([list(width)]);
            for line in pages.flat_map(|page| plain(&page).lines().map(str::to_owned).collect::<Vec<_>>()) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn list_has_every_code_in_its_group() {
        let list = plain(&list(80));
        for code in FindingCode::ALL {
            assert!(list.contains(&format!("\n  {code} ")), "{code}");
        }
        for (title, _) in GROUPS {
            assert!(list.contains(&format!("\n{title}\n")), "{title}");
        }
    }
}
