//! `snowtide completions`: what a shell needs to complete command lines.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

/// Print a script that completes command lines in a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(snowtide completions bash)
  snowtide completions zsh > ~/.zfunc/_snowtide
  snowtide completions fish > ~/.config/fish/completions/snowtide.fish

For bash, put that line into ~/.bashrc; for zsh, put fpath+=~/.zfunc before compinit into ~/.zshrc.";

impl Command {
    /// Prints it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        print(script(self.shell)?.trim_end())
    }
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "snowtide", &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_subcommands() {
        for shell in Shell::value_variants() {
            let script = script(*shell).unwrap();
            for word in ["snowtide", "counter", "completions", "regions-dir"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
