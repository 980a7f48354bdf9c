//! A QUIC connection as a door of the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snowtide_protocol::wire::Welcome;

use super::{Config, Connection};
use crate::door::{Boxed, Dial, Door, Identity, Reply, Request, Site, Stamp};
use crate::error::{ConnectError, Error};

/// How to make one.
pub(crate) struct QuicDial {
    address: String,
    config: Config,
}

impl QuicDial {
    /// `address` is what messages call it.
    pub(crate) fn new(address: String, config: Config) -> Self {
        Self { address, config }
    }
}

impl Dial for QuicDial {
    fn address(&self) -> &str {
        &self.address
    }

    fn dial(&self) -> Boxed<'_, Result<Arc<dyn Door>, ConnectError>> {
        Box::pin(async move {
            let connection = Connection::open(self.config.clone()).await?;
            let Welcome { region, node, incarnation, id_scheme, .. } = connection.welcome().clone();
            let identity = Identity {
                site: Site { region, node },
                incarnation,
                id_scheme: Some(id_scheme),
                round_trip: connection.round_trip(),
                counts_once: true,
            };
            Ok(Arc::new(QuicDoor { connection, identity, outdated: AtomicBool::new(false) }) as Arc<dyn Door>)
        })
    }
}

struct QuicDoor {
    connection: Connection,
    identity: Identity,
    outdated: AtomicBool,
}

impl Door for QuicDoor {
    fn send<'a>(
        &'a self,
        request: Request<'a>,
        stamp: Option<Stamp>,
        timeout: Duration,
    ) -> Boxed<'a, Result<Reply, Error>> {
        Box::pin(self.connection.perform_within(request, stamp, timeout))
    }

    fn is_open(&self) -> bool {
        !self.outdated.load(Ordering::Acquire) && !self.connection.is_closed()
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(self.connection.clone().close())
    }
}
