//! What became of an increment that was merged with others.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use snowtide_protocol::Code;
use tokio::sync::SetOnce;

use crate::error::Error;

/// The outcomes of one batch by place, or why there are none.
pub(crate) type Outcomes = Result<Vec<Result<i128, Code>>, Error>;

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
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { outcome(self.cohort.wait().await, self.place) })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("settled", &self.cohort.initialized()).finish_non_exhaustive()
    }
}

/// What became of the increments at a place.
pub(super) fn outcome(outcomes: &Outcomes, place: usize) -> Result<i128, Error> {
    let refused =
        |code| Error::Refused { code, detail: "the counter's increments were refused".into(), retry_after: None };
    match outcomes.as_ref().map_err(Error::clone)?.get(place) {
        Some(result) => result.map_err(refused),
        None => Err(Error::Protocol("the batch was answered without this increment".into())),
    }
}
