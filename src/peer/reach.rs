//! From a peer's address to a connection. A name is looked up anew each time, so that a node which has come back at
//! another address is found there, and every address that it stands for is tried.
//!
//! Whoever answers must prove the peer's name by its certificate, so a wrong answer of the resolver costs time and
//! nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::address::Address;
use crate::quic::Endpoint;

use super::brief;
use super::end::{End, no_connection, unreachable};
use super::link::Link;

/// Of the addresses of one name, no more are tried.
const ADDRESSES_MAX: usize = 16;
/// An address has so long to answer before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Names looked up at once. Each takes a thread for as long as the system's resolver does, and the rest of the node needs
/// some too.
const LOOKUPS_MAX: usize = 8;

/// What calls are made with.
pub(super) struct Dialer {
    pub(super) endpoint: Endpoint,
    /// For each address.
    timeout: Duration,
    lookups: Semaphore,
}

impl Dialer {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout, lookups: Semaphore::new(LOOKUPS_MAX) }
    }

    /// Connects to the first address of the peer that answers in time.
    pub(super) async fn reach(&self, link: &Link) -> Result<Connection, End> {
        let addresses = self.resolve(&link.address).await?;
        link.resolved(&addresses);
        let mut attempts = JoinSet::new();
        let mut wait = Duration::ZERO;
        for address in addresses {
            attempts.spawn(self.attempt(link, address, wait));
            wait = wait.saturating_add(STAGGER);
        }
        let mut ends = Vec::new();
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(end)) => ends.push(end),
                Err(ended) => ends.push(unreachable(ended)),
            }
        }
        // A node that distrusts us, or that we distrust, says more than silence elsewhere.
        let told = ends.iter().position(|end| matches!(end, End::Distrust(_))).unwrap_or_default();
        Err(if ends.is_empty() { unreachable("there is no address") } else { ends.swap_remove(told) })
    }

    async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>, End> {
        let Address::Name { host, port } = address else { return Ok(address.fixed().into_iter().collect()) };
        let Ok(_one_of_few) = self.lookups.acquire().await else { return Err(End::Stopped) };
        let found = tokio::net::lookup_host((host.as_str(), *port)).await;
        let found = found.map_err(|error| End::Unreachable(brief(&format!("{host} cannot be looked up: {error}"))))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(End::Unreachable(format!("{host} has no address"))) } else { Ok(addresses) }
    }

    fn attempt(
        &self,
        link: &Link,
        address: SocketAddr,
        wait: Duration,
    ) -> impl Future<Output = Result<Connection, End>> + Send + use<> {
        let (endpoint, certified, limit) = (self.endpoint.clone(), link.certified.clone(), self.timeout);
        async move {
            sleep(wait).await;
            let at = |reason: &str| End::Unreachable(brief(&format!("{address}: {reason}")));
            match endpoint.dial(address, &certified) {
                Ok(connecting) => match timeout(limit, connecting).await {
                    Ok(connected) => connected.map_err(|error| match no_connection(&error) {
                        End::Unreachable(reason) => at(&reason),
                        end => end,
                    }),
                    Err(_elapsed) => Err(at("timed out")),
                },
                Err(error) => Err(at(&error.to_string())),
            }
        }
    }
}
