//! A table of rows that is written beside the database, and becomes a part of it at once.
//!
//! Rows that a checkpoint writes need no log: what they hold is in the journal until all of them are on the disk. So they go
//! into a table file of their own, in the order of their keys, which the database then takes in ("ingests") by one entry of
//! its manifest. That costs a fraction of what the log, memtable and flush would.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{Error, Options, SstFileWriter};
use self_cell::self_cell;

use super::medium::Entry;

/// The file, until the database has it under a name of its own. It does not end as tables do, which are counted by that.
const NAME: &str = "SNOWTIDE.table";
/// The file goes to the disk as it grows, so that the sync of a commit does not queue behind all of it.
const SYNC_BYTES: u64 = 1 << 20;

self_cell!(
    struct Writer {
        owner: Options,
        #[covariant]
        dependent: SstFileWriter,
    }
);

/// A table that is being written.
pub(super) struct Table {
    path: PathBuf,
    writer: Writer,
    synced: u64,
}

impl Table {
    /// Begins one in the database's directory, set up as its other tables are.
    pub(super) fn begin(directory: &Path, options: Options) -> Result<Self, Error> {
        let path = directory.join(NAME);
        let writer = Writer::new(options, |options| SstFileWriter::create(options));
        writer.borrow_dependent().open(&path)?;
        Ok(Self { path, writer, synced: 0 })
    }

    /// Adds entries behind those that are there.
    pub(super) fn add(&mut self, entries: &[Entry]) -> Result<(), Error> {
        self.writer.with_dependent_mut(|_, writer| entries.iter().try_for_each(|(key, value)| writer.put(key, value)))
    }

    /// Hands what was added to the disk, once that is much.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let written = self.writer.borrow_dependent().file_size();
        if written.saturating_sub(self.synced) >= SYNC_BYTES {
            self.synced = written;
            File::open(&self.path)?.sync_data()?;
        }
        Ok(())
    }

    /// The finished file, which is on the disk.
    pub(super) fn finish(mut self) -> Result<PathBuf, Error> {
        self.writer.with_dependent_mut(|_, writer| writer.finish())?;
        Ok(self.path)
    }
}

/// RocksDB takes a table in under a name of its own, and removes that name if the manifest cannot be synced, although the
/// disk may keep what the manifest says of it. Then a start misses the file: this gives it its name back, where `complaint` is
/// about that. Returns the path if so; RocksDB compares its length with what the manifest has.
pub(super) fn put_back(directory: &Path, complaint: &str) -> Option<PathBuf> {
    let missing = complaint.split(['/', ':', ' ']).find(|part| part.ends_with(".sst"))?;
    let (file, path) = (directory.join(NAME), directory.join(missing));
    let put = !path.exists() && fs::hard_link(file, &path).is_ok();
    (put && File::open(directory).and_then(|directory| directory.sync_all()).is_ok()).then_some(path)
}

/// Removes what a process left that ended while it wrote a table, and tells how much that was.
pub(super) fn remove_left_over(directory: &Path) -> io::Result<u64> {
    let path = directory.join(NAME);
    let Ok(found) = fs::metadata(&path) else { return Ok(0) };
    fs::remove_file(path)?;
    Ok(found.len())
}
