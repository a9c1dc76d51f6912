//! From the start to the end of the process.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use onboarding_telemetry::{Config as TelemetryConfig, Profile, Service, Telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, router};
use crate::config::{Config, ConfigError};
use crate::flushing::Flushing;
use crate::queue::Queue;

/// How long requests may take to end once the service has been told to stop.
const DRAIN_BUDGET: Duration = Duration::from_secs(6);
/// How long the last flush may take. Both together are less than the 10 s that `docker stop` waits
/// before it kills; ECS waits 30 s.
const LAST_FLUSH_BUDGET: Duration = Duration::from_secs(3);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A variable of the service.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A variable of telemetry.
    #[error(transparent)]
    Telemetry(#[from] onboarding_telemetry::ConfigError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// `HOST` and `PORT`.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system does not let the process listen for signals, or for connections any more.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Runs the service as the environment says, until SIGTERM or SIGINT. Then it takes no more requests,
/// ends those that it has, and exports the last spans.
///
/// # Errors
/// It cannot start, or cannot accept connections any more.
pub async fn run() -> Result<(), ServeError> {
    let config = Config::from_variables(|name| std::env::var(name).ok())?;
    let telemetry = start_telemetry()?;
    let app = App { telemetry: telemetry.clone(), queue: queue(config.queue_url).await? };
    let address = config.address;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let stop = stop_signal()?;
    tracing::info!(address = %listener.local_addr()?, "listening");

    let flushing = Flushing::start(telemetry);
    let served = serve(listener, router(app), stop).await;
    flushing.end(LAST_FLUSH_BUDGET).await;
    Ok(served?)
}

/// Serves until `stop` is ready and the requests at that time have been answered, though these get
/// only a limited time.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        tracing::info!("stopping: requests that have begun are ended");
        let _ = stopping.send(());
    };
    let overdue = async {
        // An error means that serving ended without a stop, and then nothing is overdue.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(DRAIN_BUDGET).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future() => served,
        () = overdue => {
            tracing::warn!(budget = ?DRAIN_BUDGET, "requests were cut off: they did not end in time");
            Ok(())
        }
    }
}

fn start_telemetry() -> Result<Telemetry, ServeError> {
    let config = TelemetryConfig::from_env(&Profile::SERVICE)?;
    let service = Service {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        application: "onboarding",
        attributes: Vec::new(),
    };
    Ok(Telemetry::start(config, &service))
}

async fn queue(url: String) -> Result<Queue, ConfigError> {
    let shared = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    if shared.region().is_none() {
        return Err(ConfigError::Missing { variable: "AWS_REGION", purpose: "the region of the queue" });
    }
    Ok(Queue::new(aws_sdk_sqs::Config::from(&shared), url))
}

/// Ready when the process is told to stop. Signals are caught from this call on, not from the first
/// poll.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
