//! G1 and G2: what clients were told, against what the cluster holds. It is kept by counter and by replica, since each
//! slot has to come out by itself: at least what was acknowledged there, at most what was attempted.

use std::collections::{BTreeMap, BTreeSet};

use snowtide::crdt::{Row, Slot};
use snowtide::identity::{NamespaceId, ReplicaId};
use snowtide::replica::Operation;
use snowtide_protocol::{Action, Key};

/// A counter's name, which is cheap to copy: short keys need no memory of their own.
pub type Counter = (NamespaceId, Key);
/// All rows of one or of many disks.
pub type Rows = BTreeMap<Counter, Row>;

/// One direction of one slot.
#[derive(Clone, Debug, Default)]
struct Total {
    attempted: i128,
    acknowledged: i128,
    /// May be lost: the only disk that held it was destroyed.
    excused: i128,
    /// Every acknowledged amount, to name one that is lost.
    amounts: Vec<i128>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    added: Total,
    subtracted: Total,
}

#[derive(Default)]
pub struct Ledger {
    entries: BTreeMap<(Counter, ReplicaId), Entry>,
    /// Over all replicas, up and down.
    attempted: BTreeMap<Counter, (i128, i128)>,
    /// Two live processes count under each of these.
    forked: BTreeSet<ReplicaId>,
}

pub fn counter(operation: &Operation) -> Counter {
    (operation.namespace, operation.key.clone())
}

impl Ledger {
    pub fn attempted(&mut self, replica: ReplicaId, operations: &[Operation]) {
        self.attempt(replica, operations, 1);
    }

    /// Nothing of a refused batch was done.
    pub fn refused(&mut self, replica: ReplicaId, operations: &[Operation]) {
        self.attempt(replica, operations, -1);
    }

    fn attempt(&mut self, replica: ReplicaId, operations: &[Operation], sign: i128) {
        for operation in operations {
            let Action::Increment(by) = operation.action else { continue };
            let amount = i128::from(by.unsigned_abs()) * sign;
            let (up, down) = self.attempted.entry(counter(operation)).or_default();
            *(if by < 0 { down } else { up }) += amount;
            self.total(replica, operation, by).attempted += amount;
        }
    }

    /// Whether anybody has asked for a change of an operation's counter, and was not refused.
    pub fn was_attempted(&self, operation: &Operation) -> bool {
        self.attempted.get(&counter(operation)).is_some_and(|total| *total != (0, 0))
    }

    /// A copy goes on under the replica id of an original that nobody can reach, and both live: their histories part,
    /// and the higher one of each slot hides the other (see the promises). What was acknowledged before is in both or
    /// on the disk of the original.
    pub fn forked(&mut self, replica: ReplicaId) {
        self.forked.insert(replica);
    }

    /// Whether that has come to pass.
    pub fn is_forked(&self, replica: ReplicaId) -> bool {
        self.forked.contains(&replica)
    }

    pub fn acknowledged(&mut self, replica: ReplicaId, operation: &Operation) {
        if self.forked.contains(&replica) {
            return;
        }
        let Action::Increment(by) = operation.action else { return };
        let total = self.total(replica, operation, by);
        total.acknowledged += i128::from(by.unsigned_abs());
        total.amounts.push(i128::from(by.unsigned_abs()));
    }

    fn total(&mut self, replica: ReplicaId, operation: &Operation, by: i64) -> &mut Total {
        let entry = self.entries.entry((counter(operation), replica)).or_default();
        if by < 0 { &mut entry.subtracted } else { &mut entry.added }
    }

    /// G2: no answer exceeds what was attempted.
    pub fn check_value(&self, node: usize, operation: &Operation, value: i128) -> Option<String> {
        let (up, down) = self.attempted.get(&counter(operation)).copied().unwrap_or_default();
        (value > up || value < -down)
            .then(|| format!("G2: node {node} answered {value} to {operation:?}; +{up} and -{down} were attempted"))
    }

    /// A disk is about to be lost: it holds this, and more of it than the `others` may go with it.
    pub fn excuse(&mut self, lost: &Rows, others: &Rows) {
        for (counter, row) in lost {
            let left = others.get(counter);
            for (replica, slot) in row.slots() {
                let left = left.map_or(Slot::default(), |row| row.slot(*replica));
                if let Some(entry) = self.entries.get_mut(&(counter.clone(), *replica)) {
                    let ((added, subtracted), left) = (slot.totals(), left.totals());
                    entry.added.excused += i128::from(added.saturating_sub(left.0));
                    entry.subtracted.excused += i128::from(subtracted.saturating_sub(left.1));
                }
            }
        }
    }

    /// A liar has said that a slot holds this: it may come to.
    pub fn lied(&mut self, counter: &Counter, replica: ReplicaId, slot: Slot) {
        let (up, down) = self.attempted.entry(counter.clone()).or_default();
        let (added, subtracted) = slot.totals();
        let (added, subtracted) = (i128::from(added), i128::from(subtracted));
        (*up, *down) = (*up + added, *down + subtracted);
        let entry = self.entries.entry((counter.clone(), replica)).or_default();
        entry.added.attempted += added;
        entry.subtracted.attempted += subtracted;
    }

    /// G1: what everybody agrees on holds every acknowledged amount once.
    pub fn check(&self, rows: &Rows) -> Option<String> {
        let held = |counter: &Counter, replica| rows.get(counter).map_or(Slot::default(), |row| row.slot(replica));
        let wrong = self.entries.iter().find_map(|((counter, replica), entry)| {
            let (added, subtracted) = held(counter, *replica).totals();
            let wrong = entry.added.judge(added).or_else(|| entry.subtracted.judge(subtracted))?;
            Some(format!("G1: the slot of {replica} in {counter:?} {wrong}"))
        });
        let unheard = || {
            let mut slots = rows.iter().flat_map(|(counter, row)| row.slots().iter().map(move |slot| (counter, slot)));
            slots.find_map(|(counter, (replica, slot))| {
                let known = *slot == Slot::default() || self.entries.contains_key(&(counter.clone(), *replica));
                (!known).then(|| format!("G2: {replica} holds {slot:?} of {counter:?} without a client"))
            })
        };
        wrong.or_else(unheard)
    }
}

impl Total {
    fn judge(&self, held: u64) -> Option<String> {
        let held = i128::from(held);
        let least = self.acknowledged - self.excused;
        if held > self.attempted {
            return Some(format!("holds {held}, more than the {} that were attempted", self.attempted));
        }
        if held >= least {
            return None;
        }
        let short = least - held;
        let lost = self.amounts.iter().position(|amount| *amount == short);
        let which = match lost {
            Some(index) => format!("acknowledgement {} of {} is lost", index + 1, self.amounts.len()),
            None => format!("it lacks {short}, which is no single one of {} acknowledgements", self.amounts.len()),
        };
        Some(format!(
            "holds {held}; {} were acknowledged, {} of them excused: {which}",
            self.acknowledged, self.excused
        ))
    }
}
