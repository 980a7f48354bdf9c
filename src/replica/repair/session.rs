//! The asking end of a session: down the tree to the leaves that differ, then their rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, Peer, ReplicaId, WorkerId};
use crate::merkle::{Leaf, Node, Place};
use crate::section::Milliseconds;

use super::super::effect::{Effect, LoadLeaves, Notice};
use super::super::message::{RepairStep, RepairedRow};
use super::super::{Replica, bounds};
use super::listing::{self, Listed};
use super::{ASKS_MAX, Purpose};

/// Nodes whose children are asked for in one message.
pub(super) const NODES_PER_ASK: usize = 256;
/// Leaves whose rows are asked for in one message.
pub(super) const LEAVES_PER_ASK: usize = 64;

/// A session that we began.
#[derive(Debug)]
pub(in super::super) struct Session {
    pub(super) with: Peer,
    pub(super) id: u64,
    began_at: u64,
    /// It closes a gap, so that nothing may be skipped.
    closing: bool,
    /// The peer's vector when it compared.
    pub(super) announced: Option<VersionVector>,
    /// Nodes that differ and whose children are not known yet.
    nodes: BTreeSet<Node>,
    /// Leaves that differ.
    leaves: BTreeSet<Leaf>,
    /// Parts of leaves whose answer was cut.
    rest: VecDeque<Span>,
    /// Questions that are not answered, and when they were asked.
    asks: BTreeMap<u64, (Ask, u64)>,
    next_ask: u64,
    /// Rows that came and are not applied yet.
    pub(super) arrived: VecDeque<Vec<RepairedRow>>,
    /// The first of them wait for rows from disk.
    pub(super) loading: bool,
    pub(super) rows: u64,
    leaves_found: u64,
}

/// Some leaves, between two places.
#[derive(Clone, Debug)]
struct Span {
    leaves: Vec<Leaf>,
    from: Place,
    upto: Place,
}

#[derive(Clone, Debug)]
enum Ask {
    Compare,
    Nodes(Vec<Node>),
    Rows(Span),
}

/// The number of the first question of each session, the comparison of roots.
const COMPARE: u64 = 0;

impl Session {
    pub(super) fn new(with: Peer, id: u64, now: u64, closing: bool) -> Self {
        Self {
            with,
            id,
            began_at: now,
            closing,
            announced: None,
            nodes: BTreeSet::new(),
            leaves: BTreeSet::new(),
            rest: VecDeque::new(),
            asks: BTreeMap::from([(COMPARE, (Ask::Compare, now))]),
            next_ask: COMPARE + 1,
            arrived: VecDeque::new(),
            loading: false,
            rows: 0,
            leaves_found: 0,
        }
    }

    /// With whom, how many leaves were found to differ so far, how many are left, and how many rows came.
    pub(in super::super) fn progress(&self) -> (Peer, u64, u64, u64) {
        let asked = self.asks.values().map(|(ask, _)| if let Ask::Rows(span) = ask { span.leaves.len() } else { 0 });
        let left =
            self.leaves.len() + asked.sum::<usize>() + self.rest.iter().map(|span| span.leaves.len()).sum::<usize>();
        (self.with, self.leaves_found, left as u64, self.rows)
    }

    pub(in super::super) fn is_with(&self, worker: WorkerId) -> bool {
        self.with.worker == worker
    }

    /// When the question was asked that has waited longest.
    pub(super) fn oldest_ask(&self) -> Option<u64> {
        self.asks.values().map(|(_, at)| *at).min()
    }

    /// Whether every difference was found, asked for, answered and applied.
    fn is_over(&self) -> bool {
        let asked = self.announced.is_some() && self.asks.is_empty();
        let found = self.nodes.is_empty() && self.leaves.is_empty() && self.rest.is_empty();
        asked && found && self.arrived.is_empty()
    }

    fn ask(&mut self, ask: Ask, now: u64) -> u64 {
        let number = self.next_ask;
        self.next_ask += 1;
        self.asks.insert(number, (ask, now));
        number
    }

    /// What the question numbered `ask` was, if it is not answered yet.
    fn answered(&mut self, ask: u64) -> Option<Ask> {
        self.asks.remove(&ask).map(|(ask, _)| ask)
    }

    /// Puts a question back that was not answered.
    fn again(&mut self, ask: Ask) {
        match ask {
            Ask::Compare => {}
            Ask::Nodes(nodes) => self.nodes.extend(nodes),
            Ask::Rows(span) => self.rest.push_front(span),
        }
    }

    fn found(&mut self, node: Node) {
        match node.leaf() {
            Some(leaf) => self.leaves_found += u64::from(self.leaves.insert(leaf)),
            None => {
                self.nodes.insert(node);
            }
        }
    }

    /// The next span of leaves to compare.
    fn next_span(&mut self) -> Option<Span> {
        if let Some(span) = self.rest.pop_front() {
            return Some(span);
        }
        let mut leaves = Vec::new();
        while leaves.len() < LEAVES_PER_ASK
            && let Some(leaf) = self.leaves.pop_first()
        {
            leaves.push(leaf);
        }
        (!leaves.is_empty()).then_some(Span { leaves, from: Place(0), upto: Place(u64::MAX) })
    }

    /// The next nodes to ask for: of one level, the lowest first, so that few are known at a time.
    fn next_nodes(&mut self) -> Option<Vec<Node>> {
        let level = self.nodes.last()?.level();
        let same: Vec<Node> = self.nodes.iter().rev().take_while(|node| node.level() == level).copied().collect();
        let nodes: Vec<Node> = same.into_iter().take(NODES_PER_ASK).collect();
        nodes.iter().for_each(|node| {
            self.nodes.remove(node);
        });
        Some(nodes)
    }
}

impl Replica {
    /// Our session in `namespace`, if this message belongs to it.
    fn session(&mut self, from: Peer, namespace: NamespaceId, id: u64) -> Option<&mut Session> {
        let session = self.spaces.get_mut(&namespace)?.session.as_mut()?;
        (session.with == from && session.id == id).then_some(session)
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
        if let Some(replica) = self.replica {
            self.judge_own(from.worker, namespace, vector.mark(replica));
        }
        self.find_forks(from.worker, namespace, &vector);
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let Some(session) = space.session.as_mut() else { return };
        if let Some(children) = children {
            // Gossip may be about to deliver the difference: wait for it once.
            if !session.closing && vector != space.vector && space.skipped.insert(from.worker) {
                return self.give_up(namespace);
            }
            let differing =
                Node::ROOT.children().zip(children).filter(|(node, sum)| space.tree.sum(*node).short() != *sum);
            differing.for_each(|(node, _)| session.found(node));
        }
        space.skipped.remove(&from.worker);
        session.announced = Some(vector);
        self.advance_session(namespace);
    }

    pub(super) fn children(&mut self, from: Peer, namespace: NamespaceId, id: u64, ask: u64, sums: &[u64]) {
        let Some(Ask::Nodes(nodes)) = self.session(from, namespace, id).and_then(|session| session.answered(ask))
        else {
            return;
        };
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let Some(session) = space.session.as_mut() else { return };
        let children: Vec<Node> = nodes.iter().flat_map(|node| node.children()).collect();
        if children.len() != sums.len() {
            self.bad_message(from.worker, "it answers with another number of sums than were asked for");
            return self.give_up(namespace);
        }
        let differing = children.into_iter().zip(sums).filter(|(node, sum)| space.tree.sum(*node).short() != **sum);
        differing.for_each(|(node, _)| session.found(node));
    }

    /// What we hold in some leaves has been read: ask what the peer holds differently.
    pub(super) fn ask_rows(&mut self, asked: &LoadLeaves, id: u64, ask: u64, listing: &[Listed], covered: Place) {
        let (namespace, now) = (asked.namespace, self.now);
        let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut()) else { return };
        let Some((Ask::Rows(span), at)) = session.asks.get_mut(&ask).filter(|_| session.id == id) else { return };
        if covered < span.upto {
            session.rest.push_front(Span { from: Place(covered.0.saturating_add(1)), ..span.clone() });
            span.upto = covered;
        }
        *at = now;
        let (leaves, from, upto) = (span.leaves.clone(), span.from, span.upto);
        let (to, held) = (session.with.worker, listing::sums(&self.settings.hasher, listing));
        self.send_step(to, namespace, id, RepairStep::Rows { ask, leaves, from, upto, held });
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
        let Some(space) = self.spaces.get(&namespace) else { return };
        if let Err(excess) = bounds::admits_rows(&space.applied, &space.reach, from.worker, &rows, &reach) {
            self.bad_message(from.worker, &excess.to_string());
            return self.give_up(namespace);
        }
        let Some(session) = self.session(from, namespace, id) else { return };
        let Some(Ask::Rows(span)) = session.answered(ask) else { return };
        if covered < span.upto {
            session.rest.push_front(Span { from: Place(covered.0.saturating_add(1)), ..span });
        }
        if !rows.is_empty() {
            session.arrived.push_back(rows);
        }
        let (now, Some(space)) = (self.now, self.spaces.get_mut(&namespace)) else { return };
        for (origin, seq) in reach.into_iter().filter(|(origin, seq)| *seq > space.vector.mark(*origin).seq) {
            space.reach.raise(origin, seq, now);
        }
    }

    /// Moves our session in `namespace` on.
    pub(super) fn advance_session(&mut self, namespace: NamespaceId) {
        self.ask_again(namespace);
        self.apply_arrived(namespace);
        while self.ask_next(namespace) {}
        let over = self.spaces.get(&namespace).and_then(|space| space.session.as_ref()).is_some_and(Session::is_over);
        if over {
            self.finish_session(namespace);
        }
    }

    /// What was not answered for long was lost. A session that does not even begin, or takes too long, is given up:
    /// what it brought stays.
    fn ask_again(&mut self, namespace: NamespaceId) {
        let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut()) else { return };
        let overdue = self.now.saturating_sub(self.settings.tuning.gossip.fetch_timeout.ms());
        let lost: Vec<u64> =
            session.asks.iter().filter(|(_, (_, at))| *at <= overdue).map(|(number, _)| *number).collect();
        let unanswered = lost.contains(&COMPARE);
        if unanswered || self.now.saturating_sub(session.began_at) >= self.settings.tuning.repair.session_max.ms() {
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
        let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut()) else {
            return false;
        };
        if session.announced.is_none() || session.asks.len() + session.arrived.len() >= ASKS_MAX {
            return false;
        }
        let (to, id) = (session.with.worker, session.id);
        if let Some(nodes) = session.next_nodes() {
            let level = nodes.first().map_or(0, |node| node.level());
            let indexes = nodes.iter().map(|node| node.index()).collect();
            let ask = session.ask(Ask::Nodes(nodes), now);
            self.send_step(to, namespace, id, RepairStep::Nodes { ask, level, indexes });
            return true;
        }
        let Some(span) = session.next_span() else { return false };
        let ask = session.ask(Ask::Rows(span.clone()), now);
        let wanted = self.load_leaves(namespace, span.leaves, span.from, span.upto);
        self.read_leaves(wanted, Purpose::Ask { session: id, ask });
        true
    }

    /// Everything that the peer held when it announced its vector is applied here: so we stand at least there (I4).
    fn finish_session(&mut self, namespace: NamespaceId) {
        let own = self.replica;
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let Some(session) = space.session.take() else { return };
        let (with, announced) = (session.with, session.announced.unwrap_or_default());
        // A log that moves by gossip is left to it: adopting its mark would leave a hole in our journal of it.
        let moved_since = |origin| space.moved_at.get(&origin).is_some_and(|at| *at >= session.began_at);
        let still: BTreeSet<_> = announced.iter().map(|(origin, _)| origin).filter(|at| !moved_since(*at)).collect();
        let mut marks = Vec::new();
        for (origin, mark) in announced.iter().filter(|(origin, _)| Some(*origin) != own) {
            let admitted = bounds::admits(&space.applied, &space.reach, with.worker, origin).is_ok();
            if admitted && (session.closing || still.contains(&origin)) && space.applied.advance(origin, mark) {
                space.moved(origin, self.now);
                space.fetching.remove(&origin);
                marks.push((origin, space.applied.mark(origin)));
            }
        }
        let news = session.rows > 0 || !marks.is_empty();
        if !marks.is_empty() {
            self.commits.gathering.adopt(namespace, marks);
        }
        self.repairs.whole_at.insert((with.worker, namespace), self.now);
        if news {
            let notice = Notice::Repaired { namespace, peer: with.worker, rows: session.rows, whole: true };
            self.effects.push_back(Effect::Notice(notice));
        }
        self.send_step(with.worker, namespace, session.id, RepairStep::End);
    }

    /// Ends our session in `namespace` without moving the vector.
    pub(in super::super) fn give_up(&mut self, namespace: NamespaceId) {
        let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.take()) else { return };
        let with = session.with.worker;
        if session.rows > 0 {
            let notice = Notice::Repaired { namespace, peer: with, rows: session.rows, whole: false };
            self.effects.push_back(Effect::Notice(notice));
        }
        self.send_step(with, namespace, session.id, RepairStep::End);
    }
}
