//! How the operations of a batch look in the OpenAPI document: as the table of all actions has them.

#![allow(dead_code, reason = "only their attributes are read, by the derive")]

use super::limits::GivenPolicy;
use serde::Deserialize;
use snowtide_protocol::Action;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// One operation of a batch, [`snowtide_protocol::json::JsonOperation`].
pub(super) enum BatchOperation {}

/// A counter in a batch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    #[schema(example = "default")]
    namespace: String,
    #[schema(min_length = 1, max_length = 512, example = "visits")]
    key: String,
}

/// A counter in a batch, and by how much it changes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Changed {
    #[schema(example = "default")]
    namespace: String,
    #[schema(min_length = 1, max_length = 512, example = "visits")]
    key: String,
    /// Default 1.
    #[serde(default)]
    #[schema(value_type = By)]
    by: (),
}

/// A limit in a batch, [`snowtide_protocol::json::JsonCheck`].
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Limited {
    /// A policy's name, or its numbers.
    #[schema(value_type = PolicyOrNumbers)]
    policy: (),
    #[schema(min_length = 1, max_length = 512, example = "alice")]
    key: String,
    /// Default 1; 0 looks.
    #[serde(default)]
    cost: u64,
}

/// A policy, [`snowtide_protocol::json::JsonPolicy`].
pub(super) enum PolicyOrNumbers {}

impl PartialSchema for PolicyOrNumbers {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new().schema_type(Type::String).description(Some("The name of a policy"));
        OneOfBuilder::new().item(name).item(Ref::from_schema_name(GivenPolicy::name())).into()
    }
}

impl ToSchema for PolicyOrNumbers {}

/// By how much a counter changes, [`snowtide_protocol::json::By`].
pub(super) enum By {}

/// What the object behind an action's name is called among the schemas.
fn members_of(action: Action) -> String {
    let (first, rest) = action.name().split_at(1);
    format!("Batch{}{rest}", first.to_ascii_uppercase())
}

impl PartialSchema for BatchOperation {
    fn schema() -> RefOr<Schema> {
        let alternative = |action: Action| {
            ObjectBuilder::new()
                .description(Some(action.summary()))
                .property(action.name(), Ref::from_schema_name(members_of(action)))
                .required(action.name())
        };
        let all = OneOfBuilder::new().description(Some("One operation of a batch."));
        let limit = ObjectBuilder::new()
            .description(Some("Decides by a limit."))
            .property("limit", Ref::from_schema_name("BatchLimit"))
            .required("limit");
        Action::ALL.into_iter().fold(all, |all, action| all.item(alternative(action))).item(limit).into()
    }
}

impl ToSchema for BatchOperation {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for action in Action::ALL {
            let members = if action.by().is_some() { Changed::schema() } else { Named::schema() };
            schemas.push((members_of(action), members));
        }
        Changed::schemas(schemas);
        schemas.push(("BatchLimit".to_owned(), Limited::schema()));
        Limited::schemas(schemas);
    }
}

impl PartialSchema for By {
    fn schema() -> RefOr<Schema> {
        let digits = ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^-?\d+$"));
        let number = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        OneOfBuilder::new()
            .item(digits)
            .item(number)
            .description(Some("A signed 64-bit integer: decimal digits, or a JSON integer"))
            .into()
    }
}

impl ToSchema for By {}
