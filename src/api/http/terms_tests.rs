//! Tokens, waiting, acknowledgements and views through the router, against an engine whose receipts the test chooses.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use snowtide_protocol::Ack;

use super::tests::{config, doors_of, send};
use crate::api::Stage;
use crate::engine::{Answer, Applied, EngineHandle};
use crate::identity::{NamespaceId, ReplicaId, WorkerId};
use crate::replica::{Missing, Outcome, Receipt, Refusal, Share, Terms, Token, Turn, View};

const INCREMENT: &str = "/v1/counters/default/k/increment";

/// Status, headers and body of the answer to a request with these headers, whose terms `engine` sees.
async fn ask(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
    mut engine: impl FnMut(Terms) -> Answer + Send + 'static,
) -> (StatusCode, HeaderMap, Value) {
    let engine = EngineHandle::fake_on_terms(move |_, terms| engine(*terms.expect("terms")));
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
    let (status, headers, body) =
        send(doors_of(Stage::Ready, config(), engine), request.body(Body::from(body)).unwrap()).await;
    (status, headers, serde_json::from_slice(&body).unwrap())
}

fn applied(outcomes: usize, receipt: Receipt) -> Answer {
    Ok(Applied { outcomes: vec![Outcome::Value(7); outcomes], receipt: Some(Box::new(receipt)) })
}

fn token() -> Token {
    [(NamespaceId::of("default"), ReplicaId(9), 4)].into_iter().collect()
}

#[tokio::test]
async fn every_answer_has_a_token_and_a_request_brings_it_back() {
    let told = |terms: Terms| {
        assert!(terms.wants_token && terms.ack == Ack::Local && terms.after.is_empty());
        applied(1, Receipt { token: Some(token()), ..Receipt::default() })
    };
    let (status, headers, _) = ask(Method::POST, INCREMENT, &[], "", told).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!headers.contains_key("preference-applied"));
    let written = headers["snowtide-token"].to_str().unwrap().to_owned();
    let brought = |terms: Terms| {
        assert_eq!((terms.after, terms.wait_ms), (token(), 3_000));
        applied(1, Receipt::default())
    };
    let headers = [("snowtide-token", &*written), ("prefer", "wait=3")];
    let (status, headers, _) = ask(Method::GET, "/v1/counters/default/k", &headers, "", brought).await;
    assert_eq!((status, &headers["preference-applied"]), (StatusCode::OK, &"wait=3".parse().unwrap()));
}

#[tokio::test]
async fn a_token_that_is_not_held_is_answered_504_and_names_the_replica() {
    let replica = ReplicaId::new(WorkerId::new(2, 1).unwrap(), 255);
    let missing = Missing { namespace: NamespaceId(1), replica, known: 3, wanted: 8 };
    let (status, _, problem) =
        ask(Method::GET, "/v1/counters/default/k", &[], "", move |_| Err(Refusal::TokenNotHeld(missing))).await;
    assert_eq!(
        (status.as_u16(), &problem["code"], &problem["retryable"]),
        (504, &json!("token_wait_expired"), &json!(true))
    );
    let detail = problem["detail"].as_str().unwrap();
    for word in [replica.to_string(), "node 2/1".into(), "commit 8".into(), "holds 3".into()] {
        assert!(detail.contains(&word), "{detail}");
    }
}

#[tokio::test]
async fn a_write_that_is_pending_elsewhere_is_a_success_of_its_own_kind() {
    for (pending, status, state) in [(false, 200, "done"), (true, 202, "pending")] {
        let engine = move |terms: Terms| {
            assert_eq!((terms.ack, terms.ack_wait_ms), (Ack::Regions(2), 2_000));
            applied(1, Receipt { acknowledged_by: [1, 3].into(), pending, ..Receipt::default() })
        };
        let (answered, _, body) = ask(Method::POST, &format!("{INCREMENT}?ack=regions:2"), &[], "", engine).await;
        assert_eq!(answered.as_u16(), status);
        let expected = json!({"namespace": "default", "key": "k", "value": "7", "by": "1", "ack": state,
            "acknowledged_by": ["eu-west", "ap-south"]});
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn an_idempotency_key_names_the_request_and_a_repetition_says_so() {
    for (key, repeated) in [("\"a b\"", false), ("a b", true)] {
        let engine = move |terms: Terms| {
            assert!(terms.request_id.is_some());
            applied(1, Receipt { repeated, ..Receipt::default() })
        };
        let (status, headers, body) = ask(Method::POST, INCREMENT, &[("idempotency-key", key)], "", engine).await;
        assert_eq!((status, &body["value"]), (StatusCode::OK, &json!("7")));
        assert_eq!(headers.get("idempotent-replayed").is_some_and(|value| value == "true"), repeated);
    }
    let named = async |headers: &[(&str, &str)], body| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let engine = move |terms: Terms| {
            sender.send(terms.request_id.unwrap()).unwrap();
            applied(1, Receipt::default())
        };
        assert_eq!(ask(Method::POST, INCREMENT, headers, body, engine).await.0, StatusCode::OK);
        receiver.recv().unwrap()
    };
    let quoted = named(&[("idempotency-key", "\"k\"")], "").await;
    assert_eq!(named(&[("idempotency-key", "k")], r#"{"by":1}"#).await, quoted, "the same key and the same request");
    let other = named(&[("idempotency-key", "k")], r#"{"by":2}"#).await;
    assert!(other.id == quoted.id && other.turn != quoted.turn);
    for (refusal, status, code, again) in [
        (Refusal::UnderWay, 409, "idempotency_in_flight", true),
        (Refusal::AnotherRequest, 422, "idempotency_mismatch", false),
        (Refusal::TooManyNames, 503, "idempotency_full", true),
    ] {
        let key = [("idempotency-key", "k")];
        let (answered, headers, problem) = ask(Method::POST, INCREMENT, &key, "", move |_| Err(refusal.clone())).await;
        assert_eq!((answered.as_u16(), &problem["code"], &problem["retryable"]), (status, &json!(code), &json!(again)));
        assert_eq!(headers.contains_key("retry-after"), again, "{code}");
    }
}

#[tokio::test]
async fn a_turn_of_a_session_names_the_request_and_says_if_it_comes_again() {
    let session = "5f0d4f0e-3c1a-4a86-9d1e-0a8f6f6c7b21";
    let replica = Some(ReplicaId(0x21));
    for (rest, incarnation, again) in [
        ("", None, None),
        ("; again", None, Some(u64::MAX)),
        ("; replica=0000000000000021; again=7", replica, Some(7_000)),
    ] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let engine = move |terms: Terms| {
            sender.send((terms.request_id.unwrap(), terms.incarnation, terms.again)).unwrap();
            applied(1, Receipt { repeated: again.is_some(), ..Receipt::default() })
        };
        let value = format!("{session}; turn=8{rest}");
        // Nobody asks who calls, so what is said about that makes no difference.
        let bearer = if again.is_some() { "bearer b" } else { "Bearer a" };
        let headers = [("snowtide-session", value.as_str()), ("authorization", bearer)];
        let (status, headers, _) = ask(Method::POST, INCREMENT, &headers, "", engine).await;
        assert_eq!((status, headers.contains_key("idempotent-replayed")), (StatusCode::OK, again.is_some()));
        let named = value.parse::<crate::api::idempotency::Session>().unwrap().name("", &[]);
        let (once, told_incarnation, told_again) = receiver.recv().unwrap();
        assert_eq!((once.id, once.caller), (named.id, named.caller));
        assert_eq!((told_incarnation, told_again), (incarnation, again));
        // What it asks is part of the name.
        assert!(matches!(once.turn, Turn::Next { number: 8, .. }) && once.turn != named.turn, "{once:?}");
    }
    let headers = [("snowtide-session", "5f0d4f0e; turn=8")];
    let (status, _, problem) =
        ask(Method::POST, INCREMENT, &headers, "", |_| unreachable!("it is refused before")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
    assert!(problem["detail"].as_str().unwrap().contains("turn=N"), "{problem}");
    let elsewhere = format!("{session}; turn=8; at=nowhere/3");
    let headers = [("snowtide-session", elsewhere.as_str())];
    let (status, _, problem) = ask(Method::POST, INCREMENT, &headers, "", |_| unreachable!("it is for another")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::MISDIRECTED_REQUEST, &json!("wrong_region")));
}

#[tokio::test]
async fn views_come_with_reads_and_with_each_operation_of_a_batch() {
    let view = || {
        let share = |region, value, as_of_ms| Share { region, value, as_of_ms };
        View { regions: vec![share(1, 3, Some(0)), share(9, 4, None)], settled: Some(5), behind: [2].into() }
    };
    let shown = json!({"regions": [{"region": "eu-west", "value": "3", "as_of_ms": 0},
        {"region": "region-9", "value": "4", "as_of_ms": null}], "settled": "5", "behind": ["us-east"]});
    let engine = move |terms: Terms| {
        assert!(terms.wants_views);
        applied(1, Receipt { views: vec![view()], ..Receipt::default() })
    };
    let (_, _, body) = ask(Method::GET, "/v1/counters/default/k?view=regions", &[], "", engine).await;
    assert_eq!(body["view"], shown);
    let batch = r#"{"operations":[{"get":{"namespace":"x","key":"k"}},{"get":{"namespace":"default","key":"k"}}]}"#;
    let (status, _, body) = ask(Method::POST, "/v1/batch?view=regions&ack=all", &[], batch, engine).await;
    assert_eq!((status.as_u16(), &body["ack"]), (200, &json!("done")));
    assert_eq!(body["results"][0]["code"], "unknown_namespace");
    assert_eq!(body["results"][1], json!({"status": 200, "value": "7", "view": shown}));
}

#[tokio::test]
async fn more_regions_than_there_are_is_invalid() {
    let engine = |_| Err(Refusal::TooFewRegions { wanted: 9, held_by: 3 });
    let (status, _, problem) = ask(Method::POST, &format!("{INCREMENT}?ack=regions:9"), &[], "", engine).await;
    assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_request")));
    assert!(problem["detail"].as_str().unwrap().contains('3'), "{problem}");
}
