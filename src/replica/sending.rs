//! What is on its way to one peer: our own commits, those of others that it has from us, and what is read from disk for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId};

use super::bounds;
use super::record::Record;

/// The log of one replica in one namespace.
type Log = (NamespaceId, ReplicaId);

/// Everything that is on its way to one peer.
#[derive(Debug)]
pub(super) struct Sending {
    /// Own records, in each namespace that both serve.
    own: BTreeMap<NamespaceId, Push>,
    /// Records of other regions that the peer has from us.
    handed: BTreeMap<Log, Push>,
    /// Reads of the journal on its behalf that are not answered yet.
    reading: BTreeSet<Log>,
}

/// Records of one log on their way to one peer.
#[derive(Debug, Default)]
pub(super) struct Push {
    /// Sent up to here.
    pub(super) sent: u64,
    /// Sent and not acknowledged: last seq, bytes, when.
    inflight: VecDeque<(u64, usize, u64)>,
    /// Cleared by a new link or a refusal, set by a digest: only then is it known where to go on from.
    pub(super) ready: bool,
}

impl Sending {
    pub(super) fn new(shared: &BTreeSet<NamespaceId>) -> Self {
        let own = shared.iter().map(|namespace| (*namespace, Push::default())).collect();
        Self { own, handed: BTreeMap::new(), reading: BTreeSet::new() }
    }

    /// A link has come or gone: these namespaces are exchanged from now on, and what was on its way may be lost.
    pub(super) fn restart(&mut self, shared: &BTreeSet<NamespaceId>) {
        *self = Self::new(shared);
    }

    /// Our log is another one from now on.
    pub(super) fn pause(&mut self) {
        self.own.values_mut().for_each(Push::pause);
    }

    /// Own records of a namespace, if that is exchanged.
    pub(super) fn own(&self, namespace: NamespaceId) -> Option<&Push> {
        self.own.get(&namespace)
    }

    pub(super) fn own_mut(&mut self, namespace: NamespaceId) -> Option<&mut Push> {
        self.own.get_mut(&namespace)
    }

    /// A record of somebody else goes to the peer.
    pub(super) fn hand(&mut self, record: &Record, now: u64) {
        let log = (record.namespace, record.origin);
        self.handed.entry(log).or_default().sent(record.upto, record.weight(), now);
    }

    /// The peer tells what it holds of a namespace: so much of what was handed to it is no longer on its way.
    pub(super) fn acknowledged(&mut self, namespace: NamespaceId, vector: &VersionVector) {
        self.handed.retain(|(held, origin), push| {
            if *held == namespace {
                push.acknowledged(vector.mark(*origin).seq);
            }
            push.inflight_bytes() > 0
        });
    }

    pub(super) fn inflight_bytes(&self) -> usize {
        self.own.values().chain(self.handed.values()).map(Push::inflight_bytes).sum()
    }

    pub(super) fn is_reading(&self, log: Log) -> bool {
        self.reading.contains(&log)
    }

    /// A log is read from disk; false if it is already, or if too many are.
    pub(super) fn begin_reading(&mut self, log: Log) -> bool {
        self.reading.len() < bounds::READINGS_MAX && self.reading.insert(log)
    }

    /// It has been read; false if nobody waits for that any more.
    pub(super) fn end_reading(&mut self, log: Log) -> bool {
        self.reading.remove(&log)
    }
}

impl Push {
    fn inflight_bytes(&self) -> usize {
        self.inflight.iter().map(|(_, bytes, _)| bytes).sum()
    }

    pub(super) fn sent(&mut self, upto: u64, bytes: usize, now: u64) {
        self.sent = upto;
        self.inflight.push_back((upto, bytes, now));
    }

    /// The peer holds everything up to `seq`.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        while self.inflight.front().is_some_and(|(upto, ..)| *upto <= seq) {
            self.inflight.pop_front();
        }
        self.sent = self.sent.max(seq);
    }

    /// A digest says that the peer holds `seq`. What was sent long before and is still missing was lost: go back.
    pub(super) fn resume_from(&mut self, seq: u64, lost_before: u64) {
        self.acknowledged(seq);
        if self.is_stuck(lost_before) || !self.ready {
            *self = Self { sent: seq, inflight: VecDeque::new(), ready: true };
        }
    }

    /// What was sent before then is not acknowledged yet.
    pub(super) fn is_stuck(&self, before: u64) -> bool {
        self.inflight.front().is_some_and(|(_, _, sent_at)| *sent_at < before)
    }

    /// Nothing is certain until the next digest.
    pub(super) fn pause(&mut self) {
        *self = Self::default();
    }
}
