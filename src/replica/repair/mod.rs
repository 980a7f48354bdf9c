//! Repair: finding rows that differ by comparing trees, and fetching them.
//!
//! A session has two ends. Who began it asks, see [`session`]; the other answers from its committed state, see
//! [`answer`]. Rows flow to the asker only; the other end begins sessions of its own. A session begins because nobody's
//! journal reaches back to where we stand, or because it is time to compare; while gossip is under way, a comparison is
//! left at the roots once, but never twice running.

mod answer;
mod apply;
mod listing;
mod session;

use std::collections::BTreeMap;

use crate::crdt::VersionVector;
use crate::identity::{NamespaceId, Peer, WorkerId};
use crate::merkle::Place;
use crate::section::Milliseconds;

use super::Replica;
use super::effect::{Effect, Job, LoadLeaves};
use super::event::{LeavesLoaded, Ticket};
use super::list::List;
use super::message::{Message, RepairStep};
use super::settings::Settings;
use super::status::RepairStatus;

pub(super) use listing::Listed;
pub(super) use session::Session;

/// Questions of one session that are not answered yet.
const ASKS_MAX: usize = 4;
/// Readings of leaves on behalf of one peer; what is asked beyond is dropped, and asked again after a while.
const ANSWERS_MAX: usize = 2 * ASKS_MAX;

/// What repair keeps for the whole replica.
#[derive(Debug)]
pub(super) struct Repairs {
    /// When roots are compared again.
    pub(super) due_at: u64,
    /// Whose turn that is.
    turn: usize,
    sessions: u64,
    tickets: Ticket,
    /// Leaves that are being read.
    readings: BTreeMap<Ticket, Reading>,
    /// What we have announced to sessions that are not known to be over.
    leases: BTreeMap<(WorkerId, NamespaceId), Lease>,
    /// The number of the last record of the local kind.
    pub(super) numbered: u64,
    /// The last of them that is synced.
    pub(super) synced: u64,
    /// When a session with a peer last covered the whole tree.
    pub(super) whole_at: BTreeMap<(WorkerId, NamespaceId), u64>,
}

/// The journal stays above `vector` until the session is over, or `until`.
#[derive(Debug)]
struct Lease {
    vector: VersionVector,
    until: u64,
}

#[derive(Debug)]
struct Reading {
    asked: LoadLeaves,
    purpose: Purpose,
}

/// What leaves are read for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To ask a peer what it holds differently.
    Ask { session: u64, ask: u64 },
    /// To answer that question.
    Answer { to: Peer, session: u64, ask: u64, held: Vec<(Place, u64)> },
    /// To list counters to a client.
    List { ticket: Ticket, list: List },
}

impl Repairs {
    pub(super) fn new(settings: &Settings, numbered: u64, now: u64) -> Self {
        Self {
            due_at: now.saturating_add(settings.tuning.repair.interval.ms()),
            turn: 0,
            sessions: 0,
            tickets: 0,
            readings: BTreeMap::new(),
            leases: BTreeMap::new(),
            numbered,
            synced: numbered,
            whole_at: BTreeMap::new(),
        }
    }

    /// What the live sessions with others in `namespace` were promised: the meet of their vectors.
    pub(super) fn leased(&mut self, namespace: NamespaceId, now: u64) -> Option<VersionVector> {
        self.leases.retain(|_, lease| now < lease.until);
        let leases = self.leases.iter().filter(|((_, held), _)| *held == namespace);
        leases.map(|(_, lease)| lease.vector.clone()).reduce(|meet, vector| meet.meet(&vector))
    }

    /// How long ago a session with `worker` last covered every tree, in the namespace where that is longest ago.
    pub(super) fn whole_ms(&self, worker: WorkerId, now: u64) -> Option<u64> {
        let at = self.whole_at.iter().filter(|((held, _), _)| *held == worker).map(|(_, at)| *at).min()?;
        Some(now.saturating_sub(at))
    }

    /// Another boot of `worker`: sessions die with either.
    pub(super) fn rebooted(&mut self, worker: WorkerId) {
        self.leases.retain(|(held, _), _| *held != worker);
    }
}

impl Replica {
    /// A step of a session from a peer.
    pub(super) fn repair_step(&mut self, from: Peer, namespace: NamespaceId, session: u64, step: RepairStep) {
        match step {
            RepairStep::Compare { root } => self.compare(from, namespace, session, root),
            RepairStep::Nodes { ask, level, indexes } => {
                self.answer_nodes(from, namespace, session, ask, level, &indexes);
            }
            RepairStep::Rows { ask, leaves, from: place, upto, held } => {
                let wanted = self.load_leaves(namespace, leaves, place, upto);
                self.answer_rows(from, session, ask, wanted, held);
            }
            RepairStep::End => {
                self.repairs.leases.remove(&(from.worker, namespace));
            }
            RepairStep::Compared { vector, children } => self.compared(from, namespace, session, vector, children),
            RepairStep::Children { ask, sums } => self.children(from, namespace, session, ask, &sums),
            RepairStep::Differing { ask, rows, reach, covered } => {
                self.differing(from, namespace, session, ask, rows, reach, covered);
            }
        }
    }

    fn send_step(&mut self, to: WorkerId, namespace: NamespaceId, session: u64, step: RepairStep) {
        self.effects.push_back(Effect::Send { to, message: Message::Repair { namespace, session, step } });
    }

    /// Begins what is due and moves every session on.
    pub(super) fn advance_repair(&mut self) {
        let due = self.now >= self.repairs.due_at;
        if due {
            self.repairs.due_at = self.now.saturating_add(self.settings.tuning.repair.interval.ms());
            self.repairs.turn = self.repairs.turn.wrapping_add(1);
        }
        let namespaces: Vec<NamespaceId> = self.spaces.keys().copied().collect();
        for namespace in namespaces {
            self.advance_session(namespace);
            self.begin_session(namespace, due);
        }
    }

    /// Begins a session if a gap calls for one, or if it is time to compare.
    fn begin_session(&mut self, namespace: NamespaceId, due: bool) {
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        if space.session.is_some() || !self.standing.is_serving() || self.fenced.is_some() || self.draining.is_some() {
            return;
        }
        let gap = space.gap.take();
        if gap.is_none() && !due {
            return;
        }
        let linked = self.peers.values().filter(|peer| peer.up && peer.shared.contains(&namespace));
        let linked: Vec<Peer> =
            linked.filter_map(|peer| Some(Peer { worker: peer.worker, boot: peer.boot? })).collect();
        let with = match gap {
            Some(worker) => linked.iter().find(|peer| peer.worker == worker),
            None => linked.get(self.repairs.turn.checked_rem(linked.len()).unwrap_or_default()),
        };
        let Some(with) = with.copied() else { return };
        self.repairs.sessions += 1;
        let id = self.repairs.sessions;
        let root = space.tree.root();
        space.session = Some(Session::new(with, id, self.now, gap.is_some()));
        self.send_step(with.worker, namespace, id, RepairStep::Compare { root });
    }

    pub(super) fn repair_status(&self) -> Vec<RepairStatus> {
        let sessions = self.spaces.values().filter_map(|space| Some((space.id, space.session.as_ref()?)));
        let status = sessions.map(|(namespace, session)| {
            let (peer, leaves_found, leaves_left, rows) = session.progress();
            RepairStatus { namespace, peer: peer.worker, leaves_found, leaves_left, rows }
        });
        status.collect()
    }

    /// When the next timer of repair is due.
    pub(super) fn repair_deadline(&self) -> u64 {
        let sessions = self.spaces.values().filter_map(|space| space.session.as_ref());
        let asks =
            sessions.filter_map(Session::oldest_ask).map(|at| at + self.settings.tuning.gossip.fetch_timeout.ms());
        asks.min().unwrap_or(u64::MAX).min(self.repairs.due_at)
    }

    /// A step of reading: `leaves` between two places, as many rows as one reading may bring.
    pub(super) fn load_leaves(
        &mut self,
        namespace: NamespaceId,
        leaves: Vec<crate::merkle::Leaf>,
        from: Place,
        upto: Place,
    ) -> LoadLeaves {
        self.repairs.tickets += 1;
        LoadLeaves { ticket: self.repairs.tickets, namespace, leaves, from, upto, rows_max: listing::ROWS_MAX }
    }

    /// Reads leaves from disk; until they are there, none of their rows leaves memory.
    pub(super) fn read_leaves(&mut self, asked: LoadLeaves, purpose: Purpose) {
        let Some(space) = self.spaces.get_mut(&asked.namespace) else { return };
        asked.leaves.iter().for_each(|leaf| space.rows.hold(*leaf));
        self.effects.push_back(Effect::Disk(Job::LoadLeaves(asked.clone())));
        self.repairs.readings.insert(asked.ticket, Reading { asked, purpose });
    }

    pub(super) fn leaves_loaded(&mut self, loaded: LeavesLoaded) {
        let Some(Reading { asked, purpose }) = self.repairs.readings.remove(&loaded.ticket) else { return };
        let Some(space) = self.spaces.get_mut(&asked.namespace) else { return };
        let covered = loaded.covered.min(asked.upto);
        let listing = listing::list(space, &asked, loaded.rows, covered);
        asked.leaves.iter().for_each(|leaf| space.rows.release(*leaf));
        match purpose {
            Purpose::Ask { session, ask } => self.ask_rows(&asked, session, ask, &listing, covered),
            Purpose::Answer { to, session, ask, held } => {
                self.give_rows(to, asked.namespace, session, ask, &held, listing, covered);
            }
            Purpose::List { ticket, list } => self.give_page(ticket, list, &asked, listing, covered),
        }
    }
}
