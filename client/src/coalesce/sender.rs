//! The task that sends what was gathered.

use std::sync::Arc;

use super::shared::Shared;
use crate::Client;

/// One batch after the other, until nobody adds any more and nothing is left.
pub(super) async fn send(shared: Arc<Shared>, client: Client) {
    // Whoever waits must hear of the end, however it comes: with the runtime, too.
    let _end = End(Arc::clone(&shared));
    while let Some(load) = shared.next().await {
        let answer = client.batch(&load.batch).await;
        if let Err(error) = &answer {
            tracing::warn!(counters = load.batch.len(), %error, "a batch of increments was not acknowledged");
        }
        shared.settle(&load, answer);
    }
}

struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
