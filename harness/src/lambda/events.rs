//! What a function is invoked with, and how often.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::error::Error;

/// The event of a function that is given none.
const EMPTY_EVENT: &[u8] = b"{}";

/// The events of some files, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFiles(Vec<Bytes>);

impl EventFiles {
    /// Reads the files; `-` is standard input. Without any, there is one empty object.
    ///
    /// # Errors
    /// If a file cannot be read or is not JSON: then with the place in it.
    pub fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let events: Vec<_> = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
        Ok(Self(if events.is_empty() { vec![Bytes::from_static(EMPTY_EVENT)] } else { events }))
    }

    /// As many jobs as wanted, or one for each event; the events take turns.
    pub fn jobs(self, wanted: Option<u32>) -> Jobs {
        let count = wanted.map_or(self.0.len(), |count| count as usize);
        Jobs { events: self.0, count, next: AtomicUsize::new(0) }
    }
}

fn read(file: &Path) -> Result<Bytes, Error> {
    let unreadable = |error| Error::Usage(format!("the event {} cannot be read: {error}", file.display()));
    let text = match file.to_str() {
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin().lock().read_to_end(&mut text).map(|_| text)
        }
        _ => std::fs::read(file),
    };
    let text = text.map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&text)
        .map_err(|error| Error::Usage(format!("the event {} is not JSON: {error}", file.display())))?;
    Ok(text.into())
}

/// The invocations that are still to be made. Shared by all who make them.
#[derive(Debug)]
pub struct Jobs {
    events: Vec<Bytes>,
    count: usize,
    next: AtomicUsize,
}

impl Jobs {
    /// The event of the next invocation; none once there were enough.
    pub fn next(&self) -> Option<Bytes> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.count).then(|| self.events[number % self.events.len()].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn all(jobs: &Jobs) -> Vec<Bytes> {
        std::iter::from_fn(|| jobs.next()).collect()
    }

    #[test]
    fn events_take_turns_until_there_were_enough() {
        let folder = tempfile::tempdir().unwrap();
        let files = [file(&folder, "a.json", "1"), file(&folder, "b.json", "[2]")];
        assert_eq!(all(&EventFiles::read(&files).unwrap().jobs(None)), ["1", "[2]"]);
        assert_eq!(all(&EventFiles::read(&files).unwrap().jobs(Some(3))), ["1", "[2]", "1"]);
    }

    #[test]
    fn function_without_an_event_is_given_an_empty_one() {
        assert_eq!(all(&EventFiles::read(&[]).unwrap().jobs(None)), ["{}"]);
    }

    #[test]
    fn event_that_is_not_json_is_named_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let broken = file(&folder, "broken.json", "{\"a\":\n}");
        let message = EventFiles::read(&[broken]).unwrap_err().to_string();
        assert!(message.contains("broken.json is not JSON: expected value at line 2 column 1"), "{message}");
        let message = EventFiles::read(&["no/such.json".into()]).unwrap_err().to_string();
        assert!(message.starts_with("the event no/such.json cannot be read: "), "{message}");
    }
}
