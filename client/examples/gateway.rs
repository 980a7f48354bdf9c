//! A gateway in small: answers each API key as often as its limit allows, wherever else the same key is used.
//!
//! `cargo run --release -p snowtide-client --features tower --example gateway -- 127.0.0.1:8080 certs/ca.pem 127.0.0.1:7410`,
//! then `curl -i -H 'x-api-key: alice' http://127.0.0.1:8080/`
#![allow(clippy::print_stdout, clippy::print_stderr)] // that is what an example is for

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::{Router, routing};
use snowtide_client::{Algorithm, Client, LimitLayer, Numbers};
use tokio::net::TcpListener;

/// Three at once, and one more every twenty seconds. A policy that the nodes are configured with goes by its name instead.
const POLICY: Numbers = Numbers { algorithm: Algorithm::Gcra, limit: 3, window_ms: 60_000, burst: 3 };

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(ca)) = (arguments.next(), arguments.next()) else {
        return Err("usage: gateway <listen> <ca.pem> <address>...".into());
    };
    let client = Client::builder().nodes(arguments).ca_pem_file(ca).connect().await?;
    let key = |request: &Request| Some(request.headers().get("x-api-key")?.to_str().ok()?.to_owned());
    let limit = LimitLayer::<Request, Response<Body>>::http(client, POLICY, key)
        .cost(|request| if request.uri().path() == "/export" { 3 } else { 1 })
        .within(Duration::from_millis(500))
        // Without a decision the request is passed on; `fail_closed` would refuse it.
        .on_error(|error| eprintln!("not limited: {error}"));
    let routes = Router::new().fallback(routing::any(|| async { "hello\n" })).layer(limit);
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}
