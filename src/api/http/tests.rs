//! The router as a whole, against an engine whose answers the test chooses.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use snowtide_protocol::Action;
use snowtide_protocol::id::Format;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{routes, service};
use crate::api::bearer::Bearers;
use crate::api::budget::Budget;
use crate::api::grpc::LiveDescriptors;
use crate::api::terms::TermsCodec;
use crate::api::{Doors, Namespaces, Stage};
use crate::config::map::{ClusterMap, Node, Region};
use crate::config::{Config, Permission, Token};
use crate::engine::{EngineHandle, Fake};
use crate::envoy::Domains;
use crate::identity::{NamespaceId, WorkerId};
use crate::ids::{CeilingStore, IdSource, layout_of, scheme_of};
use crate::limiter::Limiter;
use crate::replica::{Operation, Outcome, Refusal};

pub(super) fn map() -> ClusterMap {
    let address = crate::config::address::Address::parse("127.0.0.1:1").unwrap();
    let region = |(id, name): (u8, &str)| Region {
        name: name.to_owned(),
        id,
        location: None,
        nodes: vec![Node { id: 0, quic: address.clone(), http: address.clone(), redis: None, grpc: None }],
    };
    ClusterMap { regions: [(1, "eu-west"), (2, "us-east"), (3, "ap-south")].map(region).into() }
}

pub(super) fn config() -> Config {
    let mut config = Config::builtin();
    // A busy machine may not let the thread run for longer that confirms ceilings.
    config.ids.wait_max = Duration::from_secs(30);
    config
}

/// Forgets every ceiling: no test here restarts.
struct Weightless;

impl CeilingStore for Weightless {
    fn persist(&self, _: u64) -> Result<(), String> {
        Ok(())
    }
}

/// Front doors with an engine that answers every operation with 7.
pub(super) fn doors(stage: Stage) -> Doors {
    doors_with(stage, config(), |operations| Ok(vec![Outcome::Value(7); operations.len()]))
}

pub(super) fn doors_with(
    stage: Stage,
    config: Config,
    engine: impl FnMut(Vec<Operation>) -> Fake + Send + 'static,
) -> Doors {
    doors_of(stage, config, EngineHandle::fake(engine))
}

pub(super) fn doors_of(stage: Stage, config: Config, engine: EngineHandle) -> Doors {
    let worker = WorkerId::new(1, 0).unwrap();
    let ids = IdSource::new(layout_of(&config.ids).unwrap(), worker, &config.ids, 0, Arc::new(Weightless), |_| {});
    Doors {
        budget: Budget::new(usize::try_from(config.api.client_bytes_max.as_u64()).unwrap()),
        terms_codec: Arc::new(TermsCodec::new(&config, &map())),
        bearers: Bearers::new(&config.api.tokens),
        descriptors: LiveDescriptors::new(Domains::default(), &config.envoy),
        config: Arc::new(config),
        map: Arc::new(map()),
        worker,
        region: "eu-west".into(),
        namespaces: Arc::new(
            Namespaces::from([("default".to_owned(), NamespaceId::of("default"))])
                .with_elsewhere("orders", &["us-east", "ap-south"]),
        ),
        engine,
        ids: ids.unwrap(),
        limiter: Limiter::alone(),
        stage: watch::channel(stage).1,
        incarnation: watch::Sender::new(None),
    }
}

pub(super) async fn send(doors: Doors, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
    let (parts, body) = service(doors, CancellationToken::new()).oneshot(request).await.unwrap().into_parts();
    let Ok(body) = body.collect().await else { panic!("the body broke off") };
    (parts.status, parts.headers, body.to_bytes())
}

/// Sends a request with a JSON answer.
async fn ask(doors: Doors, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let (status, headers, body) = send(doors, request).await;
    let content_type = headers[header::CONTENT_TYPE].to_str().unwrap();
    let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(content_type, expected, "{path}");
    (status, serde_json::from_slice(&body).unwrap())
}

/// The code of a refusal, with the status that goes with it.
async fn refusal(doors: Doors, method: Method, path: &str, body: impl Into<Body>) -> (u16, String) {
    let (status, problem) = ask(doors, method, path, body).await;
    assert_eq!(problem["status"], status.as_u16());
    (status.as_u16(), problem["code"].as_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn an_increment_reaches_the_engine_and_its_value_the_client() {
    let doors = doors_with(Stage::Ready, config(), |operations| {
        let [Operation { namespace, key, action: Action::Increment(by) }] = &operations[..] else {
            panic!("{operations:?}");
        };
        assert_eq!((*namespace, &**key), (NamespaceId::of("default"), "a/b"));
        Ok(vec![Outcome::Value(i128::from(*by) + 1)])
    });
    let (status, body) = ask(doors, Method::POST, "/v1/counters/default/a%2Fb/increment", r#"{"by":"-5"}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, json!({"namespace": "default", "key": "a/b", "value": "-4", "by": "-5"}));
}

#[tokio::test]
async fn an_empty_body_increments_by_one() {
    let (_, body) = ask(doors(Stage::Ready), Method::POST, "/v1/counters/default/k/increment", "").await;
    assert_eq!(body["by"], "1");
}

#[tokio::test]
async fn a_read_and_a_batch_answer_what_the_engine_says() {
    let (_, body) = ask(doors(Stage::Ready), Method::GET, "/v1/counters/default/k", "").await;
    assert_eq!(body, json!({"namespace": "default", "key": "k", "value": "7"}));
    let batch =
        r#"{"operations":[{"increment":{"namespace":"default","key":"k"}},{"get":{"namespace":"x","key":"k"}}]}"#;
    let (_, body) = ask(doors(Stage::Ready), Method::POST, "/v1/batch", batch).await;
    assert_eq!(body["results"][0], json!({"status": 200, "value": "7"}));
    assert_eq!(body["results"][1]["code"], "unknown_namespace");
    let (status, body) = ask(doors(Stage::Ready), Method::POST, "/v1/batch", r#"{"operations":[]}"#).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"results": []})));
}

#[tokio::test]
async fn no_counter_is_called_as_a_place_in_a_path() {
    for path in ["..", "%2E%2E", "%2e", "."] {
        for (method, action) in [(Method::GET, ""), (Method::POST, "/increment"), (Method::GET, "/watch")] {
            let path = format!("/v1/counters/default/{path}{action}");
            assert_eq!(
                refusal(doors(Stage::Ready), method, &path, "").await,
                refused(400, "invalid_request"),
                "{path}"
            );
        }
    }
    for operation in ["get", "increment"] {
        let batch = json!({"operations": [{operation: {"namespace": "default", "key": ".."}}]}).to_string();
        assert_eq!(
            refusal(doors(Stage::Ready), Method::POST, "/v1/batch", batch).await,
            refused(400, "invalid_request")
        );
    }
    let (_, body) = ask(doors(Stage::Ready), Method::GET, "/v1/counters/default/a%2F..%2Fb", "").await;
    assert_eq!(body["key"], "a/../b");
}

fn origins(origins: &[&str]) -> Doors {
    let mut config = config();
    config.http.cors.origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    config.api.tokens = vec![token("reader", &[Permission::Read], &[])];
    doors_with(Stage::Ready, config, |operations| Ok(vec![Outcome::Value(7); operations.len()]))
}

#[tokio::test]
async fn pages_of_configured_origins_may_ask_and_read_and_others_not() {
    const APP: &str = "https://app.example.com";
    let preflight = |origin: &str| {
        Request::options("/v1/counters/default/k/increment")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type,idempotency-key")
            .body(Body::empty())
            .unwrap()
    };
    let allowed = |headers: &HeaderMap| headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    let (status, headers, _) = send(origins(&[APP, "http://127.0.0.1:1"]), preflight(APP)).await;
    assert_eq!((status, allowed(&headers).unwrap()), (StatusCode::OK, APP.parse().unwrap()));
    let names = headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
    for name in ["authorization", "content-type", "idempotency-key", "snowtide-token", "prefer", "last-event-id"] {
        assert!(names.split(',').any(|one| one == name), "{names}");
    }
    assert!(headers[header::ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("POST"));
    let (_, headers, _) = send(origins(&[APP]), preflight("https://evil.example.com")).await;
    assert_eq!(allowed(&headers), None);
    let (_, headers, _) = send(origins(&["*"]), preflight("https://anybody.example.com")).await;
    assert_eq!(allowed(&headers).unwrap(), "*");
    let (status, headers, _) = send(origins(&[]), preflight(APP)).await;
    assert_eq!((status, allowed(&headers)), (StatusCode::METHOD_NOT_ALLOWED, None));
    // The answer itself, and a refusal no less: a page that may not read it cannot tell what is wrong.
    for (token, status) in [("Bearer reader-token", 200), ("Bearer nonsense", 401)] {
        let request = Request::get("/v1/counters/default/k")
            .header(header::ORIGIN, APP)
            .header(header::AUTHORIZATION, token)
            .body(Body::empty())
            .unwrap();
        let (found, headers, _) = send(origins(&[APP]), request).await;
        assert_eq!((found.as_u16(), allowed(&headers).unwrap()), (status, APP.parse().unwrap()));
        let told = headers[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        assert!(["snowtide-token", "retry-after"].iter().all(|name| told.contains(name)), "{told}");
        assert!(headers.contains_key("x-request-id") && headers[header::VARY].to_str().unwrap().contains("origin"));
    }
}

#[tokio::test]
async fn a_ticket_stands_for_a_token_in_the_url_of_one_counter() {
    let ticket = async |bearer: &str, key: &str| {
        let body = json!({"namespace": "default", "key": key}).to_string();
        let request = Request::post("/v1/watch-tickets").header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        let (status, _, body) = send(with_tokens(), request.body(body.into()).unwrap()).await;
        (status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, made) = ticket("reader-token", "a/b ..").await;
    assert_eq!(status, 200, "{made}");
    let (text, url) = (made["ticket"].as_str().unwrap(), made["url"].as_str().unwrap());
    assert_eq!(url, format!("/v1/counters/default/a%2Fb%20../watch?ticket={text}"));
    assert!(made["expires"].as_str().unwrap().ends_with("Z") && !text.contains("reader"), "{made}");
    for (path, status) in [
        (url.to_owned(), 200),
        ("/v1/counters/default/a%2Fb%20../watch".to_owned(), 401),
        (format!("/v1/counters/default/other/watch?ticket={text}"), 401),
        ("/v1/counters/default/a%2Fb%20../watch?ticket=x".to_owned(), 401),
        // It opens nothing else.
        (format!("/v1/counters/default/a%2Fb%20..?ticket={text}"), 401),
        (format!("/v1/counters/default?ticket={text}"), 401),
    ] {
        let request = Request::get(&path).body(Body::empty()).unwrap();
        let response = service(with_tokens(), CancellationToken::new()).oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    for (bearer, key, status) in [
        ("writer-token", "a", 403),
        ("nonsense-token", "a", 401),
        ("reader-token", "..", 400),
        ("reader-token", "", 400),
    ] {
        assert_eq!(ticket(bearer, key).await.0, status, "{bearer} {key}");
    }
    // With a token as well, the token counts.
    let request = Request::get(url).header(header::AUTHORIZATION, "Bearer nonsense").body(Body::empty()).unwrap();
    assert_eq!(send(with_tokens(), request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_walk_goes_from_page_to_page_to_the_end() {
    let mut path = "/v1/counters/default?prefix=c&limit=3".to_owned();
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let (status, page) = ask(doors(Stage::Ready), Method::GET, &path, "").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        for counter in page["counters"].as_array().unwrap() {
            assert_eq!((&counter["namespace"], &counter["value"]), (&json!("default"), &json!("7")));
            keys.push(counter["key"].as_str().unwrap().to_owned());
        }
        pages += 1;
        let Some(cursor) = page.get("next_cursor") else { break };
        path = format!("/v1/counters/default?prefix=c&limit=3&cursor={}", cursor.as_str().unwrap());
    }
    assert_eq!((keys, pages), ((0..7).map(|number| format!("c{number}")).collect(), 3));
    let (_, none) = ask(doors(Stage::Ready), Method::GET, "/v1/counters/default?prefix=c%2F", "").await;
    assert_eq!(none, json!({"counters": []}));
}

#[tokio::test]
async fn one_page_too_many_at_once_is_refused() {
    let mut config = config();
    config.http.listings_max = 1;
    let (engine, _asked) = EngineHandle::recording();
    let doors = doors_of(Stage::Ready, config, engine);
    let service = service(doors, CancellationToken::new());
    let list = || Request::get("/v1/counters/default").body(Body::empty()).unwrap();
    // The engine never answers the first.
    let mut first = Box::pin(service.clone().oneshot(list()));
    assert!((&mut first).now_or_never().is_none());
    let second = service.oneshot(list()).await.unwrap();
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(first);
}

#[tokio::test]
async fn what_the_engine_refuses_is_a_problem() {
    let path = "/v1/counters/default/k/increment";
    type Engine = fn(Vec<Operation>) -> Fake;
    let cases: [(Engine, u16, &str); 3] = [
        (|_| Err(Refusal::Throttled), 429, "throttled"),
        (|_| Ok(vec![Outcome::Overflow]), 422, "counter_overflow"),
        (|_| Ok(vec![]), 500, "internal"),
    ];
    for (engine, status, code) in cases {
        let doors = doors_with(Stage::Ready, config(), engine);
        assert_eq!(refusal(doors, Method::POST, path, "").await, refused(status, code));
    }
}

#[tokio::test]
async fn an_engine_that_ends_before_it_answers_leaves_the_outcome_open() {
    let doors = doors_with(Stage::Ready, config(), |_| panic!("the engine ends"));
    let (status, problem) = ask(doors, Method::POST, "/v1/counters/default/k/increment", "").await;
    assert_eq!((status.as_u16(), &problem["retryable"]), (500, &json!(false)));
    assert!(problem["detail"].as_str().unwrap().contains("unknown"), "{problem}");
}

#[tokio::test]
async fn a_stage_that_does_not_count_refuses_before_the_engine_is_asked() {
    for (stage, code) in
        [(Stage::Starting, "starting"), (Stage::Draining, "draining"), (Stage::Fenced("why".into()), "fenced")]
    {
        for (method, path, body) in [
            (Method::POST, "/v1/counters/default/k/increment", ""),
            (Method::GET, "/v1/counters/default/k", ""),
            (Method::POST, "/v1/batch", r#"{"operations":[]}"#),
        ] {
            let doors = doors_with(stage.clone(), config(), |_| panic!("asked"));
            assert_eq!(refusal(doors, method, path, body).await, refused(503, code), "{path}");
        }
    }
    for stage in [Stage::Draining, Stage::Fenced("why".into())] {
        let (status, _) = refusal(doors(stage), Method::POST, "/v1/ids", "").await;
        assert_eq!(status, 503);
    }
}

#[tokio::test]
async fn malformed_input_is_refused_by_its_kind() {
    let long = format!("/v1/counters/default/{}", "x".repeat(513));
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/counters/default/%ff", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/%ff/k", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/nowhere/k", "", 404, "unknown_namespace"),
        (Method::GET, "/v1/counters/orders/k", "", 421, "wrong_region"),
        (Method::POST, "/v1/counters/orders/k/increment", "", 421, "wrong_region"),
        (Method::GET, &long, "", 413, "too_large"),
        (Method::POST, "/v1/counters/default/k/increment", "{", 400, "invalid_request"),
        (Method::POST, "/v1/counters/default/k/increment", r#"{"by":1.5}"#, 400, "invalid_request"),
        (Method::POST, "/v1/counters/default/k/increment", r#"{"by":"9223372036854775808"}"#, 400, "invalid_request"),
        (Method::POST, "/v1/counters/default/k/increment", "\u{0}\u{1}", 400, "invalid_request"),
        (Method::POST, "/v1/batch", "", 400, "invalid_request"),
        (Method::POST, "/v1/ids", r#"{"count":0}"#, 400, "invalid_request"),
        (Method::POST, "/v1/ids", r#"{"count":10001}"#, 413, "too_large"),
        (Method::POST, "/v1/ids", r#"{"format":"hex"}"#, 400, "invalid_request"),
        (Method::GET, "/v1/ids/abc", "", 400, "invalid_request"),
        (Method::GET, "/v1/ids/42?format=ulid", "", 400, "invalid_request"),
        (Method::GET, "/v1/ids/00000000-0000-4000-8000-000000000000", "", 400, "invalid_request"),
        (Method::GET, "/v1/ids/9223372036854775808", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/default/k?view=all", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/nowhere", "", 404, "unknown_namespace"),
        (Method::GET, "/v1/counters/orders", "", 421, "wrong_region"),
        (Method::GET, "/v1/counters/%ff", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/default?limit=0", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/default?limit=1001", "", 413, "too_large"),
        (Method::GET, "/v1/counters/default?cursor=x", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/default?order=key", "", 400, "invalid_request"),
        (Method::POST, "/v1/counters/default", "", 405, "method_not_allowed"),
        (Method::POST, "/v1/counters/default/k/increment?ack=two", "", 400, "invalid_request"),
        (Method::POST, "/v1/ids?ack=all", "", 400, "invalid_request"),
        (Method::GET, "/v1/counters/default//", "", 404, "not_found"),
        (Method::GET, "/", "", 404, "not_found"),
        (Method::GET, "/v1/counters/default/k/", "", 404, "not_found"),
        (Method::DELETE, "/v1/counters/default/k", "", 405, "method_not_allowed"),
        (Method::POST, "/livez", "", 405, "method_not_allowed"),
    ] {
        let answer = refusal(doors(Stage::Ready), method.clone(), path, body).await;
        assert_eq!(answer, refused(status, code), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_told_which_are() {
    let request = Request::delete("/v1/ids").body(Body::empty()).unwrap();
    let (_, headers, _) = send(doors(Stage::Ready), request).await;
    assert_eq!(headers[header::ALLOW], "POST");
}

type Polled = Poll<Option<Result<Frame<Bytes>, Infallible>>>;

/// A body of 1 KiB pieces that says nothing about its length, and counts how many pieces were taken.
struct Endless(Arc<AtomicUsize>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1_024])))))
    }
}

/// A body that is announced and never comes.
struct Silent;

impl hyper::body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_buffered() {
    let doors = || doors(Stage::Ready);
    let max = usize::try_from(config().api.request_bytes_max.as_u64()).unwrap();
    for path in ["/v1/batch", "/v1/ids", "/v1/counters/default/k/increment"] {
        let announced = refusal(doors(), Method::POST, path, vec![b' '; max + 1]).await;
        assert_eq!(announced, refused(413, "too_large"), "{path}");
        let taken = Arc::new(AtomicUsize::new(0));
        let streamed = refusal(doors(), Method::POST, path, Body::new(Endless(Arc::clone(&taken)))).await;
        assert_eq!(streamed, refused(413, "too_large"), "{path}");
        assert!(taken.load(Ordering::Relaxed) <= max / 1_024 + 1, "{path}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_504() {
    let mut config = config();
    config.api.request_timeout = Duration::from_millis(10);
    let doors = doors_with(Stage::Ready, config, |_| panic!("asked before the body was whole"));
    let silent = Body::new(Silent);
    let answer = refusal(doors, Method::POST, "/v1/counters/default/k/increment", silent).await;
    assert_eq!(answer, refused(504, "timeout"));
}

pub(super) fn token(name: &str, access: &[Permission], namespaces: &[&str]) -> Token {
    let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
    Token { name: name.to_owned(), token: format!("{name}-token"), access: access.to_vec(), namespaces }
}

fn with_tokens() -> Doors {
    let mut config = config();
    config.api.tokens = vec![
        token("reader", &[Permission::Read], &[]),
        token("writer", &[Permission::Write], &["default"]),
        token("minter", &[Permission::Ids], &[]),
        token("operator", &[Permission::Admin], &[]),
    ];
    doors_with(Stage::Ready, config, |operations| Ok(vec![Outcome::Value(7); operations.len()]))
}

async fn with_token(method: Method, path: &str, token: Option<&str>, body: &'static str) -> (u16, HeaderMap) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let (status, headers, _) = send(with_tokens(), request.body(Body::from(body)).unwrap()).await;
    (status.as_u16(), headers)
}

#[tokio::test]
async fn tokens_open_v1_as_far_as_they_reach() {
    let increment = "/v1/counters/default/k/increment";
    let gets = r#"{"operations":[{"get":{"namespace":"default","key":"k"}}]}"#;
    let increments = r#"{"operations":[{"increment":{"namespace":"default","key":"k"}}]}"#;
    for (method, path, token, body, status) in [
        (Method::POST, increment, Some("writer-token"), "", 200),
        (Method::POST, increment, Some("reader-token"), "", 403),
        (Method::POST, increment, Some("other-token"), "", 401),
        (Method::GET, "/v1/counters/default/k", Some("reader-token"), "", 200),
        (Method::POST, "/v1/batch", Some("reader-token"), gets, 200),
        (Method::POST, "/v1/batch", Some("reader-token"), increments, 403),
        (Method::POST, "/v1/batch", Some("writer-token"), increments, 200),
        (Method::POST, "/v1/batch", Some("writer-token"), gets, 403),
        (Method::GET, "/v1/counters/default/k", Some("writer-token"), "", 403),
        // Whether there is such a namespace, and where, is told to those who may use it.
        (Method::POST, "/v1/counters/orders/k/increment", Some("writer-token"), "", 403),
        (Method::POST, "/v1/counters/nowhere/k/increment", Some("writer-token"), "", 403),
        (Method::GET, "/v1/counters/orders/k", Some("reader-token"), "", 421),
        (Method::GET, "/v1/counters/default", Some("writer-token"), "", 403),
        (Method::GET, "/v1/counters/default/k/watch", Some("writer-token"), "", 403),
        (Method::POST, "/v1/ids", Some("writer-token"), "", 403),
        // Allowed, and not yet served.
        (Method::POST, "/v1/ids", Some("minter-token"), "", 503),
        (Method::GET, "/v1/ids/1", Some("writer-token"), "", 200),
        (Method::GET, "/v1/cluster", Some("reader-token"), "", 403),
        (Method::GET, "/v1/cluster", Some("operator-token"), "", 200),
    ] {
        let (answered, headers) = with_token(method.clone(), path, token, body).await;
        assert_eq!(answered, status, "{method} {path} {token:?} {body}");
        assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), [401, 403].contains(&status), "{path} {token:?}");
    }
}

#[tokio::test]
async fn every_route_of_v1_asks_for_a_token_and_no_other_does() {
    for (path, _) in routes() {
        let path = path.replace("{namespace}", "default").replace("{key}", "k").replace("{id}", "1");
        let mut statuses = BTreeSet::new();
        for method in [Method::GET, Method::POST] {
            statuses.insert(with_token(method, &path, None, "").await.0);
        }
        let expected = if path.starts_with("/v1/") { 401 } else { 200 };
        statuses.remove(&405);
        assert_eq!(statuses, BTreeSet::from([expected]), "{path}");
    }
}

#[tokio::test]
async fn the_router_and_the_openapi_document_name_the_same_routes_and_methods() {
    let (status, document) = ask(doors(Stage::Ready), Method::GET, "/openapi.json", "").await;
    assert_eq!(status, StatusCode::OK);
    let documented: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let routes = routes();
    let routed: BTreeSet<_> = routes.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(documented, routed);
    for path in routed {
        let methods: BTreeSet<_> = document["paths"][path].as_object().unwrap().keys().cloned().collect();
        let mut answered = BTreeSet::new();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let request =
                Request::builder().method(method.clone()).uri(path.replace(['{', '}'], "")).body(Body::empty());
            let (status, ..) = send(doors(Stage::Ready), request.unwrap()).await;
            if status != StatusCode::METHOD_NOT_ALLOWED {
                answered.insert(method.as_str().to_ascii_lowercase());
            }
        }
        assert_eq!(answered, methods, "{path}");
    }
}

#[tokio::test]
async fn probes_follow_the_stage_and_liveness_does_not() {
    for (stage, status, word) in
        [(Stage::Ready, 200, "ok"), (Stage::Starting, 503, "starting"), (Stage::Fenced("why".into()), 503, "fenced")]
    {
        let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let (alive, ..) = send(doors(stage.clone()), get("/livez")).await;
        assert_eq!(alive, StatusCode::OK);
        let (ready, _, body) = send(doors(stage.clone()), get("/readyz")).await;
        assert_eq!((ready.as_u16(), &*body), (status, word.as_bytes()));
        let (ready, _, body) = send(doors(stage), get("/readyz?verbose")).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((ready.as_u16(), &body["ready"]), (status, &json!(status == 200)));
        assert_eq!(body["checks"].as_array().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    ask(doors(Stage::Ready), Method::GET, "/v1/counters/default/k", "").await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let (status, headers, body) = send(doors(Stage::Ready), request).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains(r#"snowtide_requests_total{door="http",operation="get",code="ok"}"#), "{text}");
}

#[tokio::test]
async fn the_cluster_is_shown_even_by_a_node_that_stopped_itself() {
    let (status, body) = ask(doors(Stage::Fenced("two of us".into())), Method::GET, "/v1/cluster", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body["node"]["region"], &body["node"]["reason"]), (&json!("eu-west"), &json!("two of us")));
    assert_eq!(body["peers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_id_is_taken_apart_by_the_configured_layout() {
    let id = (1_000_u64 << 22) | (2 << 17) | (5 << 12) | 9;
    let scheme = scheme_of("snowtide-dev", layout_of(&config().ids).unwrap());
    let forms: serde_json::Map<_, _> = Format::ALL
        .map(|form| (form.to_string(), scheme.write(id, form).unwrap().as_str().into()))
        .into_iter()
        .collect();
    for form in Format::ALL {
        let text = scheme.write(id, form).unwrap();
        for path in [format!("/v1/ids/{text}"), format!("/v1/ids/{text}?format={form}")] {
            let (_, body) = ask(doors(Stage::Ready), Method::GET, &path, "").await;
            let expected = json!({
                "id": id.to_string(), "timestamp": "2025-01-01T00:00:01.000Z", "unix_ms": "1735689601000",
                "region": "us-east", "region_id": 2, "node": 5, "sequence": 9, "format": form.as_str(), "forms": forms,
            });
            assert_eq!(body, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn ids_are_minted_in_every_form_and_in_bytes() {
    let doors = doors(Stage::Ready);
    doors.ids.claim(0);
    let mut last = 0;
    for form in Format::ALL {
        let asked = format!(r#"{{"count":100,"format":"{form}"}}"#);
        let (status, body) = ask(doors.clone(), Method::POST, "/v1/ids", asked).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let texts: Vec<_> = body["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!(texts.len(), 100);
        assert!(form == Format::Decimal || texts.is_sorted_by(|one, next| one < next), "{texts:?}");
        for text in [&texts[0], &texts[99]] {
            let (_, decoded) = ask(doors.clone(), Method::GET, &format!("/v1/ids/{text}?format={form}"), "").await;
            let id: u64 = decoded["id"].as_str().unwrap().parse().unwrap();
            assert!(id > last, "{text}");
            assert_eq!((&decoded["region"], &decoded["forms"][form.as_str()]), (&json!("eu-west"), &json!(text)));
            last = id;
        }
    }
    let scheme = scheme_of("snowtide-dev", doors.ids.layout());
    for (form, width) in [("decimal", 8), ("uuid7", 16), ("ulid", 16)] {
        let request = Request::post("/v1/ids").header(header::ACCEPT, "application/octet-stream");
        let request = request.body(Body::from(format!(r#"{{"count":1000,"format":"{form}"}}"#))).unwrap();
        let (status, headers, body) = send(doors.clone(), request).await;
        assert_eq!(
            (status, &headers[header::CONTENT_TYPE]),
            (StatusCode::OK, &"application/octet-stream".parse().unwrap())
        );
        assert_eq!(body.len(), 1_000 * width, "{form}");
        for bytes in body.chunks(width) {
            let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
            let id = match form {
                "uuid7" => scheme.id_of_uuid7(number).unwrap(),
                "ulid" => scheme.id_of_ulid(number).unwrap(),
                _ => u64::try_from(number).unwrap(),
            };
            assert!(id > last, "{form}");
            last = id;
        }
    }
    let request = Request::post("/v1/ids").header(header::ACCEPT, "application/octet-stream");
    let (status, ..) = send(doors, request.body(Body::from(r#"{"format":"base62"}"#)).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_time_range_has_bounds_in_every_form() {
    let path = "/v1/ids/bounds?from=2025-01-01T02:00:01%2B02:00&to=1735689602000";
    let (status, body) = ask(doors(Stage::Starting), Method::GET, path, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let expected = json!({
        "first": (1_000_u64 << 22).to_string(), "last": ((2_000_u64 << 22) - 1).to_string(), "format": "decimal",
        "from": "2025-01-01T00:00:01.000Z", "to": "2025-01-01T00:00:02.000Z",
    });
    assert_eq!(body, expected);
    for (form, first, last) in [
        ("base32", "0000003X00000", "0000007SZZZZZ"),
        ("uuid7", "01941f29-7fe8-7000-8000-000000000000", "01941f29-83cf-7fff-bfff-ffffffffffff"),
        ("ulid", "01JGFJJZZ80000000000000000", "01JGFJK0YFZZZZZZZZZZZZZZZZ"),
    ] {
        let (_, body) = ask(doors(Stage::Ready), Method::GET, &format!("{path}&format={form}"), "").await;
        assert_eq!((&body["first"], &body["last"]), (&json!(first), &json!(last)), "{form}");
    }
    for (query, words) in [
        ("", "from"),
        ("?from=1735689602000", "to=…"),
        ("?from=x&to=1735689602000", "RFC 3339"),
        ("?from=1735689602000&to=1735689602000", "empty"),
        ("?from=2024-01-01T00:00:00Z&to=1735689602000", "begins at 2025-01-01T00:00:00.000Z"),
        ("?from=1735689602000&to=2095-01-01T00:00:00Z", "ends with 2094-09-07"),
        ("?from=1735689601000&to=1735689602000&format=hex", "allowed: decimal"),
        ("?from=1735689601000&to=1735689602000&until=1", "until"),
    ] {
        let (status, problem) = ask(doors(Stage::Ready), Method::GET, &format!("/v1/ids/bounds{query}"), "").await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
}

#[tokio::test]
async fn ids_are_minted_once_the_worker_id_is_claimed() {
    let doors = doors(Stage::Starting);
    assert_eq!(refusal(doors.clone(), Method::POST, "/v1/ids", "").await, refused(503, "starting"));
    doors.ids.claim(0);
    let (status, body) = ask(doors.clone(), Method::POST, "/v1/ids", r#"{"count":1000}"#).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!((&body["region"], &body["node"]), (&json!("eu-west"), &json!(0)));
    let ids: Vec<u64> =
        body["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.is_sorted_by(|one, next| one < next));
    let (_, decoded) = ask(doors, Method::GET, &format!("/v1/ids/{}", ids[0]), "").await;
    assert_eq!((&decoded["region"], &decoded["node"]), (&json!("eu-west"), &json!(0)));
}

#[tokio::test]
async fn a_namespace_of_other_regions_is_refused_with_their_names_and_never_reaches_the_engine() {
    let doors = || doors_with(Stage::Ready, config(), |operations| panic!("{operations:?}"));
    let (status, problem) = ask(doors(), Method::POST, "/v1/counters/orders/secret/increment", "").await;
    assert_eq!((status, &problem["code"]), (StatusCode::MISDIRECTED_REQUEST, &json!("wrong_region")));
    assert_eq!(problem["regions"], json!(["us-east", "ap-south"]));
    assert!(problem["detail"].as_str().unwrap().contains("ask a node of us-east or ap-south"), "{problem}");
    assert!(!problem.to_string().contains("secret"), "{problem}");
    let batch = r#"{"operations":[{"increment":{"namespace":"orders","key":"secret"}}]}"#;
    let (status, body) = ask(doors(), Method::POST, "/v1/batch", batch).await;
    assert_eq!(status, StatusCode::OK);
    let result = &body["results"][0];
    assert_eq!((&result["status"], &result["code"]), (&json!(421), &json!("wrong_region")));
    assert_eq!(result["regions"], json!(["us-east", "ap-south"]));
    let (_, unknown) = ask(doors(), Method::GET, "/v1/counters/nowhere/k", "").await;
    assert_eq!(unknown.get("regions"), None);
}

#[tokio::test]
async fn every_answer_says_which_request_it_belongs_to() {
    for (path, given) in [("/livez", Some("my-7")), ("/v1/counters/default/k", None), ("/nowhere", Some("x/y"))] {
        let request = given.iter().fold(Request::get(path), |request, id| request.header("x-request-id", *id));
        let (status, headers, body) = send(doors(Stage::Ready), request.body(Body::empty()).unwrap()).await;
        let id = headers["x-request-id"].to_str().unwrap();
        assert!(given.map_or(id.len() > 16, |given| given == id), "{path}: {id}");
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["request_id"], id);
        }
    }
    let request = Request::get("/livez").header("x-request-id", "not one").body(Body::empty()).unwrap();
    let (_, headers, _) = send(doors(Stage::Ready), request).await;
    assert_ne!(headers["x-request-id"], "not one");
}

#[tokio::test]
async fn a_panic_of_a_handler_is_told_with_the_requests_name() {
    let problem = super::request_id::RequestId::of(
        &[("x-request-id".parse().unwrap(), "boom".parse().unwrap())].into_iter().collect(),
    )
    .scope(async { super::problem::of_panic(Box::new("secret")) })
    .await;
    let body = problem.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["request_id"], "boom");
}

#[tokio::test]
async fn the_page_for_people_is_whole() {
    let request = Request::get("/docs").body(Body::empty()).unwrap();
    let (status, headers, body) = send(doors(Stage::Starting), request).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("connect-src 'self'"));
    assert!(body.ends_with(b"</html>\n"));
}
