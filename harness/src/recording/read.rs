//! A file's exports one after the other, whatever its form. The form is told by the content, not by the name:
//!
//! - OTLP/JSON: one document (also over many lines), one after another as the OpenTelemetry Collector's file exporter
//!   writes them, or a list of them;
//! - the file exporter's other forms (`format: proto`, `compression: zstd`): each message after its length in four
//!   bytes, the highest first (opentelemetry-collector-contrib, `exporter/fileexporter`);
//! - one protobuf message;
//! - any of these compressed as a whole with gzip or zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use mock_coralogix::otlp_json::{self, JsonError};
use serde_json::Value;
use verifier::otlp::{Malformed, Payload};

/// The largest message that is read, compressed or not: what a collector writes at once is far smaller.
const LARGEST_MESSAGE: usize = 256 * 1024 * 1024;

/// How often a file may be compressed in itself.
const LAYERS: usize = 3;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

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
    /// It is JSON with something wrong in it.
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
    /// The contract cannot be used.
    #[error("{0}")]
    Contract(#[from] verifier::InvalidPattern),
    /// A document of it is no OTLP.
    #[error("{}: document {number}: {error}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Which one, counted from 1.
        number: u64,
        /// What is wrong.
        error: JsonError,
    },
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

/// What a file holds beside the exports that it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Exports.
    pub exports: u64,
    /// Lists of resources of other signals.
    pub other_signals: u64,
    /// Whether it ends in the middle of something.
    pub cut_off: bool,
}

/// Reads a file and gives its exports to `sink`.
///
/// # Errors
/// If it cannot be read, or something in it is no OTLP. That its end is missing is no error.
pub fn read(path: &Path, sink: &mut impl FnMut(&Payload)) -> Result<Counts, RecordingError> {
    let io_error = |error| RecordingError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordingError::Empty(path.to_owned()),
        _ => io_error(error),
    })?;
    let mut input = decompressed(Box::new(BufReader::new(file))).map_err(io_error)?;
    let start = input.fill_buf().map_err(io_error)?;
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    let mut reading = Reading { path, sink, counts: Counts::default() };
    match first {
        Some(b'{' | b'[') => reading.documents(input)?,
        Some(_) => reading.messages(input)?,
        None => return Err(RecordingError::Unknown { path: path.to_owned(), why: "it is empty".to_owned() }),
    }
    Ok(reading.counts)
}

/// What is left when a file's compression is undone.
fn decompressed(mut input: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    for _ in 0..LAYERS {
        let start = input.fill_buf()?;
        input = match start {
            start if start.starts_with(GZIP) => Box::new(BufReader::new(MultiGzDecoder::new(input))),
            start if start.starts_with(ZSTD) => Box::new(BufReader::new(zstd::Decoder::with_buffer(input)?)),
            _ => break,
        };
    }
    Ok(input)
}

struct Reading<'a, F> {
    path: &'a Path,
    sink: &'a mut F,
    counts: Counts,
}

impl<F: FnMut(&Payload)> Reading<'_, F> {
    fn take(&mut self, payload: &Payload) {
        self.counts.exports += 1;
        (self.sink)(payload);
    }

    /// Documents of JSON, one after another.
    fn documents(&mut self, input: Box<dyn BufRead>) -> Result<(), RecordingError> {
        for (number, value) in (1..).zip(serde_json::Deserializer::from_reader(input).into_iter::<Value>()) {
            match value {
                Ok(value) => self.document(number, &value)?,
                Err(error) if error.is_eof() && self.counts.exports > 0 => self.counts.cut_off = true,
                Err(error) => return Err(self.json_error(&error)),
            }
        }
        Ok(())
    }

    fn document(&mut self, number: u64, value: &Value) -> Result<(), RecordingError> {
        let path = || self.path.to_owned();
        let document =
            otlp_json::document(value).map_err(|error| RecordingError::Document { path: path(), number, error })?;
        self.counts.other_signals += document.other_signals as u64;
        self.take(&document.payload);
        Ok(())
    }

    fn json_error(&self, error: &serde_json::Error) -> RecordingError {
        let path = self.path.to_owned();
        match error.io_error_kind() {
            Some(kind) => RecordingError::Io { path, error: kind.into() },
            None => {
                let (line, column) = (error.line(), error.column());
                let text = error.to_string();
                let why = text.split(" at line ").next().unwrap_or(&text).to_owned();
                RecordingError::Json { path, line, column, why: format!("this is no JSON: {why}") }
            }
        }
    }

    /// Protobuf: messages with their lengths before them, or a single one.
    fn messages(&mut self, mut input: Box<dyn BufRead>) -> Result<(), RecordingError> {
        let mut offset = 0;
        let Some(first) = self.message(&mut input, offset)? else { return self.single(Vec::new()) };
        match first {
            Framed::Whole(bytes) if is_message(&bytes) => {
                offset += 4 + bytes.len() as u64;
                self.framed(bytes, 0)?;
            }
            // What was taken for a length belongs to the message.
            Framed::Whole(bytes) => return self.unframed([&length_of(&bytes)[..], &bytes].concat(), input),
            Framed::CutOff(bytes) => return self.unframed(bytes, input),
        }
        while let Some(next) = self.message(&mut input, offset)? {
            let Framed::Whole(bytes) = next else {
                self.counts.cut_off = true;
                return Ok(());
            };
            let at = offset;
            offset += 4 + bytes.len() as u64;
            self.framed(bytes, at)?;
        }
        Ok(())
    }

    /// The next message with its length before it; nothing at the end.
    fn message(&self, input: &mut Box<dyn BufRead>, offset: u64) -> Result<Option<Framed>, RecordingError> {
        let io_error = |error| RecordingError::Io { path: self.path.to_owned(), error };
        let mut prefix = Vec::with_capacity(4);
        input.by_ref().take(4).read_to_end(&mut prefix).map_err(io_error)?;
        let Ok(length) = <[u8; 4]>::try_from(prefix.as_slice()) else {
            return Ok((!prefix.is_empty()).then_some(Framed::CutOff(prefix)));
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST_MESSAGE {
            let why = format!("it has {length} bytes, {LARGEST_MESSAGE} are read at most");
            let first = offset == 0;
            let error = RecordingError::Message { path: self.path.to_owned(), offset, why };
            return if first { Ok(Some(Framed::CutOff(prefix))) } else { Err(error) };
        }
        let mut bytes = Vec::new();
        input.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(io_error)?;
        if bytes.len() < length {
            prefix.extend(bytes);
            return Ok(Some(Framed::CutOff(prefix)));
        }
        Ok(Some(Framed::Whole(bytes)))
    }

    /// A message as the file exporter frames them: protobuf or JSON, compressed or not.
    fn framed(&mut self, bytes: Vec<u8>, offset: u64) -> Result<(), RecordingError> {
        let failed = |why: String| RecordingError::Message { path: self.path.to_owned(), offset, why };
        let bytes = match bytes.starts_with(ZSTD) {
            true => zstd::bulk::decompress(&bytes, LARGEST_MESSAGE).map_err(|error| failed(error.to_string()))?,
            false => bytes,
        };
        if bytes.first() == Some(&b'{') {
            let document = otlp_json::read(&bytes).map_err(|error| failed(error.to_string()))?;
            self.counts.other_signals += document.other_signals as u64;
            self.take(&document.payload);
            return Ok(());
        }
        let payload = Payload::new(bytes.into());
        payload.validate().map_err(|error| failed(error.to_string()))?;
        self.take(&payload);
        Ok(())
    }

    /// A file that is not in the exporter's frames: `begun` and what follows is one message.
    fn unframed(&mut self, begun: Vec<u8>, input: Box<dyn BufRead>) -> Result<(), RecordingError> {
        let mut bytes = begun;
        let limit = (LARGEST_MESSAGE as u64 + 1).saturating_sub(bytes.len() as u64);
        input
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| RecordingError::Io { path: self.path.to_owned(), error })?;
        self.single(bytes)
    }

    fn single(&mut self, bytes: Vec<u8>) -> Result<(), RecordingError> {
        let unknown = |why: String| RecordingError::Unknown { path: self.path.to_owned(), why };
        if bytes.len() > LARGEST_MESSAGE {
            return Err(unknown(format!("it is no JSON, and larger than a message of {LARGEST_MESSAGE} bytes")));
        }
        let payload = Payload::new(bytes.into());
        payload.validate().map_err(|error: Malformed| unknown(format!("as protobuf: {error}")))?;
        if payload.resources().next().is_none() {
            return Err(unknown("as protobuf, it holds no spans".to_owned()));
        }
        self.take(&payload);
        Ok(())
    }
}

/// A message with its length before it.
enum Framed {
    /// All of it.
    Whole(Vec<u8>),
    /// As much of it, its length included, as there is.
    CutOff(Vec<u8>),
}

/// A message's length as it stands before it.
fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Whether bytes could be one of the exporter's messages.
fn is_message(bytes: &[u8]) -> bool {
    let is_json = || bytes.first() == Some(&b'{') && serde_json::from_slice::<Value>(bytes).is_ok();
    bytes.starts_with(ZSTD)
        || is_json()
        || (!bytes.is_empty() && Payload::new(bytes.to_vec().into()).validate().is_ok())
}
