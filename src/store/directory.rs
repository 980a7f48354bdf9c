//! Whose directory is it? Decided before RocksDB touches anything in it.
//!
//! A marker file says that a directory is ours, in two steps. `SNOWTIDE.new` stands there while the first start is
//! under way: nothing was ever served, so whatever is missing may be created. It becomes `SNOWTIDE` once the identity
//! is on disk; from then on nothing is created, because a database that has lost a file must be noticed rather than
//! replaced by an empty one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::OpenRefusal;

const MARKER: &str = "SNOWTIDE";
const MARKER_NEW: &str = "SNOWTIDE.new";
const MARKER_TEXT: &[u8] = b"This directory belongs to one Snowtide node. Do not change, copy or share it while the \
    node runs; a copy must never run beside the original.\n";
/// The root of a fresh file system holds it.
const LOST_AND_FOUND: &str = "lost+found";
/// Where Linux tells who holds which lock.
const LOCKS: &str = "/proc/locks";

/// What a directory is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its first start has never finished.
    New,
    /// A node's data.
    Established,
}

/// Creates or recognizes the directory; refuses somebody else's without changing it.
pub(super) fn claim(path: &Path) -> Result<Claim, OpenRefusal> {
    create(path)?;
    if exists(&path.join(MARKER))? {
        return Ok(Claim::Established);
    }
    if !exists(&path.join(MARKER_NEW))? {
        if let Some(found) = first_entry(path)? {
            return Err(OpenRefusal::Foreign { found: found.to_string_lossy().into_owned() });
        }
        mark_new(path).map_err(OpenRefusal::directory("mark the directory as ours"))?;
    }
    Ok(Claim::New)
}

/// A node's data is here.
pub(super) fn expect(path: &Path) -> Result<(), OpenRefusal> {
    if path.is_file() {
        return Err(OpenRefusal::NotADirectory);
    }
    fs::metadata(path).map_err(OpenRefusal::directory("open the directory"))?;
    if exists(&path.join(MARKER))? { Ok(()) } else { Err(OpenRefusal::NoData) }
}

/// Nothing is here, and a copy may come to be.
pub(super) fn expect_nothing(path: &Path) -> Result<(), OpenRefusal> {
    if path.symlink_metadata().is_ok() { Err(OpenRefusal::Occupied) } else { Ok(()) }
}

/// Marks a finished copy as ours, for good.
pub(super) fn mark(path: &Path) -> Result<(), OpenRefusal> {
    let marked = mark_new(path).map_err(OpenRefusal::directory("mark the directory as ours"));
    marked.and_then(|()| establish(path))?;
    sync_directory(above(path)).map_err(OpenRefusal::directory("sync the directory above"))
}

/// Whether a file of this name marks a directory as ours.
pub(super) fn is_mark(name: &OsStr) -> bool {
    name == MARKER || name == MARKER_NEW
}

/// The first start is on disk: from now on nothing may be missing.
pub(super) fn establish(path: &Path) -> Result<(), OpenRefusal> {
    fs::rename(path.join(MARKER_NEW), path.join(MARKER))
        .and_then(|()| sync_directory(path))
        .map_err(OpenRefusal::directory("mark the directory as ours"))
}

/// Keeps every other process out, until it is dropped. RocksDB has a lock of its own, but only while it is open, and the
/// write-ahead logs are looked at before that.
pub(super) fn lock(path: &Path) -> Result<Flock<File>, OpenRefusal> {
    let directory = File::open(path).map_err(OpenRefusal::directory("open the directory"))?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        Errno::EWOULDBLOCK => OpenRefusal::Locked { holder: holder(path) },
        error => OpenRefusal::directory("lock the directory")(error.into()),
    })
}

/// Who holds the lock, as Linux tells: a line `1: FLOCK ADVISORY WRITE 4711 fd:00:1234 0 EOF` names process and inode.
fn holder(path: &Path) -> Option<u32> {
    let inode = fs::metadata(path).ok()?.ino().to_string();
    let locks = fs::read_to_string(LOCKS).ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, process, place) = (fields.next()?, fields.nth(2)?, fields.next()?);
        (kind == "FLOCK" && place.rsplit(':').next() == Some(inode.as_str())).then(|| process.parse().ok())?
    })
}

fn mark_new(path: &Path) -> io::Result<()> {
    let mut marker = File::create(path.join(MARKER_NEW))?;
    marker.write_all(MARKER_TEXT)?;
    marker.sync_all()?;
    sync_directory(path)
}

/// Makes the directory, and makes durable that it exists: a synced file in a directory that a power cut forgets is lost.
fn create(path: &Path) -> Result<(), OpenRefusal> {
    if path.is_file() {
        return Err(OpenRefusal::NotADirectory);
    }
    let missing: Vec<PathBuf> = path.ancestors().take_while(|part| !part.exists()).map(Path::to_path_buf).collect();
    fs::create_dir_all(path).map_err(OpenRefusal::directory("create the directory"))?;
    for part in missing {
        sync_directory(above(&part)).map_err(OpenRefusal::directory("sync the directory above"))?;
    }
    Ok(())
}

/// The directory that holds this one; of a relative path of one part, that is the current one.
fn above(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn exists(path: &Path) -> Result<bool, OpenRefusal> {
    path.try_exists().map_err(OpenRefusal::directory("look into the directory"))
}

fn first_entry(path: &Path) -> Result<Option<OsString>, OpenRefusal> {
    let list = || {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if name != LOST_AND_FOUND {
                return Ok(Some(name));
            }
        }
        Ok(None)
    };
    list().map_err(|error: io::Error| match error.kind() {
        ErrorKind::NotADirectory => OpenRefusal::NotADirectory,
        _ => OpenRefusal::directory("list the directory")(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_becomes_ours_in_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert_eq!(claim(&path).unwrap(), Claim::New);
        assert_eq!(claim(&path).unwrap(), Claim::New, "a first start that was killed goes on");
        establish(&path).unwrap();
        assert_eq!(claim(&path).unwrap(), Claim::Established);
    }

    #[test]
    fn a_fresh_file_system_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(LOST_AND_FOUND)).unwrap();
        assert_eq!(claim(dir.path()).unwrap(), Claim::New);
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "text").unwrap();
        assert_eq!(
            claim(dir.path()).unwrap_err().to_string(),
            "it is not empty and no Snowtide node made it (it holds thesis.tex); set data_dir to a directory of its \
             own, which may not exist yet"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_tells_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        mark(dir.path()).unwrap();
        let held = lock(dir.path()).unwrap();
        let message = lock(dir.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("so stop that process ({})", std::process::id())), "{message}");
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(claim(&path).unwrap_err().to_string(), "this is a file; set data_dir to a directory");
    }
}
