//! The asking end of a session: down the tree to the leaves that differ, then their rows.

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, Peer, ReplicaId};
use crate::merkle::Place;
use crate::section::Milliseconds;

use super::super::effect::{Effect, LoadLeaves, Notice};
use super::super::leaf_reads::{self, Listed, Purpose};
use super::super::message::{RepairStep, RepairedRow};
use super::super::namespace::{Ask, COMPARE, Ended, Namespace, Session};
use super::super::{Replica, bounds};
use super::ASKS_MAX;

impl Replica {
    /// Our session in `namespace`, if this message belongs to it.
    fn session(&mut self, from: Peer, namespace: NamespaceId, id: u64) -> Option<&mut Session> {
        let session = self.namespaces.get_mut(namespace)?.session_mut()?;
        (session.with() == from && session.id() == id).then_some(session)
    }

    pub(super) fn compared(
        &mut self,
        from: Peer,
        namespace: NamespaceId,
        id: u64,
        vector: VersionVector,
        children: Option<Vec<u64>>,
    ) {
        let Some(Ask::Compare) = self.session(from, namespace, id).and_then(|session| session.answered(COMPARE)) else {
            return;
        };
        if let Some(replica) = self.incarnation.id() {
            self.judge_own(from.worker, namespace, vector.mark(replica));
        }
        self.find_forks(from.worker, namespace, &vector);
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if held.compared(from.worker, vector, children) {
            self.advance_session(namespace);
        } else {
            self.give_up(namespace);
        }
    }

    pub(super) fn children(&mut self, from: Peer, namespace: NamespaceId, id: u64, ask: u64, sums: &[u64]) {
        let Some(Ask::Nodes(nodes)) = self.session(from, namespace, id).and_then(|session| session.answered(ask))
        else {
            return;
        };
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if !held.compare_children(&nodes, sums) {
            self.bad_message(from.worker, "it answers with another number of sums than were asked for");
            self.give_up(namespace);
        }
    }

    /// What we hold in some leaves has been read: ask what the peer holds differently.
    pub(in super::super) fn ask_rows(
        &mut self,
        asked: &LoadLeaves,
        id: u64,
        ask: u64,
        listing: &[Listed],
        covered: Place,
    ) {
        let (namespace, now) = (asked.namespace, self.now);
        let session = self.namespaces.get_mut(namespace).and_then(Namespace::session_mut);
        let Some(session) = session.filter(|session| session.id() == id) else { return };
        let Some(span) = session.asked_rows(ask, covered, now) else { return };
        let (to, held) = (session.with().worker, leaf_reads::sums(&self.settings.hasher, listing));
        let step = RepairStep::Rows { ask, leaves: span.leaves, from: span.from, upto: span.upto, held };
        self.send_step(to, namespace, id, step);
    }

    /// The rows that the peer holds differently have come: slots that may be ahead of our vector, as far as `reach`.
    #[allow(clippy::too_many_arguments)] // one message's fields
    pub(super) fn differing(
        &mut self,
        from: Peer,
        namespace: NamespaceId,
        id: u64,
        ask: u64,
        rows: Vec<RepairedRow>,
        reach: Vec<(ReplicaId, u64)>,
        covered: Place,
    ) {
        let Some(held) = self.namespaces.get(namespace) else { return };
        if let Err(excess) = bounds::admits_rows(held.applied(), held.reach(), from.worker, &rows, &reach) {
            self.bad_message(from.worker, &excess.to_string());
            return self.give_up(namespace);
        }
        let Some(session) = self.session(from, namespace, id) else { return };
        let Some(Ask::Rows(span)) = session.answered(ask) else { return };
        session.rows_came(&span, covered, rows);
        let now = self.now;
        if let Some(held) = self.namespaces.get_mut(namespace) {
            held.raise_reach(reach, now);
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
        let Some(session) = self.namespaces.get_mut(namespace).and_then(Namespace::session_mut) else { return };
        let lost = session.asked_before(self.now.saturating_sub(self.settings.tuning.gossip.fetch_timeout.ms()));
        let unanswered = lost.contains(&COMPARE);
        if unanswered || self.now.saturating_sub(session.began_at()) >= self.settings.tuning.repair.session_max.ms() {
            return self.give_up(namespace);
        }
        for number in lost {
            if let Some(ask) = session.answered(number) {
                session.again(ask);
            }
        }
    }

    /// Asks the next question; false if there is none or enough are open.
    fn ask_next(&mut self, namespace: NamespaceId) -> bool {
        let now = self.now;
        let session = self.namespaces.get_mut(namespace).and_then(Namespace::session_mut);
        let Some(session) = session.filter(|session| session.may_ask(ASKS_MAX)) else { return false };
        let (to, id) = (session.with().worker, session.id());
        if let Some(nodes) = session.next_nodes() {
            let level = nodes.first().map_or(0, |node| node.level());
            let indexes = nodes.iter().map(|node| node.index()).collect();
            let ask = session.ask(Ask::Nodes(nodes), now);
            self.send_step(to, namespace, id, RepairStep::Nodes { ask, level, indexes });
            return true;
        }
        let Some(span) = session.next_span() else { return false };
        let ask = session.ask(Ask::Rows(span.clone()), now);
        let wanted = self.loads.leaves().step(namespace, span.leaves, span.from, span.upto);
        self.read_leaves(wanted, Purpose::Ask { session: id, ask });
        true
    }

    fn finish_session(&mut self, namespace: NamespaceId) {
        let (own, now) = (self.incarnation.id(), self.now);
        let Some(ended) = self.namespaces.get_mut(namespace).and_then(|held| held.finish_session(own, now)) else {
            return;
        };
        if let Some(peer) = self.gossip.peer_mut(ended.with.worker) {
            peer.compared_at.insert(namespace, now);
        }
        let news = ended.rows > 0 || !ended.marks.is_empty();
        self.session_ended(namespace, ended, news, true);
    }

    /// Ends our session in `namespace` without moving the vector.
    pub(in super::super) fn give_up(&mut self, namespace: NamespaceId) {
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let Some(ended) = held.give_up_session() else { return };
        let news = ended.rows > 0;
        self.session_ended(namespace, ended, news, false);
    }

    fn session_ended(&mut self, namespace: NamespaceId, ended: Ended, news: bool, whole: bool) {
        let Ended { with, id, rows, marks, .. } = ended;
        if !marks.is_empty() {
            self.commits.adopt(namespace, marks);
        }
        if news {
            self.effects.push_back(Effect::Notice(Notice::Repaired { namespace, peer: with.worker, rows, whole }));
        }
        self.send_step(with.worker, namespace, id, RepairStep::End);
    }
}
