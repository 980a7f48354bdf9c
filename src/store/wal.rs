//! The write-ahead logs, looked at before RocksDB opens them: is what is broken there a torn tail, or rot?
//!
//! RocksDB cannot always tell. A power cut may keep some pages of a write and not others, so that the end of one torn
//! batch stands intact behind its broken middle: RocksDB would refuse to start. And a bit that flips in the length of a
//! record hides everything behind it in the same block: RocksDB would start without it and say nothing.
//!
//! One fact tells them apart. Every batch of ours is synced before the next one is written. So an intact *beginning* of
//! a batch proves that everything before it was on the disk once: if something before it is broken, it has rotted, and
//! the start is refused, naming the file. Without one, what is broken is the last batch. If a single bit explains that, it
//! is turned back ([`mend`]). Otherwise the batch is torn, and nobody was told of it: it is cut off, and that is synced
//! before RocksDB opens anything, so that it is never mistaken for rot later.
//!
//! A log is a sequence of blocks of 32 KiB, a block a sequence of records, each with its checksum, length and type; a
//! batch is one record, or several fragments.

pub(super) mod fuzzed;
mod mend;
mod scan;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::OpenRefusal;

use self::scan::{BLOCK_BYTES, Findings, HEADER_BYTES, next, scan};

/// What was done to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// What was at its end from this byte on was torn, and is cut off.
    Cut(PathBuf, u64),
    /// A bit of this byte had flipped, and is turned back.
    Mended(PathBuf, u64),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(path, byte) => {
                write!(
                    f,
                    "the last write to {} was torn, and is cut off at byte {byte}: it was never acknowledged",
                    name(path)
                )
            }
            Self::Mended(path, byte) => {
                write!(f, "a flipped bit in byte {byte} of {} is mended; check the disk", name(path))
            }
        }
    }
}

/// Mends or cuts off the end of a log where it is broken; refuses rot before that. Nothing else may have the directory
/// open.
pub(super) fn settle(directory: &Path) -> Result<Vec<Repair>, OpenRefusal> {
    let (mut logs, mut repairs) = (Vec::new(), Vec::new());
    for path in find(directory).map_err(OpenRefusal::directory("list the directory"))? {
        let findings = examine(&path, &mut repairs).map_err(OpenRefusal::directory("read a write-ahead log"))?;
        logs.push((findings, path));
    }
    for (at, (findings, path)) in logs.iter().enumerate() {
        let Some(damage) = findings.damage else { continue };
        let later = logs.iter().skip(at.saturating_add(1)).find(|(later, _)| later.begun || later.beyond.is_some());
        if let Some(proof) = proof(*findings, path, later.map(|(_, path)| path.as_path())) {
            return Err(OpenRefusal::Damaged {
                reason: format!("the write-ahead log {} is corrupt at byte {damage}, and {proof}", name(path)),
            });
        }
        cut(path, findings.whole).map_err(OpenRefusal::directory("cut a torn tail off a write-ahead log"))?;
        repairs.push(Repair::Cut(path.clone(), findings.whole));
    }
    Ok(repairs)
}

/// Scans a log; if nothing behind its damage tells what that is, and one bit explains it, mends it.
fn examine(path: &Path, repairs: &mut Vec<Repair>) -> io::Result<Findings> {
    let findings = scan(File::open(path)?)?;
    let (Some(damage), None) = (findings.damage, findings.beyond) else { return Ok(findings) };
    let mut file = File::options().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(damage))?;
    let block = next(&mut file, BLOCK_BYTES)?;
    let Some((at, bits)) = mend::find(&block) else { return Ok(findings) };
    let place = damage.saturating_add(at as u64);
    let byte = block.get(at).copied().unwrap_or_default() ^ bits;
    file.write_all_at(&[byte], place)?;
    file.sync_all()?;
    repairs.push(Repair::Mended(path.to_path_buf(), place));
    scan(File::open(path)?)
}

/// Where a file in the format of a log is first broken. A manifest is one.
pub(super) fn damage(path: &Path) -> io::Result<Option<u64>> {
    Ok(scan(File::open(path)?)?.damage)
}

/// The manifest that is in force.
pub(super) fn manifest(directory: &Path) -> io::Result<PathBuf> {
    Ok(directory.join(fs::read_to_string(directory.join("CURRENT"))?.trim_end()))
}

/// Refuses a manifest with a broken record of a kind that only reused log files have, and no manifest. RocksDB takes it
/// for one of an older log and reads it again, for ever, before it has looked at its checksum. Any other damage it
/// refuses itself.
pub(super) fn refuse_endless(directory: &Path) -> Result<(), OpenRefusal> {
    // What is missing or cannot be read, RocksDB says.
    let Ok(path) = manifest(directory) else { return Ok(()) };
    let Ok(Some(byte)) = damage(&path) else { return Ok(()) };
    let header = || {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(byte))?;
        next(&mut file, HEADER_BYTES)
    };
    let header = header().map_err(OpenRefusal::directory("read the manifest"))?;
    let kind = header.last().filter(|_| header.len() == HEADER_BYTES);
    if kind.is_some_and(|kind| scan::is_recycled(*kind)) {
        return Err(OpenRefusal::Damaged { reason: format!("{} is corrupt at byte {byte}", name(&path)) });
    }
    Ok(())
}

/// What shows that the damage is not a torn tail.
fn proof(findings: Findings, path: &Path, later: Option<&Path>) -> Option<String> {
    let intact = |log: &str| format!("what was written later is intact in {log}");
    match (findings.beyond, later) {
        (Some(byte), _) => Some(format!("{} at byte {byte}", intact(name(path)))),
        (None, Some(later)) => Some(intact(name(later))),
        (None, None) => None,
    }
}

/// The logs, oldest first.
fn find(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|extension| extension == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
