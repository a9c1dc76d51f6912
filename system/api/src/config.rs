//! The service's own variables of the environment. Telemetry's are read by `onboarding-telemetry`, and
//! those that begin with `AWS_` by the AWS SDK.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address where nothing else is said: all interfaces, since a container is reached from outside.
const DEFAULT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The port where nothing else is said.
const DEFAULT_PORT: u16 = 8080;

/// What the service needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens: `HOST`, which is 0.0.0.0 by default, and `PORT`, which is 8080.
    pub address: SocketAddr,
    /// The queue for the worker (`SQS_QUEUE_URL`).
    pub queue_url: String,
}

/// What is wrong with the environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A variable that has no default.
    #[error("{variable} is missing or empty: {purpose}")]
    Missing {
        /// Its name.
        variable: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// A host that is no address.
    #[error("HOST is {0:?}, which is not an IP address to listen on, such as 0.0.0.0 or 127.0.0.1")]
    Host(String),
    /// A port that is none.
    #[error("PORT is {0:?}, which is not a port number")]
    Port(String),
}

impl Config {
    /// Reads variables from where `variable` finds them. An empty one counts as missing.
    ///
    /// # Errors
    /// The first variable that is missing or unusable.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variable = |name| variable(name).filter(|value: &String| !value.is_empty());
        let host = match variable("HOST") {
            Some(host) => host.parse().map_err(|_| ConfigError::Host(host))?,
            None => DEFAULT_HOST,
        };
        let port = match variable("PORT") {
            Some(port) => port.parse().map_err(|_| ConfigError::Port(port))?,
            None => DEFAULT_PORT,
        };
        let purpose = "the URL of the queue that the worker reads";
        let queue_url = variable("SQS_QUEUE_URL").ok_or(ConfigError::Missing { variable: "SQS_QUEUE_URL", purpose })?;
        Ok(Self { address: SocketAddr::new(host, port), queue_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:9324/000000000000/onboarding";

    fn read(host: &str, port: &str, queue_url: &str) -> Result<Config, ConfigError> {
        Config::from_variables(|name| match name {
            "HOST" => Some(host.to_owned()),
            "PORT" => Some(port.to_owned()),
            "SQS_QUEUE_URL" => Some(queue_url.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_read() {
        let address = SocketAddr::from(([127, 0, 0, 1], 3000));

        assert_eq!(read("127.0.0.1", "3000", URL), Ok(Config { address, queue_url: URL.to_owned() }));
    }

    #[test]
    fn host_and_port_have_defaults() {
        assert_eq!(read("", "", URL).unwrap().address.to_string(), "0.0.0.0:8080");
    }

    #[test]
    fn missing_queue_is_named() {
        let message = read("", "3000", "").unwrap_err().to_string();

        assert_eq!(message, "SQS_QUEUE_URL is missing or empty: the URL of the queue that the worker reads");
    }

    #[test]
    fn unusable_host_is_named() {
        for host in ["localhost", "127.0.0", "127.0.0.1:80"] {
            assert_eq!(read(host, "3000", URL), Err(ConfigError::Host(host.to_owned())));
        }
    }

    #[test]
    fn unusable_port_is_named() {
        for port in ["http", "70000", "-1"] {
            assert_eq!(read("", port, URL), Err(ConfigError::Port(port.to_owned())));
        }
    }
}
