//! How the store does what the replica asks of its disk: for the engine, the simulator and the benchmarks alike.

use crate::replica::{Event, Job, JournalRead};

use super::{Store, StoreError};

/// Jobs of one lane are carried out one after the other; lanes wait for nobody, so that nothing delays a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What is acknowledged.
    Commits,
    /// What somebody waits for.
    Reads,
    /// The rest.
    Checkpoints,
}

impl Job {
    /// Where it is carried out.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Commit(_) | Self::Mint(_) => Lane::Commits,
            Self::Load { .. } | Self::ReadJournal { .. } | Self::FindHash { .. } | Self::LoadLeaves(_) => Lane::Reads,
            Self::Checkpoint(_) | Self::Scrub { .. } | Self::Truncate { .. } => Lane::Checkpoints,
        }
    }

    /// What it comes to, if it only reads and finds in memory what it reads: whoever asks for it need not wait for the disk.
    pub fn at_hand(&self, store: &Store) -> Result<Option<Event>, StoreError> {
        let Self::Load { namespace, keys } = self else { return Ok(None) };
        let rows = store.load_at_hand(*namespace, keys)?;
        Ok(rows.map(|rows| Event::Loaded { namespace: *namespace, rows }))
    }

    /// Carries it out. I1: what tells that a commit is synced is made only after the store has returned from its sync.
    pub fn run(self, store: &Store) -> Result<Event, StoreError> {
        Ok(match self {
            Self::Commit(commit) => {
                store.commit(&commit)?;
                Event::Committed(commit.number)
            }
            Self::Mint(replica) => {
                store.put_replica(replica)?;
                Event::Minted(replica)
            }
            Self::Load { namespace, keys } => Event::Loaded { namespace, rows: store.load(namespace, &keys)? },
            Self::ReadJournal { to, namespace, origin, after, bytes_max } => {
                let slice = store.read_journal(namespace, origin, after, bytes_max)?;
                let (records, whole_from) = (slice.records, slice.whole_from);
                Event::Journal(JournalRead { to, namespace, origin, after, records, whole_from })
            }
            Self::FindHash { namespace, origin, seq } => {
                Event::Hash { namespace, seq, hash: store.find_hash(namespace, origin, seq)? }
            }
            Self::LoadLeaves(asked) => Event::LeavesLoaded(store.load_leaves(&asked)?),
            Self::Checkpoint(chunk) => {
                store.checkpoint(&chunk)?;
                Event::Checkpointed
            }
            Self::Scrub { namespace, leaf } => Event::Scrubbed { namespace, sum: store.sum_leaf(namespace, leaf)? },
            Self::Truncate { namespace, logs } => {
                store.truncate(namespace, &logs)?;
                Event::Tick
            }
        })
    }
}
