//! Where a key's entry is: an open table whose places are the entries' own, so that a decision looks at one line of memory
//! that is likely to be far away, and nothing is ever moved.
//!
//! Places are in groups of fifteen. Of a group, sixteen bytes say what is in it: for each place a byte of its key's hash,
//! and how many keys went past because it was full (the layout of Folly's F14 tables). A key is in its home group, or in
//! one of those behind it for as long as keys went past. A million keys have a megabyte of these, which stays near.

use super::key::KeyHash;

/// The places of a group.
const PLACES: usize = 15;
/// At most so many of them are taken, on average over all groups.
const TAKEN: usize = 14;
/// Once so many have gone past a group, they are counted no longer, and looked for ever after.
const MANY: u8 = u8::MAX;

/// Places by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: Box<[Group]>,
}

/// By place, the tag of its key, or zero if it is free. Behind them, how many keys went past.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
struct Group([u8; PLACES + 1]);

impl Group {
    /// The places that have this tag: all are compared at once (Warren, "Hacker's Delight", 6-1).
    fn with(&self, tag: u8) -> Places {
        let differ = u128::from_le_bytes(self.0) ^ u128::from_le_bytes([tag; PLACES + 1]);
        let low = u128::from_le_bytes([0x7f; PLACES + 1]);
        Places(!(((differ & low) + low) | differ | low) & OF_PLACES)
    }

    fn passed(&self) -> u8 {
        self.0.last().copied().unwrap_or(0)
    }

    fn put(&mut self, place: usize, byte: u8) {
        if let Some(held) = self.0.get_mut(place) {
            *held = byte;
        }
    }
}

/// The bytes of places.
const OF_PLACES: u128 = (1 << (8 * PLACES)) - 1;

/// Some places of a group: the highest bit of each one's byte.
struct Places(u128);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0.checked_sub(1)?;
        Some(place)
    }
}

impl Index {
    /// For so many keys.
    pub(super) fn new(keys: usize) -> Self {
        Self { groups: vec![Group::default(); keys.div_ceil(TAKEN).max(1)].into() }
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.groups.len() * PLACES
    }

    /// The place for which `is` says that it has this key.
    pub(super) fn find(&self, key: KeyHash, is: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag(key);
        for (at, group) in self.way(key) {
            if let Some(found) = group.with(tag).map(|place| number(at, place)).find(|place| is(*place)) {
                return Some(found);
            }
            if group.passed() == 0 {
                break;
            }
        }
        None
    }

    /// Where the key is likely to be, by its home alone.
    pub(super) fn guess(&self, key: KeyHash) -> Option<u32> {
        let home = self.home(key);
        let place = self.groups.get(home)?.with(tag(key)).next()?;
        Some(number(home, place))
    }

    /// Gives a key that is not there a place. There are always more places than keys.
    pub(super) fn insert(&mut self, key: KeyHash) -> Option<u32> {
        let (at, place) = self.way(key).find_map(|(at, group)| Some((at, group.with(0).next()?)))?;
        self.pass(key, at, |passed| passed.saturating_add(1));
        self.groups.get_mut(at)?.put(place, tag(key));
        Some(number(at, place))
    }

    /// Takes a key out of its place.
    pub(super) fn remove(&mut self, key: KeyHash, place: u32) {
        let (at, place) = (place as usize / PLACES, place as usize % PLACES);
        self.pass(key, at, |passed| if passed == MANY { MANY } else { passed.saturating_sub(1) });
        if let Some(group) = self.groups.get_mut(at) {
            group.put(place, 0);
        }
    }

    /// The taken places from a place on.
    pub(super) fn taken(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        let groups = self.groups.iter().enumerate().skip(from / PLACES);
        let tags = groups.flat_map(|(at, group)| (at * PLACES..).zip(group.0.iter().take(PLACES)));
        tags.filter(move |(place, tag)| **tag != 0 && *place >= from).map(|(place, _)| place)
    }

    /// A key's way leads past all groups before this one.
    fn pass(&mut self, key: KeyHash, until: usize, counted: impl Fn(u8) -> u8) {
        let mut at = self.home(key);
        while at != until {
            let Some(group) = self.groups.get_mut(at) else { break };
            group.put(PLACES, counted(group.passed()));
            at = self.after(at);
        }
    }

    /// Every group once, from a key's home on.
    fn way(&self, key: KeyHash) -> impl Iterator<Item = (usize, &Group)> {
        let mut next = self.home(key);
        (0..self.groups.len()).map_while(move |_| {
            let at = next;
            next = self.after(at);
            Some((at, self.groups.get(at)?))
        })
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.groups.len() { 0 } else { at + 1 }
    }

    /// Spreads all hashes over all groups, in order (Lemire, "Fast Random Integer Generation in an Interval", 2019).
    fn home(&self, key: KeyHash) -> usize {
        usize::try_from(((key.low >> 32) * self.groups.len() as u64) >> 32).unwrap_or(0)
    }
}

/// Bits of the hash that the home does not depend on; zero is kept for free places.
fn tag(key: KeyHash) -> u8 {
    key.low.to_le_bytes()[0].max(1)
}

fn number(group: usize, place: usize) -> u32 {
    u32::try_from(group * PLACES + place).unwrap_or(u32::MAX)
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
            steps in proptest::collection::vec((0u64..80, any::<bool>()), 1..400),
            spread in 1u32..62,
        ) {
            let key = |number: u64| KeyHash { high: number, low: (number << spread).wrapping_mul(0x9e37_79b9) };
            let (mut index, mut map) = (Index::new(56), BTreeMap::new());
            let mut slab = vec![None; index.places()];
            for (number, comes) in steps {
                let known = map.get(&number).copied();
                if comes && known.is_none() && map.len() < 56 {
                    let at = index.insert(key(number)).unwrap();
                    prop_assert_eq!(slab[at as usize].replace(number), None);
                    map.insert(number, at);
                } else if let Some(at) = known.filter(|_| !comes) {
                    index.remove(key(number), at);
                    map.remove(&number);
                    slab[at as usize] = None;
                }
                for number in 0..80 {
                    let found = index.find(key(number), |at| slab[at as usize] == Some(number));
                    prop_assert_eq!(found, map.get(&number).copied());
                }
                prop_assert_eq!(index.taken(0).collect::<Vec<_>>().len(), map.len());
            }
            map.iter().for_each(|(number, at)| index.remove(key(*number), *at));
            prop_assert!(index.groups.iter().all(|group| [0, MANY].contains(&group.passed())));
        }
    }

    #[test]
    fn a_full_table_is_searched_no_further_than_keys_went() {
        let key = |number: u64| KeyHash { high: number, low: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        let mut index = Index::new(14_000);
        let homes = (0..14_000).filter(|number| {
            let at = index.insert(key(*number)).unwrap();
            at as usize / PLACES == index.home(key(*number))
        });
        assert!(homes.count() > 9_000, "most keys are in their home");
        let looks = |number: u64| index.way(key(number)).take_while(|(_, group)| group.passed() > 0).count();
        let looks: usize = (20_000..21_000).map(looks).sum();
        assert!(looks < 5_000, "{looks} groups for 1 000 keys that are not there");
    }
}
