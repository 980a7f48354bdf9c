//! One namespace of a replica: its rows, its log and its vectors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::{LogHash, Mark, VersionVector};
use crate::identity::{NamespaceId, Peer, ReplicaId, WorkerId};
use crate::merkle::{Hasher, LEAVES, Leaf, Sum, Tree};

use super::census::{Census, Quota};
use super::event::RecoveredSpace;
use super::hints::Hints;
use super::reach::Reach;
use super::record::{Record, coalesce};
use super::repair::Session;
use super::rows::{RowId, Rows};
use super::status::NamespaceStatus;

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
    /// The sums of the committed rows.
    pub(super) tree: Tree,
    /// The leaves of the rows on disk, as the last part of a checkpoint left them.
    stored: Box<[Sum]>,
    /// The vector that the rows on disk cover.
    pub(super) position: VersionVector,
    /// Committed counters.
    pub(super) census: Census,
    /// Those of them that are on disk once the parts of checkpoints that were given out are written.
    stored_census: Census,
    /// New counters that were refused.
    refused: u64,
    /// How much of the journal is kept.
    pub(super) hints: Hints,
    /// The repair session that we began and that is not over.
    pub(super) session: Option<Session>,
    /// Who cannot serve an origin's records from where we stand.
    pub(super) not_whole: BTreeSet<(ReplicaId, WorkerId)>,
    /// Whom to repair with, because nobody's journal reaches back to where we stand.
    pub(super) gap: Option<WorkerId>,
    /// How far what repair brought may be ahead of the vector.
    pub(super) reach: Reach,
    /// With whom a comparison was left at that because gossip was under way; never twice running.
    pub(super) skipped: BTreeSet<WorkerId>,
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
    /// What recovery found.
    pub(super) fn recover(found: RecoveredSpace, hasher: &Hasher, tail_bytes_max: usize, now: u64) -> Self {
        let (mut tree, mut stored) = (Tree::new(), vec![Sum::default(); LEAVES].into_boxed_slice());
        for (leaf, sum) in found.leaves {
            tree.add(leaf, sum);
            stored[usize::from(leaf.0)] = sum;
        }
        let mut rows = Rows::new(hasher.clone());
        let mut census = found.census;
        for row in found.dirty {
            if row.stored.is_empty() {
                census.add(row.key.len());
            }
            let (id, grown) = rows.insert_recovered(row.key, &row.stored, row.row);
            tree.add(rows.get(id).place.leaf(), grown);
        }
        Self {
            id: found.namespace,
            rows,
            hints: Hints::new(found.journal_bytes, found.vector.clone(), now),
            applied: found.vector.clone(),
            vector: found.vector,
            incoming: BTreeMap::new(),
            moved_at: BTreeMap::new(),
            fetching: BTreeMap::new(),
            tree,
            stored,
            position: found.position,
            census,
            stored_census: found.census,
            refused: 0,
            session: None,
            not_whole: BTreeSet::new(),
            gap: None,
            skipped: BTreeSet::new(),
            reach: Reach::new(found.reach, now),
            tail: Tail::new(tail_bytes_max),
        }
    }

    /// The rows of a leaf that the disk lacks, and what the leaf there adds up to with all of them: the same as here.
    pub(super) fn write_leaf(&mut self, leaf: Leaf) -> (Vec<RowId>, Sum) {
        let sum = self.tree.leaf(leaf);
        self.stored[usize::from(leaf.0)] = sum;
        (self.rows.write_leaf(leaf), sum)
    }

    /// What is on disk once this row is, which a part of a checkpoint writes for the first time.
    pub(super) fn store_first(&mut self, key_bytes: usize) {
        self.stored_census.add(key_bytes);
    }

    /// What is on disk once all parts that were given out are written.
    pub(super) fn stored_census(&self) -> Census {
        self.stored_census
    }

    /// Whether a client may have a new counter, beside those that are committed and those that are about to be; counts
    /// the refusal if not.
    pub(super) fn admits(&mut self, quota: Quota, about: Census, key_bytes: usize) -> bool {
        let mut held = self.census;
        held.join(about);
        let admits = quota.admits(held, key_bytes);
        self.refused += u64::from(!admits);
        admits
    }

    /// For people and metrics.
    pub(super) fn status(&self) -> NamespaceStatus {
        NamespaceStatus { namespace: self.id, census: self.census, refused: self.refused }
    }

    /// The leaves that hold committed rows, from this one on.
    pub(super) fn leaves_from(&self, first: Leaf) -> impl Iterator<Item = Leaf> + '_ {
        (first.0..=u16::MAX).map(Leaf).filter(|leaf| self.tree.leaf(*leaf) != Sum::default())
    }

    /// What the rows of a leaf on disk should add up to.
    pub(super) fn stored_sum(&self, leaf: Leaf) -> Sum {
        self.stored[usize::from(leaf.0)]
    }

    /// The rows of a leaf outweigh what was kept for them.
    pub(super) fn correct(&mut self, leaf: Leaf, by: Sum) {
        let stored = &mut self.stored[usize::from(leaf.0)];
        *stored = stored.plus(by);
        self.tree.add(leaf, by);
    }

    /// Records of `origin` have come, one way or another: who could not serve them may be asked again.
    pub(super) fn moved(&mut self, origin: ReplicaId, now: u64) {
        self.moved_at.insert(origin, now);
        self.not_whole.retain(|(held, _)| *held != origin);
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
        self.hints.grow(record.weight());
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

    /// Whether slots of `origin` here may be newer than the vector tells.
    pub(super) fn is_ahead(&self, origin: ReplicaId) -> bool {
        self.reach.of(origin) > self.vector.mark(origin).seq
    }

    /// The running hash of our own log at `seq`, as far as memory reaches back.
    pub(super) fn own_hash(&self, seq: u64) -> Option<LogHash> {
        self.tail.hash_at(seq)
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

    fn hash_at(&self, seq: u64) -> Option<LogHash> {
        let at = self.records.partition_point(|record| record.upto < seq);
        self.records.get(at).filter(|record| record.upto == seq).map(|record| record.hash)
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
