//! What an ID is made of, and its other forms.

use axum::body::Body;
use axum::http::Response;
use serde::Serialize;
use snowtide_protocol::id::{BadId, Format, IdScheme};
use utoipa::ToSchema;

use crate::clock::rfc3339;

use super::call::Call;
use super::failures::Failures;
use super::ids::IdFormat;
use super::json;
use super::problem::Problem;

const PREFIX: &str = "/v1/ids/";

/// What an ID is made of.
#[derive(Serialize, ToSchema)]
pub(super) struct DecodedId<'a> {
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, example = "123456789012345678")]
    id: u64,
    /// The form in which it was given.
    #[schema(value_type = IdFormat)]
    format: &'static str,
    /// When it was made, by the clock of the node that made it (RFC 3339, milliseconds, UTC).
    #[schema(value_type = String, format = "date-time", example = "2025-12-07T16:13:12.216Z")]
    timestamp: String,
    /// The same in milliseconds since the Unix epoch.
    #[serde(serialize_with = "json::decimal")]
    #[schema(value_type = String, example = "1765123992216")]
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
    /// All its forms.
    forms: Forms,
}

/// One ID in every form.
#[derive(Serialize, ToSchema)]
#[schema(as = IdForms)]
struct Forms {
    #[schema(example = "123456789012345678")]
    decimal: String,
    #[schema(example = "03DMV9EK31WTE")]
    base32: String,
    #[schema(example = "097Qs0B7n2M")]
    base62: String,
    #[schema(format = "uuid", example = "019af996-aa98-7c3c-b4e2-d042002331d6")]
    uuid7: String,
    #[schema(example = "01KBWSDAMRRF6KMRPG88026CEP")]
    ulid: String,
}

#[utoipa::path(
    get, path = "/v1/ids/{id}", tag = "ids", operation_id = "decode_id",
    params(
        ("id" = String, Path, description = "An ID in any form. Without `format`: digits that do not begin with 0 are \
            decimal; anything else goes by its width: 36 a UUID, 26 a ULID, 13 base32, 11 base62, and other digits decimal",
            example = "123456789012345678"),
        ("format" = Option<IdFormat>, Query, description = "The form it is in"),
    ),
    responses((status = 200, description = "By this cluster's layout", body = DecodedId), Failures),
)]
/// Takes an ID apart. Whether it was ever minted cannot be told from it.
pub(super) async fn decode(call: Call) -> Result<Response<Body>, Problem> {
    let scheme = call.door.id_scheme;
    let text = call.path().strip_prefix(PREFIX).unwrap_or_default();
    let (id, format) = read(scheme, text, call.parameters.format)?;
    let doors = &call.door.doors;
    let parts = doors.ids.decode(id).map_err(|not_an_id| Problem::invalid(not_an_id.to_string()))?;
    json::answer(&DecodedId {
        id,
        format: format.as_str(),
        timestamp: rfc3339(parts.unix_ms).ok_or_else(beyond)?,
        unix_ms: parts.unix_ms,
        region: doors.map.region_by_id(parts.region).map(|region| region.name.as_str()),
        region_id: parts.region,
        node: parts.node,
        sequence: parts.sequence,
        forms: Forms::of(id, scheme).map_err(|error| Problem::invalid(error.to_string()))?,
    })
}

pub(super) fn read(scheme: IdScheme, text: &str, format: Option<Format>) -> Result<(u64, Format), Problem> {
    let read = match format {
        Some(format) => scheme.read_as(text, format).map(|id| (id, format)),
        None => scheme.read(text),
    };
    read.map_err(|error| Problem::invalid(error.to_string()))
}

fn beyond() -> Problem {
    Problem::invalid("the ID's time is beyond the year 9999")
}

impl Forms {
    fn of(id: u64, scheme: IdScheme) -> Result<Self, BadId> {
        let written = |format| scheme.write(id, format).map(|text| text.to_string());
        Ok(Self {
            decimal: written(Format::Decimal)?,
            base32: written(Format::Base32)?,
            base62: written(Format::Base62)?,
            uuid7: written(Format::Uuid7)?,
            ulid: written(Format::Ulid)?,
        })
    }
}

#[cfg(test)]
mod tests {

    use snowtide_protocol::Code;

    use super::*;

    #[test]
    fn a_text_is_read_in_the_form_that_is_named_or_told() {
        let scheme = IdScheme::new("c", 0, 41);
        let id = |text, format| read(scheme, text, format).map_err(|problem| problem.refused.code);
        assert_eq!(id("42", None), Ok((42, Format::Decimal)));
        assert_eq!(id("0000000000010", None), Ok((32, Format::Base32)));
        assert_eq!(id("0000000000010", Some(Format::Decimal)), Ok((10, Format::Decimal)));
        assert_eq!(id("1000000000000", None), Ok((1_000_000_000_000, Format::Decimal)));
        assert_eq!(id("1000000000000", Some(Format::Base32)), Ok((1 << 60, Format::Base32)));
        for text in ["+5", "", "-1", "5%20", "x", "18446744073709551616"] {
            assert_eq!(id(text, None), Err(Code::InvalidRequest), "{text}");
        }
        assert_eq!(id("42", Some(Format::Ulid)), Err(Code::InvalidRequest));
    }
}
