//! Whom to trust.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::ConnectError;

/// Adds every certificate in `pem` to `roots`; says what is wrong with the text otherwise.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut found = 0_u32;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("not a CA certificate: {error}"))?;
        found = found.saturating_add(1);
    }
    if found == 0 {
        Err("no certificate in it; a PEM file with a CERTIFICATE section is needed".into())
    } else {
        Ok(())
    }
}

/// Adds the certificate authorities in `pem`, which came from `source`.
pub(crate) fn trust(roots: &mut RootCertStore, pem: &[u8], source: &str) -> Result<(), ConnectError> {
    add(roots, pem).map_err(|reason| ConnectError::Config(format!("{source}: {reason}")))
}

/// The same for a file.
pub(crate) fn trust_file(roots: &mut RootCertStore, path: &std::path::Path) -> Result<(), ConnectError> {
    let pem = std::fs::read(path)
        .map_err(|error| ConnectError::Config(format!("cannot read the CA file {}: {error}", path.display())))?;
    trust(roots, &pem, &path.display().to_string())
}
