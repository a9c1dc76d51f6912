//! A file's exports one after the other, whatever its form. The form is told by the content, not by the name:
//!
//! - OTLP/JSON: one document (also over many lines), one after another as the OpenTelemetry Collector's file exporter
//!   writes them, or a list of them, one resource at a time;
//! - the file exporter's other forms (`format: proto`, `compression: zstd`): each message after its length in four
//!   bytes, the highest first (opentelemetry-collector-contrib, `exporter/fileexporter`);
//! - one protobuf message;
//! - any of these compressed as a whole with gzip or zstd.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use mock_coralogix::otlp_json::{self, JsonError, Piece};
use verifier::otlp::{Malformed, Payload};

use super::open::{Form, Input, ZSTD, open};

/// The largest message that is read, compressed or not: what a collector writes at once is far smaller.
const LARGEST_MESSAGE: usize = 256 * 1024 * 1024;

/// What can be read, for messages.
const POSSIBLE: &str = "a run's folder or journal, or recorded OTLP: JSON, JSON lines, protobuf, or what the \
                        OpenTelemetry Collector's file exporter writes, also in gzip or zstd";

/// A recording that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There is nothing at this place.
    #[error("{}: there is no journal and no recording here; `verify` reads {POSSIBLE}", .0.display())]
    Empty(PathBuf),
    /// The file cannot be read.
    #[error("{}: this recording cannot be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is nothing that is known.
    #[error("{}: this is no recording ({why}); `verify` reads {POSSIBLE}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// It is JSON with something wrong in it, or that is no OTLP.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column in it, counted from 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// Some are journals, and others are not.
    #[error("{}: this is a journal, and {} is none: a run and a recording are judged apart", journal.display(), other.display())]
    Mixed {
        /// The journal.
        journal: PathBuf,
        /// What is none.
        other: PathBuf,
    },
    /// The contract cannot be used.
    #[error("{0}")]
    Contract(#[from] verifier::InvalidPattern),
    /// A message of it cannot be read.
    #[error("{}: the message at byte {offset} cannot be read: {why}", path.display())]
    Message {
        /// The file.
        path: PathBuf,
        /// Where its length stands, counted from 0 in what was decompressed.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

/// What a file holds beside the spans that it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Exports.
    pub exports: u64,
    /// Lists of resources of other signals.
    pub other_signals: u64,
    /// Things that stand where a resource, a scope or a span should, and are none.
    pub misplaced: u64,
    /// Whether it ends in the middle of something.
    pub cut_off: bool,
}

/// Reads a file and gives its spans to `sink`: those of an export at once, or one resource after the other.
///
/// # Errors
/// If it cannot be read, or something in it is no OTLP. That its end is missing is no error.
pub fn read(path: &Path, sink: &mut dyn FnMut(&Payload)) -> Result<Counts, RecordingError> {
    let (form, input) = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordingError::Empty(path.to_owned()),
        _ => RecordingError::Io { path: path.to_owned(), error },
    })?;
    let mut reading = Reading { path, sink, given: false, counts: Counts::default() };
    match form {
        Form::Empty => return Err(reading.unknown("it is empty")),
        Form::Json => reading.documents(input)?,
        Form::Other => reading.messages(input)?,
    }
    Ok(reading.counts)
}

struct Reading<'a> {
    path: &'a Path,
    sink: &'a mut dyn FnMut(&Payload),
    /// Whether anything was read.
    given: bool,
    counts: Counts,
}

impl Reading<'_> {
    fn io_error(&self, error: io::Error) -> RecordingError {
        RecordingError::Io { path: self.path.to_owned(), error }
    }

    fn unknown(&self, why: impl Into<String>) -> RecordingError {
        RecordingError::Unknown { path: self.path.to_owned(), why: why.into() }
    }

    fn take(&mut self, piece: &Piece) {
        self.given = true;
        match piece {
            Piece::Spans(payload) => (self.sink)(payload),
            Piece::OtherSignal => self.counts.other_signals += 1,
            Piece::Misplaced(count) => self.counts.misplaced += *count as u64,
            Piece::End => self.counts.exports += 1,
        }
    }

    fn take_export(&mut self, payload: Payload) {
        self.take(&Piece::Spans(payload));
        self.take(&Piece::End);
    }

    /// Documents of JSON, one after another.
    fn documents(&mut self, input: Input) -> Result<(), RecordingError> {
        let left = Cell::new(LARGEST_MESSAGE);
        let input = BufReader::with_capacity(64 * 1024, Limited { input, left: &left });
        let result = otlp_json::stream(input, &mut |piece| {
            left.set(LARGEST_MESSAGE);
            self.take(&piece);
        });
        result.or_else(|error| self.documents_end(error))
    }

    /// What it means that documents end with an error.
    fn documents_end(&mut self, error: JsonError) -> Result<(), RecordingError> {
        let path = || self.path.to_owned();
        Err(match error {
            JsonError::CutOff if self.given => {
                self.counts.cut_off = true;
                return Ok(());
            }
            JsonError::CutOff => self.unknown("it is JSON that ends in the middle of the first spans"),
            JsonError::NotJson { line, column, why } => {
                RecordingError::Json { path: path(), line, column, why: format!("this is no JSON: {why}") }
            }
            JsonError::NotOtlp { line, column, why } => {
                RecordingError::Json { path: path(), line, column, why: format!("this is no OTLP: {why}") }
            }
            JsonError::Io(error) => self.io_error(error),
        })
    }

    /// Protobuf: messages with their lengths before them, or a single one.
    fn messages(&mut self, mut input: Input) -> Result<(), RecordingError> {
        let first = match self.frame(&mut input, 0)? {
            Frame::Whole(message) if is_message(&message) => message,
            // What was taken for a length belongs to the message.
            Frame::Whole(message) => return self.unframed([&length_of(&message)[..], &message].concat(), input),
            Frame::CutOff(begun) => return self.unframed(begun, input),
            Frame::End => return self.unframed(Vec::new(), input),
        };
        let (mut message, mut offset) = (first, 0);
        loop {
            let length = message.len() as u64;
            self.framed(message, offset)?;
            offset += 4 + length;
            message = match self.frame(&mut input, offset)? {
                Frame::Whole(message) => message,
                Frame::CutOff(_) => break self.counts.cut_off = true,
                Frame::End => break,
            };
        }
        Ok(())
    }

    /// The next message with its length before it.
    fn frame(&mut self, input: &mut Input, offset: u64) -> Result<Frame, RecordingError> {
        let mut prefix = self.bytes(input, 4)?;
        let Ok(length) = <[u8; 4]>::try_from(prefix.as_slice()) else {
            return Ok(if prefix.is_empty() { Frame::End } else { Frame::CutOff(prefix) });
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST_MESSAGE {
            // The first is perhaps no length at all.
            return if offset == 0 {
                Ok(Frame::CutOff(prefix))
            } else {
                Err(self.no_message(offset, too_large(length)))
            };
        }
        let message = self.bytes(input, length)?;
        if message.len() == length {
            return Ok(Frame::Whole(message));
        }
        prefix.extend(message);
        Ok(Frame::CutOff(prefix))
    }

    /// So many bytes, or what there is: the end of a file that was compressed as a whole may be missing.
    fn bytes(&mut self, input: &mut Input, count: usize) -> Result<Vec<u8>, RecordingError> {
        let mut bytes = Vec::new();
        match input.take(count as u64).read_to_end(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.counts.cut_off = true,
            Err(error) => return Err(self.io_error(error)),
            Ok(_) => {}
        }
        Ok(bytes)
    }

    fn no_message(&self, offset: u64, why: impl ToString) -> RecordingError {
        RecordingError::Message { path: self.path.to_owned(), offset, why: why.to_string() }
    }

    /// A message as the file exporter frames them: protobuf or JSON, compressed or not.
    fn framed(&mut self, message: Vec<u8>, offset: u64) -> Result<(), RecordingError> {
        let message = match message.starts_with(ZSTD) {
            true => decompressed(&message).map_err(|error| self.no_message(offset, error))?,
            false => message,
        };
        if message.first() != Some(&b'{') {
            let payload = Payload::new(message.into());
            payload.validate().map_err(|error| self.no_message(offset, no_traces(error)))?;
            self.take_export(payload);
            return Ok(());
        }
        let document = otlp_json::read(&message).map_err(|error| self.no_message(offset, error))?;
        self.counts.other_signals += document.other_signals as u64;
        self.counts.misplaced += document.misplaced as u64;
        self.take_export(document.payload);
        Ok(())
    }

    /// A file that is not in the exporter's frames: `begun` and what follows is one message.
    fn unframed(&mut self, begun: Vec<u8>, mut input: Input) -> Result<(), RecordingError> {
        let mut message = begun;
        message.extend(self.bytes(&mut input, (LARGEST_MESSAGE + 1).saturating_sub(message.len()))?);
        if message.len() > LARGEST_MESSAGE {
            return Err(self.unknown(format!("it is no JSON, and larger than a message of {LARGEST_MESSAGE} bytes")));
        }
        let begins = format!("it begins with \"{}\"", message[..message.len().min(16)].escape_ascii());
        let payload = Payload::new(message.into());
        payload.validate().map_err(|error| self.unknown(format!("{begins}; as protobuf: {error}")))?;
        if payload.resources().next().is_none() {
            return Err(self.unknown(format!("{begins}; as protobuf, it holds no spans")));
        }
        self.take_export(payload);
        Ok(())
    }
}

/// A message with its length before it.
enum Frame {
    /// All of it.
    Whole(Vec<u8>),
    /// As much of it, its length included, as there is.
    CutOff(Vec<u8>),
    /// There is no other.
    End,
}

/// A message's length as it stands before it.
fn length_of(message: &[u8]) -> [u8; 4] {
    u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Whether bytes could be one of the exporter's messages.
fn is_message(bytes: &[u8]) -> bool {
    bytes.starts_with(ZSTD) || otlp_json::read(bytes).is_ok() || Payload::new(bytes.to_vec().into()).validate().is_ok()
}

fn decompressed(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd::Decoder::with_buffer(message)?.take(LARGEST_MESSAGE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST_MESSAGE { Err(io::Error::other(too_large(bytes.len()))) } else { Ok(bytes) }
}

fn too_large(length: usize) -> String {
    format!("it has {length} bytes or more, {LARGEST_MESSAGE} are read at most")
}

/// Protobuf says nothing of what it is: metrics and logs are traces that make no sense.
fn no_traces(error: Malformed) -> String {
    format!("{error}; is it of traces, and not of metrics or logs?")
}

/// Ends with an error where so many bytes have come that no more can be kept in memory.
struct Limited<'a> {
    input: Input,
    /// How many bytes may come until something was read.
    left: &'a Cell<usize>,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.left.get().checked_sub(count);
        let too_large = || io::Error::other(format!("a resource with its spans has more than {LARGEST_MESSAGE} bytes"));
        self.left.set(left.ok_or_else(too_large)?);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_ends_with_an_error_where_nothing_was_read_for_too_long() {
        let left = Cell::new(10);
        let mut input = Limited { input: Box::new(&[b'x'; 40][..]), left: &left };
        let mut buffer = [0; 6];
        for _ in 0..3 {
            assert_eq!(input.read(&mut buffer).unwrap(), 6);
            left.set(10);
        }
        assert_eq!(input.read(&mut buffer).unwrap(), 6);
        let error = input.read(&mut buffer).unwrap_err().to_string();
        assert!(error.contains("a resource with its spans has more than"), "{error}");
    }
}
