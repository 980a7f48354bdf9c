//! TLS below HTTP, trusting whom the builder names and nobody else.

use std::error::Error as StdError;
use std::io;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use crate::error::ConnectError;
use crate::trust;

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// A connector for `https://` alone, to nodes for which `roots` vouch. Their certificates hold the name `certified`, if that is
/// another than the host of the address.
pub(super) fn trusting(
    roots: RootCertStore,
    certified: Option<&str>,
    mut tcp: HttpConnector,
) -> Result<Connector, ConnectError> {
    tcp.enforce_http(false);
    let builder = HttpsConnectorBuilder::new().with_tls_config(trust::tls(roots)?).https_only();
    let Some(name) = certified else { return Ok(builder.enable_http1().wrap_connector(tcp)) };
    let parsed = ServerName::try_from(name.to_owned());
    let parsed = parsed.map_err(|_| ConnectError::Config(format!("{name:?} cannot be the name in a certificate")))?;
    let builder = builder.with_server_name_resolver(FixedServerNameResolver::new(parsed));
    Ok(builder.enable_http1().wrap_connector(tcp))
}

/// A connector for `http://` alone.
pub(super) fn without(tcp: HttpConnector) -> Result<Connector, ConnectError> {
    let config = trust::tls_with(RootCertStore::empty())?;
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp))
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
