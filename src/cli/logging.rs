//! Logging: to standard error, as `[log]` says, from the moment a node starts.

use std::io;

use anyhow::Context;

use super::paint;
use crate::config::{self, Log, LogFormat};

/// Sends the whole process's log lines to standard error. Fails if that was done before. `RUST_LOG` is not read: the
/// filter is configuration, and `SNOWTIDE_LOG__FILTER` sets it.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = config::log_filter(&log.filter).context("log.filter")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let outcome = match log.format {
        LogFormat::Text => lines.with_ansi(paint::on_stderr()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    outcome.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
