//! The supervisor of a node: it hears what the engine and the operator have to say, and opens and closes the doors.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::{mpsc, watch as stage};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{Doors, Stage};
use crate::control::Order;
use crate::engine::News;
use crate::identity::WorkerId;
use crate::peer::Links;
use crate::replica::{Event, Fill, Notice};
use crate::store::Store;
use crate::telemetry;

use super::Farewell;
use super::orders::Ordered;
use super::peer_ceilings::PeerCeilings;
use super::reported::Reported;

/// Hears what the engine has to say and acts on it, one thing at a time.
pub(super) struct Supervisor {
    pub(super) doors: Doors,
    pub(super) peer_ceilings: Arc<PeerCeilings>,
    pub(super) store: Arc<Store>,
    pub(super) stage: stage::Sender<Stage>,
    pub(super) links: Links,
    pub(super) alarms: mpsc::UnboundedReceiver<String>,
    /// By the operator of this machine.
    pub(super) orders: mpsc::Receiver<Ordered>,
    /// An operator vouches for the clock.
    pub(super) clock_confirmed: bool,
    /// The start is proven or a new incarnation minted (I3).
    pub(super) serving: bool,
    /// Peers have said how far our IDs had come, or have been waited for (I10).
    pub(super) claimed: bool,
    /// An operator has it refuse new work, until he says otherwise.
    pub(super) held: bool,
    /// It was told to end.
    pub(super) leaving: bool,
    pub(super) reported: Reported,
}

impl Supervisor {
    /// Until the drain is over. An error means that the node has to stop (I9).
    pub(super) async fn serve(
        &mut self,
        news: &mut mpsc::UnboundedReceiver<News>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Farewell> {
        let mut fenced = self.doors.ids.fenced();
        loop {
            tokio::select! {
                biased;
                Some(reason) = self.alarms.recv() => bail!("the store has failed: {reason}"),
                item = news.recv() => match item {
                    Some(item) => if let Some(farewell) = self.hear(item)? { return Ok(farewell) },
                    None => bail!("the engine has ended"),
                },
                Ok(()) = fenced.changed() => {
                    let reason = fenced.borrow_and_update().clone();
                    reason.into_iter().for_each(|reason| self.doors.engine.notify(Event::Fence(reason)));
                }
                () = shutdown.cancelled(), if !self.leaving => self.leave(),
                Some(Ordered { order, reply }) = self.orders.recv() => {
                    let _ = reply.send(self.obey(order));
                }
            }
        }
    }

    fn leave(&mut self) {
        info!("draining: new work is refused, what is in hand is committed and handed to another region");
        self.leaving = true;
        self.turn_doors();
        self.doors.ids.drain();
        self.doors.engine.notify(Event::Drain);
    }

    fn obey(&mut self, order: Order) -> Result<bool, String> {
        if let Stage::Fenced(reason) = &*self.stage.borrow() {
            return Err(format!("it has fenced itself: {reason}; see snowtide cluster clear-fence --help"));
        }
        if self.leaving {
            return Err("it is shutting down".to_owned());
        }
        let held = match order {
            Order::Drain => true,
            Order::Resume => false,
            Order::Look | Order::ForgetCeilings | Order::ClearFence | Order::Reload => self.held,
        };
        if std::mem::replace(&mut self.held, held) != held {
            info!("{}", if held { "drained by an operator: new work is refused" } else { "resumed by an operator" });
            // What the doors let in before they turn, the engine refuses.
            self.doors.engine.notify(Event::Hold(held));
            self.turn_doors();
        }
        Ok(held)
    }

    fn hear(&mut self, news: News) -> anyhow::Result<Option<Farewell>> {
        match news {
            News::Serving(replica) => {
                info!(%replica, "serving");
                self.links.set_replica(replica);
                self.doors.incarnation.send_replace(Some(replica));
                self.serving = true;
                self.turn_doors();
            }
            News::ClaimIds { ceiling, quarantined } => self.claim(ceiling, quarantined),
            News::Witness(peer, ceiling) => {
                self.peer_ceilings.note(peer, ceiling);
                if self.doors.map.node(peer).is_some() {
                    self.doors.ids.witness(peer, ceiling);
                }
            }
            News::Notice(notice) => self.log(&notice),
            News::Fenced(reason) => self.fence(&reason),
            News::Failed(reason) => bail!("the store has failed: {reason}"),
            News::Drained(region) => return Ok(Some(self.farewell(region))),
        }
        Ok(None)
    }

    fn claim(&mut self, ceiling: u64, quarantined: bool) {
        if quarantined {
            warn!(ceiling, "peers know of IDs of this worker id that this disk does not: they are kept clear of");
            self.doors.ids.claim_quarantined(ceiling);
        } else {
            self.doors.ids.claim(ceiling);
        }
        if std::mem::take(&mut self.clock_confirmed) {
            warn!("the clock is believed on the operator's word");
            self.doors.ids.confirm_clock();
        }
        self.claimed = true;
        self.turn_doors();
    }

    /// The node is ready once it serves counters and IDs alike, unless it is to refuse them.
    fn turn_doors(&self) {
        let meant = match (self.held || self.leaving, self.serving && self.claimed) {
            (true, _) => Stage::Draining,
            (false, true) => Stage::Ready,
            (false, false) => Stage::Starting,
        };
        self.stage.send_if_modified(|stage| {
            let turns = *stage != meant && !matches!(stage, Stage::Fenced(_));
            if turns {
                *stage = meant;
            }
            turns
        });
    }

    fn fence(&self, reason: &str) {
        error!(reason, "fenced: neither counters nor IDs are served until an operator has cleared that");
        telemetry::fenced();
        // A disk that takes no ceiling is why IDs fence themselves; that ends with the process (I9).
        let by_disk = self.doors.ids.fenced().borrow().is_some();
        self.doors.ids.fence(reason);
        if !by_disk && let Err(error) = self.store.put_fence(reason) {
            error!(%error, "the fence could not be written down: a restart would forget it");
        }
        self.stage.send_replace(Stage::Fenced(reason.to_owned()));
    }

    fn farewell(&self, region: Option<u8>) -> Farewell {
        match region.and_then(|id| self.doors.map.region_by_id(id)) {
            Some(region) => Farewell::HeldBy(region.name.clone()),
            None => Farewell::HereOnly,
        }
    }

    fn log(&mut self, notice: &Notice) {
        let name = |worker: &WorkerId| self.doors.map.name(*worker);
        match notice {
            Notice::Fork { namespace, origin, seq, peer } => {
                telemetry::forked();
                let namespace = self.doors.namespaces.name(*namespace).unwrap_or_default();
                error!(
                    namespace, %origin, node = name(&origin.worker()), seq, peer = name(peer),
                "a fork: two processes have counted under one replica id; where both changed a counter, the greater total \
                 hides the other, so acknowledged increments may be missing. That replica id is finished; repair brings all \
                 nodes to one state"
                );
            }
            Notice::Unproven { replica, reason } => {
                warn!(%replica, reason, "this data's history is not proven; a new incarnation takes over");
            }
            Notice::Scrub { namespace, leaf } => error!(
                ?namespace,
                leaf = leaf.0,
                "rows on disk are not what was written there; repair fetches what other regions hold of them"
            ),
            Notice::Repaired { namespace, peer, rows, whole } => {
                info!(?namespace, peer = name(peer), rows, whole, "a repair session has ended");
            }
            Notice::Duplicate { worker, stays, loses } => {
                if self.reported.is_news(*worker, &format!("{} {}", stays.counter, loses.counter)) {
                    error!(
                        node = name(worker),
                        stays = stays.counter,
                        loses = loses.counter,
                        "duplicate worker: two live processes claim this node; the later boot fences itself, stop one of them"
                    );
                }
            }
            Notice::NamesFillUp(Fill { bytes, bytes_max, names }) => warn!(
                bytes,
                bytes_max,
                names,
                "idempotency keys and sessions take most of idempotency.bytes_max: new ones will be refused when it is full"
            ),
            Notice::BadMessage { peer, reason } => {
                telemetry::message_ignored(&name(peer));
                if self.reported.is_news(*peer, reason) {
                    warn!(
                        peer = name(peer),
                        reason, "a peer's message was ignored; the like are counted and told no more"
                    );
                }
            }
        }
    }
}
