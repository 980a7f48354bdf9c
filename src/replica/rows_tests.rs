//! Rows in memory: what leaves (I11), what is pending, what waits.

use snowtide_protocol::Key;

use super::rows::Rows;
use crate::crdt::{Row, Slot};
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
        rows.evict(rows.len() + 1);
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
    cell.settle(&hasher(), OWN, first);
    assert_eq!((cell.working_value(), cell.row.value()), (6, 5));
    assert!(cell.is_pending());
    cell.settle(&hasher(), OWN, second);
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
