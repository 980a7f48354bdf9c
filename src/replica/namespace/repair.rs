//! What a namespace knows of repair: the session that we began, with whom one was left at the roots, and what calls for one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::{Mark, VersionVector};
use crate::identity::{Peer, ReplicaId, WorkerId};
use crate::merkle::{Leaf, Node, Place, Sum, Tree};

use super::super::message::RepairedRow;
use super::Namespace;

/// Repair of one namespace.
#[derive(Default)]
pub(super) struct Repair {
    /// The session that we began and that is not over.
    pub(super) session: Option<Session>,
    /// With whom a comparison was left at that because gossip was under way; never twice running.
    pub(super) skipped: BTreeSet<WorkerId>,
    /// Whom to repair with, because nobody's journal reaches back to where we stand.
    pub(super) gap: Option<WorkerId>,
}

impl Repair {
    pub(super) fn note_gap(&mut self, with: WorkerId) {
        self.gap.get_or_insert(with);
    }

    /// Another boot of this node: what was left with the earlier one means nothing.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.skipped.remove(&worker);
    }
}

/// Nodes whose children are asked for in one message.
pub(in super::super) const NODES_PER_ASK: usize = 256;
/// Leaves whose rows are asked for in one message.
pub(in super::super) const LEAVES_PER_ASK: usize = 64;

/// A session that we began.
#[derive(Debug)]
pub(in super::super) struct Session {
    with: Peer,
    id: u64,
    began_at: u64,
    /// It closes a gap, so that nothing may be skipped.
    closing: bool,
    /// The peer's vector when it compared.
    announced: Option<VersionVector>,
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
    arrived: VecDeque<Vec<RepairedRow>>,
    /// The first of them wait for rows from disk.
    loading: bool,
    rows: u64,
    leaves_found: u64,
}

/// Some leaves, between two places.
#[derive(Clone, Debug)]
pub(in super::super) struct Span {
    pub(in super::super) leaves: Vec<Leaf>,
    pub(in super::super) from: Place,
    pub(in super::super) upto: Place,
}

/// What is asked of the peer.
#[derive(Clone, Debug)]
pub(in super::super) enum Ask {
    Compare,
    Nodes(Vec<Node>),
    Rows(Span),
}

/// A session that is over, or was given up.
#[derive(Debug)]
pub(in super::super) struct Ended {
    pub(in super::super) with: Peer,
    pub(in super::super) id: u64,
    pub(super) began_at: u64,
    /// Rows that came.
    pub(in super::super) rows: u64,
    /// Where it moves the vector.
    pub(in super::super) marks: Vec<(ReplicaId, Mark)>,
}

/// The number of the first question of each session, the comparison of roots.
pub(in super::super) const COMPARE: u64 = 0;

impl Session {
    pub(in super::super) fn new(with: Peer, id: u64, now: u64, closing: bool) -> Self {
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
    pub(in super::super) fn oldest_ask(&self) -> Option<u64> {
        self.asks.values().map(|(_, at)| *at).min()
    }

    /// Whether every difference was found, asked for, answered and applied.
    pub(in super::super) fn is_over(&self) -> bool {
        let asked = self.announced.is_some() && self.asks.is_empty();
        let found = self.nodes.is_empty() && self.leaves.is_empty() && self.rest.is_empty();
        asked && found && self.arrived.is_empty()
    }

    pub(in super::super) fn ask(&mut self, ask: Ask, now: u64) -> u64 {
        let number = self.next_ask;
        self.next_ask += 1;
        self.asks.insert(number, (ask, now));
        number
    }

    /// What the question numbered `ask` was, if it is not answered yet.
    pub(in super::super) fn answered(&mut self, ask: u64) -> Option<Ask> {
        self.asks.remove(&ask).map(|(ask, _)| ask)
    }

    /// Puts a question back that was not answered.
    pub(in super::super) fn again(&mut self, ask: Ask) {
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
    pub(in super::super) fn next_span(&mut self) -> Option<Span> {
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
    pub(in super::super) fn next_nodes(&mut self) -> Option<Vec<Node>> {
        let level = self.nodes.last()?.level();
        let same: Vec<Node> = self.nodes.iter().rev().take_while(|node| node.level() == level).copied().collect();
        let nodes: Vec<Node> = same.into_iter().take(NODES_PER_ASK).collect();
        nodes.iter().for_each(|node| {
            self.nodes.remove(node);
        });
        Some(nodes)
    }

    /// What the question numbered `ask` was, where it asks for rows, if it is not answered yet; it counts as asked now.
    pub(in super::super) fn asked_rows(&mut self, ask: u64, covered: Place, now: u64) -> Option<Span> {
        let Some((Ask::Rows(span), at)) = self.asks.get_mut(&ask) else { return None };
        if covered < span.upto {
            self.rest.push_front(span.behind(covered));
            span.upto = covered;
        }
        *at = now;
        Some(span.clone())
    }

    /// The rows of a span have come, as far as the place `covered`.
    pub(in super::super) fn rows_came(&mut self, span: &Span, covered: Place, rows: Vec<RepairedRow>) {
        if covered < span.upto {
            self.rest.push_front(span.behind(covered));
        }
        if !rows.is_empty() {
            self.arrived.push_back(rows);
        }
    }

    /// The next rows to be applied, unless they wait for rows from disk.
    pub(in super::super) fn next_arrived(&mut self) -> Option<Vec<RepairedRow>> {
        if self.loading { None } else { self.arrived.pop_front() }
    }

    /// These rows wait for rows from disk, and the later ones behind them.
    pub(in super::super) fn await_rows(&mut self, rows: Vec<RepairedRow>) {
        self.arrived.push_front(rows);
        self.loading = true;
    }

    /// The rows that the first arrived ones are merged into are in memory.
    pub(in super::super) fn loaded(&mut self) {
        self.loading = false;
    }

    pub(in super::super) fn with(&self) -> Peer {
        self.with
    }

    pub(in super::super) fn id(&self) -> u64 {
        self.id
    }

    pub(in super::super) fn began_at(&self) -> u64 {
        self.began_at
    }

    /// The questions that were asked by then and are not answered.
    pub(in super::super) fn asked_before(&self, overdue: u64) -> Vec<u64> {
        self.asks.iter().filter(|(_, (_, at))| *at <= overdue).map(|(number, _)| *number).collect()
    }

    /// Whether another question may be asked: the peer has compared, and not too many are open, or too many rows in hand.
    pub(in super::super) fn may_ask(&self, asks_max: usize) -> bool {
        self.announced.is_some() && self.asks.len() + self.arrived.len() < asks_max
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn announce(&mut self, theirs: VersionVector) {
        self.announced = Some(theirs);
    }

    pub(super) fn count(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// The roots differ: which of the sums below do?
    pub(super) fn find_in_root(&mut self, tree: &Tree, children: Vec<u64>) {
        let differing = Node::ROOT.children().zip(children).filter(|(node, sum)| tree.sum(*node).short() != *sum);
        differing.for_each(|(node, _)| self.found(node));
    }

    /// The same of some nodes; false if there are not as many sums as they have children.
    pub(super) fn find_below(&mut self, tree: &Tree, nodes: &[Node], sums: &[u64]) -> bool {
        let children: Vec<Node> = nodes.iter().flat_map(|node| node.children()).collect();
        if children.len() != sums.len() {
            return false;
        }
        let differing = children.into_iter().zip(sums).filter(|(node, sum)| tree.sum(*node).short() != **sum);
        differing.for_each(|(node, _)| self.found(node));
        true
    }

    pub(super) fn ended(&self) -> Ended {
        Ended { with: self.with, id: self.id, began_at: self.began_at, rows: self.rows, marks: Vec::new() }
    }

    pub(super) fn into_announced(self) -> VersionVector {
        self.announced.unwrap_or_default()
    }
}

impl Span {
    /// What of it stands behind a place.
    fn behind(&self, covered: Place) -> Self {
        Self { from: Place(covered.0.saturating_add(1)), ..self.clone() }
    }
}

impl Namespace {
    pub(in super::super) fn session(&self) -> Option<&Session> {
        self.repair.session.as_ref()
    }

    pub(in super::super) fn session_mut(&mut self) -> Option<&mut Session> {
        self.repair.session.as_mut()
    }

    /// Whether a session is called for because of a gap; asked once for each gap.
    pub(in super::super) fn take_gap(&mut self) -> Option<WorkerId> {
        self.repair.gap.take()
    }

    /// We begin a session; the sum of our tree.
    pub(in super::super) fn begin_session(&mut self, session: Session) -> Sum {
        self.repair.session = Some(session);
        self.tree.root()
    }

    /// The peer has compared its tree with ours, and stands at `theirs`; `children` are the halves of its sums below the
    /// root, if the roots differ. False if the session is to be left at that, because gossip may be about to deliver the
    /// difference: it is waited for once.
    pub(in super::super) fn compared(
        &mut self,
        with: WorkerId,
        theirs: VersionVector,
        children: Option<Vec<u64>>,
    ) -> bool {
        let Some(session) = self.repair.session.as_mut() else { return true };
        if let Some(children) = children {
            if !session.is_closing() && theirs != self.committed && self.repair.skipped.insert(with) {
                return false;
            }
            session.find_in_root(&self.tree, children);
        }
        self.repair.skipped.remove(&with);
        session.announce(theirs);
        true
    }

    /// The halves of the sums below some nodes, as the peer has them; false if they are not as many as were asked for.
    pub(in super::super) fn compare_children(&mut self, nodes: &[Node], sums: &[u64]) -> bool {
        let Some(session) = self.repair.session.as_mut() else { return true };
        session.find_below(&self.tree, nodes, sums)
    }

    /// Ends our session without moving the vector: what it brought stays.
    pub(in super::super) fn give_up_session(&mut self) -> Option<Ended> {
        self.repair.session.take().map(|session| session.ended())
    }
}
