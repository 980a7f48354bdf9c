//! Hints: how long the journal is kept for peers that have not got it all.
//!
//! A record may go once the rows on disk cover it and every peer holds it, or once it is older than `hints.max_age` or
//! the journal larger than `hints.max_bytes`. A peer that is further behind is repaired. Records of an announced repair
//! session stay until it is over, because whoever finishes it goes on from there (I4).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId};
use crate::section::Milliseconds;

use super::effect::{Effect, Job};
use super::space::Space;
use super::{Replica, Settings};

/// Age and size are known in steps of this fraction of their bounds.
const STEPS: u64 = 16;

/// How the journal of one namespace has grown.
#[derive(Debug)]
pub(super) struct Hints {
    /// Bytes journalled so far, with what the start found; what was cut is not taken off.
    bytes: u64,
    /// Where the log stood at some moments, oldest first.
    samples: VecDeque<Sample>,
    /// Bytes that had been journalled where the journal begins now, about.
    cut_bytes: u64,
    /// The first seq that is kept, by origin.
    kept_from: BTreeMap<ReplicaId, u64>,
}

#[derive(Debug)]
struct Sample {
    at: u64,
    bytes: u64,
    vector: VersionVector,
}

impl Hints {
    /// How old the records that a start finds are is not known: they count as new.
    pub(super) fn new(bytes: u64, vector: VersionVector, now: u64) -> Self {
        let samples = VecDeque::from([Sample { at: now, bytes, vector }]);
        Self { bytes, samples, cut_bytes: 0, kept_from: BTreeMap::new() }
    }

    pub(super) fn grow(&mut self, bytes: usize) {
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

impl Replica {
    /// Cuts every journal as far as it may be. Called when a checkpoint has moved on or was due.
    pub(super) fn truncate(&mut self) {
        if self.disk.is_out() {
            return;
        }
        let namespaces: Vec<NamespaceId> = self.spaces.keys().copied().collect();
        for namespace in namespaces {
            let Some(mut needed) = self.needed(namespace) else { continue };
            let Some(space) = self.spaces.get_mut(&namespace) else { continue };
            space.hints.sample(&space.vector, &self.settings, self.now);
            if let Some(expired) = space.hints.expire(&self.settings, self.now) {
                needed.join(&expired);
            }
            let leased = self.repairs.leased(namespace, self.now);
            let logs = forget(space, &needed, leased.as_ref());
            if !logs.is_empty() {
                self.effects.push_back(Effect::Disk(Job::Truncate { namespace, logs }));
            }
        }
    }

    /// What every peer of the namespace holds.
    fn needed(&self, namespace: NamespaceId) -> Option<VersionVector> {
        let space = self.spaces.get(&namespace)?;
        let serving = self.settings.peers.iter().filter(|(_, shared)| shared.contains(&namespace));
        let peers: Vec<_> = serving.filter_map(|(worker, _)| self.peers.get(worker)).collect();
        let held = space.vector.iter().map(|(origin, mark)| {
            let least = peers.iter().map(|peer| peer.holds(namespace, origin)).min();
            (origin, crate::crdt::Mark { seq: least.map_or(mark.seq, |least| least.min(mark.seq)), ..mark })
        });
        Some(held.collect())
    }
}

/// By origin, what can be forgotten now: it is on disk in `rows`, `needless` to peers, and not promised to a session. The
/// last record that may go stays, so that its hash can be compared (I3). Ranges never overlap: the store keeps a trace of
/// each until it has compacted the journal.
fn forget(space: &mut Space, needless: &VersionVector, leased: Option<&VersionVector>) -> Vec<(ReplicaId, Range<u64>)> {
    let mut moved = Vec::new();
    for (origin, mark) in needless.iter() {
        let promised = leased.map_or(u64::MAX, |leased| leased.mark(origin).seq);
        let seq = mark.seq.min(space.position.mark(origin).seq).min(promised);
        let kept_from = space.hints.kept_from.entry(origin).or_default();
        if seq > *kept_from {
            moved.push((origin, *kept_from..seq));
            *kept_from = seq;
        }
    }
    moved
}
