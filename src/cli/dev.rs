//! `snowtide dev`: clusters on one machine are a program of their own, and this says which.

use std::ffi::OsString;

use clap::Args;

use super::Misuse;

/// Moved: a whole cluster on this machine is started by snowtide-dev.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(super) struct Command {
    /// What was asked of it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Command {
    /// Refuses with the command that does it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        let line: Vec<_> = std::iter::once("snowtide-dev".into()).chain(words).collect();
        let moved = "clusters on this machine are run by another program, which is built beside this one";
        Err(Misuse(format!("{moved}: {}", line.join(" "))).into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: Command,
    }

    #[test]
    fn whatever_is_asked_is_answered_with_the_command_that_does_it() {
        for words in [&["up", "--regions", "5"][..], &["demo"], &["--help"], &[]] {
            let line = Line::try_parse_from(["dev"].iter().chain(words)).unwrap();
            let said = line.command.run().unwrap_err().to_string();
            let expected = ["snowtide-dev"].iter().chain(words).copied().collect::<Vec<_>>().join(" ");
            assert!(said.ends_with(&format!(": {expected}")), "{said}");
        }
    }
}
