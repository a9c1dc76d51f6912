//! One connection: its TLS handshake and its HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frames::Watched;
use crate::intake::{Origin, answer};
use crate::observer::{Received, Refusal};

/// One connection of a listener.
pub(crate) struct Connection {
    origin: Arc<Origin>,
    /// Where the requests of the connection run, so that the listener can wait for them.
    tasks: TaskTracker,
    /// The connection is to end as soon as its client has its answers.
    stop: CancellationToken,
    /// Whether it has carried a request: only then has the client been speaking HTTP/2.
    used: Arc<AtomicBool>,
}

impl Connection {
    pub(crate) fn new(origin: Origin, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { origin: Arc::new(origin), tasks, stop, used: Arc::default() }
    }

    /// Serves the connection until its client closes it or `stop` is told.
    pub(crate) async fn run(self, socket: impl AsyncRead + AsyncWrite + Unpin) {
        match self.origin.endpoint.shared().tls.clone() {
            None => self.serve_http2(socket).await,
            Some(acceptor) => {
                if let Some(stream) = self.shake_hands(acceptor, socket).await {
                    self.serve_http2(stream).await;
                }
            }
        }
    }

    async fn shake_hands<S>(&self, acceptor: TlsAcceptor, socket: S) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.origin.endpoint.shared().handshake_timeout;
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(limit, acceptor.accept(socket)) => shaken,
            () = self.stop.cancelled() => return None,
        };
        let why = match shaken {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not finished within {limit:?}"),
        };
        self.refuse(Refusal::Handshake { why });
        None
    }

    async fn serve_http2(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request: http::Request<Incoming>| {
            self.used.store(true, Ordering::Relaxed);
            let answered = answer(Arc::clone(&self.origin), request);
            async { Ok::<_, Infallible>(answered.await) }
        });
        let io = Watched::new(io, self.origin.streams.clone());
        let tasks = Tasks(self.tasks.clone());
        let builder = http2::Builder::new(tasks).timer(TokioTimer::new()).to_owned();
        let mut http2 = pin!(builder.serve_connection(TokioIo::new(io), service));
        let result = tokio::select! {
            // What the client has already sent is read before it is told to go.
            biased;
            result = http2.as_mut() => result,
            () = self.stop.cancelled() => {
                http2.as_mut().graceful_shutdown();
                http2.await
            }
        };
        if let Err(error) = result {
            self.ended(&error);
        }
    }

    /// A connection that has carried requests may end in any way: its client has its answers or knows
    /// that it has none. One that has not is a client that speaks something else.
    fn ended(&self, error: &hyper::Error) {
        if !self.used.load(Ordering::Relaxed) && !self.stop.is_cancelled() {
            self.refuse(Refusal::Protocol { why: innermost(error) });
        }
    }

    fn refuse(&self, refusal: Refusal) {
        let received = Received { at: Instant::now(), from: self.origin.from };
        self.origin.endpoint.shared().observer.refused(received, &self.origin.peer, refusal);
    }
}

/// The text of the error at the end of the chain of causes, which is the one that says something.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Runs the requests of HTTP/2 connections among a listener's tasks.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
