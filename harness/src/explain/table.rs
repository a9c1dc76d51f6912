//! Which page is which code's, in groups for people.

use verifier::FindingCode;

use super::page::Page;

/// Codes that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they have in common.
    pub title: &'static str,
    /// Each code with the text of its page.
    pub pages: &'static [(FindingCode, &'static str)],
}

/// Makes the table: each code stands beside the name of its page's file.
macro_rules! groups {
    ($($title:literal { $($code:ident $file:literal)* })*) => {
        &[$(Group {
            title: $title,
            pages: &[$((FindingCode::$code, include_str!(concat!("pages/", $file, ".md")))),*],
        }),*]
    };
}

/// All codes, from what causes others to what is seldom more than a hint.
pub const GROUPS: &[Group] = groups! {
    "Exports and processes" {
        ProcessDied "process-died"
        StopIgnored "stop-ignored"
        ExportUnauthenticated "export-unauthenticated"
        ExportRejected "export-rejected"
        ExportOpenAtFreeze "export-open-at-freeze"
        LateByThaw "late-by-thaw"
        SpanLate "span-late"
        SpanAcrossFreeze "span-across-freeze"
        FlushSlow "flush-slow"
    }
    "Messages" {
        CarrierMissing "carrier-missing"
        CarrierMalformed "carrier-malformed"
        CarrierMismatch "carrier-mismatch"
        CarriersConflict "carriers-conflict"
    }
    "Missing" {
        TraceMissing "trace-missing"
        SpanMissing "span-missing"
        ColdStartLoss "cold-start-loss"
        TailLoss "tail-loss"
        BurstLoss "burst-loss"
        Unsampled "unsampled"
    }
    "Too many" {
        SpanUnexpected "span-unexpected"
        SpanDuplicated "span-duplicated"
        SpanForeign "span-foreign"
        MatchAmbiguous "match-ambiguous"
    }
    "Identity" {
        IdInvalid "id-invalid"
        TraceIdCollision "trace-id-collision"
        SpanConflict "span-conflict"
    }
    "Traces, parents and links" {
        TraceFragmented "trace-fragmented"
        ParentCrossRequest "parent-cross-request"
        ParentWrong "parent-wrong"
        ParentLost "parent-lost"
        PhantomParent "phantom-parent"
        ParentOpen "parent-open"
        SelfParent "self-parent"
        ParentCycle "parent-cycle"
        RootMultiple "root-multiple"
        LinkMissing "link-missing"
        LinkDangling "link-dangling"
        RemoteFlagMissing "remote-flag-missing"
    }
    "What a span says" {
        KindWrong "kind-wrong"
        KindPair "kind-pair"
        NameWrong "name-wrong"
        StatusWrong "status-wrong"
        AttributeMissing "attribute-missing"
        AttributeWrong "attribute-wrong"
        ResourceMissing "resource-missing"
        AttributesDropped "attributes-dropped"
        SecretExposed "secret-exposed"
    }
    "Times" {
        DurationExceeded "duration-exceeded"
        DurationNegative "duration-negative"
        TimeFuture "time-future"
        TimeEpoch "time-epoch"
        ClockDisordered "clock-disordered"
    }
};

/// The page of a code; none if it has none yet.
pub fn page(code: FindingCode) -> Option<Page<'static>> {
    let mut pages = GROUPS.iter().flat_map(|group| group.pages);
    pages.find(|(known, _)| *known == code).map(|(_, text)| Page::read(text))
}
