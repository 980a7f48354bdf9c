//! The store: what survives. A medium, which is RocksDB unless it is simulated, holds the journal, rows as of the last
//! checkpoint, and the identity of the data.
//!
//! It promises:
//! - A commit is one atomic batch, and it is on the disk when [`Store::commit`] returns (I1).
//! - A failed write or sync is final (I9): everything after it answers [`StoreError::Poisoned`], with the first cause.
//! - A start recovers every commit that was reported, or refuses, naming what is wrong and what to do. Rows come from
//!   the last checkpoint, everything after it from the journal; a checkpoint's position is never durable before its
//!   rows (I11), and replaying what they already hold is harmless (I5).
//! - The ceiling and the replica id are on the disk when they are reported to be (I10).
//! - Bytes from the disk get a typed verdict, never a panic (I8).
//!
//! It never skips a sync, never retries a write, never repairs in silence, and never opens another node's directory.
//!
//! All calls block. Any number of threads may call at once; RocksDB gathers concurrent synced writes into one sync.

mod backup;
mod check;
mod compact;
mod database;
mod directory;
mod error;
mod format;
pub(crate) mod fuzzed;
mod headroom;
mod job;
mod journal;
mod medium;
mod meta;
mod namespaces;
mod open;
mod purge;
mod recovery;
mod rows;
mod space;
mod table;
mod tail;
mod tuning;
mod wal;
mod warnings;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use snowtide_protocol::Key;

use crate::crdt::{LogHash, Row};
use crate::identity::{Boot, NamespaceId, ReplicaId, WorkerId};
use crate::merkle::{Hasher, Leaf, Sum};
use crate::replica::{CheckpointChunk, Commit, LeavesLoaded, LoadLeaves, Position, Recovered};

use self::error::Malformed as Reason;
use self::format::{JournalKey, repaired_key, seal, seal_record, seal_repaired};
use self::tail::Tail;

pub use self::backup::{backup, restore};
pub use self::check::{Contents, Log, Report, check};
pub use self::compact::{Compacted, compact};
pub use self::error::{Malformed, OpenError, OpenRefusal, StoreError};
pub use self::headroom::{Judgement, Look};
pub use self::job::Lane;
pub use self::journal::JournalSlice;
pub use self::medium::{Batch, Cursor, Entry, Family, Item, Medium, Write};
pub use self::open::Shortage;
pub use self::purge::{Holding, Purge};
pub use self::tuning::{MEMTABLE_BYTES_MAX, Memory, OPEN_FILES_MAX};

/// What to open, and for whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made if it does not exist.
    pub path: PathBuf,
    /// Another cluster's directory is refused.
    pub cluster_id: String,
    /// The split of the IDs' bits and their epoch, as text; a directory written under another one is refused, because
    /// its ceiling would mean another time.
    pub layout: String,
    /// Places and sums under the cluster's secret.
    pub hasher: Hasher,
    /// The fingerprint of the cluster's secret; a directory with hashes made under another one is refused.
    pub secret: String,
    /// Another worker's directory is refused.
    pub worker: WorkerId,
    /// The namespaces to recover.
    pub namespaces: Vec<NamespaceId>,
    /// This boot's nonce, afresh from the system's randomness.
    pub boot_nonce: u64,
    /// What RocksDB may take.
    pub memory: Memory,
}

#[cfg(test)]
impl Options {
    /// Of a directory that tests fill.
    pub(crate) fn small(path: &std::path::Path, worker: WorkerId, namespaces: Vec<NamespaceId>) -> Self {
        Self {
            path: path.to_path_buf(),
            cluster_id: "test".into(),
            layout: "41/5/5/12 since 2025-01-01T00:00:00Z".into(),
            hasher: Hasher::new([7; 192]),
            secret: "0123456789abcdef".into(),
            worker,
            namespaces,
            boot_nonce: 99,
            memory: Memory::OFFLINE,
        }
    }
}

/// An open data directory.
pub struct Store {
    medium: Box<dyn Medium>,
    hasher: Hasher,
    journalled: Journalled,
    /// Of the table that checkpoints are writing.
    tail: Mutex<Tail>,
}

/// Bytes of records that no checkpoint covers yet, about: what it has to write is no more, except of rows that many
/// have counted.
#[derive(Default)]
struct Journalled {
    /// Since the last checkpoint was over.
    since: AtomicU64,
    /// While it was written.
    before: AtomicU64,
}

impl Journalled {
    fn grow(&self, bytes: usize) {
        self.since.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn checkpointed(&self) {
        self.before.store(self.since.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn not_checkpointed(&self) -> u64 {
        self.since.load(Ordering::Relaxed).saturating_add(self.before.load(Ordering::Relaxed))
    }
}

impl Store {
    /// Recovers what is on the medium, and counts the boot. Only a `new` one may be without an identity; it gets ours.
    /// This is [`Self::open`] without the directory, for a medium of one's own.
    pub fn recover(medium: Box<dyn Medium>, new: bool, options: &Options) -> Result<(Self, Recovered), OpenRefusal> {
        let known = meta::check_format(&*medium)?;
        if known || !new {
            meta::check_identity(&*medium, options)?;
        }
        let recovered = read_state(&*medium, options)?;
        warn_of_unconfigured(&*medium, &recovered.unconfigured)?;
        let mut batch = Batch::default();
        if !known {
            meta::put_identity(&mut batch, options);
        }
        meta::BOOT.write(&mut batch, &recovered.boot.counter);
        medium.write_synced(batch)?;
        Ok((Self::over(medium, options), recovered))
    }

    fn over(medium: Box<dyn Medium>, options: &Options) -> Self {
        let hasher = options.hasher.clone();
        Self { medium, hasher, journalled: Journalled::default(), tail: Mutex::default() }
    }

    /// Writes all records of a commit as one batch. They are on the disk when this returns (I1).
    pub fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for record in &commit.records {
            let sealed = seal_record(record);
            self.journalled.grow(sealed.len());
            batch.put(Family::Journal, JournalKey::of(record).encode(), sealed);
        }
        for record in &commit.repaired {
            batch.put(Family::Repair, repaired_key(record.namespace, record.number), seal_repaired(record));
        }
        for id in &commit.forgotten {
            batch.delete(Family::Dedupe, id.to_be_bytes());
        }
        for done in &commit.answered {
            batch.put(Family::Dedupe, done.request.id.to_be_bytes(), seal(done));
        }
        self.medium.write_synced(batch)
    }

    /// Rows as of the last checkpoint, in the order of `keys`; a counter that has none comes with an empty row.
    pub fn load(&self, namespace: NamespaceId, keys: &[Key]) -> Result<Vec<(Key, Row)>, StoreError> {
        let rows = rows::load(&*self.medium, &self.hasher, namespace, keys)?;
        Ok(keys.iter().cloned().zip(rows).collect())
    }

    /// The same from memory alone; `None` where that does not do.
    pub fn load_at_hand(&self, namespace: NamespaceId, keys: &[Key]) -> Result<Option<Vec<(Key, Row)>>, StoreError> {
        let rows = rows::load_at_hand(&*self.medium, &self.hasher, namespace, keys)?;
        Ok(rows.map(|rows| keys.iter().cloned().zip(rows).collect()))
    }

    /// `origin`'s records that chain from `after`, oldest first, up to the first with which `bytes_max` is reached: at
    /// least one, unless there is nothing newer or the journal does not reach back to `after`.
    pub fn read_journal(
        &self,
        namespace: NamespaceId,
        origin: ReplicaId,
        after: u64,
        bytes_max: usize,
    ) -> Result<JournalSlice, StoreError> {
        journal::slice(&*self.medium, (namespace, origin), after, bytes_max)
    }

    /// The running hash of `origin`'s log at `seq`; `None` if no record ends exactly there.
    pub fn find_hash(
        &self,
        namespace: NamespaceId,
        origin: ReplicaId,
        seq: u64,
    ) -> Result<Option<LogHash>, StoreError> {
        journal::hash_at(&*self.medium, JournalKey { namespace, origin, upto: seq })
    }

    /// Writes a part of a checkpoint, the parts of one table in ascending order of their rows.
    ///
    /// Rows go past the log, into a table that is on the disk as a whole when it ends, with the sums of its leaves. The position
    /// comes after the last of them (I11), through the log and synced like everything there, although a crash before it does
    /// no harm: it leaves the old position over some newer rows, which the replay then joins once more (I5). So nothing is
    /// ever written behind a batch that is not on the disk, and a torn write can be told from rot (see `wal`).
    pub fn checkpoint(&self, part: &CheckpointChunk) -> Result<(), StoreError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        self.medium.add_to_table(tail.entries(&self.hasher, part))?;
        if part.ends_table {
            self.medium.end_table()?;
        }
        if let Some(position) = &part.position {
            self.put_position(position)?;
            self.journalled.checkpointed();
        }
        Ok(())
    }

    fn put_position(&self, position: &Position) -> Result<(), StoreError> {
        self.write(|batch| {
            for (namespace, vector) in &position.vectors {
                meta::POSITION.of(*namespace).write(batch, vector);
                // Of these namespaces alone: another may be on the disk, and not configured, with all that it has here.
                let key = |number| repaired_key(*namespace, number);
                batch.delete_range(Family::Repair, key(0), key(position.repaired.saturating_add(1)));
            }
            for (namespace, reach) in &position.reach {
                meta::REACH.of(*namespace).write(batch, reach);
            }
            meta::REPAIRED.write(batch, &position.repaired);
        })
    }

    /// Rows of whole leaves, as of the last checkpoint.
    pub fn load_leaves(&self, asked: &LoadLeaves) -> Result<LeavesLoaded, StoreError> {
        let (rows, covered) = rows::of_leaves(&*self.medium, asked)?;
        Ok(LeavesLoaded { ticket: asked.ticket, rows, covered })
    }

    /// What the rows of a leaf add up to.
    pub fn sum_leaf(&self, namespace: NamespaceId, leaf: Leaf) -> Result<Sum, StoreError> {
        rows::sum(&*self.medium, &self.hasher, namespace, leaf)
    }

    /// Forgets the records of some logs that end in a range of seqs. One that comes back after a crash does no harm; it
    /// is synced for the reason that parts of a checkpoint are.
    pub fn truncate(&self, namespace: NamespaceId, logs: &[(ReplicaId, Range<u64>)]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for (origin, seqs) in logs {
            let key = |upto| JournalKey { namespace, origin: *origin, upto }.encode();
            batch.delete_range(Family::Journal, key(seqs.start), key(seqs.end));
        }
        self.medium.write_synced(batch)
    }

    /// Persists an incarnation. Nothing may be committed under it before this returns.
    pub fn put_replica(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.write(|batch| meta::REPLICA.write(batch, &replica))
    }

    /// Persists the bound on ID timestamps. No ID may carry a later one before this returns (I10).
    pub fn put_ceiling(&self, ceiling: u64) -> Result<(), StoreError> {
        self.write(|batch| meta::CEILING.write(batch, &ceiling))
    }

    /// Persists how far other nodes' IDs have come, as seen from here: they may lose their disks.
    pub fn put_peer_ceilings(&self, ceilings: &[(WorkerId, u64)]) -> Result<(), StoreError> {
        self.write(|batch| meta::PEER_CEILINGS.write(batch, &ceilings.to_vec()))
    }

    /// [`Self::put_ceiling`], where the ceiling is the end of a quarantine, and our IDs had come to `before`.
    pub fn put_quarantine(&self, ceiling: u64, before: u64) -> Result<(), StoreError> {
        self.write(|batch| {
            meta::QUARANTINE.write(batch, &(ceiling, before));
            meta::CEILING.write(batch, &ceiling);
        })
    }

    /// The node has fenced itself, and is to be fenced at each start until [`Self::clear_fence`].
    pub fn put_fence(&self, reason: &str) -> Result<(), StoreError> {
        self.write(|batch| meta::FENCE.write(batch, &reason.to_owned()))
    }

    /// Writes down what the configuration calls its namespaces, for whoever looks at the directory later.
    pub fn put_names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
        self.write(|batch| {
            names.into_iter().for_each(|name| meta::NAME.of(NamespaceId::of(name)).write(batch, &name.to_owned()));
        })
    }

    /// The next start is not fenced.
    pub fn clear_fence(&self) -> Result<(), StoreError> {
        self.write(|batch| meta::FENCE.remove(batch))
    }

    fn write(&self, fill: impl FnOnce(&mut Batch)) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        fill(&mut batch);
        self.medium.write_synced(batch)
    }

    /// Prepares for the next start, which then has nothing to replay. It is as well off without, only slower.
    pub fn tidy(&self) -> Result<(), StoreError> {
        self.medium.tidy()
    }

    /// Whether everything written so far can still be relied on. To be asked now and then: RocksDB's background work
    /// may fail between writes (I9).
    pub fn health(&self) -> Result<(), StoreError> {
        self.medium.health()
    }

    /// Bytes that the journal takes.
    pub fn journal_bytes(&self) -> u64 {
        self.medium.size_bytes(Family::Journal)
    }

    /// How much room there is for what may have to be written.
    pub fn look(&self) -> Look {
        Look { checkpoint: self.journalled.not_checkpointed(), ..self.medium.look() }
    }

    /// Whether compactions may begin.
    pub fn allow_compactions(&self, allowed: bool) {
        self.medium.allow_compactions(allowed);
    }
}

/// Reads everything; changes nothing.
fn read_state(medium: &dyn Medium, options: &Options) -> Result<Recovered, OpenRefusal> {
    let replica = meta::replica(medium, options.worker)?;
    let repaired = recovery::repaired(medium)?;
    let numbered = repaired.iter().map(|record| record.number).max().max(meta::REPAIRED.find(medium)?);
    let recovery = recovery::Recovery { medium, hasher: &options.hasher, own: replica, repaired };
    let spaces = options.namespaces.iter().map(|namespace| recovery.space(*namespace));
    Ok(Recovered {
        replica,
        boot: Boot { counter: next_boot(medium)?, nonce: options.boot_nonce },
        ceiling: meta::CEILING.read(medium)?,
        before_quarantine: lasting_quarantine(medium)?,
        fence: meta::FENCE.find(medium)?,
        peer_ceilings: meta::PEER_CEILINGS.read(medium)?,
        spaces: spaces.collect::<Result<_, _>>()?,
        unconfigured: namespaces::unconfigured(medium, &options.namespaces)?,
        repaired: numbered.unwrap_or_default(),
        answered: recovery::answered(medium)?,
    })
}

/// Where our IDs had come before the last quarantine, unless they have gone on above it.
fn lasting_quarantine(medium: &dyn Medium) -> Result<Option<u64>, StoreError> {
    let (last, ceiling) = (meta::QUARANTINE.find(medium)?, meta::CEILING.read(medium)?);
    Ok(last.filter(|(upto, _)| *upto == ceiling).map(|(_, before)| before))
}

fn next_boot(medium: &dyn Medium) -> Result<u64, StoreError> {
    let last = meta::BOOT.read(medium)?;
    last.checked_add(1).ok_or_else(|| StoreError::malformed("the boot counter", Reason::impossible("it is at its end")))
}

fn warn_of_unconfigured(medium: &dyn Medium, unconfigured: &[NamespaceId]) -> Result<(), StoreError> {
    for namespace in unconfigured {
        let namespace = namespaces::name(medium, *namespace)?;
        tracing::warn!(
            namespace,
            "the data directory holds a namespace that is not configured; its data is kept as it is, and not exchanged"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
