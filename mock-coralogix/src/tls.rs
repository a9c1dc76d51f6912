//! A certificate for this run.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The names and addresses that the certificate is good for: the loopback's.
const SUBJECTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A server certificate for the loopback addresses, and the certificate authority that signed it.
///
/// Made new each time; the authority's key is forgotten as soon as it has signed. Cheap to clone.
#[derive(Clone)]
pub struct TlsIdentity {
    ca_pem: Arc<str>,
    server: Arc<ServerConfig>,
}

/// A certificate could not be made, or is refused by the TLS library.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a TLS certificate: {0}")]
pub struct TlsError(Box<dyn std::error::Error + Send + Sync>);

impl From<rcgen::Error> for TlsError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.into())
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self(error.into())
    }
}

impl TlsIdentity {
    /// Makes an authority, and a certificate for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate() -> Result<Self, TlsError> {
        let ca_key = KeyPair::generate()?;
        let ca_params = ca_params();
        let ca = ca_params.self_signed(&ca_key)?;
        let server_key = KeyPair::generate()?;
        let certificate = server_params()?.signed_by(&server_key, &Issuer::new(ca_params, ca_key))?;
        let private_key = PrivateKeyDer::Pkcs8(server_key.serialize_der().into());
        let server = server_config(certificate.der().clone(), private_key)?;
        Ok(Self { ca_pem: ca.pem().into(), server: Arc::new(server) })
    }

    /// The authority's certificate in PEM, which clients are to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What a TLS acceptor needs. One for all listeners, so that a new listener costs nothing.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("ca_pem", &self.ca_pem).finish_non_exhaustive()
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("mock-coralogix CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(SUBJECTS.map(str::to_owned))?;
    params.distinguished_name = named("mock-coralogix");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients (Python 3.13, for one) refuse a certificate that does not name its issuer's key.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Names its cryptographic provider, so that no process-wide default need be installed.
fn server_config(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
