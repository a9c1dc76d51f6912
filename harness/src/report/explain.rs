//! What findings mean, as text with colours: one code's page, or the list of all.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use verifier::FindingCode;

use super::console::style_of;
use crate::explain::page::{Block, Page, Section};
use crate::explain::table::{GROUPS, Group};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const CODE: Style = AnsiColor::Cyan.on_default();

/// The greatest width of a line, in columns: longer ones are hard to read.
const MEASURE: usize = 100;

/// What stands before the lines of a section, and before those of code.
const INDENT: &str = "  ";
const CODE_INDENT: &str = "      ";

/// Where the list's sentences begin.
const MEANING_AT: usize = 35;

/// One code's page. `width` is the terminal's, in columns.
pub fn render_page(code: FindingCode, page: &Page<'_>, width: usize) -> String {
    let width = width.min(MEASURE);
    let style = style_of(code.severity());
    let mut text = format!("\n{style}{code}{style:#}  {DIM}{}{DIM:#}\n", code.severity());
    lines(&mut text, code.meaning(), "", "", width);
    for section in &page.sections {
        render_section(&mut text, section, width);
    }
    text
}

fn render_section(text: &mut String, section: &Section<'_>, width: usize) {
    let _ = writeln!(text, "\n{BOLD}{}{BOLD:#}", section.heading);
    let mut before = None;
    for block in &section.blocks {
        let is_item = matches!(block, Block::Item(_));
        // Items stand close to what they belong to.
        let is_apart = |was_item: bool| !(is_item || was_item) || matches!(block, Block::Code(_));
        if before.is_some_and(is_apart) {
            text.push('\n');
        }
        render_block(text, block, width);
        before = Some(is_item);
    }
}

fn render_block(text: &mut String, block: &Block<'_>, width: usize) {
    match block {
        Block::Paragraph(words) => lines(text, words, INDENT, INDENT, width),
        Block::Item(words) => lines(text, words, "  - ", "    ", width),
        Block::Code(code) => {
            for line in code {
                let _ = match line.is_empty() {
                    true => writeln!(text),
                    false => writeln!(text, "{CODE_INDENT}{CODE}{line}{CODE:#}"),
                };
            }
        }
    }
}

/// All codes, each with what it means. `width` is the terminal's, in columns.
pub fn render_list(width: usize) -> String {
    let width = width.min(MEASURE);
    let mut text = String::new();
    for Group { title, pages } in GROUPS {
        let _ = writeln!(text, "\n{BOLD}{title}{BOLD:#}");
        pages.iter().for_each(|(code, _)| list_code(&mut text, *code, width));
    }
    let _ = writeln!(text, "\n{BOLD}harness explain CODE{BOLD:#} tells what causes it and how to cure it.");
    lines(&mut text, LEGEND, "", "", width);
    text
}

const LEGEND: &str = "A failure fails the run, a warning is worth a look, an info is told and nothing is wrong with it. \
    A contract can give a code another weight, in its table `[severity]`.";

fn list_code(text: &mut String, code: FindingCode, width: usize) {
    let style = style_of(code.severity());
    let head = format!("{INDENT}{style}{:<22}{style:#} {DIM}{:<8}{DIM:#}", code.as_str(), code.severity());
    let indent = " ".repeat(MEANING_AT);
    let mut meaning = String::new();
    lines(&mut meaning, code.meaning(), &indent, &indent, width);
    text.push_str(&head);
    text.push_str("  ");
    text.push_str(meaning.trim_start());
}

/// Appends words in lines of a width, code in its colour. The first line and those after it have indents of
/// their own.
fn lines(text: &mut String, words: &str, first: &str, others: &str, width: usize) {
    let mut indent = first;
    for line in wrapped(words, width.saturating_sub(others.len())) {
        text.push_str(indent);
        styled(text, &line);
        text.push('\n');
        indent = others;
    }
}

/// Words in lines of that width. Code is not torn apart.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in unbroken(words) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => *line += &format!(" {word}"),
            _ => lines.push(word),
        }
    }
    lines
}

/// What a line may break between: words, and code with all the spaces in it.
fn unbroken(words: &str) -> Vec<String> {
    let mut unbroken: Vec<String> = Vec::new();
    for word in words.split(' ') {
        match unbroken.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => *last += &format!(" {word}"),
            _ => unbroken.push(word.to_owned()),
        }
    }
    unbroken
}

/// Appends a line with its code in colour. The backticks stay: where there are no colours, they tell code apart.
fn styled(text: &mut String, line: &str) {
    for (place, part) in line.split('`').enumerate() {
        let _ = match place % 2 {
            0 => write!(text, "{part}"),
            _ => write!(text, "{DIM}`{DIM:#}{CODE}{part}{CODE:#}{DIM}`{DIM:#}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::table::page;

    /// The text without its colours.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn words_break_between_words_and_not_in_code() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("see `a b c` there", 8), ["see", "`a b c`", "there"]);
        assert_eq!(wrapped("incomprehensibilities", 5), ["incomprehensibilities"]);
    }

    #[test]
    fn page_is_drawn_with_its_headings_lists_and_code() {
        let text = "# span-late\n\n## What it means\nLate `x`.\n- an item of words\n- another\n\n```sh\nA=1\n\nB=2\n```\nEnd.\n";
        let drawn = plain(&render_page(FindingCode::SpanLate, &Page::read(text), 20));
        let expected = "\nspan-late  warning\nA span came later\nafter its end than\nit may.\n\nWhat it means\n  Late `x`.\n  - an item of words\n  \
                        - another\n\n      A=1\n\n      B=2\n\n  End.\n";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn every_page_and_the_list_keep_to_80_columns() {
        let mut texts: Vec<_> =
            FindingCode::ALL.iter().filter_map(|code| Some(render_page(*code, &page(*code)?, 80))).collect();
        texts.push(render_list(80));
        for text in texts {
            let text = plain(&text);
            let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(wide.is_empty(), "{wide:#?}");
        }
    }

    #[test]
    fn list_names_every_code_with_its_weight_and_meaning() {
        let list = plain(&render_list(200));
        for code in FindingCode::ALL {
            let line = list.lines().find(|line| line.split_whitespace().next() == Some(code.as_str()));
            assert!(line.is_some_and(|line| line.contains(code.severity().as_str())), "{code}");
        }
    }
}
