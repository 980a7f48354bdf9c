//! RocksDB's own warnings.
//!
//! They go to the node's log, instead of to files in the data directory that nobody reads. The last few are kept,
//! because a status often lacks what only the warning before it says: the name of the damaged file.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rocksdb::{InfoLogger, LogLevel};

/// Older lines are forgotten (I6).
const KEPT_LINES_MAX: usize = 16;
/// The rest of a line is not kept.
const KEPT_LINE_CHARS_MAX: usize = 512;

/// What RocksDB says of each table that it takes in, although nothing is wrong with it: a table that is made outside of the
/// database has no unique id, and how long its end is, is not written down.
const OF_ANY_TABLE: [&str; 2] = ["opened without unique ID", "Tail prefetch size"];

/// The last warnings of one open database.
#[derive(Clone, Debug, Default)]
pub(super) struct Warnings(Arc<Mutex<VecDeque<String>>>);

impl Warnings {
    /// A logger that feeds this list and the node's log.
    pub(super) fn logger(&self) -> InfoLogger {
        let list = self.clone();
        InfoLogger::new_callback_logger(LogLevel::Warn, move |level, line| list.hear(level, line.trim()))
    }

    /// The most recent line of which `wanted` is true.
    pub(super) fn last(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().find(|line| wanted(line)).cloned()
    }

    /// Headers and statistics come at a level of their own and are no warnings.
    fn hear(&self, level: LogLevel, line: &str) {
        if OF_ANY_TABLE.iter().any(|usual| line.contains(usual)) {
            return;
        }
        match level {
            LogLevel::Warn => tracing::warn!(target: "rocksdb", "{line}"),
            LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{line}"),
            LogLevel::Debug | LogLevel::Info | LogLevel::Header => return,
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(KEPT_LINE_CHARS_MAX).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_warnings_are_kept() {
        let warnings = Warnings::default();
        for number in 0..100 {
            warnings.hear(LogLevel::Warn, &format!("file {number}"));
            warnings.hear(LogLevel::Header, "statistics");
        }
        warnings.hear(LogLevel::Warn, "[reader.cc:1096] [a/SNOWTIDE.table] Tail prefetch size 524288 is calculated");
        assert_eq!(warnings.last(|_| true).as_deref(), Some("file 99"));
        assert_eq!(warnings.last(|line| line == "file 3"), None);
        assert_eq!(warnings.last(|line| line == "statistics"), None);
    }
}
