//! What can go wrong, one enum per kind of asking: opening a directory, and using an open store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use crate::codec::DecodeError;
use crate::identity::{NamespaceId, ReplicaId};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A write or a sync failed, now or earlier. Whether that write is on disk is unknown, nothing after it is written,
    /// and only a new start may touch the directory again (I9).
    #[error("the store has stopped for good, because a write to disk failed: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
    /// A read failed. Nothing has changed.
    #[error("cannot read {what} from disk: {cause}")]
    Read {
        /// What was being read.
        what: String,
        /// RocksDB's account.
        cause: String,
    },
    /// What was read is not what this program writes (I8). Nothing has changed.
    #[error("{what} on disk is not valid: {reason}")]
    Malformed {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        reason: Malformed,
    },
}

/// What is wrong with bytes from the disk.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not even a format version.
    #[error("it is empty")]
    Empty,
    /// Written by a newer program.
    #[error("it is in format {found}, and this program knows formats up to {known}; use a newer program")]
    Newer {
        /// The format of the value.
        found: u8,
        /// The newest format of this program.
        known: u8,
    },
    /// Written by an older program, in a format that is read no more.
    #[error("it is in format {found}, and this program reads format {known} only; use the program that wrote it")]
    Older {
        /// The format of the value.
        found: u8,
        /// The format of this program.
        known: u8,
    },
    /// The format version is one that never was.
    #[error("format {0} never existed")]
    NoSuchFormat(u8),
    /// The version is fine, the rest is not.
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// It decodes, but says something impossible.
    #[error("{0}")]
    Impossible(String),
}

/// Why a data directory was not opened. Nothing was served from it, and no file of somebody else was changed.
#[derive(Debug, thiserror::Error)]
#[error("data directory {}: {refusal}", path.display())]
pub struct OpenError {
    /// The data directory.
    pub path: PathBuf,
    /// Why.
    pub refusal: OpenRefusal,
}

/// The reasons for an [`OpenError`]; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenRefusal {
    /// The operating system refused.
    #[error("cannot {doing}: {source}; check that the path is right and that this user may write there")]
    Directory {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is a file where the directory should be.
    #[error("this is a file; set data_dir to a directory")]
    NotADirectory,
    /// Somebody else's files.
    #[error(
        "it is not empty and no Snowtide node made it (it holds {found}); set data_dir to a directory of its own, \
         which may not exist yet"
    )]
    Foreign {
        /// The name of something in it.
        found: String,
    },
    /// No node's data is here.
    #[error("there is no node's data in it; name the data directory of a node, or a backup of one")]
    NoData,
    /// Nothing of a namespace is here.
    #[error(
        "it holds nothing of a namespace {name:?}; it holds {}",
        if held.is_empty() { "none".to_owned() } else { held.join(", ") }
    )]
    NoSuchNamespace {
        /// As it was named.
        name: String,
        /// The namespaces that are here.
        held: Vec<String>,
    },
    /// No node's data is here, and there has to be some.
    #[error(
        "there is no node's data in it, and store.must_exist is set: is its disk mounted? A node's first start takes \
         --set store.must_exist=false"
    )]
    MustExist,
    /// Something is where a copy is to be made.
    #[error("it exists already; name a directory that does not exist yet")]
    Occupied,
    /// Another process has it open.
    #[error(
        "another process is using it; each node needs a directory of its own, so stop that process{} or set another \
         data_dir",
        holder.map_or_else(String::new, |id| format!(" ({id})"))
    )]
    Locked {
        /// The process's number, where the system tells it.
        holder: Option<u32>,
    },
    /// Written by a newer program.
    #[error(
        "it is in format {found}, and this program knows formats up to {known}; start the newer program that wrote it"
    )]
    NewerFormat {
        /// The directory's format.
        found: u8,
        /// The newest format of this program.
        known: u8,
    },
    /// Written by an older program, in a format that is read no more.
    #[error(
        "it is in format {found}, and this program reads format {known} only; start the program that wrote it, or set \
         data_dir to an empty directory, which fetches everything that other regions hold"
    )]
    OlderFormat {
        /// The directory's format.
        found: u8,
        /// The format of this program.
        known: u8,
    },
    /// The directory belongs elsewhere, or the configuration is wrong.
    #[error(
        "it belongs to {aspect} {found}, and the configuration says {aspect} {configured}; correct the \
         configuration, or set data_dir to the right or to an empty directory"
    )]
    Mismatch {
        /// What differs, in words.
        aspect: &'static str,
        /// On disk.
        found: String,
        /// In the configuration.
        configured: String,
    },
    /// The journal lacks a commit (I4).
    #[error(
        "the journal of replica {origin} in namespace {namespace:?} has a hole: commit {seq} is missing. {RESTORE}"
    )]
    Hole {
        /// Where.
        namespace: NamespaceId,
        /// Whose log.
        origin: ReplicaId,
        /// The first commit that is missing.
        seq: u64,
    },
    /// Something on disk is corrupt or missing.
    #[error("it is damaged: {reason}. {RESTORE}")]
    Damaged {
        /// What, with the file's name where it is known.
        reason: String,
    },
    /// The first write failed.
    #[error("it cannot be written: {cause}; check that the disk is neither full nor failing, then start again")]
    Unwritable {
        /// RocksDB's account.
        cause: Arc<str>,
    },
    /// RocksDB would not open it for another reason.
    #[error("the database in it cannot be opened: {reason}")]
    Database {
        /// RocksDB's account.
        reason: String,
    },
}

const RESTORE: &str = "Nothing was repaired or dropped. Keep a copy of the directory, check the disk, then either \
    restore the directory, or start with an empty one: the node gets a new identity and fetches everything that \
    other regions hold";

impl OpenError {
    /// For whatever went wrong with the directory at `path`.
    pub(super) fn at<R: Into<OpenRefusal>>(path: &Path) -> impl FnOnce(R) -> Self {
        move |refusal| Self { path: path.to_path_buf(), refusal: refusal.into() }
    }

    /// The disk takes no writes: it is full, a quota is, or it may only be read.
    pub fn is_shortage(&self) -> bool {
        let said = self.refusal.to_string();
        [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS].iter().any(|error| said.contains(error.desc()))
    }
}

impl StoreError {
    pub(super) fn malformed(what: impl Into<String>, reason: impl Into<Malformed>) -> Self {
        Self::Malformed { what: what.into(), reason: reason.into() }
    }
}

impl Malformed {
    pub(super) fn impossible(why: impl Into<String>) -> Self {
        Self::Impossible(why.into())
    }
}

impl From<StoreError> for OpenRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Poisoned { cause } => Self::Unwritable { cause },
            StoreError::Malformed { reason: Malformed::Newer { found, known }, .. } => {
                Self::NewerFormat { found, known }
            }
            StoreError::Read { .. } | StoreError::Malformed { .. } => Self::Damaged { reason: error.to_string() },
        }
    }
}

impl OpenRefusal {
    pub(super) fn directory(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Directory { doing, source }
    }
}
