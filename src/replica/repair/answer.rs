//! The answering end of a session. It keeps nothing of it but a lease on the journal.

use crate::crdt::{Kind, Slot};
use crate::merkle::{Hasher, Node, Place, Sum};
use crate::section::Milliseconds;

use super::super::Replica;
use super::super::effect::LoadLeaves;
use super::super::leaf_reads::{self, Listed, Purpose};
use super::super::message::{RepairStep, RepairedRow};
use super::super::namespace::{LEAVES_PER_ASK, Lease, NODES_PER_ASK, SessionId};
use super::ANSWERS_MAX;

/// Bytes of rows in one answer, about.
const ANSWER_BYTES: usize = 256 << 10;
/// Bytes of a slot and whose it is in an answer, at most.
const SLOT_BYTES: usize = Slot::BYTES_MAX + 9;

impl Replica {
    /// Are the trees equal? If not, how do the first sums stand, and where do we?
    pub(super) fn compare(&mut self, id: SessionId, root: Sum) {
        let until = self.now.saturating_add(self.settings.tuning.repair.session_max.ms());
        let Some(held) = self.namespaces.get_mut(id.namespace) else { return };
        let (vector, tree) = (held.committed().clone(), held.tree());
        let differ = root != tree.root();
        let children = differ.then(|| Node::ROOT.children().map(|child| tree.sum(child).short()).collect());
        if differ {
            held.lease(id.with.worker, Lease { vector: vector.clone(), until });
        }
        self.send_step(id, RepairStep::Compared { vector, children });
    }

    pub(super) fn answer_nodes(&mut self, id: SessionId, ask: u64, level: u8, indexes: &[u16]) {
        let Some(held) = self.namespaces.get(id.namespace) else { return };
        let nodes: Option<Vec<Node>> = indexes.iter().map(|index| Node::new(level, *index)).collect();
        let Some(nodes) = nodes.filter(|nodes| nodes.len() <= NODES_PER_ASK) else {
            return self.bad_message(id.with.worker, "it asks for nodes that its tree cannot have");
        };
        let sums = nodes.iter().flat_map(|node| node.children()).map(|child| held.tree().sum(child).short()).collect();
        self.send_step(id, RepairStep::Children { ask, sums });
    }

    pub(super) fn answer_rows(&mut self, id: SessionId, ask: u64, wanted: LoadLeaves, held: Vec<(Place, u64)>) {
        let ascending = wanted.leaves.is_sorted_by(|a, b| a < b) && held.is_sorted_by(|a, b| a.0 < b.0);
        if !ascending || wanted.leaves.len() > LEAVES_PER_ASK {
            return self.bad_message(id.with.worker, "it asks for rows out of order");
        }
        if self.loads.leaves.answering(id.with) < ANSWERS_MAX {
            self.read_leaves(wanted, Purpose::Answer { id, ask, held });
        }
    }

    /// Sends the rows that the asker does not hold as we do.
    pub(in super::super) fn give_rows(
        &mut self,
        id: SessionId,
        ask: u64,
        held: &[(Place, u64)],
        listing: &[Listed],
        covered: Place,
    ) {
        let (rows, covered) = differing(&self.settings.hasher, held, listing, covered);
        let reach = self.covering_dots(id.namespace, &rows);
        self.send_step(id, RepairStep::Differing { ask, rows, reach, covered });
    }
}

/// The rows at the places whose sum the asker does not hold, until they are enough for one answer; and how far that is.
fn differing(hasher: &Hasher, held: &[(Place, u64)], listing: &[Listed], covered: Place) -> (Vec<RepairedRow>, Place) {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for here in listing.chunk_by(|a, b| a.place == b.place) {
        let Some(place) = here.first().map(|listed| listed.place) else { continue };
        let theirs = held.binary_search_by_key(&place, |(place, _)| *place).ok().and_then(|at| held.get(at));
        if theirs.is_some_and(|(_, sum)| *sum == leaf_reads::sum(hasher, here).short()) {
            continue;
        }
        for Listed { key, row, .. } in here {
            bytes += key.len() + row.slots().len() * SLOT_BYTES;
            rows.push(RepairedRow { key: key.to_string(), row: row.clone() });
        }
        if bytes >= ANSWER_BYTES {
            return (rows, place);
        }
    }
    (rows, covered)
}
