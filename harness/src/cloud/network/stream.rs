//! The endpoint's end of a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mock_coralogix::StreamObserver;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::link::{Link, Taken};
use super::way::{LinkId, Shared};

/// What the endpoint reads from and writes to in place of a socket.
pub struct EndpointStream {
    network: Arc<Shared>,
    link: LinkId,
    /// Rings when the next bytes arrive.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for EndpointStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointStream").field("link", &self.link).finish_non_exhaustive()
    }
}

impl EndpointStream {
    pub(super) fn new(network: Arc<Shared>, link: LinkId) -> Self {
        Self { network, link, alarm: None }
    }

    /// Does something with the connection, unless it was cut.
    fn with<T>(&self, act: impl FnOnce(&mut Link, Instant) -> T) -> Option<T> {
        self.network.with(self.link, act)
    }

    /// Sets the alarm; ready if it has rung.
    fn poll_alarm(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        alarm.as_mut().poll(cx)
    }
}

impl AsyncRead for EndpointStream {
    /// A connection that was cut is at its end.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let taken = self.with(|link, now| link.take(cx, buffer, now));
            match taken.unwrap_or(Taken::Bytes) {
                Taken::Bytes => return Poll::Ready(Ok(())),
                Taken::Nothing => return Poll::Pending,
                Taken::NotBefore(at) if self.poll_alarm(at, cx).is_pending() => return Poll::Pending,
                Taken::NotBefore(_) => {}
            }
        }
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.with(|link, now| link.write(cx, bytes, now)) {
            Some(true) => Poll::Ready(Ok(bytes.len())),
            Some(false) => Poll::Pending,
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.with(|link, now| link.flush(cx, now)) {
            Some(true) => Poll::Ready(Ok(())),
            Some(false) => Poll::Pending,
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.as_mut().poll_flush(cx)?.is_pending() {
            return Poll::Pending;
        }
        self.with(|link, now| link.end(now));
        Poll::Ready(Ok(()))
    }
}

impl Drop for EndpointStream {
    fn drop(&mut self) {
        self.with(|link, now| link.leave(now));
    }
}

/// Keeps the books of a connection's requests. The endpoint holds it until the last of them is done with.
pub(super) struct Bookkeeper {
    network: Arc<Shared>,
    link: LinkId,
}

impl Bookkeeper {
    pub(super) fn new(network: Arc<Shared>, link: LinkId) -> Self {
        Self { network, link }
    }

    fn note(&self, act: impl FnOnce(&mut Link)) {
        self.network.with(self.link, |link, _| act(link));
    }
}

impl Drop for Bookkeeper {
    fn drop(&mut self) {
        self.network.done(self.link);
    }
}

impl StreamObserver for Bookkeeper {
    fn shaken(&self) {
        self.note(Link::shaken);
    }

    fn at_rest(&self) {
        self.note(Link::at_rest);
    }

    fn set_up(&self) {
        self.note(|link| link.exchanges.set_up());
    }

    fn begun(&self, stream: u32) {
        self.note(|link| link.exchanges.begun(stream));
    }

    fn whole(&self, stream: u32) {
        self.note(|link| link.exchanges.whole(stream));
    }

    fn cancelled(&self, stream: u32) {
        self.note(|link| link.exchanges.cancelled(stream));
    }

    fn answered(&self, stream: u32) {
        self.note(|link| link.answered(stream));
    }
}
