//! Limits over HTTP.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};

use super::tests::{doors, send};
use crate::api::Stage;

async fn ask(method: Method, path: &str, body: &str) -> (StatusCode, HeaderMap, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    let (status, headers, body) = send(doors(Stage::Ready), request).await;
    (status, headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_limit_admits_what_fits_and_says_what_is_left() {
    let path = "/v1/limits/default/http%2Falice";
    let doors = doors(Stage::Ready);
    let ask = async |method: Method, query: &str, body: &str| {
        let uri = format!("{path}{query}");
        let request = Request::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap();
        let (status, headers, body) = send(doors.clone(), request).await;
        (status, headers, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, headers, body) = ask(Method::POST, "", "").await;
    assert_eq!((status, &body["allowed"], &body["limit"]), (StatusCode::OK, &json!(true), &json!(100)));
    assert_eq!((&body["remaining"], &body["retry_after_ms"]), (&json!(99), &json!(0)));
    assert_eq!(headers["ratelimit-policy"], "\"default\";q=100;w=60");
    assert!(headers["ratelimit"].to_str().unwrap().starts_with("\"default\";r=99;t="), "{headers:?}");
    let (_, _, body) = ask(Method::POST, "", r#"{"cost":99}"#).await;
    assert_eq!((&body["allowed"], &body["remaining"]), (&json!(true), &json!(0)));
    let (status, _, body) = ask(Method::POST, "", "").await;
    assert_eq!((status, &body["allowed"], &body["remaining"]), (StatusCode::OK, &json!(false), &json!(0)));
    assert!(body["retry_after_ms"].as_u64().unwrap() > 0);
    let (status, headers, body) = ask(Method::POST, "?respond=429", "").await;
    assert_eq!((status, &body["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("limit_exceeded")));
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["violated-policies"], json!(["default"]));
    assert!(headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(headers.contains_key("ratelimit"));
    let (status, _, body) = ask(Method::GET, "", "").await;
    assert_eq!((status, &body["allowed"], &body["remaining"]), (StatusCode::OK, &json!(true), &json!(0)));
}

#[tokio::test]
async fn what_cannot_be_decided_says_why_and_charges_nothing() {
    for (path, body, status, code, words) in [
        ("nowhere/a", "", 404, "unknown_policy", "this node has burst, default, elsewhere, few"),
        ("elsewhere/a", "", 421, "wrong_region", "ask a node of far"),
        ("few/a", r#"{"cost":4}"#, 422, "cost_too_high", "above 3"),
        ("few/a", r#"{"cost":-1}"#, 400, "invalid_request", "invalid value"),
        ("few/a", r#"{"cost":1,"price":2}"#, 400, "invalid_request", "unknown field `price`"),
        ("few/..%2e", "", 200, "", ""),
        ("few/%2e%2e", "", 400, "invalid_request", "another place"),
        ("few/%ff", "", 400, "invalid_request", "UTF-8"),
        ("_/a", "", 400, "invalid_request", "in the body"),
        ("few/a", r#"{"policy":{"limit":1,"window_ms":1000}}"#, 400, "invalid_request", "not with another"),
        ("_/a", r#"{"policy":{"limit":0,"window_ms":1000}}"#, 400, "invalid_request", "a limit is 1 to"),
        ("_/a", r#"{"policy":{"limit":1,"window_ms":1}}"#, 400, "invalid_request", "a window is 1000 to"),
        ("_/a", r#"{"policy":{"limit":1,"window_ms":1000,"burst":1}}"#, 400, "invalid_request", "has none"),
        ("few/a?respond=403", "", 400, "invalid_request", "respond: allowed: 429"),
        ("few/a?ack=all", "", 400, "invalid_request", "ack"),
    ] {
        let (found, _, answer) = ask(Method::POST, &format!("/v1/limits/{path}"), body).await;
        assert_eq!(found.as_u16(), status, "{path} {body}: {answer}");
        if !code.is_empty() {
            assert_eq!(answer["code"], code, "{path} {body}: {answer}");
            assert!(answer["detail"].as_str().unwrap().contains(words), "{path} {body}: {answer}");
        }
    }
    let long = format!("/v1/limits/few/{}", "k".repeat(513));
    assert_eq!(ask(Method::POST, &long, "").await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_policy_that_a_request_brings_along_is_counted_by_its_numbers() {
    let doors = doors(Stage::Ready);
    let ask = async |body: &str| {
        let request = Request::post("/v1/limits/_/http%2Fgiven").body(Body::from(body.to_owned())).unwrap();
        let (status, headers, body) = send(doors.clone(), request).await;
        assert_eq!(status, StatusCode::OK);
        (headers, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let two = r#"{"policy":{"algorithm":"fixed","limit":2,"window_ms":3600000}}"#;
    let (headers, body) = ask(two).await;
    assert_eq!((&body["limit"], &body["remaining"]), (&json!(2), &json!(1)));
    assert_eq!(headers["ratelimit-policy"], "\"_\";q=2;w=3600");
    assert_eq!(ask(two).await.1["remaining"], 0);
    assert_eq!(ask(two).await.1["allowed"], false);
    let gcra = r#"{"policy":{"algorithm":"gcra","limit":60,"window_ms":3600000,"burst":5},"cost":5}"#;
    assert_eq!(ask(gcra).await.1["remaining"], 0, "other numbers are another key");
}

#[tokio::test]
async fn a_node_that_stops_itself_decides_nothing() {
    for (stage, status) in [(Stage::Fenced("a clone".into()), 503), (Stage::Draining, 503), (Stage::Starting, 200)] {
        let request = Request::post("/v1/limits/default/http%2Fstage").body(Body::empty()).unwrap();
        assert_eq!(send(doors(stage), request).await.0.as_u16(), status);
    }
}

#[tokio::test]
async fn policies_are_listed_with_what_they_have_decided() {
    let doors = doors(Stage::Ready);
    let request = |request: Request<Body>| send(doors.clone(), request);
    for (key, cost) in [("a", 2), ("b", 3), ("b", 1)] {
        let path = format!("/v1/limits/few/{key}");
        request(Request::post(path).body(Body::from(format!(r#"{{"cost":{cost}}}"#))).unwrap()).await;
    }
    let given = r#"{"policy":{"algorithm":"gcra","limit":60,"window_ms":3600000,"burst":5}}"#;
    request(Request::post("/v1/limits/_/a").body(Body::from(given)).unwrap()).await;
    let (status, _, body) = request(Request::get("/v1/limits").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let policies = body["policies"].as_array().unwrap();
    let names: Vec<_> = policies.iter().map(|policy| policy["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["burst", "default", "elsewhere", "few", "gcra 5/60/3600000"]);
    let few = &policies[3];
    assert_eq!((&few["decisions"], &few["admitted"], &few["denied"]), (&json!(3), &json!(5), &json!(1)));
    assert_eq!((&few["algorithm"], &few["mode"], &few["given"]), (&json!("fixed"), &json!("shared"), &json!(false)));
    assert_eq!(policies[2]["parted"][0]["node"], "31/0");
    assert_eq!((&policies[4]["burst"], &policies[4]["given"]), (&json!(5), &json!(true)));
}
