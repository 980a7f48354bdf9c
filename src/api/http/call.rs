//! One request on its way to a handler: authenticated, timed, counted, and stripped of what is not supported.
//!
//! Handlers of `/v1` receive nothing but a [`Call`], and only [`Door::answer`] makes one, so that no route can be
//! added that forgets to ask for a token or to count.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::Serialize;
use snowtide_protocol::id::IdScheme;
use snowtide_protocol::{Access, Action, Code};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::bearer::Pass;
use crate::api::budget::{Account, Charge, Owed, Purpose};
use crate::api::gate::{Decider, Gate};
use crate::api::idempotency;
use crate::api::{Doors, Named, Refused};
use crate::audit;
use crate::clock;
use crate::config::Permission;
use crate::engine::Applied;
use crate::ids::scheme_of;
use crate::replica::{Operation, Receipt, Status};
use crate::telemetry::{self, Verb};

use super::auth;
use super::connection::{self, Remote};
use super::events;
use super::json;
use super::parameters::{self, Parameters};
use super::paths::{self, WATCH_SUFFIX};
use super::problem::Problem;
use super::request_id;
use super::socket::ClientSide;
use super::ticket;
use super::watchers::Watchers;

/// A body that grows is held so often for a moment, and what is read from it meanwhile.
const BODY_COPIES: usize = 2;

/// Questions to the engine about itself, of all clients together.
const INSPECTIONS_MAX: usize = 64;

/// As it is called in metrics and in the audit log.
const DOOR: &str = telemetry::Door::Http.as_str();

/// What all requests share.
pub(super) struct Door {
    pub(super) doors: Doors,
    pub(super) gate: Gate,
    pub(super) decider: Decider,
    pub(super) id_scheme: IdScheme,
    /// Pages of counters that are being made.
    pub(super) listings: Arc<Semaphore>,
    /// Questions to the engine about itself that are not answered yet.
    inspections: Arc<Semaphore>,
    pub(super) watchers: Arc<Watchers>,
    /// The node shuts down.
    pub(super) closing: CancellationToken,
    body_bytes_max: usize,
}

/// A request that may be carried out, as far as its headers tell.
pub(super) struct Call {
    pub(super) door: Arc<Door>,
    pub(super) pass: Pass,
    from: IpAddr,
    /// What its headers and its query ask.
    pub(super) parameters: Parameters,
    parts: Parts,
    body: Body,
    /// Whom its bytes are charged to.
    account: Option<Arc<Account>>,
    /// For the body, until the request is answered.
    charge: Option<Charge>,
}

impl Door {
    pub(super) fn new(doors: Doors, closing: CancellationToken) -> Self {
        let (api, http) = (&doors.config.api, &doors.config.http);
        let client_bytes_max = usize::try_from(api.client_bytes_max.as_u64()).unwrap_or(usize::MAX);
        Self {
            listings: Arc::new(Semaphore::new(http.listings_max)),
            inspections: Arc::new(Semaphore::new(INSPECTIONS_MAX)),
            watchers: Arc::new(Watchers::new(doors.engine.clone(), http, client_bytes_max)),
            closing,
            body_bytes_max: usize::try_from(api.request_bytes_max.as_u64()).unwrap_or(usize::MAX),
            gate: Gate::new(&doors, telemetry::Door::Http),
            decider: Decider::of(&doors),
            id_scheme: scheme_of(&doors.config.cluster.id, doors.ids.layout()),
            doors,
        }
    }

    /// Admits a request, has it handled within the time limit, and counts the answer.
    pub(super) async fn answer<H, F>(self: Arc<Self>, verb: Verb, request: Request, handler: H) -> Response<Body>
    where
        H: FnOnce(Call) -> F,
        F: Future<Output = Result<Response<Body>, Problem>>,
    {
        let begun = clock::monotonic();
        let events = verb == Verb::Watch && events::takes_events(request.headers());
        let answer = match Arc::clone(&self).admit(verb, request) {
            Ok(call) => {
                let limit = self.gate.limit(Some(&call.parameters.terms));
                let timed_out = |_| Err(Refused::timed_out(limit).into());
                tokio::time::timeout(limit, handler(call)).await.unwrap_or_else(timed_out)
            }
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &answer
            && problem.refused.code == Code::Internal
        {
            tracing::warn!(request_id = %request_id::shown(), operation = verb.as_str(), "failed: {}", problem.refused.detail);
        }
        self.gate.count(verb, begun, answer.as_ref().err().map(|problem| problem.refused.code));
        answer.unwrap_or_else(|problem| if events { events::refused(problem) } else { problem.into_response() })
    }

    fn admit(self: Arc<Self>, verb: Verb, request: Request) -> Result<Call, Problem> {
        let (mut parts, body) = request.into_parts();
        let account = parts.extensions.remove::<Arc<Account>>();
        // What nobody is going to read is not received either.
        let body = if matches!(parts.method, Method::GET | Method::HEAD) { Body::empty() } else { body };
        let from = parts.extensions.get::<Remote>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |remote| remote.0);
        let ticket = parameters::ticket(parts.uri.query()).filter(|_| verb == Verb::Watch);
        let admitted = match ticket.filter(|_| !parts.headers.contains_key(AUTHORIZATION)) {
            Some(ticket) => self.admit_ticket(&parts, &ticket),
            None => auth::admit(&self.doors.bearers, &parts.headers),
        };
        let pass = admitted.inspect_err(|problem| {
            if problem.refused.code == Code::Unauthenticated {
                audit::turned_away(DOOR, &from, "", &problem.refused.detail);
            }
        })?;
        let parameters = Parameters::of(&parts, verb, &self.doors.terms_codec)?;
        self.is_meant(&parameters)?;
        Ok(Call { door: self, pass, from, parameters, parts, body, account, charge: None })
    }

    /// Lets a caller in who has a ticket for watching the counter in the path.
    fn admit_ticket(&self, parts: &Parts, ticket: &str) -> Result<Pass, Problem> {
        let (namespace, key) = paths::counter(parts.uri.path(), WATCH_SUFFIX)?;
        let secret = self.doors.config.cluster.secret.as_bytes();
        ticket::admit(&self.doors.bearers, secret, clock::wall_ms(), (&namespace, &key), ticket)
    }

    /// Refuses a turn of a session that is for another node, which alone can tell whether it had it before.
    fn is_meant(&self, parameters: &Parameters) -> Result<(), Problem> {
        let here = format!("{}/{}", self.doors.region, self.doors.worker.node());
        match parameters.session.as_ref().and_then(|session| session.at.as_ref()).filter(|at| **at != here) {
            None => Ok(()),
            Some(at) => {
                let detail =
                    format!("the request is for node {at}, and this is {here}; ask that one at its own address");
                Err(Problem::new(Code::WrongRegion, detail))
            }
        }
    }

    /// How the node stands, from the engine: `None` if it has ended.
    pub(super) async fn status(&self) -> Result<Option<Status>, Problem> {
        let room = Arc::clone(&self.inspections).try_acquire_owned();
        let room = room.map_err(|_| Problem::new(Code::Overloaded, "too many ask how the node stands; retry"))?;
        Ok(self.doors.engine.status_for(room).await)
    }
}

impl Call {
    /// Refuses a caller who may not do this.
    pub(super) fn require(&self, permission: Permission) -> Result<(), Problem> {
        self.pass.grant().require(permission).map_err(|forbidden| self.turned_away((&forbidden).into()))
    }

    /// The namespace of this name, for a caller who may do this in it, and at a stage at which counters are served.
    pub(super) fn named(&self, access: Access, namespace: &str) -> Result<Named, Problem> {
        let named = self.door.doors.namespaces.named(self.pass.grant(), namespace);
        named.allows(access).map_err(|refused| self.turned_away(refused))?;
        self.door.gate.admit_counting()?;
        Ok(named)
    }

    /// What the engine is asked about a counter.
    pub(super) fn operation(&self, namespace: &str, key: &str, action: Action) -> Result<Operation, Problem> {
        let named = self.named(action.access(), namespace)?;
        named.operation(key, action).map_err(|refused| Problem::within(namespace, refused))
    }

    /// A refusal, which is written down if the caller's token does not allow what it asks.
    pub(super) fn turned_away(&self, refused: Refused) -> Problem {
        if refused.code == Code::Forbidden {
            audit::turned_away(DOOR, &self.from, self.pass.grant().name(), &refused);
        }
        refused.into()
    }

    /// Hands operations to the engine, on the terms that were asked.
    pub(super) async fn apply(&mut self, operations: Vec<Operation>) -> Result<Applied, Problem> {
        let mut terms = Box::new(std::mem::take(&mut self.parameters.terms));
        // Not what the header says, which can be written in more than one way.
        let caller = self.pass.grant().name();
        terms.request_id = match (&self.parameters.idempotency_key, &self.parameters.session) {
            (Some(key), _) => Some(idempotency::name(caller, key, &operations)),
            (None, session) => session.as_ref().map(|session| session.name(caller, &operations)),
        };
        terms.incarnation = self.parameters.session.as_ref().and_then(|session| session.replica);
        terms.again = self.parameters.session.as_ref().and_then(|session| session.again);
        let (client, waits) = (self.client(), terms.may_wait());
        // A client that is gone must not keep others from waiting.
        let leaving = async {
            match client {
                Some(client) if waits => client.ended().await,
                _ => std::future::pending().await,
            }
        };
        Ok(self.door.gate.submit(operations, Some(terms))?.answer(leaving).await?)
    }

    /// An answer with what the receipt tells in headers.
    pub(super) fn answer(
        &self,
        status: StatusCode,
        value: &impl Serialize,
        receipt: Option<&Receipt>,
    ) -> Result<Response<Body>, Problem> {
        let mut response = json::answer(value)?;
        *response.status_mut() = status;
        let token = receipt.and_then(|receipt| self.door.doors.terms_codec.write(receipt.token.as_ref()?));
        if let Some(Ok(token)) = token.map(|token| HeaderValue::try_from(token.to_string())) {
            response.headers_mut().insert(parameters::TOKEN, token);
        }
        if receipt.is_some_and(|receipt| receipt.repeated) {
            response.headers_mut().insert(parameters::REPLAYED, HeaderValue::from_static("true"));
        }
        self.parameters.applied(response.headers_mut());
        Ok(response)
    }

    /// The path, still percent-encoded.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The client's end of the connection; `None` without a connection, as in tests.
    pub(super) fn client(&self) -> Option<ClientSide> {
        self.parts.extensions.get().cloned()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The whole body. One that is too large is refused by its announced length, or as soon as it exceeds the limit.
    pub(super) async fn body(&mut self) -> Result<Bytes, Problem> {
        let max = self.door.body_bytes_max;
        let body = std::mem::take(&mut self.body);
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(body_too_large(max));
        }
        let mut body = Limited::new(body, max);
        let mut received = BytesMut::new();
        let mut owed = self.account.as_ref().map(Account::owe);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken_off(&error, max))?;
            let Ok(data) = frame.into_data() else { continue };
            self.charge_body(received.len().saturating_add(data.len()))?;
            received.extend_from_slice(&data);
            owed.iter_mut().for_each(Owed::moved);
        }
        Ok(received.freeze())
    }

    /// Charges for so much of a body. It may be copied once as it grows.
    fn charge_body(&mut self, bytes: usize) -> Result<(), Problem> {
        let Some(account) = &self.account else { return Ok(()) };
        account.hear();
        let charge = self.charge.get_or_insert_with(|| account.nothing());
        let charged = charge.resize(bytes.saturating_mul(BODY_COPIES), Purpose::Request);
        charged.map_err(|no_room| Problem::new(Code::Overloaded, no_room.to_string()))
    }
}

fn broken_off(error: &BoxError, max: usize) -> Problem {
    if error.is::<LengthLimitError>() { body_too_large(max) } else { Problem::invalid("the body ended early") }
}

fn body_too_large(max: usize) -> Problem {
    Problem::too_large(format!("a body has at most {max} bytes (api.request_bytes_max)"))
}

/// There is no place for the connection that this came on.
pub(super) async fn full(request: Request) -> Response<Body> {
    let problem = connection::no_place();
    // Which path it is does not matter: nothing else that is asked here takes events.
    if events::takes_events(request.headers()) { events::refused(problem) } else { problem.into_response() }
}

/// Nothing is at this path.
pub(super) async fn not_found() -> Problem {
    count_unknown(Code::NotFound);
    Problem::new(Code::NotFound, "nothing is at this path; /openapi.json lists what there is")
}

/// The path exists, the method does not; the router adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    count_unknown(Code::MethodNotAllowed);
    Problem::new(Code::MethodNotAllowed, "this path has other methods: see the header Allow")
}

fn count_unknown(code: Code) {
    telemetry::request_answered(telemetry::Door::Http, Verb::Unknown, Some(code), 0.0);
}
