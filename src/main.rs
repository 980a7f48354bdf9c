//! The `snowtide` binary: the command line, and nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    snowtide::cli::run(std::env::args_os())
}
