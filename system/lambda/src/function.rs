//! What the environment says of the function, and the Init phase.

use std::time::Duration;

use onboarding_telemetry::{Config, ConfigError, Profile, Service, Telemetry};
use opentelemetry::KeyValue;

/// How long the connection to the endpoint may hold up the Init phase.
const WARM_UP_BUDGET: Duration = Duration::from_secs(1);
/// Lambda says the memory in MB, `faas.max_memory` wants bytes.
const BYTES_PER_MB: i64 = 1_048_576;

/// Starts telemetry with its connection made: Init is the time when nobody waits for it, and it has a
/// burst of CPU. If the endpoint is not there the function works all the same.
///
/// # Errors
/// A variable of the environment is missing or unusable.
pub async fn start_telemetry() -> Result<Telemetry, ConfigError> {
    let config = Config::from_env(&Profile::FUNCTION)?;
    let telemetry = Telemetry::start(config, &service(|name| std::env::var(name).ok()));
    telemetry.warm_up(WARM_UP_BUDGET).await;
    Ok(telemetry)
}

/// The function as a resource (semantic conventions, "FaaS Resource" and "AWS Lambda").
fn service(variable: impl Fn(&str) -> Option<String>) -> Service {
    let text = |key, name| variable(name).map(|value| KeyValue::new(key, value));
    let memory = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mb| mb.parse::<i64>().ok());
    let known = [
        text("cloud.region", "AWS_REGION"),
        text("faas.name", "AWS_LAMBDA_FUNCTION_NAME"),
        text("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
        text("faas.instance", "AWS_LAMBDA_LOG_STREAM_NAME"),
        memory.map(|mb| KeyValue::new("faas.max_memory", mb * BYTES_PER_MB)),
    ];
    let platform = [KeyValue::new("cloud.provider", "aws"), KeyValue::new("cloud.platform", "aws_lambda")];
    Service {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        application: "onboarding",
        attributes: platform.into_iter().chain(known.into_iter().flatten()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_describes_the_function() {
        let service = service(|name| match name {
            "AWS_REGION" => Some("eu-west-1".to_owned()),
            "AWS_LAMBDA_FUNCTION_NAME" => Some("worker".to_owned()),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" => Some("512".to_owned()),
            _ => None,
        });

        let expected = [
            KeyValue::new("cloud.provider", "aws"),
            KeyValue::new("cloud.platform", "aws_lambda"),
            KeyValue::new("cloud.region", "eu-west-1"),
            KeyValue::new("faas.name", "worker"),
            KeyValue::new("faas.max_memory", 536_870_912_i64),
        ];
        assert_eq!(service.name, "onboarding-lambda");
        assert_eq!(service.attributes, expected);
    }
}
