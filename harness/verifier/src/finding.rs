//! What the verifier found: ledger facts and spans without their counterparts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::cause::Cause;
pub use crate::code::{FindingCode, Severity};
use crate::id::{RequestId, TraceId};
use crate::losses::{Losses, Pattern};
use crate::watch::{Watch, Watched};

/// What makes two findings the same finding: code, cause and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FindingKey {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    /// A role of the contract, a peer or a process.
    pub(crate) subject: String,
}

impl FindingKey {
    /// What there is to say of a process that did not await its flush. It explains what else is wrong
    /// with that process's exports.
    pub(crate) const fn flush_not_awaited(process: String) -> Self {
        Self { code: FindingCode::ExportOpenAtFreeze, cause: Cause::FlushNotAwaited, subject: process }
    }

    /// What there is to say of a process whose spans wait for a later thaw.
    pub(crate) const fn late_by_thaw(process: String) -> Self {
        Self { code: FindingCode::LateByThaw, cause: Cause::SentAfterThaw, subject: process }
    }

    /// Where the cases of too many subjects are filed together.
    fn others(&self) -> Filing {
        Self { code: self.code, cause: self.cause, subject: "others".to_owned() }.into()
    }
}

/// Findings of one code with one cause about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub code: FindingCode,
    /// How much it weighs.
    pub severity: Severity,
    /// What most likely caused it.
    pub cause: Cause,
    /// What it is about: a span of the contract, a peer or a process.
    pub subject: String,
    /// How often it was found.
    pub count: u64,
    /// What followed from it, and would not have been found without it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub consequences: BTreeMap<FindingCode, u64>,
    /// The first cases, with their evidence.
    pub examples: Vec<Example>,
}

/// One case of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Example {
    /// The request, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The request's trace, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// The ledger rows and the spans that show it, each in a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The trace as the contract and the ledger expect it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<TreeLine>,
    /// The trace as it was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<TreeLine>,
}

/// One line of a trace drawn as a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeLine {
    /// How deep it stands: 0 for a root.
    pub depth: usize,
    /// The span, in words.
    pub text: String,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A case's place among the findings: the finding that it is by itself, and those that it would follow from.
///
/// What a case follows from may be found only later in the run. So cases are filed as they come, and
/// [`Findings::to_vec`] tells which of them are findings and which are consequences.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filing {
    pub(crate) key: FindingKey,
    /// The findings that would explain it, the strongest first. None of them lists this one in turn.
    pub(crate) roots: Vec<FindingKey>,
}

impl Filing {
    /// The same case, of which nothing can be said because the machine stalled.
    pub(crate) fn doubted(self) -> Self {
        Self { key: FindingKey { cause: Cause::MachineStalled, ..self.key }, roots: Vec::new() }
    }

    /// Whether nothing can be said about it, because the machine stalled.
    pub(crate) fn is_doubted(&self) -> bool {
        self.key.cause == Cause::MachineStalled
    }

    /// An export is open at a freeze and holds nothing of the invocation that is over: what was left for
    /// later is on its way at last.
    pub(crate) fn leftovers_open_at_freeze(process: String) -> Self {
        let roots = vec![FindingKey::flush_not_awaited(process.clone()), FindingKey::late_by_thaw(process.clone())];
        let key = FindingKey { cause: Cause::SentAfterThaw, ..FindingKey::flush_not_awaited(process) };
        Self { key, roots }
    }
}

impl From<FindingKey> for Filing {
    /// A case that follows from nothing else.
    fn from(key: FindingKey) -> Self {
        Self { key, roots: Vec::new() }
    }
}

/// How many cases of a finding are kept with their evidence.
const EXAMPLES: usize = 3;

/// How many filings are told apart for one code with one cause. A name may hold an id; what is beyond is
/// counted together.
const SUBJECTS: usize = 50;

/// All cases of a run, as they were filed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    cases: BTreeMap<Filing, Cases>,
    /// How many filings there are of each code and cause.
    subjects: BTreeMap<(FindingCode, Cause), usize>,
    /// What findings weigh, where that differs from their own severity.
    severity: BTreeMap<FindingCode, Severity>,
    /// The request of which everything is kept, if there is one.
    pub(crate) watch: Option<Watch>,
}

/// The cases that were filed together.
#[derive(Debug, Clone, Default)]
struct Cases {
    count: u64,
    examples: Vec<Example>,
}

impl Findings {
    /// None yet, of which some weigh otherwise.
    pub(crate) fn weighing(severity: BTreeMap<FindingCode, Severity>) -> Self {
        Self { severity, ..Self::default() }
    }

    /// How much a finding with this code weighs.
    pub(crate) fn severity_of(&self, code: FindingCode) -> Severity {
        weight(code, &self.severity)
    }

    /// Counts a case; its evidence is only asked for while examples are wanted.
    pub(crate) fn add(&mut self, filing: impl Into<Filing>, example: impl FnOnce() -> Example) {
        let filing = filing.into();
        let known = self.known_or_others(filing.clone());
        let cases = self.cases.entry(known).or_default();
        cases.count += 1;
        let wanted = cases.examples.len() < EXAMPLES;
        if !wanted && self.watch.is_none() {
            return;
        }
        let example = example();
        if let Some(watch) = &mut self.watch {
            watch.add(&filing, &example);
        }
        if wanted {
            cases.examples.push(example);
        }
    }

    /// Takes a case back that later evidence has refuted.
    pub(crate) fn retract(&mut self, filing: &Filing, request: Option<RequestId>) {
        if let Some(watch) = &mut self.watch {
            watch.retract(filing, request);
        }
        let others = filing.key.others();
        let filing = if self.cases.contains_key(filing) { filing } else { &others };
        let Some(cases) = self.cases.get_mut(filing) else { return };
        cases.count = cases.count.saturating_sub(1);
        if let Some(example) = cases.examples.iter().position(|example| example.request == request) {
            cases.examples.remove(example);
        }
    }

    /// The filing itself, or the one of all others once there are too many.
    fn known_or_others(&mut self, filing: Filing) -> Filing {
        if self.cases.contains_key(&filing) {
            return filing;
        }
        let subjects = self.subjects.entry((filing.key.code, filing.key.cause)).or_default();
        if *subjects >= SUBJECTS {
            return filing.key.others();
        }
        *subjects += 1;
        filing
    }

    /// The filings that have cases, with these.
    fn filed(&self) -> impl Iterator<Item = (&Filing, &Cases)> {
        self.cases.iter().filter(|(_, cases)| cases.count > 0)
    }

    /// The finding that a filing's cases follow from: the strongest of its roots that was found.
    pub(crate) fn root_of<'a>(&self, filing: &'a Filing) -> Option<&'a FindingKey> {
        filing.roots.iter().find(|root| self.stands(root))
    }

    /// The filings under a key that have cases.
    fn with_key(&self, key: FindingKey) -> impl Iterator<Item = (&Filing, &Cases)> {
        let from_key = self.cases.range(Filing::from(key.clone())..).take_while(move |(filing, _)| filing.key == key);
        from_key.filter(|(_, cases)| cases.count > 0)
    }

    /// Whether there is a case that is this finding and no consequence of another.
    fn stands(&self, key: &FindingKey) -> bool {
        self.with_key(key.clone()).any(|(filing, _)| self.root_of(filing).is_none())
    }

    /// What cannot be judged because the machine stalled, each code with the number of its cases.
    pub(crate) fn doubted(&self) -> BTreeMap<FindingCode, u64> {
        let mut doubted = BTreeMap::new();
        for (filing, cases) in self.filed().filter(|(filing, _)| filing.is_doubted()) {
            *doubted.entry(filing.key.code).or_default() += cases.count;
        }
        doubted
    }

    /// The findings, failures and causes first. What all losses of a finding have in common gives it its name.
    pub(crate) fn to_vec(&self, losses: &Losses) -> Vec<Finding> {
        let mut standing: BTreeMap<&FindingKey, Finding> = BTreeMap::new();
        let mut following = Vec::new();
        for (filing, cases) in self.filed().filter(|(filing, _)| !filing.is_doubted()) {
            match self.root_of(filing) {
                Some(root) => following.push((root, filing.key.code, cases)),
                None => standing.entry(&filing.key).or_insert_with_key(|key| Finding::new(key)).take(cases),
            }
        }
        for (root, code, cases) in following {
            standing.entry(root).and_modify(|finding| finding.take_consequence(code, cases));
        }
        let mut findings: Vec<_> = standing.into_iter().map(|(key, finding)| finding.named(key, losses)).collect();
        weigh(&mut findings, &self.severity);
        findings
    }

    /// Everything that was found about the request that is watched.
    pub(crate) fn watched(&self) -> Option<Watched> {
        Some(self.watch.as_ref()?.watched(self))
    }

    /// How many cases there are, of all findings together that are worth a look.
    pub(crate) fn cases(&self) -> u64 {
        let is_worth_a_look =
            |filing: &Filing| !filing.is_doubted() && self.severity_of(filing.key.code) > Severity::Info;
        self.filed()
            .filter(|(filing, _)| is_worth_a_look(filing) && self.root_of(filing).is_none())
            .map(|(_, cases)| cases.count)
            .sum()
    }
}

/// Gives findings the weights that a contract sets in place of their own, and orders them anew.
pub(crate) fn weigh(findings: &mut [Finding], weights: &BTreeMap<FindingCode, Severity>) {
    for finding in findings.iter_mut() {
        finding.severity = weight(finding.code, weights);
    }
    order(findings);
}

/// How much a finding of this code weighs under a contract that sets these weights.
pub(crate) fn weight(code: FindingCode, weights: &BTreeMap<FindingCode, Severity>) -> Severity {
    weights.get(&code).copied().unwrap_or(code.severity())
}

/// Orders findings: failures and causes first.
fn order(findings: &mut [Finding]) {
    findings
        .sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.code, std::cmp::Reverse(finding.count)));
}

impl Finding {
    fn new(key: &FindingKey) -> Self {
        Self {
            code: key.code,
            severity: key.code.severity(),
            cause: key.cause,
            subject: key.subject.clone(),
            count: 0,
            consequences: BTreeMap::new(),
            examples: Vec::new(),
        }
    }

    /// With the name of the pattern that all its losses have, if they have one.
    fn named(self, key: &FindingKey, losses: &Losses) -> Self {
        match losses.pattern(key, self.count).map(Pattern::finding) {
            Some((code, cause)) => Self { code, cause, ..self },
            None => self,
        }
    }

    fn take(&mut self, cases: &Cases) {
        self.count += cases.count;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(cases.examples.iter().take(room).cloned());
    }

    /// Counts what follows from it. If none of its own cases shows a trace, one of these does.
    fn take_consequence(&mut self, code: FindingCode, cases: &Cases) {
        *self.consequences.entry(code).or_default() += cases.count;
        let drawn = self.examples.iter().any(Example::is_drawn);
        if !drawn && self.examples.len() < EXAMPLES {
            self.examples.extend(cases.examples.iter().find(|example| example.is_drawn()).cloned());
        }
    }
}

impl Example {
    /// Whether it shows a trace.
    fn is_drawn(&self) -> bool {
        !self.expected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(code: FindingCode) -> Finding {
        Finding::new(&FindingKey { code, cause: Cause::Delayed, subject: "x".to_owned() })
    }

    #[test]
    fn contract_changes_what_findings_weigh_and_so_their_order() {
        let mut findings = [FindingCode::SpanMissing, FindingCode::SpanDuplicated, FindingCode::SpanLate].map(finding);
        let weights = [(FindingCode::SpanMissing, Severity::Info), (FindingCode::SpanLate, Severity::Failure)].into();
        weigh(&mut findings, &weights);
        let weighed = findings.map(|finding| (finding.code, finding.severity));
        assert_eq!(
            weighed,
            [
                (FindingCode::SpanLate, Severity::Failure),
                (FindingCode::SpanDuplicated, Severity::Warning),
                (FindingCode::SpanMissing, Severity::Info),
            ]
        );
    }
}
