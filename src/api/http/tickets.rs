//! How tickets for watching a counter are asked for.

use axum::body::Body;
use axum::http::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use snowtide_protocol::Action;
use utoipa::ToSchema;

use crate::clock;

use super::call::Call;
use super::failures::Failures;
use super::json;
use super::problem::Problem;
use super::ticket;

/// What no path has to encode (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Which counter is to be watched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketRequest {
    #[schema(example = "default")]
    namespace: String,
    #[schema(min_length = 1, max_length = 512, example = "visits")]
    key: String,
}

/// A ticket for one counter.
#[derive(Serialize, ToSchema)]
pub(super) struct Ticket {
    #[schema(example = "AQAAAABpXOcAq2Zs0z4w4bW9q1M2cJ7m7Zk0m3bJb0YFvJr8n0x5ig")]
    ticket: String,
    /// The path and the query to watch it by, at any node that knows the token.
    #[schema(
        example = "/v1/counters/default/visits/watch?ticket=AQAAAABpXOcAq2Zs0z4w4bW9q1M2cJ7m7Zk0m3bJb0YFvJr8n0x5ig"
    )]
    url: String,
    /// From then on it opens no stream; one that is open goes on.
    #[schema(format = "date-time", example = "2026-01-01T00:10:00.000Z")]
    expires: Option<String>,
}

#[utoipa::path(
    post, path = "/v1/watch-tickets", tag = "counters", operation_id = "watch_ticket",
    request_body(content = TicketRequest, content_type = "application/json"),
    responses((status = 200, description = "Good for watching this counter, and for nothing else", body = Ticket), Failures),
)]
/// Makes a ticket for watching one counter.
///
/// An `EventSource` cannot send a bearer token. Whoever has one asks for a ticket, and hands the URL that comes with it to
/// the `EventSource`. The token itself never stands in a URL.
pub(super) async fn make(mut call: Call) -> Result<Response<Body>, Problem> {
    let body = call.body().await?;
    let TicketRequest { namespace, key } = json::parse(&body)?;
    call.operation(&namespace, &key, Action::Get)?;
    let doors = &call.door.doors;
    let expires_s = ticket::expiry_s(clock::wall_ms(), doors.config.http.ticket_validity);
    let secret = doors.config.cluster.secret.as_bytes();
    let ticket = ticket::make(&call.pass, secret, expires_s, &namespace, &key);
    let escaped = |text| utf8_percent_encode(text, ESCAPED);
    let url = format!("/v1/counters/{}/{}/watch?ticket={ticket}", escaped(&namespace), escaped(&key));
    json::answer(&Ticket { ticket, url, expires: clock::rfc3339(expires_s.saturating_mul(1_000)) })
}
