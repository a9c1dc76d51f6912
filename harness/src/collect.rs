//! The endpoint's stream as events: a listener for each process, so that the sender of an export is known.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use mock_coralogix::{ApiKeys, Endpoint, EndpointConfig, Observer, Received, Refusal, TlsIdentity};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use verifier::event::{Export, RefusalKind};
use verifier::{EnvironmentId, EventKind, Peer};

use crate::cloud::function::{BoxError, Wired, Wiring};
use crate::cloud::network::{Conditions, Network};
use crate::journal::Recorder;
use crate::mask::Mask;
use crate::template::{MissingValue, Template, Values};

/// How many refusals of one sender are recorded. Whoever is refused more often is so in a loop, and that
/// must not fill the journal: one more record says so.
const RECORDED_REFUSALS: u32 = 100;

/// Records what the endpoint receives, before it is answered.
struct Witness {
    recorder: Recorder,
    /// How many refusals of each sender were recorded.
    refusals: Mutex<HashMap<Peer, u32>>,
    /// What must not be recorded, wherever in an export it stands.
    mask: Mask,
}

impl Witness {
    fn new(recorder: Recorder, mask: Mask) -> Self {
        Self { recorder, refusals: Mutex::default(), mask }
    }
}

impl Observer for Witness {
    fn export(&self, received: Received, export: Export) {
        let export = Export { payload: self.mask.payload(export.payload), ..export };
        self.recorder.record_at(self.recorder.at(received.at), EventKind::ExportAnswered(Box::new(export)));
    }

    fn refused(&self, _: Received, peer: &Peer, refusal: Refusal) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refusals.entry(peer.clone()).or_default();
        if *count > RECORDED_REFUSALS {
            return;
        }
        *count += 1;
        let is_one_too_many = *count > RECORDED_REFUSALS;
        let kind = kind_of(&refusal);
        let why =
            if is_one_too_many { format!("{refusal}, and all further ones are not told") } else { refusal.to_string() };
        self.recorder.record(EventKind::ExportRefused { peer: peer.clone(), refusal: kind, why });
    }
}

/// What kind of refusal one is, for those who judge.
fn kind_of(refusal: &Refusal) -> RefusalKind {
    match refusal {
        Refusal::NotTraces { .. } => RefusalKind::NotTraces,
        Refusal::TooLarge { .. } => RefusalKind::TooLarge,
        Refusal::Unreadable { .. } => RefusalKind::Unreadable,
        Refusal::CutOff => RefusalKind::CutOff,
        _ => RefusalKind::Connection,
    }
}

/// The endpoint of a run, with a certificate of its own.
#[derive(Clone)]
pub struct Collector {
    scheme: &'static str,
    endpoint: Endpoint,
    recorder: Recorder,
    listeners: TaskTracker,
    stop: CancellationToken,
}

/// Keeps a listener open; dropped, it ends, and its address answers no more.
pub struct Listener {
    scheme: &'static str,
    address: SocketAddr,
    network: Network,
    _open: DropGuard,
}

impl Collector {
    /// An endpoint that knows one API key, and records no export with what `mask` masks.
    pub fn new(recorder: Recorder, api_key: &str, identity: TlsIdentity, mask: Mask) -> Self {
        let witness = Arc::new(Witness::new(recorder.clone(), mask));
        Self::with(recorder, EndpointConfig::tls(ApiKeys::only([api_key]), witness, identity))
    }

    /// An endpoint without TLS that knows any API key.
    pub fn plaintext(recorder: Recorder) -> Self {
        let witness = Arc::new(Witness::new(recorder.clone(), Mask::default()));
        Self::with(recorder, EndpointConfig::plaintext(ApiKeys::Any, witness))
    }

    fn with(recorder: Recorder, config: EndpointConfig) -> Self {
        Self {
            scheme: if config.tls.is_some() { "https" } else { "http" },
            endpoint: Endpoint::new(config),
            recorder,
            listeners: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Opens a listener for one sender, whose way to the endpoint is like this.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn listen(&self, peer: Peer, conditions: Conditions) -> std::io::Result<Listener> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let network = Network::new(conditions);
        network.attach(&listener)?;
        let stop = self.stop.child_token();
        self.listeners.spawn(serve(listener, self.clone(), network.clone(), peer, stop.clone()));
        Ok(Listener { scheme: self.scheme, address, network, _open: stop.drop_guard() })
    }

    /// Ends all listeners and waits until every export that they took is recorded.
    pub async fn close(&self) {
        self.stop.cancel();
        self.listeners.close();
        self.listeners.wait().await;
    }
}

/// Serves a listener until it is told to stop, and whatever is left of its network then.
async fn serve(listener: TcpListener, collector: Collector, network: Network, peer: Peer, stop: CancellationToken) {
    let stopped = async {
        stop.cancelled().await;
        network.close();
    };
    let serving = mock_coralogix::serve_over(network.clone(), listener, collector.endpoint, peer.clone(), stopped);
    let served = serving.await;
    network.close();
    if let Err(error) = served {
        let what = format!("listener of the endpoint for {peer}, which has ended: {error}");
        collector.recorder.record(EventKind::EvidenceLost { what, count: 1 });
    }
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to the endpoint of whoever comes in by it.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The values of the placeholders that lead to it.
    pub fn add_to(&self, values: Values) -> Values {
        let authority = self.address.to_string();
        values.with("otlp.endpoint", format!("{}://{authority}", self.scheme)).with("otlp.authority", authority)
    }
}

/// Gives each execution environment of a function a listener of its own.
pub struct EnvironmentWiring {
    /// The endpoint.
    pub collector: Collector,
    /// What each environment's way to it is like.
    pub conditions: Conditions,
    /// The function's environment variables.
    pub env: Vec<(String, Template)>,
    /// The values that do not depend on the environment.
    pub values: Values,
}

impl Wiring for EnvironmentWiring {
    fn wire<'a>(&'a self, environment: &'a EnvironmentId) -> BoxFuture<'a, Result<Wired, BoxError>> {
        Box::pin(async move {
            let peer = Peer::Environment(environment.clone());
            let listener = self.collector.listen(peer, self.conditions).await?;
            let values = listener.add_to(self.values.clone()).with("environment.id", environment.as_str());
            let env = render_env(&self.env, &values)?;
            Ok(Wired { env, network: listener.network().clone(), guard: Box::new(listener) })
        })
    }
}

/// Environment variables with their placeholders filled in.
pub fn render_env(env: &[(String, Template)], values: &Values) -> Result<Vec<(String, String)>, MissingValue> {
    env.iter().map(|(name, value)| Ok((name.clone(), value.render(values)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn flood_of_refusals_is_recorded_up_to_a_limit_for_each_sender() {
        let (recorder, mut events) = Recorder::new();
        let witness = Witness::new(recorder, Mask::default());
        let received = Received { at: Instant::now(), from: ([127, 0, 0, 1], 1).into() };
        for _ in 0..10 * RECORDED_REFUSALS {
            witness.refused(received, &Peer::Service("api".to_owned()), Refusal::CutOff);
        }
        witness.refused(received, &Peer::Anyone, Refusal::CutOff);
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
        let refusal = |peer, more: &str| EventKind::ExportRefused {
            peer,
            refusal: RefusalKind::CutOff,
            why: format!("{}{more}", Refusal::CutOff),
        };
        assert_eq!(told.len(), RECORDED_REFUSALS as usize + 2);
        let last = refusal(Peer::Service("api".to_owned()), ", and all further ones are not told");
        assert_eq!(told[RECORDED_REFUSALS as usize..], [last, refusal(Peer::Anyone, "")]);
    }
}
