//! What the operator of this machine orders, from the control socket to the supervisor.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::api::{Doors, Stage};
use crate::audit;
use crate::control::{Answer, Control, Heard, Order};
use crate::replica::Event;
use crate::store::{Store, StoreError};

use super::peer_ceilings::PeerCeilings;
use super::reload::Asker;

/// An order, and who waits for its answer.
pub(super) struct Ordered {
    pub(super) order: Order,
    /// Whether the node is to refuse new work from now on, or why it does not obey.
    pub(super) reply: oneshot::Sender<Result<bool, String>>,
}

/// Who hears the operator.
pub(super) struct Attendant {
    pub(super) doors: Doors,
    pub(super) store: Arc<Store>,
    pub(super) peer_ceilings: Arc<PeerCeilings>,
    pub(super) reload: mpsc::Sender<Asker>,
}

impl Attendant {
    /// Hands orders to the supervisor, and tells how far a drain is. What changes nothing that the supervisor knows is done here.
    pub(super) async fn attend(self, supervisor: mpsc::Sender<Ordered>) {
        let Some(control) = bind(&self.doors) else { return };
        loop {
            let heard = control.hear().await;
            let answer = match heard.order {
                Order::ForgetCeilings => self.forget_ceilings().await,
                Order::ClearFence => self.clear_fence().await,
                Order::Reload => reload(&self.reload).await,
                order @ (Order::Drain | Order::Look | Order::Resume) => self.serve_or_not(&supervisor, order).await,
            };
            answer_to(heard, answer).await;
        }
    }

    async fn serve_or_not(&self, supervisor: &mpsc::Sender<Ordered>, order: Order) -> Result<Answer, String> {
        let (reply, obeyed) = oneshot::channel();
        let _ = supervisor.send(Ordered { order, reply }).await;
        let held = obeyed.await.unwrap_or_else(|_ended| Err("it is shutting down".to_owned()))?;
        Ok(if held { drained(&self.doors).await } else { Answer::Resumed })
    }

    async fn forget_ceilings(&self) -> Result<Answer, String> {
        let forgotten = self.doors.ids.forget_claims().await;
        let (quarantine_ended, own) = forgotten.ok_or("its own ID ceiling cannot be written")?;
        self.doors.engine.notify(Event::ForgetCeilings(own));
        self.peer_ceilings.forget();
        let store = self.store.clone();
        self.write(move || store.put_peer_ceilings(&[])).await?;
        warn!(own, quarantine_ended, "forgot what peers had told of ID ceilings, on the operator's word");
        Ok(Answer::ForgotCeilings { quarantine_ended })
    }

    async fn clear_fence(&self) -> Result<Answer, String> {
        let reason = match &*self.doors.stage.borrow() {
            Stage::Fenced(reason) => reason.clone(),
            _ => return Err("it is not fenced".to_owned()),
        };
        let store = self.store.clone();
        self.write(move || store.clear_fence()).await?;
        warn!(reason, "the fence is cleared on the operator's word: the next start is not fenced");
        Ok(Answer::FenceCleared { reason })
    }

    async fn write(&self, write: impl FnOnce() -> Result<(), StoreError> + Send + 'static) -> Result<(), String> {
        let written = tokio::task::spawn_blocking(write).await.map_err(|ended| ended.to_string())?;
        written.map_err(|error| error.to_string())
    }
}

/// For a node that only reads: it can do nothing else that it is told. Never returns.
pub(super) async fn attend_reading(doors: &Doors, to_reload: mpsc::Sender<Asker>) {
    let control = match bind(doors) {
        Some(control) => control,
        None => return std::future::pending().await,
    };
    loop {
        let heard = control.hear().await;
        let answer = match heard.order {
            Order::Reload => reload(&to_reload).await,
            _ => Err("its disk is full: until there is room it only reads, and writes nothing".to_owned()),
        };
        answer_to(heard, answer).await;
    }
}

/// A node serves without it, too.
fn bind(doors: &Doors) -> Option<Control> {
    let bound = Control::bind(&doors.config.data_dir);
    bound
        .inspect_err(|error| warn!(%error, "no control socket: what snowtide cluster says to a node is not heard"))
        .ok()
}

async fn reload(to_reload: &mpsc::Sender<Asker>) -> Result<Answer, String> {
    let (asker, outcome) = oneshot::channel();
    let _ = to_reload.send(asker).await;
    let reloaded = outcome.await.unwrap_or_else(|_ended| Err("it is shutting down".to_owned()))?;
    Ok(Answer::Reloaded { changed: reloaded.changed, restart: reloaded.restart })
}

/// Answers, and writes down what was ordered.
async fn answer_to(heard: Heard, answer: Result<Answer, String>) {
    if heard.order != Order::Look {
        let by = format!("user {}", heard.user);
        let outcome = answer.as_ref().map(drop).map_err(String::as_str);
        audit::ordered(&by, &heard.order.as_str(), outcome);
    }
    heard.answer(&answer.unwrap_or_else(Answer::Refused)).await;
}

async fn drained(doors: &Doors) -> Answer {
    let Some(status) = doors.engine.status().await.filter(|status| status.idle) else { return Answer::Draining };
    let region = status.held_by.and_then(|region| doors.map.region_by_id(region));
    if region.is_none() && doors.map.regions.len() > 1 {
        return Answer::Draining;
    }
    Answer::Drained { held_by: region.map(|region| region.name.clone()) }
}
