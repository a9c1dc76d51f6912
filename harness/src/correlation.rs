//! Where the identity of a request can be seen again: in the system's answers.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use verifier::TraceId;

/// Where an answer tells the trace id: `header:NAME` or `json:/pointer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceIdLocation {
    /// In this header.
    Header(HeaderName),
    /// At this JSON pointer (RFC 6901) in the body.
    Json(String),
}

/// Text that is not a place in an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place in an answer: write `header:NAME` or `json:/pointer`")]
pub struct InvalidLocation(String);

impl TraceIdLocation {
    /// The trace id in an answer, if there is one at this place.
    ///
    /// A header can also hold a whole trace context, as `traceresponse` does (W3C Trace Context
    /// Level 2 § 4): then it is the trace id in that.
    pub fn find(&self, headers: &HeaderMap, body: &[u8]) -> Option<TraceId> {
        match self {
            Self::Header(name) => trace_id(headers.get(name)?.to_str().ok()?),
            Self::Json(pointer) => {
                let body: serde_json::Value = serde_json::from_slice(body).ok()?;
                trace_id(body.pointer(pointer)?.as_str()?)
            }
        }
    }
}

impl FromStr for TraceIdLocation {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let location = match text.split_once(':') {
            Some(("header", name)) => name.parse().ok().map(Self::Header),
            Some(("json", pointer)) if is_json_pointer(pointer) => Some(Self::Json(pointer.to_owned())),
            _ => None,
        };
        location.ok_or_else(|| InvalidLocation(text.to_owned()))
    }
}

impl fmt::Display for TraceIdLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
        }
    }
}

/// Whether this is a JSON pointer to a part of a document (RFC 6901 § 3).
pub fn is_json_pointer(text: &str) -> bool {
    let escapes_end_well = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes_end_well(text)
}

/// A trace id that stands alone, or as the second field of a trace context.
fn trace_id(text: &str) -> Option<TraceId> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.split('-').nth(1)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn find(location: &str, header: &str, body: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-trace-id"), header.parse().unwrap())]);
        let location: TraceIdLocation = location.parse().unwrap();
        location.find(&headers, body.as_bytes()).map(|id| id.to_string())
    }

    #[test]
    fn trace_id_is_found_in_a_header_whatever_its_case() {
        assert_eq!(find("header:X-Trace-Id", TRACE_ID, "").as_deref(), Some(TRACE_ID));
        assert_eq!(find("header:x-trace-id", "nonsense", ""), None);
        assert_eq!(find("header:x-other", TRACE_ID, ""), None);
    }

    #[test]
    fn trace_id_is_found_in_a_header_with_a_whole_trace_context() {
        let context = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
        assert_eq!(find("header:x-trace-id", &context, "").as_deref(), Some(TRACE_ID));
    }

    #[test]
    fn trace_id_is_found_at_a_json_pointer() {
        let body = format!(r#"{{"meta":{{"a/b":["{TRACE_ID}"]}},"number":5}}"#);
        assert_eq!(find("json:/meta/a~1b/0", "", &body).as_deref(), Some(TRACE_ID));
        assert_eq!(find("json:/number", "", &body), None);
        assert_eq!(find("json:/meta", "", "no json"), None);
    }

    #[test]
    fn places_that_do_not_exist_are_refused() {
        for text in ["x-trace-id", "header:", "header:a b", "json:", "json:trace_id", "json:/a~2", "cookie:x"] {
            assert!(text.parse::<TraceIdLocation>().is_err(), "{text}");
        }
    }
}
