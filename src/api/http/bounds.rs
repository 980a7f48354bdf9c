//! The smallest and the largest ID of a time range, for range scans over a column of IDs.

use axum::body::Body;
use axum::http::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::ids::TimeRange;

use super::call::Call;
use super::failures::Failures;
use super::ids::IdFormat;
use super::json;
use super::problem::Problem;

/// The bounds of a time range, both included.
#[derive(Serialize, ToSchema)]
pub(super) struct IdBounds {
    /// No ID of the range is smaller.
    #[schema(example = "54720567705600000")]
    first: String,
    /// No ID of the range is larger.
    #[schema(example = "55082955571199999")]
    last: String,
    /// The form of both.
    #[schema(value_type = IdFormat)]
    format: &'static str,
    /// Where the range begins, in whole milliseconds.
    #[schema(format = "date-time", example = "2025-06-01T00:00:00.000Z")]
    from: Option<String>,
    /// Before this it ends.
    #[schema(format = "date-time", example = "2025-06-02T00:00:00.000Z")]
    to: Option<String>,
}

#[utoipa::path(
    get, path = "/v1/ids/bounds", tag = "ids", operation_id = "id_bounds",
    params(
        ("from" = String, Query, description = "Where the range begins: RFC 3339, or milliseconds of Unix time",
            example = "2025-06-01T00:00:00Z"),
        ("to" = String, Query, description = "Before this it ends: RFC 3339, or milliseconds of Unix time",
            example = "2025-06-02T00:00:00Z"),
        ("format" = Option<IdFormat>, Query, description = "The form of the bounds; those of `uuid7` and `ulid` hold for any \
            UUID of version 7 and any ULID of that time, whatever made it"),
    ),
    responses((status = 200, description = "By this cluster's layout", body = IdBounds), Failures),
)]
/// Tells between which IDs those of a time range are.
///
/// Every ID whose time is not before `from` and before `to` lies between them, and no other.
pub(super) async fn bounds(call: Call) -> Result<Response<Body>, Problem> {
    let scheme = call.door.id_scheme;
    let format = call.parameters.format.unwrap_or_default();
    let needed = || Problem::invalid("the query needs from=… and to=…: two moments");
    let from = call.parameters.from.as_deref().ok_or_else(needed)?;
    let to = call.parameters.to.as_deref().ok_or_else(needed)?;
    let range = TimeRange::read(scheme, from, to).map_err(|error| Problem::invalid(error.to_string()))?;
    let bounds = scheme.write_range(range.ids, format).map_err(|error| Problem::invalid(error.to_string()))?;
    json::answer(&IdBounds {
        first: bounds.0.to_string(),
        last: bounds.1.to_string(),
        format: format.as_str(),
        from: rfc3339(range.from_ms),
        to: rfc3339(range.to_ms),
    })
}
