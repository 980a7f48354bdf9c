//! What is asked for, on standard output; and whether anybody reads it.
//!
//! Rust ignores SIGPIPE, so that a pipe which nobody reads any more ends no process by itself.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use comfy_table::{Table, presets};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

/// How often it is seen whether anybody still reads.
const LOOK: Duration = Duration::from_millis(100);

/// Whoever read standard output, such as `head`, has read enough.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(super) struct ReadEnough;

/// Writes a line to standard output. If nobody reads it, what was asked for is done all the same.
pub fn print(text: &str) -> anyhow::Result<()> {
    match print_more(text) {
        Err(error) if error.is::<ReadEnough>() => Ok(()),
        outcome => outcome,
    }
}

/// Writes one of many lines, for which the work is done: [`ReadEnough`] if nobody reads it.
pub(super) fn print_more(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReadEnough.into()),
        outcome => Ok(outcome?),
    }
}

/// Writes `value` to standard output, as JSON for people.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A table without rows yet; the same look everywhere.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

/// Does `work` as long as its lines are read, though it may have nothing to write for long.
pub(super) async fn while_read(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        outcome = work => outcome,
        () = unread() => Err(ReadEnough.into()),
    }
}

/// Returns once nobody reads standard output any more.
async fn unread() {
    while !is_unread(&io::stdout()) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A pipe whose other end is closed has an error pending. Nothing else that one writes to has.
fn is_unread(output: &impl AsFd) -> bool {
    let mut pipes = [PollFd::new(output.as_fd(), PollFlags::empty())];
    let pending = poll(&mut pipes, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    pending && pipes.iter().filter_map(PollFd::revents).any(|events| events.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_unread_once_its_other_end_is_closed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_unread(&writer));
        drop(reader);
        assert!(is_unread(&writer));
        assert!(!is_unread(&tempfile::tempfile().unwrap()), "a file");
    }
}
