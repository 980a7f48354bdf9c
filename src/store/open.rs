//! Opening a data directory: its marker, RocksDB in it, and then recovery.

use std::io::ErrorKind;
use std::path::Path;

use super::database::Database;
use super::directory::{self, Claim};
use super::error::{OpenError, OpenRefusal};
use super::tuning::Memory;
use super::{Options, Store};
use crate::replica::Recovered;

impl Store {
    /// Opens or creates the directory, recovers it, and counts the boot. Nothing else may have it open.
    pub fn open(options: &Options) -> Result<(Self, Recovered), OpenError> {
        Self::open_directory(options).map_err(|refusal| OpenError { path: options.path.clone(), refusal })
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
        refused.map_err(|refusal| OpenError { path: path.to_owned(), refusal })
    }

    fn open_directory(options: &Options) -> Result<(Self, Recovered), OpenRefusal> {
        let claim = directory::claim(&options.path)?;
        let database = Database::open(
            &options.path,
            claim == Claim::New,
            Memory {
                cache: options.cache_bytes_max,
                memtables: options.memtable_bytes_max,
                open_files: options.open_files_max,
            },
        )?;
        let opened = Self::recover(Box::new(database), claim == Claim::New, options)?;
        if claim == Claim::New {
            directory::establish(&options.path)?;
        }
        Ok(opened)
    }
}
