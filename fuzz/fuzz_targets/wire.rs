//! The verifier's own reading of an export's bytes beside that of the protobuf library.
//!
//! `cargo +nightly fuzz run wire fuzz/corpus/wire mock-coralogix/tests/wire/corpus` (what is new goes into the first)

#![no_main]

use libfuzzer_sys::fuzz_target;
use mock_coralogix::convert;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use verifier::Recorded;
use verifier::otlp::Payload;

fuzz_target!(|bytes: &[u8]| {
    let payload = Payload::new(bytes.to_vec().into());
    let decoded = ExportTraceServiceRequest::decode(bytes);
    assert_eq!(payload.validate().is_ok(), decoded.is_ok());
    match decoded {
        Ok(decoded) => assert_eq!(payload.to_resource_spans(), convert::resource_spans(decoded)),
        Err(_) => drop(payload.to_resource_spans()),
    }
    // Whatever they hold, they are judged without a panic.
    let Ok(mut recorded) = Recorded::new(None) else { return };
    recorded.take(&payload);
    recorded.finish();
});
