//! How to get to somebody else's SQS endpoint: by the standard AWS variables and files.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{ProvideCredentials, SharedHttpClient};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The variable that names the file with the CAs to trust, in place of the machine's own. The SDK for
/// Rust does not look at it; those for other languages, and AWS's command line, do.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Why an external endpoint cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are no credentials.
    #[error("no AWS credentials were found: {0}")]
    NoCredentials(String),
    /// The file with the CAs cannot be read.
    #[error("{CA_BUNDLE}={}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds no certificate, or something that is none.
    #[error("{CA_BUNDLE}={}: there is no CA certificate in it (PEM)", .0.display())]
    NoCertificate(PathBuf),
    /// No HTTP client can be made with them.
    #[error("{CA_BUNDLE}={}: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A client for this endpoint; the region is `region` if the variables and files name none.
pub(super) async fn client(endpoint: &str, region: String) -> Result<Client, ConnectError> {
    // Not by the instance's metadata, which no other SDK asks for a region either.
    let named = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::new(region));
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(named).endpoint_url(endpoint);
    if let Some(file) = std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()) {
        loader = loader.http_client(trusting(Path::new(&file))?);
    }
    let config = loader.load().await;
    check_credentials(&config).await?;
    Ok(Client::new(&config))
}

/// Whether there are credentials: an SDK's call without them fails as if the endpoint were to blame.
async fn check_credentials(config: &SdkConfig) -> Result<(), ConnectError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(ConnectError::NoCredentials("there is nobody to ask".to_owned()));
    };
    let found = provider.provide_credentials().await;
    found.map(drop).map_err(|error| ConnectError::NoCredentials(causes(&error)))
}

/// An error with what it came from, in a line.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        // Some repeat what caused them.
        if causes.last().is_none_or(|last| !last.contains(&cause.to_string())) {
            causes.push(cause.to_string());
        }
        source = cause.source();
    }
    causes.join(": ")
}

/// An HTTP client that trusts the CAs in this file alone.
fn trusting(file: &Path) -> Result<SharedHttpClient, ConnectError> {
    let pem = std::fs::read(file).map_err(|error| ConnectError::Unreadable { file: file.to_owned(), error })?;
    // The client would find out when it connects for the first time, and panic.
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if certificates.map_or(true, |certificates| certificates.is_empty()) {
        return Err(ConnectError::NoCertificate(file.to_owned()));
    }
    let trust_store = TrustStore::empty().with_pem_certificate(pem);
    let tls = TlsContext::builder().with_trust_store(trust_store).build();
    let tls = tls.map_err(|error| ConnectError::Unusable { file: file.to_owned(), reason: error.to_string() })?;
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    Ok(builder.tls_context(tls).build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_holds_no_certificate_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(matches!(trusting(&file), Err(ConnectError::Unreadable { .. })));
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&file, text).unwrap();
            let error = trusting(&file).unwrap_err().to_string();
            assert!(error.contains("AWS_CA_BUNDLE") && error.contains("ca.pem"), "{error}");
        }
    }
}
