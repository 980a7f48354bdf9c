//! Deltas on a link: a key is named once, and then referred to by its place; totals travel as what was added since.
//!
//! Both ends keep the same table of the keys that the link has carried lately ([`places`]), each with the totals that were
//! sent last, and learn the same of what comes how often ([`models`]), so that what is usual costs few bits
//! ([`arithmetic`]). That needs a link's order and its end at anything lost, both of which a stream of QUIC has; it begins
//! anew with each link. A delta says the same as the record that it was made of, its slots in another order: they are a set.
//!
//! The sender decides alone what is named and what is referred to. A reference to nothing, or anything else that no sender
//! writes, ends the link (I8), and the next one begins with empty tables. What a peer can make a node hold has a bound
//! ([`places`]), and so has what one delta can say ([`SLOTS_MAX`], I6).
//!
//! Pure: reads no clock and does no I/O.

mod arithmetic;
mod models;
mod places;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use snowtide_protocol::{KEY_BYTES_MAX, Key};

use crate::crdt::{LogHash, Slot};
use crate::identity::{NamespaceId, ReplicaId};
use crate::replica::{Change, Payload, Record};

use arithmetic::{Coder, Reader, Writer};
use models::{Kind, Models};
use places::{Place, Places};

/// Slots of one delta. A larger one is not worth the time: writing a slot takes about a microsecond, on the thread on which all
/// links live.
pub(super) const SLOTS_MAX: usize = 2_048;

/// The bytes are none that a sender writes here. The link has to end: its ends do not hold the same any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a delta refers to a key that was not named")]
    UnknownPlace,
    #[error("a delta refers to a log that was not named")]
    UnknownLog,
    #[error("a delta names what is no key")]
    NoKey,
    #[error("a delta of more than {SLOTS_MAX} slots")]
    TooLong,
    #[error("a delta ends too early or too late")]
    Length,
}

/// What both ends hold.
#[derive(Debug)]
struct Shared {
    places: Places,
    models: Models,
}

/// The sending end.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Shared,
    /// Where each key stands, by the number of its log.
    index: Vec<HashMap<Key, u32>>,
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Receiver {
    shared: Shared,
}

/// The slots of one record, as the link carries them.
#[derive(Default)]
struct Sorted {
    /// By place.
    references: Vec<(u32, Slot)>,
    /// By key.
    names: Vec<(Key, Slot)>,
}

impl Shared {
    fn new() -> Self {
        Self { places: Places::default(), models: Models::new() }
    }

    /// A slot, by what it was before.
    fn slot(&mut self, coder: &mut impl Coder, kinds: (Kind, Kind), before: Slot, slot: Slot) -> Slot {
        let ((added, subtracted), (added_before, subtracted_before)) = (slot.totals(), before.totals());
        // An older record may be sent again, whose totals are lower.
        let mut total = |kind, before: u64, total: u64| {
            before.wrapping_add(self.models.number(coder, kind, total.wrapping_sub(before)))
        };
        let added = total(kinds.0, added_before, added);
        Slot::of(added, total(kinds.1, subtracted_before, subtracted))
    }

    /// The slot of a key that has a place.
    fn change(&mut self, coder: &mut impl Coder, before: Slot, slot: Slot) -> Slot {
        self.slot(coder, (Kind::Added, Kind::Subtracted), before, slot)
    }

    /// That of one that is being named.
    fn total(&mut self, coder: &mut impl Coder, slot: Slot) -> Slot {
        self.slot(coder, (Kind::AddedBefore, Kind::SubtractedBefore), Slot::default(), slot)
    }

    /// A reference, by the place that follows the one before.
    fn gap(&mut self, coder: &mut impl Coder, next: u32, gap: u64) -> u64 {
        self.models.number(coder, Kind::Gap(u32::BITS - next.leading_zeros()), gap)
    }

    /// Where a record begins and ends, by where the last one of its log did.
    fn span(&mut self, coder: &mut impl Coder, last: u64, (after, upto): (u64, u64)) -> (u64, u64) {
        let after = last.wrapping_add(self.models.number(coder, Kind::After, after.wrapping_sub(last)));
        (after, after.wrapping_add(self.models.number(coder, Kind::Span, upto.wrapping_sub(after))))
    }
}

fn hash(coder: &mut impl Coder, LogHash(hash): LogHash) -> LogHash {
    #[expect(clippy::cast_possible_truncation, reason = "one half after the other")]
    let (upper, lower) = ((hash >> 64) as u64, hash as u64);
    let upper = u128::from(coder.raw(upper, 64));
    LogHash(upper << 64 | u128::from(coder.raw(lower, 64)))
}

impl Sender {
    pub(super) fn new() -> Self {
        Self { shared: Shared::new(), index: Vec::new() }
    }

    /// The delta, behind a `first` byte of the caller's own; `None` if it cannot be sent in this way, and then nothing has
    /// changed.
    pub(super) fn encode(&mut self, first: u8, record: &Record) -> Option<Vec<u8>> {
        let known = self.shared.places.find_log(record.namespace, record.origin);
        let log = known.or_else(|| self.shared.places.next_log())?;
        let changes = record.changes().ok().filter(|changes| changes.len() <= SLOTS_MAX)?;
        let sorted = self.sort(log, &changes)?;
        let mut coder = Writer::new(first);
        self.head(&mut coder, log, record);
        self.refer(&mut coder, &sorted.references);
        self.name(&mut coder, log, sorted.names);
        Some(coder.finish())
    }

    /// What is referred to and what is named; `None` if a key comes twice or is none.
    fn sort(&self, log: usize, changes: &[Change<'_>]) -> Option<Sorted> {
        let mut sorted = Sorted::default();
        let index = self.index.get(log);
        for change in changes {
            match index.and_then(|index| index.get(change.key)) {
                Some(place) => sorted.references.push((*place, change.slot)),
                None => sorted.names.push((Key::new(change.key).ok()?, change.slot)),
            }
        }
        sorted.references.sort_unstable_by_key(|(place, _)| *place);
        sorted.names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let once = sorted.references.is_sorted_by(|(one, _), (other, _)| one < other)
            && sorted.names.is_sorted_by(|(one, _), (other, _)| one < other);
        once.then_some(sorted)
    }

    fn head(&mut self, coder: &mut Writer, log: usize, record: &Record) {
        let Shared { places, models } = &mut self.shared;
        models.number(coder, Kind::Log, log as u64);
        if places.log_mut(log).is_none() {
            coder.raw(u64::from(record.namespace.0), 32);
            coder.raw(record.origin.0, 64);
            places.add_log(record.namespace, record.origin);
            self.index.push(HashMap::new());
        }
        let last = self.shared.places.log_mut(log).map_or(0, |log| std::mem::replace(&mut log.upto, record.upto));
        self.shared.span(coder, last, (record.after, record.upto));
        hash(coder, record.hash);
    }

    fn refer(&mut self, coder: &mut Writer, references: &[(u32, Slot)]) {
        self.shared.models.number(coder, Kind::References, references.len() as u64);
        let mut next = 0;
        for (place, slot) in references {
            self.shared.gap(coder, next, u64::from(place - next));
            next = place + 1;
            let before = self.shared.places.refer(*place as usize).map(|held| std::mem::replace(&mut held.slot, *slot));
            self.shared.change(coder, before.unwrap_or_default(), *slot);
        }
    }

    fn name(&mut self, coder: &mut Writer, log: usize, names: Vec<(Key, Slot)>) {
        self.shared.models.number(coder, Kind::Names, names.len() as u64);
        let mut before: Option<&Key> = None;
        let mut rest = Vec::with_capacity(KEY_BYTES_MAX);
        for (key, slot) in &names {
            let (known, bytes) = (before.map_or(&[][..], |key| key.as_bytes()), key.as_bytes());
            let shared = known.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            self.shared.models.number(coder, Kind::Shared, shared as u64);
            self.shared.models.number(coder, Kind::Rest, (bytes.len() - shared) as u64);
            rest.clear();
            rest.extend(bytes.iter().skip(shared));
            self.shared.models.letters(coder, known, shared, &mut rest);
            self.shared.total(coder, *slot);
            before = Some(key);
        }
        names.into_iter().for_each(|(key, slot)| self.place(log, key, slot));
    }

    fn place(&mut self, log: usize, key: Key, slot: Slot) {
        let index = &mut self.index;
        let at = self.shared.places.add(Place::new(log, key.clone(), slot), |gone| {
            if let Some(keys) = index.get_mut(gone.log) {
                keys.remove(&gone.key);
            }
        });
        if let (Some(keys), Ok(at)) = (index.get_mut(log), u32::try_from(at)) {
            keys.insert(key, at);
        }
    }
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { shared: Shared::new() }
    }

    /// What [`Sender::encode`] was given, its slots in another order.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Record, Malformed> {
        let mut coder = Reader::new(bytes);
        let (log, head) = self.head(&mut coder)?;
        let mut slots = self.refer(&mut coder, log)?;
        let names = self.name(&mut coder)?;
        if !coder.is_whole() {
            return Err(Malformed::Length);
        }
        for (key, slot) in &names {
            self.shared.places.add(Place::new(log, key.clone(), *slot), drop);
        }
        slots.extend(names);
        let changes: Vec<Change<'_>> = slots.iter().map(|(key, slot)| Change { key, slot: *slot }).collect();
        Ok(Record { payload: Payload::encode(&changes), ..head })
    }

    fn head(&mut self, coder: &mut Reader<'_>) -> Result<(usize, Record), Malformed> {
        let number = usize::try_from(self.shared.models.number(coder, Kind::Log, 0)).unwrap_or(usize::MAX);
        if self.shared.places.next_log() == Some(number) {
            let namespace = u32::try_from(coder.raw(0, 32)).unwrap_or_default();
            self.shared.places.add_log(NamespaceId(namespace), ReplicaId(coder.raw(0, 64)));
        }
        let log = *self.shared.places.log_mut(number).ok_or(Malformed::UnknownLog)?;
        let (after, upto) = self.shared.span(coder, log.upto, (0, 0));
        if let Some(log) = self.shared.places.log_mut(number) {
            log.upto = upto;
        }
        let (hash, payload) = (hash(coder, LogHash::default()), Payload::default());
        Ok((number, Record { namespace: log.namespace, origin: log.origin, after, upto, hash, payload }))
    }

    fn count(&mut self, coder: &mut Reader<'_>, kind: Kind) -> Result<usize, Malformed> {
        let count = usize::try_from(self.shared.models.number(coder, kind, 0)).unwrap_or(usize::MAX);
        if count <= SLOTS_MAX { Ok(count) } else { Err(Malformed::TooLong) }
    }

    fn refer(&mut self, coder: &mut Reader<'_>, log: usize) -> Result<Vec<(Key, Slot)>, Malformed> {
        let count = self.count(coder, Kind::References)?;
        let (mut slots, mut next) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            let gap = self.shared.gap(coder, next, 0);
            let place = u32::try_from(gap).ok().and_then(|gap| next.checked_add(gap)).ok_or(Malformed::UnknownPlace)?;
            let held = self.shared.places.get(place as usize).filter(|held| held.log == log);
            let (key, before) = held.map(|held| (held.key.clone(), held.slot)).ok_or(Malformed::UnknownPlace)?;
            next = place.checked_add(1).ok_or(Malformed::UnknownPlace)?;
            let slot = self.shared.change(coder, before, Slot::default());
            if let Some(held) = self.shared.places.refer(place as usize) {
                held.slot = slot;
            }
            slots.push((key, slot));
        }
        Ok(slots)
    }

    fn name(&mut self, coder: &mut Reader<'_>) -> Result<Vec<(Key, Slot)>, Malformed> {
        let count = self.count(coder, Kind::Names)?;
        let mut names: Vec<(Key, Slot)> = Vec::with_capacity(count);
        for _ in 0..count {
            let known = names.last().map_or(&[][..], |(key, _)| key.as_bytes());
            let [shared, rest] = [Kind::Shared, Kind::Rest]
                .map(|kind| usize::try_from(self.shared.models.number(coder, kind, 0)).unwrap_or(usize::MAX));
            let same = known.get(..shared).filter(|_| rest <= KEY_BYTES_MAX).ok_or(Malformed::NoKey)?;
            let mut letters = vec![0; rest];
            self.shared.models.letters(coder, known, shared, &mut letters);
            let text = String::from_utf8([same, &letters].concat()).map_err(|_| Malformed::NoKey)?;
            let key = Key::new(text).map_err(|_| Malformed::NoKey)?;
            let slot = self.shared.total(coder, Slot::default());
            names.push((key, slot));
        }
        Ok(names)
    }
}
