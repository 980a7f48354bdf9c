//! What is known of one peer: how our link to it stands, what waits for it, and who last called from it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use crate::config::address::Address;
use crate::config::map::{Node, Region};
use crate::identity::{Boot, WorkerId};
use crate::replica::Message;
use crate::tls;

use super::caller::Caller;
use super::lock;

/// Why links are down when the node shuts down.
pub(super) const STOPPING: &str = "this node stops";

/// How our link to a peer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum LinkState {
    /// The first attempt is going on.
    Connecting,
    /// Messages flow.
    Up,
    /// One end will not speak with the other as it is; tried again later.
    Refused(String),
    /// The peer cannot be reached, or the link was lost; tried again.
    Down(String),
}

/// What the links with one peer have carried since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Messages handed to QUIC.
    pub sent: u64,
    /// Messages handed to the engine.
    pub received: u64,
    /// Messages that found the link down or its queue full.
    pub dropped: u64,
    /// How often our link came up.
    pub links: u64,
}

/// What a [`Tally`] is counted with.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) dropped: AtomicU64,
    links: AtomicU64,
}

/// One peer.
pub(super) struct Link {
    pub(super) worker: WorkerId,
    /// We share a namespace, so we dial it.
    pub(super) dials: bool,
    /// Where others reach it.
    pub(super) address: Address,
    /// The name that its certificate must prove.
    pub(super) certified: String,
    /// The boot that last called us and was welcome. Every welcome call is news, also from the same boot.
    pub(super) called: watch::Sender<Option<Boot>>,
    /// Who holds the place of its incoming link. Locked while a newcomer is judged, so that only one is at a time.
    pub(super) caller: tokio::sync::Mutex<Option<Caller>>,
    name: String,
    /// What the address last stood for.
    at: Mutex<Vec<IpAddr>>,
    state: Mutex<LinkState>,
    queue: Mutex<Option<mpsc::Sender<Message>>>,
    pub(super) counts: Counts,
}

/// The same for IPv4 whether or not the socket speaks IPv6.
fn canonical(address: &SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

impl Link {
    pub(super) fn new(worker: WorkerId, region: &Region, node: &Node, dials: bool) -> Self {
        Self {
            worker,
            dials,
            address: node.quic.clone(),
            certified: tls::node_name(&region.name, worker.node()),
            called: watch::Sender::new(None),
            caller: tokio::sync::Mutex::new(None),
            name: format!("{}/{}", region.name, worker.node()),
            at: Mutex::new(node.quic.fixed().iter().map(canonical).collect()),
            state: Mutex::new(LinkState::Connecting),
            queue: Mutex::new(None),
            counts: Counts::default(),
        }
    }

    /// Remembers what the address stands for now.
    pub(super) fn resolved(&self, addresses: &[SocketAddr]) {
        *lock(&self.at) = addresses.iter().map(canonical).collect();
    }

    /// Whether the peer was last there.
    pub(super) fn is_at(&self, ip: IpAddr) -> bool {
        lock(&self.at).contains(&ip)
    }

    pub(super) fn send(&self, message: Message) {
        let queued = lock(&self.queue).as_ref().is_some_and(|queue| queue.try_send(message).is_ok());
        if !queued {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The link is up: what is sent from now on waits in the returned queue. It begins empty, so that nothing meant
    /// for an earlier boot reaches a later one.
    pub(super) fn open(&self, messages_max: usize) -> mpsc::Receiver<Message> {
        let (queue, messages) = mpsc::channel(messages_max.max(1));
        *lock(&self.queue) = Some(queue);
        self.counts.links.fetch_add(1, Ordering::Relaxed);
        self.stand(LinkState::Up);
        messages
    }

    /// The link is not up, for the reason in `state`. Whether that is news.
    pub(super) fn close(&self, state: LinkState) -> bool {
        *lock(&self.queue) = None;
        self.stand(state)
    }

    pub(super) fn state(&self) -> LinkState {
        lock(&self.state).clone()
    }

    pub(super) fn tally(&self) -> Tally {
        let Counts { sent, received, dropped, links } = &self.counts;
        let [sent, received, dropped, links] =
            [sent, received, dropped, links].map(|counted| counted.load(Ordering::Relaxed));
        Tally { sent, received, dropped, links }
    }

    /// Logs what is new, and only that: a peer that stays away for hours is one line.
    fn stand(&self, now: LinkState) -> bool {
        let mut state = lock(&self.state);
        let peer = &self.name;
        if *state == now {
            debug!(peer, state = ?now, "the link stands as before");
            return false;
        }
        match &now {
            LinkState::Up => info!(peer, "linked"),
            LinkState::Refused(reason) => warn!(peer, reason, "the link is refused; trying again later"),
            LinkState::Down(reason) if reason == STOPPING => info!(peer, "unlinked: this node stops"),
            LinkState::Down(reason) => warn!(peer, reason, "no link; trying again"),
            LinkState::Connecting => {}
        }
        *state = now;
        true
    }
}
