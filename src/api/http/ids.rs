//! IDs over HTTP: new ones, and what an old one is made of.

use axum::body::Body;
use axum::http::Response;
use jiff::Timestamp;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};
use snowtide_client::wire::{IDS_MAX, IdRun};
use utoipa::ToSchema;

use crate::config::Access;
use crate::telemetry::{self, Door};

use super::call::Call;
use super::json;
use super::openapi::Failures;
use super::problem::Problem;

const PREFIX: &str = "/v1/ids/";

/// How many IDs; the body may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdsRequest {
    /// 1 to 10 000.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10_000, default = 1)]
    count: u64,
}

impl Default for IdsRequest {
    fn default() -> Self {
        Self { count: one() }
    }
}

const fn one() -> u64 {
    1
}

/// New IDs, ascending, and who made them.
#[derive(Serialize, ToSchema)]
pub(super) struct MintedIds<'a> {
    /// Decimal strings: JSON numbers hold 53 bits.
    #[serde(serialize_with = "decimals")]
    #[schema(value_type = Vec<String>, example = json!(["123456789012345678"]))]
    ids: &'a [IdRun],
    #[schema(example = "eu-west")]
    region: &'a str,
    #[schema(example = 0)]
    node: u8,
}

/// What an ID is made of.
#[derive(Serialize, ToSchema)]
pub(super) struct DecodedId<'a> {
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, example = "123456789012345678")]
    id: u64,
    /// When it was made, by the clock of the node that made it (RFC 3339, milliseconds, UTC).
    #[schema(value_type = String, format = "date-time", example = "2025-12-07T16:09:13.102Z")]
    timestamp: String,
    /// The same in milliseconds since the Unix epoch.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, example = "1765123753102")]
    unix_ms: u64,
    /// The region's name; `null` if the cluster's map does not know the number.
    #[schema(example = "eu-west")]
    region: Option<&'a str>,
    /// The region's number.
    #[schema(example = 1)]
    region_id: u8,
    /// The node's number in its region.
    #[schema(example = 0)]
    node: u8,
    /// Its place within the millisecond.
    #[schema(example = 7)]
    sequence: u32,
}

#[utoipa::path(
    post, path = "/v1/ids", tag = "ids", operation_id = "mint_ids",
    request_body(content = Option<IdsRequest>, content_type = "application/json"),
    responses((status = 200, description = "Unique in the cluster, increasing per node", body = MintedIds), Failures),
)]
/// Mints IDs.
pub(super) async fn mint(mut call: Call) -> Result<Response<Body>, Problem> {
    call.require(Access::Write)?;
    call.door.admit_minting()?;
    let count = count(&call.body().await?)?;
    let doors = &call.door.doors;
    let runs = doors.ids.mint(count).await?;
    telemetry::ids_minted(Door::Http, u64::from(count));
    json::answer(&MintedIds { ids: &runs, region: &doors.region, node: doors.worker.node() })
}

#[utoipa::path(
    get, path = "/v1/ids/{id}", tag = "ids", operation_id = "decode_id",
    params(("id" = String, Path, description = "An ID in decimal digits", example = "123456789012345678")),
    responses((status = 200, description = "By this cluster's layout", body = DecodedId), Failures),
)]
/// Takes an ID apart. Whether it was ever minted cannot be told from it.
pub(super) async fn decode(call: Call) -> Result<Response<Body>, Problem> {
    let id = id(call.path())?;
    let doors = &call.door.doors;
    let parts = doors.ids.decode(id).map_err(|not_an_id| Problem::invalid(not_an_id.to_string()))?;
    json::answer(&DecodedId {
        id,
        timestamp: rfc_3339(parts.unix_ms)?,
        unix_ms: parts.unix_ms,
        region: doors.map.region_by_id(parts.region).map(|region| region.name.as_str()),
        region_id: parts.region,
        node: parts.node,
        sequence: parts.sequence,
    })
}

fn count(body: &[u8]) -> Result<u32, Problem> {
    match json::parse_or_default::<IdsRequest>(body)?.count {
        0 => Err(Problem::invalid("count is at least 1")),
        count => u32::try_from(count)
            .ok()
            .filter(|count| *count <= IDS_MAX)
            .ok_or_else(|| Problem::too_large(format!("count is at most {IDS_MAX}, this one {count}"))),
    }
}

/// Digits only: `+5` and ` 5` are no IDs, though Rust would parse the first.
fn id(path: &str) -> Result<u64, Problem> {
    path.strip_prefix(PREFIX)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Problem::invalid("an ID is a number of 63 bits in decimal digits"))
}

fn rfc_3339(unix_ms: u64) -> Result<String, Problem> {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map(|timestamp| format!("{timestamp:.3}"))
        .ok_or_else(|| Problem::invalid("the ID's time is beyond the year 9999"))
}

fn decimals<S: Serializer>(runs: &&[IdRun], serializer: S) -> Result<S::Ok, S::Error> {
    struct Decimal(u64);

    impl Serialize for Decimal {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            json::decimal(&self.0, serializer)
        }
    }

    let mut sequence = serializer.serialize_seq(None)?;
    for id in runs.iter().flat_map(|run| run.iter()) {
        sequence.serialize_element(&Decimal(id))?;
    }
    sequence.end()
}

#[cfg(test)]
mod tests {
    use snowtide_client::Code;

    use super::*;

    #[test]
    fn count_is_one_by_default_and_at_most_ten_thousand() {
        let counted = |body: &str| count(body.as_bytes()).map_err(|problem| problem.code);
        assert_eq!(counted(""), Ok(1));
        assert_eq!(counted("{}"), Ok(1));
        assert_eq!(counted(r#"{"count":10000}"#), Ok(10_000));
        assert_eq!(counted(r#"{"count":0}"#), Err(Code::InvalidRequest));
        assert_eq!(counted(r#"{"count":10001}"#), Err(Code::TooLarge));
        assert_eq!(counted(r#"{"count":4294967297}"#), Err(Code::TooLarge));
        for refused in [r#"{"count":-1}"#, r#"{"count":"2"}"#, r#"{"count":1.5}"#, r#"{"counts":1}"#, "2", "{"] {
            assert_eq!(counted(refused), Err(Code::InvalidRequest), "{refused}");
        }
    }

    #[test]
    fn ids_leave_as_decimal_strings_in_order() {
        let runs = [IdRun { first: u64::MAX >> 1, count: 1 }, IdRun { first: 7, count: 2 }];
        let minted = MintedIds { ids: &runs, region: "eu-west", node: 3 };
        let expected = r#"{"ids":["9223372036854775807","7","8"],"region":"eu-west","node":3}"#;
        assert_eq!(serde_json::to_string(&minted).unwrap(), expected);
    }

    #[test]
    fn only_digits_are_ids() {
        assert_eq!(id("/v1/ids/42"), Ok(42));
        for path in
            ["/v1/ids/+5", "/v1/ids/", "/v1/ids/-1", "/v1/ids/5%20", "/v1/ids/x", "/v1/ids/18446744073709551616"]
        {
            assert_eq!(id(path).unwrap_err().code, Code::InvalidRequest, "{path}");
        }
    }

    #[test]
    fn timestamps_have_milliseconds_always() {
        assert_eq!(rfc_3339(1_735_689_600_000).unwrap(), "2025-01-01T00:00:00.000Z");
        assert_eq!(rfc_3339(1_735_689_600_007).unwrap(), "2025-01-01T00:00:00.007Z");
        assert!(rfc_3339(u64::MAX).is_err());
    }
}
