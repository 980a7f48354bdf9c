//! Where messages for peers go: a bounded queue for each whose stream is open.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::identity::{Peer, WorkerId};
use crate::limits::{Limits, Message};

/// Messages that wait for the stream to one peer. One more ends it: what is told must arrive whole and in order, or the
/// peer must know that it has not.
const QUEUE_MESSAGES_MAX: usize = 256;

/// One lock for all, so that nothing of an earlier stream gets into a later one.
#[derive(Debug, Default)]
pub(super) struct Outlets(Mutex<BTreeMap<WorkerId, mpsc::Sender<Message>>>);

impl Outlets {
    /// A stream to this boot of a peer begins: what comes out is to be sent on it, in order. When nothing comes any more,
    /// the stream has to end.
    pub(super) fn open(&self, limits: &Limits, peer: Peer, mono_ms: u64) -> mpsc::Receiver<Message> {
        let (outlet, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let mut outlets = self.lock();
        outlets.insert(peer.worker, outlet);
        limits.opened(peer, mono_ms);
        messages
    }

    /// The stream to a peer has ended.
    pub(super) fn close(&self, limits: &Limits, to: WorkerId, mono_ms: u64) {
        let mut outlets = self.lock();
        outlets.remove(&to);
        limits.closed(to, mono_ms);
    }

    /// Queues all that is due. A peer whose queue is full, or whose stream has ended, is parted.
    pub(super) fn send(&self, limits: &Limits, mono_ms: u64) {
        let mut outlets = self.lock();
        while let Some((to, message)) = limits.poll() {
            let is_sent = outlets.get(&to).is_some_and(|outlet| outlet.try_send(message).is_ok());
            if !is_sent {
                outlets.remove(&to);
                limits.closed(to, mono_ms);
            }
        }
    }

    /// Each change is one step: a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, mpsc::Sender<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
