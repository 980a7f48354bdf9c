//! What is held for an account: each ends its part of the account when it is dropped, and never before.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use bytes::Bytes;

use super::Account;
use crate::api::budget::{NoRoom, Purpose};

/// Bytes that are held for an account, until this is dropped.
#[derive(Debug)]
pub struct Charge {
    pub(super) account: Arc<Account>,
    pub(super) bytes: usize,
}

/// A request of an account that is in our hands, until this is dropped.
pub struct Working(pub(super) Arc<Account>);

/// Something that an account has to do before we can go on, until this is dropped.
pub struct Owed {
    pub(super) account: Arc<Account>,
    pub(super) number: u64,
}

impl Charge {
    /// What is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes what is charged; a smaller charge always fits.
    pub fn resize(&mut self, bytes: usize, purpose: Purpose) -> Result<(), NoRoom> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.account.take(more, purpose).map(|more| self.join(more)),
            None => {
                drop(self.split(self.bytes.saturating_sub(bytes)));
                Ok(())
            }
        }
    }

    /// The same, and waits a moment for room.
    pub async fn resize_soon(&mut self, bytes: usize, purpose: Purpose) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return self.resize(bytes, purpose);
        }
        let more = self.account.take_soon(more, purpose).await?;
        self.join(more);
        Ok(())
    }

    /// A part of it as a charge of its own.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        Self { account: Arc::clone(&self.account), bytes }
    }

    /// Takes another charge of the same account into this one.
    pub fn join(&mut self, mut other: Self) {
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, SeqCst);
        self.account.budget.give_back(self.bytes);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.moved();
        self.0.requests.working.fetch_sub(1, Relaxed);
    }
}

impl Owed {
    /// The client has done a part of it.
    pub fn moved(&mut self) {
        *self = self.account.owe();
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.account.owes().since_ms.remove(&self.number);
        self.account.moved();
    }
}

/// Bytes with their charge.
pub(super) struct Sent {
    pub(super) bytes: Bytes,
    pub(super) _charge: Arc<Charge>,
    pub(super) _owed: Owed,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
