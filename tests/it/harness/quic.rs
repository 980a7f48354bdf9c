//! A QUIC caller without manners: any protocol name, any certificate, any bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;

use super::DEADLINE;

/// A connection, and what it stands on.
pub(crate) struct Caller {
    pub(crate) connection: quinn::Connection,
    _endpoint: Endpoint,
}

/// Calls `address`, which must be `name` by the authority in `certs`, as the node of `identity` (such as `us-east-0`)
/// or as nobody.
pub(crate) async fn call(
    address: SocketAddr,
    name: &str,
    certs: &Path,
    identity: Option<&str>,
    protocol: &[u8],
) -> Result<Caller, ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs.join("ca.pem")).unwrap()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        None => tls.with_no_client_auth(),
        Some(node) => {
            let certificate = CertificateDer::from_pem_file(certs.join(format!("{node}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(certs.join(format!("{node}.key"))).unwrap();
            tls.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    tls.alpn_protocols = vec![protocol.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, address, name).unwrap();
    let connection = timeout(DEADLINE, connecting).await.unwrap()?;
    Ok(Caller { connection, _endpoint: endpoint })
}

impl Caller {
    /// Waits until the other end hangs up, and tells its code and words.
    pub(crate) async fn hung_up(&self) -> (u64, String) {
        match timeout(DEADLINE, self.connection.closed()).await.expect("the other end hangs up") {
            ConnectionError::ApplicationClosed(close) => {
                (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
            }
            other => panic!("the connection ended otherwise: {other}"),
        }
    }
}
