//! Where a key's entry is: a table of fixed size with linear probing, so that nothing is ever allocated or moved about in
//! bulk. Each cell has eight bits of the key's hash beside the position, so that nearly every miss is told without a look
//! at the entry.

use super::key::KeyHash;

/// Positions that fit into a cell.
pub(super) const ENTRIES_MAX: u32 = (1 << 24) - 1;
/// Three cells for two entries.
const CELLS_PER_TWO: usize = 3;

/// Positions by key.
#[derive(Debug)]
pub(super) struct Index {
    /// Zero is free; else the tag, and one more than the position.
    cells: Box<[u32]>,
}

impl Index {
    pub(super) fn new(entries: usize) -> Self {
        Self { cells: vec![0; entries * CELLS_PER_TWO / 2 + 2].into() }
    }

    /// The position for which `is` says that it has this key.
    pub(super) fn find(&self, key: KeyHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(key);
        let held = self.probe(self.home(key)).take_while(|(_, cell)| *cell != 0);
        held.filter(|(_, cell)| cell >> 24 == tag).map(|(_, cell)| position(cell)).find(|at| is(*at))
    }

    /// Where the key is likely to be, by the first cell alone.
    pub(super) fn guess(&self, key: KeyHash) -> Option<u32> {
        let cell = self.cells.get(self.home(key))?;
        (cell >> 24 == tag(key)).then(|| position(*cell))
    }

    /// Adds a key that is not there. There is always a free cell, since there are more cells than entries.
    pub(super) fn insert(&mut self, key: KeyHash, at: u32) {
        let free = self.probe(self.home(key)).find(|(_, cell)| *cell == 0).map(|(place, _)| place);
        if let Some(cell) = free.and_then(|place| self.cells.get_mut(place)) {
            *cell = (tag(key) << 24) | (at + 1);
        }
    }

    /// Takes a key out. Those behind it move up, each as far as its home allows; `key_at` tells whose they are.
    pub(super) fn remove(&mut self, key: KeyHash, at: u32, key_at: impl Fn(u32) -> KeyHash) {
        let home = self.home(key);
        let is = |(_, cell): &(usize, u32)| position(*cell) == at;
        let Some((mut hole, _)) = self.probe(home).take_while(|(_, cell)| *cell != 0).find(is) else { return };
        loop {
            let behind = self.probe(self.next(hole)).take_while(|(_, cell)| *cell != 0);
            let moves = |(place, cell): &(usize, u32)| {
                self.distance(self.home(key_at(position(*cell))), *place) >= self.distance(hole, *place)
            };
            let mover = behind.take(self.cells.len()).find(moves);
            let Some((place, cell)) = mover else { break };
            self.put(hole, cell);
            hole = place;
        }
        self.put(hole, 0);
    }

    fn put(&mut self, place: usize, cell: u32) {
        if let Some(held) = self.cells.get_mut(place) {
            *held = cell;
        }
    }

    /// Every cell once, from a place on.
    fn probe(&self, from: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let (before, after) = self.cells.split_at(from.min(self.cells.len()));
        let after = after.iter().enumerate().map(move |(at, cell)| (from + at, *cell));
        after.chain(before.iter().enumerate().map(|(at, cell)| (at, *cell)))
    }

    /// Spreads all hashes over all cells, in order (Lemire, "Fast Random Integer Generation in an Interval", 2019).
    fn home(&self, key: KeyHash) -> usize {
        usize::try_from(((key.low >> 32) * self.cells.len() as u64) >> 32).unwrap_or(0)
    }

    fn next(&self, place: usize) -> usize {
        if place + 1 == self.cells.len() { 0 } else { place + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.cells.len() - from }
    }
}

/// Bits of the hash that the home does not depend on.
fn tag(key: KeyHash) -> u32 {
    u32::from(key.low.to_le_bytes()[0])
}

fn position(cell: u32) -> u32 {
    (cell & 0x00ff_ffff).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is what a map is, whatever comes and goes, and however crowded the homes are.
        #[test]
        fn keys_are_found_until_they_are_taken_out(
            steps in proptest::collection::vec((0u64..24, any::<bool>()), 1..200),
            spread in 1u32..62,
        ) {
            let key = |number: u64| KeyHash { high: number, low: (number << spread).wrapping_mul(0x9e37_79b9) };
            let (mut index, mut map, mut slab) = (Index::new(24), BTreeMap::new(), vec![key(0); 24]);
            for (number, comes) in steps {
                let (at, known) = (u32::try_from(number).unwrap(), map.contains_key(&number));
                if comes && !known {
                    slab[usize::try_from(number).unwrap()] = key(number);
                    index.insert(key(number), at);
                    map.insert(number, at);
                } else if !comes && known {
                    index.remove(key(number), at, |at| slab[at as usize]);
                    map.remove(&number);
                }
                for number in 0..24 {
                    let found = index.find(key(number), |at| slab[at as usize].high == number);
                    prop_assert_eq!(found, map.get(&number).copied());
                }
            }
        }
    }
}
