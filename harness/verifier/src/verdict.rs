//! The verdict: the one place where a run passes or fails.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Severity};
use crate::tally::{Equation, Tally};

/// What a run proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every request became exactly one trace, but for spans that the scenario's own kills excuse.
    Pass,
    /// It did not.
    Fail,
    /// The evidence does not suffice to say.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// The verdict's reason; the first that holds, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// An identity of our own books does not hold: a bug of the harness, and nothing is proved.
    BooksBroken,
    /// There are findings that fail a run.
    Failed,
    /// Evidence was lost, or does not fit together.
    Inconclusive,
    /// No request was accepted, or all that was to come for requests, messages or deliveries is excused: there
    /// was nothing to verify.
    NothingVerified,
    /// Every request became exactly one trace, but for spans that the scenario's own kills excuse.
    Passed,
}

impl Conclusion {
    /// What that means for the run.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Failed => Verdict::Fail,
            Self::Passed => Verdict::Pass,
            Self::BooksBroken | Self::Inconclusive | Self::NothingVerified => Verdict::Inconclusive,
        }
    }
}

/// Everything that a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict's reason.
    pub conclusion: Conclusion,
    /// Why the evidence does not suffice, where it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// The findings, failures first.
    pub findings: Vec<Finding>,
    /// What was counted.
    pub tally: Tally,
    /// The equations of our own books.
    pub identities: Vec<Equation>,
    /// The ledger's rows beside the spans for them.
    pub statements: Vec<Equation>,
}

impl Judgement {
    /// Draws the conclusion.
    pub(crate) fn new(tally: Tally, findings: Vec<Finding>, mut doubts: Vec<String>) -> Self {
        let (identities, statements) = (tally.identities(), tally.statements());
        let failed = findings.iter().any(|finding| finding.severity == Severity::Failure);
        if !failed && doubts.is_empty() {
            doubts.extend(statements.iter().filter(|statement| !statement.balances()).map(unexplained));
        }
        let conclusion = decide(&identities, failed, &doubts, &tally);
        Self { conclusion, doubts, findings, tally, identities, statements }
    }
}

/// A statement that does not balance although nothing was found.
fn unexplained(statement: &Equation) -> String {
    let right: Vec<_> = statement.right.iter().map(|(name, value)| format!("{value} {name}")).collect();
    format!("{} {} are not explained by {}", statement.left, statement.text, right.join(" + "))
}

/// Decides what a run proves. Nothing else does.
fn decide(identities: &[Equation], failed: bool, doubts: &[String], tally: &Tally) -> Conclusion {
    if !identities.iter().all(Equation::balances) {
        Conclusion::BooksBroken
    } else if failed {
        Conclusion::Failed
    } else if !doubts.is_empty() || tally.traces.at_fault() > 0 {
        Conclusion::Inconclusive
    } else if tally.traces.expected == 0 || tally.spans.matched == 0 || tally.is_all_excused() {
        Conclusion::NothingVerified
    } else {
        Conclusion::Passed
    }
}
