//! What is received, for people to read.

use std::borrow::Cow;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use mock_coralogix::{Received, Refusal};
use verifier::Span;
use verifier::event::{Export, ExportAnswer};
use verifier::span::{Attribute, ResourceSpans, SpanStatus};

use crate::printer::{Count, Totals};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const NAME: Style = Style::new().bold();

/// An export and its spans, a line each; with attributes and links if `verbose`.
pub(crate) fn export(received: Received, export: &Export, verbose: bool) -> String {
    let (style, answer) = match export.answer {
        ExportAnswer::Stored => (GOOD, "stored"),
        ExportAnswer::PartialSuccess { .. } => (BAD, "stored in part"),
        ExportAnswer::Unauthenticated => (BAD, "UNAUTHENTICATED"),
        ExportAnswer::Refused { .. } => (BAD, "refused"),
    };
    let spans = plural(export.payload.span_count(), "span");
    let mut lines = format!("#{} {style}{answer}{style:#} {spans} from {}\n", export.export, received.from);
    for resource in export.payload.to_resource_spans() {
        push_resource(&resource, verbose, &mut lines);
    }
    lines
}

/// A refusal, in one line.
pub(crate) fn refusal(received: Received, refusal: &Refusal) -> String {
    format!("{BAD}refused{BAD:#} {}: {}\n", received.from, printable(&refusal.to_string()))
}

/// What was received in all.
pub(crate) fn summary(totals: &Totals) -> String {
    let Totals { stored, unauthenticated, rejected, refused } = totals;
    let describe = |count: &Count| format!("{} with {}", plural(count.exports, "export"), plural(count.spans, "span"));
    let rejected = if rejected.exports > 0 { format!("; rejected {}", describe(rejected)) } else { String::new() };
    format!("Stored {}; UNAUTHENTICATED {}{rejected}; refused {refused}.", describe(stored), describe(unauthenticated))
}

fn push_resource(resource: &ResourceSpans, verbose: bool, lines: &mut String) {
    if verbose {
        push_line(lines, format_args!("  {FAINT}resource{FAINT:#}"));
        push_attributes(&resource.resource.attributes, lines);
    }
    let service = resource.resource.service_name().unwrap_or("(no service.name)");
    for span in &resource.spans {
        push_span(span, service, lines);
        if verbose {
            push_attributes(&span.attributes, lines);
            push_links(span, lines);
        }
    }
}

fn push_span(span: &Span, service: &str, lines: &mut String) {
    let Span { trace_id, span_id, kind, .. } = span;
    let parent = span.parent_span_id.map_or_else(|| "root".to_owned(), |parent| parent.to_string());
    // The kind is rendered first, since only text is padded.
    let kind = kind.to_string();
    let (service, name) = (printable(service), printable(&span.name));
    let (duration, status) = (duration(span), status(span));
    push_line(
        lines,
        format_args!(
            "  {FAINT}{trace_id}{FAINT:#} {span_id} {parent:<16} {kind:<8} {service}: {NAME}{name}{NAME:#} {duration} {status}"
        ),
    );
}

fn push_attributes(attributes: &[Attribute], lines: &mut String) {
    for Attribute { key, value } in attributes {
        push_line(lines, format_args!("    {} = {}", printable(key), printable(value)));
    }
}

fn push_links(span: &Span, lines: &mut String) {
    for link in &span.links {
        push_line(lines, format_args!("    {FAINT}link{FAINT:#} {} {}", link.trace_id, link.span_id));
    }
}

fn push_line(lines: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(lines, "{line}");
}

/// How long a span took; below zero if it ends before it starts.
fn duration(span: &Span) -> String {
    if span.end < span.start {
        return format!("-{:.1?}", span.start.since(span.end));
    }
    format!("{:.1?}", span.end.since(span.start))
}

fn status(span: &Span) -> String {
    match &span.status {
        SpanStatus::Unset => format!("{FAINT}unset{FAINT:#}"),
        SpanStatus::Ok => format!("{GOOD}ok{GOOD:#}"),
        SpanStatus::Error(description) if description.is_empty() => format!("{BAD}error{BAD:#}"),
        SpanStatus::Error(description) => format!("{BAD}error{BAD:#} {}", printable(description)),
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Text of unknown origin without characters that command a terminal or break a line.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.chars().flat_map(escaped).collect::<String>().into()
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let (escaped, same) =
        if character.is_control() { (Some(character.escape_default()), None) } else { (None, Some(character)) };
    escaped.into_iter().flatten().chain(same)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use verifier::otlp::Payload;
    use verifier::span::{Resource, SpanLink};
    use verifier::{Peer, SpanId, SpanKind, Timestamp, TraceId};

    use super::*;

    const RECEIVED_FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 999);

    fn rendered(span: Span, verbose: bool) -> String {
        let attributes = vec![Attribute { key: "service.name".to_owned(), value: "api".to_owned() }];
        let payload = Payload::of(&[ResourceSpans { resource: Resource { attributes }, spans: vec![span] }]);
        let sent = Export { export: 7, peer: Peer::Anyone, answer: ExportAnswer::Stored, payload };
        let received = Received { at: Instant::now(), from: RECEIVED_FROM.into() };
        anstream::adapter::strip_str(&export(received, &sent, verbose)).to_string()
    }

    fn span() -> Span {
        let start = Timestamp::from_unix_nanos(1_000_000_000);
        Span {
            trace_id: TraceId::from_bytes([0xaa; 16]),
            span_id: SpanId::from_bytes([0xbb; 8]),
            parent_span_id: None,
            name: "POST /onboard".to_owned(),
            kind: SpanKind::Server,
            start,
            end: start + Duration::from_micros(12_340),
            status: SpanStatus::Ok,
            flags: 0,
            dropped: 0,
            attributes: vec![Attribute { key: "customer.id".to_owned(), value: "c-1".to_owned() }],
            links: vec![SpanLink { trace_id: TraceId::from_bytes([1; 16]), span_id: SpanId::from_bytes([2; 8]) }],
        }
    }

    #[test]
    fn span_is_one_line_with_all_that_identifies_it() {
        let expected = "#7 stored 1 span from 127.0.0.1:999\n  \
                        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb root             \
                        SERVER   api: POST /onboard 12.3ms ok\n";
        assert_eq!(rendered(span(), false), expected);
    }

    #[test]
    fn verbose_adds_attributes_and_links() {
        let text = rendered(span(), true);
        assert!(text.contains("\n    service.name = api\n"), "{text}");
        assert!(text.contains("\n    customer.id = c-1\n"), "{text}");
        assert!(text.contains("\n    link 01010101010101010101010101010101 0202020202020202\n"), "{text}");
    }

    #[test]
    fn span_that_ends_before_it_starts_shows_so() {
        let text = rendered(Span { end: Timestamp::from_unix_nanos(998_000_000), ..span() }, false);
        assert!(text.contains(" -2.0ms "), "{text}");
    }

    #[test]
    fn telemetry_cannot_command_the_terminal() {
        let text = rendered(Span { name: "\u{1b}[2Jgone\nfake".to_owned(), ..span() }, false);
        assert!(text.contains(r"\u{1b}[2Jgone\nfake"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
