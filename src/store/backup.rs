//! Copies of a data directory, made while no node uses it.
//!
//! A copy is never the original again: peers may have seen what the original did later, and it may still run. So a copy
//! has no replica id, and the first start on it mints an incarnation of its own; what the old one counted is then
//! somebody else's (I2, I3). The mark that makes a directory ours comes last, so that no start takes half a copy for
//! data.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::database::Database;
use super::error::{OpenError, OpenRefusal};
use super::medium::{Batch, Medium};
use super::tuning::Memory;
use super::{directory, meta};

/// Bytes copied at a time.
const PIECE_BYTES: u64 = 8 << 20;

/// Makes a copy of `from` at `to`, which must not exist. Tables are linked where both are on one file system, since they
/// never change.
pub fn backup(from: &Path, to: &Path) -> Result<(), OpenError> {
    directory::expect(from).map_err(OpenError::at(from))?;
    directory::expect_nothing(to).map_err(OpenError::at(to))?;
    let database = Database::open(from, false, Memory::OFFLINE).map_err(OpenError::at(from))?;
    let checkpoint = database.checkpoint(to).map_err(|error| OpenRefusal::Database { reason: error.to_string() });
    checkpoint.map_err(OpenError::at(to))?;
    orphan(to).map_err(OpenError::at(to))
}

/// Copies the backup `from` to `to`, which must not exist; tells `watch` how many bytes are done, of how many. The
/// backup is only read, and may lie on a medium that cannot be written.
pub fn restore(from: &Path, to: &Path, watch: &mut dyn FnMut(u64, u64)) -> Result<(), OpenError> {
    directory::expect(from).map_err(OpenError::at(from))?;
    directory::expect_nothing(to).map_err(OpenError::at(to))?;
    let _lock = directory::lock(from).map_err(OpenError::at(from))?;
    copy(from, to, watch).map_err(OpenRefusal::directory("copy the files")).map_err(OpenError::at(to))?;
    orphan(to).map_err(OpenError::at(to))
}

/// A copy becomes a directory of ours: without a replica id, synced, marked, and with the directory above knowing it.
fn orphan(copy: &Path) -> Result<(), OpenRefusal> {
    let database = Database::open(copy, false, Memory::OFFLINE)?;
    let mut batch = Batch::default();
    meta::REPLICA.remove(&mut batch);
    database.write_synced(batch)?;
    drop(database);
    directory::mark(copy)
}

fn copy(from: &Path, to: &Path, watch: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && !directory::is_mark(&entry.file_name()) {
            files.push((entry.path(), to.join(entry.file_name()), entry.metadata()?.len()));
        }
    }
    let all = files.iter().fold(0u64, |sum, (.., bytes)| sum.saturating_add(*bytes));
    let mut done = 0u64;
    fs::create_dir(to)?;
    for (source, target, _) in files {
        let (mut source, mut target) = (File::open(source)?, File::create_new(target)?);
        loop {
            let copied = io::copy(&mut io::Read::take(&mut source, PIECE_BYTES), &mut target)?;
            if copied == 0 {
                break;
            }
            done = done.saturating_add(copied);
            watch(done, all);
        }
        target.sync_all()?;
    }
    File::open(to)?.sync_all()
}
