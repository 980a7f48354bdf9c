//! Whole leaves that are read from disk, and what a node holds in them: the rows there, with those in memory over them.

use std::collections::BTreeMap;

use snowtide_protocol::Key;

use crate::crdt::Row;
use crate::identity::{NamespaceId, Peer};
use crate::merkle::{Hasher, Leaf, Place, Sum};

use super::Replica;
use super::effect::{Effect, Job, LoadLeaves};
use super::event::{LeavesLoaded, Ticket};
use super::namespace::{Namespace, SessionId};
use super::operation::List;

/// Rows that one reading brings, about.
const ROWS_MAX: usize = 4_096;

/// Leaves that are being read.
#[derive(Debug, Default)]
pub(super) struct LeafReads {
    tickets: Ticket,
    pending: BTreeMap<Ticket, (LoadLeaves, Purpose)>,
}

/// What leaves are read for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To ask a peer what it holds differently.
    Ask { id: SessionId, ask: u64 },
    /// To answer that question.
    Answer { id: SessionId, ask: u64, held: Vec<(Place, u64)> },
    /// To list counters to a client.
    List { ticket: Ticket, list: List },
    /// To have their rows in memory.
    WarmUp,
}

impl LeafReads {
    /// A step of reading: `leaves` between two places, as many rows as one reading may bring.
    pub(super) fn step(&mut self, namespace: NamespaceId, leaves: Vec<Leaf>, from: Place, upto: Place) -> LoadLeaves {
        self.tickets += 1;
        LoadLeaves { ticket: self.tickets, namespace, leaves, from, upto, rows_max: ROWS_MAX }
    }

    /// What is being read to answer a peer.
    pub(super) fn answering(&self, peer: Peer) -> usize {
        let is_answer = |purpose: &Purpose| matches!(purpose, Purpose::Answer { id, .. } if id.with == peer);
        self.pending.values().filter(|(_, purpose)| is_answer(purpose)).count()
    }

    /// Whether nothing is being read.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    fn begin(&mut self, asked: LoadLeaves, purpose: Purpose) {
        self.pending.insert(asked.ticket, (asked, purpose));
    }

    fn end(&mut self, ticket: Ticket) -> Option<(LoadLeaves, Purpose)> {
        self.pending.remove(&ticket)
    }
}

impl Replica {
    /// Reads leaves from disk; until they are there, none of their rows leaves memory.
    pub(super) fn read_leaves(&mut self, asked: LoadLeaves, purpose: Purpose) {
        let Some(held) = self.namespaces.get_mut(asked.namespace) else { return };
        held.hold(&asked.leaves);
        self.effects.push_back(Effect::Disk(Job::LoadLeaves(asked.clone())));
        self.loads.leaves.begin(asked, purpose);
    }

    pub(super) fn leaves_loaded(&mut self, loaded: LeavesLoaded) {
        let Some((asked, purpose)) = self.loads.leaves.end(loaded.ticket) else { return };
        let Some(held) = self.namespaces.get_mut(asked.namespace) else { return };
        let covered = loaded.covered.min(asked.upto);
        // What is here stays until this event is handled.
        held.release(&asked.leaves);
        if matches!(purpose, Purpose::WarmUp) {
            return self.warmed(&asked, loaded.rows, covered);
        }
        let listing = list(held, &asked, loaded.rows, covered);
        match purpose {
            Purpose::WarmUp => {}
            Purpose::Ask { id, ask } => self.ask_rows(id, ask, &listing, covered),
            Purpose::Answer { id, ask, held } => self.give_rows(id, ask, &held, &listing, covered),
            Purpose::List { ticket, list } => self.give_page(ticket, list, &asked, listing, covered),
        }
    }
}

/// A committed row.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) place: Place,
    pub(super) key: Key,
    pub(super) row: Row,
}

/// The committed rows of the leaves that were read, by place, between `asked.from` and `covered`. Rows in memory are at
/// least as new as those on disk, and none that was there when the reading began has left.
fn list(namespace: &Namespace, asked: &LoadLeaves, stored: Vec<(Key, Row)>, covered: Place) -> Vec<Listed> {
    let within = |place: Place| asked.from <= place && place <= covered;
    let absent = stored.into_iter().filter(|(key, _)| {
        let held = namespace.rows().find(key).map(|row| namespace.rows().get(row));
        held.is_none_or(|cell| cell.is_loading())
    });
    let absent = absent.map(|(key, row)| Listed { place: namespace.rows().place(&key), key, row });
    let cells = asked.leaves.iter().flat_map(|leaf| namespace.rows().of_leaf(*leaf));
    let present = cells.filter(|cell| !cell.row.is_empty());
    let present = present.map(|cell| Listed { place: cell.place, key: cell.key.clone(), row: cell.row.clone() });
    let mut listing: Vec<Listed> = absent.chain(present).filter(|listed| within(listed.place)).collect();
    listing.sort_unstable_by(|a, b| (a.place, &a.key).cmp(&(b.place, &b.key)));
    listing
}

/// By place, half of the sum of the rows there.
pub(super) fn sums(hasher: &Hasher, listing: &[Listed]) -> Vec<(Place, u64)> {
    let at_one_place = listing.chunk_by(|a, b| a.place == b.place);
    at_one_place.filter_map(|rows| Some((rows.first()?.place, sum(hasher, rows).short()))).collect()
}

/// The sum of some rows.
pub(super) fn sum(hasher: &Hasher, rows: &[Listed]) -> Sum {
    rows.iter().map(|listed| hasher.row(&listed.key, &listed.row)).fold(Sum::default(), Sum::plus)
}
