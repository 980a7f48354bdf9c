use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::places::{LOGS_MAX, PLACES_MAX};
use super::*;

const TAG: u8 = 7;

fn record(log: u64, (after, upto): (u64, u64), slots: &[(String, Slot)]) -> Record {
    let changes: Vec<Change<'_>> = slots.iter().map(|(key, slot)| Change { key, slot: *slot }).collect();
    Record {
        namespace: NamespaceId(u32::MAX),
        origin: ReplicaId(log),
        after,
        upto,
        hash: LogHash(u128::from(upto) << 70 | 5),
        payload: Payload::encode(&changes),
    }
}

/// A record without its slots, and these by key.
fn parts(record: &Record) -> (Record, BTreeMap<String, Slot>) {
    let slots: BTreeMap<_, _> =
        record.changes().unwrap().iter().map(|change| (change.key.to_owned(), change.slot)).collect();
    assert_eq!(slots.len(), record.changes().unwrap().len(), "a key comes twice");
    (Record { payload: Payload::default(), ..record.clone() }, slots)
}

fn passes(sender: &mut Sender, receiver: &mut Receiver, record: &Record) -> usize {
    let bytes = sender.encode(TAG, record).unwrap();
    assert_eq!(bytes.first(), Some(&TAG));
    assert_eq!(parts(&receiver.decode(&bytes).unwrap()), parts(record));
    bytes.len()
}

/// Numbers of every length.
fn total() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
}

/// A log, where its record begins and ends, and its slots.
type Drawn = (u64, (u64, u64), Vec<(String, Slot)>);

fn drawn() -> impl Strategy<Value = Drawn> {
    let slot = (total(), total()).prop_map(|(added, subtracted)| Slot::of(added, subtracted));
    let slots = proptest::collection::btree_map("[a-c]{1,3}|\\PC{1,40}", slot, 0..20);
    (0..4_u64, (total(), total()), slots).prop_map(|(log, span, slots)| (log, span, slots.into_iter().collect()))
}

proptest! {
    #[test]
    fn any_records_come_out_as_they_went_in(records in vec(drawn(), 1..12)) {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        for (log, span, slots) in &records {
            passes(&mut sender, &mut receiver, &record(*log, *span, slots));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(records in vec(drawn(), 0..5), bytes in vec(any::<u8>(), 0..300), at in any::<u16>()) {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        for (log, span, slots) in &records {
            passes(&mut sender, &mut receiver, &record(*log, *span, slots));
        }
        let _ = receiver.decode(&bytes);
        // A good one of which a byte is wrong.
        let mut spoiled = sender.encode(TAG, &record(1, (1, 2), &[("a".into(), Slot::of(1, 2))])).unwrap();
        let at = usize::from(at) % spoiled.len();
        spoiled[at] ^= 1 << (at % 8);
        let _ = receiver.decode(&spoiled);
    }
}

fn keys(numbers: std::ops::Range<usize>, total: u64) -> Vec<(String, Slot)> {
    numbers.map(|number| (format!("counter:{number:012}"), Slot::of(total, 0))).collect()
}

#[test]
fn a_key_is_named_once_and_then_costs_about_a_byte() {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    let sizes: Vec<usize> = (1..6)
        .map(|seq| passes(&mut sender, &mut receiver, &record(1, (seq - 1, seq), &keys(0..1_000, seq))))
        .collect();
    assert!(sizes[0] < 4_000, "{sizes:?}");
    assert!(sizes[4] < 200, "{sizes:?}");
}

#[test]
fn what_was_named_lately_keeps_its_place_and_the_table_its_bounds() {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    // Two keys come in every record, all others once.
    for round in 0..100_usize {
        let mut slots = keys(0..2, round as u64);
        slots.extend(keys((round + 1) * 1_000..(round + 2) * 1_000, 1));
        passes(&mut sender, &mut receiver, &record(1, (0, 1), &slots));
    }
    assert_eq!(sender.index[0].len(), PLACES_MAX);
    for (key, place) in &sender.index[0] {
        let place = *place as usize;
        assert_eq!(sender.shared.places.get(place).map(|held| &held.key), Some(key));
        assert_eq!(receiver.shared.places.get(place).map(|held| &held.key), Some(key));
    }
    for (key, _) in keys(0..2, 0) {
        assert!(sender.index[0].contains_key(key.as_str()));
    }
    assert!(!sender.index[0].contains_key("counter:000000001000"), "it came once, long ago");
}

#[test]
fn long_keys_have_a_bound_in_bytes() {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    for round in 0..20 {
        let long = |number| (format!("{:0>500}", round * 1_000 + number), Slot::of(1, 1));
        passes(&mut sender, &mut receiver, &record(1, (0, 1), &(0..1_000).map(long).collect::<Vec<_>>()));
        let short = |number| (format!("{round}.{number}"), Slot::of(1, 1));
        passes(&mut sender, &mut receiver, &record(1, (0, 1), &(0..10).map(short).collect::<Vec<_>>()));
    }
    let bytes: usize = sender.index[0].keys().map(|key| key.len()).sum();
    assert!(bytes <= places::KEY_BYTES_MAX && bytes > places::KEY_BYTES_MAX - 1_000, "{bytes}");
}

#[test]
fn what_cannot_be_sent_in_this_way_changes_nothing() {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    passes(&mut sender, &mut receiver, &record(1, (0, 1), &keys(0..3, 1)));
    let twice = [keys(0..1, 1), keys(0..1, 2)].concat();
    assert_eq!(sender.encode(TAG, &record(1, (1, 2), &twice)), None);
    let new_twice = [keys(9..10, 1), keys(9..10, 2)].concat();
    assert_eq!(sender.encode(TAG, &record(1, (1, 2), &new_twice)), None);
    assert_eq!(sender.encode(TAG, &record(2, (1, 2), &[(String::new(), Slot::of(1, 0))])), None);
    let garbage = Record { payload: Payload(vec![9; 9].into()), ..record(1, (1, 2), &[]) };
    assert_eq!(sender.encode(TAG, &garbage), None);
    passes(&mut sender, &mut receiver, &record(1, (1, 2), &keys(0..3, 2)));
    for log in 2..=LOGS_MAX as u64 {
        passes(&mut sender, &mut receiver, &record(log, (0, 1), &[]));
    }
    assert_eq!(sender.encode(TAG, &record(1 << 20, (0, 1), &[])), None, "one log too many");
    passes(&mut sender, &mut receiver, &record(1, (2, 3), &keys(0..3, 3)));
}

#[test]
fn a_receiver_that_holds_nothing_refuses_references() {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    passes(&mut sender, &mut receiver, &record(1, (0, 1), &keys(0..3, 1)));
    let bytes = sender.encode(TAG, &record(1, (1, 2), &keys(0..3, 2))).unwrap();
    assert!(Receiver::new().decode(&bytes).is_err());
    assert!(receiver.decode(&bytes).is_ok());
}

#[test]
fn what_is_too_short_too_long_or_means_too_much_is_refused() {
    assert!(Sender::new().encode(TAG, &record(1, (0, 1), &keys(0..SLOTS_MAX + 1, 1))).is_none());
    let mut coder = Writer::new(TAG);
    let mut sender = Sender::new();
    sender.head(&mut coder, 0, &record(1, (0, 1), &[]));
    sender.shared.models.number(&mut coder, Kind::References, SLOTS_MAX as u64 + 1);
    assert_eq!(Receiver::new().decode(&coder.finish()).err(), Some(Malformed::TooLong));
    let bytes = Sender::new().encode(TAG, &record(1, (0, 1), &keys(0..SLOTS_MAX, 1))).unwrap();
    assert!(Receiver::new().decode(&bytes).is_ok());
    assert!(Receiver::new().decode(&bytes[..bytes.len() / 2]).is_err());
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Receiver::new().decode(&trailing).err(), Some(Malformed::Length));
    assert!(Receiver::new().decode(&[]).is_err());
}
