//! Addresses as ways to connect.

use super::builder::{Address, Builder};
use crate::door::Dial;
use crate::error::ConnectError;

impl Builder {
    /// One for each node.
    pub(super) fn dials(&self) -> Result<Vec<Box<dyn Dial>>, ConnectError> {
        self.nodes.iter().map(|node| self.dial(node)).collect()
    }

    fn dial(&self, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        let text = &node.text;
        match text.split_once("://").unwrap_or(("quic", text)) {
            ("quic", address) => self.quic(address, node),
            ("http", address) => self.http(address),
            ("https", address) => self.https(address, node),
            (scheme, _) => Err(ConnectError::Config(format!(
                "{text:?}: {scheme}:// is not known; give quic://host:port, https://host:port or http://host:port"
            ))),
        }
    }

    #[cfg(feature = "quic")]
    fn quic(&self, address: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        use super::builder::Pem;
        use crate::quic::{Config, QuicDial};

        let config = Config::new(address)
            .connect_timeout(self.connect_timeout)
            .idle_timeout(self.idle_timeout)
            .streams(self.streams);
        let config = self.trusted.iter().try_fold(config, |config, pem| match pem {
            Pem::File(path) => config.ca_pem_file(path),
            Pem::Bytes(bytes) => config.ca_pem(bytes),
        })?;
        let config = self.bearer.iter().fold(config, |config, token| config.token(token));
        let config = node.certified.iter().fold(config, |config, name| config.server_name(name));
        config.check()?;
        Ok(Box::new(QuicDial::new(node.text.clone(), config)))
    }

    #[cfg(not(feature = "quic"))]
    fn quic(&self, _: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        Err(without("quic", &node.text))
    }

    #[cfg(feature = "http")]
    fn http(&self, address: &str) -> Result<Box<dyn Dial>, ConnectError> {
        let dial = crate::http::HttpDial::new(address, self.bearer.as_deref(), self.connect_timeout)?;
        Ok(Box::new(dial))
    }

    #[cfg(not(feature = "http"))]
    fn http(&self, address: &str) -> Result<Box<dyn Dial>, ConnectError> {
        Err(without("http", address))
    }

    #[cfg(feature = "https")]
    fn https(&self, address: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        use super::builder::Pem;
        use crate::http::{HttpDial, tls::Trusted};
        use crate::trust;

        let mut roots = rustls::RootCertStore::empty();
        for pem in &self.trusted {
            match pem {
                Pem::File(path) => trust::trust_file(&mut roots, path)?,
                Pem::Bytes(bytes) => trust::trust(&mut roots, bytes, "the CA bytes")?,
            }
        }
        let trusted = Trusted::new(roots, node.certified.as_deref())?;
        Ok(Box::new(HttpDial::secure(address, self.bearer.as_deref(), self.connect_timeout, &trusted)?))
    }

    #[cfg(not(feature = "https"))]
    fn https(&self, _: &str, node: &Address) -> Result<Box<dyn Dial>, ConnectError> {
        Err(without("https", &node.text))
    }
}

#[cfg(not(all(feature = "quic", feature = "https")))]
fn without(feature: &str, address: &str) -> ConnectError {
    ConnectError::Config(format!("{address:?} needs the feature `{feature}` of snowtide-client, which is off"))
}
