//! Which data directory: named by a flag, or by the configuration.

use std::path::PathBuf;

use clap::Args;

use super::Global;

/// The directory of a node of this machine.
#[derive(Debug, Args)]
pub(super) struct DataDir {
    /// The node's data directory; without it, data_dir of the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    pub(super) fn path(self, global: &Global) -> anyhow::Result<PathBuf> {
        named_or_configured(self.data_dir, global)
    }
}

/// The directory that was named, or else the one that is configured.
pub(super) fn named_or_configured(named: Option<PathBuf>, global: &Global) -> anyhow::Result<PathBuf> {
    named.map_or_else(|| Ok(global.load()?.config.data_dir), Ok)
}
