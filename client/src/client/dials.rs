//! Addresses as ways to connect.

use super::builder::{Address, Builder};
use crate::door::Dial;
use crate::error::ConnectError;

/// Each is a feature of this crate, too.
const SCHEMES: [&str; 3] = ["quic", "https", "http"];

impl Builder {
    /// One for each node.
    pub(super) fn dials(&self) -> Result<Vec<Box<dyn Dial>>, ConnectError> {
        self.nodes.iter().map(|node| self.dial(node)).collect()
    }

    fn dial(&self, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        let text = &node.text;
        match text.split_once("://").unwrap_or(("quic", text)) {
            #[cfg(feature = "quic")]
            ("quic", address) => self.quic(address, node),
            #[cfg(feature = "http")]
            ("http", address) => self.http(address),
            #[cfg(feature = "https")]
            ("https", address) => self.https(address, node),
            (feature, _) if SCHEMES.contains(&feature) => Err(ConnectError::Config(format!(
                "{text:?} needs the feature `{feature}` of snowtide-client, which is off"
            ))),
            (scheme, _) => Err(ConnectError::Config(format!(
                "{text:?}: {scheme}:// is not known; give quic://host:port, https://host:port or http://host:port"
            ))),
        }
    }

    #[cfg(feature = "quic")]
    fn quic(&self, address: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        use crate::quic::{Config, QuicDial};

        let config = Config {
            roots: self.roots()?,
            token: self.bearer.clone(),
            server_name: node.certified.clone(),
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            streams: self.streams,
            ..Config::new(address)
        };
        config.check()?;
        Ok(Box::new(QuicDial::new(node.text.clone(), config)))
    }

    #[cfg(feature = "http")]
    fn http(&self, address: &str) -> Result<Box<dyn Dial>, ConnectError> {
        let dial = crate::http::HttpDial::new(address, self.bearer.as_deref(), self.connect_timeout)?;
        Ok(Box::new(dial))
    }

    #[cfg(feature = "https")]
    fn https(&self, address: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        let (bearer, certified) = (self.bearer.as_deref(), node.certified.as_deref());
        let dial = crate::http::HttpDial::secure(address, bearer, self.connect_timeout, self.roots()?, certified)?;
        Ok(Box::new(dial))
    }

    /// The certificate authorities that this client trusts.
    #[cfg(any(feature = "quic", feature = "https"))]
    fn roots(&self) -> Result<rustls::RootCertStore, ConnectError> {
        use super::builder::Pem;
        use crate::trust;

        let mut roots = rustls::RootCertStore::empty();
        for pem in &self.trusted {
            match pem {
                Pem::File(path) => trust::trust_file(&mut roots, path)?,
                Pem::Bytes(bytes) => trust::trust(&mut roots, bytes, "the CA bytes")?,
            }
        }
        Ok(roots)
    }
}
