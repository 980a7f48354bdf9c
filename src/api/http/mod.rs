//! The HTTP front door: `/v1`, probes, metrics and the OpenAPI document, over HTTP/1.1 and HTTP/2, with or without TLS.
//!
//! Promises: every error above the level of the protocol itself is a problem document with a `code`; nothing of a
//! body is buffered beyond `api.request_bytes_max`; a request is answered within `api.request_timeout`; connections
//! are bounded in number and in idle time. It never guesses: unknown JSON members, query parameters and headers that
//! ask for what a request does not do are refused. It never ends a task with a panic of a handler.
//!
//! The content type of a request is not looked at: a body is JSON, and one that is not is refused as malformed.

mod accept;
mod answers;
mod apart;
mod auth;
mod batch;
mod bounds;
mod call;
mod cluster;
pub(in crate::api) mod connection;
mod cors;
mod counters;
mod decoded;
mod docs;
mod events;
mod failures;
pub(in crate::api) mod fuzzed;
mod health;
mod ids;
mod json;
mod limits;
#[cfg(test)]
mod limits_tests;
mod list;
pub(in crate::api) mod manners;
mod openapi;
mod operations;
mod parameters;
mod params;
mod paths;
mod policies;
mod problem;
pub(in crate::api) mod pulse;
mod receipt;
mod repairs;
mod request_id;
mod socket;
#[cfg(test)]
mod socket_tests;
#[cfg(test)]
mod terms_tests;
#[cfg(test)]
mod tests;
mod ticket;
mod tickets;
mod watch;
#[cfg(test)]
mod watch_tests;
mod watchers;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

use crate::api::threads::Threads;
use crate::api::{Doors, listening};
use crate::telemetry::{self, Verb};
use crate::tls::Live;

use call::{Call, Door};
use connection::Serving;
use problem::Problem;
use pulse::Limits;
use request_id::RequestId;

/// Serves until `shutdown`, then finishes the requests in progress, which takes `api.request_timeout` at most.
///
/// With `http.connections_max` connections open, the stillest make place for one more. Where none has been still for a
/// moment, it is answered 503 `overloaded` and closed: whoever waited in the kernel's queue instead would not know that
/// another node could serve it.
///
/// With `tls`, nothing else is spoken.
pub async fn serve(
    listener: TcpListener,
    doors: Doors,
    threads: Threads,
    tls: Option<Live>,
    shutdown: CancellationToken,
) {
    let (config, budget) = (Arc::clone(&doors.config), Arc::clone(&doors.budget));
    let protocol = connection::protocol(config.http.head_bytes_max, config.http.streams_max);
    let limits = Limits::new(&config);
    let full = Serving {
        protocol,
        tls,
        service: layered(Router::new().fallback(call::full), cors::layer(&config.http.cors.origins)),
        limits,
        manners: connection::MANNERS,
    };
    let Serving { protocol, tls, manners, .. } = full.clone();
    let serving = Serving { protocol, tls, service: service(doors, shutdown.clone()), limits, manners };
    let places = Arc::new(Semaphore::new(connection::TURNED_AWAY_MAX));
    let closing = shutdown.clone();
    let attend = move |stream, account| serving.clone().attend(stream, account, closing.clone());
    let turn_away = |stream| {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            listening::turn_away(stream, full.tls.is_none(), full.manners.no_place);
            return None;
        };
        let telling = full.clone().attend_once(stream, budget.beyond(telemetry::Door::Http));
        Some(async move {
            telling.await;
            drop(place);
        })
    };
    let door = (telemetry::Door::Http, config.http.connections_max);
    listening::attend_all(listener, &shutdown, (&budget, &threads), door, attend, turn_away).await;
}

/// What the body of a request or of an answer is.
trait Carried: hyper::body::Body<Data = axum::body::Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static {}

impl<B> Carried for B where
    B: hyper::body::Body<Data = axum::body::Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static
{
}

/// A service that answers every request with such a body, and that each connection has a copy of.
trait Served<B>:
    Service<http::Request<B>, Response = http::Response<Self::Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
    type Body: Carried;
}

impl<B, S, A> Served<B> for S
where
    S: Service<http::Request<B>, Response = http::Response<A>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
    A: Carried,
{
    type Body = A;
}

/// Everything that the door serves.
fn service<B: Carried>(doors: Doors, closing: CancellationToken) -> impl Served<B> {
    let cors = cors::layer(&doors.config.http.cors.origins);
    layered(router(doors, closing), cors)
}

/// The router within what holds for every request. These layers are not boxed, so they cost next to nothing.
fn layered<B: Carried>(router: Router, cors: Option<CorsLayer>) -> impl Served<B> {
    let inner = ServiceBuilder::new()
        // Failures have their own count and their answers say what they are: under overload, a line for each would
        // only add to it.
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .option_layer(cors)
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .service(router);
    tower::service_fn(move |request: http::Request<B>| {
        let (inner, name) = (inner.clone(), RequestId::of(request.headers()));
        let header = name.header();
        name.scope(async move {
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().insert(request_id::REQUEST_ID, header);
            Ok(response)
        })
    })
}

/// What logs say of a request: never the key of a counter, which must not leave its regions with them.
fn span<B>(request: &http::Request<B>) -> Span {
    let path = request.uri().path();
    let shown = path.match_indices('/').nth(2).and_then(|(end, _)| path.get(..end)).unwrap_or(path);
    request_id::current(|name| {
        let (trace_id, parent_id) = name.trace().map(|trace| (&*trace.trace_id, &*trace.parent_id)).unzip();
        tracing::debug_span!(
            "request", method = %request.method(), path = shown, request_id = name.id(), trace_id, parent_id
        )
    })
    .unwrap_or_else(Span::none)
}

fn router(doors: Doors, closing: CancellationToken) -> Router {
    let door = Arc::new(Door::new(doors, closing));
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(&path, methods))
        .fallback(call::not_found)
        .method_not_allowed_fallback(call::method_not_allowed)
        .with_state(door)
}

/// A path, as the OpenAPI document writes it, and what is done there.
type Route = (String, MethodRouter<Arc<Door>>);

/// Every route there is; a test compares it with the OpenAPI document.
fn routes() -> Vec<Route> {
    let mut routes = vec![
        v1("/v1/ids", MethodFilter::POST, Verb::MintIds, ids::mint),
        v1("/v1/ids/bounds", MethodFilter::GET, Verb::IdBounds, bounds::bounds),
        v1("/v1/ids/{id}", MethodFilter::GET, Verb::DecodeId, decoded::decode),
        v1("/v1/counters/{namespace}/{key}/watch", MethodFilter::GET, Verb::Watch, watch::watch),
        v1("/v1/counters/{namespace}", MethodFilter::GET, Verb::List, list::list),
        v1("/v1/limits", MethodFilter::GET, Verb::ListPolicies, policies::list),
        v1("/v1/limits/{policy}/{key}", MethodFilter::POST, Verb::Limit, limits::limit),
        v1("/v1/limits/{policy}/{key}", MethodFilter::GET, Verb::LookAtLimit, limits::look),
        v1("/v1/watch-tickets", MethodFilter::POST, Verb::WatchTicket, tickets::make),
        v1("/v1/batch", MethodFilter::POST, Verb::Batch, batch::batch),
        v1("/v1/cluster", MethodFilter::GET, Verb::Cluster, cluster::cluster),
        ("/livez".into(), get(health::livez)),
        ("/readyz".into(), get(health::readyz)),
        ("/metrics".into(), get(health::metrics)),
        ("/openapi.json".into(), get(openapi::openapi)),
        ("/docs".into(), get(docs::docs)),
    ];
    routes.extend(counters::routes());
    routes
}

/// A handler behind [`Door::answer`].
fn v1<H, F>(path: impl Into<String>, method: MethodFilter, verb: Verb, handler: H) -> Route
where
    H: FnOnce(Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    let answer = move |State(door): State<Arc<Door>>, request: Request| door.answer(verb, request, handler);
    (path.into(), on(method, answer))
}
