//! A certificate authority and node certificates for development.
//!
//! The authority's key lies unprotected beside its certificate. That suits a laptop and a test; a cluster that anybody
//! depends on brings certificates of its own, with the same names.
//!
//! What exists is never overwritten: a second run reuses the authority and adds what is missing. Only node certificates
//! whose authority is gone, and which nobody would believe, are made again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::{CA_FILE, certificate_file, key_file, node_name};
use crate::clock;
use crate::config::map::{ClusterMap, Node};

/// The authority's key in the same directory.
pub const CA_KEY_FILE: &str = "ca.key";
const AUTHORITY_VALID: Duration = Duration::days(10 * 365);
const NODE_VALID: Duration = Duration::days(2 * 365);
/// Machines whose clocks differ a little believe a new certificate too.
const CLOCK_SLACK: Duration = Duration::days(1);

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The authority's certificate, new or not.
    pub authority: PathBuf,
    /// The authority itself is new.
    pub authority_is_new: bool,
    /// Node certificates that were made.
    pub made: Vec<PathBuf>,
    /// Node certificates that existed and were left as they are.
    pub kept: Vec<PathBuf>,
}

/// Certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DevCertificatesError {
    /// A file could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is an authority, but not its key, so nothing can be signed.
    #[error("{} exists without {CA_KEY_FILE} beside it: restore the key, or delete all certificates to begin anew", .0.display())]
    AuthorityWithoutKey(PathBuf),
    /// What exists is not what it should be, or a name cannot be put into a certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes an authority unless there is one, and for each node of the map without a certificate a new one.
pub fn certificates(dir: &Path, map: &ClusterMap) -> Result<Made, DevCertificatesError> {
    fs::create_dir_all(dir).map_err(|source| DevCertificatesError::File { path: dir.to_owned(), source })?;
    let (issuer, authority_is_new) = authority(dir)?;
    let mut made = Made { authority: dir.join(CA_FILE), authority_is_new, ..Made::default() };
    for (worker, region, node) in map.nodes() {
        let certificate = dir.join(certificate_file(&region.name, worker.node()));
        let key = dir.join(key_file(&region.name, worker.node()));
        if certificate.exists() && key.exists() && !authority_is_new {
            made.kept.push(certificate);
        } else {
            make_node(&issuer, &region.name, node, &certificate, &key)?;
            made.made.push(certificate);
        }
    }
    Ok(made)
}

fn authority(dir: &Path) -> Result<(Issuer<'static, KeyPair>, bool), DevCertificatesError> {
    let (certificate, key) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
    match (certificate.exists(), key.exists()) {
        (true, true) => {
            let pair = KeyPair::from_pem(&read(&key)?)?;
            Ok((Issuer::from_ca_cert_pem(&read(&certificate)?, pair)?, false))
        }
        (true, false) => Err(DevCertificatesError::AuthorityWithoutKey(certificate)),
        (false, _) => Ok((make_authority(&certificate, &key)?, true)),
    }
}

fn make_authority(certificate: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, DevCertificatesError> {
    let pair = KeyPair::generate()?;
    let mut params = valid_for(AUTHORITY_VALID, CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "Snowtide development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&pair)?;
    write(key, &pair.serialize_pem(), 0o600)?;
    write(certificate, &signed.pem(), 0o644)?;
    Ok(Issuer::new(params, pair))
}

fn make_node(
    issuer: &Issuer<'static, KeyPair>,
    region: &str,
    node: &Node,
    certificate: &Path,
    key: &Path,
) -> Result<(), DevCertificatesError> {
    let pair = KeyPair::generate()?;
    let mut params = valid_for(NODE_VALID, CertificateParams::new(names(region, node))?);
    params.distinguished_name.push(DnType::CommonName, node_name(region, node.id));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node answers clients and peers, and dials peers.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let signed = params.signed_by(&pair, issuer)?;
    write(key, &pair.serialize_pem(), 0o600)?;
    write(certificate, &signed.pem(), 0o644)
}

/// The node's own name for peers, and for clients whatever they may reach it by.
fn names(region: &str, node: &Node) -> Vec<String> {
    let mut names = vec![node_name(region, node.id), "localhost".to_owned()];
    let hosts = [&node.quic, &node.http].into_iter().chain(&node.redis).map(|address| address.host().into_owned());
    let loopback = ["127.0.0.1".to_owned(), "::1".to_owned()];
    let hosts: BTreeSet<_> = hosts.chain(loopback).filter(|host| !names.contains(host)).collect();
    names.extend(hosts);
    names
}

fn valid_for(duration: Duration, mut params: CertificateParams) -> CertificateParams {
    let seconds = i64::try_from(clock::wall_ms() / 1000).unwrap_or(i64::MAX);
    let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_before = now.saturating_sub(CLOCK_SLACK);
    params.not_after = now.saturating_add(duration);
    params
}

fn read(path: &Path) -> Result<String, DevCertificatesError> {
    fs::read_to_string(path).map_err(|source| DevCertificatesError::File { path: path.to_owned(), source })
}

/// Writes beside the target and renames, so that a half-written file is never taken for a whole one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), DevCertificatesError> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside); // left by a run that was cut off, perhaps with another mode
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| DevCertificatesError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::Credentials;

    fn map(nodes: &[u8]) -> ClusterMap {
        let mut text = "name = \"eu-west\"\nid = 1\n".to_owned();
        for node in nodes {
            text += &format!("[[node]]\nid = {node}\nquic = \"10.0.0.{node}:1\"\nhttp = \"node-{node}.example:2\"\n");
        }
        ClusterMap { regions: vec![toml::from_str(&text).unwrap()] }
    }

    #[test]
    fn a_second_run_keeps_everything_and_adds_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let first = certificates(dir.path(), &map(&[1])).unwrap();
        assert!(first.authority_is_new);
        assert_eq!((first.made.len(), first.kept.len()), (1, 0));
        let bytes = |file: &str| fs::read(dir.path().join(file)).unwrap();
        let before = [bytes("ca.pem"), bytes("ca.key"), bytes("eu-west-1.pem"), bytes("eu-west-1.key")];

        let second = certificates(dir.path(), &map(&[1, 2])).unwrap();
        assert!(!second.authority_is_new);
        assert_eq!((second.made.len(), second.kept.len()), (1, 1));
        assert_eq!(before, [bytes("ca.pem"), bytes("ca.key"), bytes("eu-west-1.pem"), bytes("eu-west-1.key")]);
        for node in [1, 2] {
            Credentials::load(dir.path(), "eu-west", node).unwrap();
        }
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path(), &map(&[1])).unwrap();
        for file in ["ca.key", "eu-west-1.key"] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn an_authority_without_its_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path(), &map(&[1])).unwrap();
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = certificates(dir.path(), &map(&[2])).unwrap_err();
        assert!(matches!(error, DevCertificatesError::AuthorityWithoutKey(_)), "{error}");
    }

    #[test]
    fn a_certificate_without_its_key_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path(), &map(&[1])).unwrap();
        fs::remove_file(dir.path().join("eu-west-1.key")).unwrap();
        assert_eq!(certificates(dir.path(), &map(&[1])).unwrap().made.len(), 1);
        Credentials::load(dir.path(), "eu-west", 1).unwrap();
    }
}
