//! The laws of joins (I5), over arbitrary slots, rows and vectors.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::identity::ReplicaId;

fn slots() -> impl Strategy<Value = Slot> {
    (0..50_u64, 0..50_u64).prop_map(|(added, subtracted)| Slot { added, subtracted })
}

fn rows() -> impl Strategy<Value = Row> {
    vec((0..6_u64, slots()), 0..8).prop_map(|slots| slots.into_iter().map(|(id, slot)| (ReplicaId(id), slot)).collect())
}

fn vectors() -> impl Strategy<Value = VersionVector> {
    // With forks: two histories under one number, and marks that tell of one.
    vec((0..6_u64, 1..20_u64, 0..8_u128), 0..8).prop_map(|marks| {
        let hash =
            |seq: u64, history| if history == 7 { LogHash::FORKED } else { LogHash(u128::from(seq) + history / 4) };
        marks.into_iter().map(|(id, seq, history)| (ReplicaId(id), Mark { seq, hash: hash(seq, history) })).collect()
    })
}

fn joined(one: &Row, other: &Row) -> Row {
    let mut row = one.clone();
    row.join(other);
    row
}

fn joined_vectors(one: &VersionVector, other: &VersionVector) -> VersionVector {
    let mut vector = one.clone();
    vector.join(other);
    vector
}

proptest! {
    #[test]
    fn joins_of_slots_are_idempotent_commutative_and_associative(a in slots(), b in slots(), c in slots()) {
        prop_assert_eq!(a.join(a), a);
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert!(a.join(b).covers(a) && a.join(b).covers(b));
    }

    #[test]
    fn joins_of_rows_are_idempotent_commutative_and_associative(a in rows(), b in rows(), c in rows()) {
        prop_assert_eq!(&joined(&a, &a), &a);
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
    }

    #[test]
    fn a_join_tells_whether_it_changed_anything(a in rows(), b in rows()) {
        let mut row = a.clone();
        let changed = row.join(&b);
        prop_assert_eq!(changed, row != a);
    }

    #[test]
    fn joins_of_vectors_are_idempotent_commutative_and_associative(a in vectors(), b in vectors(), c in vectors()) {
        prop_assert_eq!(&joined_vectors(&a, &a), &a);
        prop_assert_eq!(joined_vectors(&a, &b), joined_vectors(&b, &a));
        let left = joined_vectors(&joined_vectors(&a, &b), &c);
        prop_assert_eq!(left, joined_vectors(&a, &joined_vectors(&b, &c)));
        prop_assert!(joined_vectors(&a, &b).covers(&a));
    }

    /// Three replicas change slots of their own; whatever order their states are joined in, the value is the sum.
    #[test]
    fn the_value_is_the_sum_of_all_changes(changes in vec((0..3_u64, -1_000..1_000_i64), 0..40), order in 0..6_usize) {
        let mut rows = [Row::default(), Row::default(), Row::default()];
        for (at, by) in &changes {
            let row = &mut rows[usize::try_from(*at).unwrap()];
            let slot = row.slot(ReplicaId(*at)).changed(*by).unwrap();
            row.join_slot(ReplicaId(*at), slot);
        }
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let merged = orders[order].iter().fold(Row::default(), |merged, at| joined(&merged, &rows[*at]));
        let sum: i128 = changes.iter().map(|(_, by)| i128::from(*by)).sum();
        prop_assert_eq!(merged.value(), sum);
    }
}

#[test]
fn a_total_that_would_overflow_is_refused() {
    let full = Slot { added: u64::MAX, subtracted: 7 };
    assert_eq!(full.changed(1), Err(Overflow));
    assert_eq!(full.changed(i64::MIN), Ok(Slot { added: u64::MAX, subtracted: 7 + (1 << 63) }));
    assert_eq!(full.value(), i128::from(u64::MAX) - 7);
}

#[test]
fn an_empty_slot_leaves_no_trace() {
    let mut row = Row::default();
    assert!(!row.join_slot(ReplicaId(1), Slot::default()));
    assert!(row.is_empty());
}

#[test]
fn a_vector_never_moves_back() {
    let origin = ReplicaId(1);
    let mut vector = VersionVector::default();
    assert!(vector.advance(origin, Mark { seq: 5, hash: LogHash(5) }));
    assert!(!vector.advance(origin, Mark { seq: 4, hash: LogHash(4) }));
    assert!(!vector.advance(origin, Mark { seq: 5, hash: LogHash(3) }));
    assert_eq!(vector.mark(origin), Mark { seq: 5, hash: LogHash(5) });
}

#[test]
fn a_fork_is_never_forgotten_and_moves_no_log_on() {
    let (origin, at) = (ReplicaId(1), |seq| Mark { seq, hash: LogHash(u128::from(seq)) });
    let mut vector = VersionVector::default();
    vector.advance(origin, at(5));
    assert!(vector.advance(origin, at(3).forked()));
    assert_eq!(vector.mark(origin), at(5).forked());
    assert!(vector.advance(origin, at(7)));
    assert_eq!(vector.mark(origin), at(7).forked());
    assert!(!vector.advance(origin, at(7)) && !vector.advance(origin, at(6).forked()));
}

#[test]
fn logs_that_differ_once_differ_ever_after() {
    let start = LogHash::default();
    let (one, other) = (start.then(b"a").then(b"c"), start.then(b"b").then(b"c"));
    assert_ne!(one, other);
    assert_eq!(one, start.then(b"a").then(b"c"));
}
