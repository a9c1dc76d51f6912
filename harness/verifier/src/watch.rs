//! One request that somebody watches: everything that is found about it is kept, and not only the first cases.

use serde::{Deserialize, Serialize};

use crate::assemble::SeenSpan;
use crate::expect::Slot;
use crate::finding::{Cause, Example, Filing, FindingCode, FindingKey, Findings, Severity};
use crate::id::{EnvironmentId, MessageId, RequestId, SpanId, TraceId};
use crate::matching::{Case, Matching};
use crate::span::SpanKind;
use crate::tally::PlaceState;
use crate::verdict::Verdict;
use crate::violation::{Place, Violation};

/// Everything that was found about one request. [`Verifier::watching`](crate::Verifier::watching) asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The request.
    pub request: RequestId,
    /// Whether it was judged for good. Where a journal was cut off, it may not have been.
    pub settled: bool,
    /// Every case, those that cause others first.
    pub cases: Vec<WatchedCase>,
    /// Its spans when it was judged, and the key by which each was found to be its own.
    pub spans: Vec<WatchedSpan>,
    /// The spans that should have been there when it was judged, and were not.
    pub absent: Vec<AbsentSpan>,
    /// Where the cases show.
    pub marks: Vec<Mark>,
}

impl Watched {
    /// What the request proves by itself: that it became what the contract asks for, or not.
    pub fn verdict(&self) -> Verdict {
        let failed = self.cases.iter().any(|case| case.severity == Severity::Failure);
        match (failed, self.settled) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Inconclusive,
        }
    }
}

/// One case of a finding, about the request that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedCase {
    /// What is wrong.
    pub code: FindingCode,
    /// How much it weighs.
    pub severity: Severity,
    /// What most likely caused it.
    pub cause: Cause,
    /// What it is about: a span of the contract, a peer or a process.
    pub subject: String,
    /// The finding that it follows from, if it would not have been found without that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows_from: Option<Root>,
    /// What shows it.
    pub example: Example,
}

/// A finding that others follow from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// What is wrong.
    pub code: FindingCode,
    /// What most likely caused it.
    pub cause: Cause,
    /// What it is about.
    pub subject: String,
}

impl From<&FindingKey> for Root {
    fn from(key: &FindingKey) -> Self {
        Self { code: key.code, cause: key.cause, subject: key.subject.clone() }
    }
}

/// A span of the request, and how that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The key, in words.
    pub matched_by: String,
}

/// A span that should have been there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentSpan {
    /// Its role in the contract.
    pub role: String,
    /// The kind that the contract names.
    pub kind: SpanKind,
    /// The name that the contract names.
    pub name: String,
    /// The service that should have made it.
    pub service: String,
    /// Whether a kill that the scenario ordered took it along.
    pub excused: bool,
    /// The message that it is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// The environment that was given the message, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentId>,
    /// What is wrong there.
    pub codes: Vec<FindingCode>,
}

/// Where a case shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What is wrong.
    pub code: FindingCode,
    /// The span's trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

/// What is gathered about the watched request while the run is judged.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    request: RequestId,
    settled: bool,
    cases: Vec<(Filing, Example)>,
    spans: Vec<WatchedSpan>,
    absent: Vec<AbsentSpan>,
    marks: Vec<Mark>,
}

impl Watch {
    pub(crate) const fn new(request: RequestId) -> Self {
        Self { request, settled: false, cases: Vec::new(), spans: Vec::new(), absent: Vec::new(), marks: Vec::new() }
    }

    /// Keeps a case, if it is about the request.
    pub(crate) fn add(&mut self, filing: &Filing, example: &Example) {
        if example.request == Some(self.request) {
            self.cases.push((filing.clone(), example.clone()));
        }
    }

    /// Takes a case back that later evidence has refuted.
    pub(crate) fn retract(&mut self, filing: &Filing, request: Option<RequestId>) {
        let refuted = |(kept, _): &(Filing, Example)| request == Some(self.request) && kept == filing;
        if let Some(place) = self.cases.iter().position(refuted) {
            self.cases.remove(place);
        }
    }

    /// Notes that a case shows at a span.
    pub(crate) fn mark(&mut self, request: Option<RequestId>, code: FindingCode, span: &SeenSpan) {
        if request == Some(self.request) {
            self.marks.push(Mark { code, trace_id: span.trace_id, span_id: span.span_id });
        }
    }

    /// Notes how the request was judged.
    pub(crate) fn settle(&mut self, case: &Case<'_>, matching: &Matching, found: &[Violation]) {
        if case.request != self.request {
            return;
        }
        self.settled = true;
        self.spans = case.spans.iter().map(|seen| watched_span(&seen.span, seen.matched_by.as_str())).collect();
        let places = matching.places().enumerate();
        self.absent = places.filter_map(|(place, (slot, state))| absent(case, place, slot, state, found)).collect();
        for violation in found {
            if let Place::Span(span) = violation.place {
                self.mark(Some(case.request), violation.code, &case.spans[span].span);
            }
        }
    }

    /// What was found; all findings tell what a case weighs and follows from.
    pub(crate) fn watched(&self, findings: &Findings) -> Watched {
        let case = |(filing, example): &(Filing, Example)| WatchedCase {
            code: filing.key.code,
            severity: findings.severity_of(filing.key.code),
            cause: filing.key.cause,
            subject: filing.key.subject.clone(),
            follows_from: findings.root_of(filing).map(Root::from),
            example: example.clone(),
        };
        let is_certain = |(filing, _): &&(Filing, Example)| !filing.is_doubted();
        let mut cases: Vec<_> = self.cases.iter().filter(is_certain).map(case).collect();
        cases.sort_by_key(|case| (case.follows_from.is_some(), std::cmp::Reverse(case.severity), case.code));
        Watched {
            request: self.request,
            settled: self.settled,
            cases,
            spans: self.spans.clone(),
            absent: self.absent.clone(),
            marks: self.marks.clone(),
        }
    }
}

fn watched_span(span: &SeenSpan, matched_by: &str) -> WatchedSpan {
    WatchedSpan { trace_id: span.trace_id, span_id: span.span_id, matched_by: matched_by.to_owned() }
}

/// The span that should be at a place, if it is not.
fn absent(case: &Case<'_>, place: usize, slot: Slot, state: PlaceState, found: &[Violation]) -> Option<AbsentSpan> {
    let excused = match state {
        PlaceState::Missing => false,
        PlaceState::Excused => true,
        PlaceState::Matched | PlaceState::Open | PlaceState::Unsampled => return None,
    };
    let role = case.roles.get(slot.role);
    let here = found.iter().filter(|violation| violation.place == Place::Slot(place));
    Some(AbsentSpan {
        role: role.name.clone(),
        kind: role.span.kind,
        name: role.span.name.as_str().to_owned(),
        service: role.span.service.clone(),
        excused,
        message: slot.fact.message(case.record).map(|message| message.message.clone()),
        environment: slot.fact.delivery(case.record).map(|delivery| delivery.host.environment.clone()),
        codes: here.map(|violation| violation.code).collect(),
    })
}
