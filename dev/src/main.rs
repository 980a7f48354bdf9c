//! The `snowtide-dev` binary: clusters on one machine, see [`snowtide_dev`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    snowtide_dev::cli::run(std::env::args_os())
}
