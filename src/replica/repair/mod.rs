//! Repair: finding rows that differ by comparing trees, and fetching them.
//!
//! A session has two ends. Who began it asks, see [`session`]; the other answers from its committed state, see
//! [`answer`]. Rows flow to the asker only; the other end begins sessions of its own. A session begins because nobody's
//! journal reaches back to where we stand, or because it is time to compare; while gossip is under way, a comparison is
//! left at the roots once, but never twice running.

mod answer;
mod apply;
mod session;

use crate::identity::{NamespaceId, Peer};
use crate::section::Milliseconds;

use super::Replica;
use super::effect::Effect;
use super::message::{Message, RepairStep};
use super::namespace::{Namespace, Session, SessionId};
use super::settings::Settings;
use super::status::RepairStatus;

/// Questions of one session that are not answered yet.
const ASKS_MAX: usize = 4;
/// Readings of leaves on behalf of one peer; what is asked beyond is dropped, and asked again after a while.
const ANSWERS_MAX: usize = 2 * ASKS_MAX;

/// When roots are compared, and with whom.
#[derive(Debug)]
pub(super) struct Comparisons {
    /// When they are compared again.
    due_at: u64,
    /// Whose turn that is.
    turn: usize,
    /// Sessions that we have begun.
    sessions: u64,
}

impl Comparisons {
    pub(super) fn new(settings: &Settings, now: u64) -> Self {
        Self { due_at: now.saturating_add(settings.tuning.repair.interval.ms()), turn: 0, sessions: 0 }
    }

    /// Whether it is time; then the next time is set.
    fn take_due(&mut self, now: u64, interval_ms: u64) -> bool {
        let due = now >= self.due_at;
        if due {
            self.due_at = now.saturating_add(interval_ms);
            self.turn = self.turn.wrapping_add(1);
        }
        due
    }

    /// Whose turn it is of these.
    fn choose<T: Copy>(&self, of: &[T]) -> Option<T> {
        of.get(self.turn.checked_rem(of.len()).unwrap_or_default()).copied()
    }

    /// The number of a new session.
    fn begin(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }
}

impl Replica {
    /// A step of a session from a peer.
    pub(super) fn repair_step(&mut self, id: SessionId, step: RepairStep) {
        match step {
            RepairStep::Compare { root } => self.compare(id, root),
            RepairStep::Nodes { ask, level, indexes } => self.answer_nodes(id, ask, level, &indexes),
            RepairStep::Rows { ask, leaves, from, upto, held } => {
                let wanted = self.loads.leaves.step(id.namespace, leaves, from, upto);
                self.answer_rows(id, ask, wanted, held);
            }
            RepairStep::End => {
                if let Some(held) = self.namespaces.get_mut(id.namespace) {
                    held.end_lease(id.with.worker);
                }
            }
            RepairStep::Compared { vector, children } => self.compared(id, vector, children),
            RepairStep::Children { ask, sums } => self.children(id, ask, &sums),
            RepairStep::Differing { ask, rows, reach, covered } => self.differing(id, ask, rows, reach, covered),
        }
    }

    fn send_step(&mut self, id: SessionId, step: RepairStep) {
        let message = Message::Repair { namespace: id.namespace, session: id.number, step };
        self.effects.push_back(Effect::Send { to: id.with.worker, message });
    }

    /// Begins what is due and moves every session on.
    pub(super) fn advance_repair(&mut self) {
        let due = self.gossip.comparisons.take_due(self.now, self.settings.tuning.repair.interval.ms());
        if !due && !self.namespaces.iter().any(Namespace::repairs) {
            return;
        }
        for namespace in self.namespaces.ids() {
            self.advance_session(namespace);
            self.begin_session(namespace, due);
        }
    }

    /// Begins a session if a gap calls for one, or if it is time to compare.
    fn begin_session(&mut self, namespace: NamespaceId, due: bool) {
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        if held.session().is_some()
            || !self.incarnation.is_serving()
            || self.readiness.is_fenced()
            || self.readiness.is_draining()
        {
            return;
        }
        let gap = held.take_gap();
        if gap.is_none() && !due {
            return;
        }
        let linked = self.gossip.linked().filter(|peer| peer.shared.contains(&namespace));
        let linked: Vec<Peer> =
            linked.filter_map(|peer| Some(Peer { worker: peer.worker, boot: peer.boot? })).collect();
        let with = match gap {
            Some(worker) => linked.iter().find(|peer| peer.worker == worker).copied(),
            None => self.gossip.comparisons.choose(&linked),
        };
        let Some(with) = with else { return };
        let id = SessionId { with, namespace, number: self.gossip.comparisons.begin() };
        let root = held.begin_session(id, self.now, gap.is_some());
        self.send_step(id, RepairStep::Compare { root });
    }

    pub(super) fn repair_status(&self) -> Vec<RepairStatus> {
        let sessions = self.namespaces.iter().filter_map(|held| Some((held.id(), held.session()?)));
        let status = sessions.map(|(namespace, session)| {
            let (leaves_found, leaves_left, rows) = session.progress();
            RepairStatus { namespace, peer: session.with().worker, leaves_found, leaves_left, rows }
        });
        status.collect()
    }

    /// When the next timer of repair is due.
    pub(super) fn repair_deadline(&self) -> u64 {
        let sessions = self.namespaces.iter().filter_map(Namespace::session);
        let asks =
            sessions.filter_map(Session::oldest_ask).map(|at| at + self.settings.tuning.gossip.fetch_timeout.ms());
        asks.min().unwrap_or(u64::MAX).min(self.gossip.comparisons.due_at)
    }
}
