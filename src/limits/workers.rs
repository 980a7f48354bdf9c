//! A set of nodes: small, copied freely, and summed over on the path of a decision.

use bincode::{Decode, Encode};

use crate::identity::{WORKER_BITS, WorkerId};

const WORDS: usize = (1 << WORKER_BITS) / 64;

/// A set of worker ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Workers([u64; WORDS]);

impl Workers {
    /// One node alone.
    pub fn only(worker: WorkerId) -> Self {
        Self::from_iter([worker])
    }

    /// Adds a node.
    pub fn insert(&mut self, worker: WorkerId) {
        let (word, bit) = place(worker.bits());
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether a node is in it.
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.contains_bits(worker.bits())
    }

    /// The same for the bits of a worker id.
    pub(super) fn contains_bits(&self, bits: u16) -> bool {
        let (word, bit) = place(bits);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<WorkerId> for Workers {
    fn from_iter<I: IntoIterator<Item = WorkerId>>(workers: I) -> Self {
        let mut set = Self::default();
        workers.into_iter().for_each(|worker| set.insert(worker));
        set
    }
}

/// The word that has a worker's bit, and the bit there.
fn place(bits: u16) -> (usize, u64) {
    (usize::from(bits / 64), 1 << (bits % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added_and_nothing_else() {
        let worker = |region, node| WorkerId::new(region, node).unwrap();
        let set = Workers::from_iter([worker(0, 0), worker(1, 31), worker(2, 0), worker(31, 31)]);
        assert_eq!(set.len(), 4);
        let all = (0..32).flat_map(|region| (0..32).map(move |node| worker(region, node)));
        assert_eq!(all.filter(|worker| set.contains(*worker)).count(), 4);
        assert!(set.contains(worker(1, 31)) && !set.contains(worker(1, 30)) && Workers::default().is_empty());
    }
}
