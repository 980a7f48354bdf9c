//! The first frames: which version, which token, what it allows.

use snowtide_client::Code;
use snowtide_client::wire::{Hello, VERSION, Welcome, WireError};

use super::{Backend, DOOR, Door, error};
use crate::api::bearer::Pass;
use crate::audit;

/// Welcomes the client, or says why not.
pub(super) fn greet<B: Backend>(door: &Door<B>, hello: &Hello) -> Result<(Welcome, Pass), WireError> {
    let (lowest, highest) = hello.versions;
    if !(lowest..=highest).contains(&VERSION) {
        let detail = format!("this node speaks version {VERSION} of the frames, the client {lowest} to {highest}");
        return Err(error(Code::InvalidRequest, detail));
    }
    let pass = door.bearers.admit(hello.token.as_deref().map(str::as_bytes));
    let pass = pass.map_err(|stranger| {
        audit::turned_away(DOOR, &door.from, "", &stranger);
        error(Code::Unauthenticated, stranger)
    })?;
    let welcome = Welcome {
        version: VERSION,
        region: door.region.to_string(),
        node: door.node,
        frame_bytes_max: u32::try_from(door.limits.frame_bytes_max).unwrap_or(u32::MAX),
        requests_max: door.limits.requests_max,
        id_scheme: door.id_scheme,
    };
    Ok((welcome, pass))
}
