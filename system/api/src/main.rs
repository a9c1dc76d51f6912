//! `onboarding-api`: the process.

use std::process::ExitCode;

use onboarding_api::serve;
use onboarding_telemetry::logging;

#[tokio::main]
async fn main() -> ExitCode {
    // Named, because a build that has two cryptography providers has no default one. The only failure
    // is that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if logging::init().is_err() {
        return ExitCode::FAILURE;
    }
    match serve::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("onboarding-api cannot run: {error}");
            ExitCode::FAILURE
        }
    }
}
