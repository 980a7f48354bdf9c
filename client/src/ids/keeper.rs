//! The task that fetches blocks.

use std::sync::Arc;
use std::time::Duration;

use super::block::Block;
use super::prefetch::Prefetch;
use super::shelf::Shelf;
use super::source::Source;
use crate::error::Error;

/// After a first failure that tells no time; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A node that asks for more patience is asked again after this.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// Fetches a block whenever one is wanted, until it is aborted.
pub(super) async fn keep(shelf: Arc<Shelf>, mut source: impl Source, prefetch: Prefetch) {
    // Whoever waits must hear of the end, however it comes: a panic of the source, or of the runtime.
    let _end = End(Arc::clone(&shelf));
    let mut pause = PAUSE_MIN;
    loop {
        shelf.wanted().await;
        match fetch(&shelf, &mut source, prefetch).await {
            Ok(block) => {
                pause = PAUSE_MIN;
                shelf.put(block);
            }
            Err(error) => {
                let rest = patience(&error).unwrap_or(pause);
                pause = (pause * 2).min(PAUSE_MAX);
                tracing::debug!(%error, ?rest, "no block of ids");
                shelf.fail(error, Some(shelf.now() + rest));
                tokio::time::sleep(rest).await;
            }
        }
    }
}

async fn fetch(shelf: &Shelf, source: &mut impl Source, prefetch: Prefetch) -> Result<Block, Error> {
    source.prepare().await?;
    // Before the node is asked, so that a slow answer makes a block older, never younger.
    let life = prefetch.life(shelf.now());
    let block = Block::new(source.fetch(prefetch.block).await?, life)?;
    if block.is_fresh(shelf.now()) {
        Ok(block)
    } else {
        Err(Error::Timeout { after: prefetch.max_age, may_have_written: false })
    }
}

/// How long the node asks to be left alone.
fn patience(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused { retry_after, .. } => retry_after.map(|rest| rest.clamp(PAUSE_MIN, PATIENCE_MAX)),
        _ => None,
    }
}

struct End(Arc<Shelf>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fail(Error::Disconnected { reason: "the task that fetches ids has ended".into() }, None);
    }
}
