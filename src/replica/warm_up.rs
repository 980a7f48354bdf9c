//! Cache warm-up: after a start, the node reads rows from disk until memory is used or all are there, so that one that was
//! restarted soon answers as it did before.
//!
//! It goes leaf by leaf in the order of the disk, one short reading at a time, and begins none while anybody waits for rows. A
//! row is taken only if memory has no cell for its key. Then it is the committed one: what changes a row needs its cell, and
//! none of a leaf's cells leaves memory while the leaf is being read, so this key had none since before the reading began
//! (I11). Nobody has used what comes so, and it leaves memory before what clients used.

use std::collections::VecDeque;

use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::identity::NamespaceId;
use crate::merkle::{LEAVES, Leaf, Place};

use super::Replica;
use super::effect::{Effect, LoadLeaves, Notice};
use super::leaf_reads::Purpose;
use super::namespace::Namespace;
use super::rows::ROW_BYTES;

/// Rows that one reading brings, about: few enough that taking them does not hold up the engine.
const ROWS_MAX: usize = 1_024;
/// Leaves of one reading, where they hold little.
const LEAVES_MAX: usize = 256;
/// From the end of one reading to the next, so that the engine has most of its time for others.
const PAUSE_MS: u64 = 5;
/// So many eighths of what rows may take are filled. The rest is for what clients ask for.
const EIGHTHS: usize = 7;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct WarmUp {
    /// The namespaces that are not read to their end; empty once it is over.
    left: VecDeque<NamespaceId>,
    /// From where the first of them is read on; `None` behind its last place.
    from: Option<Place>,
    due_at: u64,
    began_at: u64,
    /// Rows that were taken.
    rows: u64,
}

impl WarmUp {
    fn new(namespaces: Vec<NamespaceId>, now: u64) -> Self {
        Self { left: namespaces.into(), from: Some(Place(0)), due_at: now, began_at: now, rows: 0 }
    }

    fn next_namespace(&mut self) {
        self.left.pop_front();
        self.from = Some(Place(0));
    }
}

impl Replica {
    /// Whatever is on disk is to be read, as far as there is room.
    pub(super) fn begin_warm_up(&mut self) {
        self.warm_up = WarmUp::new(self.namespaces.ids(), self.now);
    }

    /// When the next reading begins; `None` once all is over, and while something else goes first.
    pub(super) fn warm_up_deadline(&self) -> Option<u64> {
        let stops = self.readiness.is_draining() || self.readiness.is_fenced();
        let goes_on = !self.warm_up.left.is_empty() && !stops && self.loads.is_idle();
        goes_on.then_some(self.warm_up.due_at)
    }

    pub(super) fn advance_warm_up(&mut self) {
        if self.warm_up_deadline().is_none_or(|due| self.now < due) {
            return;
        }
        match self.next_to_warm() {
            Some(asked) => self.read_leaves(asked, Purpose::WarmUp),
            None => self.end_warm_up(),
        }
    }

    /// The next leaves that hold rows, and as many of these as there is room for.
    fn next_to_warm(&mut self) -> Option<LoadLeaves> {
        let room = self.warm_bytes_max().checked_sub(self.namespaces.bytes()).filter(|room| *room > 0)?;
        let rows_max = room.div_ceil(ROW_BYTES).min(ROWS_MAX);
        while let Some(namespace) = self.warm_up.left.front().copied() {
            let held = self.namespaces.get(namespace);
            if let Some((held, from)) = held.zip(self.warm_up.from) {
                let leaves: Vec<Leaf> = held.leaves_from(from.leaf()).take(leaves_of(held, rows_max)).collect();
                if let Some(upto) = leaves.last().map(|leaf| leaf.places().1) {
                    return Some(LoadLeaves { rows_max, ..self.loads.leaves.step(namespace, leaves, from, upto) });
                }
            }
            self.warm_up.next_namespace();
        }
        None
    }

    /// Rows of `asked` have come, as far as the place `covered`.
    pub(super) fn warmed(&mut self, asked: &LoadLeaves, rows: Vec<(Key, Row)>, covered: Place) {
        let Some(held) = self.namespaces.get_mut(asked.namespace) else { return };
        self.warm_up.rows += held.take_stored(rows);
        self.warm_up.from = covered.0.checked_add(1).map(Place);
        self.warm_up.due_at = self.now + PAUSE_MS;
    }

    fn end_warm_up(&mut self) {
        self.warm_up.left.clear();
        if self.warm_up.rows > 0 {
            let (rows, ms) = (self.warm_up.rows, self.now - self.warm_up.began_at);
            self.effects.push_back(Effect::Notice(Notice::Warm { rows, ms }));
        }
    }

    fn warm_bytes_max(&self) -> usize {
        self.settings.rows_bytes_max / 8 * EIGHTHS
    }
}

/// As many leaves as hold so many rows, about.
fn leaves_of(held: &Namespace, rows: usize) -> usize {
    let each = usize::try_from(held.stored_census().keys).unwrap_or(usize::MAX).div_ceil(LEAVES);
    (rows / each.max(1)).clamp(1, LEAVES_MAX)
}
