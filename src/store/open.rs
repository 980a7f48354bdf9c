//! Opening a data directory: its marker, RocksDB in it, and then recovery.

use std::io::ErrorKind;
use std::path::Path;

use super::database::Database;
use super::directory::{self, Claim};
use super::error::{OpenError, OpenRefusal};
use super::headroom::SMALL_THINGS_BYTES;
use super::tuning::Sizes;
use super::{Options, Store, meta, read_state, space};
use crate::replica::{Disk, Headroom, Recovered};

/// Why a directory cannot be opened for writing now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{disk}", cause.as_ref().map_or_else(String::new, |cause| format!("{cause}: ")))]
pub struct Shortage {
    /// How the disk stands.
    pub disk: Disk,
    /// What the system says, where that is more than a count of bytes.
    pub cause: Option<String>,
}

impl Store {
    /// Opens or creates the directory, recovers it, and counts the boot. Nothing else may have it open.
    pub fn open(options: &Options) -> Result<(Self, Recovered), OpenError> {
        Self::open_directory(options).map_err(OpenError::at(&options.path))
    }

    /// Recovers a node's directory without writing to it: there is no room for more. What comes back answers reads; it
    /// counts no boot, and nothing may be written to it.
    pub fn open_reading(options: &Options) -> Result<(Self, Recovered), OpenError> {
        Self::read_directory(options).map_err(OpenError::at(&options.path))
    }

    /// Whether the directory of a node has too little room to be opened for writing: a replay of the logs ends in a flush,
    /// and RocksDB writes some small files. Of one that no node has, opening it tells.
    pub fn shortage(options: &Options) -> Option<Shortage> {
        directory::expect(&options.path).ok()?;
        let found = space::of(&options.path);
        let sizes = Sizes::new(options.memory, found.total);
        let flush = space::of_logs(&options.path).min(sizes.memory.memtables as u64);
        let disk = Disk {
            headroom: Headroom::None,
            free_bytes: found.free,
            needed_bytes: flush.saturating_add(SMALL_THINGS_BYTES),
        };
        if disk.free_bytes < disk.needed_bytes {
            return Some(Shortage { disk, cause: None });
        }
        let probed = space::probe(&options.path, SMALL_THINGS_BYTES);
        probed.err().map(|error| Shortage { disk, cause: Some(error.to_string()) })
    }

    /// Whether a node's data is there.
    pub fn is_established(options: &Options) -> bool {
        directory::expect(&options.path).is_ok()
    }

    /// Refuses a directory without a node's data, and makes nothing.
    pub fn must_exist(path: &Path) -> Result<(), OpenError> {
        let refused = match directory::expect(path) {
            Err(OpenRefusal::NoData) => Err(OpenRefusal::MustExist),
            Err(OpenRefusal::Directory { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(OpenRefusal::MustExist)
            }
            other => other,
        };
        refused.map_err(OpenError::at(path))
    }

    fn open_directory(options: &Options) -> Result<(Self, Recovered), OpenRefusal> {
        let claim = directory::claim(&options.path)?;
        let database = Database::open(&options.path, claim == Claim::New, options.memory)?;
        let opened = Self::recover(Box::new(database), claim == Claim::New, options)?;
        if claim == Claim::New {
            directory::establish(&options.path)?;
        }
        Ok(opened)
    }

    fn read_directory(options: &Options) -> Result<(Self, Recovered), OpenRefusal> {
        directory::expect(&options.path)?;
        let database = Database::open_read_only(&options.path, options.memory)?;
        meta::check_identity(&database, options)?;
        let recovered = read_state(&database, options)?;
        database.remove_unnamed_tables();
        Ok((Self::over(Box::new(database), options), recovered))
    }
}
