//! One namespace of a replica: its rows, its log and its vectors.

use std::collections::{BTreeMap, VecDeque};

use crate::crdt::{Mark, VersionVector};
use crate::identity::{NamespaceId, Peer, ReplicaId};

use super::record::{Record, coalesce};
use super::rows::Rows;

/// Deltas of one origin that may wait for rows or for room in a commit; one more is dropped and fetched again.
const INCOMING_MAX: usize = 64;

/// The state of one namespace.
pub(super) struct Space {
    pub(super) id: NamespaceId,
    pub(super) rows: Rows,
    /// Committed: everything up to here is durable here. This is what is told to others (I1).
    pub(super) vector: VersionVector,
    /// The vector with what is gathered or being synced on top; new deltas must chain to this (I4).
    pub(super) applied: VersionVector,
    /// Deltas that wait, by origin, in order.
    pub(super) incoming: BTreeMap<ReplicaId, VecDeque<(Peer, Record)>>,
    /// When each foreign origin last moved.
    pub(super) moved_at: BTreeMap<ReplicaId, u64>,
    /// Whom an origin's missing records were asked of, and when.
    pub(super) fetching: BTreeMap<ReplicaId, Fetch>,
    /// The newest own records, so that pushing them needs no disk.
    tail: Tail,
}

/// A request for records that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch {
    pub(super) from: Peer,
    pub(super) asked_at: u64,
}

impl Space {
    pub(super) fn new(id: NamespaceId, seed: u64, vector: VersionVector, tail_bytes_max: usize) -> Self {
        Self {
            id,
            rows: Rows::new(seed),
            applied: vector.clone(),
            vector,
            incoming: BTreeMap::new(),
            moved_at: BTreeMap::new(),
            fetching: BTreeMap::new(),
            tail: Tail::new(tail_bytes_max),
        }
    }

    /// Lets a delta wait its turn; false if too many of its origin wait already.
    pub(super) fn enqueue(&mut self, from: Peer, record: Record) -> bool {
        let queue = self.incoming.entry(record.origin).or_default();
        let room = queue.len() < INCOMING_MAX;
        if room {
            queue.push_back((from, record));
        }
        room
    }

    /// A record is synced: the vector moves with it (I4), and our own ones can be pushed.
    pub(super) fn committed(&mut self, record: Record, own: bool) {
        self.vector.advance(record.origin, record.mark());
        if own {
            self.tail.push(record);
        }
    }

    /// A new incarnation begins an own log of its own.
    pub(super) fn forget_own_log(&mut self) {
        self.tail.clear();
    }

    /// Own records after `after` folded into one of about `bytes_max`; `None` if memory does not reach back that far.
    pub(super) fn tail_after(&mut self, after: u64, bytes_max: usize) -> Option<Record> {
        self.tail.after(after, bytes_max)
    }

    /// How far our own log goes, committed.
    pub(super) fn own_mark(&self, replica: Option<ReplicaId>) -> Mark {
        replica.map_or(Mark::default(), |replica| self.vector.mark(replica))
    }
}

/// The newest own records in memory, bounded by bytes; older ones are read from the journal.
struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
    bytes_max: usize,
    /// What was folded last: several peers usually stand at the same seq.
    folded: Option<Record>,
}

impl Tail {
    fn new(bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, bytes_max, folded: None }
    }

    fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.weight();
        self.records.push_back(record);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    fn after(&mut self, after: u64, bytes_max: usize) -> Option<Record> {
        let first = self.records.partition_point(|record| record.upto <= after);
        if self.records.get(first)?.after > after {
            return None;
        }
        let mut bytes = 0;
        let chain = self.records.range(first..).take_while(|record| {
            let fits = bytes == 0 || bytes + record.weight() <= bytes_max;
            bytes += record.weight();
            fits
        });
        let chain: Vec<Record> = chain.cloned().collect();
        let upto = chain.last()?.upto;
        match &self.folded {
            Some(folded) if folded.after == after && folded.upto == upto => {}
            _ => self.folded = coalesce(after, &chain),
        }
        self.folded.clone()
    }
}
