//! `snowtide man`: manual pages.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, print};

/// Write a manual page for each command.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Where to; made if it does not exist.
    dir: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  snowtide man ~/.local/share/man/man1
  man snowtide-cluster-top";

impl Command {
    /// Writes them.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            clap_mangen::generate_to(Cli::command(), &self.dir)
        };
        write().with_context(|| format!("cannot write to {dir}; name a directory that this user may write to"))?;
        print(&format!("wrote snowtide.1 and a page for each command to {dir}; read one: man -l {dir}/snowtide.1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        Command { dir: dir.path().join("man1") }.run().unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join("man1").join(name)).unwrap();
        assert!(page("snowtide.1").contains("Exit codes"));
        assert!(page("snowtide-store-compact.1").contains("compact"));
        assert!(page("snowtide-cluster-top.1").contains("\\-\\-once"));
    }

    #[test]
    fn what_cannot_be_written_says_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Command { dir: file.path().join("man1") }.run().unwrap_err();
        assert!(format!("{error:#}").contains("name a directory that this user may write to"), "{error:#}");
    }
}
