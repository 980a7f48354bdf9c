//! How RocksDB is set up, and why.
//!
//! The load is one synced batch per commit, appended to the journal in key order and read back rarely; rows written in
//! bulk by checkpoints and read at random when they are not in memory; and a few tiny records of `meta`.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Error, LruCacheOptions, Options};

use super::medium::Family;
use super::warnings::Warnings;

/// The write-ahead logs together; beyond it, RocksDB flushes whatever pins the oldest. It bounds the time of a restart.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// All memtables together; beyond it, the largest is flushed.
pub const MEMTABLE_BYTES_MAX: usize = 192 << 20;
/// A table file. Its filter is read as a whole, and stays in the cache only if it is small beside a part of that.
const TABLE_BYTES: u64 = 16 << 20;
/// The block cache has 2 to the power of this many parts.
const CACHE_PARTS_BITS: i32 = 2;
/// Table files that are open at once, where descriptors suffice: as many as RocksDB makes use of.
pub const OPEN_FILES_MAX: i32 = 512;

/// Options that cannot be set by a function. With any other value, RocksDB would clear a failed flush by itself and go
/// on as if nothing had happened (I9).
const BY_STRING: &str = "max_bgerror_resume_count=0";

/// The least that all memtables may take, however small the disk.
const MEMTABLE_BYTES_MIN: u64 = 8 << 20;
/// The least that one of them may take.
const SMALL_MEMTABLE_BYTES_MIN: usize = 1 << 20;
/// The first level above the last is kept below it; and a step of a compaction below the second.
const LEVEL_BYTES_MAX: u64 = 256 << 20;
const STEP_BYTES_MAX: u64 = 25 * TABLE_BYTES;
/// What is gathered, logged or compacted at once takes no more than these parts of the disk, or a small one would be full
/// of what is only on its way.
const MEMTABLES_PER_DISK: u64 = 16;
const LOGS_PER_DISK: u64 = 12;
const COMPACTION_PER_DISK: u64 = 8;

/// What RocksDB may take in memory, in bytes, and of open files.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Its cache of blocks, indexes and filters.
    pub cache: usize,
    /// What it gathers before it writes a table; see [`MEMTABLE_BYTES_MAX`].
    pub memtables: usize,
    /// Table files that it has open at once; see [`OPEN_FILES_MAX`]. It opens and closes them as it goes, and a few other
    /// files come on top.
    pub open_files: i32,
}

impl Memory {
    /// For what is done to a directory while no node uses it.
    pub(super) const OFFLINE: Self =
        Self { cache: 32 << 20, memtables: MEMTABLE_BYTES_MAX, open_files: OPEN_FILES_MAX };
}

/// What it may take in memory and, at once, of the disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) memory: Memory,
    disk: u64,
}

impl Sizes {
    /// No more than so much memory, and less on a disk that is small.
    pub(super) fn new(memory: Memory, disk: u64) -> Self {
        let share = usize::try_from((disk / MEMTABLES_PER_DISK).max(MEMTABLE_BYTES_MIN)).unwrap_or(usize::MAX);
        Self { memory: Memory { memtables: memory.memtables.min(share), ..memory }, disk }
    }

    fn part(&self, parts: u64, bytes_max: u64) -> u64 {
        (self.disk / parts).max(2 * TABLE_BYTES).min(bytes_max)
    }

    /// The tables of one step of a compaction below the first levels, all together.
    pub(super) fn step(&self) -> u64 {
        self.part(COMPACTION_PER_DISK, STEP_BYTES_MAX)
    }

    /// What a new write-ahead log takes of the disk before anything is in it.
    pub(super) fn log(&self) -> u64 {
        (self.largest_memtable() as u64).saturating_mul(11) / 10
    }

    /// Of the families that hold little. One that is too small flushes all the time.
    fn small_memtable(&self) -> usize {
        (self.memory.memtables / 192).max(SMALL_MEMTABLE_BYTES_MIN)
    }

    fn largest_memtable(&self) -> usize {
        self.memory.memtables / 3
    }
}

/// The options of the whole database; `create` only where nothing can be overwritten.
pub(super) fn database_options(create: bool, sizes: Sizes, warnings: &Warnings) -> Result<Options, Error> {
    let mut options = Options::default().get_options_from_string(BY_STRING)?;
    options.create_if_missing(create);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A write-ahead log that RocksDB knows to have synced and closed must be there, and as long as it was.
    options.set_track_and_verify_wals_in_manifest(true);
    // A record cut off at the very end is what kill -9 leaves of a write that was never reported: it is dropped. Any
    // other damage refuses the start. Point-in-time recovery would instead drop everything behind a flipped bit, synced
    // or not, in silence; absolute consistency would refuse to start after many a kill.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_max_total_wal_size(sizes.part(LOGS_PER_DISK, WAL_BYTES_MAX));
    options.set_db_write_buffer_size(sizes.memory.memtables);
    options.set_max_open_files(sizes.memory.open_files);
    options.set_max_background_jobs(2);
    // Flushes hand their bytes to the disk as they go, so that the sync of a commit does not queue behind all of them.
    options.set_bytes_per_sync(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_info_logger(warnings.logger());
    Ok(options)
}

/// The one cache of blocks. RocksDB would choose parts so small that none of them takes a filter, which would be read
/// from its file again for every lookup.
pub(super) fn block_cache(sizes: Sizes) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(sizes.memory.cache);
    options.set_num_shard_bits(CACHE_PARTS_BITS);
    Cache::new_lru_cache_opts(&options)
}

/// The options of one column family; all share one bounded block cache.
pub(super) fn family_options(family: Option<Family>, sizes: Sizes, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    // Indexes and filters are in the cache too, or they would have no bound.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(sizes.part(COMPACTION_PER_DISK, LEVEL_BYTES_MAX));
    options.set_max_compaction_bytes(sizes.step());
    // None begins before it is known that it fits.
    options.set_disable_auto_compactions(true);
    options.set_write_buffer_size(match family {
        Some(Family::Journal) => sizes.largest_memtable(),
        _ => sizes.small_memtable(),
    });
    if family == Some(Family::Rows) {
        // Most counters that are loaded are new: a filter answers for them without touching a block. With 10 bits a key, one
        // of a hundred would be looked for all the same, and blocks that nobody needs fill the cache; with 16, one of a
        // thousand or two.
        blocks.set_bloom_filter(16.0, false);
    }
    options.set_block_based_table_factory(&blocks);
    options
}
