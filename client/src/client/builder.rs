//! How a client is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::carried::Carried;
use super::nodes::{NODES_MAX, Nodes, Order};
use super::{Client, Retries};
use crate::coalesce::Coalescing;
use crate::door::Dial;
use crate::error::ConnectError;
use crate::setters::setters;

/// Where the nodes are, whom to trust, and what to do when something fails. Every setting but the nodes has a default.
///
/// ```no_run
/// # async fn run() -> Result<(), snowtide_client::ConnectError> {
/// use std::time::Duration;
/// use snowtide_client::{Client, Retries};
///
/// let client = Client::builder()
///     .node("eu-west.example:7410")
///     .node("us-east.example:7410") // if no node before it can be used
///     .ca_pem_file("certs/ca.pem")
///     .bearer("secret")
///     .request_timeout(Duration::from_secs(2))
///     .retries(Retries::default().within(Duration::from_secs(5)))
///     .carry_tokens(Duration::from_secs(1))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Builder {
    pub(super) nodes: Vec<Address>,
    order: Order,
    pub(super) trusted: Vec<Pem>,
    pub(super) bearer: Option<String>,
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) streams: usize,
    request_timeout: Duration,
    retries: Retries,
    carry: Option<Duration>,
    coalescing: Option<Coalescing>,
}

/// A node's address, and the name in its certificate if that is another.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) text: String,
    pub(super) certified: Option<String>,
}

/// Certificate authorities.
#[derive(Clone, Debug)]
pub(super) enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            order: Order::Given,
            trusted: Vec::new(),
            bearer: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(15),
            streams: 1,
            request_timeout: Duration::from_secs(10),
            retries: Retries::default(),
            carry: None,
            coalescing: None,
        }
    }

    /// One more node, asked if none before it can be: of the nearest region first, then of the others, at most 64.
    ///
    /// `quic://host:port`, which is also what `host:port` means, `https://host:port`, or `http://host:port`, each if the
    /// crate's feature of that name is on. It is the address of a node itself, not of something that spreads requests over
    /// several.
    pub fn node(mut self, address: impl Into<String>) -> Self {
        self.nodes.push(Address { text: address.into(), certified: None });
        self
    }

    /// The same for several nodes.
    pub fn nodes<A: Into<String>>(self, addresses: impl IntoIterator<Item = A>) -> Self {
        addresses.into_iter().fold(self, Self::node)
    }

    /// The same for a node whose certificate holds another name than the host of its address.
    pub fn node_certified_as(mut self, address: impl Into<String>, name: impl Into<String>) -> Self {
        self.nodes.push(Address { text: address.into(), certified: Some(name.into()) });
        self
    }

    /// Asks whichever node is nearest, by the round trip that was measured when its connection was made. All are connected
    /// to. Otherwise the order is that in which they were given, and one is connected to when it is needed; while it is
    /// silent, one more every 250 ms, and whichever answers first is asked.
    pub fn nearest_first(mut self) -> Self {
        self.order = Order::Nearest;
        self
    }

    /// Trusts the certificate authorities in a PEM file, and nobody else. For `quic://` and `https://`.
    pub fn ca_pem_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.trusted.push(Pem::File(path.into()));
        self
    }

    /// Trusts the certificate authorities in these PEM bytes. For `quic://` and `https://`.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trusted.push(Pem::Bytes(pem.into()));
        self
    }

    /// A bearer token, where the nodes ask for one. Over HTTP without TLS, everybody on the way can read it.
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.bearer = Some(token.into());
        self
    }

    setters! {
        /// How long to try to connect to one address; 5 s by default.
        connect_timeout: Duration;
        /// How long to wait for an answer, in one try; 10 s by default. What the terms of a request may wait comes on top.
        /// [`Retries::within`] bounds all tries together.
        request_timeout: Duration;
        /// A node that is silent for this long is given up, even if nothing was asked; 15 s by default. QUIC only.
        idle_timeout: Duration;
        /// When to try again.
        retries: Retries;
    }

    /// QUIC streams for each connection; 1 by default, which is enough for hundreds of thousands of operations a second.
    pub fn streams(mut self, streams: usize) -> Self {
        self.streams = streams.max(1);
        self
    }

    /// Reads include what this client has seen and written before, at whatever node: tokens are carried along, and a node
    /// that does not hold what they name has `wait` to hear of it, before another one is asked. See
    /// [`Client::with_own_token`].
    pub fn carry_tokens(mut self, wait: Duration) -> Self {
        self.carry = Some(wait);
        self
    }

    /// Merges what [`Client::increment`], [`Client::decrement`] and [`Client::add`] add to the same counter at about the
    /// same time, and sends it in batches. See [`crate::Coalescer`].
    pub fn coalesce(mut self, coalescing: Coalescing) -> Self {
        self.coalescing = Some(coalescing);
        self
    }

    /// The client, connected to a node at least.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let client = self.build()?;
        client.nodes.first().await?;
        Ok(client)
    }

    /// The client, which connects when it is needed. Must be called within a tokio runtime if increments are coalesced.
    pub fn build(self) -> Result<Client, ConnectError> {
        let invalid = |error: crate::InvalidArgument| ConnectError::Config(error.to_string());
        self.retries.check().map_err(invalid)?;
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(ConnectError::Config(format!("a client has 1 to {NODES_MAX} nodes, not {}", self.nodes.len())));
        }
        let dials = self.dials()?;
        let client = self.on(dials);
        self.coalescing.map_or(Ok(client.clone()), |coalescing| client.coalesced(coalescing).map_err(invalid))
    }

    /// A client of these nodes, whatever their doors are.
    pub(super) fn on(&self, dials: Vec<Box<dyn Dial>>) -> Client {
        Client {
            nodes: Arc::new(Nodes::new(dials, self.order)),
            budget: Arc::new(Budget::new(self.retries.budget)),
            retries: self.retries,
            request_timeout: self.request_timeout,
            carried: self.carry.map(|wait| Arc::new(Carried::new(wait))),
            coalescer: None,
        }
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Builder")
            .field("nodes", &self.nodes)
            .field("order", &self.order)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
