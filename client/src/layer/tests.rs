//! The layer around a service that counts its calls, with nodes that answer as each test says.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use snowtide_protocol::Code;
use tower::limit::ConcurrencyLimit;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use super::LimitLayer;
use crate::client::Retries;
use crate::client::fake::{Does, Fake, client, refuses, unclear};
use crate::error::Error;

type Layer = LimitLayer<Request<String>, Response<String>>;

/// By the header `x-key`, at this node.
fn layer(node: &Arc<Fake>) -> Layer {
    let key = |request: &Request<String>| Some(request.headers().get("x-key")?.to_str().ok()?.to_owned());
    LimitLayer::http(client(Retries::none(), &[node]), "default", key)
}

fn request(key: Option<&str>) -> Request<String> {
    let mut request = Request::new(String::new());
    request.headers_mut().extend(key.map(|key| (http::HeaderName::from_static("x-key"), key.parse().unwrap())));
    request
}

/// Sends requests through the layer, one after another: the statuses, and how many of them the service was called for.
async fn send(layer: Layer, keys: &[Option<&str>]) -> (Vec<u16>, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let service = layer.layer(service_fn(move |_| {
        counting.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let mut statuses = Vec::new();
    for key in keys {
        statuses.push(service.clone().oneshot(request(*key)).await.unwrap().status().as_u16());
    }
    (statuses, calls.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_does_not_reach_the_service() {
    // A decision with nothing left is a denial.
    let node = Fake::new("one").does([Does::Answers(1), Does::Answers(0)]);
    let sent = send(layer(&node), &[Some("alice"), Some("alice"), None]).await;
    assert_eq!(sent, (vec![200, 429, 200], 2));
    assert_eq!(node.heard().len(), 2, "nobody is asked about a request without a key");
}

#[tokio::test(start_paused = true)]
async fn without_a_decision_a_request_is_passed_on_and_that_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let failures = [unclear(), refuses(Code::LimitsFull, None), refuses(Code::UnknownPolicy, None), Does::Hangs];
    let node = Fake::new("one").does(failures);
    let telling = Arc::clone(&told);
    let layer = layer(&node).on_error(move |error| telling.lock().unwrap().push(error.clone()));
    assert_eq!(send(layer, &[Some("alice"); 4]).await, (vec![200; 4], 4));
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 4);
    let late = Error::Timeout { after: Duration::from_millis(250), may_have_written: true };
    assert_eq!(told[3], late, "long before the client gives up by itself");
}

#[tokio::test(start_paused = true)]
async fn or_it_is_answered_if_the_layer_fails_closed() {
    let node = Fake::new("one").does([unclear(), Does::Answers(1)]);
    let unavailable = |_: &Error| {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    };
    let closed = layer(&node).fail_closed(unavailable);
    assert_eq!(send(closed.clone(), &[Some("alice"), Some("alice")]).await, (vec![503, 200], 1));
    node.does([unclear()]);
    assert_eq!(send(closed.fail_open(), &[Some("alice")]).await, (vec![200], 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_past_a_limit_by_a_cost_or_a_key_that_no_node_takes() {
    let node = Fake::new("one").does([refuses(Code::CostTooHigh, None)]);
    let long = "k".repeat(600);
    let layer = layer(&node).cost(|_| 1_000).on_error(|error| panic!("{error}"));
    assert_eq!(send(layer, &[Some("alice"), Some(&long), Some("")]).await, (vec![429; 3], 0));
    assert_eq!(node.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let node = Fake::new("one").does([Does::Answers(0), Does::Answers(1)]);
    // Of this service a clone is not ready, and calling it would panic.
    let inner = ConcurrencyLimit::new(service_fn(|_| async { Ok::<_, Infallible>(Response::new(String::new())) }), 1);
    let mut service = layer(&node).layer(inner);
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::OK] {
        // A denial gives its place back.
        let response = service.ready().await.unwrap().call(request(Some("alice"))).await.unwrap();
        assert_eq!(response.status(), status);
    }
}
