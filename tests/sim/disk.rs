//! A disk in memory that keeps only what was synced when its node crashes.

use std::collections::BTreeMap;

use snowtide::crdt::{Row, VersionVector};
use snowtide::identity::{Boot, NamespaceId, ReplicaId};
use snowtide::replica::{CheckpointChunk, Commit, Key, Record, Recovered, RecoveredSpace};

#[derive(Clone, Default)]
pub struct Disk {
    pub replica: Option<ReplicaId>,
    boots: u64,
    journal: BTreeMap<(NamespaceId, ReplicaId, u64), Record>,
    rows: BTreeMap<(NamespaceId, String), Row>,
    position: BTreeMap<NamespaceId, VersionVector>,
}

impl Disk {
    pub fn commit(&mut self, commit: &Commit) {
        for record in &commit.records {
            self.journal.insert((record.namespace, record.origin, record.upto), record.clone());
        }
    }

    pub fn checkpoint(&mut self, chunk: &CheckpointChunk) {
        for (namespace, key, row) in &chunk.rows {
            self.rows.insert((*namespace, key.to_string()), row.clone());
        }
        self.position.extend(chunk.position.iter().flatten().cloned());
    }

    pub fn row(&self, namespace: NamespaceId, key: &str) -> Row {
        self.rows.get(&(namespace, key.to_owned())).cloned().unwrap_or_default()
    }

    pub fn chain(&self, namespace: NamespaceId, origin: ReplicaId, after: u64, bytes_max: usize) -> Vec<Record> {
        let mut bytes = 0;
        let range = (namespace, origin, after + 1)..=(namespace, origin, u64::MAX);
        let records = self.journal.range(range).map(|(_, record)| record);
        let fits = records.take_while(|record| {
            let fits = bytes < bytes_max;
            bytes += record.weight();
            fits
        });
        fits.cloned().collect()
    }

    pub fn hash(&self, namespace: NamespaceId, origin: ReplicaId, seq: u64) -> Option<snowtide::crdt::LogHash> {
        self.journal.get(&(namespace, origin, seq)).map(|record| record.hash)
    }

    /// What a start finds: rows of the last checkpoint with the journal folded over them.
    pub fn recover(&mut self, namespace: NamespaceId, nonce: u64) -> Recovered {
        self.boots += 1;
        let mut vector = self.position.get(&namespace).cloned().unwrap_or_default();
        let mut dirty: BTreeMap<String, Row> = BTreeMap::new();
        for record in self.journal.values().filter(|record| record.namespace == namespace) {
            if record.upto <= self.position.get(&namespace).map_or(0, |position| position.mark(record.origin).seq) {
                continue;
            }
            for change in record.changes().expect("the journal decodes") {
                let row = dirty.entry(change.key.to_owned()).or_insert_with(|| self.row(namespace, change.key));
                row.join_slot(record.origin, change.slot);
            }
            vector.advance(record.origin, record.mark());
        }
        let dirty = dirty.into_iter().map(|(key, row)| (Key::new(key).expect("a key that was journalled"), row));
        Recovered {
            replica: self.replica,
            boot: Boot { counter: self.boots, nonce },
            ceiling: 0,
            spaces: vec![RecoveredSpace { namespace, vector, dirty: dirty.collect() }],
        }
    }
}
