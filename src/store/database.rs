//! The handle on RocksDB: families, batches, and the poison.
//!
//! Everything that is written goes through [`Batch`], so that no failure can be overlooked: the first failed write or
//! sync, or the first background error that RocksDB reports, stops the handle for good (I9). It is never retried.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, DBRawIterator, Error, ErrorKind, Options,
    WriteBatch, WriteOptions, properties,
};

use super::error::{OpenRefusal, StoreError};
use super::tuning;
use super::warnings::Warnings;

/// The column families. `default` exists because RocksDB demands it, and stays empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Whose directory this is, and how far it got.
    Meta,
    /// Records of commits.
    Journal,
    /// Rows as of the last checkpoint.
    Rows,
    /// Reserved: leaves as of the last checkpoint.
    Merkle,
    /// Reserved: idempotency records.
    Dedupe,
}

const FAMILIES: [Family; 5] = [Family::Meta, Family::Journal, Family::Rows, Family::Merkle, Family::Dedupe];

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Journal => "journal",
            Self::Rows => "rows",
            Self::Merkle => "merkle",
            Self::Dedupe => "dedupe",
        }
    }
}

/// An open RocksDB, alone in its directory.
pub(super) struct Database {
    db: DB,
    warnings: Warnings,
    poison: OnceLock<Arc<str>>,
}

impl Database {
    /// Opens what is at `path`; with `create`, makes what is not there yet.
    pub(super) fn open(path: &Path, create: bool, cache_bytes: usize) -> Result<Self, OpenRefusal> {
        let warnings = Warnings::default();
        let opened = Self::open_families(path, create, cache_bytes, &warnings);
        match opened {
            Ok(db) => Ok(Self { db, warnings, poison: OnceLock::new() }),
            Err(error) => Err(refusal(&error, &warnings)),
        }
    }

    fn open_families(path: &Path, create: bool, cache_bytes: usize, warnings: &Warnings) -> Result<DB, Error> {
        let options = tuning::database_options(create, warnings)?;
        let cache = Cache::new_lru_cache(cache_bytes);
        let descriptors = family_names(path)?.into_iter().map(|name| {
            let family = FAMILIES.into_iter().find(|family| family.name() == name);
            ColumnFamilyDescriptor::new(name, tuning::family_options(family, &cache))
        });
        DB::open_cf_descriptors(&options, path, descriptors)
    }

    /// One value.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.alive()?;
        self.db.get_pinned_cf(self.handle(family), key).map_err(|error| read_failed(family, &error))
    }

    /// One value per key, in order.
    pub(super) fn get_many(
        &self,
        family: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<DBPinnableSlice<'_>>>, StoreError> {
        self.alive()?;
        let values = self.db.batched_multi_get_cf(self.handle(family), keys, false);
        values.into_iter().collect::<Result<_, _>>().map_err(|error| read_failed(family, &error))
    }

    /// A cursor that stands nowhere yet.
    pub(super) fn cursor(&self, family: Family) -> Result<Cursor<'_>, StoreError> {
        self.alive()?;
        Ok(Cursor { family, inner: self.db.raw_iterator_cf(self.handle(family)) })
    }

    /// An empty batch.
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { database: self, inner: WriteBatch::default() }
    }

    /// Whether everything written so far is still trusted; cheap enough to ask before every write. A background error poisons, whether or not a write has
    /// noticed it yet (I9).
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.alive()?;
        match self.db.property_int_value(properties::BACKGROUND_ERRORS) {
            Ok(Some(0)) => Ok(()),
            Ok(count) => Err(self.poison(&self.background_error(count))),
            Err(error) => Err(self.poison(error.as_ref())),
        }
    }

    fn background_error(&self, count: Option<u64>) -> String {
        let last = self.warnings.last(|line| line.contains("rror")).unwrap_or_default();
        format!("RocksDB reports {} background error(s). {last}", count.unwrap_or_default())
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        self.health()?;
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| self.poison(error.as_ref()))
    }

    fn alive(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            None => Ok(()),
            Some(cause) => Err(StoreError::Poisoned { cause: cause.clone() }),
        }
    }

    /// The first cause stays.
    fn poison(&self, cause: &str) -> StoreError {
        StoreError::Poisoned { cause: self.poison.get_or_init(|| cause.into()).clone() }
    }

    /// Bytes that a family takes in files and in memory, as far as RocksDB tells.
    pub(super) fn size_bytes(&self, family: Family) -> u64 {
        let family = self.handle(family);
        let sizes = [properties::TOTAL_SST_FILES_SIZE, properties::CUR_SIZE_ALL_MEM_TABLES];
        let told = sizes.iter().filter_map(|name| self.db.property_int_value_cf(family, *name).ok().flatten());
        told.sum()
    }

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("a database is opened with every family")
    }

    /// How often a write-ahead log was synced, by RocksDB's own count.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        let stats = self.db.property_value(properties::DBSTATS).unwrap().unwrap();
        let line = stats.lines().find(|line| line.starts_with("Cumulative WAL:")).unwrap();
        line.split_whitespace().collect::<Vec<_>>().windows(2).find(|pair| pair[1] == "syncs,").unwrap()[0]
            .parse()
            .unwrap()
    }
}

/// One atomic write.
pub(super) struct Batch<'a> {
    database: &'a Database,
    inner: WriteBatch,
}

impl Batch<'_> {
    pub(super) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.inner.put_cf(self.database.handle(family), key, value);
    }

    /// Returns once the batch, and with it everything written before it, is on the disk.
    pub(super) fn write_synced(self) -> Result<(), StoreError> {
        self.database.write(self.inner, true)
    }

    /// Returns once the batch can be read; the next synced one makes it durable, because RocksDB syncs every
    /// write-ahead log that is not synced yet, oldest first.
    pub(super) fn write_unsynced(self) -> Result<(), StoreError> {
        self.database.write(self.inner, false)
    }
}

/// A key and its value.
type Item<'a> = (&'a [u8], &'a [u8]);

/// Walks over a family in the order of its keys.
pub(super) struct Cursor<'a> {
    family: Family,
    inner: DBRawIterator<'a>,
}

impl Cursor<'_> {
    /// Stands at the first key at or above `key`, if there is one.
    pub(super) fn seek(&mut self, key: &[u8]) {
        self.inner.seek(key);
    }

    /// Stands at the key after this one.
    pub(super) fn advance(&mut self) {
        if self.inner.valid() {
            self.inner.next();
        }
    }

    /// The entry here; `None` at the end.
    pub(super) fn item(&self) -> Result<Option<Item<'_>>, StoreError> {
        match self.inner.item() {
            Some(item) => Ok(Some(item)),
            None => self.inner.status().map(|()| None).map_err(|error| read_failed(self.family, &error)),
        }
    }
}

fn read_failed(family: Family, error: &Error) -> StoreError {
    StoreError::Read { what: format!("the family {}", family.name()), cause: error.to_string() }
}

/// Ours, and any that a newer program has added: RocksDB opens all or none, and only an open database can say which
/// format it is in.
fn family_names(path: &Path) -> Result<Vec<String>, Error> {
    let mut names = if path.join("CURRENT").exists() { DB::list_cf(&Options::default(), path)? } else { Vec::new() };
    for family in FAMILIES {
        if !names.iter().any(|name| name == family.name()) {
            names.push(family.name().to_owned());
        }
    }
    Ok(names)
}

/// RocksDB's errors are text; these are the ones that an operator can act on.
fn refusal(error: &Error, warnings: &Warnings) -> OpenRefusal {
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::IOError if reason.contains("LOCK") || reason.contains("lock hold") => OpenRefusal::Locked,
        ErrorKind::Corruption => OpenRefusal::Damaged { reason: with_file(reason, warnings) },
        // A file that should be there is not.
        ErrorKind::InvalidArgument => OpenRefusal::Damaged { reason },
        ErrorKind::IOError if reason.contains("No such file") => OpenRefusal::Damaged { reason },
        _ => OpenRefusal::Database { reason },
    }
}

/// The status of a damaged write-ahead log names no file, the warning before it does.
fn with_file(reason: String, warnings: &Warnings) -> String {
    match warnings.last(|line| line.contains(": dropping ")) {
        Some(line) => format!("{reason} ({line})"),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(database: &Database) -> Result<(), StoreError> {
        let mut batch = database.batch();
        // Tables with both ends of this range overlap, so that a compaction has to read them.
        batch.put(Family::Rows, b"a", b"value");
        batch.put(Family::Rows, b"z", b"value");
        batch.write_synced()
    }

    fn damage_a_table(dir: &Path) {
        let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let table = paths.filter(|path| path.extension().is_some_and(|found| found == "sst")).min().unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }

    fn until_unhealthy(database: &Database) -> String {
        let watch = crate::clock::Stopwatch::start();
        loop {
            match database.health() {
                Err(error) => return error.to_string(),
                Ok(()) => assert!(watch.elapsed_ms() < 30_000, "the error was never counted"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_background_error_poisons_even_if_no_write_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path(), true, 1 << 20).unwrap();
        database.health().unwrap();
        let flush = || {
            put(&database).unwrap();
            database.db.flush_cf(database.handle(Family::Rows))
        };
        (0..3).for_each(|_| flush().unwrap());
        damage_a_table(dir.path());
        // The fourth table of one level starts a compaction, which comes upon the damage in the background. The flush
        // may hear of that too.
        let _ = flush();
        let cause = until_unhealthy(&database);
        assert!(cause.contains("background error(s). "), "{cause}");
        assert!(cause.contains("checksum mismatch") && cause.contains(".sst"), "{cause}");
        assert_eq!(put(&database).unwrap_err().to_string(), cause, "the first cause stays");
        assert_eq!(database.get(Family::Rows, b"a").err().unwrap().to_string(), cause);
    }

    #[test]
    fn automatic_resume_is_off() {
        let dir = tempfile::tempdir().unwrap();
        drop(Database::open(dir.path(), true, 1 << 20).unwrap());
        let written = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let newest = written.filter(|path| path.to_string_lossy().contains("OPTIONS-")).max().unwrap();
        let text = std::fs::read_to_string(newest).unwrap();
        for option in [
            "max_bgerror_resume_count=0",
            "track_and_verify_wals_in_manifest=true",
            "wal_recovery_mode=kTolerateCorruptedTailRecords",
            "paranoid_checks=true",
        ] {
            assert!(text.contains(option), "{option} is not in effect");
        }
    }
}
