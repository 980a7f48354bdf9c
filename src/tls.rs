//! Certificates: who a node is, and whom it believes.
//!
//! Every node holds a certificate of the cluster's own authority for its own name, `node-<n>.<region>.snowtide`, and
//! believes only that authority. TLS 1.3 with the `ring` provider, named here once, so that nothing depends on a
//! default of the process. 0-RTT is never accepted and sessions are never resumed: each connection proves afresh who
//! stands at both ends.
//!
//! Nothing here writes: certificates for development are made by `snowtide-dev`.

mod live;
mod validity;

pub use live::{Live, Secured};
pub(crate) use validity::end_of;
pub use validity::{Expiry, Role};

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::clock;
use crate::config::map::ClusterMap;

/// The authority's certificate in `tls.dir`.
pub const CA_FILE: &str = "ca.pem";
const REMEDY: &str = "`snowtide-dev certs` makes certificates for development";

/// A node cannot use its certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}: {source}; {REMEDY}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is not {expected}: {reason}; replace it, {REMEDY}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is not this node's, not by this authority, or not valid now.
    #[error("{} does not prove that this node is {name}: {reason}; delete it and its key, {REMEDY}", path.display())]
    NotOurs {
        /// The certificate.
        path: PathBuf,
        /// The name it should prove.
        name: String,
        /// Why it does not.
        reason: String,
    },
    /// The key does not belong to the certificate, or TLS refuses both for another reason.
    #[error("the certificate and its key cannot be used: {0}; delete both, {REMEDY}")]
    Unusable(String),
}

/// One node's certificate and key, and the authority it believes.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    roots: Arc<RootCertStore>,
    expiries: Vec<Expiry>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)") // never the key
    }
}

impl Credentials {
    /// Reads `ca.pem`, `<region>-<node>.pem` and `<region>-<node>.key` from `dir`, and checks that they fit together,
    /// name this node and are valid now.
    pub fn load(dir: &Path, region: &str, node: u8) -> Result<Self, TlsError> {
        let (path_of_authority, path) = (dir.join(CA_FILE), dir.join(certificate_file(region, node)));
        let authorities = certificates(&path_of_authority)?;
        let roots = Arc::new(authority(&path_of_authority, &authorities)?);
        let chain = certificates(&path)?;
        let key = private_key(&dir.join(key_file(region, node)))?;
        let name = node_name(region, node);
        proves(&roots, &chain, &name).map_err(|reason| TlsError::NotOurs { path: path.clone(), name, reason })?;
        let mut expiries = validity::of(Role::Authority, &path_of_authority, &authorities)?;
        expiries.extend(validity::of(Role::Node, &path, &chain)?);
        let credentials = Self(Arc::new(Inner { roots, expiries, chain, key }));
        credentials.dialer(b"")?; // finds a key of another certificate now rather than at the first connection
        Ok(credentials)
    }

    /// Until when each certificate is valid: of the authorities that are believed, and our own with those between.
    pub fn expiries(&self) -> &[Expiry] {
        &self.0.expiries
    }

    /// Whether these are the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether both show and believe the same.
    pub fn equals(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        let authorities = |inner: &Inner| inner.roots.roots.clone();
        one.chain == other.chain && one.key == other.key && authorities(one) == authorities(other)
    }

    /// Whether we believe now what a peer has shown, as a node of this name if it stands for one, or why not.
    pub(crate) fn believes(&self, chain: &[CertificateDer<'_>], name: Option<&str>) -> Result<(), String> {
        let Some(name) = name else {
            let (leaf, rest) = chain.split_first().ok_or("it holds no certificate")?;
            let verifier = self.verifier().map_err(|error| error.to_string())?;
            return verifier.verify_client_cert(leaf, rest, now()).map(drop).map_err(|error| error.to_string());
        };
        proves(&self.0.roots, chain, name)
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        WebPkiClientVerifier::builder_with_provider(self.0.roots.clone(), provider())
            .allow_unauthenticated()
            .build()
            .map_err(unusable)
    }

    /// For the accepting side. A client certificate is not demanded, but one that is shown must be the authority's;
    /// whoever accepts a peer must demand it after the handshake.
    pub(crate) fn acceptor(&self, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let mut config = server(self.verifier()?, self.0.chain.clone(), self.0.key.clone_key(), protocols)?;
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For the dialing side: shows our certificate, and believes the authority only.
    pub(crate) fn dialer(&self, protocol: &[u8]) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(self.0.roots.clone())
            .with_client_auth_cert(self.0.chain.clone(), self.0.key.clone_key())
            .map_err(unusable)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.enable_early_data = false;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// Signs with the key of our certificate. The message begins with what it is for, so that no signature passes for
    /// another one, those of TLS included. `None` if the key cannot sign.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Signed> {
        let key = provider().key_provider.load_private_key(self.0.key.clone_key()).ok()?;
        let signer = key.choose_scheme(&all_schemes())?;
        let signature = signer.sign(message).ok()?;
        let chain = self.0.chain.iter().map(|certificate| certificate.to_vec()).collect();
        Some(Signed { chain, scheme: signer.scheme().into(), signature })
    }

    /// Whether a node of this name, by a certificate that we believe now, has signed the message.
    pub(crate) fn verify(&self, name: &str, message: &[u8], signed: &Signed) -> Result<(), String> {
        let chain: Vec<_> = signed.chain.iter().map(|bytes| CertificateDer::from(bytes.as_slice())).collect();
        proves(&self.0.roots, &chain, name)?;
        let leaf = chain.first().ok_or("it holds no certificate")?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
        let algorithms = provider().signature_verification_algorithms;
        let named = algorithms.mapping.iter().filter(|(scheme, _)| u16::from(*scheme) == signed.scheme);
        let verifies = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            leaf.verify_signature(*algorithm, message, &signed.signature).is_ok()
        };
        let verified = named.flat_map(|(_, algorithms)| algorithms.iter()).any(verifies);
        if verified { Ok(()) } else { Err("the signature is not by that certificate".to_owned()) }
    }

    /// A secret of this node that survives restarts, different for each purpose, from which the key cannot be found.
    pub(crate) fn secret(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.key.secret_der());
        let mut secret = [0; 32];
        for (to, from) in secret.iter_mut().zip(hmac::sign(&key, purpose.as_bytes()).as_ref()) {
            *to = *from;
        }
        secret
    }
}

/// A signature, and the certificates that say whose it is.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct Signed {
    /// The signer's own certificate first.
    chain: Vec<Vec<u8>>,
    /// By the numbers of TLS (RFC 8446, 4.2.3).
    scheme: u16,
    signature: Vec<u8>,
}

fn all_schemes() -> Vec<rustls::SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

/// For a server that clients know by this certificate.
fn server(
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.max_early_data_size = 0;
    Ok(config)
}

/// Those of these files that others than their owner can read.
pub fn exposed(files: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let is_exposed =
        |file: &PathBuf| std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    files.into_iter().filter(is_exposed).collect()
}

/// For whoever asks a server and believes the authorities of this file alone.
pub fn believing(authorities: &Path) -> Result<ClientConfig, TlsError> {
    let roots = authority(authorities, &certificates(authorities)?)?;
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).map_err(unusable)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of a `tls.dir`, as far as they are there, and what is wrong with those that are.
pub fn in_directory(dir: &Path, map: &ClusterMap) -> (Vec<Expiry>, Vec<String>) {
    let nodes = map.nodes().map(|(worker, region, _)| (Role::Node, certificate_file(&region.name, worker.node())));
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (role, file) in std::iter::once((Role::Authority, CA_FILE.to_owned())).chain(nodes) {
        let path = dir.join(file);
        match path.exists().then(|| certificates(&path).and_then(|chain| validity::of(role, &path, &chain))) {
            Some(Ok(expiries)) => found.extend(expiries),
            Some(Err(error)) => problems.push(error.to_string()),
            None => {}
        }
    }
    (found, problems)
}

/// The name that a node's certificate proves.
pub fn node_name(region: &str, node: u8) -> String {
    format!("node-{node}.{region}.snowtide")
}

/// The file of a node's certificate in `tls.dir`.
pub fn certificate_file(region: &str, node: u8) -> String {
    format!("{region}-{node}.pem")
}

/// The file of a node's private key in `tls.dir`.
pub fn key_file(region: &str, node: u8) -> String {
    format!("{region}-{node}.key")
}

/// Whether a certificate, already verified by a handshake, is for `name`. Bytes that are no certificate name nobody.
pub(crate) fn certificate_names(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (webpki::EndEntityCert::try_from(certificate), ServerName::try_from(name)) else {
        return false;
    };
    certificate.verify_is_valid_for_subject_name(&name).is_ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn authority(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|error| malformed(path, "a certificate authority", error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(path, "a certificate in PEM", error))?;
    if chain.is_empty() { Err(malformed(path, "a certificate in PEM", "it holds none")) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| malformed(path, "a private key in PEM", error))
}

fn proves(roots: &Arc<RootCertStore>, chain: &[CertificateDer<'_>], name: &str) -> Result<(), String> {
    let (leaf, rest) = chain.split_first().ok_or("it holds no certificate")?;
    let server_name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|error| error.to_string())?
        .verify_server_cert(leaf, rest, &server_name, &[], now())
        .map_err(|error| error.to_string())?;
    Ok(())
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn malformed(path: &Path, expected: &'static str, reason: impl fmt::Display) -> TlsError {
    TlsError::Malformed { path: path.to_owned(), expected, reason: reason.to_string() }
}

fn unusable(reason: impl fmt::Display) -> TlsError {
    TlsError::Unusable(reason.to_string())
}

#[cfg(test)]
mod tests {
    use snowtide_dev::certificates::{self, Folders, Holder};

    use super::*;

    fn certificates_of_two_nodes() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let nodes = [0, 1].map(|node| Holder::new("eu-west", node));
        certificates::certificates(&Folders::within(dir.path()), &nodes, false).unwrap();
        dir
    }

    #[test]
    fn a_missing_file_is_named_with_the_command_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = Credentials::load(dir.path(), "eu-west", 0).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("snowtide-dev certs"), "{error}");
    }

    #[test]
    fn another_nodes_certificate_under_our_name_is_refused_at_the_start() {
        let dir = certificates_of_two_nodes();
        std::fs::copy(dir.path().join("eu-west-1.pem"), dir.path().join("eu-west-0.pem")).unwrap();
        let error = Credentials::load(dir.path(), "eu-west", 0).unwrap_err();
        assert!(matches!(error, TlsError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_at_the_start() {
        let dir = certificates_of_two_nodes();
        std::fs::copy(dir.path().join("eu-west-1.key"), dir.path().join("eu-west-0.key")).unwrap();
        let error = Credentials::load(dir.path(), "eu-west", 0).unwrap_err();
        assert!(matches!(error, TlsError::Unusable(_)), "{error}");
    }

    #[test]
    fn a_key_that_others_can_read_is_named() {
        let dir = certificates_of_two_nodes();
        let key = dir.path().join("eu-west-0.key");
        assert!(exposed([key.clone(), dir.path().join("absent")]).is_empty());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(exposed([key.clone()]), [key]);
    }

    #[test]
    fn garbage_is_refused_by_file() {
        let dir = certificates_of_two_nodes();
        for (file, expected) in [("ca.pem", "ca.pem"), ("eu-west-0.pem", "eu-west-0.pem")] {
            let good = std::fs::read(dir.path().join(file)).unwrap();
            std::fs::write(dir.path().join(file), b"garbage").unwrap();
            let error = Credentials::load(dir.path(), "eu-west", 0).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            std::fs::write(dir.path().join(file), good).unwrap();
        }
    }

    #[test]
    fn a_certificate_names_its_node_and_no_other() {
        let dir = certificates_of_two_nodes();
        let credentials = Credentials::load(dir.path(), "eu-west", 1).unwrap();
        let leaf = credentials.0.chain.first().unwrap();
        assert!(certificate_names(leaf, "node-1.eu-west.snowtide"));
        assert!(!certificate_names(leaf, "node-0.eu-west.snowtide"));
        assert!(!certificate_names(leaf, "not a name"));
        assert!(!certificate_names(&CertificateDer::from(&b"garbage"[..]), "node-1.eu-west.snowtide"));
    }

    #[test]
    fn what_a_node_signs_is_its_own_and_nobody_elses() {
        let dir = certificates_of_two_nodes();
        let [zero, one] = [0, 1].map(|node| Credentials::load(dir.path(), "eu-west", node).unwrap());
        let signed = zero.sign(b"something").unwrap();
        let name = node_name("eu-west", 0);
        assert_eq!(one.verify(&name, b"something", &signed), Ok(()));
        assert!(one.verify(&name, b"something else", &signed).is_err());
        assert!(one.verify(&node_name("eu-west", 1), b"something", &signed).is_err());
        let forged = Signed { chain: signed.chain.clone(), ..one.sign(b"something").unwrap() };
        assert!(zero.verify(&name, b"something", &forged).is_err());
        assert!(zero.verify(&name, b"something", &Signed { chain: Vec::new(), ..signed.clone() }).is_err());
        let foreign = Credentials::load(certificates_of_two_nodes().path(), "eu-west", 0).unwrap();
        assert!(foreign.verify(&name, b"something", &signed).is_err(), "another authority");
    }

    #[test]
    fn a_secret_outlives_the_process_and_differs_by_node_and_purpose() {
        let dir = certificates_of_two_nodes();
        let secret = |node, purpose| Credentials::load(dir.path(), "eu-west", node).unwrap().secret(purpose);
        assert_eq!(secret(0, "a"), secret(0, "a"));
        assert_ne!(secret(0, "a"), secret(0, "b"));
        assert_ne!(secret(0, "a"), secret(1, "a"));
    }
}
