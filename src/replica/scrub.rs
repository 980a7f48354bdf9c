//! The scrub: a slow walk over the leaves on disk, to find what no checksum notices.

use std::collections::BTreeMap;

use crate::identity::NamespaceId;
use crate::merkle::{LEAVES, Leaf, Sum};
use crate::section::Milliseconds;

use super::Replica;
use super::effect::{Effect, Job, Notice};
use super::settings::Settings;

/// One leaf of every namespace at a time, all of them once in `repair.scrub_interval`.
#[derive(Debug)]
pub(super) struct Scrub {
    next: Leaf,
    pub(super) due_at: u64,
    /// What is being added up, and what it should come to: the disk takes scrubs and checkpoints in order.
    expected: BTreeMap<NamespaceId, (Leaf, Sum)>,
}

impl Scrub {
    pub(super) fn new(settings: &Settings, now: u64) -> Self {
        Self { next: Leaf(0), due_at: now.saturating_add(pause(settings)), expected: BTreeMap::new() }
    }
}

fn pause(settings: &Settings) -> u64 {
    (settings.tuning.repair.scrub_interval.ms() / LEAVES as u64).max(1)
}

impl Replica {
    pub(super) fn advance_scrub(&mut self) {
        if self.now < self.scrub.due_at {
            return;
        }
        self.scrub.due_at = self.now.saturating_add(pause(&self.settings));
        if !self.scrub.expected.is_empty() {
            return;
        }
        let leaf = self.scrub.next;
        self.scrub.next = Leaf(leaf.0.wrapping_add(1));
        for space in self.spaces.values() {
            self.scrub.expected.insert(space.id, (leaf, space.stored_sum(leaf)));
            self.effects.push_back(Effect::Disk(Job::Scrub { namespace: space.id, leaf }));
        }
    }

    /// What the rows of a leaf on disk really add up to. If that is not what was kept for them, the tree is corrected,
    /// and so differs from the trees of others, which repair then finds.
    pub(super) fn scrubbed(&mut self, namespace: NamespaceId, sum: Sum) {
        let Some((leaf, expected)) = self.scrub.expected.remove(&namespace) else { return };
        let Some(space) = self.spaces.get_mut(&namespace).filter(|_| sum != expected) else { return };
        space.correct(leaf, sum.minus(expected));
        self.effects.push_back(Effect::Notice(Notice::Scrub { namespace, leaf }));
    }
}
