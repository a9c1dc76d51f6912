//! How a run goes while it goes: on a terminal one line that changes, else a plain line now and then.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use super::console::grouped;
use crate::journal::Progress;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// From how many columns on there is room for a bar beside the figures.
const WIDE_ENOUGH_FOR_A_BAR: u16 = 110;

const VERB: Style = AnsiColor::Green.on_default().bold();

/// Writes how a run goes to standard error.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// The line that changes, while there is one.
    bar: Option<ProgressBar>,
}

impl Live {
    /// Says what begins: a verb and its object.
    pub fn say(&self, verb: &str, what: &str) {
        let line = format!("{VERB}{verb:>12}{VERB:#} {what}");
        match &self.bar {
            Some(bar) => bar.suspend(|| print(&line)),
            None => print(&line),
        }
    }

    /// Shows the progress of a load of that many requests until the returned guard is dropped.
    pub fn show(&mut self, scheduled: u64, progress: watch::Receiver<Progress>) -> Showing {
        let bar = ProgressBar::with_draw_target(Some(scheduled), ProgressDrawTarget::stderr());
        if bar.is_hidden() {
            return Showing { bar: None, task: tokio::spawn(write_plainly(scheduled, progress)) };
        }
        let wide = terminal_size::terminal_size().is_some_and(|(width, _)| width.0 >= WIDE_ENOUGH_FOR_A_BAR);
        let bar_part = if wide { "{bar:24} " } else { "" };
        let template = format!("{{prefix:>12.green.bold}} [{{elapsed_precise}}] {bar_part}{{pos}}/{{len}} sent{{msg}}");
        bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix("Loading");
        self.bar = Some(bar.clone());
        Showing { bar: Some(bar.clone()), task: tokio::spawn(draw(bar, progress)) }
    }
}

/// Progress that is being shown.
#[derive(Debug)]
pub struct Showing {
    bar: Option<ProgressBar>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn draw(bar: ProgressBar, mut progress: watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        bar.set_position(now.sent);
        bar.set_message(rest_of_line(&now));
    }
}

async fn write_plainly(scheduled: u64, mut progress: watch::Receiver<Progress>) {
    let mut last = progress.borrow().now;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        if now.now.since(last) >= PLAIN_EVERY {
            last = now.now;
            print(&format!(
                "{:>12} {}/{} sent{}",
                "Loading",
                grouped(now.sent),
                grouped(scheduled),
                rest_of_line(&now)
            ));
        }
    }
}

fn rest_of_line(now: &Progress) -> String {
    let Progress { complete, cold_starts, cases, .. } = now;
    format!(", {} complete, {} cold starts, {} findings", grouped(*complete), grouped(*cold_starts), grouped(*cases))
}

/// What the run waits for, in a line.
pub fn waiting_for(progress: &Progress) -> String {
    let reasons = progress.pending.iter().map(|pending| {
        let first = pending.first.as_ref().map_or(String::new(), |first| format!(" (first: {first})"));
        format!("{} {}{first}", pending.count, pending.what)
    });
    reasons.collect::<Vec<_>>().join(", ")
}

/// A line on standard error; colours only where they are wanted.
fn print(line: &str) {
    use std::io::Write as _;
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(anstream::stderr(), "{line}");
}
