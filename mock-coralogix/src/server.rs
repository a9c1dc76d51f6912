//! Accepts the connections of one listener, and ends them.

use std::future::{Future, poll_fn};
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use verifier::Peer;

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::intake::Origin;
use crate::transport::{Carried, Direct, Transport};

/// How long to wait before accepting again when the process or the machine has no more resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often in a row accepting may fail for want of resources: five seconds long.
const ACCEPT_ATTEMPTS: u32 = 100;

/// A listener cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No further connection can be accepted. Connections that wait for it are not lost: they stay in
    /// the kernel's queue until the listener is closed.
    #[error("the OTLP listener for {peer} cannot accept connections: {source}")]
    Accept {
        /// For whom the listener was open.
        peer: Peer,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Serves one listener until `shutdown`, and takes whatever comes in by it as sent by `peer`.
///
/// At `shutdown` the port is closed, exports under way are answered, and clients are told to go. Those
/// that stay (a stopped process cannot go) are dropped after [`EndpointConfig::shutdown_grace`]. When
/// this returns, nothing that came in by the listener runs any more, and its observer has been told of
/// everything. Dropping the future instead drops all connections at once.
///
/// # Errors
/// If the listener cannot accept connections. A lack of file descriptors is waited out for five
/// seconds first.
///
/// [`EndpointConfig::shutdown_grace`]: crate::EndpointConfig::shutdown_grace
pub async fn serve(
    listener: TcpListener,
    endpoint: Endpoint,
    peer: Peer,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_over(Direct, listener, endpoint, peer, shutdown).await
}

/// As [`serve`], with something between the sockets and the endpoint.
///
/// # Errors
/// As [`serve`].
pub async fn serve_over(
    transport: impl Transport,
    listener: TcpListener,
    endpoint: Endpoint,
    peer: Peer,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut server = Server::new(endpoint, peer);
    let result = tokio::select! {
        result = server.accept_all(&transport, &listener) => result,
        () = shutdown => Ok(()),
    };
    drop(listener);
    server.finish().await;
    result
}

/// One listener's connections.
struct Server {
    endpoint: Endpoint,
    peer: Peer,
    tasks: TaskTracker,
    /// Connections end when their clients have their answers.
    stop: CancellationToken,
    /// Connections end at once.
    abort: CancellationToken,
    /// Sees to it that no connection outlives a [`serve`] whose future is dropped.
    _abort_on_drop: DropGuard,
    failed_accepts: u32,
}

impl Server {
    fn new(endpoint: Endpoint, peer: Peer) -> Self {
        let abort = CancellationToken::new();
        Self {
            endpoint,
            peer,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _abort_on_drop: abort.clone().drop_guard(),
            abort,
            failed_accepts: 0,
        }
    }

    async fn accept_all(&mut self, transport: &impl Transport, listener: &TcpListener) -> Result<(), ServeError> {
        loop {
            match poll_fn(|cx| transport.poll_accept(cx, listener)).await {
                Ok(carried) => self.accepted(carried),
                Err(error) => self.accept_failed(error).await?,
            }
        }
    }

    fn accepted<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&mut self, carried: Carried<S>) {
        self.failed_accepts = 0;
        let Carried { from, stream, observer, carrier, severed } = carried;
        let origin = Origin { endpoint: self.endpoint.clone(), peer: self.peer.clone(), from, streams: observer };
        let connection = Connection::new(origin, self.tasks.clone(), self.stop.clone());
        self.spawn(async move {
            tokio::select! {
                // A cut connection reads as ended, too.
                biased;
                () = severed.cancelled() => {}
                () = connection.run(stream) => {}
            }
        });
        if let Some(carrier) = carrier {
            self.spawn(carrier);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let aborted = self.abort.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = aborted => {}
                () = task => {}
            }
        });
    }

    /// Decides whether an error is the client's, one that passes, or the end.
    async fn accept_failed(&mut self, error: io::Error) -> Result<(), ServeError> {
        if is_of_one_connection(&error) {
            return Ok(());
        }
        self.failed_accepts += 1;
        if self.failed_accepts >= ACCEPT_ATTEMPTS {
            return Err(ServeError::Accept { peer: self.peer.clone(), source: error });
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
        Ok(())
    }

    /// Lets the connections come to their end, and drops those that do not.
    async fn finish(self) {
        self.stop.cancel();
        self.tasks.close();
        let grace = self.endpoint.shared().shutdown_grace;
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Whether only the connection that was being accepted is concerned (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
