//! Rows that repair brought: merged like any others, journalled in a record of the local kind.

use snowtide_protocol::Key;

use crate::identity::{NamespaceId, Peer};

use super::super::Replica;
use super::super::commit::Changed;
use super::super::message::RepairedRow;

impl Replica {
    /// Applies what has arrived, until something has to be loaded first or the commit is full.
    pub(in super::super) fn apply_arrived(&mut self, namespace: NamespaceId) {
        while !self.is_full() && !self.refusal_of_deltas() {
            let session = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut());
            let Some(session) = session.filter(|session| !session.loading) else { return };
            let Some(rows) = session.arrived.pop_front() else { return };
            let with = session.with;
            if self.find_rows(rows.iter().map(|row| (namespace, row.key.as_str()))) {
                self.apply_rows(namespace, with, &rows);
                continue;
            }
            let keys: Result<Vec<Key>, _> = rows.iter().map(|row| Key::new(row.key.as_str())).collect();
            let Ok(keys) = keys else {
                self.bad_message(with.worker, "a row with an empty or an overlong key");
                return self.give_up(namespace);
            };
            self.load_for_repair(namespace, &keys);
            if let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut()) {
                session.arrived.push_front(rows);
                session.loading = true;
            }
        }
    }

    /// The rows that the first arrived ones are merged into are in memory.
    pub(in super::super) fn release_repaired(&mut self, namespace: NamespaceId) {
        if let Some(session) = self.spaces.get_mut(&namespace).and_then(|space| space.session.as_mut()) {
            session.loading = false;
        }
        self.apply_arrived(namespace);
    }

    fn apply_rows(&mut self, namespace: NamespaceId, with: Peer, rows: &[RepairedRow]) {
        let number = self.commits.gathering.number;
        let own = self.replica;
        let Some(space) = self.spaces.get_mut(&namespace) else { return };
        let (mut applied, mut ahead) = (0, false);
        for (row, id) in rows.iter().zip(&self.works.found) {
            let Some(id) = *id else { continue };
            let cell = space.rows.get_mut(id);
            let mut news = Vec::new();
            for (replica, slot) in &row.slots {
                // I2, I3: our own live slot is never taken from anybody.
                if Some(*replica) == own {
                    ahead |= !cell.working_slot(*replica).covers(*slot);
                } else if cell.apply(*replica, *slot, number) {
                    news.push((*replica, *slot));
                    let changed = Changed { namespace, row: id, replica: *replica, slot: *slot, seq: None };
                    self.commits.gathering.foreign.push(changed);
                }
            }
            if !news.is_empty() {
                applied += 1;
                let row = RepairedRow { key: row.key.clone(), slots: news };
                self.commits.gathering.add_repaired(namespace, row, &space.reach);
            }
        }
        if let Some(session) = space.session.as_mut() {
            session.rows += applied;
        }
        if ahead {
            self.own_slot_ahead(with.worker, namespace);
        }
    }
}
