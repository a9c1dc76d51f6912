//! Logs to the standard output, where both Lambda and Fargate collect them.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

/// Starts logging. `RUST_LOG` chooses what is logged (`info`, `onboarding_api=debug,h2=trace`, …), and
/// `LOG_FORMAT=json`, or Lambda's `AWS_LAMBDA_LOG_FORMAT=JSON`, the form. Spans are not logged.
///
/// # Errors
/// Logging has been started before.
pub fn init() -> Result<(), TryInitError> {
    let layer = fmt::layer().with_ansi(false);
    let layer = if wants_json() { layer.json().boxed() } else { layer.boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter(std::env::var("RUST_LOG").ok()))).try_init()
}

fn wants_json() -> bool {
    ["LOG_FORMAT", "AWS_LAMBDA_LOG_FORMAT"]
        .iter()
        .any(|variable| std::env::var(variable).is_ok_and(|format| format.eq_ignore_ascii_case("json")))
}

/// The filter that was asked for, on top of what the libraries below may say: what goes wrong inside
/// the OpenTelemetry SDK is a warning, and the HTTP stack is heard only when asked.
fn filter(directives: Option<String>) -> Targets {
    let defaults = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("opentelemetry", LevelFilter::WARN)
        .with_target("opentelemetry_sdk", LevelFilter::WARN)
        .with_targets(
            ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"].map(|target| (target, LevelFilter::WARN)),
        );
    match directives.and_then(|directives| directives.parse::<Targets>().ok()) {
        Some(asked) => {
            let default = asked.default_level().unwrap_or(LevelFilter::INFO);
            defaults.with_default(default).with_targets(asked)
        }
        None => defaults,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn sdk_warnings_are_heard_and_its_chatter_is_not() {
        let filter = filter(None);

        assert!(filter.would_enable("opentelemetry_sdk", &Level::WARN));
        assert!(!filter.would_enable("opentelemetry_sdk", &Level::INFO));
        assert!(filter.would_enable("onboarding_api", &Level::INFO));
        assert!(!filter.would_enable("h2::codec", &Level::INFO));
    }

    #[test]
    fn what_is_asked_for_wins() {
        let filter = filter(Some("warn,onboarding_api=debug,h2=trace".to_owned()));

        assert!(filter.would_enable("onboarding_api", &Level::DEBUG));
        assert!(filter.would_enable("h2::codec", &Level::TRACE));
        assert!(!filter.would_enable("onboarding_lambda", &Level::INFO));
    }

    #[test]
    fn unreadable_directives_leave_the_defaults() {
        assert!(filter(Some("=!=".to_owned())).would_enable("onboarding_api", &Level::INFO));
    }
}
