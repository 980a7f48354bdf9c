//! How a door that is spoken to over HTTP refuses what comes before its own protocol.

use axum::body::Body;
use axum::http::Response;

use crate::telemetry;

/// What it says.
#[derive(Clone, Copy)]
pub(in crate::api) struct Manners {
    /// Which door.
    pub(in crate::api) door: telemetry::Door,
    /// What a connection is sent for which there is no place, by the beginning of its request.
    pub(in crate::api) no_place: fn(&[u8]) -> &'static [u8],
    /// What a request is answered for which there is no room.
    pub(in crate::api) no_room: fn() -> Response<Body>,
}
