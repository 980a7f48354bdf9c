//! The calls of this door: one that decides, and those that ask whether it would.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use snowtide_protocol::Code;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_prost::ProstCodec;
use tower::Service;

use super::answer::answer;
use super::body::{self, MESSAGE_BYTES_MAX};
use super::decides::Decides;
use super::live::LiveDescriptors;
use super::messages::{RateLimitRequest, RateLimitResponse};
use super::status;
use crate::api::Refused;
use crate::api::bearer::{self, Bearers};
use crate::api::budget::{Account, Charge};
use crate::api::http::connection::Remote;
use crate::telemetry::{self, Verb};
use crate::{audit, clock};

const DOOR: telemetry::Door = telemetry::Door::Grpc;
/// Where the one call is that decides.
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Where questions after its health are.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// What all connections share.
pub(super) struct Door<D> {
    pub(super) decides: D,
    pub(super) descriptors: LiveDescriptors,
    pub(super) bearers: Bearers,
    /// `api.request_timeout`
    pub(super) timeout: Duration,
}

/// Answers one call.
pub(super) async fn serve<D, H, B>(
    door: Arc<Door<D>>,
    mut health: HealthServer<H>,
    request: Request<B>,
) -> Result<Response<Body>, Infallible>
where
    D: Decides,
    H: Health,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError> + Send,
{
    let path = request.uri().path();
    if path == SHOULD_RATE_LIMIT {
        return Ok(door.should_rate_limit(request).await);
    }
    if !path.starts_with(HEALTH) {
        telemetry::request_answered(DOOR, Verb::Unknown, Some(Code::NotFound), 0.0);
        return Ok(Status::unimplemented("this door has RateLimitService of envoy.service.ratelimit.v3 and Health")
            .into_http());
    }
    match door.received(request).await {
        Ok((request, _charge)) => health.call(request).await,
        Err(status) => Ok(status.into_http()),
    }
}

impl<D: Decides> Door<D> {
    async fn should_rate_limit<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<axum::BoxError>,
    {
        let begun = clock::monotonic();
        let admitted = self.admit(&request).map_err(|refused| status::of(&refused));
        let received = match admitted {
            Ok(()) => self.received(request).await,
            Err(status) => Err(status),
        };
        let response = match received {
            Ok((request, _charge)) => {
                let mut grpc =
                    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None);
                grpc.unary(Asking(&self), request).await
            }
            Err(status) => status.into_http(),
        };
        let refused = response.extensions().get::<Status>().map(status::code);
        let seconds = clock::monotonic().duration_since(begun).as_secs_f64();
        telemetry::request_answered(DOOR, Verb::RateLimit, refused, seconds);
        response
    }

    /// The request with all of its body, which has to come in time, and what it costs.
    async fn received<B>(&self, request: Request<B>) -> Result<(Request<Full<Bytes>>, Option<Charge>), Status>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<axum::BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let account = head.extensions.remove::<Arc<Account>>();
        let late = |_| Err(Status::deadline_exceeded("the request did not come in time"));
        let received = timeout(self.timeout, body::whole(body, account.as_ref()));
        let (bytes, charge) = received.await.unwrap_or_else(late)?;
        Ok((Request::from_parts(head, Full::new(bytes)), charge))
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let from = request.extensions().get::<Remote>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |remote| remote.0);
        let shown = request.headers().get(AUTHORIZATION).and_then(|header| bearer::shown(header.as_bytes()));
        let pass =
            self.bearers.admit(shown).inspect_err(|stranger| audit::turned_away(DOOR.as_str(), &from, "", stranger))?;
        let grant = pass.grant();
        self.decides.admit(grant).inspect_err(|refused| {
            if refused.code == Code::Forbidden {
                audit::turned_away(DOOR.as_str(), &from, grant.name(), refused);
            }
        })
    }
}

/// The service of one call.
struct Asking<'d, D>(&'d Door<D>);

impl<D: Decides> UnaryService<RateLimitRequest> for Asking<'_, D> {
    type Response = RateLimitResponse;
    type Future = Ready<Result<tonic::Response<RateLimitResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<RateLimitRequest>) -> Self::Future {
        let answered = answer(&self.0.descriptors.current(), &self.0.decides, request.get_ref());
        ready(answered.map(tonic::Response::new).map_err(|refused| status::of(&refused)))
    }
}
