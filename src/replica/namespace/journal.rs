//! The journal of one namespace, as memory knows it: how much of it is kept, and its newest own records.
//!
//! A record may go once the rows on disk cover it and every peer holds it, or once it is older than `hints.max_age` or
//! the journal larger than `hints.max_bytes`. A peer that is further behind is repaired. Records of an announced repair
//! session stay until it is over, because whoever finishes it goes on from there (I4).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::crdt::{LogHash, Mark, VersionVector};
use crate::identity::{ReplicaId, WorkerId};
use crate::section::Milliseconds;

use super::super::record::{Record, coalesce};
use super::super::settings::Settings;
use super::Namespace;

/// Age and size are known in steps of this fraction of their bounds.
const STEPS: u64 = 16;

/// How the journal has grown, what is promised of it, and its end.
pub(super) struct Journal {
    hints: Hints,
    /// What we have announced to sessions that are not known to be over.
    leases: BTreeMap<WorkerId, Lease>,
    /// The first seq that is kept, by origin.
    kept_from: BTreeMap<ReplicaId, u64>,
    /// The newest own records, so that pushing them needs no disk.
    tail: Tail,
}

/// The journal stays above `vector` until the session is over, or `until`.
#[derive(Debug)]
pub(in super::super) struct Lease {
    pub(in super::super) vector: VersionVector,
    pub(in super::super) until: u64,
}

impl Journal {
    /// How old the records that a start finds are is not known: they count as new.
    pub(super) fn new(bytes: u64, vector: VersionVector, tail_bytes_max: usize, now: u64) -> Self {
        Self {
            hints: Hints::new(bytes, vector, now),
            leases: BTreeMap::new(),
            kept_from: BTreeMap::new(),
            tail: Tail::new(tail_bytes_max),
        }
    }

    /// A record stands in it.
    pub(super) fn append(&mut self, record: Record, own: bool) {
        self.hints.grow(record.weight());
        if own {
            self.tail.push(record);
        }
    }

    /// By origin, what can be forgotten now: it is on disk in `rows`, `needless` to peers or past its bounds, and not promised
    /// to a session.
    pub(super) fn cut(
        &mut self,
        committed: &VersionVector,
        mut needless: VersionVector,
        stored: &VersionVector,
        settings: &Settings,
        now: u64,
    ) -> Vec<(ReplicaId, Range<u64>)> {
        self.hints.sample(committed, settings, now);
        if let Some(expired) = self.hints.expire(settings, now) {
            needless.join(&expired);
        }
        let leased = self.leased(now);
        self.forget(&needless, stored, leased.as_ref())
    }

    /// What the live sessions with others were promised: the meet of their vectors.
    fn leased(&mut self, now: u64) -> Option<VersionVector> {
        self.leases.retain(|_, lease| now < lease.until);
        let leases = self.leases.values();
        leases.map(|lease| lease.vector.clone()).reduce(|meet, vector| meet.meet(&vector))
    }

    /// The last record that may go stays, so that its hash can be compared (I3). Ranges never overlap: the store keeps a trace
    /// of each until it has compacted the journal.
    fn forget(
        &mut self,
        needless: &VersionVector,
        stored: &VersionVector,
        leased: Option<&VersionVector>,
    ) -> Vec<(ReplicaId, Range<u64>)> {
        let mut moved = Vec::new();
        for (origin, mark) in needless.iter() {
            let promised = leased.map_or(u64::MAX, |leased| leased.mark(origin).seq);
            let seq = mark.seq.min(stored.mark(origin).seq).min(promised);
            let kept_from = self.kept_from.entry(origin).or_default();
            if seq > *kept_from {
                moved.push((origin, *kept_from..seq));
                *kept_from = seq;
            }
        }
        moved
    }
}

/// How the journal of one namespace has grown.
#[derive(Debug)]
struct Hints {
    /// Bytes journalled so far, with what the start found; what was cut is not taken off.
    bytes: u64,
    /// Where the log stood at some moments, oldest first.
    samples: VecDeque<Sample>,
    /// Bytes that had been journalled where the journal begins now, about.
    cut_bytes: u64,
}

#[derive(Debug)]
struct Sample {
    at: u64,
    bytes: u64,
    vector: VersionVector,
}

impl Hints {
    fn new(bytes: u64, vector: VersionVector, now: u64) -> Self {
        let samples = VecDeque::from([Sample { at: now, bytes, vector }]);
        Self { bytes, samples, cut_bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    fn sample(&mut self, vector: &VersionVector, settings: &Settings, now: u64) {
        let due = self.samples.back().is_none_or(|last| {
            now.saturating_sub(last.at) >= settings.tuning.hints.max_age.ms() / STEPS
                || self.bytes.saturating_sub(last.bytes) >= settings.tuning.hints.max_bytes.as_u64() / STEPS
        });
        if due {
            self.samples.push_back(Sample { at: now, bytes: self.bytes, vector: vector.clone() });
        }
    }

    /// Drops the samples that are past their bounds; returns the last of them: everything up to there may go.
    fn expire(&mut self, settings: &Settings, now: u64) -> Option<VersionVector> {
        let mut expired = None;
        while let Some(oldest) = self.samples.front() {
            let old = now.saturating_sub(oldest.at) >= settings.tuning.hints.max_age.ms();
            let large = self.bytes.saturating_sub(self.cut_bytes) > settings.tuning.hints.max_bytes.as_u64();
            if !old && !large {
                break;
            }
            self.cut_bytes = oldest.bytes;
            expired = self.samples.pop_front().map(|sample| sample.vector);
        }
        expired
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

impl Namespace {
    /// A new incarnation begins an own log of its own.
    pub(in super::super) fn forget_own_log(&mut self) {
        self.journal.tail.clear();
    }

    /// Own records after `after` folded into one of about `bytes_max`; `None` if memory does not reach back that far.
    pub(in super::super) fn own_after(&mut self, after: u64, bytes_max: usize) -> Option<Record> {
        self.journal.tail.after(after, bytes_max)
    }

    /// The running hash of our own log at `seq`, as far as memory reaches back.
    pub(in super::super) fn own_hash(&self, seq: u64) -> Option<LogHash> {
        self.journal.tail.hash_at(seq)
    }

    /// The journal stays above the lease's vector until the lease is over.
    pub(in super::super) fn lease(&mut self, to: WorkerId, lease: Lease) {
        self.journal.leases.insert(to, lease);
    }

    pub(in super::super) fn end_lease(&mut self, to: WorkerId) {
        self.journal.leases.remove(&to);
    }

    /// The logs of which the rows on disk cover more than was cut off, and how far they go. Most rest most of the time.
    pub(in super::super) fn cuttable(&self) -> impl Iterator<Item = (ReplicaId, Mark)> + '_ {
        let kept_from = |origin| self.journal.kept_from.get(&origin).copied().unwrap_or_default();
        self.committed.iter().filter(move |(origin, _)| self.stored.position().mark(*origin).seq > kept_from(*origin))
    }

    /// What of the journal can be forgotten now, as it is on disk in `rows` and peers do not need it.
    pub(in super::super) fn cut_journal(
        &mut self,
        needless: VersionVector,
        settings: &Settings,
        now: u64,
    ) -> Vec<(ReplicaId, Range<u64>)> {
        self.journal.cut(&self.committed, needless, self.stored.position(), settings, now)
    }
}
