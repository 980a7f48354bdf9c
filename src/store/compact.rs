//! Making a data directory small, while no node uses it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::database::Database;
use super::directory;
use super::error::{OpenError, OpenRefusal};
use super::tuning::Memory;

/// What it was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of tables and write-ahead logs before.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// Rewrites everything at `path` without what was overwritten or deleted. Needs room for the largest family once more
/// while it works. Stopped in the middle, it has changed nothing that a node would see. Tells `watch` which family it is
/// in.
pub fn compact(path: &Path, watch: &mut dyn FnMut(&'static str)) -> Result<Compacted, OpenError> {
    rewrite(path, watch).map_err(OpenError::at(path))
}

fn rewrite(path: &Path, watch: &mut dyn FnMut(&'static str)) -> Result<Compacted, OpenRefusal> {
    directory::expect(path)?;
    let before = bytes(path)?;
    // Tables that were replaced go when the database is closed.
    Database::open(path, false, Memory::OFFLINE)?.rewrite(watch)?;
    Ok(Compacted { before, after: bytes(path)? })
}

/// What the data takes: tables and write-ahead logs. RocksDB's notes about itself come and go.
fn bytes(path: &Path) -> Result<u64, OpenRefusal> {
    let sum = || {
        let mut sum = 0_u64;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kept = matches!(entry.path().extension().and_then(OsStr::to_str), Some("sst" | "log"));
            sum = sum.saturating_add(if kept { entry.metadata()?.len() } else { 0 });
        }
        Ok(sum)
    };
    sum().map_err(OpenRefusal::directory("add up the files"))
}
