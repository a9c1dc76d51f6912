//! Opens a file, undoes its compression, and tells from the beginning what it holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// What a file in gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What a file or message in zstd begins with.
pub(super) const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What some editors put before text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How often a file may be compressed in itself.
const LAYERS: usize = 3;

/// How much of a file is looked at to tell what it is.
const HEAD: u64 = 4 * 1024;

/// A file's content, as it is when its compression is undone.
pub(super) type Input = Box<dyn BufRead>;

/// What a file seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing.
    Empty,
    /// An object or a list in JSON.
    Json,
    /// Something else: protobuf, if it is a recording.
    Other,
}

/// Opens a file.
pub(super) fn open(path: &Path) -> io::Result<(Form, Input)> {
    let (head, rest) = with_head(path)?;
    let form = form(&head);
    let mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() as u64 } else { 0 };
    let mut head = Cursor::new(head);
    head.set_position(mark);
    Ok((form, Box::new(head.chain(rest))))
}

/// Whether a file begins as a journal does: with an event, in zstd.
pub(super) fn is_journal(path: &Path) -> bool {
    let mut start = [0; ZSTD.len()];
    let is_zstd = File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *ZSTD;
    is_zstd && with_head(path).is_ok_and(|(head, _)| head.starts_with(b"{\"at\":"))
}

/// The beginning of a file's content, and the rest of it.
fn with_head(path: &Path) -> io::Result<(Vec<u8>, Input)> {
    let mut input = decompressed(Box::new(BufReader::new(File::open(path)?)))?;
    let mut head = Vec::new();
    match input.by_ref().take(HEAD).read_to_end(&mut head) {
        // Where the end is missing, that is told again when the rest is read.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok((head, input)),
    }
}

/// What is left when a file's compression is undone.
fn decompressed(mut input: Input) -> io::Result<Input> {
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

fn form(head: &[u8]) -> Form {
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    match text.trim_ascii_start() {
        [] => Form::Empty,
        text if is_json(text) => Form::Json,
        _ => Form::Other,
    }
}

/// Whether text goes on as JSON does. Protobuf may well begin like it: `\n{\n"` are the lengths and numbers of
/// fields too. But then no text follows the quotation mark.
fn is_json(text: &[u8]) -> bool {
    match text {
        [b'[', rest @ ..] => matches!(rest.trim_ascii_start(), [] | [b']', ..]) || is_json(rest.trim_ascii_start()),
        [b'{', rest @ ..] => match rest.trim_ascii_start() {
            [b'"', key, ..] => *key >= b' ',
            rest => matches!(rest, [] | [b'"' | b'}', ..]),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_told_by_how_the_content_goes_on() {
        for json in ["{\"a\":1}", "\n [ {\"a", "[]", "{}", "[[{\"a\"", "{", "[", "\u{feff}{\"a\"", "{\n  \"a\""] {
            assert_eq!(form(json.as_bytes()), Form::Json, "{json}");
        }
        for other in ["hello", "[1]", "{a", "\n{\n\"\n", "\n[\n\"\n", "\n{\u{12}", "7", "\"a\""] {
            assert_eq!(form(other.as_bytes()), Form::Other, "{other:?}");
        }
        for empty in ["", " \n", "\u{feff}"] {
            assert_eq!(form(empty.as_bytes()), Form::Empty, "{empty:?}");
        }
    }
}
