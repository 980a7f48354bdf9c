//! A QUIC connection as a door of the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snowtide_protocol::id::IdScheme;

use super::{Config, Connection};
use crate::answers;
use crate::batch::Batch;
use crate::door::{Asked, Boxed, Dial, Door, Site, Told, Work};
use crate::error::{ConnectError, Error};
use crate::terms::Terms;

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
            let site = Site { region: connection.welcome().region.clone(), node: connection.welcome().node };
            Ok(Arc::new(QuicDoor { connection, site, outdated: AtomicBool::new(false) }) as Arc<dyn Door>)
        })
    }
}

struct QuicDoor {
    connection: Connection,
    site: Site,
    outdated: AtomicBool,
}

impl Door for QuicDoor {
    fn ask<'a>(&'a self, Asked { work, within, stamp }: Asked<'a>) -> Boxed<'a, Result<Told, Error>> {
        Box::pin(async move {
            match work {
                Work::One { namespace, key, action } if stamp.is_some() => {
                    let mut batch = Batch::new();
                    batch.push(namespace, key, action)?;
                    let answered = self.connection.batch_on_within(within, &batch, &Terms::new(), stamp).await?;
                    answers::only(answered, namespace, key).map(|counted| Told::One(counted.value))
                }
                Work::Batch(batch) if stamp.is_some() => {
                    let answered = self.connection.batch_on_within(within, batch, &Terms::new(), stamp).await?;
                    Ok(Told::Batch(answered.results))
                }
                Work::One { namespace, key, action } => {
                    self.connection.one(within, namespace, key, action).await.map(Told::One)
                }
                Work::Batch(batch) => self.connection.batch_within(within, batch).await.map(Told::Batch),
                Work::OnTerms(batch, terms) => {
                    self.connection.batch_on_within(within, batch, terms, stamp).await.map(Told::OnTerms)
                }
                Work::Ids(count) => self.connection.id_runs_within(within, count).await.map(Told::Ids),
            }
        })
    }

    fn counts_once(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        !self.outdated.load(Ordering::Acquire) && !self.connection.is_closed()
    }

    fn round_trip(&self) -> Duration {
        self.connection.round_trip()
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn incarnation(&self) -> Option<u64> {
        self.connection.welcome().incarnation
    }

    fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    fn id_scheme(&self) -> Option<IdScheme> {
        Some(self.connection.id_scheme())
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(self.connection.clone().close())
    }
}
