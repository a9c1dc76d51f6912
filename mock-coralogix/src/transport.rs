//! What carries the connections of a listener: plain sockets, or something that stands in between.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Accepts connections and carries what they hold.
pub trait Transport: Send + Sync + 'static {
    /// What the endpoint reads from and writes to, in place of a socket. What was written has to be on
    /// its way when a flush is over; before that it may wait.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Accepts the next connection.
    ///
    /// # Errors
    /// What the listener said.
    fn poll_accept(&self, cx: &mut Context<'_>, listener: &TcpListener) -> Poll<io::Result<Carried<Self::Stream>>>;
}

/// A connection that was accepted.
pub struct Carried<S> {
    /// The address of the process at its other end.
    pub from: SocketAddr,
    /// The endpoint's end.
    pub stream: S,
    /// Who is told how far its requests have come, if anybody is. It is let go of when the last request
    /// is done with, which may be after the stream.
    pub observer: Option<Arc<dyn StreamObserver>>,
    /// What has to run for it, until it ends by itself. The listener waits for it as for its own tasks.
    pub carrier: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Cancelled when the connection was cut on purpose: the endpoint drops its end and tells nobody.
    pub severed: CancellationToken,
}

/// Is told how far the requests of one HTTP/2 connection have come, from the frames that go by: within
/// the task of the connection, before what was read is acted upon, and before what was written is
/// flushed. Streams are named by their identifiers (RFC 9113, section 5.1.1).
pub trait StreamObserver: Send + Sync {
    /// The TLS handshake, if there is any, is over, and frames are read from now on.
    fn shaken(&self);
    /// The connection wants to read on and there is nothing: all frames that have come have been told.
    fn at_rest(&self);
    /// The client has acknowledged the endpoint's settings: the connection is set up.
    fn set_up(&self);
    /// A request has begun: its header was read.
    fn begun(&self, stream: u32);
    /// A request has been read to its end.
    fn whole(&self, stream: u32);
    /// The client does not wait for the answer any more.
    fn cancelled(&self, stream: u32);
    /// An answer has been written to its end, and goes out with the next flush.
    fn answered(&self, stream: u32);
}

/// The sockets as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Transport for Direct {
    type Stream = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>, listener: &TcpListener) -> Poll<io::Result<Carried<TcpStream>>> {
        let (stream, from) = ready!(listener.poll_accept(cx))?;
        // An answer is one small write after another: waiting for more to send only delays it. Where
        // the option is refused, answers are merely slower.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok(Carried { from, stream, observer: None, carrier: None, severed: CancellationToken::new() }))
    }
}
