//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use mock_coralogix::ApiKeys;

/// Takes OTLP exports as Coralogix does, and prints what it receives.
///
/// Point any OpenTelemetry exporter at it (OTLP over gRPC, traces) to see whether its spans arrive,
/// which of them travel together, and whether its API key gets through. What an export holds is
/// printed before the export is answered.
#[derive(Parser)]
#[command(version, after_long_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Address to listen on; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    pub(crate) listen: SocketAddr,

    /// Speak TLS, as the real endpoint does, with a certificate made for this run.
    ///
    /// It is good for localhost, 127.0.0.1 and ::1. Its authority is written to the --ca-file, which
    /// the exporter has to trust.
    #[arg(long)]
    pub(crate) tls: bool,

    /// With --tls: where to write the certificate authority, in PEM.
    #[arg(long, value_name = "FILE", default_value = "mock-coralogix-ca.pem", requires = "tls")]
    pub(crate) ca_file: PathBuf,

    /// An API key that is good; can be given several times.
    ///
    /// Exports without one of them are answered with UNAUTHENTICATED, and printed all the same. With
    /// no key given, any key is good as long as there is one. Keys are never printed; one of at least
    /// eight characters is masked wherever telemetry holds it.
    #[arg(
        long = "key",
        value_name = "KEY",
        env = "CORALOGIX_API_KEY",
        hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) keys: Vec<String>,

    /// Print resources, attributes and links, too.
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) verbose: bool,

    /// Print one JSON object a line: an export with all it holds, or a refusal.
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  mock-coralogix                               plaintext, any key
  CORALOGIX_API_KEY=secret mock-coralogix --tls
  mock-coralogix --listen 127.0.0.1:0 --json | jq '.resource_spans[]?.spans[].name'

What arrives is printed on standard output, everything else on standard error. Colours are for
terminals only; NO_COLOR turns them off.

Exit codes:
  0  ended by Ctrl-C or SIGTERM, or by the reader of its output
  1  internal error
  2  wrong usage
  3  could not start: the port is in use, or a file cannot be written";

impl Cli {
    pub(crate) fn api_keys(&self) -> ApiKeys {
        if self.keys.is_empty() { ApiKeys::Any } else { ApiKeys::only(&self.keys) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ca_file_without_tls_is_wrong_usage() {
        assert!(Cli::try_parse_from(["mock-coralogix", "--ca-file", "ca.pem"]).is_err());
        assert!(Cli::try_parse_from(["mock-coralogix", "--tls", "--ca-file", "ca.pem"]).is_ok());
    }

    #[test]
    fn every_key_that_is_given_is_good() {
        let cli = Cli::try_parse_from(["mock-coralogix", "--key", "a", "--key", "b"]).unwrap();
        assert_eq!(cli.api_keys(), ApiKeys::only(["a", "b"]));
    }
}
