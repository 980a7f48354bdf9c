//! The client: requests as methods, whichever node answers them.

mod attempts;
mod budget;
mod builder;
mod carried;
mod dials;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod limit_tests;
mod node;
mod nodes;
#[cfg(test)]
mod once_tests;
mod reasons;
mod retries;
mod sessions;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::IdRun;
use snowtide_protocol::{Action, Code, Token};
use tracing::Instrument;

use crate::answers::{miscounted, no_ids, only};
use crate::batch::{self, Batch};
use crate::coalesce::{Coalescer, Coalescing};
use crate::door::{Reply, Request, Site};
use crate::error::{ConnectError, Error, InvalidArgument};
use crate::ids::{Ids, Prefetch, Source};
use crate::terms::{Answered, Terms};

use attempts::Attempts;
use budget::Budget;
use carried::Carried;
use nodes::Nodes;

pub use builder::Builder;
pub use retries::Retries;

/// A client of all nodes that it was given; cheap to clone, and any number of requests may be under way.
///
/// A request goes to the first node, or to the nearest, that is connected and does not ask to be left alone. If it was
/// surely not carried out there, or writes nothing, it is tried again, elsewhere if possible, as [`Retries`] say. A write
/// whose outcome is unknown is asked for again at the same node, which counts it once however often it comes, also after a
/// crash. It is never sent to another one behind the caller's back: if the first does not answer in time, that is
/// [`Error::Ambiguous`], and the caller knows best whether to count twice is worse than not at all. To drop the future of a
/// write leaves its outcome open, too.
///
/// Connections are made by tasks of their own, and again when they are lost. A node that cannot be reached is left alone
/// for a while, at most 10 s; as soon as it is back, it is preferred as before.
///
/// When the last clone is dropped, requests that were queued are still sent; [`Client::close`] waits for that.
#[derive(Clone)]
pub struct Client {
    nodes: Arc<Nodes>,
    budget: Arc<Budget>,
    retries: Retries,
    request_timeout: Duration,
    carried: Option<Arc<Carried>>,
    coalescer: Option<Coalescer>,
}

impl Client {
    /// Says what a client is to be; see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The same client, its connections and its budget, with other retries for the requests that are made through it,
    /// which are not coalesced.
    pub fn with_retries(&self, retries: Retries) -> Result<Self, InvalidArgument> {
        retries.check()?;
        Ok(Self { retries, coalescer: None, ..self.clone() })
    }

    /// The same client and its connections with a token that names nothing yet, if it carries any: for each user whose
    /// reads are to include what that user has done, and not to wait for what others did. Its increments
    /// are not coalesced.
    #[must_use]
    pub fn with_own_token(&self) -> Self {
        let carried = self.carried.as_ref().map(|carried| Arc::new(carried.anew()));
        Self { carried, coalescer: None, ..self.clone() }
    }

    /// What is carried: everything that this client's answers have shown. `None` if it carries no tokens.
    pub fn token(&self) -> Option<Token> {
        self.carried.as_ref().map(|carried| carried.token().clone())
    }

    /// From now on, reads include what this token names; in vain if this client carries no tokens.
    pub fn observe(&self, token: &Token) {
        if let Some(carried) = &self.carried {
            carried.token().join(token);
        }
    }

    /// A node that this client is connected to, if there is one: the first, in the order in which they were given.
    pub fn site(&self) -> Option<Site> {
        self.nodes.present().map(|door| door.identity().site.clone())
    }

    /// How the cluster's IDs are written as UUIDs and ULIDs, and read; `None` until a connection over QUIC has told.
    pub fn id_scheme(&self) -> Option<IdScheme> {
        self.nodes.present().and_then(|door| door.identity().id_scheme)
    }

    /// Applies a batch in order: one result per operation, the value after it or why it was refused. An error means
    /// that the batch as a whole was refused or its fate is unknown, as the error says.
    pub async fn batch(&self, batch: &Batch) -> Result<Vec<Result<i128, Code>>, Error> {
        Ok(self.batched(batch, None).await?.results)
    }

    /// As [`Client::batch`], on terms. The request's time limit is longer by the time that the terms may wait.
    pub async fn batch_on(&self, batch: &Batch, terms: &Terms) -> Result<Answered, Error> {
        self.batched(batch, Some(terms)).await
    }

    /// `count` IDs, ascending: 1 to 10 000.
    pub async fn ids(&self, count: u32) -> Result<Vec<u64>, Error> {
        Ok(self.id_runs(count).await?.into_iter().flat_map(IdRun::iter).collect())
    }

    /// `count` IDs as ascending runs of consecutive numbers: 1 to 10 000.
    pub async fn id_runs(&self, count: u32) -> Result<Vec<IdRun>, Error> {
        batch::check_ids(count)?;
        match self.perform(Request::Ids(count)).await? {
            Reply::Ids(runs) => Ok(runs),
            _ => Err(no_ids(count)),
        }
    }

    /// IDs without a round trip for each. Must be called within a tokio runtime.
    pub fn prefetch(&self, prefetch: Prefetch) -> Result<Ids, InvalidArgument> {
        Ids::from_source(self.clone(), prefetch)
    }

    /// Merges increments of the same counters. Must be called within a tokio runtime.
    pub fn coalescer(&self, coalescing: Coalescing) -> Result<Coalescer, InvalidArgument> {
        let (coalescer, mut loads) = Coalescer::start(coalescing)?;
        let direct = Self { coalescer: None, ..self.clone() };
        tokio::spawn(async move {
            while let Some(load) = loads.next().await {
                let answer = direct.batch(&load.batch).await;
                if let Err(error) = &answer {
                    tracing::warn!(counters = load.batch.len(), %error, "a batch of increments was not acknowledged");
                }
                loads.settle(answer);
            }
        });
        Ok(coalescer)
    }

    /// Closes the connections for all clones: what is coalesced and queued is sent, and answers are awaited for a few
    /// seconds.
    pub async fn close(self) {
        if let Some(coalescer) = &self.coalescer {
            // What went wrong was told to those who wait for it.
            let _ = coalescer.flush().await;
        }
        self.nodes.close().await;
    }

    pub(crate) fn coalesced(&self, coalescing: Coalescing) -> Result<Self, InvalidArgument> {
        Ok(Self { coalescer: Some(self.coalescer(coalescing)?), ..self.clone() })
    }

    /// Any operation.
    pub(crate) async fn operate(&self, namespace: &str, key: &str, action: Action) -> Result<i128, Error> {
        if let (Some(coalescer), Action::Increment(by)) = (&self.coalescer, action) {
            return coalescer.add(namespace, key, by).await?.await;
        }
        if self.carried.is_some() {
            let batch = Batch::of(namespace, key, action)?;
            return only(self.batched(&batch, None).await?, namespace, key).map(|counted| counted.value);
        }
        batch::check_namespace(namespace)?;
        batch::check_key(key)?;
        match self.perform(Request::Operation { namespace, key, action }).await? {
            Reply::Value(value) => Ok(value),
            _ => Err(miscounted(1)),
        }
    }

    /// A batch with the token that is carried, if this client carries any.
    async fn batched(&self, batch: &Batch, terms: Option<&Terms>) -> Result<Answered, Error> {
        if batch.is_empty() {
            return Ok(Answered::default());
        }
        let loaded = self.carried.as_ref().map(|carried| carried.load(terms, batch.reads));
        let Reply::Batch(mut answered) = self.perform(Request::Batch(batch, loaded.as_ref().or(terms))).await? else {
            return Err(miscounted(batch.len()));
        };
        if let Some(carried) = &self.carried {
            carried.unload(&answered);
            answered.token = answered.token.filter(|_| terms.is_some_and(|terms| terms.wants_token));
        }
        Ok(answered)
    }

    pub(crate) async fn perform(&self, request: Request<'_>) -> Result<Reply, Error> {
        // Neither namespaces nor keys: they must not leave their regions with logs.
        let span = tracing::debug_span!("snowtide", kind = request.kind().word());
        Attempts::new(self, request).run().instrument(span).await
    }
}

/// Whichever node answers. The IDs increase as long as it is the same.
impl Source for Client {
    async fn prepare(&mut self) -> Result<(), Error> {
        let unreachable =
            |error: ConnectError| Error::Unreachable { reason: error.to_string(), retryable: error.is_retryable() };
        self.nodes.first().await.map_err(unreachable)
    }

    async fn fetch(&mut self, count: u32) -> Result<Vec<IdRun>, Error> {
        self.id_runs(count).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("site", &self.site()).field("retries", &self.retries).finish_non_exhaustive()
    }
}
