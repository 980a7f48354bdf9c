//! How `memory.bytes_max` is shared out, once it is known in bytes.

use crate::replica::ROW_BYTES;
use crate::section::shape::{MIB, size_in_words as size};

use super::Config;

/// The least that RocksDB's cache of blocks, indexes and filters gets, and its part where that is more.
const STORE_CACHE_MIN: u64 = 128 * MIB;
const STORE_CACHE_PART: u64 = 8;
/// What RocksDB gathers before it writes.
const STORE_MEMTABLES: u64 = 192 * MIB;
/// Rows get one part in so many at least.
const ROWS_PART: u64 = 4;
/// What a changed row is reckoned at: one of three nodes, with some room for longer keys.
const DIRTY_ROW_BYTES: u64 = 256;
const _: () = assert!((ROW_BYTES as u64) < DIRTY_ROW_BYTES);

/// Who gets how much, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// All together.
    pub all: u64,
    /// Rows.
    pub rows: u64,
    /// RocksDB's cache of blocks, indexes and filters.
    pub store_cache: u64,
    /// What RocksDB gathers before it writes.
    pub store_memtables: u64,
}

impl MemoryShares {
    /// Of so many bytes.
    pub const fn of(bytes: u64) -> Self {
        let part = bytes / STORE_CACHE_PART;
        let store_cache = if part > STORE_CACHE_MIN { part } else { STORE_CACHE_MIN };
        let (rest, least) = (bytes.saturating_sub(store_cache + STORE_MEMTABLES), bytes / ROWS_PART);
        let rows = if rest > least { rest } else { least };
        Self { all: bytes, rows, store_cache, store_memtables: STORE_MEMTABLES }
    }

    /// As many changed rows as fit among the others.
    pub fn dirty_rows_max(&self) -> usize {
        usize::try_from(self.rows / DIRTY_ROW_BYTES).unwrap_or(usize::MAX)
    }
}

impl Config {
    /// What `checkpoint.dirty_rows_max` is with these shares: the default is lowered as far as it must be, anything else is
    /// refused, with what is allowed.
    pub fn dirty_rows_max(&self, shares: &MemoryShares) -> Result<usize, String> {
        let (asked, most) = (self.tuning.checkpoint.dirty_rows_max, shares.dirty_rows_max());
        if asked <= most || asked == Self::builtin().tuning.checkpoint.dirty_rows_max {
            return Ok(asked.min(most));
        }
        Err(format!(
            "allowed: at most {most}, at {DIRTY_ROW_BYTES} bytes each in the {} that rows get of memory ({})",
            size(shares.rows),
            size(shares.all)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::shape::GIB;

    #[test]
    fn shares_fit_into_what_there_is_where_that_is_enough() {
        for bytes in [GIB / 2, GIB, 4 * GIB, 64 * GIB, 1_024 * GIB] {
            let MemoryShares { rows, store_cache, store_memtables, .. } = MemoryShares::of(bytes);
            assert!(rows + store_cache + store_memtables <= bytes && rows >= bytes / 4, "of {bytes}");
        }
        let eight = MemoryShares::of(8 * GIB);
        assert_eq!((eight.rows, eight.store_cache), (7 * GIB - STORE_MEMTABLES, GIB));
    }

    #[test]
    fn rows_have_a_quarter_of_what_is_too_little() {
        for bytes in [MIB, 100 * MIB, 320 * MIB] {
            let shares = MemoryShares::of(bytes);
            assert_eq!((shares.rows, shares.store_cache), (bytes / 4, STORE_CACHE_MIN), "of {bytes}");
        }
    }

    #[test]
    fn the_default_of_changed_rows_is_lowered_and_nothing_else() {
        let mut config = Config::builtin();
        let (small, large) = (MemoryShares::of(100 * MIB), MemoryShares::of(4 * GIB));
        assert_eq!(config.dirty_rows_max(&large), Ok(2_000_000));
        assert_eq!(config.dirty_rows_max(&small), Ok(102_400));
        config.tuning.checkpoint.dirty_rows_max = 102_400;
        assert_eq!(config.dirty_rows_max(&small), Ok(102_400));
        config.tuning.checkpoint.dirty_rows_max += 1;
        assert_eq!(
            config.dirty_rows_max(&small).unwrap_err(),
            "allowed: at most 102400, at 256 bytes each in the 25MiB that rows get of memory (100MiB)"
        );
    }
}
