//! How to reach a node.

use std::path::Path;
use std::time::Duration;

use super::tls;
use crate::error::ConnectError;
use crate::setters::setters;
use crate::trust;

/// Where to connect, whom to trust, and how long to wait.
///
/// ```no_run
/// # fn main() -> Result<(), snowtide_client::ConnectError> {
/// let config = snowtide_client::Config::new("127.0.0.1:7410").ca_pem_file("certs/ca.pem")?.token("secret");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Config {
    pub(crate) addresses: Vec<String>,
    pub(crate) roots: rustls::RootCertStore,
    pub(crate) token: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) streams: usize,
}

impl Config {
    /// The node's QUIC address as `host:port`; a host is a name or an IP address, IPv6 in brackets.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            roots: rustls::RootCertStore::empty(),
            token: None,
            server_name: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            streams: 1,
        }
    }

    /// One more address, tried if those before it cannot be reached.
    pub fn or_address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Trusts the certificate authorities in a PEM file.
    pub fn ca_pem_file(mut self, path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        trust::trust_file(&mut self.roots, path.as_ref())?;
        Ok(self)
    }

    /// Trusts the certificate authorities in these PEM bytes.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Self, ConnectError> {
        trust::trust(&mut self.roots, pem, "the CA bytes")?;
        Ok(self)
    }

    /// A bearer token, where the node asks for one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The name or IP address that the node's certificate must hold; the host of the address unless said otherwise.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    setters! {
        /// How long to try one address; 5 s by default.
        connect_timeout: Duration;
        /// How long to wait for an answer, time in this client's queue included; 10 s by default.
        request_timeout: Duration;
        /// A node that is silent for this long is given up; 15 s by default. Probes are sent at a third of it.
        idle_timeout: Duration;
    }

    /// QUIC streams to spread requests over, 1 by default, which is enough for hundreds of thousands of operations
    /// a second. More than one gives up the order between requests. The node has a limit of its own.
    pub fn streams(mut self, streams: usize) -> Self {
        self.streams = streams.max(1);
        self
    }

    /// What can be said to be wrong before anything is tried.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        self.addresses.iter().try_for_each(|address| host(address).map(drop))?;
        tls::client_config(self.roots.clone(), self.idle_timeout).map(drop)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Config")
            .field("addresses", &self.addresses)
            .field("server_name", &self.server_name)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub(super) fn host(address: &str) -> Result<&str, ConnectError> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
        }
        _ => Err(ConnectError::Config(format!("{address:?} is not host:port, for example 127.0.0.1:7410"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_its_server_name() {
        assert_eq!(host("127.0.0.1:7410").unwrap(), "127.0.0.1");
        assert_eq!(host("[::1]:7410").unwrap(), "::1");
        assert_eq!(host("node.example:1").unwrap(), "node.example");
        for wrong in ["", "node", ":7410", "node:port", "node:70000"] {
            assert!(matches!(host(wrong), Err(ConnectError::Config(_))), "{wrong:?}");
        }
    }
}
