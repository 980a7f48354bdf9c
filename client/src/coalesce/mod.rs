//! Increments of the same counter merged into one, and many counters into one batch.

mod heap;
mod losses;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;

use std::fmt;
use std::sync::Arc;

use crate::batch;
use crate::error::{Error, InvalidArgument};

use heap::Load;
use shared::Shared;
use ticket::Outcomes;

pub use settings::Coalescing;
pub use ticket::Ticket;

/// Merges what is added to the same counter, and sends it in batches; cheap to clone, and any number of tasks may add.
///
/// What is added is gathered for a short time, or until there is enough of it, while the batch before it is under way:
/// one at a time, so that the busier the node is, the more is merged. Two batches are in memory at most, and [`add`]
/// waits when both are full.
///
/// An increment is durable when its [`Ticket`] says so, and not before. Whoever drops tickets calls [`flush`], which tells
/// how many increments were not counted. When the last clone is dropped, what was taken is still sent, as long as the
/// runtime lives, but nobody hears what became of it.
///
/// ```no_run
/// # async fn run(client: snowtide_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use snowtide_client::Coalescing;
///
/// let views = client.coalescer(Coalescing::default())?;
/// for _ in 0..1_000 {
///     views.add("default", "views:home", 1).await?; // one operation in the end
/// }
/// views.flush().await?;
/// # Ok(())
/// # }
/// ```
///
/// [`add`]: Coalescer::add
/// [`flush`]: Coalescer::flush
#[derive(Clone)]
pub struct Coalescer(Arc<Adding>);

/// Increments that were taken and are not known to be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refused} increments were surely not counted, and of {unknown} it is unknown; the first: {first}")]
#[non_exhaustive]
pub struct NotCounted {
    /// Surely not counted.
    pub refused: u64,
    /// Perhaps counted; to add them again may count them twice.
    pub unknown: u64,
    /// Why, of the first.
    pub first: Error,
}

/// The end at which increments come in.
struct Adding(Arc<Shared>);

/// The end at which batches go out, one at a time. Whoever holds it sends them and says what became of each.
pub(crate) struct Loads(Arc<Shared>);

impl Coalescer {
    /// A coalescer, and what it gathers.
    pub(crate) fn start(coalescing: Coalescing) -> Result<(Self, Loads), InvalidArgument> {
        let shared = Arc::new(Shared::new(coalescing.check()?));
        Ok((Self(Arc::new(Adding(Arc::clone(&shared)))), Loads(shared)))
    }

    /// Takes `by` for a counter, where a negative number is a decrement; waits only for room. The ticket tells what became
    /// of it, and may be dropped.
    pub async fn add(&self, namespace: &str, key: &str, by: i64) -> Result<Ticket, Error> {
        batch::check_namespace(namespace)?;
        batch::check_key(key)?;
        self.0.0.add(namespace, key, by).await
    }

    /// Sends what is gathered now, and waits until everything taken before is answered. An error tells how many of all
    /// increments were not counted, also of those whose tickets somebody held, since the last flush that was over when this
    /// one began: of flushes that wait at the same time, each tells all.
    pub async fn flush(&self) -> Result<(), NotCounted> {
        self.0.0.flush().await
    }
}

impl Drop for Adding {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Loads {
    /// The next batch, once it has waited long enough; `None` when nobody adds any more and nothing is left.
    pub(crate) async fn next(&mut self) -> Option<Arc<Load>> {
        self.0.next().await
    }

    /// What became of the last one.
    pub(crate) fn settle(&mut self, outcomes: Outcomes) {
        self.0.settle(outcomes);
    }
}

impl Drop for Loads {
    /// Whoever waits must hear of the end, however it comes: with the runtime, too.
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl fmt::Debug for Coalescer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").finish_non_exhaustive()
    }
}
