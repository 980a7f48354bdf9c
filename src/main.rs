//! The `snowtide` binary: the command line, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    snowtide::cli::run(std::env::args_os())
}
