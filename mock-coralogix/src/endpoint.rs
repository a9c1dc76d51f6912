//! What all listeners of one endpoint share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use crate::keys::ApiKeys;
use crate::observer::Observer;
use crate::tls::TlsIdentity;

/// The largest export that is taken, in bytes and uncompressed: Coralogix's hard limit for a request
/// to its OpenTelemetry endpoint (its documentation, "API limitations").
pub const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// What an endpoint is made from.
pub struct EndpointConfig {
    /// The API keys that are good.
    pub keys: ApiKeys,
    /// The certificate to be shown; none for plaintext.
    pub tls: Option<TlsIdentity>,
    /// Who is told of what comes in.
    pub observer: Arc<dyn Observer>,
    /// How long a client may take for its TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a listener that is shut down waits for its clients to finish before it drops them.
    pub shutdown_grace: Duration,
}

impl EndpointConfig {
    /// Without TLS, and with time limits that suit a harness: 10 s for a handshake, 2 s of grace.
    pub fn plaintext(keys: ApiKeys, observer: Arc<dyn Observer>) -> Self {
        Self {
            keys,
            tls: None,
            observer,
            handshake_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(2),
        }
    }

    /// As [`Self::plaintext`], but over TLS.
    pub fn tls(keys: ApiKeys, observer: Arc<dyn Observer>, identity: TlsIdentity) -> Self {
        Self { tls: Some(identity), ..Self::plaintext(keys, observer) }
    }
}

/// One endpoint, however many listeners it has. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) keys: ApiKeys,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    /// The number of the next export, whichever listener it comes in by.
    next_export: AtomicU64,
    in_flight: AtomicUsize,
}

impl Endpoint {
    /// An endpoint without any listener yet; [`serve`](crate::serve) gives it one.
    pub fn new(config: EndpointConfig) -> Self {
        let EndpointConfig { keys, tls, observer, handshake_timeout, shutdown_grace } = config;
        Self(Arc::new(Shared {
            keys,
            tls: tls.map(|identity| TlsAcceptor::from(identity.server_config())),
            observer,
            handshake_timeout,
            shutdown_grace,
            next_export: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
        }))
    }

    /// How many exports have begun to arrive and are not answered yet, over all listeners.
    ///
    /// An export counts from its HTTP headers on. What still lies in the kernel's buffers does not; what
    /// the sender stopped in the middle of does, until the sender goes on or its connection ends.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    /// How many exports have been read, those that were answered with UNAUTHENTICATED included.
    pub fn exports(&self) -> u64 {
        self.0.next_export.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Counts an export as in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }
}

impl Shared {
    /// A number that no other export has.
    pub(crate) fn number_export(&self) -> u64 {
        self.next_export.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("keys", &self.0.keys)
            .field("tls", &self.0.tls.is_some())
            .field("exports", &self.exports())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// An export that is being handled.
pub(crate) struct InFlight(Endpoint);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
