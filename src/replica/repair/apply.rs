//! Rows that repair brought: merged like any others, journalled in a record of the local kind.

use snowtide_protocol::Key;

use crate::identity::{NamespaceId, Peer};

use super::super::Replica;
use super::super::loads::Waiter;
use super::super::message::RepairedRow;
use super::super::namespace::Namespace;

impl Replica {
    /// Applies what has arrived, until something has to be loaded first or the commit is full.
    pub(in super::super) fn apply_arrived(&mut self, namespace: NamespaceId) {
        while !self.is_full() && !self.refusal_of_deltas() {
            let held = self.namespaces.get_mut(namespace);
            let Some((with, rows)) = held.and_then(Namespace::next_arrived) else { return };
            if self.find_rows(rows.iter().map(|row| (namespace, row.key.as_str()))) {
                self.apply_rows(namespace, with, &rows);
                continue;
            }
            let keys: Result<Vec<Key>, _> = rows.iter().map(|row| Key::new(row.key.as_str())).collect();
            let Ok(keys) = keys else {
                self.bad_message(with.worker, "a row with an empty or an overlong key");
                return self.give_up(namespace);
            };
            self.load_rows(namespace, &keys, Waiter::Repair(namespace));
            if let Some(held) = self.namespaces.get_mut(namespace) {
                held.await_arrived(rows);
            }
        }
    }

    /// The rows that the first arrived ones are merged into are in memory.
    pub(in super::super) fn release_repaired(&mut self, namespace: NamespaceId) {
        if let Some(held) = self.namespaces.get_mut(namespace) {
            held.arrived_loaded();
        }
        self.apply_arrived(namespace);
    }

    fn apply_rows(&mut self, namespace: NamespaceId, with: Peer, rows: &[RepairedRow]) {
        let own = self.incarnation.id();
        let Some(held) = self.namespaces.get_mut(namespace) else { return };
        let (commit, mut ahead) = (self.commits.number(), false);
        for (row, id) in rows.iter().zip(self.loads.found()) {
            let Some(id) = *id else { continue };
            let (news, more) = held.apply_repaired((row, id), own, commit, self.commits.changed());
            ahead |= more;
            if let Some(news) = news {
                self.commits.add_repaired(namespace, news, held.reach());
            }
        }
        if ahead {
            self.own_slot_ahead(with.worker, namespace);
        }
    }
}
