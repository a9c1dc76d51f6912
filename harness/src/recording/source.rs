//! Which of the paths are journals, and which files are recordings.

use std::path::{Path, PathBuf};

use super::read::RecordingError;

/// Whether paths are those of a run's journal: a folder that holds its segments, or the segments.
pub fn is_journal(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| match path.is_dir() {
        true => files_in(path).iter().any(|file| is_segment(file)),
        false => is_segment(path),
    })
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

/// The files at paths; those of a folder that are named like recordings, in the order of their names.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, RecordingError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_in(path).into_iter().filter(|file| is_recording(file))),
            false => files.push(path.clone()),
        }
    }
    match files.is_empty() {
        true => Err(RecordingError::Empty(paths.first().cloned().unwrap_or_default())),
        false => Ok(files),
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}
