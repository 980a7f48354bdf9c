//! What a layer limits, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use snowtide_protocol::Code;

use super::denied::{Denied, too_many_requests};
use crate::client::Client;
use crate::error::{Error, InvalidArgument};
use crate::limits::{Kept, Policy};

/// A decision that takes longer is none.
const WITHIN: Duration = Duration::from_millis(250);

/// What a caller makes of something.
type Make<T, U> = Arc<dyn Fn(&T) -> U + Send + Sync>;

/// Limits a service: each request is passed on only if a node admits its key.
///
/// ```
/// # fn layer(client: snowtide_client::Client) {
/// use http::{Request, Response};
/// use snowtide_client::LimitLayer;
///
/// // By the policy "default" of the nodes, to each API key. Requests without one are not limited here.
/// let key = |request: &Request<String>| Some(request.headers().get("x-api-key")?.to_str().ok()?.to_owned());
/// let layer = LimitLayer::<_, Response<String>>::http(client, "default", key)
///     .cost(|request| if request.method() == "GET" { 1 } else { 5 })
///     .on_error(|error| eprintln!("not limited: {error}"));
/// # let _: LimitLayer<Request<String>, Response<String>> = layer;
/// # }
/// ```
///
/// **If no node can be asked** in time, the request is passed on (it fails open), since a limit is rarely worth an outage;
/// [`LimitLayer::fail_closed`] says otherwise. Either way [`LimitLayer::on_error`] is told, which is the place for a metric. A
/// node that has no room for a new key (`limits_full`) and one that does not know the policy count as such. What no node would
/// ever admit, because of its cost or its key, is denied.
///
/// The client's [retries](crate::Retries) count here, too: what was surely not charged is asked of the next node.
///
/// `Q` is the service's request and `A` its answer.
pub struct LimitLayer<Q, A>(pub(super) Settings<Q, A>);

pub(super) struct Settings<Q, A> {
    client: Client,
    policy: Kept,
    key: Make<Q, Option<String>>,
    cost: Make<Q, u64>,
    deny: Arc<dyn Fn(&Denied<'_>) -> A + Send + Sync>,
    within: Duration,
    fail_closed: Option<Make<Error, A>>,
    on_error: Make<Error, ()>,
}

/// What is to be asked of a node.
pub(super) struct Asked {
    key: String,
    cost: u64,
}

impl<Q, B: Default + 'static> LimitLayer<Q, http::Response<B>> {
    /// As [`LimitLayer::new`], where a denial is answered by [`too_many_requests`].
    pub fn http<'a>(
        client: Client,
        policy: impl Into<Policy<'a>>,
        key: impl Fn(&Q) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::new(client, policy, key, too_many_requests)
    }
}

impl<Q, A> LimitLayer<Q, A> {
    /// Limits by a policy that the node is configured with, or by [`Numbers`](crate::Numbers). `key` says who is charged for a
    /// request; a request without a key is passed on. `deny` makes the answer to a denied one.
    pub fn new<'a>(
        client: Client,
        policy: impl Into<Policy<'a>>,
        key: impl Fn(&Q) -> Option<String> + Send + Sync + 'static,
        deny: impl Fn(&Denied<'_>) -> A + Send + Sync + 'static,
    ) -> Self {
        Self(Settings {
            client,
            policy: Kept::of(policy.into()),
            key: Arc::new(key),
            cost: Arc::new(|_| 1),
            deny: Arc::new(deny),
            within: WITHIN,
            fail_closed: None,
            on_error: Arc::new(|error| tracing::warn!(%error, "no node could be asked for a decision")),
        })
    }

    /// How much a request is charged; 1 unless set. A cost of 0 is always admitted.
    #[must_use]
    pub fn cost(mut self, cost: impl Fn(&Q) -> u64 + Send + Sync + 'static) -> Self {
        self.0.cost = Arc::new(cost);
        self
    }

    /// How long a decision may take, with all that the client tries; 250 ms unless set.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.0.within = within;
        self
    }

    /// Passes requests on if no node can be asked; so it is unless [`LimitLayer::fail_closed`] says otherwise.
    #[must_use]
    pub fn fail_open(mut self) -> Self {
        self.0.fail_closed = None;
        self
    }

    /// Answers a request so, and does not pass it on, if no node can be asked.
    #[must_use]
    pub fn fail_closed(mut self, answer: impl Fn(&Error) -> A + Send + Sync + 'static) -> Self {
        self.0.fail_closed = Some(Arc::new(answer));
        self
    }

    /// What is told of each request for which no node could be asked; a warning in the log unless set.
    #[must_use]
    pub fn on_error(mut self, told: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.0.on_error = Arc::new(told);
        self
    }
}

impl<Q, A> Settings<Q, A> {
    /// What a node is asked about a request, if anything.
    pub(super) fn asks(&self, request: &Q) -> Option<Asked> {
        (self.key)(request).map(|key| Asked { key, cost: (self.cost)(request) })
    }

    /// Asks; the answer to a request that is not passed on.
    pub(super) async fn refuse(&self, Asked { key, cost }: Asked) -> Option<A> {
        let policy = self.policy.policy();
        let asked = self.client.limit(policy, &key).cost(cost).check();
        let decided = tokio::time::timeout(self.within, asked).await;
        let decided = decided.unwrap_or(Err(Error::Timeout { after: self.within, may_have_written: cost > 0 }));
        match decided {
            Ok(decision) if decision.admitted => None,
            Ok(decision) => Some((self.deny)(&Denied { policy, decision: Some(decision) })),
            Err(error) if is_never_admitted(&error) => Some((self.deny)(&Denied { policy, decision: None })),
            Err(error) => {
                (self.on_error)(&error);
                self.fail_closed.as_ref().map(|answer| answer(&error))
            }
        }
    }
}

/// That is about the request, whichever node is asked: who sends it must not get past the limit by it.
fn is_never_admitted(error: &Error) -> bool {
    matches!(error, Error::InvalidArgument(InvalidArgument::Key(_)) | Error::Refused { code: Code::CostTooHigh, .. })
}

impl<Q, A> Clone for LimitLayer<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q, A> Clone for Settings<Q, A> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            policy: self.policy.clone(),
            key: Arc::clone(&self.key),
            cost: Arc::clone(&self.cost),
            deny: Arc::clone(&self.deny),
            within: self.within,
            fail_closed: self.fail_closed.clone(),
            on_error: Arc::clone(&self.on_error),
        }
    }
}

impl<Q, A> fmt::Debug for LimitLayer<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { policy, within, fail_closed, .. } = &self.0;
        let fails = if fail_closed.is_some() { "closed" } else { "open" };
        f.debug_struct("LimitLayer")
            .field("policy", policy)
            .field("within", within)
            .field("fails", &fails)
            .finish_non_exhaustive()
    }
}
