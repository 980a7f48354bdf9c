//! TLS below HTTP: 1.3 through `ring`, trusting whom the builder names and nobody else.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::error::ConnectError;

pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Whom to trust, and under which name.
pub(crate) struct Trusted {
    config: ClientConfig,
    /// The name in the node's certificate, if that is another than the host of its address.
    certified: Option<ServerName<'static>>,
}

impl Trusted {
    pub(crate) fn new(roots: RootCertStore, certified: Option<&str>) -> Result<Self, ConnectError> {
        if roots.is_empty() {
            let help =
                "no certificate authority is trusted; give the one that signed the nodes' certificates, by ca_pem_file";
            return Err(ConnectError::Config(help.into()));
        }
        let name = |name: &str| {
            let parsed = ServerName::try_from(name.to_owned());
            parsed.map_err(|_| ConnectError::Config(format!("{name:?} cannot be the name in a certificate")))
        };
        Ok(Self { config: client_config(roots)?, certified: certified.map(name).transpose()? })
    }

    pub(crate) fn connector(&self, mut tcp: HttpConnector) -> Connector {
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_only();
        match &self.certified {
            Some(name) => {
                let resolver = FixedServerNameResolver::new(name.clone());
                builder.with_server_name_resolver(resolver).enable_http1().wrap_connector(tcp)
            }
            None => builder.enable_http1().wrap_connector(tcp),
        }
    }
}

/// A connector for `http://` alone.
pub(super) fn without(tcp: HttpConnector) -> Result<Connector, ConnectError> {
    let config = client_config(RootCertStore::empty())?;
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp))
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| ConnectError::Config(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The node's certificate was not accepted here.
pub(super) fn is_about_a_certificate(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // Errors of input and output are wrapped in each other, and tell as their cause only that of the innermost.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}
