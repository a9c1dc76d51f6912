//! What the verifier found: ledger facts and spans without their counterparts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{RequestId, TraceId};

/// What is wrong, as a stable kebab-case code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingCode {
    /// A process of the system ended by itself while it was needed.
    ProcessDied,
    /// The endpoint refused a peer's exports for want of a valid key.
    ExportUnauthenticated,
    /// A function asked for its next invocation while something it had to export was still on its way.
    ExportOpenAtFreeze,
    /// A span left its environment only when a later invocation had thawed that.
    LateByThaw,
    /// A message carries no trace context.
    CarrierMissing,
    /// The trace context of a message is not its producer span's.
    CarrierMismatch,
    /// An accepted request has no span at all.
    TraceMissing,
    /// An expected span never came.
    SpanMissing,
    /// A span that nothing in the ledger asks for.
    SpanUnexpected,
    /// Spans of one request bear more than one trace id.
    TraceFragmented,
    /// The parent was expected, and never came.
    ParentLost,
    /// The parent is not the one that the contract names.
    ParentWrong,
    /// The kind is not the one that the contract names.
    KindWrong,
    /// The same span came more than once.
    SpanDuplicated,
    /// A span came later after its end than it may.
    SpanLate,
}

impl FindingCode {
    /// All codes, the likelier causes of others first.
    pub const ALL: [Self; 15] = [
        Self::ProcessDied,
        Self::ExportUnauthenticated,
        Self::ExportOpenAtFreeze,
        Self::LateByThaw,
        Self::CarrierMissing,
        Self::CarrierMismatch,
        Self::TraceMissing,
        Self::SpanMissing,
        Self::SpanUnexpected,
        Self::TraceFragmented,
        Self::ParentLost,
        Self::ParentWrong,
        Self::KindWrong,
        Self::SpanDuplicated,
        Self::SpanLate,
    ];

    /// How much it weighs.
    pub const fn severity(self) -> Severity {
        match self {
            Self::SpanDuplicated | Self::SpanLate => Severity::Warning,
            _ => Severity::Failure,
        }
    }

    /// Its kebab-case text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessDied => "process-died",
            Self::ExportUnauthenticated => "export-unauthenticated",
            Self::ExportOpenAtFreeze => "export-open-at-freeze",
            Self::LateByThaw => "late-by-thaw",
            Self::CarrierMissing => "carrier-missing",
            Self::CarrierMismatch => "carrier-mismatch",
            Self::TraceMissing => "trace-missing",
            Self::SpanMissing => "span-missing",
            Self::SpanUnexpected => "span-unexpected",
            Self::TraceFragmented => "trace-fragmented",
            Self::ParentLost => "parent-lost",
            Self::ParentWrong => "parent-wrong",
            Self::KindWrong => "kind-wrong",
            Self::SpanDuplicated => "span-duplicated",
            Self::SpanLate => "span-late",
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is worth a look; the run can pass.
    Warning,
    /// It fails the run.
    Failure,
}

/// What most likely caused a finding, as far as the evidence goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The harness dropped the trace context at the queue, on purpose.
    FaultStripContext,
    /// The harness gave the processes a wrong key, on purpose.
    FaultWrongKey,
    /// The harness spoilt the message's body, on purpose.
    FaultCorruptBody,
    /// The harness cut the connections of the frozen environment, on purpose.
    FaultCutConnections,
    /// The harness killed the environment on purpose, and the scenario excuses no more spans.
    ExcusesUsedUp,
    /// The process ended by itself.
    ProcessEnded,
    /// The process ended by itself before it asked for its first invocation.
    InitFailed,
    /// The process did not ask for its first invocation in time.
    InitTimedOut,
    /// The environment used more memory than its function has.
    OutOfMemory,
    /// One of the environment's extensions ended or reported an error.
    ExtensionFailed,
    /// The endpoint does not know the key that the peer sends.
    KeyRefused,
    /// The endpoint refused the export that held the span.
    ExportRefused,
    /// The sender did not inject its trace context into the message.
    ContextNotInjected,
    /// The context was injected outside the producer span, in its parent's context.
    InjectedOutsideProducer,
    /// What the message carries is not a valid `traceparent`.
    CarrierInvalid,
    /// The carrier names a span that is none of the request's.
    CarrierUnknownSpan,
    /// The message carried the context, and the consumer did not take it as its parent.
    ContextNotExtracted,
    /// The consumer took the X-Ray header's context for its parent's.
    XrayAsParent,
    /// The producer is a root although there is a server span.
    ContextNotAttached,
    /// No message for the request was ever seen at a queue.
    NothingSent,
    /// The message was never delivered to a function.
    NeverDelivered,
    /// The invocation ended well and no export came during it.
    NotFlushed,
    /// The invocation ended well, and a connection that it made to export failed before there was an export.
    ConnectionFailed,
    /// An export was not answered yet when the environment was frozen.
    FlushNotAwaited,
    /// No export came during the invocation, and one came after the next thaw.
    SentAfterThaw,
    /// The function's time-out passed before the invocation's end.
    InvocationTimedOut,
    /// The environment ended during the invocation.
    EnvironmentDied,
    /// The process was stopped and did not export what it had.
    StoppedWithoutExport,
    /// Spans of other roles came from the same process, this one did not.
    NotExported,
    /// No span of the request came from anywhere.
    NothingExported,
    /// The expected parent span never came.
    ParentMissing,
    /// The parent is another span of the same request.
    OtherParent,
    /// The parent is a span that nobody exported.
    UnknownParent,
    /// The span is a root and should not be.
    NoParent,
    /// The span has a parent and should be a root.
    ParentOfRoot,
    /// The contract and the instrumentation differ.
    Instrumentation,
    /// The span fits no role of the contract.
    NoSuchRole,
    /// There are more spans in this role than the ledger has facts for.
    MoreThanFacts,
    /// The span belongs to no request of the run.
    NoSuchRequest,
    /// The exporter sent a batch again, as OTLP allows when an answer is lost.
    ExporterRetry,
    /// It waited somewhere before it was exported.
    Delayed,
}

impl Cause {
    /// The cause in a sentence that a developer of the system can act on.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::FaultStripContext => {
                "the harness dropped the trace context at the queue on purpose (fault strip-context)"
            }
            Self::FaultWrongKey => "the harness gave the processes an unknown API key on purpose (fault wrong-key)",
            Self::FaultCorruptBody => {
                "the harness corrupted the message's body on purpose (fault corrupt-body): a handler that cannot read a \
                 message still owes its span, ended with an error, and the flush"
            }
            Self::FaultCutConnections => {
                "the harness cut the frozen environment's connections on purpose (fault cut-connections), and the exporter \
                 did not get over it: give the flush a time limit, look at its result, and export again over a new connection"
            }
            Self::ExcusesUsedUp => {
                "the harness killed the environment on purpose, and more spans went with it than the scenario excuses"
            }
            Self::ProcessEnded => "the process ended by itself; its last output tells why",
            Self::InitFailed => "the process ended before it asked for its first invocation; its last output tells why",
            Self::InitTimedOut => {
                "the process did not ask for its first invocation within the Init phase's limit; look at what it waits for"
            }
            Self::OutOfMemory => "the environment used more memory than its function has, and was killed for it",
            Self::ExtensionFailed => "an extension of the environment ended or reported an error",
            Self::KeyRefused => {
                "the endpoint does not know this API key: look at the key and at the header `authorization: Bearer <key>`"
            }
            Self::ExportRefused => "the endpoint refused the export that held the span",
            Self::ContextNotInjected => {
                "the sender did not inject its trace context: inject traceparent into the message attributes"
            }
            Self::InjectedOutsideProducer => {
                "the context was injected while the producer's parent was current: inject inside the producer span"
            }
            Self::CarrierInvalid => "the message attribute traceparent is not valid W3C Trace Context",
            Self::CarrierUnknownSpan => "the message carries the context of a span that is none of this request's",
            Self::ContextNotExtracted => {
                "the message carried the context and the consumer did not extract it: look at the attribute's name, \
                 `stringValue` against `StringValue`, and case"
            }
            Self::XrayAsParent => "the consumer took the X-Ray header for its parent: extract traceparent instead",
            Self::ContextNotAttached => {
                "the producer is a root although a server span exists: the context was not attached to the task"
            }
            Self::NothingSent => "the request was accepted and no message for it was seen at a queue",
            Self::NeverDelivered => "the message was not delivered to the function in this run",
            Self::NotFlushed => {
                "the invocation ended and no export came during it: flush, and await the flush, before returning"
            }
            Self::ConnectionFailed => {
                "a connection to the endpoint failed in the span's own invocation, before there was an export: look at TLS \
                 and the CA certificate, and whether network and machine are fast enough for the flush's time limit"
            }
            Self::FlushNotAwaited => {
                "a flush that nobody awaited: exports were still unanswered when the runtime asked for the next \
                 invocation; await the flush before returning"
            }
            Self::SentAfterThaw => {
                "nothing was flushed in the span's own invocation, and the next one's thaw let it out: traffic hides that, \
                 and the last spans of each environment are lost; flush, and await the flush, before returning"
            }
            Self::InvocationTimedOut => {
                "the invocation timed out before its spans were exported: what it waits for needs a limit well below the \
                 function's time-out, and so does the flush"
            }
            Self::EnvironmentDied => "the environment ended during the invocation, before its spans were exported",
            Self::StoppedWithoutExport => {
                "the process was stopped without exporting it: flush on SIGTERM, within the stop time-out"
            }
            Self::NotExported => {
                "the process exported other spans of this request and not this one: was it ended, and sampled?"
            }
            Self::NothingExported => {
                "no span of the request came from anywhere: look at the exporter, a sampler, the SDK's start"
            }
            Self::ParentMissing => "its parent span never came",
            Self::OtherParent => {
                "its parent is another span of the request: was the right context current at its start?"
            }
            Self::UnknownParent => "its parent is a span that nobody exported",
            Self::NoParent => "it has no parent: no context was current at its start",
            Self::ParentOfRoot => "it has a parent and should be the root of its trace",
            Self::Instrumentation => "the instrumentation sets another kind than the contract names",
            Self::NoSuchRole => "it fits no span of the contract: double instrumentation, or another name or service",
            Self::MoreThanFacts => {
                "there are more of these spans than events that cause them: double instrumentation, or a retry inside"
            }
            Self::NoSuchRequest => "it belongs to no request of this run",
            Self::ExporterRetry => "the exporter sent the span again: legal after a lost answer, costly when frequent",
            Self::Delayed => "it waited before it was exported: batch delay, retries, or a frozen environment",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

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
}

/// The cases that were filed together.
#[derive(Debug, Clone, Default)]
struct Cases {
    count: u64,
    examples: Vec<Example>,
}

impl Findings {
    /// Counts a case; its evidence is only asked for while examples are wanted.
    pub(crate) fn add(&mut self, filing: impl Into<Filing>, example: impl FnOnce() -> Example) {
        let filing = self.known_or_others(filing.into());
        let cases = self.cases.entry(filing).or_default();
        cases.count += 1;
        if cases.examples.len() < EXAMPLES {
            cases.examples.push(example());
        }
    }

    /// Takes a case back that later evidence has refuted.
    pub(crate) fn retract(&mut self, filing: &Filing, request: RequestId) {
        let others = filing.key.others();
        let filing = if self.cases.contains_key(filing) { filing } else { &others };
        let Some(cases) = self.cases.get_mut(filing) else { return };
        cases.count = cases.count.saturating_sub(1);
        if let Some(example) = cases.examples.iter().position(|example| example.request == Some(request)) {
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
    fn root_of<'a>(&self, filing: &'a Filing) -> Option<&'a FindingKey> {
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

    /// The findings, failures and causes first.
    pub(crate) fn to_vec(&self) -> Vec<Finding> {
        let mut standing: BTreeMap<&FindingKey, Finding> = BTreeMap::new();
        let mut following = Vec::new();
        for (filing, cases) in self.filed() {
            match self.root_of(filing) {
                Some(root) => following.push((root, filing.key.code, cases)),
                None => standing.entry(&filing.key).or_insert_with_key(|key| Finding::new(key)).take(cases),
            }
        }
        for (root, code, cases) in following {
            standing.entry(root).and_modify(|finding| finding.take_consequence(code, cases));
        }
        let mut findings: Vec<_> = standing.into_values().collect();
        findings.sort_by_key(|finding| {
            (std::cmp::Reverse(finding.severity), finding.code, std::cmp::Reverse(finding.count))
        });
        findings
    }

    /// How many cases there are, of all findings together.
    pub(crate) fn cases(&self) -> u64 {
        self.filed().filter(|(filing, _)| self.root_of(filing).is_none()).map(|(_, cases)| cases.count).sum()
    }
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
