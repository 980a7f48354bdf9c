//! The operations on one counter, for everything that takes them.
//!
//! What is below carries any [`Action`], so another operation stands here and nowhere else in this crate.

use snowtide_protocol::Action;

use crate::answers::only;
use crate::batch::Batch;
use crate::client::Client;
use crate::error::{Error, InvalidArgument};
#[cfg(feature = "quic")]
use crate::quic::Connection;
use crate::terms::{Counted, Terms};

impl Batch {
    /// Adds `by` to a counter.
    pub fn increment(&mut self, namespace: &str, key: &str, by: u64) -> Result<&mut Self, InvalidArgument> {
        self.push(namespace, key, increment(by)?)
    }

    /// Subtracts `by` from a counter.
    pub fn decrement(&mut self, namespace: &str, key: &str, by: u64) -> Result<&mut Self, InvalidArgument> {
        self.push(namespace, key, decrement(by)?)
    }

    /// Adds `by` to a counter; a negative number is a decrement.
    pub fn add(&mut self, namespace: &str, key: &str, by: i64) -> Result<&mut Self, InvalidArgument> {
        self.push(namespace, key, Action::Increment(by))
    }

    /// Reads a counter.
    pub fn get(&mut self, namespace: &str, key: &str) -> Result<&mut Self, InvalidArgument> {
        self.push(namespace, key, Action::Get)
    }
}

/// The same for what sends them: a type that has `operate` and `batch_on`.
macro_rules! operations {
    ($sender:ty) => {
        impl $sender {
            /// Adds `by` to a counter; its value afterwards, durable at the node that answers.
            pub async fn increment(&self, namespace: &str, key: &str, by: u64) -> Result<i128, Error> {
                self.operate(namespace, key, increment(by)?).await
            }

            /// Subtracts `by` from a counter; its value afterwards, durable at the node that answers.
            pub async fn decrement(&self, namespace: &str, key: &str, by: u64) -> Result<i128, Error> {
                self.operate(namespace, key, decrement(by)?).await
            }

            /// Adds `by` to a counter, where a negative number is a decrement; its value afterwards, durable at the node
            /// that answers.
            pub async fn add(&self, namespace: &str, key: &str, by: i64) -> Result<i128, Error> {
                self.operate(namespace, key, Action::Increment(by)).await
            }

            /// A counter's value as the node that answers knows it; an unknown counter is 0.
            pub async fn get(&self, namespace: &str, key: &str) -> Result<i128, Error> {
                self.operate(namespace, key, Action::Get).await
            }

            /// As [`Self::add`], on terms.
            pub async fn add_on(&self, namespace: &str, key: &str, by: i64, terms: &Terms) -> Result<Counted, Error> {
                self.operate_on(namespace, key, Action::Increment(by), terms).await
            }

            /// As [`Self::get`], on terms.
            pub async fn get_on(&self, namespace: &str, key: &str, terms: &Terms) -> Result<Counted, Error> {
                self.operate_on(namespace, key, Action::Get, terms).await
            }

            async fn operate_on(
                &self,
                namespace: &str,
                key: &str,
                action: Action,
                terms: &Terms,
            ) -> Result<Counted, Error> {
                let batch = Batch::of(namespace, key, action)?;
                only(self.batch_on(&batch, terms).await?, namespace, key)
            }
        }
    };
}

operations!(Client);
#[cfg(feature = "quic")]
operations!(Connection);

fn increment(by: u64) -> Result<Action, InvalidArgument> {
    i64::try_from(by).map(Action::Increment).map_err(|_| InvalidArgument::Amount(by))
}

fn decrement(by: u64) -> Result<Action, InvalidArgument> {
    i64::try_from(by).map(|by| Action::Increment(by.wrapping_neg())).map_err(|_| InvalidArgument::Amount(by))
}
