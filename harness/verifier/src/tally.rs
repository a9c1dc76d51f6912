//! The books: what was counted, and the equations that must balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::Per;

/// Everything that was counted in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The requests.
    pub requests: RequestTally,
    /// The traces.
    pub traces: TraceTally,
    /// The spans.
    pub spans: SpanTally,
    /// Messages that a queue accepted.
    pub messages: u64,
    /// Records in invocations' events.
    pub deliveries: u64,
    /// Those of them that were sent again by their sender's SDK, by the same span.
    pub messages_sent_again: u64,
    /// Messages whose request could not be found.
    pub ownerless_messages: u64,
    /// By what spans were found to belong to their requests, and how many by each.
    pub matched_by: BTreeMap<String, u64>,
    /// What became of the expected spans, for each kind of ledger row.
    pub per: BTreeMap<String, PerTally>,
}

/// Requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RequestTally {
    /// Those that the schedule holds.
    pub scheduled: u64,
    /// Those that were sent.
    pub sent: u64,
    /// Those whose answer promises a trace.
    pub accepted: u64,
    /// Those with another answer.
    pub refused: u64,
    /// Those without an answer.
    pub unanswered: u64,
    /// Those that started later after their intended instant than the scenario allows.
    pub late_starts: u64,
}

/// Traces of accepted requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TraceTally {
    /// One for each accepted request.
    pub expected: u64,
    /// Those that are as the contract wants them: every span there, in one trace, rightly linked.
    pub complete: u64,
    /// Those that lack nothing but spans that are excused. They are not complete, and not at fault.
    pub excused: u64,
    /// Those that lack nothing but what was not sampled.
    #[serde(default)]
    pub unsampled: u64,
}

/// Spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpanTally {
    /// Those that ledger and contract ask for.
    pub expected: u64,
    /// Those of them that came.
    pub matched: u64,
    /// Those of them that did not.
    pub missing: u64,
    /// Those of them that did not, through a kill that the scenario itself ordered.
    pub excused: u64,
    /// Those of them that did not, because their traces are not sampled.
    #[serde(default)]
    pub unsampled: u64,
    /// Those that the endpoint stored, repetitions included.
    pub received: u64,
    /// Those of them that had come before.
    pub duplicated: u64,
    /// Those of them that the contract allows and does not ask for.
    #[serde(default)]
    pub extra: u64,
    /// Those of them that nothing in the ledger asks for.
    pub unexpected: u64,
    /// Those of them that belong to no request of the run, and came from somebody else.
    pub foreign: u64,
    /// Those of them that came so late that their request was forgotten.
    pub forgotten: u64,
    /// Those of them that have not been judged yet; none once a run has ended.
    pub pending: u64,
    /// Those in exports that the endpoint answered with an error.
    pub rejected: u64,
    /// Those in all exports that the endpoint answered.
    pub exported: u64,
}

/// What became of the spans that are expected for each request, message or delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerTally {
    /// How many roles of the contract there are one of for each.
    pub roles: u64,
    /// How many spans the ledger's rows ask for, counted as the rows are written.
    #[serde(default)]
    pub asked: u64,
    /// Spans that came for ledger rows.
    pub matched: u64,
    /// Spans that ledger rows lack.
    pub missing: u64,
    /// Spans that ledger rows lack through a kill that the scenario itself ordered.
    pub excused: u64,
    /// Spans that ledger rows lack because their traces are not sampled.
    #[serde(default)]
    pub unsampled: u64,
}

/// What became of a place for a span; those first that need one most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PlaceState {
    /// Its span did not come, and should have.
    Missing,
    /// Its span did not come, through a kill that the scenario itself ordered.
    Excused,
    /// Its span did not come, because its trace is not sampled.
    Unsampled,
    /// Its span did not come, and need not.
    Open,
    /// Its span came.
    Matched,
}

/// What a trace amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceState {
    /// It is as the contract wants it.
    Complete,
    /// It lacks nothing but spans that are excused.
    Excused,
    /// It lacks nothing but what was not sampled.
    Unsampled,
    /// Neither; or none was promised.
    Flawed,
}

impl PlaceState {
    /// Its counter among those of matched, missing, excused and unsampled places; open places have none.
    fn counter(self, [matched, missing, excused, unsampled]: [&mut u64; 4]) -> Option<&mut u64> {
        match self {
            Self::Matched => Some(matched),
            Self::Missing => Some(missing),
            Self::Excused => Some(excused),
            Self::Unsampled => Some(unsampled),
            Self::Open => None,
        }
    }
}

impl TraceTally {
    /// How many are neither complete, nor excused, nor not sampled.
    pub const fn at_fault(&self) -> u64 {
        self.expected.saturating_sub(self.complete + self.excused + self.unsampled)
    }

    /// Counts a trace as what it has become, and no more as what it was.
    pub(crate) fn recount(&mut self, before: TraceState, after: TraceState) {
        let counters = [
            (TraceState::Complete, &mut self.complete),
            (TraceState::Excused, &mut self.excused),
            (TraceState::Unsampled, &mut self.unsampled),
        ];
        for (state, counted) in counters {
            *counted = (*counted + u64::from(after == state)).saturating_sub(u64::from(before == state));
        }
    }
}

/// An equation of the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equation {
    /// What it says, in words.
    pub text: String,
    /// The value of its left side.
    pub left: u64,
    /// The terms of its right side.
    pub right: Vec<(String, u64)>,
}

impl Equation {
    fn new(text: &str, left: u64, right: &[(&str, u64)]) -> Self {
        let right = right.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { text: text.to_owned(), left, right }
    }

    /// Whether both sides are equal.
    pub fn balances(&self) -> bool {
        self.left == self.right.iter().map(|(_, value)| value).sum::<u64>()
    }
}

impl Tally {
    /// Equations of our own making: one that fails is a bug of the harness.
    pub fn identities(&self) -> Vec<Equation> {
        let spans = &self.spans;
        vec![
            Equation::new(
                "spans expected",
                spans.expected,
                &[
                    ("matched", spans.matched),
                    ("missing", spans.missing),
                    ("excused", spans.excused),
                    ("unsampled", spans.unsampled),
                ],
            ),
            Equation::new(
                "spans received",
                spans.received,
                &[
                    ("matched", spans.matched),
                    ("duplicated", spans.duplicated),
                    ("extra", spans.extra),
                    ("unexpected", spans.unexpected),
                    ("foreign", spans.foreign),
                    ("forgotten", spans.forgotten),
                    ("pending", spans.pending),
                ],
            ),
            Equation::new(
                "spans in answered exports",
                spans.exported,
                &[("received", spans.received), ("rejected", spans.rejected)],
            ),
        ]
    }

    /// Statements about the system: the ledger's rows beside the spans for them.
    pub fn statements(&self) -> Vec<Equation> {
        Per::ALL.into_iter().filter_map(|per| self.statement(per)).collect()
    }

    /// The statement about one kind of ledger row, if the contract asks for any span of that kind.
    fn statement(&self, per: Per) -> Option<Equation> {
        let tally = self.per.get(per.as_str()).filter(|tally| tally.roles > 0)?;
        let text = match per {
            Per::Request => "requests accepted",
            Per::Message => "messages sent",
            Per::Delivery => "deliveries",
            Per::Invocation => "invocations",
            Per::Environment => "environments",
        };
        let PerTally { matched, missing, excused, unsampled, .. } = *tally;
        let mut terms = vec![("spans", matched), ("missing", missing), ("excused", excused), ("unsampled", unsampled)];
        if per == Per::Message {
            terms.push(("sent again by the same span", self.messages_sent_again));
        }
        Some(Equation::new(text, tally.asked, &terms))
    }

    /// Counts by what a span was found to be for what it is for.
    pub(crate) fn count_match(&mut self, key: &str) {
        match self.matched_by.get_mut(key) {
            Some(count) => *count += 1,
            None => _ = self.matched_by.insert(key.to_owned(), 1),
        }
    }

    /// Counts a place for a span; `row` is the kind of ledger row that it is for, if it is for one.
    pub(crate) fn count_place(&mut self, state: PlaceState, row: Option<Per>) {
        self.spans.expected += u64::from(state != PlaceState::Open);
        self.change_place(state, row, |counted| *counted += 1);
    }

    /// Counts a place anew whose span came after all.
    pub(crate) fn fill_place(&mut self, before: PlaceState, row: Option<Per>) {
        self.spans.expected += u64::from(before == PlaceState::Open);
        self.change_place(before, row, |counted| *counted = counted.saturating_sub(1));
        self.change_place(PlaceState::Matched, row, |counted| *counted += 1);
    }

    fn change_place(&mut self, state: PlaceState, row: Option<Per>, change: impl Fn(&mut u64)) {
        let SpanTally { matched, missing, excused, unsampled, .. } = &mut self.spans;
        state.counter([matched, missing, excused, unsampled]).map(&change);
        if let Some(per) = row {
            let PerTally { matched, missing, excused, unsampled, .. } = self.per_mut(per);
            state.counter([matched, missing, excused, unsampled]).map(&change);
        }
    }

    /// The counters of a kind of ledger row.
    pub(crate) fn per_mut(&mut self, per: Per) -> &mut PerTally {
        self.per.entry(per.as_str().to_owned()).or_default()
    }

    /// Whether the spans for some kind of ledger row are all excused: then nothing is known about them.
    pub(crate) fn is_all_excused(&self) -> bool {
        self.per.values().any(|per| per.matched == 0 && per.excused > 0)
    }

    /// The 95 % upper bound of the rate at which traces are lost, given that none was: the rule of
    /// three (3/n). None if a trace is at fault, or none is complete. What is excused proves nothing
    /// either way, so it does not make the bound any narrower.
    pub fn loss_bound(&self) -> Option<f64> {
        let TraceTally { complete, .. } = self.traces;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people; no run has 2^52 traces")]
        (complete > 0 && self.traces.at_fault() == 0).then(|| 3.0 / complete as f64)
    }
}
