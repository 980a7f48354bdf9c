//! Where a cluster on one machine keeps what: the layout of its folder, and nothing about what is in the files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde_json::json;
use snowtide::config::map::{ClusterMap, Region};
use snowtide::tls;

use crate::error::DevError;
use crate::files::{ANYBODY, make_dir, write};
use crate::plan;

/// The end of a log is read for people, so this is a screen or two.
const TAIL_BYTES: u64 = 16 << 10;
const TAIL_LINES: usize = 15;
/// Of files that hold no secret.
const PLAIN: u32 = 0o666;

/// A cluster's folder. Every path in it is absolute, since nodes run in directories of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// Held for as long as a cluster runs in a folder.
pub(super) type Lock = Flock<File>;

impl Folder {
    /// Makes the folder if there is none.
    pub fn open(path: &Path) -> Result<Self, DevError> {
        make_dir(path, ANYBODY)?;
        fs::canonicalize(path).map(Self).map_err(DevError::file(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Region files with the addresses that clients use.
    pub fn regions_dir(&self) -> PathBuf {
        self.0.join("regions")
    }

    /// The authority and the nodes' certificates.
    pub fn certs_dir(&self) -> PathBuf {
        self.0.join("certs")
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.certs_dir().join(tls::CA_FILE)
    }

    /// A configuration for clients: `snowtide --config` with this file finds the cluster.
    pub fn config_file(&self) -> PathBuf {
        self.0.join("snowtide.toml")
    }

    /// What belongs to one region's node.
    pub fn node_dir(&self, region: &str) -> PathBuf {
        self.0.join("nodes").join(region)
    }

    /// The node's own copy of the region files, in which its peers may stand behind relays.
    pub fn node_regions_dir(&self, region: &str) -> PathBuf {
        self.node_dir(region).join("regions")
    }

    /// The node's data.
    pub fn data_dir(&self, region: &str) -> PathBuf {
        self.node_dir(region).join("data")
    }

    /// The node's log, all its starts after each other.
    pub fn log_file(&self, region: &str) -> PathBuf {
        self.node_dir(region).join("node.log")
    }

    /// Refuses a second cluster in this folder, until the lock is dropped or the process ends.
    pub(super) fn lock(&self) -> Result<Lock, DevError> {
        let path = self.0.join("lock");
        let file = File::create(&path).map_err(DevError::file(&path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| DevError::Taken(self.0.clone()))
    }

    /// The map of an earlier run; without regions if there was none.
    pub(super) fn kept_map(&self) -> Result<ClusterMap, DevError> {
        let dir = self.regions_dir();
        let map = if dir.exists() { ClusterMap::load(&dir)? } else { ClusterMap::default() };
        let named = plan::addresses(&map).find(|address| address.fixed().is_none()).map(ToString::to_string);
        named.map_or(Ok(map), |named| Err(DevError::Named(named)))
    }

    /// Writes what clients read.
    pub(super) fn write_for_clients(&self, map: &ClusterMap) -> Result<(), DevError> {
        write_map(&self.regions_dir(), map)?;
        let [regions, certs] = [self.regions_dir(), self.certs_dir()].map(|dir| dir.display().to_string());
        let config = json!({ "regions_dir": regions, "tls": { "dir": certs } });
        write(&self.config_file(), &toml_of(&config), PLAIN)
    }

    /// Writes one node's copy of the map.
    pub(super) fn write_for_node(&self, region: &str, map: &ClusterMap) -> Result<(), DevError> {
        write_map(&self.node_regions_dir(region), map)
    }

    /// The last lines of a node's log; empty if there is none.
    pub fn log_tail(&self, region: &str) -> String {
        let text = end_of(&self.log_file(region)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        lines.iter().skip(from).map(|line| format!("  {line}\n")).collect()
    }
}

/// Writes one file a region. The directory is made; other files in it are left alone.
fn write_map(dir: &Path, map: &ClusterMap) -> Result<(), DevError> {
    make_dir(dir, ANYBODY)?;
    let file = |region: &Region| dir.join(format!("{}.toml", region.name));
    map.regions.iter().try_for_each(|region| write(&file(region), &toml_of(region), PLAIN))
}

/// Of values that always have a form in TOML: tables of text and numbers.
fn toml_of(value: &impl Serialize) -> String {
    toml::to_string(value).unwrap_or_default()
}

fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use snowtide::config::{Config, Sources};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("dev")).unwrap();
        (dir, folder)
    }

    #[test]
    fn what_is_written_for_clients_is_a_configuration_that_loads() {
        let (_dir, folder) = folder();
        let map = plan::map(3, ClusterMap::default(), |_| Some([7_000, 8_000, 6_000, 9_000])).unwrap();
        folder.write_for_clients(&map).unwrap();
        let sources = Sources { file: Some(folder.config_file()), ..Sources::default() };
        let loaded = Config::load(&sources);
        assert!(loaded.is_err(), "three nodes at one address are refused");
        let mut port = 7_000;
        let map = plan::map(3, ClusterMap::default(), |_| {
            port += 1;
            Some([port, port, port + 1_000, port + 2_000])
        });
        folder.write_for_clients(&map.unwrap()).unwrap();
        let loaded = Config::load(&sources).unwrap();
        assert_eq!(loaded.config.tls.dir, folder.certs_dir());
        assert_eq!(folder.kept_map().unwrap(), loaded.map);
    }

    #[test]
    fn a_folder_holds_one_cluster_at_a_time() {
        let (_dir, folder) = folder();
        let lock = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(DevError::Taken(_))));
        drop(lock);
        folder.lock().unwrap();
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let (_dir, folder) = folder();
        assert_eq!(folder.log_tail("eu-west"), "");
        make_dir(&folder.node_dir("eu-west"), ANYBODY).unwrap();
        let lines: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
        fs::write(folder.log_file("eu-west"), lines).unwrap();
        let tail = folder.log_tail("eu-west");
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("  line 9999\n"), "{tail}");
    }
}
