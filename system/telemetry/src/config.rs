//! Where spans are sent and how, from the environment.
//!
//! The variables are those of the OpenTelemetry specification ("Environment Variable Specification",
//! "OpenTelemetry Protocol Exporter") and `CORALOGIX_API_KEY`. The Rust SDK reads neither
//! `OTEL_SDK_DISABLED` nor the certificate by itself.

use std::fmt;
use std::io;
use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const API_KEY: &str = "CORALOGIX_API_KEY";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SCHEDULE_DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
const FLUSH_BUDGET: &str = "OTEL_BSP_EXPORT_TIMEOUT";
const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const BATCH_SIZE: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";

/// What suits a kind of process where the environment says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// How long a span waits at most before a background flush.
    pub schedule_delay: Duration,
    /// How long one flush may take, retries included.
    pub flush_budget: Duration,
    /// How long one export may take.
    pub export_timeout: Duration,
    /// How long a connection may take, and its TLS handshake as well.
    pub connect_timeout: Duration,
    /// How long nothing may be heard on a connection before it is probed with an HTTP/2 PING.
    pub keepalive_interval: Duration,
    /// How long such a probe may be unanswered before the connection counts as dead.
    pub keepalive_timeout: Duration,
}

impl Profile {
    /// A process that runs until it is stopped. It is in no hurry, so it waits long for a slow endpoint
    /// and probes an idle connection rarely: gRPC servers cut off clients that ping too often (gRPC
    /// proposal A8, `too_many_pings`).
    pub const SERVICE: Self = Self {
        schedule_delay: Duration::from_secs(1),
        flush_budget: Duration::from_secs(10),
        export_timeout: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(2),
        keepalive_interval: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(2),
    };

    /// A process that is frozen between invocations, and in which everybody waits for a flush. After a
    /// thaw the probe is overdue and so goes out at once: it tells within half a second whether the
    /// connection outlived the freeze. The budget then leaves time for a new connection, and the
    /// function's shortest sensible time-out (3 s is Lambda's default) is longer than the budget.
    pub const FUNCTION: Self = Self {
        schedule_delay: Duration::from_secs(1),
        flush_budget: Duration::from_secs(2),
        export_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_millis(800),
        keepalive_interval: Duration::from_millis(500),
        keepalive_timeout: Duration::from_millis(400),
    };
}

/// How telemetry works in this process.
#[derive(Debug)]
pub struct Config {
    /// Where spans go; none if `OTEL_SDK_DISABLED` is `true`.
    pub(crate) destination: Option<Destination>,
    pub(crate) buffer: BufferConfig,
    pub(crate) schedule_delay: Duration,
    pub(crate) flush_budget: Duration,
}

/// Where spans go.
#[derive(Debug)]
pub(crate) struct Destination {
    /// With its TLS roots and all its time-outs.
    pub(crate) endpoint: Endpoint,
    pub(crate) api_key: ApiKey,
}

/// The limits of the span buffer, in spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BufferConfig {
    /// How many it holds.
    pub(crate) capacity: usize,
    /// How many are exported together.
    pub(crate) batch: usize,
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable that is missing, empty or unusable.
    pub fn from_env(profile: &Profile) -> Result<Self, ConfigError> {
        Self::from_variables(profile, |name| std::env::var(name).ok())
    }

    /// Reads variables from where `variable` finds them. An empty one counts as missing, as the
    /// specification wants it.
    ///
    /// # Errors
    /// The first variable that is missing, empty or unusable.
    pub fn from_variables(profile: &Profile, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variables = Variables(&|name| variable(name).filter(|value| !value.is_empty()));
        let disabled = variables.get(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Self {
            destination: if disabled { None } else { Some(destination(profile, &variables)?) },
            buffer: buffer(&variables)?,
            schedule_delay: variables.millis(SCHEDULE_DELAY, profile.schedule_delay)?,
            flush_budget: variables.millis(FLUSH_BUDGET, profile.flush_budget)?,
        })
    }
}

fn destination(profile: &Profile, variables: &Variables<'_>) -> Result<Destination, ConfigError> {
    let url = variables.required(ENDPOINT, "where spans are sent, such as https://ingress.eu2.coralogix.com:443")?;
    let endpoint = Endpoint::from_shared(url.clone())
        .ok()
        .filter(|endpoint| matches!(endpoint.uri().scheme_str(), Some("http" | "https")))
        .ok_or_else(|| invalid(ENDPOINT, &url, "an http:// or https:// URL"))?;
    let export_timeout = variables.millis(TIMEOUT, profile.export_timeout)?;
    let endpoint = with_timeouts(endpoint, profile, export_timeout);
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => with_tls(endpoint, profile, variables)?,
        _ => endpoint,
    };
    Ok(Destination { endpoint, api_key: api_key(variables)? })
}

/// Bounds every step of an export. None of these limits is there by default, and without them a dead
/// connection holds an export for as long as TCP tries, which is a quarter of an hour.
fn with_timeouts(endpoint: Endpoint, profile: &Profile, export_timeout: Duration) -> Endpoint {
    endpoint
        .timeout(export_timeout)
        .connect_timeout(profile.connect_timeout)
        .http2_keep_alive_interval(profile.keepalive_interval)
        .keep_alive_timeout(profile.keepalive_timeout)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}

/// Trusts the given certificate authority alone, or else Mozilla's. The connect time-out does not
/// cover the handshake, which therefore has its own.
fn with_tls(endpoint: Endpoint, profile: &Profile, variables: &Variables<'_>) -> Result<Endpoint, ConfigError> {
    let tls = ClientTlsConfig::new().timeout(profile.connect_timeout);
    let path = variables.get(CERTIFICATE);
    let tls = match &path {
        Some(path) => tls.ca_certificate(certificate(path)?),
        None => tls.with_webpki_roots(),
    };
    let url = endpoint.uri().to_string();
    endpoint.tls_config(tls).map_err(|_| match path {
        Some(path) => invalid(CERTIFICATE, &path, "a file with PEM certificates"),
        None => invalid(ENDPOINT, &url, "a URL whose host can have a certificate"),
    })
}

fn certificate(path: &str) -> Result<Certificate, ConfigError> {
    let pem = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        variable: CERTIFICATE,
        path: path.to_owned(),
        source,
    })?;
    // Without this check a file with anything else would mean that nobody is trusted, which shows
    // only at the first export.
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begin.len()).any(|window| window == begin) {
        return Err(invalid(CERTIFICATE, path, "a file with PEM certificates"));
    }
    Ok(Certificate::from_pem(pem))
}

fn api_key(variables: &Variables<'_>) -> Result<ApiKey, ConfigError> {
    let key = variables.required(API_KEY, "the Send-Your-Data key of the Coralogix account")?;
    ApiKey::new(key).ok_or(ConfigError::UnusableKey { variable: API_KEY })
}

fn buffer(variables: &Variables<'_>) -> Result<BufferConfig, ConfigError> {
    let capacity = variables.count(QUEUE_SIZE, 2048)?;
    let batch = variables.count(BATCH_SIZE, 512)?.min(capacity);
    Ok(BufferConfig { capacity, batch })
}

/// Variables that are set and not empty.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    fn required(&self, variable: &'static str, purpose: &'static str) -> Result<String, ConfigError> {
        self.get(variable).ok_or(ConfigError::Missing { variable, purpose })
    }

    fn millis(&self, variable: &'static str, default: Duration) -> Result<Duration, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        value.parse().map(Duration::from_millis).map_err(|_| invalid(variable, &value, "a number of milliseconds"))
    }

    fn count(&self, variable: &'static str, default: usize) -> Result<usize, ConfigError> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        match value.parse() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(invalid(variable, &value, "a number above 0")),
        }
    }
}

fn invalid(variable: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { variable, value: value.to_owned(), expected }
}

/// The key that Coralogix knows the sender by. Its value appears in no output.
#[derive(Clone)]
pub(crate) struct ApiKey {
    key: String,
    authorization: AsciiMetadataValue,
}

impl ApiKey {
    /// None if the key cannot be sent in a header.
    pub(crate) fn new(key: String) -> Option<Self> {
        let mut authorization = AsciiMetadataValue::try_from(format!("Bearer {key}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { key, authorization })
    }

    /// The value of the header `authorization`.
    pub(crate) fn authorization(&self) -> AsciiMetadataValue {
        self.authorization.clone()
    }

    /// `text` without the key: an endpoint may quote what it refuses.
    pub(crate) fn mask(&self, text: &str) -> String {
        text.replace(&self.key, "***")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that has no default.
    #[error("{variable} is missing or empty: {purpose}")]
    Missing {
        /// Its name.
        variable: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// A value that makes no sense.
    #[error("{variable} is {value:?}, which is not {expected}")]
    Invalid {
        /// The variable's name.
        variable: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A key with characters that no header can carry. Its value is not part of the message.
    #[error("{variable} has characters that an HTTP header cannot carry: is there a line break in it?")]
    UnusableKey {
        /// The variable's name.
        variable: &'static str,
    },
    /// A file that cannot be read.
    #[error("{variable} names {path}, which cannot be read: {source}")]
    Unreadable {
        /// The variable's name.
        variable: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Write;

    use super::*;

    const KEY: &str = "cxtp_very-secret";

    /// Reads a complete environment in which `changes` are made; an empty value is an empty variable.
    fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut variables = HashMap::from([(ENDPOINT, "http://127.0.0.1:4317"), (API_KEY, KEY)]);
        variables.extend(changes.iter().copied());
        Config::from_variables(&Profile::FUNCTION, |name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn message(changes: &[(&str, &str)]) -> String {
        read(changes).expect_err("the environment is refused").to_string()
    }

    /// Reads an environment with a certificate file of this content.
    fn read_certificate(content: &[u8]) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        read(&[(ENDPOINT, "https://127.0.0.1:4317"), (CERTIFICATE, file.path().to_str().unwrap())])
    }

    #[test]
    fn missing_or_empty_key_is_named() {
        assert_eq!(
            message(&[(API_KEY, "")]),
            "CORALOGIX_API_KEY is missing or empty: the Send-Your-Data key of the Coralogix account"
        );
        let nothing =
            Config::from_variables(&Profile::SERVICE, |name| (name == ENDPOINT).then(|| "http://a".to_owned()));
        assert!(nothing.unwrap_err().to_string().starts_with("CORALOGIX_API_KEY is missing"));
    }

    #[test]
    fn missing_or_empty_endpoint_is_named() {
        assert!(message(&[(ENDPOINT, "")]).starts_with("OTEL_EXPORTER_OTLP_ENDPOINT is missing or empty"));
    }

    #[test]
    fn endpoint_without_a_scheme_is_refused() {
        for endpoint in ["ingress.eu2.coralogix.com:443", "ftp://127.0.0.1", "http://", "not a url"] {
            assert!(message(&[(ENDPOINT, endpoint)]).contains("not an http:// or https:// URL"), "{endpoint:?}");
        }
    }

    #[test]
    fn key_with_a_line_break_is_refused_without_showing_it() {
        let message = message(&[(API_KEY, "cxtp_very-secret\n")]);

        assert!(message.starts_with("CORALOGIX_API_KEY has characters"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn key_is_masked_wherever_the_configuration_is_shown() {
        let shown = format!("{:?}", read(&[]).unwrap());

        assert!(shown.contains("ApiKey(***)"), "{shown}");
        assert!(!shown.contains(KEY), "{shown}");
    }

    #[test]
    fn key_is_masked_in_what_an_endpoint_says() {
        let key = ApiKey::new(KEY.to_owned()).unwrap();

        assert_eq!(key.mask("no such key: Bearer cxtp_very-secret"), "no such key: Bearer ***");
    }

    #[test]
    fn unreadable_certificate_is_named() {
        let message = message(&[(ENDPOINT, "https://127.0.0.1"), (CERTIFICATE, "/nonexistent/ca.pem")]);

        assert!(message.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE names /nonexistent/ca.pem"), "{message}");
    }

    #[test]
    fn file_without_a_certificate_is_refused() {
        for content in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let message = read_certificate(content.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE is "), "{message}");
        }
    }

    #[test]
    fn certificate_authority_is_read() {
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();

        assert!(read_certificate(authority.cert.pem().as_bytes()).is_ok());
    }

    #[test]
    fn certificate_does_not_matter_without_tls() {
        assert!(read(&[(CERTIFICATE, "/nonexistent/ca.pem")]).is_ok());
    }

    #[test]
    fn disabled_sdk_needs_neither_endpoint_nor_key() {
        let config = read(&[(DISABLED, "TRUE"), (ENDPOINT, ""), (API_KEY, "")]).unwrap();

        assert!(config.destination.is_none());
    }

    #[test]
    fn sdk_is_disabled_by_true_alone() {
        for value in ["false", "1", "yes", ""] {
            assert!(read(&[(DISABLED, value)]).unwrap().destination.is_some(), "{value:?}");
        }
    }

    #[test]
    fn limits_come_from_the_environment_or_the_profile() {
        let default = read(&[]).unwrap();
        let set =
            read(&[(SCHEDULE_DELAY, "250"), (FLUSH_BUDGET, "700"), (QUEUE_SIZE, "10"), (BATCH_SIZE, "50")]).unwrap();

        assert_eq!(default.schedule_delay, Profile::FUNCTION.schedule_delay);
        assert_eq!(default.flush_budget, Profile::FUNCTION.flush_budget);
        assert_eq!((default.buffer.capacity, default.buffer.batch), (2048, 512));
        assert_eq!(set.schedule_delay, Duration::from_millis(250));
        assert_eq!(set.flush_budget, Duration::from_millis(700));
        assert_eq!((set.buffer.capacity, set.buffer.batch), (10, 10));
    }

    #[test]
    fn unusable_limits_are_named() {
        assert_eq!(
            message(&[(SCHEDULE_DELAY, "1s")]),
            "OTEL_BSP_SCHEDULE_DELAY is \"1s\", which is not a number of milliseconds"
        );
        assert_eq!(
            message(&[(BATCH_SIZE, "0")]),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is \"0\", which is not a number above 0"
        );
    }
}
