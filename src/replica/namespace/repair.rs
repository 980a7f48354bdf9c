//! What a namespace knows of repair: the session that we began, with whom one was left at the roots, and what calls for one.

use std::collections::BTreeSet;

use crate::crdt::VersionVector;
use crate::identity::{Peer, ReplicaId, WorkerId};
use crate::merkle::{Node, Place, Sum};

use super::super::message::RepairedRow;
use super::Namespace;
use super::session::{Ask, Ended, Session, SessionId, Span};

/// Repair of one namespace.
#[derive(Default)]
pub(super) struct Repair {
    /// The session that we began and that is not over.
    pub(super) session: Option<Session>,
    /// With whom a comparison was left at that because gossip was under way; never twice running.
    skipped: BTreeSet<WorkerId>,
    /// Whom to repair with, because nobody's journal reaches back to where we stand.
    gap: Option<WorkerId>,
}

impl Repair {
    pub(super) fn note_gap(&mut self, with: WorkerId) {
        self.gap.get_or_insert(with);
    }

    /// Another boot of this node: what was left with the earlier one means nothing.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.skipped.remove(&worker);
    }

    /// Our session, if it is this one.
    fn find(&mut self, id: SessionId) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.id() == id)
    }
}

impl Namespace {
    pub(in super::super) fn session(&self) -> Option<&Session> {
        self.repair.session.as_ref()
    }

    /// Whether a session is under way or called for.
    pub(in super::super) fn repairs(&self) -> bool {
        self.repair.session.is_some() || self.repair.gap.is_some()
    }

    /// Whether a session is called for because of a gap; asked once for each gap.
    pub(in super::super) fn take_gap(&mut self) -> Option<WorkerId> {
        self.repair.gap.take()
    }

    /// We begin a session; the sum of our tree.
    pub(in super::super) fn begin_session(&mut self, id: SessionId, now: u64, closing: bool) -> Sum {
        self.repair.session = Some(Session::new(id, now, closing));
        self.tree.root()
    }

    /// What the question numbered `ask` of this session was, if it is not answered yet.
    pub(in super::super) fn answered(&mut self, id: SessionId, ask: u64) -> Option<Ask> {
        self.repair.find(id)?.answered(ask)
    }

    /// The peer has compared its tree with ours, and stands at `theirs`; `children` are the halves of its sums below the
    /// root, if the roots differ. False if the session is to be left at that, because gossip may be about to deliver the
    /// difference: it is waited for once.
    pub(in super::super) fn compared(&mut self, theirs: VersionVector, children: Option<Vec<u64>>) -> bool {
        let Some(session) = self.repair.session.as_mut() else { return true };
        let with = session.with().worker;
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
        self.repair.session.as_mut().is_none_or(|session| session.find_below(&self.tree, nodes, sums))
    }

    /// The next question of our session, with its number; see [`Session::ask_next`].
    pub(in super::super) fn ask_next(&mut self, asks_max: usize, now: u64) -> Option<(SessionId, u64, Ask)> {
        let session = self.repair.session.as_mut()?;
        let (number, ask) = session.ask_next(asks_max, now)?;
        Some((session.id(), number, ask))
    }

    /// Sees to questions of our session that were lost; false if it has to be given up. See [`Session::ask_again`].
    pub(in super::super) fn ask_again(&mut self, now: u64, answered_within_ms: u64, session_max_ms: u64) -> bool {
        let session = self.repair.session.as_mut();
        session.is_none_or(|session| session.ask_again(now, answered_within_ms, session_max_ms))
    }

    /// What we hold between the places of a question is known now, as far as `covered`: what is asked.
    pub(in super::super) fn asked_rows(&mut self, id: SessionId, ask: u64, covered: Place, now: u64) -> Option<Span> {
        self.repair.find(id)?.asked_rows(ask, covered, now)
    }

    /// Rows have come for a question, as far as `covered`: they may be ahead of our vector, as far as `reach`.
    pub(in super::super) fn rows_arrived(
        &mut self,
        span: &Span,
        covered: Place,
        rows: Vec<RepairedRow>,
        reach: Vec<(ReplicaId, u64)>,
        now: u64,
    ) {
        if let Some(session) = self.repair.session.as_mut() {
            session.rows_came(span, covered, rows);
        }
        self.raise_reach(reach, now);
    }

    /// The next rows to be applied, and from whom they are.
    pub(in super::super) fn next_arrived(&mut self) -> Option<(Peer, Vec<RepairedRow>)> {
        let session = self.repair.session.as_mut()?;
        Some((session.with(), session.next_arrived()?))
    }

    /// These rows wait for rows from disk, and the later ones behind them.
    pub(in super::super) fn await_arrived(&mut self, rows: Vec<RepairedRow>) {
        if let Some(session) = self.repair.session.as_mut() {
            session.await_rows(rows);
        }
    }

    /// The rows that the first arrived ones are merged into are in memory.
    pub(in super::super) fn arrived_loaded(&mut self) {
        self.repair.session.iter_mut().for_each(Session::loaded);
    }

    /// Ends our session without moving the vector: what it brought stays.
    pub(in super::super) fn give_up_session(&mut self) -> Option<Ended> {
        self.repair.session.take().map(|session| session.end().0)
    }
}
