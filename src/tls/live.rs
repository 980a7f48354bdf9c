//! The certificate of a door: read from files, and replaced while the door is open.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;

use super::validity::{self, Expiry, Role};
use super::{TlsError, certificates, private_key, server};

/// What a door shows from its next connection on; cheap to clone, and one for all clones.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Secured>>);

/// A certificate and its key that can be shown.
#[derive(Clone)]
pub struct Secured {
    config: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Live {
    /// Shows this.
    pub fn new(secured: Secured) -> Self {
        Self(Arc::new(Mutex::new(secured)))
    }

    /// What to show to somebody who connects now.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// From now on it shows this. Connections that are open stay.
    pub fn replace(&self, secured: Secured) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = secured;
    }
}

impl Secured {
    /// Reads a certificate, with those between it and an authority, and its key; `None` if no file is named. The door then
    /// speaks these protocols, if it names any.
    pub fn load(role: Role, certificate: &Path, key: &Path, protocols: &[&[u8]]) -> Result<Option<Self>, TlsError> {
        if certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let chain = certificates(certificate)?;
        let expiries = validity::of(role, certificate, &chain)?;
        let key = private_key(key)?;
        let config = Arc::new(server(Arc::new(NoClientAuth), chain.clone(), key.clone_key(), protocols)?);
        Ok(Some(Self { config, expiries, chain, key: Arc::new(key) }))
    }

    /// Until when each of its certificates is valid.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// Whether both show the same.
    pub fn equals(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key == other.key
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured(..)") // never the key
    }
}
