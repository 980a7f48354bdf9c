//! `completions`: what a shell needs to complete the command lines of a program.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::print;

/// Print a script that completes command lines in a shell.
#[derive(Debug, Args)]
#[command(after_help = examples("snowtide"))]
pub struct Command {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// For the help of this command of `program`.
pub fn examples(program: &str) -> String {
    format!(
        "\
Examples:
  source <({program} completions bash)
  {program} completions zsh > ~/.zfunc/_{program}
  {program} completions fish > ~/.config/fish/completions/{program}.fish

For bash, put that line into ~/.bashrc; for zsh, put fpath+=~/.zfunc before compinit into ~/.zshrc."
    )
}

impl Command {
    /// Prints the script for the program whose command line is `C`.
    pub fn run<C: CommandFactory>(self) -> anyhow::Result<()> {
        print(script(self.shell, &mut C::command())?.trim_end())
    }
}

fn script(shell: Shell, command: &mut clap::Command) -> anyhow::Result<String> {
    let (mut script, program) = (Vec::new(), command.get_name().to_owned());
    clap_complete::generate(shell, command, program, &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_subcommands() {
        for shell in Shell::value_variants() {
            let script = script(*shell, &mut Cli::command()).unwrap();
            for word in ["snowtide", "counter", "completions", "regions-dir"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
