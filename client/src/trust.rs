//! Whom to trust, and TLS 1.3 for that: `ring` only, no client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::ConnectError;

/// Adds the certificate authorities in `pem`, which came from `source`.
pub(crate) fn trust(roots: &mut RootCertStore, pem: &[u8], source: &str) -> Result<(), ConnectError> {
    let wrong = |reason: String| ConnectError::Config(format!("{source}: {reason}"));
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| wrong(format!("not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("not a CA certificate: {error}")))?;
        found = true;
    }
    let nothing = "no certificate in it; a PEM file with a CERTIFICATE section is needed";
    if found { Ok(()) } else { Err(wrong(nothing.into())) }
}

/// The same for a file.
pub(crate) fn trust_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ConnectError> {
    let pem = std::fs::read(path)
        .map_err(|error| ConnectError::Config(format!("cannot read the CA file {}: {error}", path.display())))?;
    trust(roots, &pem, &path.display().to_string())
}

/// TLS with whoever these authorities vouch for; without any, that is nobody, which is refused.
pub(crate) fn tls(roots: RootCertStore) -> Result<ClientConfig, ConnectError> {
    if roots.is_empty() {
        let help = "no certificate authority is trusted; give the cluster's ca.pem, by ca_pem_file";
        return Err(ConnectError::Config(help.into()));
    }
    tls_with(roots)
}

/// TLS, although it may be that nobody is trusted.
pub(crate) fn tls_with(roots: RootCertStore) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| ConnectError::Config(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
