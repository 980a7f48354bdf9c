//! The first frames: which version, which token, what it allows, and to what sessions will belong.

use std::time::Duration;

use snowtide_protocol::Code;
use snowtide_protocol::wire::{Hello, VERSION, Welcome, WireError};

use super::{DOOR, Door, written};
use crate::api::Refused;
use crate::api::bearer::Pass;
use crate::api::gate::Mints;
use crate::audit;
use crate::identity::ReplicaId;

/// A new disk has its first incarnation after a sync or two.
const FIRST_INCARNATION: Duration = Duration::from_secs(1);

/// Welcomes the client, or says why not.
pub(super) async fn greet<B: Mints>(door: &Door<B>, hello: &Hello) -> Result<(Welcome, Pass), WireError> {
    let (lowest, highest) = hello.versions;
    if !(lowest..=highest).contains(&VERSION) {
        let detail = format!("this node speaks version {VERSION} of the frames, the client {lowest} to {highest}");
        return Err(written(&Refused::new(Code::InvalidRequest, detail)));
    }
    let pass = door.bearers.admit(hello.token.as_deref().map(str::as_bytes));
    let pass = pass.map_err(|stranger| {
        audit::turned_away(DOOR, &door.from, "", &stranger);
        written(&stranger.into())
    })?;
    let welcome = Welcome {
        version: VERSION,
        region: door.region.to_string(),
        node: door.node,
        frame_bytes_max: u32::try_from(door.limits.frame_bytes_max).unwrap_or(u32::MAX),
        requests_max: door.limits.requests_max,
        id_scheme: door.id_scheme,
        incarnation: incarnation(door).await.map(|incarnation| incarnation.0),
    };
    Ok((welcome, pass))
}

/// The incarnation to which sessions belong that begin now.
async fn incarnation<B: Mints>(door: &Door<B>) -> Option<ReplicaId> {
    let mut incarnation = door.incarnation.clone();
    match tokio::time::timeout(FIRST_INCARNATION, incarnation.wait_for(Option::is_some)).await {
        Ok(Ok(incarnation)) => *incarnation,
        _ => None,
    }
}
