//! What can go wrong, as the user reads it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use mock_coralogix::ServeError;
use mock_coralogix::tls::TlsError;

/// Why the program ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot write the certificate authority to {}: {source}\nchoose another place with --ca-file", path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl RunError {
    /// As the help text lists them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::CaFile { .. } | Self::Tls(_) | Self::Signals(_) => 3,
            Self::Serve(_) | Self::Output(_) => 1,
        }
    }
}

/// What to do about a port that cannot be had.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "\nanother process has this port; end it, or choose another one with --listen (port 0 takes any free one)"
        }
        io::ErrorKind::AddrNotAvailable => "\nthis machine has no such address; choose another one with --listen",
        io::ErrorKind::PermissionDenied => {
            "\nports below 1024 are for privileged users; choose another one with --listen"
        }
        _ => "",
    }
}
