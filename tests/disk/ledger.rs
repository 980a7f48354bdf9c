//! What the workload was promised, kept outside of the store, and what a data directory must hold for it.

use std::collections::BTreeMap;
use std::path::Path;

use snowtide::crdt::{Row, Slot};
use snowtide::identity::ReplicaId;
use snowtide::replica::Recovered;
use snowtide::store::Store;

use crate::record::Entry;
use crate::table::Verdict;
use crate::workload::{self, Fate};

/// Numbers that only grow, by what they count: how far was promised, and how far was attempted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(BTreeMap<String, Promise>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promise {
    pub(crate) acknowledged: u64,
    attempted: u64,
}

impl Ledger {
    /// Takes a word of the workload into account.
    pub(crate) fn hear(&mut self, entry: &Entry) {
        let Entry::Note(text) = entry else { return };
        let (fate, name, number) = workload::parse_note(text);
        let promise = self.0.entry(name.to_owned()).or_default();
        match fate {
            Fate::Attempted => promise.attempted = promise.attempted.max(number),
            Fate::Acknowledged => promise.acknowledged = promise.acknowledged.max(number),
        }
    }

    pub(crate) fn promise(&self, name: &str) -> Promise {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Everything that was acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.0.values().map(|promise| promise.acknowledged).sum()
    }

    fn origins(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.keys().filter_map(|name| workload::origin_of(name))
    }

    /// Opens the directory and looks at everything.
    pub(crate) fn judge(&self, directory: &Path) -> Verdict {
        let (store, recovered) = match Store::open(&workload::options(directory)) {
            Ok(opened) => opened,
            Err(error) => return Verdict::Refused(error.to_string()),
        };
        self.judge_open(&store, &recovered)
    }

    /// The same, of a store that is open.
    pub(crate) fn judge_open(&self, store: &Store, recovered: &Recovered) -> Verdict {
        let steps = [self.numbers(recovered), self.rows(store, recovered), self.journals(store, recovered)];
        steps.into_iter().find_map(Result::err).unwrap_or(Verdict::Fine)
    }

    fn numbers(&self, recovered: &Recovered) -> Result<(), Verdict> {
        self.within("ceiling", recovered.ceiling)?;
        self.within("replica", recovered.replica.map_or(0, workload::incarnation))?;
        let vector = &recovered.spaces[0].vector;
        for origin in self.origins() {
            self.within(&workload::log_name(origin), vector.mark(origin).seq)?;
        }
        match vector.iter().find(|(origin, _)| self.origins().all(|known| known != *origin)) {
            Some((origin, _)) => Err(Verdict::Silent(format!("{origin} has never written anything"))),
            None => Ok(()),
        }
    }

    pub(crate) fn within(&self, name: &str, found: u64) -> Result<(), Verdict> {
        let Promise { acknowledged, attempted } = self.promise(name);
        if found < acknowledged {
            return Err(Verdict::Lost(format!("{name}: {acknowledged} was acknowledged, {found} is there")));
        }
        if found > attempted {
            return Err(Verdict::Silent(format!("{name}: {found} is there, {attempted} was attempted")));
        }
        Ok(())
    }

    /// Each row is exactly what the vector says: no more, no less.
    fn rows(&self, store: &Store, recovered: &Recovered) -> Result<(), Verdict> {
        let space = &recovered.spaces[0];
        let mut expected: BTreeMap<String, Row> = BTreeMap::new();
        for (origin, mark) in space.vector.iter() {
            for seq in 1..=mark.seq {
                for key in workload::keys(origin, seq) {
                    expected.entry(key).or_default().join_slot(origin, Slot::of(seq, 0));
                }
            }
        }
        let keys: Vec<_> = expected.keys().map(|key| workload::key(key)).collect();
        let loaded = store.load(workload::SPACE, &keys).map_err(|error| Verdict::Refused(error.to_string()))?;
        let mut found: BTreeMap<String, Row> = loaded.into_iter().map(|(key, row)| (key.to_string(), row)).collect();
        found.extend(space.dirty.iter().map(|dirty| (dirty.key.to_string(), dirty.row.clone())));
        let differs = expected.iter().find(|(key, row)| found.get(*key) != Some(row));
        if let Some((key, row)) = differs {
            return Err(Verdict::Silent(format!("{key} is {:?}, and must be {row:?}", found.get(key))));
        }
        match found.keys().find(|key| !expected.contains_key(*key)) {
            Some(key) => Err(Verdict::Silent(format!("{key} was never written"))),
            None => Ok(()),
        }
    }

    /// Each log chains from its beginning to where the vector says that it ends.
    fn journals(&self, store: &Store, recovered: &Recovered) -> Result<(), Verdict> {
        for (origin, mark) in recovered.spaces[0].vector.iter() {
            let slice = store.read_journal(workload::SPACE, origin, 0, usize::MAX);
            let slice = slice.map_err(|error| Verdict::Refused(error.to_string()))?;
            let reached = slice.records.last().map(|record| record.mark());
            if reached != Some(mark) {
                return Err(Verdict::Silent(format!("the log of {origin} ends at {reached:?}, and must at {mark:?}")));
            }
        }
        Ok(())
    }
}
