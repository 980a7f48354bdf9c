//! Finds rows by the places of their keys.

use hashbrown::HashTable;

use crate::merkle::Place;

/// A table grows at once, and that takes as long as it is large. So there are many small ones: with ten million rows, each
/// holds about ten thousand.
const TABLES: usize = 1 << TABLES_BITS;
const TABLES_BITS: u32 = 10;
/// A place's lowest bits choose the bucket in a table and its highest are compared there; those that choose the table lie
/// between, or all of a table's rows would have the same.
const SHIFT: u32 = 44;

/// The names of rows, by place.
pub(super) struct Index(Box<[HashTable<u32>]>);

impl Index {
    pub(super) fn new() -> Self {
        Self((0..TABLES).map(|_| HashTable::new()).collect())
    }

    /// The row at `place` for which `is_meant` holds.
    pub(super) fn find(&self, place: Place, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        self.table(place).find(place.0, |name| is_meant(*name)).copied()
    }

    /// A new row; `place_of` tells where those stand that are there.
    pub(super) fn insert(&mut self, place: Place, name: u32, place_of: impl Fn(u32) -> Place) {
        self.table_mut(place).insert_unique(place.0, name, |name| place_of(*name).0);
    }

    pub(super) fn remove(&mut self, place: Place, name: u32) {
        if let Ok(entry) = self.table_mut(place).find_entry(place.0, |held| *held == name) {
            entry.remove();
        }
    }

    fn table(&self, place: Place) -> &HashTable<u32> {
        &self.0[number(place)]
    }

    fn table_mut(&mut self, place: Place) -> &mut HashTable<u32> {
        &mut self.0[number(place)]
    }
}

#[allow(clippy::cast_possible_truncation)] // fewer bits than any usize has
fn number(place: Place) -> usize {
    (place.0 >> SHIFT) as usize & (TABLES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_place_and_name_whatever_table_they_are_in() {
        let places: Vec<Place> =
            (0..20_000).map(|number: u64| Place(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let mut index = Index::new();
        let place_of = |name: u32| places[name as usize];
        for (name, place) in (0..).zip(&places) {
            assert_eq!(index.find(*place, |_| true), None);
            index.insert(*place, name, place_of);
        }
        // Two rows may stand at one place.
        index.insert(places[3], 77, place_of);
        let is = |name: u32| move |found: u32| found == name;
        assert!((0..).zip(&places).all(|(name, place)| index.find(*place, is(name)) == Some(name)));
        assert_eq!(index.find(places[3], is(77)), Some(77));
        index.remove(places[3], 3);
        assert_eq!((index.find(places[3], is(3)), index.find(places[3], is(77))), (None, Some(77)));
        let filled = index.0.iter().filter(|table| !table.is_empty()).count();
        assert_eq!(filled, TABLES, "places spread over all tables");
    }
}
