//! How to point an exporter at this endpoint.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use crate::cli::Cli;

const STRONG: Style = Style::new().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default();

/// What a user needs to know at the start.
pub(crate) struct Guide {
    address: SocketAddr,
    /// Where the certificate authority is, if TLS is spoken.
    ca_file: Option<PathBuf>,
    /// How many keys are good; none for any.
    keys: usize,
}

impl Guide {
    pub(crate) fn new(cli: &Cli, address: SocketAddr) -> Self {
        // An exporter may run in another folder.
        let absolute = || std::path::absolute(&cli.ca_file).unwrap_or_else(|_| cli.ca_file.clone());
        Self { address, ca_file: cli.tls.then(absolute), keys: cli.keys.len() }
    }

    /// Prints itself, apart from what is received.
    pub(crate) fn show(&self) {
        // Without a standard error there is nobody to guide.
        let _ = write!(anstream::stderr(), "{self}");
    }

    /// Where a client on this machine finds the endpoint.
    fn url(&self) -> String {
        let scheme = if self.ca_file.is_some() { "https" } else { "http" };
        match self.address.ip().is_unspecified() {
            true => format!("{scheme}://localhost:{}", self.address.port()),
            false => format!("{scheme}://{}", self.address),
        }
    }

    /// The variables of the OpenTelemetry specification ("OpenTelemetry Protocol Exporter").
    fn variables(&self) -> Vec<(&'static str, String)> {
        let key = if self.keys == 0 { "any-key" } else { "$CORALOGIX_API_KEY" };
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url()),
            ("OTEL_EXPORTER_OTLP_HEADERS", format!("\"authorization=Bearer%20{key}\"")),
        ];
        if let Some(file) = &self.ca_file {
            variables.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", format!("'{}'", file.display())));
        }
        variables
    }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.ca_file.is_some() { "OTLP/gRPC over TLS" } else { "OTLP/gRPC in plaintext" };
        let keys = match self.keys {
            0 => "any API key is good".to_owned(),
            1 => "one API key is good".to_owned(),
            count => format!("{count} API keys are good"),
        };
        writeln!(f, "{STRONG}Listening on {}{STRONG:#}: {transport}, {keys}. Ctrl-C ends it.", self.url())?;
        writeln!(f, "Point an exporter at it with")?;
        for (name, value) in self.variables() {
            writeln!(f, "  {COMMAND}export {name}={value}{COMMAND:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide(address: &str, ca_file: Option<&str>, keys: usize) -> String {
        let guide = Guide { address: address.parse().unwrap(), ca_file: ca_file.map(PathBuf::from), keys };
        anstream::adapter::strip_str(&guide.to_string()).to_string()
    }

    #[test]
    fn plaintext_guide_names_the_variables_to_set() {
        let text = guide("127.0.0.1:4317", None, 0);
        assert!(text.contains("export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317\n"), "{text}");
        assert!(text.contains("export OTEL_EXPORTER_OTLP_HEADERS=\"authorization=Bearer%20any-key\"\n"), "{text}");
        assert!(!text.contains("CERTIFICATE"), "{text}");
    }

    #[test]
    fn tls_guide_names_the_certificate_and_no_key() {
        let text = guide("0.0.0.0:9", Some("/tmp/ca.pem"), 2);
        assert!(text.contains("export OTEL_EXPORTER_OTLP_ENDPOINT=https://localhost:9\n"), "{text}");
        assert!(text.contains("export OTEL_EXPORTER_OTLP_CERTIFICATE='/tmp/ca.pem'\n"), "{text}");
        assert!(text.contains("Bearer%20$CORALOGIX_API_KEY"), "{text}");
    }
}
