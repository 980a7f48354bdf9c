//! What a process takes: memory and files.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinHandle;

/// By its number.
#[derive(Clone, Copy)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// Bytes of memory.
    pub(super) fn resident(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("the node lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).map_or(0, Iterator::count)
    }

    /// Looks often, from now on.
    pub(super) fn watch(self) -> Watch {
        let most = Arc::new((AtomicU64::new(self.resident()), AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let looking = tokio::spawn(async move {
            loop {
                seen.0.fetch_max(self.resident(), Relaxed);
                seen.1.fetch_max(self.descriptors(), Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Watch { most, looking }
    }
}

/// The most that was seen.
pub(super) struct Watch {
    most: Arc<(AtomicU64, AtomicUsize)>,
    looking: JoinHandle<()>,
}

impl Watch {
    /// Of memory, and of files.
    pub(super) fn most(&self) -> (u64, usize) {
        assert!(!self.looking.is_finished(), "the node ended");
        (self.most.0.load(Relaxed), self.most.1.load(Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
