//! Looking at everything in a data directory, while no node uses it.
//!
//! Every record of the write-ahead logs and of the manifest is read with its checksum, then every block of every table,
//! then every key and value is decoded; and recovery must come out, so the logs in the journal must chain. What is wrong is
//! gathered rather than stopped at, so that one look tells all. Nothing is changed, except that the end of a write-ahead
//! log is mended or cut off where it is torn, as a start would do.

use std::collections::BTreeMap;
use std::path::Path;

use crate::crdt::{Mark, Row};
use crate::identity::{NamespaceId, ReplicaId};
use crate::merkle::{Hasher, SECRET_BYTES, Sum};
use crate::replica::Census;

use super::database::Database;
use super::error::{Malformed, OpenError, OpenRefusal, StoreError};
use super::format::{JournalKey, RowsKey, decode_rows_key, open_envelope, unseal, unseal_record, unseal_repaired};
use super::medium::{Family, Medium, each};
use super::recovery::{self, Recovery};
use super::tuning::Memory;
use super::wal::{self, Repair};
use super::{directory, journal, meta, namespaces};

/// Keys that are looked up at a time.
const KEYS_PER_READ: usize = 1024;
/// More damages than these are counted, not kept (I6).
const DAMAGES_MAX: usize = 100;
/// How often the walk tells how far it is.
const ENTRIES_PER_WORD: u64 = 4096;

/// What is in a data directory.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whose it is: cluster, worker, layout of IDs.
    pub owner: String,
    /// The incarnation, unless the next start mints one.
    pub replica: Option<ReplicaId>,
    /// How often it was started.
    pub boots: u64,
    /// The bound on ID timestamps.
    pub ceiling: u64,
    /// By family.
    pub families: Vec<Contents>,
    /// What is held of which namespaces, by the names that they had last; by their ids where none is known.
    pub namespaces: Vec<String>,
    /// Each origin's log in each namespace.
    pub logs: Vec<Log>,
    /// What was done, such as cutting off a torn write.
    pub remarks: Vec<String>,
    /// What is wrong, with the file or the record; empty if nothing is.
    pub damages: Vec<String>,
    /// Damages that were not kept.
    pub more_damages: u64,
}

/// What a family holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its name.
    pub family: &'static str,
    /// Keys.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// One origin's log in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where.
    pub namespace: NamespaceId,
    /// Whose.
    pub origin: ReplicaId,
    /// Records.
    pub records: u64,
    /// Gaps: what stands in them came by repair, unless recovery says that it is missing.
    pub gaps: u64,
    /// The first record begins after this commit.
    pub after: u64,
    /// The last commit.
    pub upto: u64,
}

/// Looks at everything; tells `watch` now and then which family it is in and how many of its entries it has seen.
pub fn check(path: &Path, watch: &mut dyn FnMut(&'static str, u64)) -> Result<Report, OpenError> {
    let mut check = Check { report: Report::default(), watch };
    check.all(path).map_err(OpenError::at(path))?;
    Ok(check.report)
}

struct Check<'a> {
    report: Report,
    watch: &'a mut dyn FnMut(&'static str, u64),
}

impl Check<'_> {
    fn all(&mut self, path: &Path) -> Result<(), OpenRefusal> {
        directory::expect(path)?;
        self.logs(path)?;
        match Database::open_read_only(path, Memory::OFFLINE) {
            Ok(database) => {
                self.manifest(path);
                self.contents(&database);
                Ok(())
            }
            Err(OpenRefusal::Damaged { reason }) => {
                self.damage(reason);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn damage(&mut self, what: impl Into<String>) {
        if self.report.damages.len() < DAMAGES_MAX {
            self.report.damages.push(what.into());
        } else {
            self.report.more_damages = self.report.more_damages.saturating_add(1);
        }
    }

    /// Every record of the write-ahead logs. A torn tail is no damage, a flipped bit is.
    fn logs(&mut self, path: &Path) -> Result<(), OpenRefusal> {
        let _lock = directory::lock(path)?;
        match wal::settle(path) {
            Ok(repairs) => repairs.iter().for_each(|repair| match repair {
                Repair::Cut(..) => self.report.remarks.push(repair.to_string()),
                Repair::Mended(..) => self.damage(repair.to_string()),
            }),
            Err(OpenRefusal::Damaged { .. }) => {} // opening comes upon it too
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }

    /// RocksDB has read it; that its tail is whole too is only seen here.
    fn manifest(&mut self, path: &Path) {
        match wal::manifest(path).and_then(|manifest| Ok((wal::damage(&manifest)?, manifest))) {
            Ok((None, _)) => {}
            Ok((Some(byte), manifest)) => self.damage(format!("{} is corrupt at byte {byte}", manifest.display())),
            Err(error) => self.damage(format!("the manifest cannot be read: {error}")),
        }
    }

    fn contents(&mut self, database: &Database) {
        for family in Family::ALL {
            if let Err(error) = self.family(database, family) {
                self.damage(error.to_string());
            }
        }
        if let Err(refusal) = self.start(database) {
            self.damage(refusal.to_string());
        }
    }

    /// Every entry of a family, and each is found by its key: which also reads the filters.
    fn family(&mut self, database: &Database, family: Family) -> Result<(), StoreError> {
        let (mut entries, mut bytes, mut keys) = (0u64, 0u64, Vec::new());
        each(database, family, &[], |key, value| {
            entries = entries.saturating_add(1);
            bytes = bytes.saturating_add(key.len() as u64).saturating_add(value.len() as u64);
            if let Err(error) = self.entry(family, key, value) {
                self.damage(error.to_string());
            }
            keys.push(key.to_vec());
            if keys.len() >= KEYS_PER_READ {
                self.find(database, family, &std::mem::take(&mut keys))?;
            }
            if entries.is_multiple_of(ENTRIES_PER_WORD) {
                (self.watch)(family.name(), entries);
            }
            Ok(())
        })?;
        self.find(database, family, &keys)?;
        self.report.families.push(Contents { family: family.name(), entries, bytes });
        Ok(())
    }

    fn find(&mut self, database: &Database, family: Family, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let lost = database.get_many(family, keys)?.iter().filter(|value| value.is_none()).count();
        if lost > 0 {
            self.damage(format!("{lost} keys of the family {} are there, and are not found", family.name()));
        }
        Ok(())
    }

    /// Decodes one entry. A new family gets its line here.
    fn entry(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let (what, verdict) = match family {
            Family::Journal => return self.record(key, value),
            Family::Rows => row(key, value),
            Family::Repair => ("repaired rows", unseal_repaired(key, value).map(drop)),
            // Each record of its own kind, and read by its name at every start, as in `start`.
            Family::Meta | Family::Dedupe => (family.name(), open_envelope(value).map(drop)),
        };
        verdict.map_err(|reason| malformed(what, key, reason))
    }

    /// A journal record.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let place = JournalKey::decode(key).map_err(|reason| malformed("the journal key", key, reason))?;
        let wrong = |reason| StoreError::malformed(journal::describe(place), reason);
        let record = unseal_record(place, value).map_err(wrong)?;
        record.changes().map_err(|reason| wrong(reason.into()))?;
        let JournalKey { namespace, origin, upto } = place;
        let last = self.report.logs.last_mut().filter(|log| (log.namespace, log.origin) == (namespace, origin));
        match last {
            None => {
                let log = Log { namespace, origin, records: 1, gaps: 0, after: record.after, upto };
                self.report.logs.push(log);
            }
            Some(log) => {
                log.records = log.records.saturating_add(1);
                log.gaps = log.gaps.saturating_add(u64::from(record.after > log.upto));
                log.upto = upto;
            }
        }
        Ok(())
    }

    /// What a start would do, without its writes.
    fn start(&mut self, database: &Database) -> Result<(), OpenRefusal> {
        let identity = meta::identity(database)?;
        self.report.owner = identity.to_string();
        self.report.replica = meta::replica(database, identity.worker)?;
        self.report.boots = meta::BOOT.read(database)?;
        self.report.ceiling = meta::CEILING.read(database)?;
        self.report.namespaces = namespaces::names(database)?;
        let mut reached = BTreeMap::new();
        // Where a row stands follows from the cluster's secret, which is not here. So rows are not found by their keys,
        // and do not matter to whether the logs chain.
        let hasher = Hasher::new([0; SECRET_BYTES]);
        let repaired = recovery::repaired(database)?;
        let recovery = Recovery { medium: database, hasher: &hasher, own: self.report.replica, repaired };
        for namespace in namespaces::held(database)? {
            let space = recovery.space(namespace)?;
            reached.extend(space.vector.iter().map(|(origin, mark)| ((namespace, origin), mark)));
        }
        self.ends(&reached);
        Ok(())
    }

    /// Each log in the journal ends where recovery comes to.
    fn ends(&mut self, reached: &BTreeMap<(NamespaceId, ReplicaId), Mark>) {
        for Log { namespace, origin, upto, .. } in self.report.logs.clone() {
            let mark = reached.get(&(namespace, origin)).copied().unwrap_or_default();
            if mark.seq < upto {
                let seq = mark.seq;
                self.damage(format!("the log of {origin} goes to {upto}, and recovery comes to {seq}"));
            }
        }
    }
}

/// An entry of the family of rows.
fn row(key: &[u8], value: &[u8]) -> (&'static str, Result<(), Malformed>) {
    match decode_rows_key(key) {
        Err(reason) => ("the key", Err(reason)),
        Ok((_, RowsKey::Row(..))) => ("the counter", unseal::<Row>(value).map(drop)),
        Ok((_, RowsKey::Leaf(_))) => ("the leaf", unseal::<Sum>(value).map(drop)),
        Ok((_, RowsKey::Census)) => ("the census", unseal::<Census>(value).map(drop)),
    }
}

fn malformed(what: &str, key: &[u8], reason: Malformed) -> StoreError {
    StoreError::malformed(format!("{what} {}", key.escape_ascii()), reason)
}
