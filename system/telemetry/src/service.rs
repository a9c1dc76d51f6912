//! Who makes the spans: the OpenTelemetry resource.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};

/// A service, as its resource describes it.
///
/// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` of the environment win over what is given here.
#[derive(Debug, Clone)]
pub struct Service {
    /// `service.name`, and `cx.subsystem.name`, by which Coralogix groups.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// `cx.application.name`: the system that the service is part of.
    pub application: &'static str,
    /// What else is known of it, such as the `cloud.*` and `faas.*` attributes.
    pub attributes: Vec<KeyValue>,
}

impl Service {
    /// The resource with what the environment says.
    pub(crate) fn resource(&self) -> Resource {
        let resource = Resource::builder_empty()
            .with_attributes(self.defaults())
            .with_attributes(self.attributes.iter().cloned())
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_detector(Box::new(EnvResourceDetector::new()));
        match std::env::var("OTEL_SERVICE_NAME") {
            Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
            _ => resource.build(),
        }
    }

    fn defaults(&self) -> [KeyValue; 4] {
        [
            KeyValue::new("service.name", self.name),
            KeyValue::new("service.version", self.version),
            KeyValue::new("cx.application.name", self.application),
            KeyValue::new("cx.subsystem.name", self.name),
        ]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{Key, Value};

    use super::*;

    #[test]
    fn resource_names_what_coralogix_requires() {
        let service =
            Service { name: "onboarding-api", version: "1.2.3", application: "onboarding", attributes: Vec::new() };

        let resource = service.resource();

        for (key, value) in [
            ("service.name", "onboarding-api"),
            ("service.version", "1.2.3"),
            ("cx.application.name", "onboarding"),
            ("cx.subsystem.name", "onboarding-api"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(resource.get(&Key::new(key)), Some(Value::from(value)), "{key}");
        }
    }

    #[test]
    fn resource_holds_the_further_attributes() {
        let attributes = vec![KeyValue::new("faas.name", "worker")];
        let service = Service { name: "a", version: "1", application: "b", attributes };

        assert_eq!(service.resource().get(&Key::new("faas.name")), Some(Value::from("worker")));
    }
}
