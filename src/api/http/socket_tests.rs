//! The door on real sockets: how connections begin and end, and the limits that they meet.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use snowtide_dev::certificates::{self, Folders, Holder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::serve;
use super::tests::{config, doors_with};
use crate::api::threads::Threads;
use crate::api::{Doors, Stage};
use crate::config::Config;
use crate::engine::Fake;
use crate::replica::{Operation, Outcome};
use crate::tls::{Live, Role, Secured};

/// No condition of a test takes longer, unless it never comes true.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a real socket.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) shutdown: CancellationToken,
    pub(super) ended: tokio::task::JoinHandle<()>,
}

async fn server(change: impl FnOnce(&mut Config)) -> Server {
    server_with(change, |operations| Ok(vec![Outcome::Value(7); operations.len()])).await
}

pub(super) async fn server_with(
    change: impl FnOnce(&mut Config),
    engine: impl FnMut(Vec<Operation>) -> Fake + Send + 'static,
) -> Server {
    let mut config = config();
    change(&mut config);
    start(doors_with(Stage::Ready, config, engine), None).await
}

async fn start(doors: Doors, tls: Option<Live>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let ended = tokio::spawn(serve(listener, doors, Threads::here(), tls, shutdown.clone()));
    Server { address, shutdown, ended }
}

/// Sends `request` and returns everything until the server closes.
pub(super) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection stays open").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn it_answers_over_a_socket_and_ends_when_it_is_told_to() {
    let server = server(|_| {}).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "POST /v1/counters/default/k/increment HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""value":"7""#), "{answer}");
    let _idle = TcpStream::connect(server.address).await.unwrap();
    server.shutdown.cancel();
    tokio::time::timeout(DEADLINE, server.ended).await.expect("an idle connection holds it up").unwrap();
}

#[tokio::test]
async fn it_speaks_http_2_without_tls_too() {
    let server = server(|_| {}).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/v1/counters/default/k").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    server.shutdown.cancel();
    tokio::time::timeout(DEADLINE, connection).await.expect("the server says goodbye").unwrap().unwrap();
    tokio::time::timeout(DEADLINE, server.ended).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_and_one_that_falls_silent_are_cut_off() {
    let brief = |config: &mut Config| {
        config.http.header_timeout = Duration::from_millis(100);
        config.http.idle_timeout = Duration::from_millis(100);
    };
    let server = server(brief).await;
    for request in ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = request.to_owned();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {request:?}");
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_its_place_comes_back() {
    let server = server(|config| config.http.connections_max = 1).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    // Who watches is not cut as long as he takes what he is told, however slow this machine is.
    first.write_all(b"GET /v1/counters/default/k/watch HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    for (request, status, word) in [
        ("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", "503", "\r\nretry-after: 1\r\n"),
        ("GET /v1/counters/default/k/watch HTTP/1.1\r\nhost: x\r\n\r\n", "503", "problem+json"),
        (
            "GET /v1/counters/default/k/watch HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
            "200",
            "retry: 2000\nevent: refused\ndata: {",
        ),
    ] {
        let mut next = TcpStream::connect(server.address).await.unwrap();
        let refusal = exchange(&mut next, request).await;
        assert!(refusal.starts_with(&format!("HTTP/1.1 {status} ")) && refusal.contains(word), "{refusal}");
        assert!(refusal.contains(r#""code":"overloaded""#) && refusal.contains("x-request-id: "), "{refusal}");
    }
    // Those who ask nothing are told, too, as soon as more of them come than are listened to.
    let mut silent = Vec::new();
    for _ in 0..super::connection::TURNED_AWAY_MAX {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let told = async {
        loop {
            let mut next = TcpStream::connect(server.address).await.unwrap();
            let mut answer = Vec::new();
            if next.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 503 ") {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, told).await.expect("nobody is told");
    drop((first, silent));
    let retried = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let sent = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let mut answer = String::new();
            if sent.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, retried).await.expect("the place never came back");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_over_http_1_and_http_2() {
    let server = server(|config| config.http.head_bytes_max = bytesize::ByteSize::kib(8)).await;
    let long = "x".repeat(9 << 10);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(format!("GET /livez HTTP/1.1\r\nhost: x\r\nlong: {long}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What was not read resets the connection behind the answer.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection stays open");
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |long: &str| Request::get("http://x/livez").header("long", long).body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request(&long))).await.unwrap();
    // A client that knows the limit from the server's settings does not even send it.
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request("short"))).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    connection.abort();
}

#[tokio::test]
async fn http_2_clients_are_told_how_many_requests_they_may_have_open() {
    let server = server(|config| config.http.streams_max = 3).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The preface, and settings without any.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!((head[0], head[1], head[3]), (0, 0, 4), "the server's first frame is its settings");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let streams_max = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!(streams_max[2..], [0, 0, 0, 3]);
}

#[tokio::test]
async fn an_idle_connection_of_http_2_is_closed_too() {
    let brief = |config: &mut Config| {
        // Within which the client has to ask, on however slow a machine.
        config.http.header_timeout = Duration::from_secs(3);
        config.http.idle_timeout = Duration::from_millis(100);
    };
    let server = server(brief).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/livez").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    tokio::time::timeout(DEADLINE, connection).await.expect("it stays open").unwrap().unwrap();
}

/// What comes back to a client that closes its sending side after these bytes.
async fn half_closed(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection stays open").unwrap();
    String::from_utf8(answer).unwrap()
}

/// An engine that answers after a while, so that the client's end is seen first.
fn slow(operations: Vec<Operation>) -> Fake {
    std::thread::sleep(Duration::from_millis(30));
    Ok(operations.into_iter().map(|_| Outcome::Value(7)).collect())
}

const INCREMENT: &str = "POST /v1/counters/default/k/increment HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered() {
    let server = server_with(|_| {}, slow).await;
    let body = INCREMENT.replace("content-length: 0\r\n\r\n", "content-length: 8\r\n\r\n{\"by\":1}");
    let patient = body.replace("host: x", "host: x\r\nexpect: 100-continue");
    let chunked =
        INCREMENT.replace("content-length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    let old = INCREMENT.replace("HTTP/1.1", "HTTP/1.0");
    for (request, answers) in [
        (INCREMENT.to_owned(), 1),
        (body, 1),
        (chunked, 1),
        (old, 1),
        (patient, 1),
        (INCREMENT.repeat(3), 3),
        (INCREMENT.replace("host: x", "host: x\r\nconnection: close"), 1),
    ] {
        let answer = half_closed(TcpStream::connect(server.address).await.unwrap(), &request).await;
        assert_eq!(answer.matches(" 200 OK\r\n").count(), answers, "{request}: {answer}");
        assert_eq!(answer.matches(r#""value":"7""#).count(), answers, "{request}: {answer}");
    }
    // One that closes in the middle of its request is not left waiting.
    for cut in ["POST /v1/counters/default/k/incr", &INCREMENT.replace("length: 0", "length: 9")] {
        let answer = half_closed(TcpStream::connect(server.address).await.unwrap(), cut).await;
        assert!(!answer.contains(" 200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered_over_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, connector) = certificates(dir.path());
    let server = start(doors_with(Stage::Ready, config(), slow), Some(tls)).await;
    for _ in 0..3 {
        let name = rustls::pki_types::ServerName::try_from("node-0.eu-west.snowtide").unwrap();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let stream = connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, stream).await.unwrap();
        let answer = half_closed(stream, INCREMENT).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""value":"7""#), "{answer}");
    }
}

/// What is shown with the certificates of this folder.
fn secured(dir: &std::path::Path) -> Secured {
    let (certificate, key) = (dir.join("eu-west-0.pem"), dir.join("eu-west-0.key"));
    Secured::load(Role::Http, &certificate, &key, &[b"h2", b"http/1.1"]).unwrap().unwrap()
}

/// A certificate for 127.0.0.1, as a development cluster has it, and clients that believe it.
fn certificates(dir: &std::path::Path) -> (Live, tokio_rustls::TlsConnector) {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    certificates::certificates(&Folders::within(dir), &[Holder::new("eu-west", 0)], false).unwrap();
    let server = secured(dir);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Live::new(server), Arc::new(client).into())
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, connector) = certificates(dir.path());
    let mut config = config();
    // Within which both ends have to greet each other, on however slow a machine.
    config.http.header_timeout = Duration::from_secs(3);
    let engine = |operations: Vec<Operation>| Ok(vec![Outcome::Value(7); operations.len()]);
    let live = tls.clone();
    let server = start(doors_with(Stage::Ready, config, engine), Some(tls)).await;
    let name = || rustls::pki_types::ServerName::try_from("node-0.eu-west.snowtide").unwrap();

    let stream = TcpStream::connect(server.address).await.unwrap();
    let stream = connector.connect(name(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://x/v1/counters/default/k").body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    connection.abort();

    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name(), stream).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // A certificate that is replaced is shown from the next connection on.
    let another = tempfile::tempdir().unwrap();
    let (_, its_connector) = certificates(another.path());
    assert!(its_connector.connect(name(), TcpStream::connect(server.address).await.unwrap()).await.is_err());
    live.replace(secured(another.path()));
    its_connector.connect(name(), TcpStream::connect(server.address).await.unwrap()).await.unwrap();
    assert!(connector.connect(name(), TcpStream::connect(server.address).await.unwrap()).await.is_err());

    // Without TLS, or without a word, there is no answer but a closed connection.
    for request in ["GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", ""] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok() && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
}
