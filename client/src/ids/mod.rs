//! IDs one by one, without a round trip for each: blocks are fetched in the background.

mod block;
mod keeper;
mod prefetch;
mod shelf;
mod source;

use std::fmt;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::error::{Error, InvalidArgument};

use shelf::Shelf;

pub use prefetch::Prefetch;
pub use source::Source;

/// Unique IDs, one at a time; cheap to clone, and any number of tasks and threads may take from it at once.
///
/// A task keeps at most two blocks in advance, so that [`Ids::next_id`] has an answer at once as long as IDs are used
/// no faster than blocks can be fetched. It connects when it must, and again when the connection is lost. An idle one
/// asks for nothing: after a rest longer than [`Prefetch::max_age`], the next ID waits for a round trip. The task ends
/// with the last clone.
///
/// # Order
/// IDs increase in the order in which they are taken, as long as one node serves them. Against IDs that others take,
/// they are in order of time as far as they are young: an ID's timestamp lies no further back than
/// [`Prefetch::max_age`] before the moment at which `next_id` took it, by the node's clock and this machine's monotonic
/// clock, which stands still while the machine is suspended.
#[derive(Clone)]
pub struct Ids {
    shelf: Arc<Shelf>,
    _keeper: Arc<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ids {
    /// Begins to fetch from `source`. Must be called within a tokio runtime.
    pub fn from_source(source: impl Source, prefetch: Prefetch) -> Result<Self, InvalidArgument> {
        let prefetch = prefetch.check()?;
        let shelf = Arc::new(Shelf::new());
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&shelf), source, prefetch));
        Ok(Self { shelf, _keeper: Arc::new(AbortOnDrop(keeper.abort_handle())) })
    }

    /// An ID that nobody else gets.
    ///
    /// Waits only if no block is left. If then none can be had, the error says why, and for a refusal when to try
    /// again; until then, further calls fail alike, and the node is left in peace.
    pub async fn next_id(&self) -> Result<u64, Error> {
        match self.shelf.take() {
            Some(id) => Ok(id),
            None => self.shelf.wait().await,
        }
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
