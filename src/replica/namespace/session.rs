//! A repair session that we began: what differs, what was asked, and what has come and is not applied yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::{Mark, VersionVector};
use crate::identity::{NamespaceId, Peer, ReplicaId};
use crate::merkle::{Leaf, Node, Place, Tree};

use super::super::message::RepairedRow;

/// Nodes whose children are asked for in one message.
pub(in super::super) const NODES_PER_ASK: usize = 256;
/// Leaves whose rows are asked for in one message.
pub(in super::super) const LEAVES_PER_ASK: usize = 64;
/// The number of the first question of each session, the comparison of roots.
pub(in super::super) const COMPARE: u64 = 0;

/// Which session, as both of its ends name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct SessionId {
    /// The other end.
    pub(in super::super) with: Peer,
    pub(in super::super) namespace: NamespaceId,
    /// Of those that its beginner has begun.
    pub(in super::super) number: u64,
}

/// A session that we began.
#[derive(Debug)]
pub(in super::super) struct Session {
    id: SessionId,
    began_at: u64,
    /// It closes a gap, so that nothing may be skipped.
    closing: bool,
    /// The peer's vector when it compared.
    announced: Option<VersionVector>,
    differing: Differing,
    asks: Asks,
    arrived: Arrived,
}

/// What is known to differ and was not asked for yet.
#[derive(Debug, Default)]
struct Differing {
    /// Nodes whose children are not known yet.
    nodes: BTreeSet<Node>,
    leaves: BTreeSet<Leaf>,
    /// Parts of leaves whose answer was cut.
    rest: VecDeque<Span>,
    /// Leaves that were found to differ so far.
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

/// Questions that are not answered, by number, and when they were asked.
#[derive(Debug)]
struct Asks {
    open: BTreeMap<u64, (Ask, u64)>,
    next: u64,
}

/// Rows that came and are not applied yet.
#[derive(Debug, Default)]
struct Arrived {
    waiting: VecDeque<Vec<RepairedRow>>,
    /// The first of them wait for rows from disk.
    loading: bool,
    /// Rows that brought something new.
    applied: u64,
}

/// A session that is over, or was given up.
#[derive(Debug)]
pub(in super::super) struct Ended {
    pub(in super::super) id: SessionId,
    pub(super) began_at: u64,
    /// Rows that came.
    pub(in super::super) rows: u64,
    /// Where it moves the vector.
    pub(in super::super) marks: Vec<(ReplicaId, Mark)>,
}

/// What others may know of a session.
impl Session {
    pub(in super::super) fn with(&self) -> Peer {
        self.id.with
    }

    /// How many leaves were found to differ so far, how many are left, and how many rows came.
    pub(in super::super) fn progress(&self) -> (u64, u64, u64) {
        let asked =
            self.asks.open.values().map(|(ask, _)| if let Ask::Rows(span) = ask { span.leaves.len() } else { 0 });
        let cut = self.differing.rest.iter().map(|span| span.leaves.len());
        let left = self.differing.leaves.len() + asked.chain(cut).sum::<usize>();
        (self.differing.leaves_found, left as u64, self.arrived.applied)
    }

    /// When the question was asked that has waited longest.
    pub(in super::super) fn oldest_ask(&self) -> Option<u64> {
        self.asks.open.values().map(|(_, at)| *at).min()
    }

    /// Whether every difference was found, asked for, answered and applied.
    pub(in super::super) fn is_over(&self) -> bool {
        let asked = self.announced.is_some() && self.asks.open.is_empty();
        let Differing { nodes, leaves, rest, .. } = &self.differing;
        let found = nodes.is_empty() && leaves.is_empty() && rest.is_empty();
        asked && found && self.arrived.waiting.is_empty()
    }
}

impl Session {
    pub(super) fn new(id: SessionId, now: u64, closing: bool) -> Self {
        Self {
            id,
            began_at: now,
            closing,
            announced: None,
            differing: Differing::default(),
            asks: Asks { open: BTreeMap::from([(COMPARE, (Ask::Compare, now))]), next: COMPARE + 1 },
            arrived: Arrived::default(),
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// What the question numbered `ask` was, if it is not answered yet.
    pub(super) fn answered(&mut self, ask: u64) -> Option<Ask> {
        self.asks.take(ask)
    }

    /// The next question, unless `asks_max` are open, or so many answers in hand, or the peer has not even compared.
    pub(super) fn ask_next(&mut self, asks_max: usize, now: u64) -> Option<(u64, Ask)> {
        if self.announced.is_none() || self.asks.open.len() + self.arrived.waiting.len() >= asks_max {
            return None;
        }
        let nodes = self.differing.next_nodes().map(Ask::Nodes);
        let ask = nodes.or_else(|| self.differing.next_span().map(Ask::Rows))?;
        Some((self.asks.add(ask.clone(), now), ask))
    }

    /// Puts the questions back that have waited for so long. False if the comparison has, or the whole session takes too long.
    pub(super) fn ask_again(&mut self, now: u64, answered_within_ms: u64, session_max_ms: u64) -> bool {
        let lost = self.asks.before(now.saturating_sub(answered_within_ms));
        if lost.contains(&COMPARE) || now.saturating_sub(self.began_at) >= session_max_ms {
            return false;
        }
        for number in lost {
            if let Some(ask) = self.asks.take(number) {
                self.differing.put_back(ask);
            }
        }
        true
    }

    /// What the question numbered `ask` was, where it asks for rows, if it is not answered yet; it counts as asked now.
    pub(super) fn asked_rows(&mut self, ask: u64, covered: Place, now: u64) -> Option<Span> {
        let Some((Ask::Rows(span), at)) = self.asks.open.get_mut(&ask) else { return None };
        if self.differing.cut(span, covered) {
            span.upto = covered;
        }
        *at = now;
        Some(span.clone())
    }

    /// The rows of a span have come, as far as the place `covered`.
    pub(super) fn rows_came(&mut self, span: &Span, covered: Place, rows: Vec<RepairedRow>) {
        self.differing.cut(span, covered);
        if !rows.is_empty() {
            self.arrived.waiting.push_back(rows);
        }
    }

    /// The next rows to be applied, unless they wait for rows from disk.
    pub(super) fn next_arrived(&mut self) -> Option<Vec<RepairedRow>> {
        if self.arrived.loading { None } else { self.arrived.waiting.pop_front() }
    }

    /// These rows wait for rows from disk, and the later ones behind them.
    pub(super) fn await_rows(&mut self, rows: Vec<RepairedRow>) {
        self.arrived.waiting.push_front(rows);
        self.arrived.loading = true;
    }

    /// The rows that the first arrived ones are merged into are in memory.
    pub(super) fn loaded(&mut self) {
        self.arrived.loading = false;
    }

    /// A row has brought something new.
    pub(super) fn count_row(&mut self) {
        self.arrived.applied += 1;
    }

    pub(super) fn announce(&mut self, theirs: VersionVector) {
        self.announced = Some(theirs);
    }

    /// The roots differ: which of the sums below do?
    pub(super) fn find_in_root(&mut self, tree: &Tree, children: Vec<u64>) {
        let differing = Node::ROOT.children().zip(children).filter(|(node, sum)| tree.sum(*node).short() != *sum);
        differing.for_each(|(node, _)| self.differing.add(node));
    }

    /// The same of some nodes; false if there are not as many sums as they have children.
    pub(super) fn find_below(&mut self, tree: &Tree, nodes: &[Node], sums: &[u64]) -> bool {
        let children: Vec<Node> = nodes.iter().flat_map(|node| node.children()).collect();
        let differing = children.iter().zip(sums).filter(|(node, sum)| tree.sum(**node).short() != **sum);
        if children.len() == sums.len() {
            differing.for_each(|(node, _)| self.differing.add(*node));
        }
        children.len() == sums.len()
    }

    /// Over, and the vector that the peer announced.
    pub(super) fn end(self) -> (Ended, VersionVector) {
        let ended = Ended { id: self.id, began_at: self.began_at, rows: self.arrived.applied, marks: Vec::new() };
        (ended, self.announced.unwrap_or_default())
    }
}

impl Differing {
    fn add(&mut self, node: Node) {
        match node.leaf() {
            Some(leaf) => self.leaves_found += u64::from(self.leaves.insert(leaf)),
            None => {
                self.nodes.insert(node);
            }
        }
    }

    /// The next nodes to ask for: of one level, the lowest first, so that few are known at a time.
    fn next_nodes(&mut self) -> Option<Vec<Node>> {
        let level = self.nodes.last()?.level();
        let same = self.nodes.iter().rev().take_while(|node| node.level() == level);
        let nodes: Vec<Node> = same.take(NODES_PER_ASK).copied().collect();
        nodes.iter().for_each(|node| {
            self.nodes.remove(node);
        });
        Some(nodes)
    }

    /// The next span of leaves to compare.
    fn next_span(&mut self) -> Option<Span> {
        if let Some(span) = self.rest.pop_front() {
            return Some(span);
        }
        let leaves: Vec<Leaf> = std::iter::from_fn(|| self.leaves.pop_first()).take(LEAVES_PER_ASK).collect();
        (!leaves.is_empty()).then_some(Span { leaves, from: Place(0), upto: Place(u64::MAX) })
    }

    /// A question was not answered.
    fn put_back(&mut self, ask: Ask) {
        match ask {
            Ask::Compare => {}
            Ask::Nodes(nodes) => self.nodes.extend(nodes),
            Ask::Rows(span) => self.rest.push_front(span),
        }
    }

    /// What of a span stands behind a place is left for another question; whether there is any.
    fn cut(&mut self, span: &Span, covered: Place) -> bool {
        let is_cut = covered < span.upto;
        if is_cut {
            self.rest.push_front(Span { from: Place(covered.0.saturating_add(1)), ..span.clone() });
        }
        is_cut
    }
}

impl Asks {
    fn add(&mut self, ask: Ask, now: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, (ask, now));
        number
    }

    fn take(&mut self, number: u64) -> Option<Ask> {
        self.open.remove(&number).map(|(ask, _)| ask)
    }

    /// Those that were asked by then.
    fn before(&self, overdue: u64) -> Vec<u64> {
        self.open.iter().filter(|(_, (_, at))| *at <= overdue).map(|(number, _)| *number).collect()
    }
}
