//! The store's threads: one that commits, one that reads, one that writes checkpoints.
//!
//! Commits have a thread of their own so that nothing delays a sync. Every job is one that the replica asked for, so
//! the queues are bounded by what it may have outstanding. Any failure is final (I9): the node is told, the thread
//! ends, and what was not reported as done never will be.

use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use tokio::sync::mpsc;

use crate::clock;
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::merkle::Leaf;
use crate::replica::{CheckpointChunk, Commit, Event, JournalRead, Key, LoadLeaves};
use crate::store::{Store, StoreError};
use crate::telemetry;

use super::{EngineHandle, News, Tripwire};

/// A piece of work; what it answers goes to the replica.
type Job = Box<dyn FnOnce(&Store) -> Result<Event, StoreError> + Send>;

/// The way to the store's threads.
pub(super) struct Disk {
    writes: Sender<Job>,
    reads: Sender<Job>,
    checkpoints: Sender<Job>,
    /// Dropped after the queues, whose end is that of the threads.
    _threads: Threads,
}

/// Waits for the threads when it is dropped: once the engine has ended, none of them holds the store any more.
struct Threads(Vec<JoinHandle<()>>);

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Disk {
    pub(super) fn start(
        store: &Arc<Store>,
        handle: &EngineHandle,
        news: &mpsc::UnboundedSender<News>,
    ) -> std::io::Result<Self> {
        let spawn = |name: &str| spawn(name, Arc::clone(store), handle.clone(), news.clone());
        let ((writes, committing), (reads, reading)) = (spawn("commit")?, spawn("read")?);
        let (checkpoints, writing) = spawn("checkpoint")?;
        Ok(Self { writes, reads, checkpoints, _threads: Threads(vec![committing, reading, writing]) })
    }

    /// I1: `Committed` is made only after the store has returned from its sync.
    pub(super) fn commit(&self, commit: Commit) {
        queue(&self.writes, move |store| {
            let began = clock::monotonic();
            store.commit(&commit)?;
            telemetry::commit_synced(began.elapsed().as_secs_f64(), commit.records.len());
            Ok(Event::Committed(commit.number))
        });
    }

    pub(super) fn mint(&self, replica: ReplicaId) {
        queue(&self.writes, move |store| {
            store.put_replica(replica)?;
            Ok(Event::Minted(replica))
        });
    }

    pub(super) fn load(&self, namespace: NamespaceId, keys: Vec<Key>) {
        queue(&self.reads, move |store| Ok(Event::Loaded { namespace, rows: store.load(namespace, &keys)? }));
    }

    pub(super) fn read_journal(
        &self,
        to: WorkerId,
        namespace: NamespaceId,
        origin: ReplicaId,
        after: u64,
        bytes_max: usize,
    ) {
        queue(&self.reads, move |store| {
            let slice = store.read_journal(namespace, origin, after, bytes_max)?;
            let (records, whole_from) = (slice.records, slice.whole_from);
            Ok(Event::Journal(JournalRead { to, namespace, origin, after, records, whole_from }))
        });
    }

    pub(super) fn find_hash(&self, namespace: NamespaceId, origin: ReplicaId, seq: u64) {
        queue(&self.reads, move |store| {
            Ok(Event::Hash { namespace, seq, hash: store.find_hash(namespace, origin, seq)? })
        });
    }

    pub(super) fn load_leaves(&self, asked: LoadLeaves) {
        queue(&self.reads, move |store| Ok(Event::LeavesLoaded(store.load_leaves(&asked)?)));
    }

    pub(super) fn scrub(&self, namespace: NamespaceId, leaf: Leaf) {
        queue(&self.checkpoints, move |store| Ok(Event::Scrubbed { namespace, sum: store.sum_leaf(namespace, leaf)? }));
    }

    pub(super) fn truncate(&self, namespace: NamespaceId, logs: Vec<(ReplicaId, Range<u64>)>) {
        queue(&self.checkpoints, move |store| {
            store.truncate(namespace, &logs)?;
            Ok(Event::Tick)
        });
    }

    pub(super) fn checkpoint(&self, chunk: CheckpointChunk) {
        queue(&self.checkpoints, move |store| {
            store.checkpoint(&chunk)?;
            Ok(Event::Checkpointed)
        });
    }
}

fn queue(jobs: &Sender<Job>, job: impl FnOnce(&Store) -> Result<Event, StoreError> + Send + 'static) {
    // A thread that has ended has said why.
    let _ = jobs.send(Box::new(job));
}

fn spawn(
    name: &str,
    store: Arc<Store>,
    handle: EngineHandle,
    news: mpsc::UnboundedSender<News>,
) -> std::io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (jobs, queue) = unbounded::<Job>();
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let _tripwire = Tripwire(news.clone());
        for job in queue {
            match job(&store) {
                Ok(event) => handle.notify(event),
                Err(error) => {
                    let _ = news.send(News::Failed(error.to_string()));
                    handle.notify(Event::Fence(error.to_string()));
                    return;
                }
            }
        }
    })?;
    Ok((jobs, thread))
}
