//! The laws of joins (I5), over arbitrary slots of every kind, rows of them, and vectors.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::identity::ReplicaId;

/// What a kind tells to be held to the laws.
trait Lawful: Kind {
    /// Arbitrary states.
    fn states() -> impl Strategy<Value = Self>;

    /// The states to which a writer brings a slot, one after another.
    fn chains() -> impl Strategy<Value = Vec<Self>>;
}

impl Lawful for Slot {
    fn states() -> impl Strategy<Value = Self> {
        (0..50_u64, 0..50_u64).prop_map(|(added, subtracted)| Self::of(added, subtracted))
    }

    fn chains() -> impl Strategy<Value = Vec<Self>> {
        vec(-9..9_i64, 0..8).prop_map(|changes| {
            let states = changes.into_iter().scan(Self::default(), |slot, by| {
                *slot = slot.changed(by).unwrap();
                Some(*slot)
            });
            states.collect()
        })
    }
}

/// A kind of another shape, which only these tests have: totals that somebody saw, and who. The greatest stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
struct Register(u64, u64, u64);

impl Kind for Register {
    const BYTES_MAX: usize = 3 * 9;

    type Hashed = [u8; 24];

    fn join(self, other: Self) -> Self {
        self.max(other)
    }

    fn covers(self, other: Self) -> bool {
        self >= other
    }

    fn hashed(self) -> [u8; 24] {
        let fields = [self.0, self.1, self.2].map(u64::to_le_bytes);
        std::array::from_fn(|at| fields[at / 8][at % 8])
    }
}

impl Lawful for Register {
    fn states() -> impl Strategy<Value = Self> {
        (0..4_u64, 0..4_u64, 0..4_u64).prop_map(|(added, subtracted, author)| Self(added, subtracted, author))
    }

    fn chains() -> impl Strategy<Value = Vec<Self>> {
        vec(Self::states(), 0..8).prop_map(|mut states| {
            states.sort_unstable();
            states
        })
    }
}

fn rows<K: Lawful>() -> impl Strategy<Value = Slots<K>> {
    vec((0..6_u64, K::states()), 0..8)
        .prop_map(|slots| slots.into_iter().map(|(id, slot)| (ReplicaId(id), slot)).collect())
}

fn joined<K: Kind>(one: &Slots<K>, other: &Slots<K>) -> Slots<K> {
    let mut row = one.clone();
    row.join(other);
    row
}

/// Everything that is asked of a kind.
fn hold_to_the_laws<K: Lawful>() {
    proptest!(|(a in K::states(), b in K::states(), c in K::states())| {
        prop_assert_eq!(a.join(a), a);
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert_eq!(a.covers(b), a.join(b) == a);
        prop_assert!(a.join(b).covers(a) && a.join(b).covers(b));
        prop_assert!(a.covers(K::default()) && K::default().is_bottom());
        prop_assert_eq!(a == b, a.hashed().as_ref() == b.hashed().as_ref());
    });
    proptest!(|(chain in K::chains())| {
        for (at, state) in chain.iter().enumerate() {
            prop_assert!(chain[..at].iter().all(|before| state.covers(*before) && before.join(*state) == *state));
        }
    });
    proptest!(|(a in K::states(), b in K::states())| {
        let written = codec::encode(&a);
        prop_assert!(written.len() <= K::BYTES_MAX);
        prop_assert_eq!(codec::decode::<K>(&written).unwrap(), a);
        prop_assert_eq!(a == b, written == codec::encode(&b));
    });
    proptest!(|(a in rows::<K>(), b in rows::<K>(), c in rows::<K>())| {
        prop_assert_eq!(&joined(&a, &a), &a);
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(a.clone().join(&b), joined(&a, &b) != a);
        prop_assert_eq!(&codec::decode::<Slots<K>>(&codec::encode(&a)).unwrap(), &a);
        prop_assert_eq!(codec::encode(&joined(&a, &b)), codec::encode(&joined(&b, &a)));
    });
    proptest!(|(a in rows::<K>(), id in 0..9_u64)| {
        let mut row = a.clone();
        prop_assert!(!row.join_slot(ReplicaId(id), K::default()));
        prop_assert_eq!(row, a);
    });
}

#[test]
fn slots_keep_the_laws() {
    hold_to_the_laws::<Slot>();
}

#[test]
fn a_kind_of_another_shape_keeps_them_too() {
    hold_to_the_laws::<Register>();
}

#[test]
fn slots_that_are_written_out_of_order_or_twice_come_back_in_order_and_joined() {
    let slots = [(9, 5, 0), (2, 1, 1), (9, 3, 4), (5, 0, 0)];
    let slots = slots.map(|(id, added, subtracted)| (ReplicaId(id), Slot::of(added, subtracted)));
    let row: Row = codec::decode(&codec::encode(slots.as_slice())).unwrap();
    assert_eq!(row.slots(), [(ReplicaId(2), Slot::of(1, 1)), (ReplicaId(9), Slot::of(5, 4))]);
}

fn vectors() -> impl Strategy<Value = VersionVector> {
    // With forks: two histories under one number, and marks that tell of one.
    vec((0..6_u64, 1..20_u64, 0..8_u128), 0..8).prop_map(|marks| {
        let hash =
            |seq: u64, history| if history == 7 { LogHash::FORKED } else { LogHash(u128::from(seq) + history / 4) };
        marks.into_iter().map(|(id, seq, history)| (ReplicaId(id), Mark { seq, hash: hash(seq, history) })).collect()
    })
}

fn joined_vectors(one: &VersionVector, other: &VersionVector) -> VersionVector {
    let mut vector = one.clone();
    vector.join(other);
    vector
}

proptest! {
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
    let full = Slot::of(u64::MAX, 7);
    assert_eq!(full.changed(1), Err(Overflow));
    assert_eq!(full.changed(i64::MIN), Ok(Slot::of(u64::MAX, 7 + (1 << 63))));
    assert_eq!(full.value(), i128::from(u64::MAX) - 7);
}

#[test]
fn a_vector_is_written_as_a_map_is_and_read_in_whatever_order_somebody_wrote_it() {
    let mark = |seq| Mark { seq, hash: LogHash(u128::from(seq)) };
    let marks = [(9, 5), (2, 0), (9, 3), (4, 1)].map(|(id, seq)| (ReplicaId(id), mark(seq)));
    let map: BTreeMap<_, _> = marks.into_iter().collect();
    let vector: VersionVector = codec::decode(&codec::encode(marks.as_slice())).unwrap();
    assert_eq!(vector.iter().collect::<Vec<_>>(), map.clone().into_iter().collect::<Vec<_>>(), "the last one counts");
    assert_eq!(codec::encode(&vector), codec::encode(&map));
    assert_eq!(vector, codec::decode(&codec::encode(&map)).unwrap());
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
