//! OTLP/JSON of any bytes: read or refused, never a panic, and what is read is an export.
//!
//! `cargo +nightly fuzz run otlp_json fuzz/corpus/otlp_json mock-coralogix/tests/json/corpus`

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../mock-coralogix/tests/json/judged.rs"]
mod judged;

fuzz_target!(|bytes: &[u8]| {
    judged::read_and_judge(bytes);
});
