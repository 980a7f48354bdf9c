//! Increments of the same counter merged into one, and many counters into one batch.

mod heap;
mod losses;
mod sender;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;

use std::fmt;
use std::sync::Arc;

use snowtide_protocol::Code;

use crate::Client;
use crate::batch;
use crate::error::{Error, InvalidArgument};

use shared::Shared;

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
pub struct Coalescer {
    shared: Arc<Shared>,
    _end: Arc<End>,
}

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

/// Tells the sender that nobody adds any more.
struct End(Arc<Shared>);

impl Coalescer {
    pub(crate) fn start(client: Client, coalescing: Coalescing) -> Result<Self, InvalidArgument> {
        let shared = Arc::new(Shared::new(coalescing.check()?));
        tokio::spawn(sender::send(Arc::clone(&shared), client));
        Ok(Self { _end: Arc::new(End(Arc::clone(&shared))), shared })
    }

    /// Takes `by` for a counter, where a negative number is a decrement; waits only for room. The ticket tells what became
    /// of it, and may be dropped.
    pub async fn add(&self, namespace: &str, key: &str, by: i64) -> Result<Ticket, Error> {
        batch::check_namespace(namespace)?;
        batch::check_key(key)?;
        self.shared.add(namespace, key, by).await
    }

    /// Sends what is gathered now, and waits until everything taken before is answered. An error tells how many of all
    /// increments were not counted, also of those whose tickets somebody held, since the last flush that was over when this
    /// one began: of flushes that wait at the same time, each tells all.
    pub async fn flush(&self) -> Result<(), NotCounted> {
        self.shared.flush().await
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for Coalescer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").finish_non_exhaustive()
    }
}

/// The refusal of one operation of a batch of many.
fn refusal(code: Code) -> Error {
    Error::Refused { code, detail: "the counter's increments were refused".into(), retry_after: None }
}
