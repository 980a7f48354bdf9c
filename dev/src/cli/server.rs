//! The program that the nodes are: `snowtide`, from the same build as this one unless another is named.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

/// Its name, beside this program or in the path.
const PROGRAM: &str = "snowtide";

/// Which program to start nodes with.
#[derive(Debug, Default, Args)]
pub(super) struct Server {
    /// The program of the nodes; without it, snowtide beside this program, or else by PATH.
    #[arg(long, value_name = "FILE")]
    snowtide: Option<PathBuf>,
}

impl Server {
    /// Where it is. Nodes run in directories of their own, so a path is made absolute.
    pub(super) fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(program) = &self.snowtide {
            return std::path::absolute(program).context("--snowtide");
        }
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
        Ok(beside.filter(|program| program.is_file()).unwrap_or_else(|| PROGRAM.into()))
    }
}
