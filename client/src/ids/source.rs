//! Where blocks of IDs come from.

use std::future::Future;

use snowtide_protocol::wire::IdRun;

use crate::error::Error;

/// Gives blocks of IDs: a [`crate::Client`], unless a test has something else.
pub trait Source: Send + 'static {
    /// Makes ready to fetch, which may take its time: the age of a block is counted from the end of this.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// `count` IDs that nobody else gets, as ascending runs.
    fn fetch(&mut self, count: u32) -> impl Future<Output = Result<Vec<IdRun>, Error>> + Send;
}
