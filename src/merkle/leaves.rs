//! A set of leaves: cheap to add to, and to walk through where few are in it.

use super::{LEAVES, Leaf};

/// Leaves in a word.
const WORD: usize = 64;

/// Takes 8 KiB, whatever it holds.
#[derive(Clone, Debug)]
pub struct LeafSet {
    /// One bit for each leaf.
    words: Box<[u64]>,
}

impl LeafSet {
    /// Of no leaves.
    pub fn new() -> Self {
        Self { words: vec![0; LEAVES / WORD].into() }
    }

    /// Adds a leaf, if it is not in it.
    pub fn insert(&mut self, leaf: Leaf) {
        let (word, bit) = place(leaf);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    /// Takes a leaf out, if it is in it.
    pub fn remove(&mut self, leaf: Leaf) {
        let (word, bit) = place(leaf);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
    }

    /// The leaves in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = Leaf> + '_ {
        let firsts = (0..=u16::MAX).step_by(WORD);
        let held = firsts.zip(&self.words).filter(|(_, word)| **word != 0);
        held.flat_map(|(first, word)| bits(*word).map(move |bit| Leaf(first + bit)))
    }
}

impl Default for LeafSet {
    fn default() -> Self {
        Self::new()
    }
}

/// The word of a leaf, and its bit there.
fn place(leaf: Leaf) -> (usize, u64) {
    let at = usize::from(leaf.0);
    (at / WORD, 1 << (at % WORD))
}

/// The numbers of the bits that are set, the lowest first.
fn bits(word: u64) -> impl Iterator<Item = u16> {
    (0..64).filter(move |bit| word >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is what a sorted set is, whatever was added and taken out.
        #[test]
        fn it_holds_what_was_added_and_not_taken_out(steps in vec((any::<bool>(), any::<u16>(), 0..3u16), 0..200)) {
            let (mut set, mut sorted) = (LeafSet::new(), BTreeSet::new());
            for (adds, leaf, near) in steps {
                // Few enough that some are met again, at the ends of words too.
                let leaf = Leaf(leaf & 0xF03F ^ near);
                if adds {
                    set.insert(leaf);
                    sorted.insert(leaf);
                } else {
                    set.remove(leaf);
                    sorted.remove(&leaf);
                }
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), sorted.into_iter().collect::<Vec<_>>());
        }
    }
}
