//! New IDs over HTTP, in any form: as texts in JSON, or as bare bytes.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snowtide_protocol::id::{Format, IdScheme};
use snowtide_protocol::wire::{IDS_MAX, IdRun};
use utoipa::ToSchema;

use crate::config::Permission;

use super::accept::{self, BYTES};
use super::call::Call;
use super::failures::Failures;
use super::json;
use super::problem::Problem;

/// How many IDs; the body may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdsRequest {
    /// 1 to 10 000.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10_000, default = 1)]
    count: u64,
    /// How they are written.
    #[serde(default, deserialize_with = "by_name")]
    #[schema(value_type = IdFormat, required = false)]
    format: Format,
}

/// A form of IDs.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used, for a type of the client crate")]
pub(super) enum IdFormat {
    /// Decimal digits; the default.
    Decimal,
    /// 13 characters of Crockford's base32, which sort as the numbers do.
    Base32,
    /// 11 digits and letters, which sort byte by byte as the numbers do.
    Base62,
    /// A UUID of version 7 (RFC 9562).
    Uuid7,
    /// A ULID.
    Ulid,
}

impl Default for IdsRequest {
    fn default() -> Self {
        Self { count: one(), format: Format::default() }
    }
}

const fn one() -> u64 {
    1
}

/// New IDs, ascending, and who made them.
#[derive(Serialize, ToSchema)]
pub(super) struct MintedIds<'a> {
    /// Strings in every form: JSON numbers hold 53 bits.
    #[schema(value_type = Vec<String>, example = json!(["123456789012345678"]))]
    ids: Written<'a>,
    #[schema(example = "eu-west")]
    region: &'a str,
    #[schema(example = 0)]
    node: u8,
}

/// IDs one after another, big-endian.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "only its attributes are read, by the derive")]
struct BareIds(Vec<u8>);

/// IDs and how they are written.
struct Written<'a> {
    runs: &'a [IdRun],
    scheme: IdScheme,
    format: Format,
}

#[utoipa::path(
    post, path = "/v1/ids", tag = "ids", operation_id = "mint_ids",
    request_body(content = Option<IdsRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "Unique in the cluster, increasing per node", content(
            (MintedIds = "application/json"),
            (BareIds = "application/octet-stream"),
        )),
        Failures,
    ),
)]
/// Mints IDs.
///
/// To those who prefer `application/octet-stream`, the answer is bare bytes, where the form is a number: 8 an ID in the form
/// `decimal`, 16 in `uuid7` and `ulid`, big-endian.
pub(super) async fn mint(mut call: Call) -> Result<Response<Body>, Problem> {
    call.require(Permission::Ids)?;
    call.door.gate.admit_minting()?;
    let body = call.body().await?;
    let (count, format) = read(&body)?;
    let bytes = accept::bytes_wanted(call.headers());
    if bytes && matches!(format, Format::Base32 | Format::Base62) {
        return Err(Problem::invalid(format!("{format} is text: it is not answered as {BYTES}")));
    }
    let doors = &call.door.doors;
    let runs = call.door.gate.mint(count).await?;
    let ids = Written { runs: &runs, scheme: call.door.id_scheme, format };
    if bytes { ids.bytes() } else { json::answer(&MintedIds { ids, region: &doors.region, node: doors.worker.node() }) }
}

pub(super) fn read(body: &[u8]) -> Result<(u32, Format), Problem> {
    let IdsRequest { count, format } = json::parse_or_default::<IdsRequest>(body)?;
    let count = match count {
        0 => Err(Problem::invalid("count is at least 1")),
        count => u32::try_from(count)
            .ok()
            .filter(|count| *count <= IDS_MAX)
            .ok_or_else(|| Problem::too_large(format!("count is at most {IDS_MAX}, this one {count}"))),
    };
    Ok((count?, format))
}

fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|error| D::Error::custom(format!("format: {error}")))
}

impl Written<'_> {
    fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|run| run.iter())
    }

    fn bytes(&self) -> Result<Response<Body>, Problem> {
        let mut bytes = Vec::new();
        for id in self.iter() {
            let wide = match self.format {
                Format::Uuid7 => self.scheme.uuid7(id),
                Format::Ulid => self.scheme.ulid(id),
                _ => {
                    bytes.extend(id.to_be_bytes());
                    continue;
                }
            };
            bytes.extend(wide.map_err(|error| Problem::internal(error.to_string()))?.to_be_bytes());
        }
        Ok(([(CONTENT_TYPE, BYTES)], bytes).into_response())
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for id in self.iter() {
            let text = self.scheme.write(id, self.format).map_err(S::Error::custom)?;
            sequence.serialize_element::<str>(text.as_ref())?;
        }
        sequence.end()
    }
}

#[cfg(test)]
mod tests {

    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn count_is_one_by_default_and_at_most_ten_thousand() {
        let counted =
            |body: &str| read(body.as_bytes()).map(|(count, _)| count).map_err(|problem| problem.refused.code);
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
    fn the_form_is_decimal_unless_another_is_named() {
        let format =
            |body: &str| read(body.as_bytes()).map(|(_, format)| format).map_err(|problem| problem.refused.code);
        assert_eq!(format(r#"{"count":2}"#), Ok(Format::Decimal));
        for named in Format::ALL {
            assert_eq!(format(&format!(r#"{{"format":"{named}"}}"#)), Ok(named));
        }
        for refused in [r#"{"format":"hex"}"#, r#"{"format":"ULID"}"#, r#"{"format":1}"#, r#"{"format":null}"#] {
            assert_eq!(format(refused), Err(Code::InvalidRequest), "{refused}");
        }
    }

    #[test]
    fn ids_leave_as_strings_in_order() {
        let runs = [IdRun { first: u64::MAX >> 1, count: 1 }, IdRun { first: 7, count: 2 }];
        let json = |format| {
            let ids = Written { runs: &runs, scheme: IdScheme::new("c", 0, 41), format };
            serde_json::to_string(&MintedIds { ids, region: "eu-west", node: 3 }).unwrap()
        };
        let expected = r#"{"ids":["9223372036854775807","7","8"],"region":"eu-west","node":3}"#;
        assert_eq!(json(Format::Decimal), expected);
        let expected = r#"{"ids":["7ZZZZZZZZZZZZ","0000000000007","0000000000008"],"region":"eu-west","node":3}"#;
        assert_eq!(json(Format::Base32), expected);
    }
}
