//! What became of an increment that was merged with others.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use tokio::sync::SetOnce;

use crate::door::Boxed;
use crate::error::Error;

/// The outcomes of one batch by place, or why there are none.
pub(super) type Outcomes = Result<Vec<Result<i128, Error>>, Error>;

/// All increments of one batch.
pub(super) type Cohort = SetOnce<Outcomes>;

/// Tells what became of an increment: to be awaited, or dropped.
///
/// It is the counter's value after all increments that were merged with this one, durable at the node that answers. An
/// error is about all of them.
pub struct Ticket {
    cohort: Arc<Cohort>,
    place: usize,
}

impl Ticket {
    pub(super) fn new(cohort: Arc<Cohort>, place: usize) -> Self {
        Self { cohort, place }
    }
}

impl IntoFuture for Ticket {
    type Output = Result<i128, Error>;
    type IntoFuture = Boxed<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let outcomes = self.cohort.wait().await.as_ref().map_err(Error::clone)?;
            let missing = || Err(Error::Protocol("the batch was answered without this increment".into()));
            outcomes.get(self.place).cloned().unwrap_or_else(missing)
        })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("settled", &self.cohort.initialized()).finish_non_exhaustive()
    }
}
