//! The scrub: a slow walk over the leaves on disk, to find what no checksum notices.

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
    /// It is time for the next leaf, and a table is under way.
    waits: bool,
    pub(super) due_at: u64,
}

impl Scrub {
    pub(super) fn new(settings: &Settings, now: u64) -> Self {
        Self { next: Leaf(0), waits: false, due_at: now.saturating_add(pause(settings)) }
    }

    fn next_leaf(&mut self) -> Leaf {
        let leaf = self.next;
        self.next = Leaf(leaf.0.wrapping_add(1));
        leaf
    }
}

fn pause(settings: &Settings) -> u64 {
    (settings.tuning.repair.scrub_interval.ms() / LEAVES as u64).max(1)
}

impl Replica {
    pub(super) fn advance_scrub(&mut self) {
        let scrub = &mut self.namespaces.scrub;
        if self.now >= scrub.due_at {
            scrub.due_at = self.now.saturating_add(pause(&self.settings));
            scrub.waits = true;
        }
        // Of a table under way, the disk has nothing yet.
        if !scrub.waits || !self.checkpointing.is_between_tables() {
            return;
        }
        scrub.waits = false;
        if self.namespaces.iter().any(|held| held.is_scrubbed()) {
            return;
        }
        let leaf = self.namespaces.scrub.next_leaf();
        for held in self.namespaces.iter_mut() {
            held.begin_scrub(leaf);
            self.effects.push_back(Effect::Disk(Job::Scrub { namespace: held.id(), leaf }));
        }
    }

    /// What the rows of a leaf on disk really add up to.
    pub(super) fn scrubbed(&mut self, namespace: NamespaceId, sum: Sum) {
        if let Some(leaf) = self.namespaces.get_mut(namespace).and_then(|held| held.scrubbed(sum)) {
            self.effects.push_back(Effect::Notice(Notice::Scrub { namespace, leaf }));
        }
    }
}
