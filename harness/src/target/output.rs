//! What a process printed: the last lines in memory, the rest in a file, both bounded.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::mask::Mask;

/// How many of its last lines are kept of every process.
const TAIL_LINES: usize = 20;
/// How many bytes of one such line are kept.
const LINE_BYTES: usize = 1024;
/// How many of its first bytes a process's file holds.
const HEAD_BYTES: usize = 1024 * 1024;
/// How many of its last bytes a process's file holds, if it printed more than the first.
const ROLLING_BYTES: usize = 64 * 1024;

/// The last lines that a process printed. Cheap to clone; all clones see the same lines.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<Lines>>);

impl Tail {
    /// The last lines, the oldest first, at most 20 of at most 1 KiB each.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lock();
        let open = (!lines.open.is_empty()).then_some(&lines.open);
        let surplus = (lines.whole.len() + usize::from(open.is_some())).saturating_sub(TAIL_LINES);
        lines.whole.iter().skip(surplus).chain(open).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    fn push(&self, bytes: &[u8]) {
        let mut lines = self.lock();
        bytes.iter().for_each(|byte| lines.push(*byte));
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Lines {
    whole: VecDeque<Vec<u8>>,
    /// The line that has not come to its end.
    open: Vec<u8>,
}

impl Lines {
    fn push(&mut self, byte: u8) {
        match byte {
            b'\n' => self.close(),
            _ if self.open.len() < LINE_BYTES => self.open.push(byte),
            _ => {}
        }
    }

    fn close(&mut self) {
        if self.whole.len() == TAIL_LINES {
            self.whole.pop_front();
        }
        self.whole.push_back(std::mem::take(&mut self.open));
    }
}

/// What a process prints, and where that goes.
#[derive(Debug)]
pub(super) struct Output {
    /// Both of its streams: one pipe keeps their order.
    pub(super) pipe: pipe::Receiver,
    /// Its file, if it has one.
    pub(super) log: Option<PathBuf>,
}

/// Reads what a process prints until the pipe ends, or until nobody waits for more.
pub(super) async fn capture(output: Output, tail: Tail, mask: Mask, enough: CancellationToken) {
    let (mut pipe, mut log) = (output.pipe, Log::new(output.log));
    let mut masked = mask.stream();
    let mut buffer = vec![0; 4096];
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => read,
            () = enough.cancelled() => break,
        };
        let Some(bytes) = read.ok().and_then(|length| buffer.get(..length)).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        let bytes = masked.push(bytes);
        tail.push(&bytes);
        log.write(&bytes).await;
    }
    let rest = masked.finish();
    tail.push(&rest);
    log.write(&rest).await;
    log.finish().await;
}

/// The file of one process. It comes into being with the first byte.
#[derive(Debug)]
struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    excerpt: Excerpt,
}

impl Log {
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, excerpt: Excerpt::default() }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let head = self.excerpt.push(bytes);
        self.append(head).await;
    }

    async fn finish(mut self) {
        let rest = std::mem::take(&mut self.excerpt).finish();
        self.append(&rest).await;
    }

    async fn append(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_append(bytes).await {
            tracing::warn!(%error, path = ?self.path, "what a process prints is no longer written to its file");
            self.path = None;
            self.file = None;
        }
    }

    async fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| !bytes.is_empty()) else { return Ok(()) };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create(path).await?),
        };
        file.write_all(bytes).await?;
        file.flush().await
    }
}

/// The first and the last bytes of a stream, and how many there were between them.
#[derive(Debug, Default)]
struct Excerpt {
    head: usize,
    rolling: VecDeque<u8>,
    cut: u64,
}

impl Excerpt {
    /// Takes bytes in; gives those back that belong to the head and can be written now.
    fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head));
        self.head += head.len();
        self.rolling.extend(rest);
        let surplus = self.rolling.len().saturating_sub(ROLLING_BYTES);
        self.rolling.drain(..surplus);
        self.cut += surplus as u64;
        head
    }

    /// What follows the head.
    fn finish(self) -> Vec<u8> {
        let notice = match self.cut {
            0 => Vec::new(),
            cut => format!("\n[{cut} bytes were cut here]\n").into_bytes(),
        };
        notice.into_iter().chain(self.rolling).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_is_the_last_lines_and_the_one_that_is_not_finished() {
        let tail = Tail::default();
        (0..100).for_each(|number| tail.push(format!("line {number}\n").as_bytes()));
        tail.push(b"and then");
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 81"));
        assert_eq!(lines.last().map(String::as_str), Some("and then"));
    }

    #[test]
    fn endless_line_is_cut() {
        let tail = Tail::default();
        tail.push(&[b'x'; 10 * LINE_BYTES]);
        assert_eq!(tail.lines(), ["x".repeat(LINE_BYTES)]);
    }

    #[test]
    fn short_output_is_kept_whole() {
        let mut excerpt = Excerpt::default();
        assert_eq!(excerpt.push(b"short"), b"short");
        assert!(excerpt.finish().is_empty());
    }

    #[test]
    fn long_output_keeps_both_ends_and_counts_what_was_cut() {
        let mut excerpt = Excerpt::default();
        assert_eq!(excerpt.push(&vec![b'a'; HEAD_BYTES - 1]).len(), HEAD_BYTES - 1);
        assert_eq!(excerpt.push(b"bc"), b"b");
        assert!(excerpt.push(&vec![b'd'; ROLLING_BYTES]).is_empty());
        assert_eq!(excerpt.cut, 1);
        let rest = excerpt.finish();
        assert!(rest.starts_with(b"\n[1 bytes were cut here]\nd"));
        assert!(rest.ends_with(b"dd"));
    }

    #[tokio::test]
    async fn process_that_prints_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent.log");
        Log::new(Some(path.clone())).finish().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn file_holds_what_was_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.log");
        let mut log = Log::new(Some(path.clone()));
        log.write(b"one\n").await;
        log.write(b"two\n").await;
        log.finish().await;
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }
}
