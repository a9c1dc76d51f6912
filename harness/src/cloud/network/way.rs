//! The network itself: it accepts, marks, drains and cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mock_coralogix::{Carried, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use verifier::event::{Cut, OpenExchanges};

use super::kernel;
use super::link::Link;
use super::pump::Pump;
use super::stream::{Bookkeeper, EndpointStream};

/// How long to wait for an answer that the endpoint holds back. Whoever waits for it is told that the
/// export is open, which is true however long one waits.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How long nothing may move on its way to the endpoint before it is taken for lost. Only a machine that
/// does not get on at all needs so long.
const MOVES_WITHIN: Duration = Duration::from_secs(10);
/// How often to ask the kernel for what it tells nobody of its own accord.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// What a way is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// How long each byte takes, in each direction.
    pub latency: Duration,
}

/// The way of one environment to the endpoint. Cheap to clone; all clones are the same way.
#[derive(Debug, Clone, Default)]
pub struct Network(Arc<Shared>);

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(u64);

#[derive(Default)]
pub(super) struct Shared {
    conditions: Conditions,
    state: Mutex<State>,
    /// Told whenever something has moved.
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<LinkId, Link>,
    next: u64,
    /// The connections of which the endpoint may still handle a request, whether they are there or not.
    handled: BTreeSet<LinkId>,
    /// The listener once more, to see who waits in its queue.
    listener: Option<OwnedFd>,
    /// Sockets that are in a black hole: nothing happens to them until the end.
    held: Vec<Arc<TcpStream>>,
    /// Whether there was a mark that nobody has asked for.
    marked: bool,
    closed: bool,
}

/// What a drain waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For bytes that the kernel does not tell of.
    Kernel,
    /// For bytes to reach the endpoint.
    Arrival,
    /// For an answer of the endpoint.
    Answer,
}

impl Network {
    /// A way without any connection.
    pub fn new(conditions: Conditions) -> Self {
        Self(Arc::new(Shared { conditions, ..Shared::default() }))
    }

    /// Names the listener whose connections go this way, so that those in its queue are seen as well.
    ///
    /// # Errors
    /// If there are no more file descriptors.
    pub fn attach(&self, listener: &TcpListener) -> io::Result<()> {
        self.0.lock().listener = Some(listener.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// The environment is at rest: notes what is going on at this very moment. It does not wait.
    pub fn mark(&self) {
        self.0.lock().mark();
    }

    /// Waits until everything that the environment had sent before it was frozen has arrived and was
    /// handled, and tells what was going on at the last [`Self::mark`], or, if there was none since the
    /// last drain, when it was called. The environment has to be stopped.
    ///
    /// An answer that the endpoint holds back is not waited for, and neither is what goes into a black
    /// hole.
    pub async fn drained(&self) -> OpenExchanges {
        self.0.lock().mark_unless_marked();
        self.0.at_rest().await;
        self.0.lock().take_open()
    }

    /// Cuts all connections that there are; later ones are not concerned. To be called while the
    /// environment is frozen: it has happened to the environment's sockets when this returns.
    pub fn cut(&self, cut: Cut) {
        self.0.lock().cut(cut, Instant::now());
        self.0.moved.notify_waiters();
    }

    /// Closes what is in black holes, and lets go of the listener. From now on nothing is held any more.
    pub fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.held.clear();
        state.listener = None;
    }

    /// How many connections there are, those in black holes included.
    pub fn connections(&self) -> usize {
        let state = self.0.lock();
        state.links.len() + state.held.len()
    }
}

impl Transport for Network {
    type Stream = EndpointStream;

    fn poll_accept(&self, cx: &mut Context<'_>, listener: &TcpListener) -> Poll<io::Result<Carried<EndpointStream>>> {
        // Under the lock: a connection is in the kernel's queue or listed, never in between.
        let mut state = self.0.lock();
        let (socket, from) = ready!(listener.poll_accept(cx))?;
        // An answer is one small write after another: waiting for more to send only delays it.
        let _ = socket.set_nodelay(true);
        let link = Link::new(socket, self.0.conditions.latency);
        let (socket, told, severed) = (Arc::clone(&link.socket), Arc::clone(&link.pump), link.severed.clone());
        let id = state.add(link);
        drop(state);
        self.0.moved.notify_waiters();
        Poll::Ready(Ok(Carried {
            from,
            stream: EndpointStream::new(Arc::clone(&self.0), id),
            observer: Some(Arc::new(Bookkeeper::new(Arc::clone(&self.0), id))),
            carrier: Some(Box::pin(Pump::new(Arc::clone(&self.0), id, socket, told).run())),
            severed,
        }))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("conditions", &self.conditions).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a connection, unless it is gone.
    pub(super) fn with<T>(&self, id: LinkId, act: impl FnOnce(&mut Link, Instant) -> T) -> Option<T> {
        let result = self.lock().links.get_mut(&id).map(|link| act(link, Instant::now()));
        self.moved.notify_waiters();
        result
    }

    /// Forgets a connection that is over.
    pub(super) fn remove(&self, id: LinkId) {
        if let Some(mut link) = self.lock().links.remove(&id) {
            link.wake_all();
        }
        self.moved.notify_waiters();
    }

    /// No request of a connection is handled any more.
    pub(super) fn done(&self, id: LinkId) {
        self.lock().handled.remove(&id);
        self.moved.notify_waiters();
    }

    /// Waits until nothing is on its way to the endpoint, or does not get on.
    async fn at_rest(&self) {
        let mut last_moved = Instant::now();
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            let Some(waiting) = self.lock().waiting() else { return };
            let patience = self.patience(waiting).saturating_sub(last_moved.elapsed());
            if patience.is_zero() {
                return;
            }
            let asks_again = if waiting == Waiting::Kernel { ASK_AGAIN } else { patience };
            if tokio::time::timeout(asks_again, moved).await.is_ok() {
                last_moved = Instant::now();
            }
        }
    }

    fn patience(&self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Kernel | Waiting::Arrival => self.conditions.latency + MOVES_WITHIN,
            Waiting::Answer => ANSWERED_WITHIN,
        }
    }
}

impl State {
    fn add(&mut self, mut link: Link) -> LinkId {
        if self.marked {
            link.exchanges.mark();
        }
        let id = LinkId(self.next);
        self.next += 1;
        self.links.insert(id, link);
        self.handled.insert(id);
        id
    }

    fn mark(&mut self) {
        self.marked = true;
        self.links.values_mut().for_each(|link| link.exchanges.mark());
    }

    fn mark_unless_marked(&mut self) {
        if !self.marked {
            self.mark();
        }
    }

    /// What there is to wait for, in the order in which bytes go: what has left one place is in the next.
    fn waiting(&self) -> Option<Waiting> {
        if self.links.values().any(Link::has_bytes_underway) {
            return Some(Waiting::Kernel);
        }
        let sockets = self.links.values().filter(|link| link.receives()).map(|link| link.socket.as_fd());
        let listener = self.listener.iter().map(AsFd::as_fd);
        if kernel::any_is_readable(listener.chain(sockets)) || !self.links.values().all(Link::is_handled) {
            return Some(Waiting::Arrival);
        }
        let owes = self.links.values().any(Link::awaits_an_answer) || self.handled.iter().any(|id| self.is_left(id));
        owes.then_some(Waiting::Answer)
    }

    /// Whether the endpoint has no end of a connection any more.
    fn is_left(&self, id: &LinkId) -> bool {
        self.links.get(id).is_none_or(Link::is_left)
    }

    fn take_open(&mut self) -> OpenExchanges {
        self.marked = false;
        let exports: usize = self.links.values_mut().map(|link| link.exchanges.take_open()).sum();
        let connections = self.links.values().filter(|link| link.is_being_set_up()).count();
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        OpenExchanges { exports: count(exports), connections: count(connections) }
    }

    fn cut(&mut self, cut: Cut, now: Instant) {
        for (id, mut link) in std::mem::take(&mut self.links) {
            match cut {
                Cut::Reset => link.reset(),
                Cut::BlackHole if !self.closed => self.held.push(Arc::clone(&link.socket)),
                Cut::Fin | Cut::HalfClose | Cut::BlackHole => link.half_close(now),
            }
            // What has carried no request has nothing to go on with: the endpoint would only take the
            // function for a client that fails.
            if cut == Cut::HalfClose && link.exchanges.have_begun() {
                self.links.insert(id, link);
                continue;
            }
            link.severed.cancel();
            link.wake_all();
        }
    }
}
