//! The supervisor of a node: it hears what the engine and the operator have to say, and opens and closes the doors.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::{mpsc, watch as stage};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{Doors, Stage};
use crate::control::Order;
use crate::engine::News;
use crate::peer::Links;
use crate::replica::Event;
use crate::store::Store;
use crate::telemetry;

use super::Farewell;
use super::limits;
use super::notices::Notices;
use super::orders::Ordered;
use super::peer_ceilings::PeerCeilings;

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
    pub(super) readiness: Readiness,
    pub(super) notices: Notices,
}

/// What has to come together for a node to serve.
#[derive(Default)]
pub(super) struct Readiness {
    /// The start is proven or a new incarnation minted (I3).
    serving: bool,
    /// Peers have said how far our IDs had come, or have been waited for (I10).
    claimed: bool,
    /// An operator has it refuse new work, until he says otherwise.
    held: bool,
    /// It was told to end.
    leaving: bool,
}

impl Readiness {
    /// The node is ready once it serves counters and IDs alike, unless it is to refuse them.
    fn stage(&self) -> Stage {
        match (self.held || self.leaving, self.serving && self.claimed) {
            (true, _) => Stage::Draining,
            (false, true) => Stage::Ready,
            (false, false) => Stage::Starting,
        }
    }
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
                () = shutdown.cancelled(), if !self.readiness.leaving => self.leave(),
                Some(Ordered { order, reply }) = self.orders.recv() => {
                    let _ = reply.send(self.obey(order));
                }
            }
        }
    }

    fn leave(&mut self) {
        info!("draining: new work is refused, what is in hand is committed and handed to another region");
        self.readiness.leaving = true;
        self.turn_doors();
        self.doors.ids.drain();
        self.doors.engine.notify(Event::Drain);
    }

    fn obey(&mut self, order: Order) -> Result<bool, String> {
        if let Stage::Fenced(reason) = &*self.stage.borrow() {
            return Err(format!("it has fenced itself: {reason}; see snowtide cluster clear-fence --help"));
        }
        if self.readiness.leaving {
            return Err("it is shutting down".to_owned());
        }
        let held = match order {
            Order::Drain => true,
            Order::Resume => false,
            Order::Look | Order::ForgetCeilings | Order::ClearFence | Order::Reload => self.readiness.held,
        };
        if std::mem::replace(&mut self.readiness.held, held) != held {
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
                self.readiness.serving = true;
                self.turn_doors();
            }
            News::ClaimIds { ceiling, quarantined } => self.claim(ceiling, quarantined),
            News::Witness(peer, ceiling) => {
                self.peer_ceilings.note(peer, ceiling);
                if self.doors.map.node(peer).is_some() {
                    self.doors.ids.witness(peer, ceiling);
                }
            }
            News::Notice(notice) => self.notices.log(&notice),
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
        // The clock may be believed from now on, and who is told that the node is ready asks limits at once.
        self.doors.limiter.tick(limits::believed(self.doors.ids.clone())());
        self.readiness.claimed = true;
        self.turn_doors();
    }

    fn turn_doors(&self) {
        let meant = self.readiness.stage();
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
        self.doors.limiter.fence();
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
}
