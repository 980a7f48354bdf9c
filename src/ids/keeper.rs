//! The keeper of the ceiling: the task that makes ceilings durable ahead of the IDs.
//!
//! It sleeps until it is woken: by a request that finds less than half of the lead left, by one that cannot go on, by
//! a claim or a refresh. So a busy node syncs a few times a second and its requests never wait for that; an idle one
//! syncs nothing, and its next request waits for one sync. A write that fails is final and never retried (I9).

use std::sync::Arc;

use super::Shared;

/// Where ceilings become durable.
pub trait CeilingStore: Send + Sync {
    /// Writes `ceiling`, in milliseconds since the epoch of the IDs, and syncs it: when this returns `Ok`, it survives
    /// a power cut. It blocks, and is called from threads that may be blocked, by one at a time.
    fn persist(&self, ceiling: u64) -> Result<(), String>;
}

/// Runs until the ID source is dropped or a write fails.
pub(super) async fn keep(shared: Arc<Shared>, store: Arc<dyn CeilingStore>, observer: impl Fn(u64)) {
    loop {
        shared.kick.notified().await;
        let Some(ceiling) = shared.next_ceiling() else { continue };
        if let Err(reason) = persist(store.clone(), ceiling).await {
            tracing::error!(%reason, ceiling, "the ID ceiling could not be made durable; no more IDs from this node");
            shared.fence(&format!("the ID ceiling could not be made durable: {reason}"));
            return;
        }
        shared.raise_ceiling(ceiling);
        observer(ceiling);
    }
}

async fn persist(store: Arc<dyn CeilingStore>, ceiling: u64) -> Result<(), String> {
    match tokio::task::spawn_blocking(move || store.persist(ceiling)).await {
        Ok(outcome) => outcome,
        Err(ended) => Err(ended.to_string()),
    }
}
