//! The codes of what can be wrong, and how much each weighs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is told, and nothing is wrong with it.
    Info,
    /// It is worth a look; the run can pass.
    Warning,
    /// It fails the run.
    Failure,
}

impl Severity {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Defines the codes once: name, text, severity and meaning stand beside each other.
macro_rules! finding_codes {
    ($($name:ident $text:literal $severity:ident $meaning:literal)*) => {
        /// What is wrong, as a stable kebab-case code. Those that cause others come first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum FindingCode {
            $(#[doc = $meaning] $name,)*
        }

        impl FindingCode {
            /// All codes, the likelier causes of others first.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// How much it weighs, if neither contract nor scenario says otherwise.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// Its kebab-case text.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

finding_codes! {
    // What processes did, and what the endpoint answered.
    ProcessDied "process-died" Failure "A process of the system ended by itself while it was needed."
    StopIgnored "stop-ignored" Warning "A service did not end in its stop time-out after SIGTERM, and was killed."
    ExportUnauthenticated "export-unauthenticated" Failure "The endpoint refused a peer's exports for want of a valid key."
    ExportRejected "export-rejected" Failure "The endpoint rejected spans: by partial success, or by an error that is final."
    ExportOpenAtFreeze "export-open-at-freeze" Failure "A function asked for its next invocation while something it had to export was still on its way."
    LateByThaw "late-by-thaw" Failure "A span left its environment only when a later invocation had thawed that."
    FlushSlow "flush-slow" Warning "A function took longer than the flush budget from the end of its last span to its request for the next invocation."
    // What messages carry.
    CarrierMissing "carrier-missing" Failure "A message carries no trace context."
    CarrierMalformed "carrier-malformed" Failure "The trace context of a message is not valid W3C Trace Context."
    CarrierMismatch "carrier-mismatch" Failure "The trace context of a message is not its producer span's."
    CarriersConflict "carriers-conflict" Warning "The X-Ray header and the traceparent of a message name different traces."
    // What is not there.
    TraceMissing "trace-missing" Failure "An accepted request has no span at all."
    ColdStartLoss "cold-start-loss" Failure "Only the first invocations of a function's processes lack their spans."
    TailLoss "tail-loss" Failure "The last spans before a process ended never came."
    BurstLoss "burst-loss" Failure "Many spans in a row of one role never came, and those before and after them did."
    SpanMissing "span-missing" Failure "An expected span never came."
    Unsampled "unsampled" Info "A trace was not sampled, by its carrier's flags or by the contract: it is counted apart."
    // What nobody asked for.
    SpanUnexpected "span-unexpected" Failure "A span that nothing in the ledger asks for."
    SpanForeign "span-foreign" Failure "A span that belongs to no request of the run, which the contract forbids."
    MatchAmbiguous "match-ambiguous" Info "A span could belong to more than one request, and nothing tells which."
    // Who a span is.
    IdInvalid "id-invalid" Failure "A trace or span id is all zero, or has a wrong length."
    TraceIdCollision "trace-id-collision" Failure "Two requests have one trace id."
    SpanConflict "span-conflict" Failure "Two different spans have the same trace id and span id."
    // How spans hang together.
    TraceFragmented "trace-fragmented" Failure "Spans of one request bear more than one trace id."
    ParentCrossRequest "parent-cross-request" Failure "A span's parent belongs to another request."
    SelfParent "self-parent" Failure "A span names itself as its parent."
    ParentCycle "parent-cycle" Failure "Following the parents of a span leads back to it."
    PhantomParent "phantom-parent" Failure "A span's parent is one that no process issued and no message carried."
    ParentLost "parent-lost" Failure "The parent was expected, and never came."
    ParentOpen "parent-open" Warning "The parent may still be open: its operation was not answered as one that promises a trace."
    ParentWrong "parent-wrong" Failure "The parent is not the one that the contract names."
    RootMultiple "root-multiple" Failure "A trace has more than one root."
    LinkMissing "link-missing" Failure "A span lacks a link that the contract asks for."
    LinkDangling "link-dangling" Failure "A span links to a span that no process issued and no message carried."
    RemoteFlagMissing "remote-flag-missing" Warning "A span says that its parent is in its own process, and it is in another."
    // What a span says.
    KindWrong "kind-wrong" Failure "The kind is not the one that the contract names."
    KindPair "kind-pair" Failure "A parent and its child in another process are of kinds that do not go together."
    NameWrong "name-wrong" Failure "The name is not the one that the contract names."
    StatusWrong "status-wrong" Failure "The status is not the one that the contract or the real outcome asks for."
    AttributeMissing "attribute-missing" Failure "An attribute that the contract asks for is not there."
    AttributeWrong "attribute-wrong" Failure "An attribute has another value than the contract asks for."
    ResourceMissing "resource-missing" Failure "A resource lacks an attribute that it must have, such as service.name."
    AttributesDropped "attributes-dropped" Warning "A span says that attributes, events or links of it were dropped."
    SecretExposed "secret-exposed" Failure "An attribute holds an API key or an AWS key."
    // When it was.
    DurationNegative "duration-negative" Failure "A span ends before it starts."
    TimeFuture "time-future" Failure "A span ends later than it was received."
    TimeEpoch "time-epoch" Failure "A span's start or end was never set: it lies at the Unix epoch, or next to it."
    ClockDisordered "clock-disordered" Warning "A child starts before its parent by more than the tolerance."
    SpanAcrossFreeze "span-across-freeze" Warning "A span lasted across a freeze of its environment: it was not ended before the return."
    DurationExceeded "duration-exceeded" Failure "A span lasted longer than the contract allows."
    // How it came.
    SpanDuplicated "span-duplicated" Warning "The same span came more than once."
    SpanLate "span-late" Warning "A span came later after its end than it may."
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FindingCode {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let of_text = Self::ALL.iter().find(|code| code.as_str() == text);
        of_text.copied().ok_or_else(|| InvalidId::new("finding code", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_code_is_the_kebab_case_of_its_name_and_reads_back() {
        for code in FindingCode::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }
}
