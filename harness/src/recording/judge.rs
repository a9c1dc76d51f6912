//! Recordings, judged.

use std::path::PathBuf;

use verifier::{Judgement, Recorded, TraceContract};

use super::read::{RecordingError, read};
use super::source::files;

/// What recordings came to.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The judgement.
    pub judgement: Judgement,
    /// The name of the contract, if they were judged by one.
    pub contract: Option<String>,
    /// How many files there were.
    pub files: u64,
    /// How many exports they held.
    pub exports: u64,
    /// How many lists of resources of other signals they held, which were skipped.
    pub other_signals: u64,
}

/// Judges the recordings at paths: by a contract, or by what must hold of any trace.
///
/// # Errors
/// If one of them cannot be read.
pub fn judge(paths: &[PathBuf], contract: Option<TraceContract>) -> Result<Recording, RecordingError> {
    let name = contract.as_ref().map(|contract| contract.name.clone());
    let mut recorded = Recorded::new(contract)?;
    let (mut exports, mut other_signals) = (0, 0);
    let files = files(paths)?;
    for file in &files {
        let counts = read(file, &mut |payload| recorded.take(payload))?;
        exports += counts.exports;
        other_signals += counts.other_signals;
        if counts.cut_off {
            recorded.doubt(format!("{} ends in the middle of an export", file.display()));
        }
        if counts.misplaced > 0 {
            let what = "in the place of resources, scopes or spans is something else";
            recorded.doubt(format!("{}: {what}, {} times", file.display(), counts.misplaced));
        }
    }
    let files = files.len() as u64;
    Ok(Recording { judgement: recorded.finish(), contract: name, files, exports, other_signals })
}
