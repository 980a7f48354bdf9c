//! Views: what a counter is made of, how fresh each region's part is, and what every region is known to have.

use std::collections::{BTreeMap, BTreeSet};

use crate::crdt::{Kind, VersionVector};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};

use super::Replica;
use super::operation::Operation;
use super::rows::RowId;

/// A counter by regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every region that holds the namespace, and any other that has ever changed the counter; by number. Their shares
    /// add up to the value.
    pub regions: Vec<Share>,
    /// The value that every node of the namespace is known to hold at least, as far as its logs go; `None` until that
    /// is known.
    pub settled: Option<i128>,
    /// Regions of which some node is not known to hold all of the value.
    pub behind: BTreeSet<u8>,
}

/// One region's part of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The region's number.
    pub region: u8,
    /// What its nodes added and subtracted.
    pub value: i128,
    /// How long ago each of its nodes had last told how far its log goes, such that all of that is held here now; of
    /// the node that is longest ago. 0 for this node. `None` if some node of it has not told so since our start, or is
    /// no longer on the map.
    pub as_of_ms: Option<u64>,
}

/// When a peer told how far its own logs go, and whether that is held here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The latest time whose announcement is held.
    level_at: Option<u64>,
    /// The earliest announcement after that which was not held when it was last looked at.
    awaited: Option<(u64, Vec<(ReplicaId, u64)>)>,
}

impl Heard {
    /// The peer `from` announces its vector.
    pub(super) fn hear(&mut self, now: u64, from: WorkerId, theirs: &VersionVector, ours: &VersionVector) {
        self.look(ours);
        // An announcement that is not held yet is kept, so that a log which always moves is not always behind.
        if self.awaited.is_none() {
            let own = theirs.iter().filter(|(origin, _)| origin.worker() == from);
            self.awaited = Some((now, own.map(|(origin, mark)| (origin, mark.seq)).collect()));
            self.look(ours);
        }
    }

    /// Another boot has taken over: what the earlier one announced and we do not hold may be lost for good.
    pub(super) fn rebooted(&mut self) {
        self.awaited = None;
    }

    fn look(&mut self, ours: &VersionVector) {
        let held = |marks: &[(ReplicaId, u64)]| marks.iter().all(|(origin, seq)| ours.mark(*origin).seq >= *seq);
        if let Some((at, _)) = self.awaited.take_if(|(_, marks)| held(marks)) {
            self.level_at = Some(at);
        }
    }

    fn age(&mut self, now: u64, ours: &VersionVector) -> Option<u64> {
        self.look(ours);
        self.level_at.map(|at| now.saturating_sub(at))
    }
}

impl Replica {
    /// The counter of an operation that has just been applied.
    pub(super) fn view(&mut self, operation: &Operation) -> View {
        let namespace = operation.namespace;
        let Some(row) = self.namespaces.get(namespace).and_then(|held| held.rows().find(&operation.key)) else {
            return View::default();
        };
        let regions = self.split(namespace, row);
        if let Some(held) = self.namespaces.get_mut(namespace) {
            held.follow(row);
        }
        let Some(held) = self.namespaces.get(namespace) else { return View::default() };
        let cell = held.rows().get(row);
        let (mut settled, mut behind) = (Some(0), BTreeSet::new());
        for (origin, slot) in cell.row.slots() {
            let trail = cell.trails().iter().find(|trail| trail.origin() == *origin);
            let known = trail.and_then(|trail| trail.settled(self.floor(namespace, *origin)));
            settled = settled.and_then(|sum: i128| Some(sum + known?.value()));
            let newest = trail.filter(|_| !held.is_ahead(*origin)).map(super::trail::Trail::last_seq);
            let newest = newest.unwrap_or_else(|| self.covering_seq(held, *origin));
            let pending = cell.working_slot(*origin) != *slot;
            behind.extend(self.lacking(namespace, *origin, if pending { u64::MAX } else { newest }));
        }
        for origin in cell.origins().filter(|origin| cell.row.slot(*origin).is_bottom()) {
            behind.extend(self.lacking(namespace, origin, u64::MAX));
        }
        View { regions, settled, behind }
    }

    /// The parts of a row, with everything applied so far, that add up to its value.
    fn split(&mut self, namespace: NamespaceId, row: RowId) -> Vec<Share> {
        let held_by = self.regions_of(namespace);
        let Some(held) = self.namespaces.get(namespace) else { return Vec::new() };
        let cell = held.rows().get(row);
        let mut values: BTreeMap<u8, i128> = held_by.iter().map(|region| (*region, 0)).collect();
        for origin in cell.origins() {
            *values.entry(origin.worker().region()).or_default() += cell.working_slot(origin).value();
        }
        let mut ages: BTreeMap<u8, Option<u64>> = BTreeMap::from([(self.settings.worker.region(), Some(0))]);
        for worker in self.settings.sharing(namespace) {
            let heard = self.gossip.peer_mut(worker).and_then(|peer| peer.heard.get_mut(&namespace));
            let age = heard.and_then(|heard| heard.age(self.now, held.committed()));
            let oldest = ages.entry(worker.region()).or_insert(Some(0));
            *oldest = oldest.zip(age).map(|(one, other)| one.max(other));
        }
        let share = |(region, value)| Share { region, value, as_of_ms: ages.get(&region).copied().flatten() };
        values.into_iter().map(share).collect()
    }

    /// How far every peer that shares the namespace is known to hold this log durably.
    pub(super) fn floor(&self, namespace: NamespaceId, origin: ReplicaId) -> u64 {
        let holds = self.settings.sharing(namespace).map(|worker| self.held_by(worker, namespace, origin));
        holds.min().unwrap_or(u64::MAX)
    }

    /// The regions of peers that are not known to hold this log up to `seq`.
    fn lacking(&self, namespace: NamespaceId, origin: ReplicaId, seq: u64) -> BTreeSet<u8> {
        let lacks = |worker: &WorkerId| {
            let peer = self.gossip.peer(*worker);
            peer.is_none_or(|peer| peer.holds(namespace, origin) < seq)
        };
        self.settings.sharing(namespace).filter(lacks).map(WorkerId::region).collect()
    }
}
