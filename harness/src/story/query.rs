//! How a request is named on the command line.

use std::fmt;
use std::str::FromStr;

use verifier::{RequestId, TraceId};

/// The name of a request: its id, its number in the schedule, or a trace of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestQuery {
    /// Its id, as reports write it.
    Id(RequestId),
    /// Its number in the schedule, counted from 0.
    Number(u32),
    /// A trace that was seen to belong to it.
    Trace(TraceId),
}

/// Text that names no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{HOW_TO_NAME_ONE}")]
pub struct InvalidQuery;

/// How a request can be named.
pub const HOW_TO_NAME_ONE: &str = "name a request by its id as reports write it (7f3a9c2e-0000002a), by its number \
     in the schedule (42), or by a trace id of it (32 hex digits)";

impl FromStr for RequestQuery {
    type Err = InvalidQuery;

    fn from_str(text: &str) -> Result<Self, InvalidQuery> {
        let text = text.trim().to_ascii_lowercase();
        let id = || text.parse().map(Self::Id).ok();
        let trace = || text.parse().map(Self::Trace).ok();
        let number = || text.parse().map(Self::Number).ok();
        id().or_else(trace).or_else(number).ok_or(InvalidQuery)
    }
}

impl fmt::Display for RequestQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "request {id}"),
            Self::Number(number) => write!(f, "request number {number}"),
            Self::Trace(trace) => write!(f, "request with trace {trace}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn request_is_named_by_id_number_or_trace_in_any_case() {
        let id = RequestQuery::Id(RequestId::new(0x7f3a_9c2e, 42));
        assert_eq!("7f3a9c2e-0000002a".parse(), Ok(id));
        assert_eq!(" 7F3A9C2E-0000002A".parse(), Ok(id));
        assert_eq!("42".parse(), Ok(RequestQuery::Number(42)));
        assert_eq!(TRACE.parse(), Ok(RequestQuery::Trace(TRACE.parse().unwrap())));
        assert_eq!(TRACE.to_uppercase().parse(), Ok(RequestQuery::Trace(TRACE.parse().unwrap())));
        // 32 decimal digits are a trace id and no number.
        let digits = "12345678901234567890123456789012";
        assert_eq!(digits.parse(), Ok(RequestQuery::Trace(digits.parse().unwrap())));
    }

    #[test]
    fn what_names_no_request_is_refused_with_what_does() {
        for text in ["", "-1", "7f3a9c2e", "7f3a9c2e-2a", &TRACE[1..], "4294967296", "latest"] {
            assert_eq!(text.parse::<RequestQuery>(), Err(InvalidQuery), "{text}");
        }
        assert!(InvalidQuery.to_string().contains("7f3a9c2e-0000002a"));
    }
}
