//! Nothing that the verifier can find is left untested: each code is raised by a defect that is planted in any
//! healthy run, and named by a pure test.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

mod simulation;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use simulation::defect::Defect;
use verifier::FindingCode;

/// The codes that no single change to a correct system's journal raises, each with the reason.
const NOT_PLANTED: [(FindingCode, &str); 5] = [
    (FindingCode::ParentOpen, "takes a request without an answer, whose service never ends what it does"),
    (FindingCode::MatchAmbiguous, "takes a span that tells nothing, in an environment that ends its life in a batch"),
    (FindingCode::KindPair, "follows from kind-wrong wherever the contract's own kinds go together"),
    (FindingCode::RootMultiple, "is judged of recorded telemetry only: a ledger knows which root is right"),
    (FindingCode::ParentLost, "follows from the loss of the parent, whose finding it is told under"),
];

/// The codes that no pure test names yet: the planted defects alone raise them.
const NOT_NAMED: [FindingCode; 11] = [
    FindingCode::StopIgnored,
    FindingCode::ExportRejected,
    FindingCode::FlushSlow,
    FindingCode::CarriersConflict,
    FindingCode::BurstLoss,
    FindingCode::Unsampled,
    FindingCode::MatchAmbiguous,
    FindingCode::TraceIdCollision,
    FindingCode::ParentCrossRequest,
    FindingCode::ParentOpen,
    FindingCode::SpanAcrossFreeze,
];

/// Where the pure tests are, below the package.
const TESTS: [&str; 2] = ["src", "tests"];

#[test]
fn every_code_is_raised_by_a_planted_defect() {
    let planted: BTreeSet<_> = Defect::ALL.iter().map(|defect| defect.finding().0).collect();
    let excepted: BTreeSet<_> = NOT_PLANTED.iter().map(|(code, _)| *code).collect();
    let missing: Vec<_> =
        FindingCode::ALL.iter().filter(|code| !planted.contains(code) && !excepted.contains(code)).collect();
    assert!(missing.is_empty(), "nothing plants {missing:?}");
    let needless: Vec<_> = planted.intersection(&excepted).collect();
    assert!(needless.is_empty(), "{needless:?} is planted and needs no exception");
}

#[test]
fn every_code_is_named_by_a_pure_test() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = TESTS.iter().flat_map(|folder| files(&package.join(folder)));
    let tests: String = files.filter_map(|file| tests_of(&file)).collect();
    let is_named =
        |code: &FindingCode| tests.contains(&format!("FindingCode::{code:?}")) || tests.contains(code.as_str());
    let nameless: Vec<_> = FindingCode::ALL.iter().filter(|code| !is_named(code)).collect();
    assert_eq!(nameless, NOT_NAMED.iter().collect::<Vec<_>>(), "no test names these");
}

/// The files of a folder and of those in it, but for the simulation's.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| !path.ends_with("simulation") && !path.ends_with("closure.rs"));
    own.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a file tests: all of it, or what follows the first mark of a test module.
fn tests_of(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let is_source = file.components().any(|part| part.as_os_str() == "src");
    if is_source { text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()) } else { Some(text) }
}
