//! What `harness lambda` shows: a line for each thing that happens to a function, and the figures at the end.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use verifier::event::{Export, InvocationOutcome, OpenExchanges, Peer, ProcessEnd, ResetReason};
use verifier::{EnvironmentId, Event, EventKind, InvocationId, Timestamp};

use crate::measure::Durations;

/// How much of a text that comes from a function stands in a line.
const TEXT_CHARS: usize = 1_000;

const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Writes what happens to standard output.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    session: Session,
}

impl Printer {
    /// A printer of lines for people, or of events as lines of JSON.
    pub fn new(json: bool) -> Self {
        Self { json, session: Session::default() }
    }

    /// Takes an event; says whether it was the last.
    pub fn take(&mut self, event: &Event) -> bool {
        let lines = self.session.take(event);
        if self.json {
            print(&serde_json::to_string(event).unwrap_or_default());
        } else {
            lines.iter().for_each(|line| print(line));
        }
        matches!(event.kind, EventKind::RunFinished)
    }

    /// Shows the figures, and gives them to the caller.
    pub fn finish(self) -> Session {
        if !self.json && self.session.invocations > 0 {
            print(&self.session.summary());
        }
        self.session
    }
}

/// A line on standard output; colours only where they are wanted.
fn print(line: &str) {
    // Nobody is left to tell when standard output is closed, as by `| head`.
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// A function's invocations, counted and measured: a fold over the events.
#[derive(Debug, Default)]
pub struct Session {
    /// Invocations that started.
    pub invocations: u64,
    /// Those of them that ended well.
    pub succeeded: u64,
    /// Spans that came in.
    pub spans: u64,
    /// Spans that came in only after a later thaw: nobody had flushed them.
    pub late_by_thaw: u64,
    /// Exports that were not answered when the runtime asked for its next invocation.
    pub open_at_freeze: u64,
    /// What was refused, by an API or by the endpoint.
    pub refused: u64,
    /// Evidence that was lost.
    pub lost: u64,
    exports: u64,
    cold_starts: u64,
    init: Durations,
    duration: Durations,
    flush: Durations,
    environments: HashMap<EnvironmentId, Seen>,
    places: HashMap<InvocationId, EnvironmentId>,
}

/// What is known of an environment.
#[derive(Debug, Default)]
struct Seen {
    /// When it was thawed last.
    thawed: Option<Timestamp>,
    present: Option<Running>,
}

/// An invocation that is not told yet.
#[derive(Debug)]
struct Running {
    number: u64,
    cold: bool,
    started: Timestamp,
    finished: Option<(Timestamp, InvocationOutcome)>,
    spans: u64,
    last_span_ended: Option<Timestamp>,
}

impl Session {
    /// Whether every invocation ended well and nothing was late, open or refused.
    pub fn is_clean(&self) -> bool {
        let flawed = self.late_by_thaw + self.open_at_freeze + self.refused + self.lost;
        flawed == 0 && self.succeeded == self.invocations
    }

    /// Takes the next event; gives what there is to say about it.
    pub fn take(&mut self, event: &Event) -> Vec<String> {
        match &event.kind {
            EventKind::EnvironmentStarted { environment, pid, .. } => {
                vec![line("Start", environment, format!("process {pid}"))]
            }
            EventKind::EnvironmentInitialized { environment, init } => {
                self.init.record(*init);
                vec![line("Init", environment, millis(*init))]
            }
            EventKind::EnvironmentThawed { environment } => {
                self.seen(environment).thawed = Some(event.at);
                Vec::new()
            }
            EventKind::InvocationStarted { invocation, environment, cold, .. } => {
                self.start(event.at, invocation, environment, *cold)
            }
            EventKind::InvocationFinished { invocation, outcome } => {
                self.finish(event.at, invocation, outcome);
                Vec::new()
            }
            EventKind::EnvironmentFrozen { environment, open } => self.freeze(environment, *open),
            EventKind::ExportAnswered(export) => self.export(export),
            _ => self.take_end(&event.kind),
        }
    }

    fn take_end(&mut self, kind: &EventKind) -> Vec<String> {
        match kind {
            EventKind::EnvironmentReset { environment, reason, end } => {
                let mut lines = self.tell(environment, "");
                lines.push(line("Reset", environment, format!("{} ({end})", reset_in_words(*reason))));
                lines.extend(end.output.iter().map(|printed| line("", environment, plain(printed))));
                lines
            }
            EventKind::EnvironmentEnded { environment, end } => {
                let mut lines = self.tell(environment, "");
                lines.push(line("End", environment, end_in_words(end)));
                self.environments.remove(environment);
                lines
            }
            EventKind::ProcessEscaped { environment, pid, name } => {
                vec![line(
                    "Escape",
                    environment,
                    format!("process {pid} ({}) left its group and was killed", plain(name)),
                )]
            }
            EventKind::ExtensionRegistered { environment, extension, events, .. } => {
                vec![line("Extension", environment, extension_in_words(extension, events))]
            }
            EventKind::CallRefused { environment, call, status, error_type } => {
                self.refused += 1;
                vec![line("Refuse", environment, format!("{}: {status} {error_type}", plain(call)))]
            }
            EventKind::ExportRefused { peer, why, .. } => {
                self.refused += 1;
                vec![line("Refuse", sender(peer), plain(why))]
            }
            EventKind::EvidenceLost { what, count } => {
                self.lost += count;
                vec![line("Lost", count, what)]
            }
            _ => Vec::new(),
        }
    }

    fn seen(&mut self, environment: &EnvironmentId) -> &mut Seen {
        self.environments.entry(environment.clone()).or_default()
    }

    fn start(&mut self, at: Timestamp, id: &InvocationId, environment: &EnvironmentId, cold: bool) -> Vec<String> {
        if self.places.contains_key(id) {
            // A runtime that asks again before it has answered gets the same one again.
            return Vec::new();
        }
        // One that was never frozen is told now.
        let lines = self.tell(environment, "");
        self.invocations += 1;
        self.cold_starts += u64::from(cold);
        self.places.insert(id.clone(), environment.clone());
        let number = self.invocations;
        let running = Running { number, cold, started: at, finished: None, spans: 0, last_span_ended: None };
        self.seen(environment).present = Some(running);
        lines
    }

    fn finish(&mut self, at: Timestamp, invocation: &InvocationId, outcome: &InvocationOutcome) {
        let Some(environment) = self.places.remove(invocation) else { return };
        let Some(running) = self.seen(&environment).present.as_mut() else { return };
        running.finished = Some((at, outcome.clone()));
        let duration = at.since(running.started);
        let flush = running.last_span_ended.map(|ended| at.since(ended));
        self.duration.record(duration);
        flush.into_iter().for_each(|flush| self.flush.record(flush));
        self.succeeded += u64::from(matches!(outcome, InvocationOutcome::Succeeded { .. }));
    }

    fn freeze(&mut self, environment: &EnvironmentId, open: OpenExchanges) -> Vec<String> {
        self.open_at_freeze += u64::from(open.exports);
        let note = match open.exports {
            0 => String::new(),
            exports => format!(", {RED}{} unanswered at the freeze{RED:#}", counted(exports.into(), "export")),
        };
        self.tell(environment, &note)
    }

    fn export(&mut self, export: &Export) -> Vec<String> {
        self.exports += 1;
        let Peer::Environment(environment) = &export.peer else { return Vec::new() };
        let spans = export.payload.resources().flat_map(|resource| resource.spans());
        let ends: Vec<_> = spans.map(|span| span.end).collect();
        self.spans += ends.len() as u64;
        let seen = self.seen(environment);
        let thawed = seen.thawed;
        let (late, own): (Vec<_>, Vec<_>) =
            ends.into_iter().partition(|end| thawed.is_some_and(|thawed| *end < thawed));
        if let Some(running) = seen.present.as_mut() {
            running.spans += own.len() as u64;
            // What was on its way when the runtime asked for more was not waited for.
            if running.finished.is_none() {
                running.last_span_ended = running.last_span_ended.max(own.into_iter().max());
            }
        }
        self.late_by_thaw += late.len() as u64;
        match late.len() {
            0 => Vec::new(),
            count => {
                let spans = counted(count as u64, "span");
                vec![line("Late", environment, format!("{RED}{spans} came only with a later thaw{RED:#}"))]
            }
        }
    }

    /// Tells an invocation that is over.
    fn tell(&mut self, environment: &EnvironmentId, note: &str) -> Vec<String> {
        let seen = self.seen(environment);
        let Some(running) = seen.present.take_if(|running| running.finished.is_some()) else { return Vec::new() };
        vec![line("Invoke", environment, running.in_words() + note)]
    }

    /// The figures, as lines.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (name, figure) in self.figures() {
            let _ = write!(text, "\n  {DIM}{name:<11}{DIM:#} {figure}");
        }
        text
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let failed = self.invocations - self.succeeded;
        let mut figures = vec![
            ("invocations", format!("{}: {} succeeded, {failed} did not", self.invocations, self.succeeded)),
            ("duration", quantiles(&self.duration)),
            ("init", format!("{}; {}", quantiles(&self.init), counted(self.cold_starts, "cold start"))),
            ("flush", self.flush_in_words()),
            ("spans", self.spans_in_words()),
        ];
        if self.refused > 0 {
            figures.push(("refused", format!("{RED}{}{RED:#}, calls and exports together", self.refused)));
        }
        if self.lost > 0 {
            figures.push(("lost", format!("{RED}{} of evidence{RED:#}", counted(self.lost, "piece"))));
        }
        figures
    }

    fn flush_in_words(&self) -> String {
        match self.flush.max() {
            None => "none: no span came before the runtime asked for the next event".to_owned(),
            Some(_) => format!("{}, from the end of the last span to /next", quantiles(&self.flush)),
        }
    }

    fn spans_in_words(&self) -> String {
        let (exports, open) = (counted(self.exports, "export"), counted(self.open_at_freeze, "export"));
        format!("{} in {exports}; {} late by a thaw, {open} unanswered at a freeze", self.spans, self.late_by_thaw)
    }
}

impl Running {
    fn in_words(&self) -> String {
        let start = if self.cold { "cold" } else { "warm" };
        let mut text = format!("#{} {start}", self.number);
        if let Some((finished, outcome)) = &self.finished {
            let _ = write!(text, ", {}, {}", millis(finished.since(self.started)), in_words(outcome));
        }
        let _ = write!(text, ", {}", counted(self.spans, "span"));
        if let Some((ended, (finished, _))) = self.last_span_ended.zip(self.finished.as_ref()) {
            let _ = write!(text, ", flush {}", millis(finished.since(ended)));
        }
        text
    }
}

fn in_words(outcome: &InvocationOutcome) -> String {
    match outcome {
        InvocationOutcome::Succeeded { failed } if failed.is_empty() => format!("{GREEN}succeeded{GREEN:#}"),
        InvocationOutcome::Succeeded { failed } => {
            format!("succeeded but for {}", counted(failed.len() as u64, "message"))
        }
        InvocationOutcome::Failed { error_type, error_message } => {
            format!("{RED}failed{RED:#}: {} {}", plain(error_type), plain(error_message))
        }
        InvocationOutcome::TimedOut => format!("{RED}timed out{RED:#}"),
        InvocationOutcome::EnvironmentDied => format!("{RED}died{RED:#}"),
    }
}

fn reset_in_words(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::InitTimedOut => "its Init phase took too long",
        ResetReason::InitFailed => "its Init phase failed",
        ResetReason::TimedOut => "its invocation took too long",
        ResetReason::Exited => "its runtime ended by itself",
        ResetReason::OutOfMemory => "it used more memory than the function has",
        ResetReason::ExtensionFailed => "one of its extensions failed",
    }
}

fn end_in_words(end: &ProcessEnd) -> String {
    if end.ordered { format!("in order ({end})") } else { end.to_string() }
}

fn extension_in_words(extension: &str, events: &[String]) -> String {
    let events = if events.is_empty() { "no events".to_owned() } else { events.join(" and ") };
    format!("{} wants {events}", plain(extension))
}

fn sender(peer: &Peer) -> String {
    match peer {
        Peer::Environment(environment) => environment.to_string(),
        peer => peer.to_string(),
    }
}

/// `1 span`, `2 spans`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What a function says, as a line that does nothing to a terminal.
fn plain(text: &str) -> String {
    let visible = |character: char| if character.is_control() { ' ' } else { character };
    let mut text: String = text.chars().take(TEXT_CHARS + 1).map(visible).collect();
    if let Some((cut, _)) = text.char_indices().nth(TEXT_CHARS) {
        text.replace_range(cut.., "…");
    }
    text
}

fn line(verb: &str, who: impl std::fmt::Display, what: impl std::fmt::Display) -> String {
    format!("{GREEN}{verb:>12}{GREEN:#} {who}  {what}")
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}

fn quantiles(durations: &Durations) -> String {
    let quantile = |share| durations.quantile(share).map_or("-".to_owned(), millis);
    match durations.max() {
        None => "none".to_owned(),
        Some(max) => format!("p50 {}, p99 {}, max {}", quantile(0.5), quantile(0.99), millis(max)),
    }
}

#[cfg(test)]
mod tests {
    use verifier::event::{ExportAnswer, ProcessEnd, RefusalKind};
    use verifier::otlp::Payload;
    use verifier::span::{Resource, ResourceSpans, SpanStatus};
    use verifier::{Span, SpanId, SpanKind, TraceId};

    use super::*;

    fn environment() -> EnvironmentId {
        EnvironmentId::new("function-1")
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_nanos(millis * 1_000_000)
    }

    /// A session, and what it said: each event with its instant in milliseconds.
    fn session(events: Vec<(u64, EventKind)>) -> (Session, Vec<String>) {
        let mut session = Session::default();
        let take = |(millis, kind)| session.take(&Event { at: at(millis), kind });
        let lines: Vec<_> = events.into_iter().flat_map(take).collect();
        (session, lines.iter().map(|line| anstream::adapter::strip_str(line).to_string().trim().to_owned()).collect())
    }

    fn started(number: u32) -> EventKind {
        let (invocation, cold) = (InvocationId::new(number.to_string()), number == 1);
        EventKind::InvocationStarted { invocation, environment: environment(), cold, deliveries: Vec::new() }
    }

    fn finished(number: u32) -> EventKind {
        let outcome = InvocationOutcome::Succeeded { failed: Vec::new() };
        EventKind::InvocationFinished { invocation: InvocationId::new(number.to_string()), outcome }
    }

    fn frozen(exports: u32) -> EventKind {
        EventKind::EnvironmentFrozen { environment: environment(), open: OpenExchanges { exports, connections: 0 } }
    }

    fn thawed() -> EventKind {
        EventKind::EnvironmentThawed { environment: environment() }
    }

    fn exported(ended: u64) -> EventKind {
        let (trace_id, span_id): (TraceId, SpanId) = ("1".repeat(32).parse().unwrap(), "2".repeat(16).parse().unwrap());
        let span = Span {
            trace_id,
            span_id,
            parent_span_id: None,
            name: "work".to_owned(),
            kind: SpanKind::Consumer,
            start: at(0),
            end: at(ended),
            status: SpanStatus::default(),
            flags: 0,
            dropped: 0,
            attributes: Vec::new(),
            links: Vec::new(),
        };
        let payload = Payload::of(&[ResourceSpans { resource: Resource::default(), spans: vec![span] }]);
        let (peer, answer) = (Peer::Environment(environment()), ExportAnswer::Stored);
        EventKind::ExportAnswered(Box::new(Export { export: 0, peer, answer, payload }))
    }

    #[test]
    fn flushed_invocation_is_told_with_its_spans_and_flush_time() {
        let (session, lines) = session(vec![(10, started(1)), (14, exported(12)), (15, finished(1)), (16, frozen(0))]);
        assert_eq!(lines, ["Invoke function-1  #1 cold, 5.00 ms, succeeded, 1 span, flush 3.00 ms"]);
        assert!(session.is_clean());
    }

    #[test]
    fn span_that_comes_with_a_later_thaw_is_late() {
        let first = [(10, started(1)), (15, finished(1)), (16, frozen(0))];
        let second = [(100, thawed()), (100, started(2)), (101, exported(12)), (105, finished(2)), (106, frozen(0))];
        let (session, lines) = session(first.into_iter().chain(second).collect());
        assert_eq!(lines[1], "Late function-1  1 span came only with a later thaw");
        assert_eq!(lines[2], "Invoke function-1  #2 warm, 5.00 ms, succeeded, 0 spans");
        assert_eq!((session.late_by_thaw, session.is_clean()), (1, false));
    }

    #[test]
    fn export_that_is_open_at_the_freeze_is_told() {
        let (session, lines) = session(vec![(10, started(1)), (15, finished(1)), (16, frozen(1))]);
        assert!(lines[0].ends_with("0 spans, 1 export unanswered at the freeze"), "{lines:?}");
        assert!(!session.is_clean());
    }

    #[test]
    fn invocation_that_is_never_frozen_is_told_when_the_next_begins() {
        let (_, lines) = session(vec![(10, started(1)), (15, finished(1)), (20, started(2))]);
        assert_eq!(lines, ["Invoke function-1  #1 cold, 5.00 ms, succeeded, 0 spans"]);
    }

    #[test]
    fn invocation_in_which_the_environment_died_is_no_success() {
        let died = EventKind::InvocationFinished {
            invocation: InvocationId::new("1"),
            outcome: InvocationOutcome::EnvironmentDied,
        };
        let end = ProcessEnd { code: Some(3), signal: None, ordered: false, output: Vec::new() };
        let ended = EventKind::EnvironmentEnded { environment: environment(), end };
        let (session, lines) = session(vec![(10, started(1)), (15, died), (16, ended)]);
        assert_eq!(lines, ["Invoke function-1  #1 cold, 5.00 ms, died, 0 spans", "End function-1  exit code 3"]);
        assert_eq!((session.invocations, session.succeeded, session.is_clean()), (1, 0, false));
    }

    #[test]
    fn invocation_that_is_delivered_again_counts_once() {
        let events = vec![(10, started(1)), (12, started(1)), (15, finished(1)), (16, frozen(0)), (20, started(2))];
        let (session, lines) = session(events);
        assert_eq!(lines, ["Invoke function-1  #1 cold, 5.00 ms, succeeded, 0 spans"]);
        assert_eq!(session.invocations, 2);
        assert_eq!(session.cold_starts, 1);
    }

    #[test]
    fn export_that_arrives_after_the_next_event_was_asked_for_was_not_waited_for() {
        let (session, lines) = session(vec![(10, started(1)), (15, finished(1)), (35, exported(12)), (36, frozen(0))]);
        assert_eq!(lines, ["Invoke function-1  #1 cold, 5.00 ms, succeeded, 1 span"]);
        assert!(session.flush_in_words().starts_with("none"));
    }

    #[test]
    fn reset_and_end_are_told_in_words() {
        let end =
            |ordered| ProcessEnd { code: None, signal: Some(9), ordered, output: vec!["\u{1b}[2Jlast".to_owned()] };
        let reset = EventKind::EnvironmentReset {
            environment: environment(),
            reason: ResetReason::OutOfMemory,
            end: end(false),
        };
        let ended = EventKind::EnvironmentEnded { environment: environment(), end: end(true) };
        let (_, lines) = session(vec![(1, reset), (2, ended)]);
        assert_eq!(lines[0], "Reset function-1  it used more memory than the function has (signal 9)");
        assert_eq!(lines[1], "function-1   [2Jlast", "nothing reaches the terminal but text");
        assert_eq!(lines[2], "End function-1  in order (signal 9)");
    }

    #[test]
    fn text_of_a_function_is_cut_where_it_gets_too_long() {
        assert_eq!(plain(&"ä".repeat(TEXT_CHARS)), "ä".repeat(TEXT_CHARS));
        assert_eq!(plain(&"ä".repeat(TEXT_CHARS + 1)), "ä".repeat(TEXT_CHARS) + "…");
    }

    #[test]
    fn refusal_is_told_with_its_sender_and_stands_among_the_figures() {
        let (peer, refusal) = (Peer::Environment(environment()), RefusalKind::TooLarge);
        let refused = EventKind::ExportRefused { peer, refusal, why: "too large".to_owned() };
        let (session, lines) = session(vec![(1, refused)]);
        assert_eq!(lines, ["Refuse function-1  too large"]);
        assert!(session.figures().iter().any(|(name, _)| *name == "refused"));
        assert!(!Session::default().figures().iter().any(|(name, _)| *name == "refused" || *name == "lost"));
    }
}
