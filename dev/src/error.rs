//! Why a cluster on one machine does not do what it was told, in words for whoever runs it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use snowtide::config::ConfigError;

/// A cluster could not be set up, or does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A file or directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process runs the cluster of this folder.
    #[error("another cluster runs in {}: stop it, or choose another folder with --dir", .0.display())]
    Taken(PathBuf),
    /// Region files that were kept cannot be read.
    #[error("the region files that were kept cannot be read; repair or delete them: {0}")]
    Map(#[from] ConfigError),
    /// A kept map leads elsewhere.
    #[error("the region files that were kept name {0}; a cluster on one machine has IP addresses only")]
    Named(String),
    /// Regions cannot be taken away from a cluster whose IDs and counters name them.
    #[error(
        "{} holds a cluster of {kept} regions, so it cannot have {asked}: choose another folder with --dir, or delete it",
        folder.display()
    )]
    Shrunk {
        /// Where.
        folder: PathBuf,
        /// Regions that exist.
        kept: usize,
        /// Regions that were asked for.
        asked: usize,
    },
    /// No two vacant ports were found on loopback.
    #[error("no vacant ports on 127.0.0.1")]
    NoPorts,
    /// There is an authority, but not its key, so nothing can be signed.
    #[error(
        "{} exists, and {} does not: restore the key, or delete all certificates to begin anew",
        certificate.display(),
        key.display()
    )]
    AuthorityWithoutKey {
        /// The authority's certificate.
        certificate: PathBuf,
        /// Where its key should be.
        key: PathBuf,
    },
    /// A certificate that exists is not what it should be, or a name cannot be put into a certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A relay could not be started.
    #[error("cannot start a relay on loopback: {0}")]
    Relay(io::Error),
    /// A node process could not be started.
    #[error("cannot start {}: {source}", executable.display())]
    Spawn {
        /// The program.
        executable: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node process ended though nobody told it to.
    #[error("{region} ended by itself ({status}); the last lines of {}:\n{tail}", log.display())]
    Died {
        /// Whose.
        region: String,
        /// How.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// A node is not ready in time.
    #[error("{region} is not ready after {after:?}; the last lines of {}:\n{tail}", log.display())]
    NotReady {
        /// Whose.
        region: String,
        /// How long was waited.
        after: Duration,
        /// Its log file.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// No such region.
    #[error("there is no region {name}; there are {known}")]
    UnknownRegion {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Only a relay can cut.
    #[error("the links are direct, so they cannot be cut: start the cluster with --links relay")]
    DirectLinks,
    /// The node is already there.
    #[error("{0} runs already")]
    Running(String),
    /// The node is not there.
    #[error("{0} does not run: start it first")]
    NotRunning(String),
    /// A signal could not be sent.
    #[error("{region} cannot be signalled: {reason}")]
    Signal {
        /// Whose node.
        region: String,
        /// Why.
        reason: String,
    },
}

impl DevError {
    /// This file or directory cannot be used.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
