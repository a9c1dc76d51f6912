//! Takes OTLP exports as Coralogix does, and prints what it receives.

mod cli;
mod error;
mod guide;
mod json;
mod printer;
mod text;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mock_coralogix::{Endpoint, EndpointConfig, TlsIdentity, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use verifier::Peer;

use crate::cli::Cli;
use crate::error::RunError;
use crate::guide::Guide;
use crate::printer::Printer;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(anstream::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), RunError> {
    let interrupted = interruption().map_err(RunError::Signals)?;
    // The port first: an instance that cannot have it must not replace the certificate of the one that has.
    let (listener, address) = bind(&cli).await?;
    let identity = tls_identity(&cli)?;
    let printer = Arc::new(Printer::new(&cli));
    Guide::new(&cli, address).show();

    let keys = cli.api_keys();
    let config = match identity {
        None => EndpointConfig::plaintext(keys, printer.clone()),
        Some(identity) => EndpointConfig::tls(keys, printer.clone(), identity),
    };
    let stopped = async {
        tokio::select! {
            () = interrupted => {}
            () = printer.failed() => {}
        }
    };
    serve(listener, Endpoint::new(config), Peer::Anyone, stopped).await?;
    printer.finish().map_err(RunError::Output)
}

async fn bind(cli: &Cli) -> Result<(TcpListener, std::net::SocketAddr), RunError> {
    let failed = |source| RunError::Listen { address: cli.listen, source };
    let listener = TcpListener::bind(cli.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// With `--tls`, a new certificate, whose authority is written where clients can read it.
fn tls_identity(cli: &Cli) -> Result<Option<TlsIdentity>, RunError> {
    if !cli.tls {
        return Ok(None);
    }
    let identity = TlsIdentity::generate()?;
    std::fs::write(&cli.ca_file, identity.ca_pem())
        .map_err(|source| RunError::CaFile { path: cli.ca_file.clone(), source })?;
    Ok(Some(identity))
}

/// Resolves at Ctrl-C or SIGTERM. From this call on neither ends the process by itself.
fn interruption() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
