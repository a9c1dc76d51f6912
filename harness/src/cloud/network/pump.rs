//! What moves bytes between a socket and its lanes when nobody else does.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::link::{Link, Wants};
use super::way::{LinkId, Shared};

/// What drives a connection. Dropped, it takes the connection along.
pub(super) struct Pump {
    network: Arc<Shared>,
    link: LinkId,
    socket: Arc<TcpStream>,
    /// Told when there is something to do.
    told: Arc<Notify>,
}

impl Pump {
    pub(super) fn new(network: Arc<Shared>, link: LinkId, socket: Arc<TcpStream>, told: Arc<Notify>) -> Self {
        Self { network, link, socket, told }
    }

    /// Runs until the connection is over: cut, or closed by both ends.
    pub(super) async fn run(self) {
        while let Some(wants) = self.network.with(self.link, Link::pump).flatten() {
            wait(wants, &self.socket, &self.told).await;
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.network.remove(self.link);
    }
}

/// Waits until there is something to do. Errors of the socket show themselves when it is used.
async fn wait(wants: Wants, socket: &TcpStream, told: &Notify) {
    tokio::select! {
        () = told.notified() => {}
        _ = socket.readable(), if wants.to_read => {}
        _ = socket.writable(), if wants.to_write => {}
        () = alarm(wants.alarm) => {}
    }
}

async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
