//! Gathers what belongs to the request while a journal is read.

use std::collections::HashMap;

use verifier::event::{Export, ExportAnswer, Peer, ProcessEnd, RequestOutcome, ResetReason, RunStarted};
use verifier::watch::{AbsentSpan, Watched};
use verifier::{Event, EventKind, FindingCode, MessageId, Span, Timestamp};

use super::environments::Environments;
use super::keys::Keys;
use super::model::{ExportSeen, LeftOut, MatchedBy, Receipt, Row, SpanKey, Story, StorySpan, What};

/// How many rows of the ledger a story holds.
const MOST_ROWS: usize = 10_000;

/// How many spans a story holds.
const MOST_SPANS: usize = 1_000;

/// How many spans of other requests in the same trace it shows. A trace that all requests share would fill it.
const MOST_OTHERS: usize = 20;

/// How many rows are kept that belong to the story only if they fall into its time.
const MOST_CANDIDATES: usize = 1_000;

/// Gathers one request's story. Its memory is bounded by the story, whatever the journal's length.
#[derive(Debug, Default)]
pub struct Collector {
    run: Option<RunStarted>,
    began: Option<Timestamp>,
    outcome: Option<RequestOutcome>,
    rows: Vec<Event>,
    exports: Vec<(Timestamp, ExportSeen)>,
    /// What happened to services and to evidence since the request began.
    candidates: Vec<Event>,
    environments: Environments,
    spans: Vec<StorySpan>,
    places: HashMap<SpanKey, usize>,
    left_out: LeftOut,
}

impl Collector {
    /// Takes the next event.
    pub fn take(&mut self, event: &Event, keys: &Keys) {
        match &event.kind {
            EventKind::RunStarted(run) => self.run = Some((**run).clone()),
            EventKind::ExportAnswered(export) => self.take_export(event.at, export, keys),
            kind if is_about_a_service(kind) => self.take_candidate(event),
            kind if is_about_the_request(kind, keys) => self.take_own(event),
            _ => {
                let told = self.environments.take(event, keys);
                told.into_iter().for_each(|event| self.push(event));
            }
        }
    }

    fn take_own(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RequestStarted { .. } => self.began = Some(event.at),
            EventKind::RequestFinished { outcome, .. } => self.outcome = Some(outcome.clone()),
            _ => {}
        }
        self.push(event.clone());
    }

    fn take_candidate(&mut self, event: &Event) {
        if self.began.is_some() && self.candidates.len() < MOST_CANDIDATES {
            self.candidates.push(event.clone());
        }
    }

    fn push(&mut self, event: Event) {
        if self.rows.len() < MOST_ROWS {
            self.rows.push(event);
        } else {
            self.left_out.rows += 1;
        }
    }

    fn take_export(&mut self, at: Timestamp, export: &Export, keys: &Keys) {
        let (mut own, mut others) = (Vec::new(), 0);
        let resources = export.payload.to_resource_spans();
        let spans = resources.iter().flat_map(|batch| batch.spans.iter().map(|span| (&batch.resource, span)));
        for (place, (resource, span)) in (0..).zip(spans) {
            let Some(tie) = keys.tie(span) else {
                others += 1;
                continue;
            };
            let stored = export.answer.stores(place);
            let receipt = Receipt { at, export: export.export, peer: export.peer.clone(), stored };
            own.extend(self.take_span(span, resource.service_name(), tie, receipt));
        }
        if own.is_empty() {
            return;
        }
        if let Peer::Environment(environment) = &export.peer {
            let told = self.environments.exported(environment);
            told.into_iter().for_each(|event| self.push(event));
        }
        let Export { export, peer, answer, .. } = export.clone();
        self.exports.push((at, ExportSeen { export, peer, answer, spans: own, others }));
    }

    /// Takes a span of the request; gives its key, if there is room for it.
    fn take_span(
        &mut self,
        span: &Span,
        service: Option<&str>,
        matched_by: MatchedBy,
        receipt: Receipt,
    ) -> Option<SpanKey> {
        let key = (span.trace_id, span.span_id);
        if let Some(place) = self.places.get(&key) {
            self.spans[*place].receipts.push(receipt);
            return Some(key);
        }
        if !self.has_room_for(&matched_by) {
            self.left_out.spans += 1;
            return None;
        }
        self.places.insert(key, self.spans.len());
        self.spans.push(StorySpan {
            span: span.clone(),
            service: service.map(str::to_owned),
            matched_by,
            receipts: vec![receipt],
            depth: 0,
            codes: Vec::new(),
        });
        Some(key)
    }

    fn has_room_for(&self, matched_by: &MatchedBy) -> bool {
        let is_others = |tie: &MatchedBy| matches!(tie, MatchedBy::OtherRequest(_));
        let others = || self.spans.iter().filter(|span| is_others(&span.matched_by)).count();
        self.spans.len() < MOST_SPANS && (!is_others(matched_by) || others() < MOST_OTHERS)
    }

    /// The story, with what the verifier found; none if the request was never sent.
    pub fn finish(mut self, judged: Watched) -> Option<Story> {
        let (run, began) = (self.run.take()?, self.began?);
        let absent = absent(&judged, &self.spans);
        for span in &mut self.spans {
            span.codes = codes_of(span.key(), &judged);
        }
        let rows = self.rows_in_order(&judged, &run.entry, !absent.is_empty());
        Some(Story {
            request: judged.request,
            run,
            began,
            outcome: self.outcome,
            rows,
            spans: as_tree(self.spans),
            absent,
            judged,
            left_out: self.left_out,
        })
    }

    fn rows_in_order(&mut self, judged: &Watched, entry: &str, is_incomplete: bool) -> Vec<Row> {
        let of_ledger = std::mem::take(&mut self.rows).into_iter().map(|event| ledger_row(event, judged));
        let mut rows: Vec<_> = of_ledger.collect();
        rows.extend(self.spans.iter().flat_map(span_rows));
        rows.extend(std::mem::take(&mut self.exports).into_iter().map(|export| export_row(export, &self.spans)));
        let last = rows.iter().map(|row| row.at).max().unwrap_or_default();
        let services: Vec<_> = self.peers().chain([entry]).collect();
        let belongs = |event: &&Event| {
            let is_known = service_of(&event.kind).is_none_or(|service| services.contains(&service));
            is_known && (event.at <= last || is_incomplete && is_an_end(&event.kind))
        };
        let candidates: Vec<_> = self.candidates.iter().filter(belongs).cloned().collect();
        rows.extend(candidates.into_iter().map(|event| ledger_row(event, judged)));
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// The services that sent spans of the request.
    fn peers(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().flat_map(|span| &span.receipts).filter_map(|receipt| match &receipt.peer {
            Peer::Service(name) => Some(name.as_str()),
            Peer::Environment(_) | Peer::Anyone => None,
        })
    }
}

/// Whether an event tells of the request or of one of its messages.
fn is_about_the_request(kind: &EventKind, keys: &Keys) -> bool {
    match kind {
        EventKind::RequestStarted { request, .. }
        | EventKind::RequestFinished { request, .. }
        | EventKind::SendRefused { request: Some(request), .. } => *request == keys.request(),
        EventKind::MessageSent { message, .. }
        | EventKind::MessageReceived { message, .. }
        | EventKind::MessageReturned { message }
        | EventKind::MessageDeleted { message }
        | EventKind::MessageDeadLettered { message, .. } => keys.has_message(message),
        EventKind::FaultInjected(fault) => keys.is_hit_by(fault),
        _ => false,
    }
}

/// Whether an event tells of a service, or of evidence that was lost: it belongs to the story if it falls into
/// its time.
fn is_about_a_service(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::ServiceStopping { .. }
            | EventKind::ServiceEnded { .. }
            | EventKind::ExportRefused { peer: Peer::Service(_) | Peer::Anyone, .. }
            | EventKind::EvidenceLost { .. }
    )
}

fn service_of(kind: &EventKind) -> Option<&str> {
    match kind {
        EventKind::ServiceStopping { service }
        | EventKind::ServiceEnded { service, .. }
        | EventKind::ExportRefused { peer: Peer::Service(service), .. } => Some(service),
        _ => None,
    }
}

/// Whether a service was asked to stop, or ended: what is not there by then will not come.
fn is_an_end(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ServiceStopping { .. } | EventKind::ServiceEnded { .. })
}

fn ledger_row(event: Event, judged: &Watched) -> Row {
    let codes = codes_of_event(&event.kind, judged);
    Row { at: event.at, what: What::Ledger(Box::new(event.kind)), codes }
}

fn span_rows(span: &StorySpan) -> [Row; 2] {
    let row = |at, what| Row { at, what, codes: Vec::new() };
    let (start, end) = (row(span.span.start, What::SpanStarted(span.key())), What::SpanEnded(span.key()));
    [start, Row { codes: span.codes.clone(), ..row(span.span.end, end) }]
}

fn export_row((at, export): (Timestamp, ExportSeen), spans: &[StorySpan]) -> Row {
    let codes = match export.answer {
        ExportAnswer::Stored => Vec::new(),
        ExportAnswer::Unauthenticated => vec![FindingCode::ExportUnauthenticated],
        // What the client has sent again with success was not lost.
        ExportAnswer::PartialSuccess { .. } | ExportAnswer::Refused { .. } => {
            let is_lost = |span: &&StorySpan| !span.receipts.iter().any(|receipt| receipt.stored);
            let mut lost = spans.iter().filter(is_lost).filter(|span| export.spans.contains(&span.key()));
            lost.next().map(|_| FindingCode::ExportRejected).into_iter().collect()
        }
    };
    Row { at, what: What::Exported(export), codes }
}

fn codes_of(span: SpanKey, judged: &Watched) -> Vec<FindingCode> {
    let marks = judged.marks.iter().filter(|mark| (mark.trace_id, mark.span_id) == span);
    let mut codes: Vec<_> = marks.map(|mark| mark.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// What is wrong with a row of the ledger: what the verifier says of the message that was sent, or what the row
/// shows by itself.
fn codes_of_event(kind: &EventKind, judged: &Watched) -> Vec<FindingCode> {
    match kind {
        EventKind::MessageSent { message, .. } => codes_of_message(message, judged),
        EventKind::EnvironmentFrozen { open, .. } if open.exports > 0 => vec![FindingCode::ExportOpenAtFreeze],
        EventKind::ServiceEnded { end, .. } | EventKind::EnvironmentEnded { end, .. } if !end.ordered => {
            vec![FindingCode::ProcessDied]
        }
        EventKind::EnvironmentReset { reason, end, .. } if is_a_death(*reason, end) => vec![FindingCode::ProcessDied],
        _ => Vec::new(),
    }
}

/// That an invocation took too long is told by its outcome.
fn is_a_death(reason: ResetReason, end: &ProcessEnd) -> bool {
    match reason {
        ResetReason::TimedOut => false,
        ResetReason::InitTimedOut | ResetReason::OutOfMemory => true,
        ResetReason::InitFailed | ResetReason::Exited | ResetReason::ExtensionFailed => !end.ordered,
    }
}

/// The evidence about a carrier names its message.
fn codes_of_message(message: &MessageId, judged: &Watched) -> Vec<FindingCode> {
    let is_about_it = |evidence: &String| evidence.contains(message.as_str());
    let cases = judged.cases.iter().filter(|case| is_about_a_carrier(case.code));
    let mut codes: Vec<_> =
        cases.filter(|case| case.example.evidence.iter().any(is_about_it)).map(|case| case.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn is_about_a_carrier(code: FindingCode) -> bool {
    matches!(
        code,
        FindingCode::CarrierMissing
            | FindingCode::CarrierMalformed
            | FindingCode::CarrierMismatch
            | FindingCode::CarriersConflict
    )
}

/// The spans that were not there when the request was judged, but for those that have come since.
fn absent(judged: &Watched, spans: &[StorySpan]) -> Vec<AbsentSpan> {
    let mut absent = judged.absent.clone();
    let was_judged =
        |span: &StorySpan| judged.spans.iter().any(|judged| (judged.trace_id, judged.span_id) == span.key());
    for span in spans.iter().filter(|span| !was_judged(span)) {
        let is_it = |absent: &AbsentSpan| {
            absent.name == span.span.name && Some(absent.service.as_str()) == span.service.as_deref()
        };
        if let Some(place) = absent.iter().position(is_it) {
            absent.remove(place);
        }
    }
    absent
}

/// The spans in the order in which a tree is read: each before its children, siblings by their start.
fn as_tree(mut spans: Vec<StorySpan>) -> Vec<StorySpan> {
    spans.sort_by_key(|span| (span.span.start, span.span.end));
    let keys: Vec<_> = spans.iter().map(StorySpan::key).collect();
    let parents: Vec<_> = spans.iter().map(|span| parent_place(span, &keys)).collect();
    let mut order = Vec::with_capacity(spans.len());
    let mut placed = vec![false; spans.len()];
    let roots = (0..spans.len()).filter(|&span| parents[span].is_none());
    // Then what telemetry may have put into a cycle.
    for root in roots.chain(0..spans.len()) {
        let mut open = vec![(root, 0)];
        while let Some((place, depth)) = open.pop() {
            if std::mem::replace(&mut placed[place], true) {
                continue;
            }
            order.push((place, depth));
            let children = (0..spans.len()).rev().filter(|&child| parents[child] == Some(place));
            open.extend(children.map(|child| (child, depth + 1)));
        }
    }
    let mut spans: Vec<_> = spans.into_iter().map(Some).collect();
    let taken = order.into_iter().filter_map(|(place, depth)| Some(StorySpan { depth, ..spans[place].take()? }));
    taken.collect()
}

fn parent_place(span: &StorySpan, keys: &[SpanKey]) -> Option<usize> {
    let parent = (span.span.trace_id, span.span.parent_span_id?);
    keys.iter().position(|key| *key == parent && *key != span.key())
}
