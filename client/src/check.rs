//! Decisions of limits, for everything that asks them.

use snowtide_protocol::Code;
use snowtide_protocol::limit::Decision;

use crate::answers::undecided;
use crate::client::Client;
use crate::door::{Reply, Request};
use crate::error::Error;
use crate::limits::{Check, LimitBatch, Policy};
#[cfg(feature = "quic")]
use crate::quic::Connection;

/// One decision that is about to be asked. It charges 1 unless another [cost](LimitCheck::cost) is set.
///
/// ```
/// # async fn example(client: &snowtide_client::Client) -> Result<(), snowtide_client::Error> {
/// let decision = client.limit("default", "alice").cost(3).check().await?;
/// if !decision.admitted {
///     println!("again in {} ms", decision.retry_after_ms);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is asked before `check` or `peek`"]
pub struct LimitCheck<'a, S = Client> {
    sender: &'a S,
    check: Check<'a>,
}

impl<S> LimitCheck<'_, S> {
    /// How much is charged if it is admitted; 0 looks, as [`peek`](LimitCheck::peek) does.
    pub fn cost(mut self, cost: u64) -> Self {
        self.check.cost = cost;
        self
    }
}

/// The same for what sends them: a type that has `perform`.
macro_rules! decisions {
    ($sender:ty) => {
        impl $sender {
            /// Asks whether a key may have more. The policy is the name of one that the node is configured with, or
            /// [`Numbers`](crate::Numbers) that the request brings along.
            pub fn limit<'a>(&'a self, policy: impl Into<Policy<'a>>, key: &'a str) -> LimitCheck<'a, Self> {
                LimitCheck { sender: self, check: Check { policy: policy.into(), key, cost: 1 } }
            }

            /// Asks many decisions at once: one result per check, in order: the decision, or why there is none. An error means
            /// that the batch as a whole was refused or its fate is unknown, as the error says.
            pub async fn limits(&self, batch: &LimitBatch) -> Result<Vec<Result<Decision, Code>>, Error> {
                if batch.is_empty() {
                    return Ok(Vec::new());
                }
                match self.perform(Request::Limits(batch)).await? {
                    Reply::Limits(decided) => Ok(decided),
                    _ => Err(undecided(batch.len())),
                }
            }
        }

        impl LimitCheck<'_, $sender> {
            /// Asks, and charges the cost if it is admitted.
            ///
            /// An error that [is ambiguous](Error::is_ambiguous) leaves open whether the cost was charged. To ask again may
            /// charge it twice, which denies more and never admits more; a [`Client`] does that only with
            /// [`Retries::at_least_once`](crate::Retries::at_least_once).
            pub async fn check(self) -> Result<Decision, Error> {
                let Self { sender, check } = self;
                check.policy.check()?;
                snowtide_protocol::key::check(check.key).map_err(crate::InvalidArgument::from)?;
                match sender.perform(Request::Limit(check)).await? {
                    Reply::Limit(decision) => Ok(decision),
                    _ => Err(undecided(1)),
                }
            }

            /// Asks how the key stands, and charges nothing.
            pub async fn peek(self) -> Result<Decision, Error> {
                self.cost(0).check().await
            }
        }
    };
}

decisions!(Client);
#[cfg(feature = "quic")]
decisions!(Connection);
