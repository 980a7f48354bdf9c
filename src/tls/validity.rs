//! Until when certificates are valid.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{TlsError, malformed};
use crate::clock;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Who names the nodes of the cluster.
    Authority,
    /// The node, towards its peers and QUIC clients.
    Node,
    /// The HTTP door.
    Http,
    /// The door of the Redis protocol.
    Redis,
    /// The door of gRPC.
    Grpc,
}

/// One certificate, and when it is valid. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What for.
    pub role: Role,
    /// Where it stands.
    pub file: PathBuf,
    /// Whose it is.
    pub subject: String,
    /// From when on.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Authority, Self::Node, Self::Http, Self::Redis, Self::Grpc];

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Node => "node",
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Grpc => "grpc",
        }
    }
}

impl Expiry {
    /// How long it is valid from this moment on; 0 once it is over.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms)
    }

    /// Whether it is valid at this moment.
    pub fn is_valid(&self, now_ms: u64) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, file, subject, until_ms, .. } = self;
        let until = clock::in_words(*until_ms);
        write!(f, "{} ({}, {subject}) until {until}", file.display(), role.as_str())
    }
}

/// When the first certificate of a chain ends; at once if that cannot be read.
pub(crate) fn end_of(chain: &[CertificateDer<'_>]) -> u64 {
    let ends = chain.iter().map(|certificate| match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => milliseconds(parsed.validity().not_after.timestamp()),
        Err(_) => 0,
    });
    ends.min().unwrap_or_default()
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000)
}

/// When these certificates of one file are valid.
pub(super) fn of(role: Role, file: &Path, chain: &[CertificateDer<'_>]) -> Result<Vec<Expiry>, TlsError> {
    chain.iter().map(|certificate| one(role, file, certificate)).collect()
}

fn one(role: Role, file: &Path, certificate: &CertificateDer<'_>) -> Result<Expiry, TlsError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| malformed(file, "a certificate", error))?;
    let validity = parsed.validity();
    Ok(Expiry {
        role,
        file: file.to_owned(),
        subject: parsed.subject().to_string(),
        from_ms: milliseconds(validity.not_before.timestamp()),
        until_ms: milliseconds(validity.not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_of_a_certificate_is_read() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let found = of(Role::Http, Path::new("a.pem"), &[made.cert.der().clone()]).unwrap();
        let [expiry] = found.as_slice() else { panic!("{found:?}") };
        // What rcgen makes of nothing.
        assert_eq!(
            (clock::in_words(expiry.from_ms), clock::in_words(expiry.until_ms)),
            ("1975-01-01T00:00:00.000Z".to_owned(), "4096-01-01T00:00:00.000Z".to_owned())
        );
        assert!(expiry.is_valid(expiry.from_ms) && !expiry.is_valid(expiry.until_ms));
        assert_eq!((expiry.left_ms(expiry.until_ms - 7), expiry.left_ms(u64::MAX)), (7, 0));
        let garbage = CertificateDer::from(&b"garbage"[..]);
        assert_eq!(end_of(&[made.cert.der().clone()]), expiry.until_ms);
        assert_eq!((end_of(&[made.cert.der().clone(), garbage.clone()]), end_of(&[])), (0, 0));
        assert!(of(Role::Http, Path::new("a.pem"), &[garbage]).is_err());
    }
}
