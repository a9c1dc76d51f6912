//! `onboarding-lambda`: the process of an execution environment.

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use onboarding_lambda::function;
use onboarding_lambda::onboarding::onboard;
use onboarding_lambda::worker::Worker;
use onboarding_telemetry::logging;

// One thread is enough for one invocation at a time, and the runtime starts faster.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Named, because a build that has two cryptography providers has no default one. The only failure
    // is that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if logging::init().is_err() {
        return ExitCode::FAILURE;
    }
    let telemetry = match function::start_telemetry().await {
        Ok(telemetry) => telemetry,
        Err(error) => {
            tracing::error!("onboarding-lambda cannot run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let worker = &Worker::new(telemetry, async |customer| onboard(customer).await);
    match lambda_runtime::run(service_fn(|event: LambdaEvent<_>| worker.handle(event))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the Runtime API cannot be reached: {error}");
            ExitCode::FAILURE
        }
    }
}
