//! A certificate authority and node certificates for development.
//!
//! The authority's key lies in a folder of its own, beside the one that nodes are given, since its holder can be any node.
//! It is not encrypted. That suits a laptop and a test; a cluster that anybody depends on brings certificates of its own,
//! with the same names.
//!
//! What exists is not overwritten unasked: a second run reuses the authority and adds what is missing. Only node
//! certificates whose authority is gone, and which nobody would believe, are made again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::Serialize;
use snowtide::clock;
use snowtide::config::map::{ClusterMap, Node, Region};
use snowtide::identity::WorkerId;
use snowtide::tls::{CA_FILE, certificate_file, key_file, node_name};
use time::{Duration, OffsetDateTime};

use crate::error::DevError;
use crate::files;

/// The authority's key, and its certificate once more, in a folder of their own.
pub const CA_KEY_FILE: &str = "ca.key";
/// That folder is called as the one that nodes are given, with this behind.
const AUTHORITY_SUFFIX: &str = "-authority";
const AUTHORITY_VALID: Duration = Duration::days(10 * 365);
const NODE_VALID: Duration = Duration::days(2 * 365);
/// Machines whose clocks differ a little believe a new certificate too.
const CLOCK_SLACK: Duration = Duration::days(1);

/// Where certificates are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// What nodes are given: `tls.dir`.
    pub nodes: PathBuf,
    /// What nobody is given who is no operator.
    pub authority: PathBuf,
}

impl Folders {
    /// The authority beside what nodes are given: `certs-authority` beside `certs`.
    pub fn beside(nodes: &Path) -> Self {
        let mut name = nodes.file_name().unwrap_or_default().to_owned();
        name.push(AUTHORITY_SUFFIX);
        Self { nodes: nodes.to_owned(), authority: nodes.with_file_name(name) }
    }

    /// All in one folder, for clusters that nobody depends on.
    pub fn within(dir: &Path) -> Self {
        Self { nodes: dir.to_owned(), authority: dir.join("authority") }
    }
}

/// A node that gets a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its region's name.
    pub region: String,
    /// Its number in the region.
    pub node: u8,
    /// The hosts at which clients reach it. Its certificate names loopback besides.
    pub hosts: BTreeSet<String>,
}

impl Holder {
    /// A node of this machine.
    pub fn new(region: &str, node: u8) -> Self {
        Self { region: region.to_owned(), node, hosts: BTreeSet::new() }
    }

    /// Every node of the map.
    pub fn all(map: &ClusterMap) -> Vec<Self> {
        let holder = |(worker, region, node): (WorkerId, &Region, &Node)| {
            let addresses = [&node.quic, &node.http].into_iter().chain(&node.redis).chain(&node.grpc);
            let hosts = addresses.map(|address| address.host().into_owned()).collect();
            Self { hosts, ..Self::new(&region.name, worker.node()) }
        };
        map.nodes().map(holder).collect()
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The authority's certificate, new or not.
    pub authority: PathBuf,
    /// The authority itself is new.
    pub authority_is_new: bool,
    /// The authority's key, which nodes are not given.
    #[serde(rename = "authority_key")]
    pub key: PathBuf,
    /// The key lay among what nodes are given, and was moved.
    #[serde(rename = "authority_key_was_moved")]
    pub key_was_moved: bool,
    /// Node certificates that were made.
    pub made: Vec<PathBuf>,
    /// Node certificates that existed and were left as they are.
    pub kept: Vec<PathBuf>,
}

/// Makes an authority unless there is one, and for each of these nodes without a certificate a new one; with `renew` for each
/// of them.
pub fn certificates(folders: &Folders, holders: &[Holder], renew: bool) -> Result<Made, DevError> {
    files::make_dir(&folders.nodes, 0o755)?;
    files::make_dir(&folders.authority, 0o700)?;
    let key_was_moved = take_key_out(folders)?;
    let (issuer, authority_is_new) = authority(folders)?;
    let (authority, key) = (folders.nodes.join(CA_FILE), folders.authority.join(CA_KEY_FILE));
    let mut made = Made { authority, authority_is_new, key, key_was_moved, ..Made::default() };
    for holder in holders {
        let certificate = folders.nodes.join(certificate_file(&holder.region, holder.node));
        let key = folders.nodes.join(key_file(&holder.region, holder.node));
        if certificate.exists() && key.exists() && !authority_is_new && !renew {
            made.kept.push(certificate);
        } else {
            make_node(&issuer, holder, &certificate, &key)?;
            made.made.push(certificate);
        }
    }
    Ok(made)
}

/// Former releases left the authority's key among what nodes are given.
fn take_key_out(folders: &Folders) -> Result<bool, DevError> {
    let (former, key) = (folders.nodes.join(CA_KEY_FILE), folders.authority.join(CA_KEY_FILE));
    if !former.exists() || key.exists() {
        return Ok(false);
    }
    let (ours, theirs) = (folders.authority.join(CA_FILE), folders.nodes.join(CA_FILE));
    let private = fs::Permissions::from_mode(0o600);
    fs::copy(&theirs, ours).map_err(DevError::file(&theirs))?;
    let moved = fs::set_permissions(&former, private).and_then(|()| fs::rename(&former, &key));
    moved.map_err(DevError::file(&former))?;
    Ok(true)
}

fn authority(folders: &Folders) -> Result<(Issuer<'static, KeyPair>, bool), DevError> {
    let (certificate, key) = (folders.authority.join(CA_FILE), folders.authority.join(CA_KEY_FILE));
    // What nodes believe may be more than this one.
    let believed = folders.nodes.join(CA_FILE);
    match (certificate.exists() && believed.exists(), key.exists()) {
        (true, true) => {
            let pair = KeyPair::from_pem(&files::read(&key)?)?;
            Ok((Issuer::from_ca_cert_pem(&files::read(&certificate)?, pair)?, false))
        }
        (false, false) if believed.exists() => Err(DevError::AuthorityWithoutKey { certificate: believed, key }),
        (true, false) => Err(DevError::AuthorityWithoutKey { certificate, key }),
        (false, _) => Ok((make_authority(&certificate, &key, &believed)?, true)),
    }
}

fn make_authority(certificate: &Path, key: &Path, believed: &Path) -> Result<Issuer<'static, KeyPair>, DevError> {
    let pair = KeyPair::generate()?;
    let mut params = valid_for(AUTHORITY_VALID, CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "Snowtide development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&pair)?;
    files::write(key, &pair.serialize_pem(), 0o600)?;
    files::write(certificate, &signed.pem(), 0o644)?;
    files::write(believed, &signed.pem(), 0o644)?;
    Ok(Issuer::new(params, pair))
}

fn make_node(
    issuer: &Issuer<'static, KeyPair>,
    holder: &Holder,
    certificate: &Path,
    key: &Path,
) -> Result<(), DevError> {
    let pair = KeyPair::generate()?;
    let mut params = valid_for(NODE_VALID, CertificateParams::new(names(holder))?);
    params.distinguished_name.push(DnType::CommonName, node_name(&holder.region, holder.node));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node answers clients and peers, and dials peers.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let signed = params.signed_by(&pair, issuer)?;
    files::write(key, &pair.serialize_pem(), 0o600)?;
    files::write(certificate, &signed.pem(), 0o644)
}

/// The node's own name for peers, and for clients whatever they may reach it by.
fn names(holder: &Holder) -> Vec<String> {
    let mut names = vec![node_name(&holder.region, holder.node), "localhost".to_owned()];
    let loopback = ["127.0.0.1".to_owned(), "::1".to_owned()];
    let hosts = holder.hosts.iter().cloned().chain(loopback);
    let hosts: BTreeSet<_> = hosts.filter(|host| !names.contains(host)).collect();
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

#[cfg(test)]
mod tests {
    use snowtide::tls::Credentials;

    use super::*;

    fn holders(nodes: &[u8]) -> Vec<Holder> {
        let mut text = "name = \"eu-west\"\nid = 1\n".to_owned();
        for node in nodes {
            text += &format!("[[node]]\nid = {node}\nquic = \"10.0.0.{node}:1\"\nhttp = \"node-{node}.example:2\"\n");
        }
        Holder::all(&ClusterMap { regions: vec![toml::from_str(&text).unwrap()] })
    }

    fn folders() -> (tempfile::TempDir, Folders) {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::beside(&dir.path().join("certs"));
        (dir, folders)
    }

    #[test]
    fn a_second_run_keeps_everything_and_adds_what_is_missing() {
        let (dir, folders) = folders();
        let first = certificates(&folders, &holders(&[1]), false).unwrap();
        assert!(first.authority_is_new);
        assert_eq!((first.made.len(), first.kept.len()), (1, 0));
        let bytes = |file: &str| fs::read(dir.path().join(file)).unwrap();
        let files = ["certs/ca.pem", "certs-authority/ca.key", "certs/eu-west-1.pem", "certs/eu-west-1.key"];
        let before = files.map(bytes);

        let second = certificates(&folders, &holders(&[1, 2]), false).unwrap();
        assert!(!second.authority_is_new);
        assert_eq!((second.made.len(), second.kept.len()), (1, 1));
        assert_eq!(before, files.map(bytes));
        for node in [1, 2] {
            Credentials::load(&folders.nodes, "eu-west", node).unwrap();
        }
    }

    #[test]
    fn keys_are_readable_by_their_owner_only_and_the_authoritys_is_not_among_what_nodes_are_given() {
        let (dir, folders) = folders();
        let made = certificates(&folders, &holders(&[1]), false).unwrap();
        let mode = |file: &str| fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(made.key, dir.path().join("certs-authority/ca.key"));
        for file in ["certs-authority/ca.key", "certs/eu-west-1.key"] {
            assert_eq!(mode(file), 0o600, "{file}");
        }
        assert_eq!(mode("certs-authority"), 0o700);
        let given: Vec<_> = fs::read_dir(&folders.nodes).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(given.len() == 3 && !given.contains(&"ca.key".into()), "{given:?}");
    }

    #[test]
    fn a_key_among_what_nodes_are_given_is_taken_out() {
        let (dir, folders) = folders();
        certificates(&folders, &holders(&[1]), false).unwrap();
        let former = dir.path().join("certs/ca.key");
        fs::rename(dir.path().join("certs-authority/ca.key"), &former).unwrap();
        fs::remove_dir_all(dir.path().join("certs-authority")).unwrap();
        let made = certificates(&folders, &holders(&[1, 2]), false).unwrap();
        assert!(made.key_was_moved && !made.authority_is_new && !former.exists());
        assert_eq!((made.made.len(), made.kept.len()), (1, 1));
        Credentials::load(&folders.nodes, "eu-west", 2).unwrap();
    }

    #[test]
    fn certificates_are_renewed_by_the_same_authority_when_that_is_asked() {
        let (dir, folders) = folders();
        certificates(&folders, &holders(&[1]), false).unwrap();
        let bytes = |file: &str| fs::read(dir.path().join(file)).unwrap();
        let (authority, before) = (bytes("certs/ca.pem"), bytes("certs/eu-west-1.pem"));
        // While the authority is being replaced, nodes believe two.
        let other = Folders::beside(&dir.path().join("next"));
        certificates(&other, &holders(&[1]), false).unwrap();
        fs::write(dir.path().join("certs/ca.pem"), [authority, bytes("next/ca.pem")].concat()).unwrap();
        let made = certificates(&folders, &holders(&[1]), true).unwrap();
        assert!(!made.authority_is_new && made.made.len() == 1);
        assert_ne!(bytes("certs/eu-west-1.pem"), before);
        Credentials::load(&folders.nodes, "eu-west", 1).unwrap();
    }

    #[test]
    fn an_authority_without_its_key_is_not_replaced() {
        let (_dir, folders) = folders();
        certificates(&folders, &holders(&[1]), false).unwrap();
        fs::remove_file(folders.authority.join("ca.key")).unwrap();
        let error = certificates(&folders, &holders(&[2]), false).unwrap_err();
        assert!(matches!(error, DevError::AuthorityWithoutKey { .. }), "{error}");
        fs::remove_dir_all(&folders.authority).unwrap();
        let error = certificates(&folders, &holders(&[2]), false).unwrap_err();
        assert!(matches!(error, DevError::AuthorityWithoutKey { .. }), "{error}");
    }

    #[test]
    fn a_certificate_without_its_key_is_made_again() {
        let (dir, folders) = folders();
        certificates(&folders, &holders(&[1]), false).unwrap();
        fs::remove_file(dir.path().join("certs/eu-west-1.key")).unwrap();
        assert_eq!(certificates(&folders, &holders(&[1]), false).unwrap().made.len(), 1);
        Credentials::load(&folders.nodes, "eu-west", 1).unwrap();
    }
}
