//! RocksDB: the journal, rows, checkpoints and recovery.
