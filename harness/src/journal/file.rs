//! Journals on disk: lines of JSON, one for each event, in segments that are compressed with zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use verifier::event::JOURNAL_VERSION;
use verifier::{Event, EventKind, Timestamp};

use crate::mask::Mask;

/// A segment is closed once it holds this much text.
const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// What was compressed reaches the file at least this often, so that a run that is killed leaves a
/// journal that is almost whole.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The cheapest: denser levels cost CPU time that the system under test may need.
const COMPRESSION_LEVEL: i32 = 1;

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no journal at this place.
    #[error(
        "{}: this is no journal: a journal is a file `journal-00001.jsonl.zst`, or a folder that holds such files",
        .0.display()
    )]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("{}: this journal cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is no event.
    #[error("{}: line {line} is no event of a journal: {error}", path.display())]
    NoEvent {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It does not begin where a run does.
    #[error("{}: this journal does not begin with the start of a run: name all its segments, in their order", .0.display())]
    NoStart(PathBuf),
    /// It was written by a later version.
    #[error("{}: this journal has version {found}, this harness reads version {JOURNAL_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that was found.
        found: u32,
    },
}

/// Writes a journal into a folder, segment by segment.
pub(crate) struct Writer {
    folder: PathBuf,
    mask: Mask,
    segment: Segment,
    segments: usize,
    flushed: Timestamp,
}

struct Segment {
    encoder: zstd::Encoder<'static, BufWriter<File>>,
    bytes: u64,
}

impl Segment {
    fn create(folder: &Path, number: usize) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(folder.join(format!("journal-{number:05}.jsonl.zst")))?);
        Ok(Self { encoder: zstd::Encoder::new(file, COMPRESSION_LEVEL)?, bytes: 0 })
    }

    fn finish(self) -> io::Result<()> {
        self.encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

impl Writer {
    /// A journal in this folder; secrets are masked in it.
    pub(crate) fn create(folder: &Path, mask: Mask) -> io::Result<Self> {
        let segment = Segment::create(folder, 1)?;
        Ok(Self { folder: folder.to_owned(), mask, segment, segments: 1, flushed: Timestamp::default() })
    }

    /// Appends an event.
    pub(crate) fn write(&mut self, event: &Event) -> io::Result<()> {
        if self.segment.bytes >= SEGMENT_BYTES {
            self.next_segment()?;
        }
        let mut line = self.mask.text(serde_json::to_string(event)?);
        line.push('\n');
        self.segment.encoder.write_all(line.as_bytes())?;
        self.segment.bytes += line.len() as u64;
        if event.at.since(self.flushed) >= FLUSH_EVERY {
            self.flushed = event.at;
            self.segment.encoder.flush()?;
        }
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.segments += 1;
        let next = Segment::create(&self.folder, self.segments)?;
        std::mem::replace(&mut self.segment, next).finish()
    }

    /// Ends the journal: all of it is on disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.segment.finish()
    }
}

/// The events of the journals at these paths, each a segment or a folder with segments, in their order.
///
/// A journal that was cut off ends where its last whole line does.
///
/// # Errors
/// If a path holds no journal, or, while reading, if a file cannot be read or is no journal.
pub fn read(paths: &[PathBuf]) -> Result<impl Iterator<Item = Result<Event, JournalError>> + use<>, JournalError> {
    let mut segments = Vec::new();
    for path in paths {
        segments.extend(segments_at(path)?);
    }
    Ok(segments.into_iter().flat_map(|path| Reader::open(path).map_or_else(failed, Either::Read)))
}

fn failed(error: JournalError) -> Either {
    Either::Failed(Some(error))
}

/// The events of a segment, or the reason why there are none.
enum Either {
    Read(Reader),
    Failed(Option<JournalError>),
}

impl Iterator for Either {
    type Item = Result<Event, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Read(reader) => reader.next(),
            Self::Failed(error) => error.take().map(Err),
        }
    }
}

/// The segments at a path, in their order.
fn segments_at(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|_| JournalError::NotFound(path.to_owned()))?;
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("journal-") && name.ends_with(".jsonl.zst")
    };
    let mut segments: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_segment).collect();
    segments.sort();
    if segments.is_empty() { Err(JournalError::NotFound(path.to_owned())) } else { Ok(segments) }
}

/// Reads one segment.
struct Reader {
    path: PathBuf,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    line: usize,
    ended: bool,
}

impl Reader {
    fn open(path: PathBuf) -> Result<Self, JournalError> {
        let decoder = File::open(&path).and_then(zstd::Decoder::new);
        match decoder {
            Ok(decoder) => Ok(Self { path, lines: BufReader::new(decoder), line: 0, ended: false }),
            Err(error) => Err(JournalError::Io { path, error }),
        }
    }

    fn next_event(&mut self) -> Result<Option<Event>, JournalError> {
        let mut line = Vec::new();
        match self.lines.read_until(b'\n', &mut line) {
            // The end, or a line that was being written when the run was killed.
            Ok(_) if line.last() != Some(&b'\n') => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(JournalError::Io { path: self.path.clone(), error }),
            Ok(_) => self.line += 1,
        }
        self.parse(&line).map(Some)
    }

    fn parse(&self, line: &[u8]) -> Result<Event, JournalError> {
        if let Some(found) = version(line).filter(|version| *version != JOURNAL_VERSION) {
            return Err(JournalError::Version { path: self.path.clone(), found });
        }
        let no_event = |error| JournalError::NoEvent { path: self.path.clone(), line: self.line, error };
        serde_json::from_slice(line).map_err(no_event)
    }
}

/// The version in a line that tells it, read apart: a later version may not be readable otherwise.
fn version(line: &[u8]) -> Option<u32> {
    if !line.windows(START_KEY.len()).any(|part| part == START_KEY) {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value.pointer("/kind/run_started/version")?.as_u64()?.try_into().ok()
}

/// What only the first line of a journal holds.
const START_KEY: &[u8] = b"\"run_started\"";

impl Iterator for Reader {
    type Item = Result<Event, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_event().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Whether an event is a journal's last.
pub(crate) fn is_last(event: &Event) -> bool {
    matches!(event.kind, EventKind::RunFinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64, kind: EventKind) -> Event {
        Event { at: Timestamp::from_unix_nanos(number), kind }
    }

    fn written(events: &[Event], secrets: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mask = Mask::new(secrets.iter().map(|secret| (*secret).to_owned()));
        let mut writer = Writer::create(folder.path(), mask).unwrap();
        events.iter().for_each(|event| writer.write(event).unwrap());
        writer.finish().unwrap();
        folder
    }

    fn read_back(folder: &Path) -> Result<Vec<Event>, JournalError> {
        read(&[folder.to_owned()])?.collect()
    }

    fn lost(what: &str) -> EventKind {
        EventKind::EvidenceLost { what: what.to_owned(), count: 1 }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let events: Vec<_> = (0..1_000).map(|number| event(number, EventKind::Ticked)).collect();
        assert_eq!(read_back(written(&events, &[]).path()).unwrap(), events);
    }

    #[test]
    fn secrets_do_not_reach_the_file() {
        let folder = written(&[event(1, lost("key s3cr3t refused"))], &["", "s3cr3t"]);
        assert_eq!(read_back(folder.path()).unwrap(), [event(1, lost("key *** refused"))]);
    }

    #[test]
    fn journal_that_was_cut_off_ends_at_its_last_whole_line() {
        let events: Vec<_> = (0..100).map(|number| event(number * 2_000_000_000, lost(&number.to_string()))).collect();
        let folder = written(&events, &[]);
        let file = folder.path().join("journal-00001.jsonl.zst");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let read = read_back(folder.path()).unwrap();
        assert!((1..100).contains(&read.len()), "{} events", read.len());
        assert_eq!(read, events[..read.len()]);
    }

    #[test]
    fn what_is_no_journal_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_back(folder.path()), Err(JournalError::NotFound(_))));
        assert!(matches!(read_back(&folder.path().join("no-such")), Err(JournalError::NotFound(_))));
        let file = folder.path().join("journal-00001.jsonl.zst");
        std::fs::write(&file, "plain text").unwrap();
        assert!(matches!(read_back(folder.path()), Err(JournalError::Io { .. })));
        std::fs::write(&file, zstd::encode_all(&b"{\"at\":1}\n"[..], 0).unwrap()).unwrap();
        let error = read_back(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 1 is no event of a journal: missing field `kind`"), "{error}");
    }

    #[test]
    fn journal_of_a_later_version_is_refused_by_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let line = b"{\"at\":1,\"kind\":{\"run_started\":{\"version\":99,\"new\":{}}}}\n";
        std::fs::write(folder.path().join("journal-00001.jsonl.zst"), zstd::encode_all(&line[..], 0).unwrap()).unwrap();
        assert!(matches!(read_back(folder.path()), Err(JournalError::Version { found: 99, .. })));
    }
}
