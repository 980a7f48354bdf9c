//! Rows in memory: what leaves (I11), what is pending, what waits.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use snowtide_protocol::Key;

use super::reach::Reach;
use super::rows::{Cell, ROW_BYTES, Rows};
use crate::crdt::{Row, Slot, VersionVector};
use crate::identity::ReplicaId;
use crate::merkle::Hasher;

const OWN: ReplicaId = ReplicaId(1);

fn key(number: usize) -> Key {
    Key::new(format!("key-{number}")).unwrap()
}

fn hasher() -> Hasher {
    Hasher::new([7; 192])
}

fn loaded(count: usize) -> Rows {
    let mut rows = Rows::new(hasher());
    for number in 0..count {
        rows.insert_loading(key(number));
        assert!(rows.loaded(&key(number), Row::default()).is_empty());
    }
    rows
}

/// Evicts until nothing more goes: the hand first clears the marks of recent use.
fn evict_all(rows: &mut Rows) {
    for _ in 0..8 {
        rows.evict(usize::MAX);
    }
}

#[test]
fn only_clean_idle_rows_leave_memory() {
    let mut rows = loaded(6);
    let [dirty, written, pending, pinned] = [0, 1, 2, 3].map(|number| rows.find(&key(number)).unwrap());
    assert!(rows.changed(dirty) && !rows.changed(dirty));
    let leaf = rows.get(written).place.leaf();
    assert!(rows.changed(written) && rows.write_leaf(leaf) == [written]);
    assert!(rows.get_mut(pending).apply(OWN, Slot::of(1, 0), 1));
    rows.pin(pinned);
    let loading = rows.insert_loading(key(9));
    evict_all(&mut rows);
    assert_eq!(rows.len(), 5);
    assert!([dirty, written, pending, pinned, loading].iter().all(|id| rows.find(&rows.get(*id).key) == Some(*id)));
    assert!(rows.find(&key(4)).is_none() && rows.find(&key(5)).is_none());
    rows.unpin(pinned);
    evict_all(&mut rows);
    assert!(rows.find(&key(3)).is_none());
}

#[test]
fn what_is_pending_is_part_of_the_value_and_not_of_the_committed_row() {
    let mut rows = loaded(1);
    let id = rows.find(&key(0)).unwrap();
    let cell = rows.get_mut(id);
    let (first, second) = (Slot::of(5, 0), Slot::of(7, 1));
    assert!(cell.apply(OWN, first, 1) && cell.apply(OWN, second, 2));
    assert!(!cell.apply(OWN, first, 2), "nothing in it is new");
    assert_eq!((cell.working_value(), cell.row.value()), (6, 0));
    rows.settle(id, OWN, first);
    let cell = rows.get(id);
    assert_eq!((cell.working_value(), cell.row.value()), (6, 5));
    assert!(cell.is_pending());
    rows.settle(id, OWN, second);
    let cell = rows.get(id);
    assert_eq!((cell.working_value(), cell.row.value()), (6, 6));
    assert!(!cell.is_pending());
}

#[test]
fn work_waits_once_and_is_released_with_the_row() {
    let mut rows = Rows::new(hasher());
    let id = rows.insert_loading(key(0));
    assert!(rows.wait(id, 3));
    assert!(!rows.wait(id, 3), "the same work asks for a row only once");
    assert!(rows.wait(id, 4));
    assert_eq!(rows.loaded(&key(0), Row::default())[..], [3, 4]);
    assert!(!rows.wait(id, 5), "it is there");
    assert!(rows.loaded(&key(0), Row::default()).is_empty());
    assert!(rows.loaded(&key(1), Row::default()).is_empty(), "nobody asked for it");
}

/// As a slab keeps it.
#[allow(dead_code)] // only its size is looked at
enum Kept {
    Vacant(usize),
    Occupied(Cell),
}

#[test]
fn a_row_takes_its_cell_its_share_of_the_table_and_what_is_apart() {
    assert_eq!(size_of::<Kept>(), size_of::<Cell>(), "a slab needs nothing of its own");
    assert_eq!(ROW_BYTES, size_of::<Cell>() + 12);
    let mut rows = Rows::new(hasher());
    let mut taken = |key: &str, slots: u64| {
        let (before, key) = (rows.bytes(), Key::new(key).unwrap());
        rows.insert_loading(key.clone());
        rows.loaded(&key, (1..=slots).map(|origin| (ReplicaId(origin), Slot::of(1, 0))).collect());
        rows.bytes() - before
    };
    assert_eq!(taken("a key of twenty bytes", 0), ROW_BYTES);
    assert_eq!(taken("one of 24 bytes is within", 1), ROW_BYTES + 32, "25 bytes are apart");
    assert_eq!(taken("one of 24 bytes, no more", 1), ROW_BYTES);
    assert_eq!(taken(&"k".repeat(500), 1), ROW_BYTES + 500);
    assert_eq!(taken("of three nodes", 3), ROW_BYTES + 4 * 24);
}

/// Something that happens to one of a few rows.
#[derive(Clone, Copy, Debug)]
enum Step {
    Load,
    Arrive(u64),
    Change(u64),
    Follow,
    FollowOn(u64),
    Write,
    Written,
    Pin,
    Unpin,
    Evict(usize),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        Just(Step::Load),
        (0..5_u64).prop_map(Step::Arrive),
        (0..6_u64).prop_map(Step::Change),
        Just(Step::Follow),
        (0..6_u64).prop_map(Step::FollowOn),
        Just(Step::Write),
        Just(Step::Written),
        Just(Step::Pin),
        Just(Step::Unpin),
        (0..2_000_usize).prop_map(Step::Evict),
    ];
    (0..12_usize, step)
}

/// Some keys have an allocation of their own.
fn any_key(number: usize) -> Key {
    Key::new(format!("{number}-{}", "k".repeat(number * 7))).unwrap()
}

/// What a walk over rows has to remember.
#[derive(Default)]
struct Walked {
    pinned: BTreeSet<usize>,
    moved: u64,
}

impl Walked {
    /// Does what is possible now.
    fn take(&mut self, rows: &mut Rows, number: usize, step: Step) {
        let key = any_key(number);
        match (rows.find(&key), step) {
            (_, Step::Evict(bytes)) => rows.evict(bytes),
            (None, Step::Load) => drop(rows.insert_loading(key)),
            (Some(_), Step::Arrive(slots)) => {
                rows.loaded(&key, (0..slots).map(|origin| (ReplicaId(origin), Slot::of(1, 0))).collect());
            }
            (Some(id), step) if !rows.get(id).is_loading() => self.change(rows, id, step),
            _ => {}
        }
    }

    fn change(&mut self, rows: &mut Rows, id: usize, step: Step) {
        self.moved += 1;
        let slot = Slot::of(self.moved, 0);
        match step {
            Step::Change(origin) => {
                rows.get_mut(id).apply(ReplicaId(origin), slot, 1);
                rows.settle(id, ReplicaId(origin), slot);
                rows.changed(id);
            }
            Step::Follow => rows.follow(id, &VersionVector::default(), &Reach::new(Vec::new(), 0)),
            Step::FollowOn(origin) => rows.follow_on(id, ReplicaId(origin), Some(0), (self.moved, slot), 0),
            Step::Write => drop(rows.write_leaf(rows.get(id).place.leaf())),
            Step::Written => rows.table_ended(),
            Step::Pin if self.pinned.insert(id) => rows.pin(id),
            Step::Unpin if self.pinned.remove(&id) => rows.unpin(id),
            _ => {}
        }
    }
}

proptest! {
    /// Whatever comes, changes and goes, the sum that is kept up is what a count from the ground finds.
    #[test]
    fn what_rows_take_is_what_a_recount_finds(steps in vec(step(), 0..200)) {
        let (mut rows, mut walked) = (Rows::new(hasher()), Walked::default());
        for (number, step) in steps {
            walked.take(&mut rows, number, step);
            prop_assert_eq!(rows.bytes(), rows.recounted());
        }
        evict_all(&mut rows);
        prop_assert_eq!(rows.bytes(), rows.recounted());
        prop_assert!(rows.len() > 0 || rows.bytes() == 0);
    }
}
