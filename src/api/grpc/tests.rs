//! The door with the law behind it, called as a proxy calls it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use prost::Message;
use snowtide_protocol::Code as Word;
use snowtide_protocol::limit::{Decision, Numbers};
use tokio::sync::watch;

use super::answer::answer;
use super::decides::{Asked, By, Decides};
use super::live::InForce;
use super::messages::{Code, CurrentLimit, Descriptor, Entry, Override, RateLimitRequest, RateLimitResponse, UnitCode};
use super::*;
use crate::api::bearer::{Bearers, Grant};
use crate::api::gate::Decider;
use crate::api::{Refused, Stage};
use crate::config::map::ClusterMap;
use crate::config::{Config, Envoy, Permission, Token};
use crate::envoy::Domains;
use crate::identity::{Boot, Peer, WorkerId};
use crate::limiter::{Declared, Limiter};
use crate::limits::{
    Algorithm, KeyHasher, Limits as Law, Pace, Policy, Reading, Refusal, Request as Asking, Room, SECRET_BYTES,
    WhenFull,
};

const WALL_MS: u64 = 1_800_000_000_000;
const FILE: &str = "
domain: edge
descriptors:
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 10, name: user}
  - key: banned
    rate_limit: {unit: day, requests_per_unit: 0}
  - key: free
    rate_limit: {unlimited: true}
  - key: trial
    shadow_mode: true
    rate_limit: {unit: minute, requests_per_unit: 1}
  - key: path
    rate_limit: {unit: minute, requests_per_unit: 100, replaces: [{name: user}]}
  - key: model
    quota_mode: true
    rate_limit: {unit: hour, requests_per_unit: 2}
  - key: tool
    quota_mode: true
    rate_limit: {unit: hour, requests_per_unit: 1}
";

/// One node's law, at a time that the test sets.
struct Alone {
    law: Law,
    hasher: KeyHasher,
    mono_ms: AtomicU64,
    /// What it was asked, by cost.
    costs: Mutex<Vec<u64>>,
}

impl Alone {
    fn new() -> Self {
        let domains = domains();
        let worker = WorkerId::new(0, 0).unwrap();
        let room = Room { keys_max: 64, shards: 1, when_full: WhenFull::Evict };
        let law = Law::new(Peer { worker, boot: Boot { counter: 1, nonce: 1 } }, room, Pace::default(), 1);
        law.tick(Reading { mono_ms: 0, wall_ms: Some(WALL_MS) });
        let given = Policy::new("given 3 in 1000", Algorithm::Fixed, 3, 1_000);
        let policies = domains.rules().iter().filter_map(|rule| rule.policy(Algorithm::Fixed)).chain([given]);
        law.replace(policies.map(|policy| policy.shared_by([(worker, 1)])).collect(), None, 0).unwrap();
        let hasher = KeyHasher::new([7; SECRET_BYTES]);
        Self { law, hasher, mono_ms: AtomicU64::new(0), costs: Mutex::default() }
    }

    fn decide(&self, asked: &Asked<'_>) -> Result<Decision, Refused> {
        self.costs.lock().unwrap().push(asked.cost);
        let name = match asked.by {
            By::Policy(name) => name.to_owned(),
            By::Given(Numbers { limit, window_ms, .. }) => format!("given {limit} in {window_ms}"),
        };
        let policy = self.law.find(&name).unwrap();
        let now = self.law.moment(self.mono_ms.load(Relaxed)).unwrap();
        let request = Asking { policy, key: self.hasher.hash(&name, asked.key), cost: asked.cost };
        let decided = self.law.decide(now, request).map_err(|refusal| match refusal {
            Refusal::Fenced => Refused::from(refusal),
            other => panic!("{other}"),
        })?;
        let crate::limits::Decision { admitted, limit, remaining, reset_ms, retry_after_ms, .. } = decided;
        Ok(Decision { admitted, limit, remaining, reset_ms, retry_after_ms })
    }
}

impl Decides for Alone {
    fn admit(&self, _: &Grant) -> Result<(), Refused> {
        Ok(())
    }

    fn decide_all(&self, asked: &[Asked<'_>]) -> Result<Vec<Decision>, Refused> {
        asked.iter().map(|asked| self.decide(asked)).collect()
    }
}

/// The descriptors, answered in this way.
fn style(headers: bool, shadow_mode: bool) -> Arc<InForce> {
    let envoy = Envoy { headers, shadow_mode, ..Config::builtin().envoy };
    LiveDescriptors::new(domains(), &envoy).current()
}

fn plain() -> Arc<InForce> {
    style(false, false)
}

fn domains() -> Domains {
    Domains::read([("edge.yaml", FILE)]).unwrap()
}

fn descriptor(entries: &[(&str, &str)]) -> Descriptor {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).to_owned(), value: (*value).to_owned() };
    Descriptor { entries: entries.iter().map(entry).collect(), ..Descriptor::default() }
}

fn request(descriptors: Vec<Descriptor>) -> RateLimitRequest {
    RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 }
}

/// Asks with these descriptors of one entry each.
fn ask(law: &Alone, entries: &[(&str, &str)]) -> RateLimitResponse {
    let descriptors = entries.iter().map(|entry| descriptor(&[*entry])).collect();
    answer(&plain(), law, &request(descriptors)).unwrap()
}

/// The overall code, and each descriptor's with what remains.
fn shown(response: &RateLimitResponse) -> (Code, Vec<(Code, u32)>) {
    let code = |code: i32| Code::try_from(code).unwrap();
    let statuses = response.statuses.iter().map(|status| (code(status.code), status.limit_remaining));
    (code(response.overall_code), statuses.collect())
}

fn hits(law: &Alone, key: (&str, &str), hits: u64) -> (Code, u32) {
    let descriptor = Descriptor { hits_addend: Some(hits), ..descriptor(&[key]) };
    let response = answer(&plain(), law, &request(vec![descriptor])).unwrap();
    shown(&response).1[0]
}

#[test]
fn each_descriptor_is_counted_and_told_how_it_stands() {
    let law = Alone::new();
    let response = ask(&law, &[("user", "a"), ("unknown", "a"), ("free", "a")]);
    assert_eq!(shown(&response), (Code::Ok, vec![(Code::Ok, 9), (Code::Ok, 0), (Code::Ok, u32::MAX)]));
    let limit = CurrentLimit { requests_per_unit: 10, unit: UnitCode::Minute.into(), name: "user".to_owned() };
    assert_eq!(response.statuses[0].current_limit, Some(limit));
    let until_reset = response.statuses[0].duration_until_reset.unwrap();
    assert_eq!((until_reset.seconds, until_reset.nanos), (60, 0), "the window began at this moment");
    assert_eq!((&response.statuses[1].current_limit, &response.statuses[2].current_limit), (&None, &None));
    assert_eq!(shown(&ask(&law, &[("user", "b")])).1, [(Code::Ok, 9)], "another value has a count of its own");
    law.mono_ms.store(59_500, Relaxed);
    let until_reset = ask(&law, &[("user", "a")]).statuses[0].duration_until_reset.unwrap();
    assert_eq!((until_reset.seconds, until_reset.nanos), (0, 500_000_000));
}

#[test]
fn one_that_is_over_refuses_the_whole_and_the_others_are_charged_all_the_same() {
    let law = Alone::new();
    assert_eq!(hits(&law, ("user", "a"), 10), (Code::Ok, 0));
    let both = [("user", "a"), ("user", "b")];
    assert_eq!(shown(&ask(&law, &both)), (Code::OverLimit, vec![(Code::OverLimit, 0), (Code::Ok, 9)]));
    assert_eq!(shown(&ask(&law, &both)), (Code::OverLimit, vec![(Code::OverLimit, 0), (Code::Ok, 8)]));
    law.mono_ms.store(60_000, Relaxed);
    assert_eq!(shown(&ask(&law, &both)), (Code::Ok, vec![(Code::Ok, 9), (Code::Ok, 9)]));
}

#[test]
fn whoever_asks_for_more_than_is_left_has_used_it_up() {
    let law = Alone::new();
    assert_eq!(hits(&law, ("user", "a"), 7), (Code::Ok, 3));
    assert_eq!(hits(&law, ("user", "a"), 4), (Code::OverLimit, 0));
    assert_eq!(hits(&law, ("user", "a"), 1), (Code::OverLimit, 0));
    // What can never be had at all.
    assert_eq!(hits(&law, ("user", "b"), 0), (Code::Ok, 10));
    assert_eq!(hits(&law, ("user", "b"), u64::MAX), (Code::OverLimit, 0));
    assert_eq!(hits(&law, ("user", "b"), 0), (Code::OverLimit, 0), "a look is told that nothing is left");
    assert_eq!(*law.costs.lock().unwrap(), [7, 4, 3, 1, 0, 0, 10, 0]);
}

#[test]
fn hits_are_the_descriptors_or_else_the_requests_and_one_at_least() {
    let law = Alone::new();
    let mut asked = request(vec![descriptor(&[("user", "a")]), descriptor(&[("user", "b")])]);
    asked.descriptors[1].hits_addend = Some(0);
    let mut answered = |hits_addend| {
        asked.hits_addend = hits_addend;
        shown(&answer(&plain(), &law, &asked).unwrap()).1
    };
    assert_eq!(answered(0), [(Code::Ok, 9), (Code::Ok, 10)]);
    assert_eq!(answered(5), [(Code::Ok, 4), (Code::Ok, 10)]);
    assert_eq!(answered(u32::MAX), [(Code::OverLimit, 0), (Code::Ok, 10)]);
}

#[test]
fn a_limit_of_zero_refuses_and_asks_nobody() {
    let law = Alone::new();
    let response = ask(&law, &[("banned", "x")]);
    assert_eq!(shown(&response), (Code::OverLimit, vec![(Code::OverLimit, 0)]));
    assert_eq!(response.statuses[0].duration_until_reset, None);
    assert!(law.costs.lock().unwrap().is_empty());
}

#[test]
fn shadows_are_counted_and_refuse_nobody() {
    let law = Alone::new();
    assert_eq!(shown(&ask(&law, &[("trial", "x")])), (Code::Ok, vec![(Code::Ok, 0)]));
    assert_eq!(shown(&ask(&law, &[("trial", "x")])), (Code::Ok, vec![(Code::Ok, 0)]));
    let banned = request(vec![descriptor(&[("banned", "x")])]);
    let response = answer(&style(false, true), &law, &banned).unwrap();
    assert_eq!(shown(&response), (Code::Ok, vec![(Code::OverLimit, 0)]), "its own status tells");
}

#[test]
fn a_limit_takes_the_place_of_those_that_it_replaces() {
    let law = Alone::new();
    let both = ask(&law, &[("user", "a"), ("path", "/")]);
    assert_eq!(shown(&both), (Code::Ok, vec![(Code::Ok, 0), (Code::Ok, 99)]));
    assert_eq!(both.statuses[0].current_limit, None);
    assert_eq!(shown(&ask(&law, &[("user", "a")])).1, [(Code::Ok, 9)], "it was not charged");
}

#[test]
fn quotas_refuse_once_all_of_them_are_used_up() {
    let law = Alone::new();
    let both = [("model", "m"), ("tool", "t")];
    assert_eq!(shown(&ask(&law, &both)), (Code::Ok, vec![(Code::Ok, 1), (Code::Ok, 0)]));
    assert_eq!(shown(&ask(&law, &both)), (Code::Ok, vec![(Code::Ok, 0), (Code::OverLimit, 0)]));
    assert_eq!(shown(&ask(&law, &both)).0, Code::OverLimit);
}

#[test]
fn numbers_that_come_with_a_descriptor_take_the_place_of_what_is_configured() {
    let law = Alone::new();
    let ask = |requests_per_unit, unit| {
        let limit = Some(Override { requests_per_unit, unit });
        let descriptors = vec![Descriptor { limit, ..descriptor(&[("user", "a")]) }];
        answer(&plain(), &law, &request(descriptors))
    };
    let second = UnitCode::Second.into();
    let response = ask(3, second).unwrap();
    assert_eq!(shown(&response).1, [(Code::Ok, 2)]);
    let limit = response.statuses[0].current_limit.clone().unwrap();
    assert_eq!((limit.requests_per_unit, limit.unit, &*limit.name), (3, second, ""));
    assert_eq!(shown(&ask(0, second).unwrap()).0, Code::OverLimit);
    for (requests, unit) in [(3, 0), (3, 8), (3, -1), (3, UnitCode::Month.into()), (u32::MAX, UnitCode::Week.into())] {
        assert_eq!(ask(requests, unit).unwrap_err().code, Word::InvalidRequest, "{requests} {unit}");
    }
    let limit = Some(Override { requests_per_unit: 3, unit: second });
    let elsewhere = RateLimitRequest {
        domain: "core".to_owned(),
        ..request(vec![Descriptor { limit, ..descriptor(&[("user", "a")]) }])
    };
    let response = answer(&plain(), &law, &elsewhere).unwrap();
    assert_eq!(response.statuses[0].current_limit, None, "a domain that is not configured has no limits");
}

#[test]
fn headers_tell_of_the_limit_that_is_nearest() {
    let law = Alone::new();
    law.mono_ms.store(30_500, Relaxed);
    let headers = |entries: &[(&str, &str)]| {
        let descriptors = entries.iter().map(|entry| descriptor(&[*entry])).collect();
        let response = answer(&style(true, false), &law, &request(descriptors)).unwrap();
        response.response_headers_to_add.iter().map(|h| format!("{}: {}", h.key, h.value)).collect::<Vec<_>>()
    };
    let numbers = |limit: &str, remaining: &str, reset: &str| {
        let names = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"].into_iter();
        names.zip([limit, remaining, reset]).map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
    };
    assert_eq!(headers(&[("path", "/"), ("free", "x"), ("user", "a")]), numbers("100", "99", "30"));
    assert_eq!(headers(&[("user", "a"), ("model", "m"), ("x", "y")])[0], "RateLimit-Limit: 2");
    hits(&law, ("user", "a"), 20);
    assert_eq!(headers(&[("trial", "x"), ("user", "a")]), numbers("10", "0", "30"));
    assert!(headers(&[("unknown", "x"), ("free", "x")]).is_empty());
}

#[test]
fn what_makes_no_sense_is_invalid() {
    let law = Alone::new();
    let code = |request: &RateLimitRequest| answer(&plain(), &law, request).unwrap_err().code;
    assert_eq!(code(&request(Vec::new())), Word::InvalidRequest);
    assert_eq!(code(&request(vec![descriptor(&[("user", "a")]); 129])), Word::InvalidRequest);
    assert_eq!(
        code(&RateLimitRequest { domain: String::new(), ..request(vec![descriptor(&[])]) }),
        Word::InvalidRequest
    );
    let back = Descriptor { is_negative_hits: true, ..descriptor(&[("user", "a")]) };
    assert_eq!(code(&request(vec![back])), Word::InvalidRequest);
    assert!(law.costs.lock().unwrap().is_empty(), "nothing was charged");
}

/// A door with the limiter of a node behind it, and what a test turns.
struct Called {
    door: Arc<Door<Decider>>,
    limiter: Limiter,
    stage: watch::Sender<Stage>,
}

fn called(tokens: &[Token], timeout: Duration) -> Called {
    let limiter = Limiter::alone();
    let policies = domains().rules().iter().filter_map(|rule| rule.policy(Algorithm::Fixed)).collect::<Vec<_>>();
    let policies = policies.into_iter().map(|policy| policy.shared_by([(WorkerId::default(), 1)]));
    limiter.replace(Declared::all(policies, &ClusterMap::default()), None).unwrap();
    let (stage, stages) = watch::channel(Stage::Ready);
    let door = Door {
        decides: Decider::new(limiter.clone(), stages),
        descriptors: LiveDescriptors::new(domains(), &Config::builtin().envoy),
        bearers: Bearers::new(tokens),
        timeout,
    };
    Called { door: Arc::new(door), limiter, stage }
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

impl Called {
    async fn send(&self, path: &str, authorization: Option<&str>, body: Bytes) -> Response<tonic::body::Body> {
        let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let (_reporter, health) = tonic_health::server::health_reporter();
        let request = request.body(Full::new(body)).unwrap();
        service::serve(Arc::clone(&self.door), health, request).await.unwrap()
    }

    /// The status, and the answer if there is one.
    async fn ask(&self, authorization: Option<&str>, body: Bytes) -> (i32, Option<RateLimitResponse>) {
        let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
        let response = self.send(path, authorization, body).await;
        let head = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status =
            trailers.get("grpc-status").or(head.get("grpc-status")).unwrap().to_str().unwrap().parse().unwrap();
        let bytes = body.to_bytes();
        (status, bytes.get(5..).map(|message| RateLimitResponse::decode(message).unwrap()))
    }
}

fn anyone() -> Called {
    called(&[], Duration::from_secs(60))
}

#[tokio::test]
async fn a_call_is_answered_as_grpc_has_it() {
    let door = anyone();
    let (status, response) = door.ask(None, framed(&request(vec![descriptor(&[("user", "a")])]))).await;
    assert_eq!((status, shown(&response.unwrap())), (0, (Code::Ok, vec![(Code::Ok, 9)])));
    let (status, response) = door.ask(None, framed(&request(Vec::new()))).await;
    assert_eq!((status, response), (3, None), "INVALID_ARGUMENT");
    let response = door.send("/envoy.service.ratelimit.v2.RateLimitService/ShouldRateLimit", None, Bytes::new()).await;
    assert_eq!(response.headers()["grpc-status"], "12", "UNIMPLEMENTED");
}

#[tokio::test]
async fn a_node_that_is_not_ready_is_unavailable() {
    let door = anyone();
    let asked = framed(&request(vec![descriptor(&[("user", "a")])]));
    for stage in [Stage::Draining, Stage::Drained, Stage::Fenced("a test".to_owned())] {
        door.stage.send_replace(stage);
        assert_eq!(door.ask(None, asked.clone()).await, (14, None));
    }
    door.stage.send_replace(Stage::Starting);
    assert_eq!(door.ask(None, asked.clone()).await.0, 0, "limits need no proof of the counters' history");
    door.limiter.fence();
    assert_eq!(door.ask(None, asked).await, (14, None));
}

#[tokio::test]
async fn callers_show_their_tokens() {
    let token = |name: &str, access| Token {
        name: name.to_owned(),
        token: format!("{name}-0123456789abcdef"),
        access: vec![access],
        namespaces: Vec::new(),
    };
    let door = called(&[token("edge", Permission::Limits), token("else", Permission::Write)], Duration::from_secs(60));
    let asked = framed(&request(vec![descriptor(&[("user", "a")])]));
    for (shown, status) in [
        (None, 16),
        (Some("Bearer edge"), 16),
        (Some("Basic edge-0123456789abcdef"), 16),
        (Some("Bearer else-0123456789abcdef"), 7),
        (Some("Bearer edge-0123456789abcdef"), 0),
    ] {
        assert_eq!(door.ask(shown, asked.clone()).await.0, status, "{shown:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_and_large_ones_not_read() {
    let door = anyone();
    // Text that is not UTF-8, a field that ends early, a compressed message, and one that is not all there.
    for body in
        [&b"\0\0\0\0\x04\x0a\x02\xff\xfe"[..], b"\0\0\0\0\x02\x0a\x09", b"\x01\0\0\0\x01\0", b"\0\0\0\0\x09\x0a"]
    {
        let (status, response) = door.ask(None, Bytes::copy_from_slice(body)).await;
        assert!(status != 0 && response.is_none(), "{body:?}");
    }
    let long = "x".repeat(body::MESSAGE_BYTES_MAX);
    assert_eq!(door.ask(None, framed(&request(vec![descriptor(&[("user", &long)])]))).await, (8, None));
}

#[tokio::test]
async fn a_message_that_does_not_end_is_given_up() {
    let door = called(&[], Duration::from_millis(20));
    let body = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<hyper::body::Frame<Bytes>, std::io::Error>,
    >());
    let request = Request::post("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").body(body).unwrap();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let response = service::serve(Arc::clone(&door.door), health, request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
}

proptest! {
    #[test]
    fn no_request_ends_the_process(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(asked) = RateLimitRequest::decode(bytes.as_slice()) {
            let _ = answer(&plain(), &Alone::new(), &asked);
        }
    }

    #[test]
    fn no_more_hits_pass_than_there_are(costs in prop::collection::vec(0_u64..6, 1..30)) {
        let law = Alone::new();
        let mut passed = 0;
        let mut has_ended = false;
        for cost in costs {
            let (code, _) = hits(&law, ("user", "a"), cost);
            prop_assert!(!has_ended || code == Code::OverLimit, "what was used up stays used up");
            passed += if code == Code::Ok { cost } else { 0 };
            has_ended |= code == Code::OverLimit;
        }
        prop_assert!(passed <= 10);
    }
}
