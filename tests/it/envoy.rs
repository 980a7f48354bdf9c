//! Envoy's rate limit service at real nodes: with TLS and tokens, over reloads, across regions. `scripts/clients` has Envoy
//! itself ask, and a client that was made from the published messages.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use snowtide_dev::Options;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::site::{Ended, run};
use crate::harness::{Bed, DEADLINE, EAST, WEST, ensure, eventually, http};

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const PROXY: &str = "proxy-0123456789";
const READER: &str = "reader-0123456789";
/// As the protocol numbers them.
const OK: u8 = 1;
const OVER_LIMIT: u8 = 2;
const UNAUTHENTICATED: i32 = 16;
const PERMISSION_DENIED: i32 = 7;
const NOT_FOUND: i32 = 5;

/// A domain whose users have so many a day.
fn descriptors(dir: &Path, requests: u32) -> String {
    let text = format!(
        "domain: edge\ndescriptors:\n  - key: user\n    rate_limit: {{unit: day, requests_per_unit: {requests}}}\n"
    );
    std::fs::write(dir.join("edge.yaml"), text).unwrap();
    dir.to_str().unwrap().to_owned()
}

/// One node, with these settings.
async fn node(settings: &[(&str, &str)]) -> Bed {
    Bed::start(|options| {
        let options = settings.iter().fold(options, |options, (key, value)| options.set(key, value));
        Options { regions: Some(1), ..options }
    })
    .await
}

fn door(bed: &Bed, region: &str) -> SocketAddr {
    bed.cluster.endpoints().into_iter().find(|node| node.region == region).unwrap().grpc.unwrap()
}

/// A field of a message that is shorter than 128 bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// Asks whether a user's request may pass.
fn asked(user: &str) -> Vec<u8> {
    let entry = [field(1, b"user"), field(2, user.as_bytes())].concat();
    [field(1, b"edge"), field(2, &field(1, &entry))].concat()
}

fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat().into()
}

/// What a call came to.
#[derive(Debug)]
struct Answered {
    status: i32,
    message: Vec<u8>,
}

impl Answered {
    /// The overall code, which is the message's first field.
    #[track_caller]
    fn code(&self) -> u8 {
        assert_eq!((self.status, self.message.first()), (0, Some(&8)), "{self:?}");
        self.message[1]
    }
}

async fn call<T>(stream: T, path: &str, token: Option<&str>, message: &[u8]) -> Answered
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let calling = async {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = hyper::Request::post(format!("http://node{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = sender.send_request(request.body(Full::new(framed(message))).unwrap()).await.unwrap();
        let head = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status = trailers.get("grpc-status").or(head.get("grpc-status")).unwrap();
        let status = status.to_str().unwrap().parse().unwrap();
        connection.abort();
        Answered { status, message: body.to_bytes().get(5..).unwrap_or_default().to_vec() }
    };
    timeout(DEADLINE, calling).await.unwrap_or_else(|_elapsed| panic!("no answer"))
}

async fn ask(address: SocketAddr, token: Option<&str>, user: &str) -> Answered {
    call(TcpStream::connect(address).await.unwrap(), SHOULD_RATE_LIMIT, token, &asked(user)).await
}

async fn reload(bed: &Bed) -> Ended {
    let data = bed.cluster.folder().data_dir(EAST);
    run(bed.cluster.folder().path(), &["cluster", "reload", "--data-dir", data.to_str().unwrap()], &[]).await
}

#[tokio::test]
async fn a_node_counts_by_its_files_and_reads_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let bed = node(&[("envoy.descriptors", &descriptors(dir.path(), 2))]).await;
    let door = door(&bed, EAST);
    let health = call(TcpStream::connect(door).await.unwrap(), CHECK, None, &[]).await;
    assert_eq!((health.status, &*health.message), (0, &[8, 1][..]), "SERVING");
    for code in [OK, OK, OVER_LIMIT] {
        assert_eq!(ask(door, None, "a").await.code(), code);
    }
    assert_eq!(ask(door, None, "b").await.code(), OK);

    // What was used stays used.
    descriptors(dir.path(), 3);
    let told = reload(&bed).await;
    assert!(told.code == Some(0) && told.stdout.contains("new: the files of envoy.descriptors"), "{told:?}");
    for code in [OK, OVER_LIMIT] {
        assert_eq!(ask(door, None, "a").await.code(), code);
    }

    std::fs::write(dir.path().join("edge.yaml"), "domain: edge\ndescriptors:\n  - {key: user, limit: 3}\n").unwrap();
    let refused = reload(&bed).await;
    assert!(refused.code != Some(0) && refused.stderr.contains("edge.yaml"), "{refused:?}");
    assert_eq!(ask(door, None, "a").await.code(), OVER_LIMIT, "nothing has changed");

    let metrics = http::get(bed.http(EAST), "/metrics").await.unwrap().body;
    for line in [
        "snowtide_envoy_descriptors_total{outcome=\"ok\"} 4",
        "snowtide_envoy_descriptors_total{outcome=\"over_limit\"} 3",
        "snowtide_requests_total{door=\"grpc\",operation=\"rate_limit\",code=\"ok\"} 7",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_node_without_files_says_so() {
    let bed = node(&[]).await;
    assert_eq!(ask(door(&bed, EAST), None, "a").await.status, NOT_FOUND);
}

#[tokio::test]
async fn a_file_that_cannot_be_followed_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    descriptors(dir.path(), 1);
    std::fs::write(dir.path().join("more.yml"), "domain: more\ndescriptors:\n  - {key: a, detailed_metric: true}\n")
        .unwrap();
    let set = format!("envoy.descriptors={}", dir.path().display());
    let ended = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["config", "check", "--set", &set], &[]).await;
    let words = "more.yml: descriptors[0].detailed_metric: metrics here never carry values of descriptors";
    assert!(ended.code != Some(0) && ended.stderr.contains(words), "{ended:?}");
}

#[tokio::test]
async fn callers_show_a_token_that_allows_limits() {
    let dir = tempfile::tempdir().unwrap();
    let descriptors = descriptors(dir.path(), 1);
    let file = dir.path().join("snowtide.toml");
    let token = |name: &str, token: &str, access: &str| {
        format!("[[api.tokens]]\nname = \"{name}\"\ntoken = \"{token}\"\naccess = [\"{access}\"]\n")
    };
    std::fs::write(&file, token("proxy", PROXY, "limits") + &token("reader", READER, "read")).unwrap();
    let bed = Bed::start(|options| Options {
        regions: Some(1),
        config_file: Some(file),
        ..options.set("envoy.descriptors", &descriptors)
    })
    .await;
    let door = door(&bed, EAST);
    assert_eq!(ask(door, Some(PROXY), "a").await.code(), OK);
    for (token, status) in
        [(None, UNAUTHENTICATED), (Some("unknown-0123456789"), UNAUTHENTICATED), (Some(READER), PERMISSION_DENIED)]
    {
        assert_eq!(ask(door, token, "a").await.status, status, "{token:?}");
    }
    let health = call(TcpStream::connect(door).await.unwrap(), CHECK, None, &[]).await;
    assert_eq!(health.status, 0, "a load balancer has no token");
}

#[tokio::test]
async fn a_door_with_a_certificate_speaks_tls_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["door.pem", "door.key"].map(|name| dir.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let bed = node(&[
        ("envoy.descriptors", &descriptors(dir.path(), 1)),
        ("grpc.tls.certificate", certificate.to_str().unwrap()),
        ("grpc.tls.key", key.to_str().unwrap()),
    ])
    .await;
    let door = door(&bed, EAST);
    let mut authorities = rustls::RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(authorities).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let plain = TcpStream::connect(door).await.unwrap();
    let secured = connector.connect("localhost".try_into().unwrap(), plain).await.unwrap();
    assert_eq!(call(secured, SHOULD_RATE_LIMIT, None, &asked("a")).await.code(), OK);
    let plain = TokioIo::new(TcpStream::connect(door).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), plain).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(SHOULD_RATE_LIMIT).body(Full::new(Bytes::new())).unwrap();
    assert!(timeout(DEADLINE, sender.send_request(request)).await.unwrap().is_err());
    let _ = connection.await;
}

/// One region uses a second's limit up, again and again, until another one has been told so within that second.
#[tokio::test]
async fn regions_count_together() {
    let dir = tempfile::tempdir().unwrap();
    let text = "domain: edge\ndescriptors:\n  - {key: user, rate_limit: {unit: second, requests_per_unit: 3000}}\n";
    std::fs::write(dir.path().join("edge.yaml"), text).unwrap();
    let descriptors = dir.path().to_str().unwrap();
    let bed = Bed::start(|options| options.set("envoy.descriptors", descriptors)).await;
    let (east, west) = (door(&bed, EAST), door(&bed, WEST));
    // 3 000 hits of the request, in base 128.
    let all = [&asked("a")[..], &[3 << 3, 0xb8, 0x17]].concat();
    let entry = field(1, &[field(1, b"user"), field(2, b"a")].concat());
    let look = [field(1, b"edge"), field(2, &[entry, field(3, &[])].concat())].concat();
    eventually(DEADLINE, "the other region is told", async || {
        let [east, west] = [TcpStream::connect(east).await.unwrap(), TcpStream::connect(west).await.unwrap()];
        let used = call(east, SHOULD_RATE_LIMIT, None, &all).await;
        ensure(used.status == 0, || format!("{used:?}"))?;
        let left = call(west, SHOULD_RATE_LIMIT, None, &look).await;
        ensure(left.status == 0 && left.code() == OVER_LIMIT, || format!("{left:?}"))
    })
    .await;
}
