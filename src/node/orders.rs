//! What the operator of this machine orders, from the control socket to the desk.

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::api::Doors;
use crate::control::{Answer, Control, Order};

/// An order on the desk.
pub(super) struct Told {
    pub(super) order: Order,
    /// Whether the node is to refuse new work from now on, or why it does not obey.
    pub(super) reply: oneshot::Sender<Result<bool, String>>,
}

/// Hands each order to the desk, and tells how far a drain is.
pub(super) async fn attend(doors: Doors, desk: mpsc::Sender<Told>) {
    let control = match Control::bind(&doors.config.data_dir) {
        Ok(control) => control,
        // A node serves without it, too.
        Err(error) => return warn!(%error, "no control socket: cluster drain and cluster resume do not work"),
    };
    loop {
        let heard = control.hear().await;
        let (reply, obeyed) = oneshot::channel();
        let _ = desk.send(Told { order: heard.order, reply }).await;
        let answer = match obeyed.await.unwrap_or_else(|_ended| Err("it is shutting down".to_owned())) {
            Err(reason) => Answer::Refused(reason),
            Ok(true) => drained(&doors).await,
            Ok(false) => Answer::Resumed,
        };
        heard.answer(&answer).await;
    }
}

async fn drained(doors: &Doors) -> Answer {
    let Some(status) = doors.engine.status().await.filter(|status| status.idle) else { return Answer::Draining };
    let region = status.held_by.and_then(|region| doors.map.region_by_id(region));
    if region.is_none() && doors.map.regions.len() > 1 {
        return Answer::Draining;
    }
    Answer::Drained { held_by: region.map(|region| region.name.clone()) }
}
