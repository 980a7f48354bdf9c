//! Where a node listens, and its front doors while they are open.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::threads::Threads;
use crate::api::{self, Doors};
use crate::config::{Config, map};
use crate::peer::Links;
use crate::quic::{Endpoint, Serving};
use crate::sockets;
use crate::tls::Credentials;

use super::certificates::LiveDoors;
use super::settings;

/// How long a node that has drained waits for clients to take their last answers.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where it listens.
pub(super) struct Sockets {
    pub(super) threads: Threads,
    pub(super) endpoint: Endpoint,
    pub(super) listener: TcpListener,
    pub(super) redis: Option<TcpListener>,
    pub(super) grpc: Option<TcpListener>,
}

/// Open doors.
pub(super) struct Open {
    endpoint: Endpoint,
    _threads: Threads,
    closing: CancellationToken,
    clients: TaskTracker,
    http: JoinHandle<()>,
    quic: JoinHandle<()>,
}

impl Sockets {
    /// Listens at each door of the node that stands at `place` of the map.
    pub(super) fn bind(config: &Config, place: &map::Node, credentials: &Credentials) -> anyhow::Result<Self> {
        let listening = settings::listening(config, place)?;
        let threads = Threads::start().context("cannot start a thread")?;
        let endpoint = {
            let _own = threads.quic().enter();
            Endpoint::bind(&config.quic, &config.peer, credentials, &listening.quic)?
        };
        let listener = listen(&listening.http, "http")?;
        let redis = listening.redis.as_ref().map(|addresses| listen(addresses, "redis")).transpose()?;
        let grpc = listening.grpc.as_ref().map(|addresses| listen(addresses, "grpc")).transpose()?;
        Ok(Self { threads, endpoint, listener, redis, grpc })
    }

    /// Serves clients, and peers if there are links.
    pub(super) fn open(self, doors: &Doors, links: Option<Links>, tls: LiveDoors) -> Open {
        let (closing, clients) = (CancellationToken::new(), TaskTracker::new());
        let http = api::http::serve(self.listener, doors.clone(), self.threads.clone(), tls.http, closing.clone());
        if let Some(listener) = self.redis {
            let threads = self.threads.clone();
            clients.spawn(api::redis::serve(listener, doors.clone(), threads, tls.redis, closing.clone()));
        }
        if let Some(listener) = self.grpc {
            let threads = self.threads.clone();
            clients.spawn(api::grpc::serve(listener, doors.clone(), threads, tls.grpc, closing.clone()));
        }
        let quic = {
            let (endpoint, doors) = (self.endpoint.clone(), doors.clone());
            let serving = clients.clone();
            let client = move |connection| -> Serving {
                Box::pin(serving.track_future(api::quic::serve(connection, doors.clone())))
            };
            async move { endpoint.serve(links, client).await }
        };
        let quic = self.threads.quic().spawn(quic);
        Open { endpoint: self.endpoint, _threads: self.threads, closing, clients, http: tokio::spawn(http), quic }
    }
}

impl Open {
    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Waits for clients to take their last answers. Those that do not do so in time learn by the closed connection that
    /// they are unknown.
    pub(super) async fn see_off(&mut self) {
        self.clients.close();
        let _ = timeout(GOODBYE_TIMEOUT, async { tokio::join!(&mut self.http, self.clients.wait()) }).await;
    }

    /// Closes what is left.
    pub(super) async fn end(self) {
        self.endpoint.close("the node shuts down").await;
        self.quic.abort();
    }
}

/// A door's socket.
fn listen(addresses: &[SocketAddr], door: &str) -> anyhow::Result<TcpListener> {
    let bound = sockets::tcp(addresses).and_then(|listener| {
        let address = addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        TcpListener::from_std(listener).map_err(|source| sockets::NotBound { address, source })
    });
    bound.map_err(|sockets::NotBound { address, source }| {
        let whose = format!("which is {door}.listen, or follows from `{door}` in the region's file");
        anyhow::Error::from(source).context(format!("cannot listen on {address}/tcp, {whose}"))
    })
}
