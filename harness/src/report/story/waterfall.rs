//! The spans as a tree with times, a bar for each, and how it came.

use std::fmt::Write as _;

use verifier::watch::AbsentSpan;
use verifier::{Timestamp, TraceId};

use super::layout::{CYAN, DIM, RED, YELLOW, columns, cut, mark, millis_between, plain, wrapped};
use super::scale::Scale;
use super::words::peer;
use crate::story::Story;
use crate::story::model::{Receipt, StorySpan};

/// The least columns of a bar for all that there is to say of a span to stand in its line.
const LEAST_BAR_IN_ONE_LINE: usize = 20;

/// The most columns of a service's name in that line.
const SERVICE: usize = 24;

/// How deep spans are indented at most.
const DEEPEST: usize = 8;

/// The columns of a time, such as `+123456.78`.
const TIME: usize = 10;

/// The least and the most columns of a bar.
const BAR: std::ops::RangeInclusive<usize> = 10..=60;

/// Draws the spans, and what should be there and is not.
pub(super) fn render(text: &mut String, story: &Story, width: usize) {
    let layout = Layout::new(story, width);
    layout.heading(text);
    let several = story.traces().len() > 1;
    let mut trace: Option<TraceId> = None;
    for span in &story.spans {
        if several && trace != Some(span.span.trace_id) {
            let _ = writeln!(text, "  {DIM}trace {}{DIM:#}", span.span.trace_id);
            trace = Some(span.span.trace_id);
        }
        layout.span(text, span);
    }
    if story.spans.is_empty() {
        let _ = writeln!(text, "  none came");
    }
    story.absent.iter().for_each(|absent| layout.absent(text, absent));
    if story.left_out.spans > 0 {
        let _ = writeln!(text, "  {DIM}and {} more spans{DIM:#}", story.left_out.spans);
    }
}

/// The columns of the lines.
struct Layout {
    began: Timestamp,
    scale: Scale,
    label: usize,
    bar: usize,
    services: usize,
    width: usize,
    /// Whether all that there is to say of a span stands in its line.
    is_one_line: bool,
}

impl Layout {
    fn new(story: &Story, width: usize) -> Self {
        let widest = |of: &dyn Fn(&StorySpan) -> usize| story.spans.iter().map(of).max().unwrap_or(0);
        let label = widest(&|seen| columns(&label(seen))).max("spans".len());
        let services = widest(&|seen| columns(service(seen))).clamp("service".len(), SERVICE);
        let marks = widest(&|seen| mark(&seen.codes).map_or(0, |(mark, _)| 2 + columns(&mark)));
        let how = widest(&|seen| columns(&how_it_came(seen, story.began)));
        let times = 2 * (TIME + 1) + 4;
        let left = width.saturating_sub(label + times + 2 + services + 2 + how + marks);
        let is_one_line = left >= LEAST_BAR_IN_ONE_LINE;
        let label = if is_one_line { label } else { label.min((width * 2 / 5).max(16)) };
        let left = if is_one_line { left } else { width.saturating_sub(label + times) };
        let bar = left.clamp(*BAR.start(), *BAR.end());
        let scale = Scale::new(&story.spans, bar);
        Self { began: story.began, scale, label, bar, services, width, is_one_line }
    }

    fn heading(&self, text: &mut String) {
        let Self { label, bar, services, is_one_line, .. } = *self;
        let details = if is_one_line {
            format!("  {:bar$}  {:services$}  came, and is matched", "", "service")
        } else {
            String::new()
        };
        let _ = writeln!(text, "{DIM}  {:label$} {:>TIME$} {:>TIME$}{details}{DIM:#}", "spans", "start ms", "lasts ms");
    }

    fn span(&self, text: &mut String, seen: &StorySpan) {
        let Self { label: width, services, .. } = *self;
        let label = cut(&label(seen), width);
        let start = format!("{:+.2}", millis_between(self.began, seen.span.start));
        let lasts = format!("{:.2}", millis_between(seen.span.start, seen.span.end));
        let bar = self.scale.bar(seen.span.start, seen.span.end);
        let _ = write!(text, "  {label:<width$} {start:>TIME$} {lasts:>TIME$}  {CYAN}{bar}{CYAN:#}");
        if !self.is_one_line {
            self.details_below(text, seen);
            return;
        }
        let service = cut(service(seen), services);
        let _ = write!(text, "  {DIM}{service:<services$}  {}{DIM:#}", how_it_came(seen, self.began));
        if let Some((mark, style)) = mark(&seen.codes) {
            let _ = write!(text, "  {style}{mark}{style:#}");
        }
        text.push('\n');
    }

    /// What does not fit into the span's line: first what is wrong with it.
    fn details_below(&self, text: &mut String, seen: &StorySpan) {
        text.push('\n');
        let indent = 2 + 3 * (seen.depth.min(DEEPEST) + 1);
        if let Some((mark, style)) = mark(&seen.codes) {
            let _ = writeln!(text, "{:indent$}{style}{mark}{style:#}", "");
        }
        let details = format!("{}, came {}", service(seen), how_it_came(seen, self.began));
        for line in wrapped(&details, self.width.saturating_sub(indent)) {
            let _ = writeln!(text, "{:indent$}{DIM}{line}{DIM:#}", "");
        }
    }

    fn absent(&self, text: &mut String, absent: &AbsentSpan) {
        let AbsentSpan { kind, name, service, environment, excused, codes, .. } = absent;
        let place = environment.as_ref().map_or(String::new(), |environment| format!(", of {environment}"));
        let what = cut(&plain(&format!("{kind} {name} ({service}{place})")), self.width.saturating_sub(2));
        let (style, mut why) = match excused {
            true => (YELLOW, "excused: an ordered kill took it".to_owned()),
            false => (RED, "missing".to_owned()),
        };
        if let Some((mark, _)) = mark(codes) {
            let _ = write!(why, "  {mark}");
        }
        let fits = 4 + columns(&what) + columns(&why) <= self.width;
        let separator = if fits { "  " } else { "\n     " };
        let _ = writeln!(text, "  {what}{separator}{style}{why}{style:#}");
    }
}

/// When it was received, by whom it was sent, and how it was found to be the request's.
fn how_it_came(seen: &StorySpan, began: Timestamp) -> String {
    let mut how = seen.receipt().map_or(String::new(), |receipt| receipt_in_words(receipt, began));
    if seen.receipts.len() > 1 {
        let _ = write!(how, ", {} times", seen.receipts.len());
    }
    let _ = write!(how, ", by {}", seen.matched_by.in_words());
    if let Some(parent) = seen.span.parent_span_id.filter(|_| seen.depth == 0) {
        let _ = write!(how, "; its parent {parent} is not here");
    }
    how
}

fn receipt_in_words(receipt: &Receipt, began: Timestamp) -> String {
    let at = millis_between(began, receipt.at);
    let (sender, export) = (plain(&peer(&receipt.peer)), receipt.export);
    let refused = if receipt.stored { "" } else { ", refused" };
    format!("{at:+.2} from {sender} in export {export}{refused}")
}

fn service(seen: &StorySpan) -> &str {
    seen.service.as_deref().unwrap_or("no service.name")
}

/// Its place in the tree, its kind and its name.
fn label(seen: &StorySpan) -> String {
    let branch = match seen.depth {
        0 => String::new(),
        depth => format!("{}└─ ", "   ".repeat(depth.min(DEEPEST) - 1)),
    };
    format!("{branch}{} {}", seen.span.kind, plain(&seen.span.name))
}
