//! OTLP/JSON beside protobuf: however an export is written as JSON, it is read as the same spans.

mod judged;
#[path = "../wire/messages.rs"]
mod messages;
mod written;

use std::fs;
use std::path::Path;

use mock_coralogix::{convert, otlp_json};
use proptest::prelude::*;

use judged::read_and_judge;
use messages::{edited, edits, request};
use written::{Style, without_references, written};

fn style() -> impl Strategy<Value = Style> {
    any::<[bool; 6]>().prop_map(|[snake_case, base64, upper_case, numbers, names, pretty]| Style {
        snake_case,
        base64,
        upper_case,
        numbers,
        names,
        pretty,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn export_is_read_as_the_same_spans_in_every_style(request in request(), style in style()) {
        let request = without_references(request);
        let json = written(&request, style);
        let document = otlp_json::read(json.as_bytes());
        prop_assert!(document.is_ok(), "{document:?} of {json}");
        let payload = document.unwrap_or_default().payload;
        prop_assert_eq!(payload.to_resource_spans(), convert::resource_spans(request), "{}", json);
        read_and_judge(json.as_bytes());
    }

    #[test]
    fn damaged_json_is_read_or_refused(request in request(), style in style(), edits in edits()) {
        read_and_judge(&edited(written(&request, style).into_bytes(), &edits));
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(!read_and_judge(&bytes));
    }
}

#[test]
fn corpus_is_read_or_refused_as_its_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json/corpus");
    let entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in &entries {
        let is_refused = path.file_name().unwrap().to_string_lossy().starts_with("refused-");
        assert_ne!(read_and_judge(&fs::read(path).unwrap()), is_refused, "{}", path.display());
    }
    assert!(entries.len() > 20);
}
