//! W3C trace context in and out of maps of strings: HTTP headers and SQS message attributes.

use std::collections::BTreeMap;

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// How many bytes of `tracestate` go on: as many as W3C Trace Context asks for at least ("`tracestate`
/// Limits"). More is left out, since it would be part of every span of the trace.
const MAX_TRACESTATE: usize = 512;

/// The fields that carry `context` to another process: `traceparent`, and `tracestate` if there is one.
///
/// The SDK's propagator sets an empty `tracestate`, which is left out here: SQS refuses a message with
/// an empty attribute value (`SendMessage`, "message attribute ... must contain a non-empty value").
pub fn inject(context: &Context) -> BTreeMap<String, String> {
    let mut fields = Fields::default();
    TraceContextPropagator::new().inject_context(context, &mut fields);
    fields.0
}

/// The remote parent that `fields` carry, in a context that holds nothing else. Without a valid
/// `traceparent` the context is empty, and a span that starts in it is a root.
///
/// Names match in any case, and a name that occurs twice is joined as HTTP joins fields (RFC 9110,
/// 5.2). So two values of `tracestate` are one list and two of `traceparent` are invalid, as W3C Trace
/// Context (3.2 and 3.3) wants it.
pub fn extract<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Context {
    let mut carrier = Fields::default();
    for (name, value) in fields {
        carrier.append(name, value);
    }
    carrier.0.retain(|name, value| name != "tracestate" || value.len() <= MAX_TRACESTATE);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// Fields by their lower-case name; none is empty.
#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Adds a field as HTTP does, if it is one of those that the propagator reads.
    fn append(&mut self, name: &str, value: &str) {
        let propagator = TraceContextPropagator::new();
        let Some(field) = propagator.fields().find(|field| field.eq_ignore_ascii_case(name)) else { return };
        self.0
            .entry(field.to_owned())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
}

impl Injector for Fields {
    fn set(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

impl Extractor for Fields {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceContextExt};

    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn extracted(fields: &[(&str, &str)]) -> SpanContext {
        extract(fields.iter().copied()).span().span_context().clone()
    }

    #[test]
    fn context_survives_the_way_through_a_carrier() {
        let context = extract([("traceparent", TRACEPARENT), ("tracestate", "vendor=value")]);

        let fields = inject(&context);

        assert_eq!(fields["traceparent"], TRACEPARENT);
        assert_eq!(fields["tracestate"], "vendor=value");
    }

    #[test]
    fn empty_tracestate_is_not_injected() {
        let fields = inject(&extract([("traceparent", TRACEPARENT)]));

        assert_eq!(fields.keys().collect::<Vec<_>>(), ["traceparent"]);
    }

    #[test]
    fn context_without_a_span_injects_nothing() {
        assert!(inject(&Context::new()).is_empty());
    }

    #[test]
    fn extracted_parent_is_remote_and_sampled() {
        let parent = extracted(&[("traceparent", TRACEPARENT)]);

        assert!(parent.is_remote());
        assert!(parent.is_sampled());
        assert_eq!(parent.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
    }

    #[test]
    fn names_match_in_any_case() {
        assert!(extracted(&[("TraceParent", TRACEPARENT)]).is_valid());
    }

    #[test]
    fn two_traceparents_are_none() {
        let other = "00-11111111111111111111111111111111-2222222222222222-01";

        assert!(!extracted(&[("traceparent", TRACEPARENT), ("traceparent", other)]).is_valid());
    }

    #[test]
    fn two_tracestates_are_one_list() {
        let parent = extracted(&[("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);

        assert_eq!(parent.trace_state().header(), "a=1,b=2");
    }

    #[test]
    fn overlong_tracestate_is_left_out_and_the_trace_goes_on() {
        // Of members that are as long as they may be.
        let member = |key, length| format!("{key}={}", "x".repeat(length));
        let longest = format!("{},{}", member("a", 253), member("b", 254));
        let longer = format!("{},{}", member("a", 254), member("b", 254));

        let kept = extracted(&[("traceparent", TRACEPARENT), ("tracestate", &longest)]);
        let cut = extracted(&[("traceparent", TRACEPARENT), ("tracestate", &longer)]);

        assert_eq!(kept.trace_state().header(), longest);
        assert_eq!(cut.trace_state().header(), "");
        assert!(cut.is_valid());
    }

    #[test]
    fn malformed_traceparent_starts_a_new_trace() {
        for malformed in ["", "00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "not a traceparent"] {
            assert!(!extracted(&[("traceparent", malformed)]).is_valid(), "{malformed:?}");
        }
    }

    #[test]
    fn other_fields_are_ignored() {
        assert!(!extracted(&[("X-Amzn-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793")]).is_valid());
    }
}
