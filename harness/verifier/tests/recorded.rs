//! Recorded telemetry, from its bytes to its judgement.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod story;

use story::{Ids, consumer, contract, producer, server};
use verifier::otlp::Payload;
use verifier::span::{Attribute, Resource, ResourceSpans};
use verifier::{Conclusion, FindingCode, Judgement, Recorded, Span, TraceContract, TraceId};

const ID: Ids = Ids(0);

fn resource(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let attributes = vec![Attribute { key: "service.name".to_owned(), value: service.to_owned() }];
    ResourceSpans { resource: Resource { attributes }, spans }
}

/// The spans of a healthy trace: those of the API, and those of the worker.
fn healthy() -> [ResourceSpans; 2] {
    [resource("api", vec![server(ID).1, producer(ID).1]), resource("worker", vec![consumer(ID, 1).1])]
}

fn judge(contract: Option<TraceContract>, resources: &[ResourceSpans]) -> Judgement {
    let mut recorded = Recorded::new(contract).unwrap();
    recorded.take(&Payload::of(resources));
    recorded.finish()
}

fn codes(judgement: &Judgement) -> Vec<(FindingCode, &str)> {
    judgement.findings.iter().map(|finding| (finding.code, finding.subject.as_str())).collect()
}

#[test]
fn healthy_trace_passes_with_and_without_its_contract() {
    for contract in [None, Some(contract())] {
        let judgement = judge(contract, &healthy());
        assert_eq!(codes(&judgement), []);
        assert_eq!((judgement.conclusion, judgement.tally.traces.complete), (Conclusion::Passed, 1));
        assert_eq!(judgement.tally.spans.exported, 3);
    }
}

#[test]
fn trace_in_two_exports_is_one() {
    let [api, worker] = healthy();
    let mut recorded = Recorded::new(Some(contract())).unwrap();
    recorded.take(&Payload::of(&[worker]));
    recorded.take(&Payload::of(&[api]));
    assert_eq!(recorded.finish().conclusion, Conclusion::Passed);
}

#[test]
fn what_a_span_says_of_itself_is_told_with_its_trace() {
    let mut spans = healthy();
    spans[1].spans[0].dropped = 2;
    let judgement = judge(Some(contract()), &spans);
    assert_eq!(codes(&judgement), [(FindingCode::AttributesDropped, "consumer")]);
    assert_eq!((judgement.conclusion, judgement.tally.traces.complete), (Conclusion::Passed, 1));
    assert_eq!(judgement.findings[0].examples[0].trace, Some(ID.trace()));
}

#[test]
fn resource_without_a_service_name_is_told_once_and_fails() {
    let mut spans = healthy();
    spans[0].resource.attributes.clear();
    let judgement = judge(None, &spans);
    assert_eq!(codes(&judgement), [(FindingCode::ResourceMissing, "resource")]);
    assert_eq!((judgement.conclusion, judgement.tally.traces.complete), (Conclusion::Failed, 0));
}

#[test]
fn invalid_trace_id_is_told() {
    let mut spans = healthy();
    spans[1].spans[0].trace_id = TraceId::from_bytes([0; 16]);
    let found = judge(None, &spans);
    assert!(codes(&found).contains(&(FindingCode::IdInvalid, "worker \"sqs.process\"")), "{:?}", codes(&found));
}

#[test]
fn wrong_parent_is_told_by_the_contract_alone() {
    let mut spans = healthy();
    spans[1].spans[0].parent_span_id = Some(ID.server());
    let judgement = judge(Some(contract()), &spans);
    assert_eq!(codes(&judgement), [(FindingCode::ParentWrong, "consumer")]);
}

#[test]
fn span_that_came_twice_is_a_copy_or_a_conflict() {
    let mut copy = healthy().to_vec();
    copy.push(resource("worker", vec![consumer(ID, 1).1]));
    assert_eq!(codes(&judge(None, &copy)), [(FindingCode::SpanDuplicated, "worker \"sqs.process\"")]);
    "another name".clone_into(&mut copy[2].spans[0].name);
    let conflict = judge(None, &copy);
    assert_eq!(conflict.findings[0].code, FindingCode::SpanConflict);
}

#[test]
fn bytes_that_are_no_export_hold_nothing_and_panic_nowhere() {
    let mut recorded = Recorded::new(None).unwrap();
    for length in 0..64_u8 {
        let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37).wrapping_add(length)).collect();
        recorded.take(&Payload::new(bytes.into()));
    }
    assert_eq!(recorded.finish().conclusion, Conclusion::NothingVerified);
}
