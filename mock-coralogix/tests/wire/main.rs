//! The verifier's own reading of an export's bytes beside that of the protobuf library: it accepts what that
//! accepts, refuses what that refuses, and finds the same spans.

mod corpus;
mod messages;
mod rearranged;

use mock_coralogix::convert;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use verifier::otlp::Payload;

use messages::{edited, edits, request};
use rearranged::{choices, rearranged};

/// Compares both readings of some bytes. Answers whether they are an export.
fn compare(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let decoded = ExportTraceServiceRequest::decode(bytes);
    let payload = Payload::new(bytes.to_vec().into());
    let validated = payload.validate();
    prop_assert_eq!(validated.is_ok(), decoded.is_ok(), "{:?} beside {:?}", validated, decoded);
    let Ok(decoded) = decoded else {
        // Nobody judges these, but whoever looks at them all the same must not stumble.
        let _ = payload.to_resource_spans();
        return Ok(false);
    };
    let expected = convert::resource_spans(decoded);
    prop_assert_eq!(payload.span_count(), expected.iter().map(|resource| resource.spans.len()).sum::<usize>());
    prop_assert_eq!(payload.to_resource_spans(), expected);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn well_formed_export_is_read_as_the_library_reads_it(request in request()) {
        prop_assert!(compare(&request.encode_to_vec())?);
    }

    #[test]
    fn export_in_any_order_with_fields_twice_is_read_as_the_library_reads_it(
        request in request(),
        choices in choices(),
    ) {
        prop_assert!(compare(&rearranged(&request.encode_to_vec(), &choices))?);
    }

    #[test]
    fn edited_export_is_read_or_refused_as_the_library_does(request in request(), edits in edits()) {
        compare(&edited(request.encode_to_vec(), &edits))?;
    }

    #[test]
    fn two_exports_in_a_row_are_merged_as_the_library_merges_them(first in request(), second in request()) {
        let bytes = [first.encode_to_vec(), second.encode_to_vec()].concat();
        prop_assert!(compare(&bytes)?);
    }

    #[test]
    fn random_bytes_are_read_or_refused_as_the_library_does(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        compare(&bytes)?;
    }

    #[test]
    fn owned_form_survives_the_way_to_bytes_and_back(request in request()) {
        let owned = convert::resource_spans(request);
        // Attributes are texts in the owned form, and so they come back.
        prop_assert_eq!(Payload::of(&owned).to_resource_spans(), owned);
    }
}

#[test]
fn corpus_is_read_or_refused_as_the_library_does() {
    let (mut read, mut refused) = (0, 0);
    for (name, bytes) in corpus::entries() {
        let is_export = compare(&bytes);
        assert!(is_export.is_ok(), "{name}: {is_export:?}");
        if matches!(is_export, Ok(true)) { read += 1 } else { refused += 1 }
    }
    assert!(read > 4 && refused > 4, "{read} read, {refused} refused");
}
