//! Bytes that are worth reading every time: one file each, `tests/wire/corpus/`, which is also where fuzzing begins.

use std::fs;
use std::path::Path;

/// The name and the bytes of each entry.
#[expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]
pub(crate) fn entries() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/corpus");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect()
}
