//! Repair sessions that are under way, for people who wait for them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Doors;
use crate::replica::{RepairStatus, Status};

use super::json;

/// Rows that differ are being fetched from a peer.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Repair)]
pub(super) struct RepairView {
    #[schema(example = "default")]
    namespace: String,
    /// The region of the node that they come from.
    #[schema(example = "us-east")]
    region: String,
    /// Its number there.
    node: u8,
    /// Parts of the data found to differ so far, of 65 536.
    leaves_found: u64,
    /// Those of them that are still to be compared row by row.
    leaves_left: u64,
    /// Rows that came so far.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = Option<String>, example = "1200")]
    rows: u64,
}

/// Every session, by namespace.
pub(super) fn views(doors: &Doors, status: Option<&Status>) -> Vec<RepairView> {
    let sessions = status.map_or(&[][..], |status| &status.repairs);
    sessions.iter().map(|session| view(doors, session)).collect()
}

fn view(doors: &Doors, session: &RepairStatus) -> RepairView {
    RepairView {
        namespace: doors.namespace_name(session.namespace),
        region: doors.region_of(session.peer),
        node: session.peer.node(),
        leaves_found: session.leaves_found,
        leaves_left: session.leaves_left,
        rows: session.rows,
    }
}
