//! The way to the store: whoever drives the engine writes commits, one thread reads, and one writes checkpoints.
//!
//! Every job is one that the replica asked for, so the queues are bounded by what it may have outstanding. Any failure is
//! final (I9): the node is told, nothing more is written, and what was not reported as done never will be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, unbounded};
use tokio::sync::mpsc;

use crate::clock;
use crate::replica::{Event, Job};
use crate::store::{Lane, Store, StoreError};
use crate::telemetry;

use super::{EngineHandle, News, Tripwire};

/// More rows than this are read by the thread that reads, wherever they are: whoever drives is waited for.
const AT_HAND_MAX: usize = 64;

/// The way to the store's threads, and what is to be written by whoever drives.
pub(super) struct Disk {
    store: Arc<Store>,
    writes: VecDeque<Job>,
    /// One of them is being written.
    is_writing: bool,
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
        let ((reads, reading), (checkpoints, writing)) = (spawn("read")?, spawn("checkpoint")?);
        Ok(Self {
            store: Arc::clone(store),
            writes: VecDeque::new(),
            is_writing: false,
            reads,
            checkpoints,
            _threads: Threads(vec![reading, writing]),
        })
    }

    /// The next to be written, in order; `None` while one is.
    pub(super) fn next_write(&mut self) -> Option<Job> {
        if self.is_writing {
            return None;
        }
        let next = self.writes.pop_front();
        self.is_writing = next.is_some();
        next
    }

    /// The one that was being written is.
    pub(super) fn written(&mut self) {
        self.is_writing = false;
    }

    /// Whether one could be written now.
    pub(super) fn has_writes(&self) -> bool {
        !(self.is_writing || self.writes.is_empty())
    }

    /// What a job comes to that reads a few rows which are in memory: most often because there is no such row, which the
    /// filters know. So a client that begins to count something waits for no other thread.
    pub(super) fn at_hand(&self, job: &Job) -> Option<Event> {
        if !matches!(job, Job::Load { keys, .. } if keys.len() <= AT_HAND_MAX) {
            return None;
        }
        // What cannot be read is found again by the thread that reads, which says so.
        job.at_hand(&self.store).ok().flatten()
    }

    /// Queues a job behind the others of its lane.
    pub(super) fn queue(&mut self, job: Job) {
        let lane = match job.lane() {
            Lane::Commits => return self.writes.push_back(job),
            Lane::Reads => &self.reads,
            Lane::Checkpoints => &self.checkpoints,
        };
        // A thread that has ended has said why.
        let _ = lane.send(job);
    }
}

/// Who writes commits: one at a time, in the order in which the replica asked for them.
pub(super) struct Writer {
    store: Arc<Store>,
    news: mpsc::UnboundedSender<News>,
    has_failed: bool,
}

impl Writer {
    pub(super) fn new(store: &Arc<Store>, news: &mpsc::UnboundedSender<News>) -> Self {
        Self { store: Arc::clone(store), news: news.clone(), has_failed: false }
    }

    /// Writes, and tells what came of it; nothing, once something has failed.
    pub(super) fn write(&mut self, job: Job) -> Option<Event> {
        if self.has_failed {
            return None;
        }
        let _tripwire = Tripwire(&self.news);
        let (event, has_failed) = carry_out(job, &self.store, &self.news);
        self.has_failed = has_failed;
        Some(event)
    }
}

/// What came of a job, and whether it was the last that is carried out.
fn carry_out(job: Job, store: &Store, news: &mpsc::UnboundedSender<News>) -> (Event, bool) {
    match run(job, store) {
        Ok(event) => (event, false),
        Err(error) => {
            let _ = news.send(News::Failed(error.to_string()));
            (Event::Fence(error.to_string()), true)
        }
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
        let _tripwire = Tripwire(&news);
        for job in queue {
            let (event, has_failed) = carry_out(job, &store, &news);
            handle.notify(event);
            if has_failed {
                return;
            }
        }
    })?;
    Ok((jobs, thread))
}
