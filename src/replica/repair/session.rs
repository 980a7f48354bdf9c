//! The asking end of a session: down the tree to the leaves that differ, then their rows.

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::Place;
use crate::section::Milliseconds;

use super::super::effect::{Effect, Notice};
use super::super::leaf_reads::{self, Listed, Purpose};
use super::super::message::{RepairStep, RepairedRow};
use super::super::namespace::{Ask, COMPARE, Ended, Namespace, Session, SessionId, Span};
use super::super::{Replica, bounds};
use super::ASKS_MAX;

impl Replica {
    pub(super) fn compared(&mut self, id: SessionId, vector: VersionVector, children: Option<Vec<u64>>) {
        let (namespace, peer) = (id.namespace, id.with.worker);
        let Some(Ask::Compare) = self.answered(id, COMPARE) else { return };
        if let Some(replica) = self.incarnation.id() {
            self.judge_own(peer, namespace, vector.mark(replica));
        }
        self.find_forks(peer, namespace, &vector);
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if held.compared(vector, children) {
            self.advance_session(namespace);
        } else {
            self.give_up(namespace);
        }
    }

    pub(super) fn children(&mut self, id: SessionId, ask: u64, sums: &[u64]) {
        let Some(Ask::Nodes(nodes)) = self.answered(id, ask) else { return };
        let Some(held) = self.namespaces.get_mut(id.namespace) else { return };
        if !held.compare_children(&nodes, sums) {
            self.bad_message(id.with.worker, "it answers with another number of sums than were asked for");
            self.give_up(id.namespace);
        }
    }

    /// What a question of our session was, if a message answers it.
    fn answered(&mut self, id: SessionId, ask: u64) -> Option<Ask> {
        self.namespaces.get_mut(id.namespace)?.answered(id, ask)
    }

    /// What we hold in some leaves has been read: ask what the peer holds differently.
    pub(in super::super) fn ask_rows(&mut self, id: SessionId, ask: u64, listing: &[Listed], covered: Place) {
        let Some(held) = self.namespaces.get_mut(id.namespace) else { return };
        let Some(Span { leaves, from, upto }) = held.asked_rows(id, ask, covered, self.now) else { return };
        let held = leaf_reads::sums(&self.settings.hasher, listing);
        self.send_step(id, RepairStep::Rows { ask, leaves, from, upto, held });
    }

    /// The rows that the peer holds differently have come: slots that may be ahead of our vector, as far as `reach`.
    pub(super) fn differing(
        &mut self,
        id: SessionId,
        ask: u64,
        rows: Vec<RepairedRow>,
        reach: Vec<(ReplicaId, u64)>,
        covered: Place,
    ) {
        let Some(held) = self.namespaces.get_mut(id.namespace) else { return };
        if let Err(excess) = bounds::admits_rows(held.applied(), held.reach(), id.with.worker, &rows, &reach) {
            self.bad_message(id.with.worker, &excess.to_string());
            return self.give_up(id.namespace);
        }
        if let Some(Ask::Rows(span)) = held.answered(id, ask) {
            held.rows_arrived(&span, covered, rows, reach, self.now);
        }
    }

    /// Moves our session in `namespace` on.
    pub(super) fn advance_session(&mut self, namespace: NamespaceId) {
        self.ask_again(namespace);
        self.apply_arrived(namespace);
        while self.ask_next(namespace) {}
        if self.namespaces.get(namespace).and_then(Namespace::session).is_some_and(Session::is_over) {
            self.finish_session(namespace);
        }
    }

    /// What was not answered for long was lost. A session that does not even begin, or takes too long, is given up:
    /// what it brought stays.
    fn ask_again(&mut self, namespace: NamespaceId) {
        let tuning = &self.settings.tuning;
        let (answered_within_ms, session_max_ms) = (tuning.gossip.fetch_timeout.ms(), tuning.repair.session_max.ms());
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if !held.ask_again(self.now, answered_within_ms, session_max_ms) {
            self.give_up(namespace);
        }
    }

    /// Asks the next question; false if there is none or enough are open.
    fn ask_next(&mut self, namespace: NamespaceId) -> bool {
        let held = self.namespaces.get_mut(namespace);
        let Some((id, ask, what)) = held.and_then(|held| held.ask_next(ASKS_MAX, self.now)) else { return false };
        match what {
            Ask::Compare => {}
            Ask::Nodes(nodes) => {
                let level = nodes.first().map_or(0, |node| node.level());
                let indexes = nodes.iter().map(|node| node.index()).collect();
                self.send_step(id, RepairStep::Nodes { ask, level, indexes });
            }
            Ask::Rows(Span { leaves, from, upto }) => {
                let wanted = self.loads.leaves.step(namespace, leaves, from, upto);
                self.read_leaves(wanted, Purpose::Ask { id, ask });
            }
        }
        true
    }

    fn finish_session(&mut self, namespace: NamespaceId) {
        let (own, now) = (self.incarnation.id(), self.now);
        let Some(ended) = self.namespaces.get_mut(namespace).and_then(|held| held.finish_session(own, now)) else {
            return;
        };
        if let Some(peer) = self.gossip.peer_mut(ended.id.with.worker) {
            peer.compared_at.insert(namespace, now);
        }
        let news = ended.rows > 0 || !ended.marks.is_empty();
        self.session_ended(ended, news, true);
    }

    /// Ends our session in `namespace` without moving the vector.
    pub(in super::super) fn give_up(&mut self, namespace: NamespaceId) {
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let Some(ended) = held.give_up_session() else { return };
        let news = ended.rows > 0;
        self.session_ended(ended, news, false);
    }

    fn session_ended(&mut self, Ended { id, rows, marks, .. }: Ended, news: bool, whole: bool) {
        let (namespace, peer) = (id.namespace, id.with.worker);
        if !marks.is_empty() {
            self.commits.adopt(namespace, marks);
        }
        if news {
            self.effects.push_back(Effect::Notice(Notice::Repaired { namespace, peer, rows, whole }));
        }
        self.send_step(id, RepairStep::End);
    }
}
