//! The time line: a line for each thing that happened, with the time since the request's start.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;

use super::lanes::{LEGEND, Lanes};
use super::layout::{DIM, columns, cut, mark, millis_between, short, wrapped};
use super::words::{Names, Told};
use crate::story::Story;
use crate::story::model::{Row, What};

const TITLE: &str = "what happened, in ms since the request was sent";

/// From how long on nothing happening is shown.
const GAP: Duration = Duration::from_millis(100);

/// How wide the column of names may grow.
const WHO_COLUMNS: usize = 18;

/// The least that is left for what happened, however narrow the terminal is.
const LEAST_TEXT: usize = 24;

/// Draws the time line.
pub(super) fn render(text: &mut String, story: &Story, width: usize) {
    let names = Names::new(story);
    let told: Vec<_> = story.rows.iter().map(|row| names.tell(row)).collect();
    let times: Vec<_> = story.rows.iter().map(|row| format!("{:.2}", millis_between(story.began, row.at))).collect();
    let mut lanes = Lanes::new(story);
    let columns = Columns::new(&times, &told, columns(&lanes.between()), width);
    heading(text, width);
    let mut previous: Option<&Row> = None;
    for ((row, time), told) in story.rows.iter().zip(&times).zip(&told) {
        if let Some(gap) = previous.map(|previous| row.at.since(previous.at)).filter(|gap| *gap >= GAP) {
            columns.gap(text, &lanes.between(), gap);
        }
        columns.row(text, time, &lanes.at(row), told, row);
        previous = Some(row);
    }
    if story.left_out.rows > 0 {
        let _ = writeln!(text, "  {DIM}and {} more rows{DIM:#}", story.left_out.rows);
    }
    let _ = writeln!(text);
}

fn heading(text: &mut String, width: usize) {
    let separator = if columns(TITLE) + 4 + columns(LEGEND) <= width { "    " } else { "\n" };
    let _ = writeln!(text, "{DIM}{TITLE}{separator}{LEGEND}{DIM:#}");
}

/// How wide each column is.
struct Columns {
    time: usize,
    lanes: usize,
    who: usize,
    text: usize,
}

impl Columns {
    fn new(times: &[String], told: &[Told], lanes: usize, width: usize) -> Self {
        let time = times.iter().map(String::len).max().unwrap_or(0).max(8);
        let who = told.iter().map(|told| columns(&told.who)).max().unwrap_or(0).min(WHO_COLUMNS);
        let text = width.saturating_sub(time + lanes + who + 6).max(LEAST_TEXT);
        Self { time, lanes, who, text }
    }

    fn gap(&self, text: &mut String, lanes: &str, gap: Duration) {
        let Self { time, .. } = *self;
        let gap = format!("… {} …", short(gap));
        let _ = writeln!(text, "{:>time$}  {DIM}{lanes}{DIM:#}  {DIM}{gap}{DIM:#}", "");
    }

    fn row(&self, text: &mut String, time: &str, lanes: &str, told: &Told, row: &Row) {
        let style = if matches!(row.what, What::Ledger(_)) { Style::new() } else { DIM };
        let mut lines: Vec<_> =
            wrapped(&told.text, self.text).into_iter().map(|line| format!("{style}{line}{style:#}")).collect();
        if let Some((mark, style)) = mark(&row.codes) {
            let mark_columns = columns(&mark);
            let mark = format!("{style}{mark}{style:#}");
            let last_columns = wrapped(&told.text, self.text).last().map_or(0, |line| columns(line));
            match lines.last_mut().filter(|_| last_columns + 2 + mark_columns <= self.text) {
                Some(last) => *last += &format!("  {mark}"),
                None => lines.push(mark),
            }
        }
        for (number, line) in lines.iter().enumerate() {
            let (time, who) = if number == 0 { (time, told.who.as_str()) } else { ("", "") };
            self.margin(text, time, lanes, who);
            text.push_str(line);
            text.push('\n');
        }
    }

    /// What stands before the text of a line.
    fn margin(&self, text: &mut String, time: &str, lanes: &str, who: &str) {
        let Self { time: time_columns, who: who_columns, lanes: lane_columns, .. } = *self;
        let who = cut(who, who_columns);
        let _ = write!(text, "{time:>time_columns$}  {DIM}{lanes:<lane_columns$}{DIM:#}  {who:<who_columns$}  ");
    }
}
