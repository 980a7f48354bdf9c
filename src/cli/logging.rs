//! Logging: to standard error, as `[log]` says, from the moment a node starts.

use std::io;

use anyhow::Context;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry, reload};

use super::paint;
use crate::config::{self, Log, LogFormat};

/// Has log lines follow another filter, or says what is wrong with it.
pub type SetFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Sends the whole process's log lines to standard error. Fails if that was done before. `RUST_LOG` is not read: the
/// filter is configuration, and `SNOWTIDE_LOG__FILTER` sets it.
pub fn init(log: &Log) -> anyhow::Result<SetFilter> {
    let filter = config::log_filter(&log.filter).context("log.filter")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(paint::on_stderr()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let outcome = registry().with(lines.with_filter(filter)).try_init();
    outcome.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok(Box::new(move |wanted| {
        let filter = config::log_filter(wanted).map_err(|error| format!("log.filter: {error}"))?;
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}
