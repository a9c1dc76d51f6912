//! One connection: its socket, its lanes and its requests.

use std::io;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exchanges::Exchanges;
use super::kernel;
use super::lane::{Lane, WINDOW};

/// How much is read from a socket at a time.
const READ: usize = 16 * 1024;

/// One connection. All of it is behind the lock of its network, and none of its functions waits.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Arc<TcpStream>,
    /// To the endpoint.
    up: Lane,
    /// To the function.
    down: Lane,
    /// What the endpoint has written and not flushed, and the answers that end with it.
    written: BytesMut,
    answered: Vec<u32>,
    pub(super) exchanges: Exchanges,
    /// The endpoint, when it has taken all that there is and waits for more.
    reader: Option<Waker>,
    /// Whether the endpoint reads frames, and not a handshake.
    shaken: bool,
    /// Whether it has read all frames that have come.
    rests: bool,
    /// The endpoint, when it waits for room.
    writer: Option<Waker>,
    /// Told when there is something to do for the pump.
    pub(super) pump: Arc<Notify>,
    /// Cancelled when the connection is cut.
    pub(super) severed: CancellationToken,
    /// The endpoint has dropped its end.
    left: bool,
    /// Nothing reaches the function any more, and it knows.
    half_closed: bool,
}

/// What a pump has to wait for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) to_read: bool,
    pub(super) to_write: bool,
    pub(super) alarm: Option<Instant>,
}

/// How far a delivery got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// What has arrived is the function's.
    WhatHasArrived,
    /// The function has not read what it was given before.
    AsFarAsItFits,
    /// The function has gone.
    InVain,
}

/// What the endpoint gets when it reads.
pub(super) enum Taken {
    /// Bytes, or the end if there are none.
    Bytes,
    /// Nothing yet; the next bytes arrive then.
    NotBefore(Instant),
    /// Nothing, and nothing is on its way.
    Nothing,
}

impl Link {
    pub(super) fn new(socket: TcpStream, latency: Duration) -> Self {
        Self {
            socket: Arc::new(socket),
            up: Lane::new(latency),
            down: Lane::new(latency),
            written: BytesMut::new(),
            answered: Vec::new(),
            exchanges: Exchanges::default(),
            reader: None,
            shaken: false,
            rests: false,
            writer: None,
            pump: Arc::default(),
            severed: CancellationToken::new(),
            left: false,
            half_closed: false,
        }
    }

    /// Moves what can be moved, and tells what there is to wait for. Nothing: the connection is over.
    pub(super) fn pump(&mut self, now: Instant) -> Option<Wants> {
        let to_write = self.deliver(now) == Delivered::AsFarAsItFits;
        self.receive(now);
        if self.left && self.down.end_arrived(now) {
            return None;
        }
        let alarm = self.down.due().filter(|due| *due > now);
        Some(Wants { to_read: self.receives() && self.up.has_room(), to_write, alarm })
    }

    /// Whether there is anything to be expected from the function.
    pub(super) fn receives(&self) -> bool {
        !self.left && !self.up.is_ended()
    }

    /// Takes what the function has sent.
    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; READ];
        while self.receives() && self.up.has_room() {
            match self.socket.try_read(&mut buffer) {
                Ok(0) => self.function_closed(now),
                Ok(length) => self.up.push(now, Bytes::copy_from_slice(&buffer[..length]), Vec::new()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.function_closed(now),
            }
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    fn function_closed(&mut self, now: Instant) {
        self.up.end(now);
        self.exchanges.give_up();
    }

    /// Gives the function what has arrived for it, and closes the requests that are answered by that.
    fn deliver(&mut self, now: Instant) -> Delivered {
        while let Some(bytes) = self.down.arrived(now) {
            let sent = match self.socket.try_write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Delivered::AsFarAsItFits,
                Err(_) => {
                    self.end_delivered();
                    return Delivered::InVain;
                }
            };
            self.down.take(sent).into_iter().for_each(|stream| self.exchanges.delivered(stream));
            self.writer.take().into_iter().for_each(Waker::wake);
        }
        if self.down.end_arrived(now) && !self.half_closed {
            self.end_delivered();
        }
        Delivered::WhatHasArrived
    }

    /// The function is told that nothing more will come, or has gone.
    fn end_delivered(&mut self) {
        // It fails if the function has gone: then it knows.
        let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write);
        self.half_closed = true;
        self.down.clear();
        self.exchanges.give_up();
    }

    /// Takes for the endpoint what has arrived.
    pub(super) fn take(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>, now: Instant) -> Taken {
        // Until it has come back and found nothing, it may have something in its hands.
        self.reader = None;
        self.rests = false;
        let had_room = self.up.has_room();
        let before = buffer.filled().len();
        while let Some(bytes) = self.up.arrived(now).filter(|_| buffer.remaining() > 0) {
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            self.up.take(count);
        }
        if !had_room && self.up.has_room() {
            self.pump.notify_one();
        }
        if buffer.filled().len() > before || self.up.end_arrived(now) {
            return Taken::Bytes;
        }
        self.reader = Some(cx.waker().clone());
        self.up.due().map_or(Taken::Nothing, Taken::NotBefore)
    }

    /// Takes what the endpoint writes, unless there is no room. It is sent when it is flushed.
    pub(super) fn write(&mut self, cx: &Context<'_>, bytes: &[u8], now: Instant) -> bool {
        if self.half_closed {
            return true;
        }
        if self.written.len() >= WINDOW && !self.flush(cx, now) {
            return false;
        }
        self.written.extend_from_slice(bytes);
        true
    }

    /// The handshake is over.
    pub(super) fn shaken(&mut self) {
        self.shaken = true;
    }

    /// The endpoint has come back for more frames, and found none.
    pub(super) fn at_rest(&mut self) {
        self.rests = true;
    }

    /// The endpoint has written an answer to its end.
    pub(super) fn answered(&mut self, stream: u32) {
        self.exchanges.answered(stream);
        self.answered.push(stream);
    }

    /// Sends what the endpoint has written, if there is room. Otherwise the endpoint is woken when there is.
    pub(super) fn flush(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if !self.down.has_room() {
            self.writer = Some(cx.waker().clone());
            return false;
        }
        self.send(now);
        true
    }

    fn send(&mut self, now: Instant) {
        if self.half_closed || self.written.is_empty() {
            return;
        }
        self.down.push(now, self.written.split().freeze(), std::mem::take(&mut self.answered));
        // Only what cannot be delivered at once is left to the pump.
        if self.deliver(now) != Delivered::WhatHasArrived || !self.down.is_empty() {
            self.pump.notify_one();
        }
    }

    /// The endpoint ends its direction.
    pub(super) fn end(&mut self, now: Instant) {
        self.down.end(now);
        self.pump.notify_one();
    }

    /// The endpoint drops its end. What it has written is delivered.
    pub(super) fn leave(&mut self, now: Instant) {
        self.left = true;
        self.send(now);
        self.end(now);
    }

    /// Delivers what is on its way to the function and ends the direction.
    pub(super) fn half_close(&mut self, now: Instant) {
        self.send(now);
        self.down.hurry(now);
        // What its socket does not take is lost: the function has not read for long.
        self.deliver(now);
        self.end_delivered();
    }

    /// Resets the connection, from the kernel's point of view at once.
    pub(super) fn reset(&self) {
        // Disconnecting an established socket sends RST. Closing it without lingering does so as well,
        // but not before everybody has let go of it.
        let _ = self.socket.set_zero_linger();
        let _ = rustix::net::connect_unspec(&*self.socket);
    }

    /// The connection is gone: whoever waits for it is told.
    pub(super) fn wake_all(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
        self.pump.notify_one();
    }

    /// Whether the function has written what is not at this end of its connection.
    pub(super) fn has_bytes_underway(&self) -> bool {
        self.receives() && kernel::bytes_not_arrived(&self.socket) > 0
    }

    /// Whether the endpoint has dropped its end.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// Whether the endpoint has taken all that has been read, and has come back for more.
    pub(super) fn is_handled(&self) -> bool {
        // That it waits for bytes is not enough: TLS asks for more while it has frames to hand on.
        let waits = self.reader.is_some() && (self.rests || !self.shaken);
        // At the function's end it does not come back: it leaves.
        self.left || (self.up.is_empty() && !self.up.is_ended() && waits)
    }

    /// Whether the endpoint owes an answer.
    pub(super) fn awaits_an_answer(&self) -> bool {
        self.exchanges.await_an_answer()
    }

    /// Whether it is being set up.
    pub(super) fn is_being_set_up(&self) -> bool {
        self.receives() && self.exchanges.are_being_set_up()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const LATENCY: Duration = Duration::from_secs(3600);

    /// A connection, and the function's end of it.
    async fn link() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let function = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = listener.accept().await.unwrap().0;
        // What is written at once is only tried where the socket is known to take it.
        socket.writable().await.unwrap();
        (Link::new(socket, LATENCY), function)
    }

    /// What a freeze finds.
    fn open(link: &mut Link) -> usize {
        link.exchanges.mark();
        link.exchanges.take_open()
    }

    #[tokio::test]
    async fn request_is_closed_when_its_answer_is_written_to_the_socket_and_not_before() {
        let (mut link, mut function) = link().await;
        let cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        link.exchanges.begun(1);
        link.exchanges.whole(1);
        assert!(link.write(&cx, b"answer", now));
        link.answered(1);
        link.pump(now + 2 * LATENCY);
        assert_eq!(open(&mut link), 1, "it is not flushed");
        assert!(link.flush(&cx, now));
        link.pump(now + LATENCY / 2);
        assert_eq!(open(&mut link), 1, "it is on its way");
        link.pump(now + LATENCY);
        assert_eq!(open(&mut link), 0);
        let mut answer = [0; 6];
        function.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn endpoint_has_handled_what_it_read_when_it_comes_back_for_more_frames() {
        let (mut link, _function) = link().await;
        let cx = Context::from_waker(Waker::noop());
        let now = Instant::now();
        let mut buffer = [0; 10];
        assert!(!link.is_handled(), "it has not looked yet");
        assert!(matches!(link.take(&cx, &mut ReadBuf::new(&mut buffer), now), Taken::Nothing));
        assert!(link.is_handled(), "it waits for a handshake");

        link.shaken();
        link.up.push(now, Bytes::from_static(b"frame"), Vec::new());
        assert!(matches!(link.take(&cx, &mut ReadBuf::new(&mut buffer), now), Taken::NotBefore(_)));
        assert!(!link.is_handled(), "it is on its way");
        assert!(matches!(link.take(&cx, &mut ReadBuf::new(&mut buffer), now + LATENCY), Taken::Bytes));
        assert!(!link.is_handled(), "it has it in its hands");
        assert!(matches!(link.take(&cx, &mut ReadBuf::new(&mut buffer), now + LATENCY), Taken::Nothing));
        assert!(!link.is_handled(), "TLS wants more and has not handed it on");
        link.at_rest();
        assert!(link.is_handled());
    }
}
