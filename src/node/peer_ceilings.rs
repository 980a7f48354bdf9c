//! What this node has seen of other nodes' ID ceilings, on its way to the disk.
//!
//! Whoever takes over a worker id with an empty disk asks its peers how far that one's IDs had come. Peers that were
//! restarted meanwhile can only tell what they have written down. So they do, within a third of `ids.quarantine`: what
//! they saw after that lies below the quarantine.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::identity::WorkerId;

/// The highest ceiling of each worker id; at most one for each that there can be.
#[derive(Default)]
pub(super) struct PeerCeilings(Mutex<State>);

#[derive(Default)]
struct State {
    highest: BTreeMap<WorkerId, u64>,
    changed: bool,
}

impl PeerCeilings {
    /// What is on disk already.
    pub(super) fn new(known: &[(WorkerId, u64)]) -> Self {
        Self(Mutex::new(State { highest: known.iter().copied().collect(), changed: false }))
    }

    pub(super) fn note(&self, worker: WorkerId, ceiling: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = state.highest.entry(worker).or_default();
        if ceiling > *highest {
            *highest = ceiling;
            state.changed = true;
        }
    }

    /// Forgets all of it; the disk, too, the next time that something is taken.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { highest: BTreeMap::new(), changed: true };
    }

    /// All of it, if something is not on disk yet.
    pub(super) fn take(&self) -> Option<Vec<(WorkerId, u64)>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.changed).then(|| state.highest.iter().map(|(worker, at)| (*worker, *at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_is_written_and_then_everything() {
        let worker = |node| WorkerId::new(1, node).unwrap();
        let peer_ceilings = PeerCeilings::new(&[(worker(0), 70)]);
        peer_ceilings.note(worker(0), 69);
        assert_eq!(peer_ceilings.take(), None);
        peer_ceilings.note(worker(1), 5);
        assert_eq!(peer_ceilings.take(), Some(vec![(worker(0), 70), (worker(1), 5)]));
        assert_eq!(peer_ceilings.take(), None);
        peer_ceilings.forget();
        assert_eq!((peer_ceilings.take(), peer_ceilings.take()), (Some(vec![]), None));
    }
}
