//! Who did something, and what, in words.

use std::collections::HashMap;

use verifier::event::{
    Carrier, Delivery, ExportAnswer, Fault, GrpcCode, InvocationOutcome, OpenExchanges, Peer, ProcessEnd,
    RequestOutcome, ResetReason,
};
use verifier::{EnvironmentId, EventKind, InvocationId, MessageId, Span};

use super::layout::{plain, short};
use crate::story::Story;
use crate::story::model::{ExportSeen, Row, SpanKey, What};

/// How many lines of a dead process's output are told.
const OUTPUT_LINES: usize = 3;

/// How many characters a UUID has.
const UUID: usize = 36;

/// The names in a story that its rows refer to.
#[derive(Debug)]
pub struct Names<'a> {
    story: &'a Story,
    queues: HashMap<&'a MessageId, &'a str>,
    invocations: HashMap<&'a InvocationId, &'a EnvironmentId>,
}

/// Who did something, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The client, a queue, a service or an environment.
    pub who: String,
    /// What it did, or what was done to it.
    pub text: String,
}

/// Puts the two together.
fn told(who: &str, text: impl Into<String>) -> Told {
    Told { who: plain(who), text: plain(&text.into()) }
}

impl<'a> Names<'a> {
    /// The names in a story.
    pub fn new(story: &'a Story) -> Self {
        let mut names = Self { story, queues: HashMap::new(), invocations: HashMap::new() };
        for row in &story.rows {
            let What::Ledger(kind) = &row.what else { continue };
            match &**kind {
                EventKind::MessageSent { message, queue, .. } => {
                    names.queues.insert(message, queue);
                }
                EventKind::InvocationStarted { invocation, environment, .. } => {
                    names.invocations.insert(invocation, environment);
                }
                _ => {}
            }
        }
        names
    }

    /// A row in words.
    pub fn tell(&self, row: &Row) -> Told {
        match &row.what {
            What::Ledger(kind) => self.tell_ledger(kind),
            What::SpanStarted(key) => self.tell_span(*key, |span| format!("{} {} starts", span.kind, span.name)),
            What::SpanEnded(key) => self.tell_span(*key, |span| {
                let duration = short(span.end.since(span.start));
                format!("{} {} ends, {duration}", span.kind, span.name)
            }),
            What::Exported(export) => self.tell_export(export),
        }
    }

    fn tell_span(&self, key: SpanKey, text: impl Fn(&Span) -> String) -> Told {
        let Some(span) = self.story.span(key) else { return told("", "a span") };
        let who = span.receipts.first().map_or(String::new(), |receipt| peer(&receipt.peer));
        told(&who, text(&span.span))
    }

    fn tell_export(&self, export: &ExportSeen) -> Told {
        let names = export.spans.iter().filter_map(|key| self.story.span(*key)).map(|span| span.span.name.as_str());
        let mut spans = names.collect::<Vec<_>>().join(", ");
        if export.others > 0 {
            spans += &format!(" and {}", counted(export.others, "other span"));
        }
        let answer = match &export.answer {
            ExportAnswer::Stored => "stored".to_owned(),
            ExportAnswer::PartialSuccess { rejected } => {
                format!("stored but for {}", counted(rejected.len(), "rejected span"))
            }
            ExportAnswer::Unauthenticated => "refused as UNAUTHENTICATED".to_owned(),
            ExportAnswer::Refused { code } => format!("refused as {}", grpc_name(*code)),
        };
        told(&peer(&export.peer), format!("export {} {answer}: {spans}", export.export))
    }

    fn tell_ledger(&self, kind: &EventKind) -> Told {
        tell_request(kind)
            .or_else(|| self.tell_message(kind))
            .or_else(|| self.tell_invocation(kind))
            .or_else(|| tell_environment(kind))
            .or_else(|| self.tell_other(kind))
            .unwrap_or_else(|| told("harness", "something happened that has no words yet"))
    }

    fn tell_message(&self, kind: &EventKind) -> Option<Told> {
        Some(match kind {
            EventKind::MessageSent { queue, message, carrier, .. } => {
                told(queue, format!("message {message} queued, {}", carrier_in_words(carrier)))
            }
            EventKind::MessageReceived { message, receive_count } => {
                self.of_message(message, &format!("received, {} time", ordinal(*receive_count)))
            }
            EventKind::MessageReturned { message } => self.of_message(message, "visible again"),
            EventKind::MessageDeleted { message } => self.of_message(message, "deleted: it is done"),
            EventKind::MessageDeadLettered { message, queue } => {
                self.of_message(message, &format!("moved to the dead-letter queue {queue}"))
            }
            _ => return None,
        })
    }

    /// Something that happened to a message. It is only named where there are several.
    fn of_message(&self, message: &MessageId, text: &str) -> Told {
        let queue = self.queues.get(message).copied().unwrap_or("queue");
        let name =
            if self.queues.len() > 1 { format!("message {} ", abridged(message.as_str())) } else { String::new() };
        told(queue, name + text)
    }

    fn tell_invocation(&self, kind: &EventKind) -> Option<Told> {
        Some(match kind {
            EventKind::InvocationStarted { invocation, environment, cold, deliveries } => {
                let first = if *cold { "first " } else { "" };
                let (name, records) = (abridged(invocation.as_str()), self.records(deliveries));
                told(environment.as_str(), format!("{first}invocation {name} starts{records}"))
            }
            EventKind::InvocationFinished { invocation, outcome } => {
                let environment = self.invocations.get(invocation).map_or("function", |id| id.as_str());
                let (name, outcome) = (abridged(invocation.as_str()), self.outcome(outcome));
                told(environment, format!("invocation {name} {outcome}"))
            }
            _ => return None,
        })
    }

    fn tell_other(&self, kind: &EventKind) -> Option<Told> {
        Some(match kind {
            EventKind::FaultInjected(fault) => self.tell_fault(fault),
            EventKind::ServiceStopping { service } => told(service, "is told to stop (SIGTERM)"),
            EventKind::ServiceEnded { service, end } => told(service, ended("process ends", end)),
            EventKind::ExportRefused { peer: sender, why, .. } => told(&peer(sender), format!("export refused: {why}")),
            EventKind::EvidenceLost { what, count } => told("harness", format!("evidence lost: {count} {what}")),
            _ => return None,
        })
    }

    /// Which of an event's records are the request's.
    fn records(&self, deliveries: &[Delivery]) -> String {
        let own = deliveries.iter().filter(|delivery| self.queues.contains_key(&delivery.message));
        match (deliveries, own.count()) {
            ([_], 1) => String::new(),
            (all, own) => format!(" with {}, {own} of this request", counted(all.len(), "record")),
        }
    }

    fn outcome(&self, outcome: &InvocationOutcome) -> String {
        match outcome {
            InvocationOutcome::Succeeded { failed } => {
                let own = failed.iter().filter(|message| self.queues.contains_key(message)).count();
                match (failed.len(), own) {
                    (0, _) => "succeeds".to_owned(),
                    (_, 0) => "succeeds, and reports records of other requests as failed".to_owned(),
                    _ => "succeeds, and reports this request's record as failed".to_owned(),
                }
            }
            InvocationOutcome::Failed { error_type, error_message } => format!("fails: {error_type}: {error_message}"),
            InvocationOutcome::TimedOut => "runs out of time".to_owned(),
            InvocationOutcome::EnvironmentDied => "ends with its environment".to_owned(),
        }
    }

    fn tell_fault(&self, fault: &Fault) -> Told {
        match fault {
            Fault::ContextStripped { message } => self.of_message(message, "fault: its trace context is dropped"),
            Fault::BodyCorrupted { message } => self.of_message(message, "fault: its body is corrupted"),
            Fault::WrongKey => told("harness", "fault: every process was given a wrong key"),
            Fault::EnvironmentKilled { environment, .. } => told(environment.as_str(), "fault: killed (SIGKILL)"),
            Fault::ConnectionsCut { environment, cut } => {
                told(environment.as_str(), format!("fault: its connections are cut ({cut})"))
            }
        }
    }
}

fn tell_request(kind: &EventKind) -> Option<Told> {
    Some(match kind {
        EventKind::RequestStarted { .. } => told("client", "sends the request"),
        EventKind::RequestFinished { outcome, .. } => told("client", format!("is told: {}", outcome_in_words(outcome))),
        EventKind::SendRefused { queue, code, .. } => told(queue, format!("a message is refused: {code}")),
        _ => return None,
    })
}

fn carrier_in_words(carrier: &Carrier) -> String {
    match (&carrier.traceparent, &carrier.xray) {
        (Some(traceparent), _) => format!("with traceparent {traceparent}"),
        (None, Some(xray)) => format!("with no traceparent, and X-Ray header {xray}"),
        (None, None) => "with no trace context".to_owned(),
    }
}

fn tell_environment(kind: &EventKind) -> Option<Told> {
    let (environment, text) = life_in_words(kind).or_else(|| calls_in_words(kind))?;
    Some(told(environment.as_str(), text))
}

/// What became of an environment as a whole.
fn life_in_words(kind: &EventKind) -> Option<(&EnvironmentId, String)> {
    Some(match kind {
        EventKind::PlatformDelayed { environment, delay } => {
            (environment, format!("the platform gets ready, {}", short(*delay)))
        }
        EventKind::EnvironmentStarted { environment, pid, .. } => {
            (environment, format!("cold start: process {pid} starts"))
        }
        EventKind::EnvironmentInitialized { environment, init } => {
            (environment, format!("initialised, {}", short(*init)))
        }
        EventKind::EnvironmentThawed { environment } => (environment, "thawed".to_owned()),
        EventKind::EnvironmentFrozen { environment, open } => (environment, format!("frozen{}", open_in_words(*open))),
        EventKind::EnvironmentReset { environment, reason, end } => {
            (environment, ended(&format!("reset ({})", reset_in_words(*reason)), end))
        }
        EventKind::EnvironmentStopping { environment, reason } => {
            (environment, format!("is told to shut down ({reason})"))
        }
        EventKind::EnvironmentEnded { environment, end } => (environment, ended("ends", end)),
        _ => return None,
    })
}

/// What the processes in an environment did.
fn calls_in_words(kind: &EventKind) -> Option<(&EnvironmentId, String)> {
    Some(match kind {
        EventKind::ProcessEscaped { environment, pid, name } => {
            (environment, format!("process {pid} ({name}) left its group and was killed"))
        }
        EventKind::ExtensionRegistered { environment, extension, .. } => {
            (environment, format!("extension {extension} registers"))
        }
        EventKind::CallRefused { environment, call, status, error_type } => {
            (environment, format!("{call} refused: {status} {error_type}"))
        }
        _ => return None,
    })
}

fn ended(what: &str, end: &ProcessEnd) -> String {
    let order = if end.ordered { "" } else { ", by itself" };
    let skipped = end.output.len().saturating_sub(OUTPUT_LINES);
    let output: Vec<_> = end.output.iter().skip(skipped).map(String::as_str).collect();
    let output = if output.is_empty() { String::new() } else { format!("; it last printed: {}", output.join(" / ")) };
    format!("{what}: {end}{order}{output}")
}

fn open_in_words(open: OpenExchanges) -> String {
    match (open.exports, open.connections) {
        (0, 0) => String::new(),
        (0, connections) => format!(", while {} was being made", counted(connections as usize, "connection")),
        (exports, _) => format!(", with {} not answered yet", counted(exports as usize, "export")),
    }
}

fn reset_in_words(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::InitTimedOut => "its Init phase took too long",
        ResetReason::InitFailed => "its Init phase failed",
        ResetReason::TimedOut => "its invocation took too long",
        ResetReason::Exited => "its runtime ended by itself",
        ResetReason::OutOfMemory => "out of memory",
        ResetReason::ExtensionFailed => "an extension failed",
    }
}

/// How a request ended, as its sender saw it.
pub(super) fn outcome_in_words(outcome: &RequestOutcome) -> String {
    match outcome {
        RequestOutcome::Answered { status, accepted, trace_id } => {
            let accepted = if *accepted { "accepted" } else { "not accepted" };
            let trace = trace_id.map_or(String::new(), |trace| format!(", in trace {trace}"));
            format!("{status}, {accepted}{trace}")
        }
        RequestOutcome::Unanswered { error } => format!("no answer ({})", plain(error)),
    }
}

/// A status code by its name in gRPC.
fn grpc_name(code: GrpcCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{code:?}"),
    }
}

/// Who sent an export, by its name alone.
pub(super) fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Service(name) => name.clone(),
        Peer::Environment(id) => id.to_string(),
        Peer::Anyone => "anyone".to_owned(),
    }
}

/// A number of things.
pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// `1st`, `2nd`, `3rd`, `4th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// The first part of a UUID, enough to tell it from others; any other identifier as it is.
fn abridged(id: &str) -> &str {
    if id.len() == UUID { id.split('-').next().unwrap_or(id) } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_ordinals_are_english() {
        assert_eq!([1, 2, 3, 4, 11, 21, 112].map(ordinal), ["1st", "2nd", "3rd", "4th", "11th", "21st", "112th"]);
        assert_eq!([0, 1, 2].map(|count| counted(count, "span")), ["0 spans", "1 span", "2 spans"]);
    }

    #[test]
    fn uuid_is_abridged_and_a_short_name_is_not() {
        assert_eq!(abridged("68918236-8446-4beb-b38c-b85bf8753271"), "68918236");
        assert_eq!(abridged("a-longer-name-of-an-invocation"), "a-longer-name-of-an-invocation");
    }
}
