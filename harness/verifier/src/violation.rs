//! What a rule found, and where it shows.

use crate::finding::{Cause, Filing, FindingCode, FindingKey};

/// Something that a rule found in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    pub(crate) subject: String,
    /// The findings whose consequence it is, if there are such, the strongest first.
    pub(crate) roots: Vec<FindingKey>,
    /// Where it shows.
    pub(crate) place: Place,
    /// What was seen, in a line.
    pub(crate) evidence: String,
}

/// Where a violation shows in a drawn trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an expected span, by its slot.
    Slot(usize),
    /// At a span that was seen, by its place in the case.
    Span(usize),
    /// At the whole trace.
    Trace,
}

impl Violation {
    /// The key of the finding that it is on its own.
    pub(crate) fn key(&self) -> FindingKey {
        FindingKey { code: self.code, cause: self.cause, subject: self.subject.clone() }
    }

    /// Its place among the findings.
    pub(crate) fn filing(&self) -> Filing {
        Filing { key: self.key(), roots: self.roots.clone() }
    }

    /// Whether it says that a span's parent is not the right one.
    pub(crate) const fn is_about_the_parent(&self) -> bool {
        use FindingCode::{
            ParentCrossRequest, ParentCycle, ParentLost, ParentWrong, PhantomParent, SelfParent, TraceFragmented,
        };
        matches!(
            self.code,
            ParentCrossRequest | ParentCycle | ParentLost | ParentWrong | PhantomParent | SelfParent | TraceFragmented
        )
    }

    /// Whether something that has nothing to do with time may explain it: then no stall is needed for that.
    pub(crate) fn is_explained(&self) -> bool {
        use FindingCode::{ExportRejected, ExportUnauthenticated, ProcessDied};
        self.roots.iter().any(|root| matches!(root.code, ExportRejected | ExportUnauthenticated | ProcessDied))
    }

    /// Whether it can come of a flush that ran into its time limit. A machine that stalls does that to a
    /// healthy system.
    pub(crate) const fn is_of_time(&self) -> bool {
        match self.code {
            FindingCode::LateByThaw
            | FindingCode::ExportOpenAtFreeze
            | FindingCode::FlushSlow
            | FindingCode::SpanLate => true,
            FindingCode::SpanMissing | FindingCode::TraceMissing => {
                matches!(
                    self.cause,
                    Cause::NotFlushed | Cause::ConnectionFailed | Cause::NothingExported | Cause::InvocationTimedOut
                )
            }
            _ => false,
        }
    }
}
