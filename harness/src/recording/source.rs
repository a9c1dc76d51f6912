//! Which of the paths are journals, and which files are recordings.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::open;
use super::read::RecordingError;

/// Whether paths are those of a run's journal: a folder that holds its segments, or the segments.
///
/// # Errors
/// If one is, and another is not.
pub fn is_journal(paths: &[PathBuf]) -> Result<bool, RecordingError> {
    let (journals, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| match path.is_dir() {
        true => files_in(path).iter().any(|file| is_segment(file)),
        false => is_segment(path) || open::is_journal(path),
    });
    match (journals.first(), others.first()) {
        (Some(journal), Some(other)) => {
            Err(RecordingError::Mixed { journal: journal.to_path_buf(), other: other.to_path_buf() })
        }
        (journal, _) => Ok(journal.is_some()),
    }
}

/// Whether a file is named as the segments of journals are.
fn is_segment(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("journal-") && name.ends_with(".jsonl.zst")
}

/// What recordings in a folder are named like; a file that is named itself may have any name.
const RECORDINGS: [&str; 6] = [".json", ".jsonl", ".ndjson", ".pb", ".otlp", ".bin"];

fn is_recording(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = [".gz", ".zst"].into_iter().find_map(|layer| name.strip_suffix(layer)).unwrap_or(name);
    RECORDINGS.iter().any(|ending| plain.ends_with(ending))
}

/// The files at paths, each once; those of a folder that are named like recordings, in the order of their names, and
/// not those that are hidden. (Some files, as in /proc, never end.)
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, RecordingError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_in(path).into_iter().filter(|file| is_recording(file))),
            false => files.push(path.clone()),
        }
    }
    // What is read twice would be taken for spans that were sent twice.
    let mut known = HashSet::new();
    files.retain(|file| file.canonicalize().map_or(true, |file| known.insert(file)));
    match files.is_empty() {
        true => Err(RecordingError::Empty(paths.first().cloned().unwrap_or_default())),
        false => Ok(files),
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_read = |path: &PathBuf| path.is_file() && !is_hidden(path);
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_read).collect();
    files.sort();
    files
}
