//! Serves the APIs of one environment, and is its handle to them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use verifier::EnvironmentId;

use super::answer::record_refusals;
use super::event::{Next, ShutdownReason};
use super::state::{Call, Shared};
use super::{extensions, runtime};
use crate::cloud::network::Network;
use crate::cloud::runtime_state::Refusal;
use crate::journal::Recorder;
use crate::target::Process;

/// How many calls may wait for the environment. A runtime makes two per invocation and is answered
/// in between; one that floods is told that the container is in trouble.
const WAITING_CALLS: usize = 32;

/// What an API has to know of its environment.
#[derive(Debug, Clone)]
pub struct ApiSpec {
    /// The environment.
    pub environment: EnvironmentId,
    /// The function's name.
    pub function: String,
    /// The function's handler (`_HANDLER`).
    pub handler: String,
    /// The number of the account that the function belongs to.
    pub account: String,
    /// The names of the extensions that are processes of their own.
    pub externals: Vec<String>,
    /// Whether processes are stopped when everybody waits.
    pub freezes: bool,
    /// Whether they are stopped in that very moment, and not a little later by the environment.
    pub freezes_at_once: bool,
    /// Whether there will be nothing to do once the environment is initialised.
    pub freezes_after_init: bool,
    /// The way to the endpoint, which is told of the moment of a freeze.
    pub network: Network,
    /// Where registrations and refused calls are recorded.
    pub recorder: Recorder,
}

/// Who has to be told of an environment's end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// Whether an internal extension has registered.
    pub internal: bool,
    /// Whether an external extension has registered.
    pub external: bool,
    /// The names of the external extensions that want SHUTDOWN events.
    pub shutdown: Vec<String>,
}

/// The APIs of one environment, on a port of their own.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

impl RuntimeApi {
    /// Serves the APIs on a free port of 127.0.0.1, and the calls that have to be known of.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn serve(spec: ApiSpec) -> io::Result<(Self, mpsc::Receiver<Call>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (calls, accepted) = mpsc::channel(WAITING_CALLS);
        let shared = Arc::new(Shared::new(spec, calls));
        let server = tokio::spawn(run(listener, router(Arc::clone(&shared))));
        Ok((Self { address, shared, _server: AbortOnDropHandle::new(server) }, accepted))
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to be: host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names a process that is stopped whenever everybody waits and there is nothing to do. Its owner
    /// confirms that it has stopped.
    pub fn freeze(&self, process: &Arc<Process>) {
        self.shared.freeze(process);
    }

    /// Answers the waiting `/next` with an invocation, and every further one until the runtime has
    /// answered; then tells the extensions that want to know. `on_delivery` is called right before
    /// each of these answers to the runtime, once for each; it must not wait and must not call back.
    ///
    /// If the runtime has hung up, the invocation is running all the same, and the runtime's next
    /// `/next` gets it.
    ///
    /// # Errors
    /// If the runtime has not asked for an invocation.
    pub fn invoke(&self, next: Next, on_delivery: impl Fn() + Send + 'static) -> Result<(), Refusal> {
        self.shared.invoke(next, on_delivery)
    }

    /// From now on, only extensions are served. Answers whether the last invocation had been delivered.
    pub fn stop(&self) -> bool {
        self.shared.stop()
    }

    /// Who has to be told of the environment's end.
    pub fn audience(&self) -> Audience {
        self.shared.audience()
    }

    /// Tells those extensions of the environment's end that want to know.
    pub fn shut_down(&self, reason: ShutdownReason, deadline_ms: u64) {
        self.shared.shut_down(reason, deadline_ms);
    }

    /// From now on, nobody is served, and no call is recorded. `record` is called with whether the
    /// last invocation had been delivered, and nothing can be delivered meanwhile.
    pub fn close(&self, record: impl FnOnce(bool)) {
        self.shared.close(record);
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.close(drop);
    }
}

async fn run(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|connection| {
        // Only costs latency if it fails.
        let _ = connection.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "a Runtime API is no longer served");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    runtime::routes()
        .merge(extensions::routes())
        .layer(from_fn_with_state(Arc::clone(&shared), record_refusals))
        .with_state(shared)
}
