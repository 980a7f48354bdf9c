//! The client over HTTP, against a scripted node: a socket that reads requests and says what each test says.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::{Arc, Mutex};
use std::time::Duration;

use snowtide_client::{Ack, Batch, Client, Code, Decision, Error, LimitBatch, Retries, Terms, Token};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// An answer, or `None` to close the connection instead.
type Script = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A node, and every request that it was sent but for those of the client's own.
struct Node {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Node {
    async fn start(region: &'static str, script: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, script) = (Arc::clone(&heard), Arc::new(script) as Script);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, region, Arc::clone(&script), Arc::clone(&kept)));
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    region: &str,
    script: Script,
    heard: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = read(&mut stream).await {
        let said = if request.starts_with("GET /v1/cluster ") {
            Some(ok(
                "",
                &format!(r#"{{"node":{{"region":"{region}","node":3,"replica":"0021c5b94e6bdbc5","stage":"ready"}}}}"#),
            ))
        } else if request.starts_with("GET /livez ") {
            Some(ok("", "{}"))
        } else {
            heard.lock().unwrap().push(request.clone());
            script(&request)
        };
        let Some(said) = said else { return };
        stream.write_all(said.as_bytes()).await.unwrap();
    }
}

/// One request as text; `None` at the end.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = String::new();
    let mut bytes = [0; 4_096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let count = stream.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn ok(headers: &str, body: &str) -> String {
    answer("200 OK", headers, body)
}

fn value(value: i128) -> Option<String> {
    Some(ok("", &format!(r#"{{"namespace":"n","key":"k","value":"{value}","by":"1"}}"#)))
}

async fn client(nodes: &[&Node]) -> Client {
    let retries = Retries::default().pauses(Duration::ZERO, Duration::ZERO);
    let builder = Client::builder().nodes(nodes.iter().map(|node| &*node.address)).retries(retries).bearer("secret");
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn one_operation_and_ids_are_asked_and_told() {
    let node = Node::start("eu", |request| match request {
        _ if request.starts_with("POST /v1/ids") => Some(ok("", "\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08")),
        _ => value(i128::MIN),
    })
    .await;
    let client = client(&[&node]).await;
    assert_eq!(client.get("default", "likes/42").await, Ok(i128::MIN));
    assert_eq!(client.decrement("default", "k", 7).await, Ok(i128::MIN));
    assert_eq!(client.ids(2).await, Ok(vec![7, 8]));
    assert!(matches!(client.ids(3).await, Err(Error::Protocol(_))), "fewer than asked for");
    assert_eq!(client.site().map(|site| site.to_string()), Some("eu/3".into()));
    assert_eq!(client.id_scheme(), None);
    let heard = node.heard();
    assert!(heard[0].starts_with("GET /v1/counters/default/likes%2F42 HTTP/1.1\r\n"), "{}", heard[0]);
    assert!(heard[0].contains("\r\nauthorization: Bearer secret\r\n"), "{}", heard[0]);
    assert!(heard[1].starts_with("POST /v1/counters/default/k/increment ") && heard[1].ends_with(r#"{"by":"-7"}"#));
    assert!(heard[2].ends_with(r#"{"count":2}"#) && heard[2].contains("\r\naccept: application/octet-stream\r\n"));
}

#[tokio::test]
async fn decisions_are_asked_and_told() {
    const BODY: &str = r#""allowed":true,"limit":100,"remaining":99,"reset_ms":42000,"retry_after_ms":0"#;
    const ADMITTED: Decision =
        Decision { admitted: true, limit: 100, remaining: 99, reset_ms: 42_000, retry_after_ms: 0 };
    let node = Node::start("eu", |request| match request {
        _ if request.starts_with("POST /v1/batch ") => {
            let none = r#"{"status":503,"code":"limits_full","detail":"x"}"#;
            Some(ok("", &format!(r#"{{"results":[{{"status":200,{BODY}}},{none}]}}"#)))
        }
        _ if request.starts_with("GET ") => Some(answer("404 Not Found", "", r#"{"code":"unknown_policy"}"#)),
        _ => Some(ok("", &format!("{{{BODY}}}"))),
    })
    .await;
    let client = client(&[&node]).await;
    assert_eq!(client.limit("default", "a/b").cost(2).check().await, Ok(ADMITTED));
    let unknown = client.limit("none", "a").peek().await;
    assert!(matches!(unknown, Err(Error::Refused { code: Code::UnknownPolicy, .. })), "{unknown:?}");
    let mut batch = LimitBatch::new();
    batch.check("default", "a", 1).unwrap().check("default", "b", 1).unwrap();
    assert_eq!(client.limits(&batch).await.unwrap(), [Ok(ADMITTED), Err(Code::LimitsFull)]);
    let heard = node.heard();
    assert!(heard[0].starts_with("POST /v1/limits/default/a%2Fb ") && heard[0].ends_with(r#"{"cost":2}"#));
    assert!(heard[1].starts_with("GET /v1/limits/none/a "), "{}", heard[1]);
    assert_eq!(heard.len(), 3);
}

#[tokio::test]
async fn a_batch_on_terms_carries_them_in_headers_and_query() {
    let node = Node::start("eu", |_| {
        let body = r#"{"results":[{"status":200,"value":"1"},{"status":404,"code":"unknown_namespace","detail":"x"}],
            "ack":"pending","acknowledged_by":["eu"]}"#;
        Some(answer("202 Accepted", "snowtide-token: AQA\r\n", body))
    })
    .await;
    let client = client(&[&node]).await;
    let mut batch = Batch::new();
    batch.increment("n", "k", 1).unwrap().get("m", "k").unwrap();
    let terms = Terms::new().ack(Ack::All).with_token().wait(Duration::from_secs(3));
    let told = client.batch_on(&batch, &terms).await.unwrap();
    assert_eq!(told.results, [Ok(1), Err(Code::UnknownNamespace)]);
    assert_eq!((told.token, told.pending), (Some(Token::new()), true));
    let heard = &node.heard()[0];
    assert!(heard.starts_with("POST /v1/batch?ack=all ") && heard.contains("\r\nsnowtide-token: AQA\r\n"), "{heard}");
    assert!(heard.contains("\r\nprefer: wait=3\r\n"), "{heard}");
}

#[tokio::test]
async fn a_refused_write_goes_elsewhere_and_one_that_got_no_answer_does_not() {
    let refused = r#"{"code":"draining","detail":"bye","retryable":true}"#;
    let one = Node::start("one", move |request| match request {
        _ if request.contains("/lost") => None,
        _ => Some(answer("503 Service Unavailable", "retry-after: 1\r\n", refused)),
    })
    .await;
    let two = Node::start("two", |_| value(5)).await;
    let lost = client(&[&one, &two]).await;
    let error = lost.increment("n", "lost", 1).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    let (asked, session) = (one.heard().len(), sessions(&one));
    assert_eq!(two.heard().len(), 0, "it could not know");
    assert!(session[0].ends_with("; turn=1; at=one/3; replica=0021c5b94e6bdbc5"), "{session:?}");
    assert!(session[1..].iter().all(|again| repeats(again, &session[0])), "{session:?}");
    assert_eq!(lost.get("n", "lost/").await, Ok(5), "a read is tried elsewhere");
    assert_eq!(lost.increment("n", "refused", 1).await, Ok(5));
    assert_eq!(one.heard().len(), asked + 2);
}

/// What stood in the header `Snowtide-Session` of each request that had one.
fn sessions(node: &Node) -> Vec<String> {
    let line =
        |request: &String| request.lines().find_map(|line| Some(line.strip_prefix("snowtide-session: ")?.to_owned()));
    node.heard().iter().filter_map(line).collect()
}

/// The same once more, and since when.
fn repeats(again: &str, first: &str) -> bool {
    let age = again.strip_prefix(first).and_then(|rest| rest.strip_prefix("; again="));
    age.is_some_and(|age| age.parse::<u64>().is_ok())
}

#[tokio::test]
async fn a_write_that_got_no_answer_is_asked_for_again_where_it_counts_once() {
    let answers = Mutex::new(0);
    let node = Node::start("eu", move |_| {
        let mut answers = answers.lock().unwrap();
        *answers += 1;
        if *answers == 1 { None } else { value(7) }
    })
    .await;
    let client = client(&[&node]).await;
    assert_eq!(client.increment("n", "k", 1).await, Ok(7));
    assert_eq!(client.increment("n", "k", 1).await, Ok(7));
    assert_eq!(client.get("n", "k").await, Ok(7));
    let sessions = sessions(&node);
    assert!(repeats(&sessions[1], &sessions[0]), "{sessions:?}");
    assert_eq!(sessions[2], sessions[0].replace("turn=1", "turn=2"), "the session goes on");
    assert_eq!(sessions.len(), 3, "a read needs no name");
}

#[tokio::test]
async fn a_gateway_that_answers_for_the_node_leaves_a_write_unknown() {
    let node = Node::start("eu", |_| Some(answer("502 Bad Gateway", "", "<html>"))).await;
    let error = client(&[&node]).await.increment("n", "k", 1).await.unwrap_err();
    assert!(matches!(&error, Error::Ambiguous { reason } if reason.contains("502")), "{error}");
    let sessions = sessions(&node);
    assert!(sessions.len() > 1 && sessions.iter().all(|session| session.contains("; turn=1;")), "{sessions:?}");
}

#[tokio::test]
async fn nobody_and_somebody_else_are_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Client::builder().node(format!("http://{closed}")).connect().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("cannot reach"), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await.unwrap();
        stream.write_all(ok("", "hello").as_bytes()).await.unwrap();
    };
    let (connected, ()) = tokio::join!(Client::builder().node(address).connect(), other);
    let error = connected.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("does not speak as a Snowtide node"), "{error}");
}

#[cfg(feature = "https")]
mod https {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use snowtide_client::ConnectError;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};

    use super::*;

    /// A node behind TLS that always answers 9, under this name; and the authority that vouches for it.
    async fn node(name: &str) -> (String, String) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pair = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&pair).unwrap().pem();
        let (authority, key) = (Issuer::new(authority, pair), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, "eu", Arc::new(|_: &str| value(9)), Arc::default()).await;
                    }
                });
            }
        });
        (address, pem)
    }

    #[tokio::test]
    async fn a_node_behind_tls_is_believed_if_the_authority_vouches_for_its_name() {
        let (address, authority) = node("127.0.0.1").await;
        let client = Client::builder().node(&address).ca_pem(authority.as_bytes()).connect().await.unwrap();
        assert_eq!(client.increment("n", "k", 1).await, Ok(9));
        let (named, authority) = node("node-0.eu.snowtide").await;
        let builder = Client::builder().ca_pem(authority.as_bytes());
        let client = builder.clone().node_certified_as(&named, "node-0.eu.snowtide").connect().await.unwrap();
        assert_eq!(client.get("n", "k").await, Ok(9));
        for other in [builder.clone().node(&named), builder.node(&address)] {
            let refused = other.connect().await.unwrap_err();
            assert!(!refused.is_retryable() && refused.to_string().contains("was not accepted"), "{refused}");
        }
    }

    #[test]
    fn nobody_is_believed_without_an_authority_and_no_name_is_made_up() {
        let built = Client::builder().node("https://127.0.0.1:1").build();
        assert!(matches!(&built, Err(ConnectError::Config(why)) if why.contains("ca_pem_file")), "{built:?}");
        let builder = Client::builder().ca_pem("not PEM".as_bytes());
        assert!(matches!(builder.node("https://127.0.0.1:1").build(), Err(ConnectError::Config(_))));
    }
}
