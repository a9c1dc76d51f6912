//! How to get to somebody else's SQS endpoint: by the standard AWS variables and files.

use std::io;
use std::path::{Path, PathBuf};

use aws_config::meta::region::RegionProviderChain;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::SharedHttpClient;
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
    let region = RegionProviderChain::default_provider().or_else(Region::new(region));
    let mut config = aws_config::defaults(BehaviorVersion::latest()).region(region).endpoint_url(endpoint);
    if let Some(file) = std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()) {
        config = config.http_client(trusting(Path::new(&file))?);
    }
    Ok(Client::new(&config.load().await))
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
