//! What must hold of any bytes that are read as OTLP/JSON. Fuzzing has this too (fuzz/fuzz_targets/otlp_json.rs).

use mock_coralogix::otlp_json::{Piece, read, stream};
use verifier::Recorded;

/// Reads bytes and judges their spans. Answers whether they are OTLP/JSON.
pub(crate) fn read_and_judge(bytes: &[u8]) -> bool {
    let (mut spans, mut ended) = (Vec::new(), 0);
    let streamed = stream(bytes, &mut |piece| match piece {
        Piece::Spans(payload) => spans.extend_from_slice(payload.bytes()),
        Piece::End => ended += 1,
        Piece::OtherSignal | Piece::Misplaced(_) => {}
    });
    let Ok(document) = read(bytes) else { return false };
    assert!(streamed.is_ok() && ended > 0, "{streamed:?}");
    assert_eq!(&spans, document.payload.bytes(), "a document is the same in one piece and in many");
    assert_eq!(document.payload.validate(), Ok(()), "what was read is an export");
    if let Ok(mut recorded) = Recorded::new(None) {
        recorded.take(&document.payload);
        recorded.finish();
    }
    true
}
