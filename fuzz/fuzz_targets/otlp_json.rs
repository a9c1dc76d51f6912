//! OTLP/JSON of any bytes: read or refused, never a panic, and what is read is an export.
//!
//! `cargo +nightly fuzz run otlp_json`

#![no_main]

use libfuzzer_sys::fuzz_target;
use verifier::Recorded;

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = mock_coralogix::otlp_json::read(bytes) else { return };
    assert!(document.payload.validate().is_ok());
    let Ok(mut recorded) = Recorded::new(None) else { return };
    recorded.take(&document.payload);
    recorded.finish();
});
