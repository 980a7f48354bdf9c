//! What the file system says of its room.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Of a block as `stat` counts them, whatever the file system's are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The file that a probe makes for a moment.
const PROBE: &str = "SNOWTIDE.probe";

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// For this user.
    pub(super) free: u64,
    pub(super) total: u64,
}

/// Of the file system that holds `path`; nothing free if it cannot be asked.
#[allow(clippy::useless_conversion)] // 32 bits on some platforms
pub(super) fn of(path: &Path) -> Space {
    match nix::sys::statvfs::statvfs(path) {
        Ok(stats) => {
            let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(stats.fragment_size()));
            Space { free: bytes(stats.blocks_available()), total: bytes(stats.blocks()) }
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot ask how much disk is free");
            Space::default()
        }
    }
}

/// What the tables in a directory take of the disk, with what is reserved for those that are being written. One that
/// goes meanwhile takes nothing.
pub(super) fn of_tables(directory: &Path) -> u64 {
    files(directory, "sst").map(|found| found.blocks() * STAT_BLOCK_BYTES).sum()
}

/// What the write-ahead logs in a directory hold.
pub(super) fn of_logs(directory: &Path) -> u64 {
    files(directory, "log").map(|found| found.len()).sum()
}

fn files(directory: &Path, extension: &'static str) -> impl Iterator<Item = Metadata> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.filter(move |entry| entry.path().extension().is_some_and(|found| found == extension));
    files.filter_map(|entry| entry.metadata().ok())
}

/// Takes so many bytes of the disk, and gives them back: a quota, or a file system that takes no writes, shows in no
/// count of free bytes.
pub(super) fn probe(directory: &Path, bytes: u64) -> io::Result<()> {
    let path = directory.join(PROBE);
    let taken = File::create(&path).and_then(|file| take(&file, bytes));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => taken.and(Err(error)),
        _ => taken,
    }
}

fn take(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, i64::try_from(bytes).unwrap_or(i64::MAX)) {
        // Not every file system can; what it says of its free bytes has to do.
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes the tables that the database does not name: what a process left that was killed while it wrote them. RocksDB
/// does so too, but only once it has opened the directory for writing, and that takes room.
pub(super) fn remove_unnamed_tables(directory: &Path, named: &BTreeSet<String>) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory)? {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let named = entry.to_str().is_none_or(|name| named.contains(name));
        if path.extension().and_then(OsStr::to_str) == Some("sst") && !named {
            bytes = bytes.saturating_add(fs::metadata(&path)?.len());
            fs::remove_file(&path)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path(), 1 << 20).unwrap();
        assert!(probe(dir.path(), 1 << 60).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("absent"), 1).is_err());
    }

    #[test]
    fn only_tables_without_a_name_go() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["000001.sst", "000002.sst", "000003.log", "CURRENT"] {
            fs::write(dir.path().join(name), "data").unwrap();
        }
        let named = BTreeSet::from(["000002.sst".to_owned()]);
        assert_eq!(remove_unnamed_tables(dir.path(), &named).unwrap(), 4);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["000002.sst", "000003.log", "CURRENT"]);
    }
}
