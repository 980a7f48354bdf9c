//! `man`: the manual pages of a program.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::print;

/// Write a manual page for each command.
#[derive(Debug, Args)]
#[command(after_help = examples("snowtide", "cluster-top"))]
pub struct Command {
    /// Where to; made if it does not exist.
    dir: PathBuf,
}

/// For the help of this command of `program`, which has such a `page`.
pub fn examples(program: &str, page: &str) -> String {
    format!(
        "\
Examples:
  {program} man ~/.local/share/man/man1
  man {program}-{page}"
    )
}

impl Command {
    /// Writes those of the program whose command line is `C`.
    pub fn run<C: CommandFactory>(self) -> anyhow::Result<()> {
        let (dir, command) = (self.dir.display(), C::command());
        let first = format!("{}.1", command.get_name());
        let made = std::fs::create_dir_all(&self.dir);
        let written = made.and_then(|()| clap_mangen::generate_to(command, &self.dir));
        written.with_context(|| format!("cannot write to {dir}; name a directory that this user may write to"))?;
        print(&format!("wrote {first} and a page for each command to {dir}; read one: man -l {dir}/{first}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        Command { dir: dir.path().join("man1") }.run::<Cli>().unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join("man1").join(name)).unwrap();
        assert!(page("snowtide.1").contains("Exit codes"));
        assert!(page("snowtide-store-compact.1").contains("compact"));
        assert!(page("snowtide-cluster-top.1").contains("\\-\\-once"));
    }

    #[test]
    fn what_cannot_be_written_says_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Command { dir: file.path().join("man1") }.run::<Cli>().unwrap_err();
        assert!(format!("{error:#}").contains("name a directory that this user may write to"), "{error:#}");
    }
}
