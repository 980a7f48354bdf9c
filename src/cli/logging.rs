//! Logging: to standard error, as `[log]` says, from the moment a node starts; lines of the audit log to a file as well.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{registry, reload};

use super::paint;
use crate::audit;
use crate::config::{self, Log, LogFormat};
use crate::node::reload::Relog;

/// Sends the whole process's log lines to standard error. Fails if that was done before. `RUST_LOG` is not read: the
/// filter is configuration, and `SNOWTIDE_LOG__FILTER` sets it.
pub fn init(log: &Log) -> anyhow::Result<Relog> {
    let filter = config::log_filter(&log.filter).context("log.filter")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(paint::on_stderr()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let file = if log.audit_file.as_os_str().is_empty() { None } else { Some(AuditFile::open(&log.audit_file)?) };
    let audited = file.clone().map(|file| {
        let only = Targets::new().with_target(audit::TARGET, LevelFilter::INFO);
        fmt::layer().with_writer(move || file.current()).json().flatten_event(true).with_ansi(false).with_filter(only)
    });
    let outcome = registry().with(lines.with_filter(filter)).with(audited).try_init();
    outcome.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok(Arc::new(move |wanted| {
        let filter = config::log_filter(wanted).map_err(|error| format!("log.filter: {error}"))?;
        if let Some(file) = &file {
            file.reopen().map_err(|error| error.to_string())?;
        }
        handle.reload(filter).map_err(|error| error.to_string())
    }))
}

/// A file that lines are added to, each at once. What cannot be written, such as to a full disk, is lost.
#[derive(Clone, Debug)]
struct AuditFile {
    path: PathBuf,
    file: Arc<Mutex<Arc<File>>>,
}

impl AuditFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = append(path).with_context(|| format!("log.audit_file: {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(Mutex::new(Arc::new(file))) })
    }

    /// Somebody may have moved the file away.
    fn reopen(&self) -> anyhow::Result<()> {
        let file = append(&self.path).with_context(|| format!("log.audit_file: {}", self.path.display()))?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        Ok(())
    }

    fn current(&self) -> Arc<File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let file = AuditFile::open(&path).unwrap();
        let write = |line: &str| file.current().write_all(line.as_bytes()).unwrap();
        write("one\n");
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        file.reopen().unwrap();
        write("two\n");
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((text("old"), text("audit.log")), ("one\n".to_owned(), "two\n".to_owned()));
        let nowhere = AuditFile::open(Path::new("/nowhere/audit.log")).unwrap_err();
        assert!(format!("{nowhere:#}").starts_with("log.audit_file: /nowhere/audit.log: "), "{nowhere:#}");
    }
}
