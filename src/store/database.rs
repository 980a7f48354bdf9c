//! RocksDB as the medium that ships: column families, batches, and the poison.
//!
//! Everything that is written goes through one function, so that no failure can be overlooked: the first failed write
//! or sync, or the first background error that RocksDB reports, stops the handle for good (I9). It is never retried.
//! The column family `default` exists because RocksDB demands it, and stays empty.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::fcntl::Flock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRawIterator, Error,
    ErrorKind, FlushOptions, IngestExternalFileOptions, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
    properties,
};

use crate::replica::Headroom;

use super::error::{OpenRefusal, StoreError};
use super::headroom::{Look, largest_compaction};
use super::medium::{Batch, Cursor, Entry, Family, Item, Medium, Write};
use super::table::{self, Table};
use super::tuning::{self, Memory, Sizes};
use super::warnings::Warnings;
use super::{directory, space, wal};

/// An open RocksDB, alone in its directory.
pub(super) struct Database {
    db: DB,
    warnings: Warnings,
    poison: OnceLock<Arc<str>>,
    sizes: Sizes,
    cache: Cache,
    /// The table of rows that is being written.
    table: Mutex<Option<Table>>,
    /// Bytes handed to the write-ahead log and to tables.
    written: AtomicU64,
    compacts: AtomicBool,
    /// Given up after RocksDB has closed.
    _lock: Flock<File>,
}

impl Database {
    /// Opens what is at `path`; with `create`, makes what is not there yet.
    pub(super) fn open(path: &Path, create: bool, memory: Memory) -> Result<Self, OpenRefusal> {
        let database = Self::open_by(path, memory, |sizes, cache, warnings| {
            let options = tuning::database_options(create, sizes, warnings)?;
            DB::open_cf_descriptors(&options, path, Self::families(path, sizes, cache)?)
        })?;
        table::remove_left_over(path).map_err(OpenRefusal::directory("remove an unfinished table"))?;
        let look = database.look();
        database.allow_compactions(look.judge(&look, Headroom::Ample, 0).compacts);
        Ok(database)
    }

    /// Opens what is at `path`, to look at it only.
    pub(super) fn open_read_only(path: &Path, memory: Memory) -> Result<Self, OpenRefusal> {
        Self::open_by(path, memory, |sizes, cache, warnings| {
            let options = tuning::database_options(false, sizes, warnings)?;
            DB::open_cf_descriptors_read_only(&options, path, Self::families(path, sizes, cache)?, false)
        })
    }

    /// Removes what is in the directory and belongs to nothing that was opened; to be called where nothing writes.
    pub(super) fn remove_unnamed_tables(&self) {
        let removed = self.db.live_files().map_err(|error| error.to_string()).and_then(|files| {
            let named = files.into_iter().map(|file| file.name.trim_start_matches('/').to_owned()).collect();
            let removed = table::remove_left_over(self.db.path())
                .and_then(|left| Ok(left + space::remove_unnamed_tables(self.db.path(), &named)?));
            removed.map_err(|error| error.to_string())
        });
        match removed {
            Ok(0) => {}
            Ok(bytes) => tracing::info!(bytes, "removed tables that were never finished"),
            Err(error) => tracing::debug!(error, "tables that were never finished may be left"),
        }
    }

    fn open_by(
        path: &Path,
        memory: Memory,
        open: impl Fn(Sizes, &Cache, &Warnings) -> Result<DB, Error>,
    ) -> Result<Self, OpenRefusal> {
        let _lock = directory::lock(path)?;
        for repair in wal::settle(path)? {
            tracing::warn!("{repair}");
        }
        wal::refuse_endless(path)?;
        let warnings = Warnings::default();
        let sizes = Sizes::new(memory, space::of(path).total);
        let cache = tuning::block_cache(sizes);
        let opened = open(sizes, &cache, &warnings).or_else(|error| {
            let put_back = table::put_back(path, error.as_ref()).ok_or_else(|| error.clone())?;
            open(sizes, &cache, &warnings).map_err(|_| {
                // It was another one that is missing.
                let _ = std::fs::remove_file(put_back);
                error
            })
        });
        match opened {
            Ok(db) => Ok(Self {
                db,
                warnings,
                poison: OnceLock::new(),
                sizes,
                cache,
                table: Mutex::default(),
                written: AtomicU64::new(0),
                compacts: AtomicBool::new(false),
                _lock,
            }),
            Err(error) => Err(refusal(&error, &warnings)),
        }
    }

    fn families(path: &Path, sizes: Sizes, cache: &Cache) -> Result<Vec<ColumnFamilyDescriptor>, Error> {
        let descriptors = family_names(path)?.into_iter().map(|name| {
            let family = Family::ALL.into_iter().find(|family| family.name() == name);
            ColumnFamilyDescriptor::new(name, tuning::family_options(family, sizes, cache))
        });
        Ok(descriptors.collect())
    }

    /// Makes a copy of everything at `to`.
    pub(super) fn checkpoint(&self, to: &Path) -> Result<(), Error> {
        Checkpoint::new(&self.db)?.create_checkpoint(to)
    }

    /// Rewrites everything without what was overwritten or deleted; tells `watch` which family it is in.
    pub(super) fn rewrite(&self, watch: &mut dyn FnMut(&'static str)) -> Result<(), StoreError> {
        self.tidy()?;
        for family in Family::ALL {
            watch(family.name());
            self.compact(family)?;
        }
        Ok(())
    }

    fn compact(&self, family: Family) -> Result<(), StoreError> {
        self.alive()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.handle(family), None::<&[u8]>, None::<&[u8]>, &options);
        // It returns nothing; what went wrong shows as a background error.
        self.health()
    }

    fn background_error(&self, count: Option<u64>) -> String {
        // What the system said comes before what RocksDB makes of it.
        let system = self.warnings.last(|line| line.contains("IO error") || line.contains("Corruption"));
        let cause = system.or_else(|| self.warnings.last(|line| line.contains("rror"))).unwrap_or_default();
        format!("RocksDB reports {} background error(s). {cause}", count.unwrap_or_default())
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.health()?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let batch = self.encode(batch);
        self.written.fetch_add(batch.size_in_bytes() as u64, Ordering::Relaxed);
        self.db.write_opt(batch, &options).map_err(|error| self.poison(error.as_ref()))
    }

    /// The table that is being written; none is left if that fails.
    fn continue_table(&self, under_way: Option<Table>) -> Result<Table, Error> {
        match under_way {
            Some(table) => Ok(table),
            None => Table::begin(self.db.path(), tuning::family_options(Some(Family::Rows), self.sizes, &self.cache)),
        }
    }

    fn ingest(&self, table: Table) -> Result<(), Error> {
        let path = table.finish()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db.ingest_external_file_cf_opts(self.handle(Family::Rows), &options, vec![path])
    }

    /// Bytes in the tables of each level, family by family, and in all of them together.
    fn levels(&self) -> Result<(HashMap<String, Vec<u64>>, u64), Error> {
        let (mut families, mut all) = (HashMap::<String, Vec<u64>>::new(), 0_u64);
        for file in self.db.live_files()? {
            let levels = families.entry(file.column_family_name).or_default();
            let level = usize::try_from(file.level).unwrap_or_default();
            levels.resize(levels.len().max(level.saturating_add(1)), 0);
            if let Some(bytes) = levels.get_mut(level) {
                *bytes = bytes.saturating_add(file.size as u64);
            }
            all = all.saturating_add(file.size as u64);
        }
        Ok((families, all))
    }

    fn encode(&self, batch: &Batch) -> WriteBatch {
        let mut encoded = WriteBatch::default();
        for write in &batch.0 {
            match write {
                Write::Put(family, key, value) => encoded.put_cf(self.handle(*family), key, value),
                Write::Delete(family, key) => encoded.delete_cf(self.handle(*family), key),
                Write::DeleteRange(family, from, to) => encoded.delete_range_cf(self.handle(*family), from, to),
            }
        }
        encoded
    }

    /// One value per key, in order, from no further away than `tier`.
    fn many(&self, family: Family, keys: &[Vec<u8>], tier: ReadTier) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        let values = self.db.batched_multi_get_cf_opt(self.handle(family), keys, keys.is_sorted(), &options);
        values.into_iter().map(|value| value.map(|found| found.map(|value| value.to_vec()))).collect()
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

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("a database is opened with every family")
    }
}

impl Medium for Database {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?;
        self.db.get_cf(self.handle(family), key).map_err(|error| read_failed(family, &error))
    }

    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.alive()?;
        self.many(family, keys, ReadTier::All).map_err(|error| read_failed(family, &error))
    }

    fn get_many_at_hand(&self, family: Family, keys: &[Vec<u8>]) -> Result<Option<Vec<Option<Vec<u8>>>>, StoreError> {
        self.alive()?;
        match self.many(family, keys, ReadTier::BlockCache) {
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            values => values.map(Some).map_err(|error| read_failed(family, &error)),
        }
    }

    fn cursor(&self, family: Family) -> Result<Box<dyn Cursor + '_>, StoreError> {
        self.alive()?;
        Ok(Box::new(Iter { family, inner: self.db.raw_iterator_cf(self.handle(family)) }))
    }

    fn write_synced(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(&batch)
    }

    fn add_to_table(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.health()?;
        let bytes: usize = entries.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut under_way = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.continue_table(under_way.take()).map_err(|error| self.poison(error.as_ref()))?;
        table.add(&entries).map_err(|error| self.poison(error.as_ref()))?;
        table.sync().map_err(|error| self.poison(&error.to_string()))?;
        *under_way = Some(table);
        Ok(())
    }

    fn end_table(&self) -> Result<(), StoreError> {
        self.health()?;
        let mut under_way = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(table) = under_way.take() else { return Ok(()) };
        self.ingest(table).map_err(|error| self.poison(error.as_ref()))
    }

    /// Tables need no replay.
    fn tidy(&self) -> Result<(), StoreError> {
        self.health()?;
        let families: Vec<_> = Family::ALL.iter().map(|family| self.handle(*family)).collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(|error| self.poison(error.as_ref()))
    }

    /// A background error poisons, whether or not a write has noticed it yet (I9).
    fn health(&self) -> Result<(), StoreError> {
        self.alive()?;
        match self.db.property_int_value(properties::BACKGROUND_ERRORS) {
            Ok(Some(0)) => Ok(()),
            Ok(count) => Err(self.poison(&self.background_error(count))),
            Err(error) => Err(self.poison(error.as_ref())),
        }
    }

    /// In files and in memory, as far as RocksDB tells.
    fn size_bytes(&self, family: Family) -> u64 {
        let family = self.handle(family);
        let sizes = [properties::TOTAL_SST_FILES_SIZE, properties::CUR_SIZE_ALL_MEM_TABLES];
        let told = sizes.iter().filter_map(|name| self.db.property_int_value_cf(family, *name).ok().flatten());
        told.sum()
    }

    fn look(&self) -> Look {
        // Before the others: what is written meanwhile is then counted twice rather than not at all.
        let free = space::of(self.db.path()).free;
        let tables = space::of_tables(self.db.path());
        let (families, live) = self.levels().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot ask which tables there are");
            // As if all of them went into one.
            (HashMap::from([(String::new(), vec![tables])]), tables)
        });
        let step = self.sizes.step();
        let compactions = families.values().map(|levels| largest_compaction(levels, step));
        let memtables = Family::ALL.iter().filter_map(|family| {
            self.db.property_int_value_cf(self.handle(*family), properties::CUR_SIZE_ALL_MEM_TABLES).ok().flatten()
        });
        Look {
            free,
            unfinished: tables.saturating_sub(live),
            compaction: compactions.max().unwrap_or(0),
            flush: memtables.sum(),
            log: self.sizes.log(),
            checkpoint: 0,
            written: self.written.load(Ordering::Relaxed),
        }
    }

    fn allow_compactions(&self, allowed: bool) {
        if self.compacts.swap(allowed, Ordering::Relaxed) == allowed {
            return;
        }
        let disabled = if allowed { "false" } else { "true" };
        for family in Family::ALL {
            // It fails where the file that tells of it cannot be written, and has happened all the same.
            if let Err(error) = self.db.set_options_cf(self.handle(family), &[("disable_auto_compactions", disabled)]) {
                tracing::warn!(family = family.name(), allowed, %error, "the change of an option is not on disk");
            }
        }
    }

    #[cfg(test)]
    fn syncs(&self) -> u64 {
        let stats = self.db.property_value(properties::DBSTATS).unwrap().unwrap();
        let line = stats.lines().find(|line| line.starts_with("Cumulative WAL:")).unwrap();
        line.split_whitespace().collect::<Vec<_>>().windows(2).find(|pair| pair[1] == "syncs,").unwrap()[0]
            .parse()
            .unwrap()
    }
}

struct Iter<'a> {
    family: Family,
    inner: DBRawIterator<'a>,
}

impl Cursor for Iter<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.inner.seek(key);
    }

    fn advance(&mut self) {
        if self.inner.valid() {
            self.inner.next();
        }
    }

    fn item(&self) -> Result<Option<Item<'_>>, StoreError> {
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
    for family in Family::ALL {
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
        ErrorKind::IOError if reason.contains("LOCK") || reason.contains("lock hold") => {
            OpenRefusal::Locked { holder: None }
        }
        ErrorKind::Corruption => OpenRefusal::Damaged { reason: with_file(reason, warnings) },
        // The manifest is missing by its name in another file.
        _ if reason.contains("No such file") && reason.contains("MANIFEST") => {
            OpenRefusal::Damaged { reason: format!("{reason} (named by CURRENT)") }
        }
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
        let mut batch = Batch::default();
        // Tables with both ends of this range overlap, so that a compaction has to read them.
        batch.put(Family::Rows, b"a", b"value".to_vec());
        batch.put(Family::Rows, b"z", b"value".to_vec());
        database.write_synced(batch)
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
        let database = Database::open(dir.path(), true, Memory::OFFLINE).unwrap();
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
    fn a_batch_deletes_keys_and_ranges_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path(), true, Memory::OFFLINE).unwrap();
        let keys = || {
            let mut cursor = database.cursor(Family::Journal).unwrap();
            cursor.seek(b"");
            let mut found = String::new();
            while let Some((key, _)) = cursor.item().unwrap() {
                found.push_str(std::str::from_utf8(key).unwrap());
                cursor.advance();
            }
            found
        };
        let mut batch = Batch::default();
        b"abcdef".iter().for_each(|key| batch.put(Family::Journal, [*key], vec![1]));
        batch.delete(Family::Journal, b"a");
        database.write_synced(batch).unwrap();
        assert_eq!(keys(), "bcdef");
        let mut batch = Batch::default();
        batch.delete_range(Family::Journal, b"c", b"e");
        batch.put(Family::Journal, b"d", vec![2]);
        database.write_synced(batch).unwrap();
        assert_eq!(keys(), "bdef");
    }

    #[test]
    fn automatic_resume_is_off() {
        let dir = tempfile::tempdir().unwrap();
        drop(Database::open(dir.path(), true, Memory::OFFLINE).unwrap());
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
