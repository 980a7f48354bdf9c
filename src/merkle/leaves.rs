//! A set of leaves: cheap to add to, and to walk through where few are in it.

use super::{LEAVES, Leaf};

/// Leaves in a word.
const WORD: usize = 64;
const WORD_BITS: u16 = 64;

/// Takes 8 KiB, whatever it holds.
#[derive(Clone, Debug)]
pub struct LeafSet {
    /// One bit for each leaf.
    words: Box<[u64]>,
    /// One bit for each word that is not zero.
    filled: [u64; LEAVES / WORD / WORD],
}

impl LeafSet {
    /// Of no leaves.
    pub fn new() -> Self {
        Self { words: vec![0; LEAVES / WORD].into(), filled: Default::default() }
    }

    /// Adds a leaf, if it is not in it.
    pub fn insert(&mut self, leaf: Leaf) {
        let (at, bit) = place(leaf.0);
        if let Some(word) = self.words.get_mut(usize::from(at)) {
            *word |= bit;
            self.note_filled(at, true);
        }
    }

    /// Takes a leaf out, if it is in it.
    pub fn remove(&mut self, leaf: Leaf) {
        let (at, bit) = place(leaf.0);
        if let Some(word) = self.words.get_mut(usize::from(at)) {
            *word &= !bit;
            let filled = *word != 0;
            self.note_filled(at, filled);
        }
    }

    fn note_filled(&mut self, at: u16, is_filled: bool) {
        let (at, bit) = place(at);
        if let Some(filled) = self.filled.get_mut(usize::from(at)) {
            *filled = if is_filled { *filled | bit } else { *filled & !bit };
        }
    }

    /// The leaves in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = Leaf> + '_ {
        let words = set(0, &self.filled);
        words.flat_map(|at| set(at, self.words.get(usize::from(at)))).map(Leaf)
    }
}

impl Default for LeafSet {
    fn default() -> Self {
        Self::new()
    }
}

/// The word that has this bit, and the bit there.
fn place(number: u16) -> (u16, u64) {
    (number / WORD_BITS, 1 << (usize::from(number) % WORD))
}

/// The numbers of the bits that are set in these words, which begin with the one numbered `first`.
fn set<'a>(first: u16, words: impl IntoIterator<Item = &'a u64>) -> impl Iterator<Item = u16> {
    let bits = |mut word: u64| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros();
            word &= word.checked_sub(1)?;
            u16::try_from(bit).ok()
        })
    };
    (first..).zip(words).flat_map(move |(at, word)| bits(*word).map(move |bit| at * WORD_BITS + bit))
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
