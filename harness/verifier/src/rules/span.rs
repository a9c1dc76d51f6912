//! What a single span and its resource say of themselves.
//!
//! This is asked of every span that comes, so a healthy one costs no allocation: keys are told apart by their
//! lengths first, patterns are compiled once, and what is wrong is put into words only if something is. One pass
//! over the attributes serves the contract, the correlation and the search for secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::secret::Secret;
use crate::cause::Cause;
use crate::code::FindingCode;
use crate::contract::{SpanContract, StatusRule, TraceContract, ValueRule};
use crate::event::Correlation;
use crate::id::{InvocationId, MessageId, RequestId};
use crate::otlp::{AttributeRef, ResourceRef, SpanRef, ValueRef};
use crate::roles::{RoleId, Roles};
use crate::text::{InvalidPattern, TextRule};
use crate::time::Timestamp;

/// How much later than it was received a span may end: the harness and the system share a host.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(1);

/// The first instant that is no mistake for one that was never set: 2000-01-01.
const FIRST_PLAUSIBLE: Timestamp = Timestamp::from_unix_nanos(946_684_800_000_000_000);

/// What any resource must say (OpenTelemetry semantic conventions, "Service").
const SERVICE_NAME: &str = "service.name";

/// How much of a value is shown, in characters.
const SHOWN: usize = 80;

/// Something that is wrong with what a span or a resource says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: FindingCode,
    pub(crate) cause: Cause,
    /// In a line.
    pub(crate) evidence: String,
}

impl Said {
    const fn new(code: FindingCode, cause: Cause, evidence: String) -> Self {
        Self { code, cause, evidence }
    }
}

/// What a span says in its attributes of what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named {
    pub(crate) request: Option<RequestId>,
    pub(crate) message: Option<MessageId>,
    pub(crate) invocation: Option<InvocationId>,
}

/// What is asked of spans and resources, by their roles.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpanRules {
    /// The tag of the run whose request ids count.
    run: u32,
    /// Of spans without a role.
    any: AttributeRules,
    roles: Vec<RoleRules>,
    /// Of every resource.
    resource: Vec<(String, TextRule)>,
}

/// What is asked of the spans in one role.
#[derive(Debug, Clone, Default)]
struct RoleRules {
    attributes: AttributeRules,
    resource: Vec<(String, TextRule)>,
    max_duration: Option<Duration>,
    no_error: bool,
}

impl SpanRules {
    /// Those of a contract, or those that hold for any span.
    ///
    /// # Errors
    /// If a pattern is no regular expression.
    pub(crate) fn new(
        contract: Option<&TraceContract>,
        roles: &Roles,
        correlation: &Correlation,
        run: u32,
    ) -> Result<Self, InvalidPattern> {
        let of_role = |span: &SpanContract| {
            Ok(RoleRules {
                attributes: AttributeRules::new(&span.attributes, correlation)?,
                resource: compiled(&span.resource)?,
                max_duration: span.max_duration,
                no_error: span.status == StatusRule::NoError,
            })
        };
        let roles = roles.iter().map(|(_, role)| of_role(&role.span)).collect::<Result<_, _>>()?;
        let any = AttributeRules::new(&BTreeMap::new(), correlation)?;
        let resource = contract.map_or_else(|| Ok(Vec::new()), |contract| compiled(&contract.resource))?;
        Ok(Self { run, any, roles, resource })
    }

    fn of_role(&self, role: RoleId) -> Option<&RoleRules> {
        self.roles.get(role.place())
    }

    /// What is wrong with what a span says, and what it says that it is for. Where it was recorded, nobody knows
    /// when it was received.
    pub(crate) fn span(
        &self,
        span: &SpanRef<'_>,
        role: Option<RoleId>,
        received: Option<Timestamp>,
    ) -> (Named, Vec<Said>) {
        let rules = role.and_then(|role| self.of_role(role));
        let (named, mut said) = self.attributes(span, rules.map_or(&self.any, |rules| &rules.attributes));
        said.extend(id_invalid(span));
        let wrong_times = times(span, received);
        // Times that are wrong make no duration.
        let is_timed = wrong_times.is_none();
        said.extend(wrong_times);
        said.extend(attributes_dropped(span));
        if let Some(rules) = rules {
            said.extend(rules.duration_exceeded(span).filter(|_| is_timed));
            said.extend(rules.status_wrong(span));
        }
        (named, said)
    }

    fn attributes(&self, span: &SpanRef<'_>, rules: &AttributeRules) -> (Named, Vec<Said>) {
        let (mut named, mut said) = (Named::default(), Vec::new());
        let mut seen = 0_u64;
        for attribute in span.attributes() {
            said.extend(secret_exposed(&attribute));
            let Some((place, wanted)) = rules.find(attribute.key) else { continue };
            seen |= place_bit(place);
            let text = attribute.value.text();
            named.read(wanted, &text, self.run);
            said.extend(wanted.rule.as_ref().and_then(|rule| attribute_wrong(attribute.key, rule, &text)));
        }
        said.extend(rules.missing(seen));
        (named, said)
    }

    /// What is wrong with what a resource says: by itself, or as that of a span in a role.
    pub(crate) fn resource(&self, resource: &ResourceRef<'_>, role: Option<RoleId>) -> Vec<Said> {
        let Some(role) = role else {
            let mut said: Vec<_> = resource.attributes().filter_map(|attribute| secret_exposed(&attribute)).collect();
            if resource.service_name().unwrap_or_default().is_empty() {
                said.push(resource_missing(SERVICE_NAME));
            }
            said.extend(self.resource.iter().filter_map(|(key, rule)| of_resource(resource, key, rule)));
            return said;
        };
        let rules = self.of_role(role).map_or(&[][..], |rules| &rules.resource);
        rules.iter().filter_map(|(key, rule)| of_resource(resource, key, rule)).collect()
    }
}

impl RoleRules {
    /// `duration-exceeded`.
    fn duration_exceeded(&self, span: &SpanRef<'_>) -> Option<Said> {
        let (limit, took) = (self.max_duration?, span.end.since(span.start));
        let evidence = || format!("it lasted {took:.1?}, the contract allows {limit:?}");
        (took > limit).then(|| Said::new(FindingCode::DurationExceeded, Cause::TooLong, evidence()))
    }

    /// `status-wrong`, for a span that must not be an error.
    fn status_wrong(&self, span: &SpanRef<'_>) -> Option<Said> {
        let evidence = || format!("its status is an error: {}", shown(span.status.message));
        let wrong = self.no_error && span.status.is_error();
        wrong.then(|| Said::new(FindingCode::StatusWrong, Cause::OutcomeDiffers, evidence()))
    }
}

impl Named {
    /// Takes in what an attribute says that was looked for.
    fn read(&mut self, wanted: &Wanted, text: &str, run: u32) {
        if wanted.is_request && self.request.is_none() {
            self.request = RequestId::find_in(text).filter(|request| request.run() == run);
        }
        if wanted.is_message && !text.is_empty() {
            self.message = Some(MessageId::new(text));
        }
        if wanted.is_invocation && !text.is_empty() {
            self.invocation = Some(InvocationId::new(text));
        }
    }
}

/// A key that is looked for, and why.
#[derive(Debug, Clone, Default)]
struct Wanted {
    rule: Option<TextRule>,
    is_request: bool,
    is_message: bool,
    is_invocation: bool,
}

/// The keys that are looked for in attributes, made ready for one pass over these.
#[derive(Debug, Clone, Default)]
struct AttributeRules {
    /// In the order of their keys.
    wanted: Vec<(Box<str>, Wanted)>,
    /// A bit for each length that one of the keys has, modulo 64.
    lengths: u64,
}

impl AttributeRules {
    fn new(rules: &BTreeMap<String, ValueRule>, correlation: &Correlation) -> Result<Self, InvalidPattern> {
        let mut wanted: BTreeMap<&str, Wanted> = BTreeMap::new();
        for (key, rule) in rules {
            wanted.entry(key).or_default().rule = Some(TextRule::of_value(rule)?);
        }
        let Correlation { request, message, invocation } = correlation;
        request.iter().for_each(|key| wanted.entry(key).or_default().is_request = true);
        message.iter().for_each(|key| wanted.entry(key).or_default().is_message = true);
        invocation.iter().for_each(|key| wanted.entry(key).or_default().is_invocation = true);
        let lengths = wanted.keys().fold(0, |lengths, key| lengths | length_bit(key));
        Ok(Self { wanted: wanted.into_iter().map(|(key, wanted)| (key.into(), wanted)).collect(), lengths })
    }

    fn find(&self, key: &str) -> Option<(usize, &Wanted)> {
        if self.lengths & length_bit(key) == 0 {
            return None;
        }
        let place = self.wanted.binary_search_by(|(wanted, _)| (**wanted).cmp(key)).ok()?;
        Some((place, &self.wanted[place].1))
    }

    /// `attribute-missing`, for what was asked for and not seen.
    fn missing(&self, seen: u64) -> impl Iterator<Item = Said> {
        let asked = self.wanted.iter().enumerate().take(64).filter(move |(place, _)| seen & place_bit(*place) == 0);
        let asked = asked.filter_map(|(_, (key, wanted))| Some((key, wanted.rule.as_ref()?)));
        asked.map(|(key, rule)| {
            let evidence = format!("it has no attribute {key:?}, the contract wants {rule}");
            Said::new(FindingCode::AttributeMissing, Cause::NotSet, evidence)
        })
    }
}

/// The bit of a place; none beyond 64, which no contract that is valid has.
fn place_bit(place: usize) -> u64 {
    u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0)
}

const fn length_bit(key: &str) -> u64 {
    1 << (key.len() % 64)
}

fn compiled(rules: &BTreeMap<String, ValueRule>) -> Result<Vec<(String, TextRule)>, InvalidPattern> {
    rules.iter().map(|(key, rule)| Ok((key.clone(), TextRule::of_value(rule)?))).collect()
}

/// `resource-missing`, or `attribute-wrong` of a resource.
fn of_resource(resource: &ResourceRef<'_>, key: &str, rule: &TextRule) -> Option<Said> {
    match resource.attribute(key) {
        None => Some(resource_missing(key)),
        Some(text) if rule.accepts(&text) => None,
        Some(text) if text.is_empty() => Some(resource_missing(key)),
        Some(text) => attribute_wrong(key, rule, &text),
    }
}

fn resource_missing(key: &str) -> Said {
    let evidence = format!("its resource has no attribute {key:?}");
    Said::new(FindingCode::ResourceMissing, Cause::ResourceUnset, evidence)
}

/// `attribute-wrong`; an empty text where any other would do is `attribute-missing`.
fn attribute_wrong(key: &str, rule: &TextRule, text: &str) -> Option<Said> {
    let evidence = || format!("the attribute {key:?} is {}, the contract wants {rule}", shown(text));
    match (rule.accepts(text), rule) {
        (true, _) => None,
        (false, TextRule::Present) => Some(Said::new(FindingCode::AttributeMissing, Cause::NotSet, evidence())),
        (false, _) => Some(Said::new(FindingCode::AttributeWrong, Cause::OtherValue, evidence())),
    }
}

/// `secret-exposed`. The evidence does not hold the secret.
fn secret_exposed(attribute: &AttributeRef<'_>) -> Option<Said> {
    let secret = Secret::find(attribute.key, text_bytes(&attribute.value)?)?;
    let evidence = format!("the attribute {:?} is or holds {}", attribute.key, secret.as_str());
    Some(Said::new(FindingCode::SecretExposed, Cause::KeyInAttribute, evidence))
}

/// The bytes in which the texts of a value stand.
fn text_bytes<'a>(value: &'a ValueRef<'_>) -> Option<&'a [u8]> {
    match value {
        ValueRef::Text(text) => Some(text.as_bytes()),
        ValueRef::Bytes(bytes) => Some(bytes),
        ValueRef::List(raw) | ValueRef::Map(raw) => Some(raw),
        ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Double(_) | ValueRef::Empty => None,
    }
}

/// `id-invalid`: one of its ids is all zero, or has not its length. Only a parent may be left out.
fn id_invalid(span: &SpanRef<'_>) -> Option<Said> {
    let is_zero = |id: &[u8]| id.iter().all(|byte| *byte == 0);
    let what = if span.trace_id.len() != 16 || is_zero(span.trace_id) {
        ("trace id", span.trace_id)
    } else if span.span_id.len() != 8 || is_zero(span.span_id) {
        ("span id", span.span_id)
    } else if !span.parent_span_id.is_empty() && (span.parent_span_id.len() != 8 || is_zero(span.parent_span_id)) {
        ("parent's span id", span.parent_span_id)
    } else {
        let wrong = |id: &[u8], length| id.len() != length || is_zero(id);
        let link = span.links().find(|link| wrong(link.trace_id, 16) || wrong(link.span_id, 8))?;
        ("link's id", if wrong(link.trace_id, 16) { link.trace_id } else { link.span_id })
    };
    let (what, id) = what;
    let evidence = format!("its {what} has {} bytes{}", id.len(), if is_zero(id) { ", all zero" } else { "" });
    Some(Said::new(FindingCode::IdInvalid, Cause::IdMalformed, evidence))
}

/// `time-epoch`, `time-future` and `duration-negative`: at most one of them, the first.
fn times(span: &SpanRef<'_>, received: Option<Timestamp>) -> Option<Said> {
    let SpanRef { start, end, .. } = *span;
    if start < FIRST_PLAUSIBLE || end < FIRST_PLAUSIBLE {
        let evidence = format!("it starts at {start} and ends at {end}, in seconds since 1970");
        return Some(Said::new(FindingCode::TimeEpoch, Cause::TimeUnset, evidence));
    }
    if let Some(received) = received.filter(|received| end > *received + FUTURE_TOLERANCE) {
        let evidence = format!("it ends {:.1?} after it was received", end.since(received));
        return Some(Said::new(FindingCode::TimeFuture, Cause::ClockAhead, evidence));
    }
    let evidence = || format!("it ends {:.1?} before it starts", start.since(end));
    (end < start).then(|| Said::new(FindingCode::DurationNegative, Cause::EndBeforeStart, evidence()))
}

/// `attributes-dropped`.
fn attributes_dropped(span: &SpanRef<'_>) -> Option<Said> {
    let evidence = || format!("{} attributes, events or links of it were dropped", span.dropped);
    (span.dropped > 0).then(|| Said::new(FindingCode::AttributesDropped, Cause::SdkLimits, evidence()))
}

/// As much of a value as is shown.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?} and more", &text[..end]).into(),
        None => format!("{text:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::Payload;
    use crate::rules::notation::{BEGIN, contract};
    use crate::span::{Attribute, Resource, ResourceSpans, Span, SpanKind, SpanLink, SpanStatus};
    use crate::{SpanId, TraceId};

    const ROLE: &str = "server api SERVER \"x\" per=request";

    fn healthy() -> Span {
        Span {
            trace_id: TraceId::from_bytes([1; 16]),
            span_id: SpanId::from_bytes([2; 8]),
            parent_span_id: None,
            name: "x".to_owned(),
            kind: SpanKind::Server,
            start: Timestamp::from_unix_nanos(BEGIN),
            end: Timestamp::from_unix_nanos(BEGIN + 1_000_000),
            status: SpanStatus::Unset,
            flags: 0,
            dropped: 0,
            attributes: Vec::new(),
            links: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Span)) -> Span {
        let mut span = healthy();
        change(&mut span);
        span
    }

    fn attribute(key: &str, value: &str) -> Attribute {
        Attribute { key: key.to_owned(), value: value.to_owned() }
    }

    fn having(key: &str, value: &str) -> Span {
        with(|span| span.attributes.push(attribute(key, value)))
    }

    fn rules(of: &str, correlation: &Correlation) -> SpanRules {
        let contract = contract(of);
        let roles = Roles::new(&contract).unwrap();
        SpanRules::new(Some(&contract), &roles, correlation, 0x7f3a_9c2e).unwrap()
    }

    fn role(of: &str) -> Option<RoleId> {
        Roles::new(&contract(of)).unwrap().iter().next().map(|(role, _)| role)
    }

    fn payload(resource: Vec<Attribute>, span: Span) -> Payload {
        Payload::of(&[ResourceSpans { resource: Resource { attributes: resource }, spans: vec![span] }])
    }

    /// The codes of what is wrong with a span, received a moment after it ended.
    fn said(of: &str, span: Span) -> Vec<FindingCode> {
        let received = Timestamp::from_unix_nanos(BEGIN + 2_000_000);
        let payload = payload(Vec::new(), span);
        let resource = payload.resources().next().unwrap();
        let (_, said) =
            rules(of, &Correlation::default()).span(&resource.spans().next().unwrap(), role(of), Some(received));
        said.into_iter().map(|said| said.code).collect()
    }

    /// The codes of what is wrong with a resource, by itself and as that of the first role.
    fn said_of_resource(of: &str, attributes: Vec<Attribute>) -> Vec<FindingCode> {
        let payload = payload(attributes, healthy());
        let resource = payload.resources().next().unwrap();
        let rules = rules(of, &Correlation::default());
        let said = rules.resource(&resource, None).into_iter().chain(rules.resource(&resource, role(of)));
        said.map(|said| said.code).collect()
    }

    #[test]
    fn healthy_span_has_nothing_wrong() {
        assert_eq!(said(ROLE, healthy()), []);
    }

    #[test]
    fn ids_that_are_all_zero_are_invalid() {
        let zero = SpanId::from_bytes([0; 8]);
        let spans = [
            with(|span| span.trace_id = TraceId::from_bytes([0; 16])),
            with(|span| span.span_id = zero),
            with(|span| span.parent_span_id = Some(zero)),
            with(|span| span.links.push(SpanLink { trace_id: TraceId::from_bytes([1; 16]), span_id: zero })),
        ];
        for span in spans {
            assert_eq!(said(ROLE, span), [FindingCode::IdInvalid]);
        }
    }

    #[test]
    fn span_that_ends_before_it_starts_has_a_negative_duration_and_one_of_no_time_has_not() {
        let lasting = |nanos: i64| with(|span| span.end = Timestamp::from_unix_nanos(BEGIN.wrapping_add_signed(nanos)));
        assert_eq!(said(ROLE, lasting(0)), []);
        assert_eq!(said(ROLE, lasting(-1)), [FindingCode::DurationNegative]);
    }

    #[test]
    fn time_that_was_never_set_is_one_at_the_epoch() {
        let at = Timestamp::from_unix_nanos;
        assert_eq!(said(ROLE, with(|span| span.end = at(0))), [FindingCode::TimeEpoch]);
        assert_eq!(said(ROLE, with(|span| span.start = at(0))), [FindingCode::TimeEpoch]);
        // Milliseconds taken for nanoseconds.
        assert_eq!(said(ROLE, with(|span| span.start = at(BEGIN / 1_000_000))), [FindingCode::TimeEpoch]);
    }

    #[test]
    fn span_may_end_a_second_after_it_was_received_and_no_later() {
        let received = BEGIN + 2_000_000;
        let ending = |after: u64| with(|span| span.end = Timestamp::from_unix_nanos(received + after));
        assert_eq!(said(ROLE, ending(1_000_000_000)), []);
        assert_eq!(said(ROLE, ending(1_000_000_001)), [FindingCode::TimeFuture]);
    }

    #[test]
    fn dropped_attributes_are_told() {
        assert_eq!(said(ROLE, with(|span| span.dropped = 1)), [FindingCode::AttributesDropped]);
    }

    #[test]
    fn duration_beyond_the_contracts_is_told_and_not_at_it() {
        assert_eq!(said(&format!("{ROLE} max=1000000"), healthy()), []);
        assert_eq!(said(&format!("{ROLE} max=999999"), healthy()), [FindingCode::DurationExceeded]);
    }

    #[test]
    fn error_is_wrong_where_there_must_be_none() {
        let failed = || with(|span| span.status = SpanStatus::Error("boom".to_owned()));
        assert_eq!(said(ROLE, failed()), []);
        assert_eq!(said(&format!("{ROLE} status=no_error"), failed()), [FindingCode::StatusWrong]);
        let fine = with(|span| span.status = SpanStatus::Ok);
        assert_eq!(said(&format!("{ROLE} status=no_error"), fine), []);
    }

    #[test]
    fn attribute_is_missing_wrong_or_right() {
        let cases = [
            ("has=a", None, vec![FindingCode::AttributeMissing]),
            ("has=a", Some(""), vec![FindingCode::AttributeMissing]),
            ("has=a", Some("anything"), vec![]),
            ("is=a:b", None, vec![FindingCode::AttributeMissing]),
            ("is=a:b", Some("c"), vec![FindingCode::AttributeWrong]),
            ("is=a:b", Some("b"), vec![]),
            ("like=a:b+", Some("bbb"), vec![]),
            ("like=a:b+", Some("bbbc"), vec![FindingCode::AttributeWrong]),
        ];
        for (rule, value, expected) in cases {
            let span = value.map_or_else(healthy, |value| having("a", value));
            assert_eq!(said(&format!("{ROLE} {rule}"), span), expected, "{rule} {value:?}");
        }
    }

    #[test]
    fn secret_in_an_attribute_is_told_and_not_shown() {
        let key = "AKIAIOSFODNN7EXAMPLE";
        assert_eq!(said(ROLE, having("env", &format!("KEY={key};"))), [FindingCode::SecretExposed]);
        assert_eq!(said(ROLE, having("authorization", "Bearer ************")), [FindingCode::SecretExposed]);
        assert_eq!(said(ROLE, having("note", "******")), []);
        let payload = payload(Vec::new(), having("env", key));
        let resource = payload.resources().next().unwrap();
        let (_, said) = rules(ROLE, &Correlation::default()).span(&resource.spans().next().unwrap(), None, None);
        assert!(!said[0].evidence.contains(key), "{}", said[0].evidence);
    }

    #[test]
    fn resource_lacks_its_service_name_or_what_the_contract_asks_for() {
        let named = || attribute("service.name", "api");
        let asking = format!("{ROLE} resource=faas.name");
        assert_eq!(said_of_resource(ROLE, vec![named()]), []);
        assert_eq!(said_of_resource(ROLE, Vec::new()), [FindingCode::ResourceMissing]);
        assert_eq!(said_of_resource(ROLE, vec![attribute("service.name", "")]), [FindingCode::ResourceMissing]);
        assert_eq!(said_of_resource(&asking, vec![named()]), [FindingCode::ResourceMissing]);
        assert_eq!(said_of_resource(&asking, vec![named(), attribute("faas.name", "f")]), []);
        let secret = attribute("aws.secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        assert_eq!(said_of_resource(ROLE, vec![named(), secret]), [FindingCode::SecretExposed]);
    }

    #[test]
    fn attributes_tell_what_a_span_is_for() {
        let keys = |key: &str| vec![key.to_owned()];
        let correlation =
            Correlation { request: keys("customer.id"), message: keys("message.id"), invocation: keys("faas.id") };
        let span = with(|span| {
            span.attributes = vec![
                attribute("customer.id", "customer-7f3a9c2e-0000002a"),
                attribute("message.id", "m-1"),
                attribute("faas.id", "i-1"),
            ];
        });
        let payload = payload(Vec::new(), span);
        let resource = payload.resources().next().unwrap();
        let (named, _) = rules(ROLE, &correlation).span(&resource.spans().next().unwrap(), role(ROLE), None);
        let expected = Named {
            request: Some(RequestId::new(0x7f3a_9c2e, 42)),
            message: Some(MessageId::new("m-1")),
            invocation: Some(InvocationId::new("i-1")),
        };
        assert_eq!(named, expected);
    }

    #[test]
    fn request_of_another_run_is_none() {
        let correlation = Correlation { request: vec!["customer.id".to_owned()], ..Correlation::default() };
        let payload = payload(Vec::new(), having("customer.id", "00000000-0000002a"));
        let resource = payload.resources().next().unwrap();
        let (named, _) = rules(ROLE, &correlation).span(&resource.spans().next().unwrap(), None, None);
        assert_eq!(named, Named::default());
    }
}
