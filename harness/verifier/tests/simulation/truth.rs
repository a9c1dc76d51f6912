//! What the verifier's counts must be, as the world itself has counted.

use std::collections::{BTreeMap, HashMap};

use verifier::Tally;
use verifier::contract::Per;

/// Everything that the world has counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Truth {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) sent_again: u64,
    pub(crate) matched: u64,
    pub(crate) missing: u64,
    pub(crate) excused: u64,
    pub(crate) duplicated: u64,
    pub(crate) extra: u64,
    pub(crate) foreign: u64,
    /// For each kind of ledger row: asked, matched, missing, excused.
    pub(crate) per: BTreeMap<&'static str, [u64; 4]>,
    /// Accepted requests whose spans did not all come: whether none is missing but what is excused.
    incomplete: HashMap<u32, bool>,
}

/// What a span is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A row of the ledger.
    Row {
        per: Per,
        /// The request whose trace lacks it if it does not come, if that was promised a trace.
        promised: Option<u32>,
        /// Whether it is asked for.
        required: bool,
    },
    /// The contract allows it.
    Extra,
    /// Nothing: it has nothing to do with the run.
    Foreign,
}

/// What became of a span that the system made, or would have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Came,
    Lost,
    Excused,
}

impl Truth {
    /// So many spans are asked for, for rows of a kind.
    pub(crate) fn ask(&mut self, per: Per, spans: u64) {
        if spans > 0 {
            self.per.entry(per.as_str()).or_default()[0] += spans;
        }
    }

    /// Counts what became of a span.
    pub(crate) fn tell(&mut self, purpose: Purpose, fate: Fate) {
        match (purpose, fate) {
            (Purpose::Extra, Fate::Came) => self.extra += 1,
            (Purpose::Foreign, Fate::Came) => self.foreign += 1,
            (Purpose::Extra | Purpose::Foreign, _) => {}
            (Purpose::Row { per, promised, required }, fate) => self.tell_row(per, promised, required, fate),
        }
    }

    fn tell_row(&mut self, per: Per, promised: Option<u32>, required: bool, fate: Fate) {
        let (counter, place) = match fate {
            Fate::Came => (&mut self.matched, 1),
            Fate::Lost => (&mut self.missing, 2),
            Fate::Excused => (&mut self.excused, 3),
        };
        *counter += u64::from(fate == Fate::Came || required);
        if required {
            self.per.entry(per.as_str()).or_default()[place] += 1;
        }
        if let (Some(request), false, true) = (promised, fate == Fate::Came, required) {
            self.impair(request, fate);
        }
    }

    /// A promised trace is not complete.
    pub(crate) fn impair(&mut self, request: u32, fate: Fate) {
        *self.incomplete.entry(request).or_insert(true) &= fate == Fate::Excused;
    }

    /// What the verifier's tally must say, line by line.
    pub(crate) fn lines(&self) -> Vec<(String, u64)> {
        let excused = self.incomplete.values().filter(|only_excused| **only_excused).count() as u64;
        let at_fault = self.incomplete.len() as u64 - excused;
        let mut lines: Vec<(String, u64)> = [
            ("requests sent", self.sent),
            ("accepted", self.accepted),
            ("refused", self.refused),
            ("unanswered", self.unanswered),
            ("messages", self.messages),
            ("deliveries", self.deliveries),
            ("sent again", self.sent_again),
            ("expected", self.matched + self.missing + self.excused),
            ("matched", self.matched),
            ("missing", self.missing),
            ("excused", self.excused),
            ("duplicated", self.duplicated),
            ("extra", self.extra),
            ("foreign", self.foreign),
            ("received", self.matched + self.duplicated + self.extra + self.foreign),
            ("traces excused", excused),
            ("traces complete", self.accepted - self.incomplete.len() as u64),
            ("traces at fault", at_fault),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        for (per, counts) in self.per.iter().filter(|(_, counts)| counts[0] > 0) {
            lines.extend(row_lines(per, *counts));
        }
        lines
    }
}

fn row_lines(per: &str, counts: [u64; 4]) -> impl Iterator<Item = (String, u64)> {
    let names = ["asked", "matched", "missing", "excused"];
    names.into_iter().zip(counts).map(move |(name, count)| (format!("{per} {name}"), count))
}

/// What a tally says, in the same lines.
pub(crate) fn tally_lines(tally: &Tally) -> Vec<(String, u64)> {
    let (requests, spans, traces) = (tally.requests, tally.spans, tally.traces);
    let mut lines: Vec<(String, u64)> = [
        ("requests sent", requests.sent),
        ("accepted", requests.accepted),
        ("refused", requests.refused),
        ("unanswered", requests.unanswered),
        ("messages", tally.messages),
        ("deliveries", tally.deliveries),
        ("sent again", tally.messages_sent_again),
        ("expected", spans.expected),
        ("matched", spans.matched),
        ("missing", spans.missing),
        ("excused", spans.excused),
        ("duplicated", spans.duplicated),
        ("extra", spans.extra),
        ("foreign", spans.foreign),
        ("received", spans.received),
        ("traces excused", traces.excused),
        ("traces complete", traces.complete),
        ("traces at fault", traces.at_fault()),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    for (per, counts) in tally.per.iter().filter(|(_, counts)| counts.asked > 0) {
        lines.extend(row_lines(per, [counts.asked, counts.matched, counts.missing, counts.excused]));
    }
    lines
}
