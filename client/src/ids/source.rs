//! Where blocks of IDs come from.

use std::future::Future;

use snowtide_protocol::wire::IdRun;

use crate::error::Error;
#[cfg(feature = "quic")]
use crate::quic::{Config, Connection};

/// Gives blocks of IDs; a node, unless a test has something else.
pub trait Source: Send + 'static {
    /// Makes ready to fetch, which may take its time: the age of a block is counted from the end of this.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// `count` IDs that nobody else gets, as ascending runs.
    fn fetch(&mut self, count: u32) -> impl Future<Output = Result<Vec<IdRun>, Error>> + Send;
}

#[cfg(feature = "quic")]
/// A node, connected to when it is needed, and again when the connection was lost.
pub(super) struct NodeSource {
    config: Config,
    connection: Option<Connection>,
}

#[cfg(feature = "quic")]
impl NodeSource {
    pub(super) fn new(config: Config) -> Self {
        Self { config, connection: None }
    }

    async fn connected(&mut self) -> Result<&Connection, Error> {
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(self.config.clone())
                .await
                .map_err(|error| Error::Disconnected { reason: error.to_string() })?,
        };
        Ok(self.connection.insert(connection))
    }
}

#[cfg(feature = "quic")]
impl Source for NodeSource {
    async fn prepare(&mut self) -> Result<(), Error> {
        self.connected().await.map(|_| ())
    }

    async fn fetch(&mut self, count: u32) -> Result<Vec<IdRun>, Error> {
        self.connected().await?.id_runs(count).await
    }
}
