//! The store's threads: one that commits, one that reads, one that writes checkpoints.
//!
//! Commits have a thread of their own so that nothing delays a sync. Every job is one that the replica asked for, so
//! the queues are bounded by what it may have outstanding. Any failure is final (I9): the node is told, the thread
//! ends, and what was not reported as done never will be.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use tokio::sync::mpsc;

use crate::clock;
use crate::replica::{Event, Job};
use crate::store::{Lane, Store, StoreError};
use crate::telemetry;

use super::{EngineHandle, News, Tripwire};

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

    /// Queues a job behind the others of its lane.
    pub(super) fn queue(&self, job: Job) {
        let lane = match job.lane() {
            Lane::Commits => &self.writes,
            Lane::Reads => &self.reads,
            Lane::Checkpoints => &self.checkpoints,
        };
        // A thread that has ended has said why.
        let _ = lane.send(job);
    }
}

fn run(job: Job, store: &Store) -> Result<Event, StoreError> {
    let Job::Commit(commit) = &job else { return job.run(store) };
    let (began, records) = (clock::monotonic(), commit.records.len());
    let committed = job.run(store)?;
    telemetry::commit_synced(began.elapsed().as_secs_f64(), records);
    Ok(committed)
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
            match run(job, &store) {
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
