//! The frames of an HTTP/2 connection, as they go by.
//!
//! Where a request stands is told by its frames alone, and not by what the HTTP library does with them:
//! so it is known which bytes end an answer, however the library schedules its work.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::StreamObserver;

/// What a client sends before its first frame: `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, section 3.4).
const PREFACE_LENGTH: usize = 24;
/// The part of a frame that is the same for all (section 4.1).
const HEADER_LENGTH: usize = 9;

/// Types of frames (section 6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;

/// Flags of frames: `END_STREAM` of DATA and HEADERS, `ACK` of SETTINGS.
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;

/// What is worth knowing of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Reads along in one direction. Whatever it is fed, it keeps no more than a header.
struct FrameReader {
    header: [u8; HEADER_LENGTH],
    /// How much of the header is there.
    have: usize,
    /// How many bytes to pass over until the next header.
    skip: usize,
}

impl FrameReader {
    /// A direction that begins with so many bytes that are no frame.
    fn after(skip: usize) -> Self {
        Self { header: [0; HEADER_LENGTH], have: 0, skip }
    }

    fn read(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            bytes = self.fill(bytes);
            if self.have == HEADER_LENGTH {
                self.have = 0;
                seen(self.decode());
            }
        }
    }

    /// Completes the header as far as the bytes reach, and gives back the rest of them.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at((HEADER_LENGTH - self.have).min(bytes.len()));
        self.header[self.have..self.have + taken.len()].copy_from_slice(taken);
        self.have += taken.len();
        rest
    }

    fn decode(&mut self) -> Frame {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.header;
        self.skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        // The first bit of the identifier is reserved.
        Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1) }
    }
}

/// A stream of bytes that is HTTP/2, and who is told what goes by.
pub(crate) struct Watched<S> {
    inner: S,
    watch: Option<Watch>,
}

struct Watch {
    observer: Arc<dyn StreamObserver>,
    incoming: FrameReader,
    outgoing: FrameReader,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, observer: Option<Arc<dyn StreamObserver>>) -> Self {
        if let Some(observer) = &observer {
            observer.shaken();
        }
        let watch = observer.map(|observer| Watch {
            observer,
            incoming: FrameReader::after(PREFACE_LENGTH),
            outgoing: FrameReader::after(0),
        });
        Self { inner, watch }
    }
}

impl Watch {
    fn read(&mut self, bytes: &[u8]) {
        let observer = &self.observer;
        self.incoming.read(bytes, |frame| {
            match frame.kind {
                // The trailers of a request that has begun look the same: the observer knows it by its stream.
                HEADERS => observer.begun(frame.stream),
                RST_STREAM => observer.cancelled(frame.stream),
                SETTINGS if frame.flags & ACK != 0 => observer.set_up(),
                _ => {}
            }
            if frame.ends_stream() {
                observer.whole(frame.stream);
            }
        });
    }

    fn written(&mut self, bytes: &[u8]) {
        let observer = &self.observer;
        self.outgoing.read(bytes, |frame| {
            if frame.ends_stream() || frame.kind == RST_STREAM {
                observer.answered(frame.stream);
            }
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        match &mut self.watch {
            Some(watch) if read.is_pending() => watch.observer.at_rest(),
            Some(watch) => watch.read(&buf.filled()[before..]),
            None => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        if let Some(watch) = &mut self.watch {
            watch.written(&bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(&'static str, u32)>>);

    impl Told {
        fn tell(&self, what: &'static str, stream: u32) {
            self.0.lock().unwrap().push((what, stream));
        }
    }

    impl StreamObserver for Told {
        fn shaken(&self) {}
        fn at_rest(&self) {}
        fn set_up(&self) {
            self.tell("set up", 0);
        }
        fn begun(&self, stream: u32) {
            self.tell("begun", stream);
        }
        fn whole(&self, stream: u32) {
            self.tell("whole", stream);
        }
        fn cancelled(&self, stream: u32) {
            self.tell("cancelled", stream);
        }
        fn answered(&self, stream: u32) {
            self.tell("answered", stream);
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(vec![0xff; length.into()]);
        frame
    }

    /// What is told of these frames when so many bytes come at a time.
    fn told(direction: impl Fn(&mut Watch, &[u8]), bytes: &[u8], at_a_time: usize) -> Vec<(&'static str, u32)> {
        let told = Arc::new(Told::default());
        let mut watched = Watched::new((), Some(told.clone()));
        bytes.chunks(at_a_time).for_each(|chunk| direction(watched.watch.as_mut().unwrap(), chunk));
        let told = told.0.lock().unwrap();
        told.clone()
    }

    #[test]
    fn request_is_told_of_however_its_bytes_are_cut() {
        let frames = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, 0, 18),
            frame(SETTINGS, ACK, 0, 0),
            frame(HEADERS, 0x4, 1, 40),
            frame(DATA, 0, 1, 200),
            frame(DATA, END_STREAM, 1, 0),
            frame(HEADERS, 0x4, 1 << 31 | 3, 7),
            frame(RST_STREAM, 0, 3, 4),
        ]
        .concat();
        for at_a_time in [1, 2, 8, 9, 10, 23, 1000] {
            let told = told(Watch::read, &frames, at_a_time);
            assert_eq!(told, [("set up", 0), ("begun", 1), ("whole", 1), ("begun", 3), ("cancelled", 3)]);
        }
    }

    #[test]
    fn answer_ends_with_its_trailers_and_not_with_its_header() {
        let header = [frame(SETTINGS, 0, 0, 6), frame(HEADERS, 0x4, 1, 20), frame(DATA, 0, 1, 5)].concat();
        assert_eq!(told(Watch::written, &header, 1000), []);
        let trailers = [header, frame(HEADERS, 0x4 | END_STREAM, 1, 9)].concat();
        assert_eq!(told(Watch::written, &trailers, 1000), [("answered", 1)]);
    }

    #[test]
    fn control_frames_are_no_requests() {
        let (ping, window_update, goaway) = (0x6, 0x8, 0x7);
        let control = [frame(ping, 0, 0, 8), frame(window_update, 0, 0, 4), frame(goaway, 0, 0, 8)].concat();
        let preface = [0; PREFACE_LENGTH];
        assert_eq!(told(Watch::read, &[&preface[..], &control].concat(), 1000), []);
    }
}
