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
    pub const ALL: [Self; 13] = [
        Self::ProcessDied,
        Self::ExportUnauthenticated,
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
    /// The process ended by itself.
    ProcessEnded,
    /// The process ended by itself before it asked for its first invocation.
    InitFailed,
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
            Self::ProcessEnded => "the process ended by itself; its last output tells why",
            Self::InitFailed => "the process ended before it asked for its first invocation; its last output tells why",
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

/// How many cases of a finding are kept with their evidence.
const EXAMPLES: usize = 3;

/// How many things one code with one cause is told apart for. A name may hold an id; what is beyond is
/// counted together.
const SUBJECTS: usize = 50;

/// All findings of a run, grouped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    groups: BTreeMap<FindingKey, Finding>,
    /// How many groups there are of each code and cause.
    subjects: BTreeMap<(FindingCode, Cause), usize>,
    /// How many cases there are, of all groups together.
    cases: u64,
}

impl Findings {
    /// Counts a case; its evidence is only asked for while examples are wanted.
    pub(crate) fn add(&mut self, key: FindingKey, example: impl FnOnce() -> Example) {
        self.cases += 1;
        let finding = self.group(key);
        finding.count += 1;
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(example());
        }
    }

    /// Counts what follows from a finding.
    pub(crate) fn add_consequence(
        &mut self,
        cause: FindingKey,
        consequence: FindingCode,
        example: impl FnOnce() -> Example,
    ) {
        let finding = self.group(cause);
        *finding.consequences.entry(consequence).or_default() += 1;
        let drawn = finding.examples.iter().any(|example| !example.expected.is_empty());
        if !drawn && finding.examples.len() < EXAMPLES {
            finding.examples.push(example());
        }
    }

    /// Whether there is a case of it.
    pub(crate) fn has(&self, key: &FindingKey) -> bool {
        self.groups.get(key).is_some_and(|finding| finding.count > 0)
    }

    /// Takes a case back that later evidence has refuted.
    pub(crate) fn retract(&mut self, key: &FindingKey, request: RequestId) {
        let Some(finding) = self.groups.get_mut(key).filter(|finding| finding.count > 0) else { return };
        finding.count -= 1;
        self.cases -= 1;
        finding.examples.retain(|example| example.request != Some(request));
    }

    fn group(&mut self, key: FindingKey) -> &mut Finding {
        let key = self.known_or_others(key);
        self.groups.entry(key).or_insert_with_key(|key| Finding {
            code: key.code,
            severity: key.code.severity(),
            cause: key.cause,
            subject: key.subject.clone(),
            count: 0,
            consequences: BTreeMap::new(),
            examples: Vec::new(),
        })
    }

    /// The key itself, or the one of all others once there are too many.
    fn known_or_others(&mut self, key: FindingKey) -> FindingKey {
        if self.groups.contains_key(&key) {
            return key;
        }
        let subjects = self.subjects.entry((key.code, key.cause)).or_default();
        if *subjects >= SUBJECTS {
            return FindingKey { subject: "others".to_owned(), ..key };
        }
        *subjects += 1;
        key
    }

    /// The findings, failures and causes first.
    pub(crate) fn to_vec(&self) -> Vec<Finding> {
        let mut findings: Vec<_> = self.groups.values().filter(|finding| finding.count > 0).cloned().collect();
        findings.sort_by_key(|finding| {
            (std::cmp::Reverse(finding.severity), finding.code, std::cmp::Reverse(finding.count))
        });
        findings
    }

    /// How many cases there are, of all findings together.
    pub(crate) const fn cases(&self) -> u64 {
        self.cases
    }
}
