//! W3C Trace Context's `traceparent` header, as messages carry it.

use std::str::FromStr;

use crate::id::{InvalidId, SpanId, TraceId};

/// A `traceparent` that was read (W3C Trace Context § 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    /// `trace-id`.
    pub(crate) trace_id: TraceId,
    /// `parent-id`: the span whose context this is.
    pub(crate) span_id: SpanId,
    /// Whether the trace is sampled (`trace-flags`, its lowest bit; § 3.2.2.5).
    pub(crate) sampled: bool,
}

impl TraceParent {
    /// The span whose context this is.
    pub(crate) const fn span(self) -> (TraceId, SpanId) {
        (self.trace_id, self.span_id)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidId;

    /// Reads any version other than `ff`; what a later version appends is skipped (§ 3.2.4).
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("traceparent (00-<trace id>-<span id>-<flags>)", text);
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or_else(invalid);
        let (version, trace_id, span_id, flags) = (next()?, next()?, next()?, next()?);
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        let parent = Self { trace_id: trace_id.parse()?, span_id: span_id.parse()?, sampled };
        let versioned = version != "ff" && (version != "00" || parts.next().is_none());
        let well_formed = is_byte(version) && is_byte(flags) && versioned;
        if well_formed && parent.trace_id.is_valid() && parent.span_id.is_valid() { Ok(parent) } else { Err(invalid()) }
    }
}

/// Two lower-case hex digits.
fn is_byte(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn the_specifications_example_is_read() {
        let parent: TraceParent = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        assert_eq!((parent.trace_id.to_string(), parent.span_id.to_string()), (TRACE.to_owned(), SPAN.to_owned()));
    }

    #[test]
    fn a_later_version_may_append_something() {
        assert!(format!("01-{TRACE}-{SPAN}-01-more").parse::<TraceParent>().is_ok());
        assert!(format!("00-{TRACE}-{SPAN}-01-more").parse::<TraceParent>().is_err());
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("Root=1-{TRACE};Parent={SPAN}"),
        ] {
            assert!(text.parse::<TraceParent>().is_err(), "{text}");
        }
    }
}
