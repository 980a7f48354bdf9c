//! What a node holds in some leaves: the rows on disk, with those in memory over them.

use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::merkle::{Hasher, Place, Sum};

use super::super::effect::LoadLeaves;
use super::super::space::Space;

/// Rows that one reading brings, about.
pub(super) const ROWS_MAX: usize = 4_096;

/// A committed row.
#[derive(Debug)]
pub(in super::super) struct Listed {
    pub(in super::super) place: Place,
    pub(in super::super) key: Key,
    pub(in super::super) row: Row,
}

/// The committed rows of the leaves that were read, by place, between `asked.from` and `covered`. Rows in memory are at
/// least as new as those on disk, and none that was there when the reading began has left.
pub(super) fn list(space: &Space, asked: &LoadLeaves, stored: Vec<(Key, Row)>, covered: Place) -> Vec<Listed> {
    let within = |place: Place| asked.from <= place && place <= covered;
    let absent = stored.into_iter().filter(|(key, _)| {
        let held = space.rows.find(key).map(|row| space.rows.get(row));
        held.is_none_or(|cell| cell.is_loading())
    });
    let absent = absent.map(|(key, row)| Listed { place: space.rows.place(&key), key, row });
    let cells = asked.leaves.iter().flat_map(|leaf| space.rows.of_leaf(*leaf));
    let present = cells.filter(|cell| !cell.row.is_empty());
    let present = present.map(|cell| Listed { place: cell.place, key: cell.key.clone(), row: cell.row.clone() });
    let mut listing: Vec<Listed> = absent.chain(present).filter(|listed| within(listed.place)).collect();
    listing.sort_unstable_by(|a, b| (a.place, &a.key).cmp(&(b.place, &b.key)));
    listing
}

/// By place, half of the sum of the rows there.
pub(super) fn sums(hasher: &Hasher, listing: &[Listed]) -> Vec<(Place, u64)> {
    let at_one_place = listing.chunk_by(|a, b| a.place == b.place);
    at_one_place.filter_map(|rows| Some((rows.first()?.place, sum(hasher, rows).short()))).collect()
}

/// The sum of some rows.
pub(super) fn sum(hasher: &Hasher, rows: &[Listed]) -> Sum {
    rows.iter().map(|listed| hasher.row(&listed.key, &listed.row)).fold(Sum::default(), Sum::plus)
}
