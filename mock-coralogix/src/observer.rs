//! Who is told of what comes in.

use std::net::SocketAddr;
use std::time::Instant;

use verifier::Peer;
use verifier::event::Export;

/// Is told of everything that an endpoint receives, on the thread that handles it.
///
/// It must return soon: until then the sender has no answer, and the runtime has a worker less, which
/// may be the one that drives everybody's timers. One that has to wait uses `block_in_place`.
pub trait Observer: Send + Sync {
    /// An export was read and is about to be answered with [`Export::answer`].
    ///
    /// Called before the answer is sent. The numbers of exports that came in by several connections
    /// at once need not arrive here in their order.
    fn export(&self, received: Received, export: Export);

    /// Something was refused before it could be read as an export.
    fn refused(&self, received: Received, peer: &Peer, refusal: Refusal);
}

/// When and from where something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// When the last byte of it was there.
    pub at: Instant,
    /// The address of the process that sent it.
    pub from: SocketAddr,
}

/// Why something was refused before it could be read as an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The TLS handshake failed: the client does not trust the certificate, or speaks no TLS.
    #[error("TLS handshake failed: {why}")]
    Handshake {
        /// What went wrong.
        why: String,
    },
    /// The connection ended in an error before it carried any request: whatever the client speaks, it
    /// is not HTTP/2.
    #[error("not OTLP/gRPC: {why}")]
    Protocol {
        /// What went wrong.
        why: String,
    },
    /// Something other than a trace export was asked for. Answered with UNIMPLEMENTED.
    #[error("only traces are taken here, not {path}")]
    NotTraces {
        /// The HTTP path that was asked for.
        path: String,
    },
    /// The export is larger than [`MAX_MESSAGE`](crate::endpoint::MAX_MESSAGE); its spans are lost.
    /// Answered with RESOURCE_EXHAUSTED.
    #[error("the export is larger than {limit} bytes")]
    TooLarge {
        /// The largest size that is taken, in bytes and uncompressed.
        limit: usize,
    },
    /// The export is no protobuf message of its type, or compressed in a way that is not known here;
    /// its spans are lost. Answered with the status of the gRPC library, mostly INTERNAL.
    #[error("the export cannot be read: {why}")]
    Unreadable {
        /// What went wrong.
        why: String,
    },
    /// The client gave up or went away, or the listener came to its end, before the export was whole.
    /// Its sender has no answer, so it knows.
    #[error("the export was cut off before it was whole")]
    CutOff,
}
