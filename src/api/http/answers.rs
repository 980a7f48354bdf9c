//! What a request and its answer cost while they are in memory: charged to the connection's account before anything is
//! done, and until the client has taken the last byte.
//!
//! A request that finds no room is refused before it is carried out. An answer that finds none is withheld only if
//! nothing was changed by it. A refusal takes as much room as a request, since the protocol keeps its stream until the
//! client has taken it; where even that is missing, the stream or the connection ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response};
use http_body_util::Either;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use snowtide_protocol::Code;
use tower::{Service, ServiceExt};

use crate::api::budget::{Account, Charge, NoRoom, Purpose, Working};
use crate::telemetry::{self, Verb};

use super::manners::Manners;
use super::problem::{ComeBack, Problem};
use super::pulse::{Delivery, Pulse};

/// What a request takes by itself, and what a refusal does: a task, a head.
const REQUEST_BYTES: usize = 3 << 10;
/// What an answer takes beside its body.
const ANSWER_BYTES: usize = 1 << 10;
/// What metrics take, about: room for them is found before they are rendered.
const METRICS_BYTES: usize = 96 << 10;
/// A header takes so much beside its name and value.
const HEADER_BYTES: usize = 64;
/// Bodies are handed to the protocol in pieces, so that it is seen how far the client takes them.
const PIECE_BYTES: usize = 16 << 10;
/// What an operator and a load balancer ask.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/v1/cluster", "/grpc.health.v1.Health/Check"];

/// Has a request answered, if there is room for it.
pub(super) async fn answer<S, I, B>(
    service: S,
    mut request: Request<I>,
    manners: Manners,
    account: Arc<Account>,
    pulse: Arc<Pulse>,
) -> Result<Response<Answer<B>>, NoRoom>
where
    S: Service<Request<I>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes>,
{
    let working = account.work();
    let purpose = if PROBES.contains(&request.uri().path()) { Purpose::Probe } else { Purpose::Request };
    let ahead = if request.uri().path() == "/metrics" { METRICS_BYTES } else { 0 };
    let cost = cost(&request).saturating_add(ahead);
    let Ok(mut ticket) = account.take_soon(cost, purpose).await else {
        let ticket = account.take(REQUEST_BYTES, purpose.max(Purpose::Refusal))?;
        return Ok(refuse(manners, account, pulse, ticket));
    };
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    request.extensions_mut().insert(Arc::clone(&account));
    // A request takes this room only once it is paid for.
    let answered = Box::pin(service.oneshot(request));
    let (head, body) = answered.await.unwrap_or_else(|never| match never {}).into_parts();
    drop(ticket.split(ahead));
    if head.extensions.get::<ComeBack>().is_some() {
        account.turned_away();
    }
    let charge = match body.size_hint().exact() {
        Some(0) | None => None,
        Some(bytes) => {
            let cost = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(ANSWER_BYTES);
            match account.take_in_time(cost, purpose).await {
                Ok(charge) => Some(charge),
                Err(NoRoom) if only_reads => return Ok(refuse(manners, account, pulse, ticket)),
                Err(NoRoom) => Some(account.force(cost)),
            }
        }
    };
    // A stream goes on in our hands.
    let working = Some(working).filter(|_| body.size_hint().exact().is_none());
    let charge = charge.map(Arc::new);
    let answer = Answer { _working: working, ..Answer::new(Either::Left(body), charge, account, ticket, pulse) };
    Ok(Response::from_parts(head, answer))
}

fn cost<I>(request: &Request<I>) -> usize {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_BYTES);
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    headers.fold(REQUEST_BYTES.saturating_add(path), usize::saturating_add)
}

/// There is no room.
pub(super) fn no_room() -> Problem {
    Problem::new(Code::Overloaded, NoRoom.to_string())
}

/// Says that there is no room, in that of the ticket.
fn refuse<B>(manners: Manners, account: Arc<Account>, pulse: Arc<Pulse>, ticket: Charge) -> Response<Answer<B>> {
    telemetry::request_answered(manners.door, Verb::Unknown, Some(Code::Overloaded), 0.0);
    account.turned_away();
    let (head, body) = (manners.no_room)().into_parts();
    let charge = Some(Arc::new(account.nothing()));
    Response::from_parts(head, Answer::new(Either::Right(body), charge, account, ticket, pulse))
}

/// The body of an answer, charged until its last byte is gone.
pub(super) struct Answer<B> {
    /// The node's answer, or that there is no room.
    source: Either<B, Body>,
    /// What came of the source and is not handed on yet.
    rest: Bytes,
    /// For all of it, where its length is known before.
    charge: Option<Arc<Charge>>,
    account: Arc<Account>,
    /// With what the request costs.
    delivery: Delivery,
    _working: Option<Working>,
}

impl<B> Answer<B> {
    fn new(
        source: Either<B, Body>,
        charge: Option<Arc<Charge>>,
        account: Arc<Account>,
        ticket: Charge,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self { source, rest: Bytes::new(), charge, account, delivery: Delivery::new(pulse, ticket), _working: None }
    }
}

impl<B> HttpBody for Answer<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.source).poll_frame(cx));
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Ok(Ok(data))) => data,
            };
            self.rest = data;
        }
        self.delivery.taken();
        let bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(bytes);
        let charge = match &self.charge {
            Some(charge) => Arc::clone(charge),
            None => Arc::new(self.account.take(bytes.saturating_add(ANSWER_BYTES), Purpose::Request)?),
        };
        Poll::Ready(Some(Ok(Frame::data(self.account.send(piece, charge)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.size_hint();
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        if let Some(upper) = source.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(source.lower().saturating_add(rest));
        hint
    }
}
