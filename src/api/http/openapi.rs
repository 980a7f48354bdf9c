//! The OpenAPI 3.1 document, generated from the handlers and their types.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::ProblemBody;
use super::{batch, bounds, cluster, counters, decoded, docs, health, ids, limits, list, policies, tickets, watch};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Snowtide",
        description = "IDs, counters and rate limits in several regions at once. 64-bit integers are decimal strings. \
            Errors are problem documents (RFC 9457) whose `code` is the same on every front door.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        ids::mint, bounds::bounds, decoded::decode, batch::batch, list::list, watch::watch,
        limits::limit, limits::look, policies::list, tickets::make, cluster::cluster, health::livez, health::readyz, health::metrics, openapi, docs::docs,
    ),
    components(schemas(ProblemBody<'static>)),
    tags(
        (name = "ids", description = "Unique, time-sortable 63-bit numbers"),
        (name = "counters", description = "Counts that every region may change at once"),
        (name = "limits", description = "Rate limits that every region decides by at once"),
        (name = "cluster", description = "Who is there, and how far behind"),
        (name = "operations", description = "Probes, metrics, this document"),
    ),
    security(("bearer" = []), ()),
    modifiers(&Bearer),
)]
struct Document;

/// All of it.
fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(counters::Document::openapi());
    document
}

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

#[utoipa::path(
    get, path = "/openapi.json", tag = "operations", operation_id = "openapi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
/// This document.
pub(super) async fn openapi() -> Response<Body> {
    static JSON: LazyLock<Bytes> = LazyLock::new(|| {
        // Generated at compile time and covered by a test: it can be written as JSON.
        document().to_json().unwrap_or_default().into()
    });
    ([(CONTENT_TYPE, "application/json")], JSON.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    fn document() -> Value {
        serde_json::to_value(super::document()).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        })
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn it_is_openapi_3_1_with_its_required_members() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        assert!(document["info"]["title"].is_string());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }

    #[test]
    fn every_reference_resolves() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_has_an_id_of_its_own_and_described_responses() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{method} {path}");
            for response in responses.values() {
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            }
        }
    }

    #[test]
    fn path_parameters_are_those_of_the_template_and_required() {
        let document = document();
        for (path, method, operation) in operations(&document) {
            let templated: BTreeSet<_> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == "path").collect();
            assert!(in_path.iter().all(|parameter| parameter["required"] == true), "{method} {path}");
            let declared: BTreeSet<_> = in_path.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(declared, templated, "{method} {path}");
        }
    }

    /// The standard has tools ignore them, and some do not (OpenAPI 3.1, 4.8.12.2.1): a generator makes them arguments.
    #[test]
    fn what_http_itself_negotiates_is_no_parameter() {
        let document = document();
        for (path, method, operation) in operations(&document) {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap().to_ascii_lowercase();
                let ignored = ["accept", "content-type", "authorization"].contains(&name.as_str());
                assert!(!(parameter["in"] == "header" && ignored), "{method} {path} has {name}");
                assert!(parameter["schema"].is_object(), "{method} {path} {name}");
            }
            let body = &operation["requestBody"];
            assert!(body.is_null() || body["content"]["application/json"]["schema"].is_object(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let contents = response["content"].as_object().map_or(0, serde_json::Map::len);
                assert!(contents > 0, "{method} {path} {status} has no content");
            }
        }
        let minted = &document["paths"]["/v1/ids"]["post"]["responses"]["200"]["content"];
        assert!(minted["application/json"].is_object() && minted["application/octet-stream"].is_object());
    }

    #[test]
    fn every_v1_operation_documents_the_shared_failures() {
        let document = document();
        for (path, method, operation) in operations(&document).filter(|(path, ..)| path.starts_with("/v1/")) {
            for status in ["400", "401", "403", "404", "409", "413", "421", "422", "429", "500", "503", "504"] {
                let problem = &operation["responses"][status]["content"]["application/problem+json"];
                assert!(problem["schema"]["$ref"].is_string(), "{method} {path} {status}: {problem}");
            }
        }
    }

    #[test]
    fn requests_refuse_unknown_members_in_the_document_too() {
        let schemas = &document()["components"]["schemas"];
        for name in ["IncrementRequest", "IdsRequest", "TicketRequest", "BatchRequest", "BatchIncrement", "BatchGet"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}: {}", schemas[name]);
        }
    }
}
