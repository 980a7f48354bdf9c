//! The client against a scripted node: a real QUIC server that speaks the frames and does what each test says.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, RecvStream, SendStream, VarInt};
use snowtide_client::id::IdScheme;
use snowtide_client::{
    Algorithm, BadKey, Batch, Code, Config, ConnectError, Connection, Decision, Error, InvalidArgument, KeyLength,
    LimitBatch, Numbers,
};
use snowtide_protocol::codec::{self, Cursor};
use snowtide_protocol::frame::{self, FrameBuffer};
use snowtide_protocol::wire::{
    ALPN, Answer, Ask, FRAME_BYTES_MAX, Greeting, Hello, IdRun, RequestHead, Response, VERSION, Welcome, WireCheck,
    WireError, WireOperation, WirePolicy, close,
};

/// A listening node with a certificate of its own.
struct Node {
    endpoint: Endpoint,
    address: SocketAddr,
    ca_pem: String,
}

impl Node {
    fn bind(alpn: &[u8]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(server, (std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        Self { endpoint, address, ca_pem: made.cert.pem() }
    }

    fn config(&self) -> Config {
        Config::new(self.address.to_string()).ca_pem(self.ca_pem.as_bytes()).unwrap()
    }

    /// The next connection.
    async fn accept(&self) -> quinn::Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }
}

/// One stream, as the node sees it.
struct Talk {
    connection: quinn::Connection,
    send: SendStream,
    recv: RecvStream,
    buffer: FrameBuffer,
}

/// A request, with the keys of its operations.
struct Asked {
    id: u64,
    ask: Ask,
    keys: Vec<String>,
}

impl Talk {
    /// Accepts a stream and welcomes the client.
    async fn welcome(connection: &quinn::Connection, requests_max: u32, frame_bytes_max: u32) -> Self {
        let mut talk = Self::greet(connection).await;
        let region = "eu-west".to_owned();
        let welcome = Welcome {
            version: VERSION,
            region,
            node: 7,
            frame_bytes_max,
            requests_max,
            id_scheme: IdScheme::default(),
            incarnation: None,
        };
        talk.say(&Greeting::Welcome(welcome)).await;
        talk
    }

    /// Accepts a stream and reads the hello.
    async fn greet(connection: &quinn::Connection) -> Self {
        let (send, recv) = connection.accept_bi().await.unwrap();
        let mut talk = Self { connection: connection.clone(), send, recv, buffer: FrameBuffer::new(FRAME_BYTES_MAX) };
        let hello: Hello = codec::decode(&talk.frame().await.unwrap()).unwrap();
        assert_eq!(hello.versions, (VERSION, VERSION));
        talk
    }

    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.buffer.next_frame().unwrap() {
                return Some(frame.to_vec());
            }
            let count = self.recv.read(self.buffer.room()).await.ok()??;
            self.buffer.filled(count);
        }
    }

    /// The next request; `None` once the client has finished.
    async fn request(&mut self) -> Option<Asked> {
        let frame = self.frame().await?;
        let mut cursor = Cursor::new(&frame);
        let RequestHead { id, ask } = cursor.read().unwrap();
        let mut keys = Vec::new();
        if let Ask::Batch { namespaces, operations } = ask {
            for _ in 0..namespaces {
                assert_eq!(cursor.read::<&str>().unwrap(), "n");
            }
            for _ in 0..operations {
                keys.push(cursor.read::<WireOperation<'_>>().unwrap().key.to_owned());
            }
        }
        if let Ask::Limits { policies, checks } = ask {
            for _ in 0..policies {
                keys.push(match cursor.read::<WirePolicy<'_>>().unwrap() {
                    WirePolicy::Named(name) => name.to_owned(),
                    WirePolicy::Given(numbers) => format!("{numbers:?}"),
                });
            }
            for _ in 0..checks {
                let WireCheck { policy, key, cost } = cursor.read().unwrap();
                keys.push(format!("{key} by {policy} costs {cost}"));
            }
        }
        cursor.finish().unwrap();
        Some(Asked { id, ask, keys })
    }

    async fn say<T: bincode::Encode>(&mut self, frame: &T) {
        let mut bytes = Vec::new();
        frame::append(frame, &mut bytes);
        self.send.write_all(&bytes).await.unwrap();
    }

    /// Answers every operation with its key as a number.
    async fn answer(&mut self, asked: &Asked) {
        let values = asked.keys.iter().map(|key| key.parse().map_err(|_| Code::UnknownNamespace)).collect();
        self.say(&Response { id: asked.id, answer: Ok(Answer::Batch(values)) }).await;
    }
}

/// Runs a client against a script for one connection with one stream; both must come to their end.
async fn play<C, S>(script: impl FnOnce(Talk) -> S, requests_max: u32, calls: impl FnOnce(Connection) -> C)
where
    S: Future<Output = ()>,
    C: Future<Output = ()>,
{
    let node = Node::bind(ALPN);
    let server = async {
        let connection = node.accept().await;
        script(Talk::welcome(&connection, requests_max, 1 << 20).await).await;
    };
    let run = async {
        let client = Connection::open(node.config().request_timeout(Duration::from_secs(30))).await.unwrap();
        calls(client).await;
    };
    let both = async { tokio::join!(server, run) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the test hangs");
}

#[tokio::test]
async fn decisions_travel_together_and_each_has_its_result() {
    const DENIED: Decision = Decision { admitted: false, limit: 9, remaining: 0, reset_ms: 5, retry_after_ms: 4 };
    let given = Numbers { algorithm: Algorithm::Gcra, limit: 30, window_ms: 60_000, burst: 16 };
    let script = |mut talk: Talk| async move {
        let several = talk.request().await.unwrap();
        let asked = ["default", &format!("{given:?}"), "a by 0 costs 1", "b by 1 costs 5", "c by 0 costs 0"];
        assert_eq!(several.keys, asked);
        let decided = vec![Ok(DENIED), Err(Code::CostTooHigh), Ok(DENIED)];
        talk.say(&Response { id: several.id, answer: Ok(Answer::Limits(decided)) }).await;
        let one = talk.request().await.unwrap();
        assert_eq!(one.keys, ["default", "a by 0 costs 1"]);
        talk.say(&Response { id: one.id, answer: Ok(Answer::Limits(vec![Err(Code::UnknownPolicy)])) }).await;
        let other = talk.request().await.unwrap();
        talk.say(&Response { id: other.id, answer: Ok(Answer::Batch(vec![Ok(1)])) }).await;
        // What charges something is in doubt when its connection goes; what looks is not.
        for _ in 0..2 {
            talk.request().await.unwrap();
        }
        talk.connection.close(VarInt::from_u32(close::DONE), b"");
    };
    play(script, 8, |client| async move {
        let mut batch = LimitBatch::new();
        batch.check("default", "a", 1).unwrap().check(given, "b", 5).unwrap().peek("default", "c").unwrap();
        assert_eq!(client.limits(&batch).await.unwrap(), [Ok(DENIED), Err(Code::CostTooHigh), Ok(DENIED)]);
        let unknown = client.limit("default", "a").check().await.unwrap_err();
        assert!(matches!(&unknown, Error::Refused { code: Code::UnknownPolicy, .. }), "{unknown}");
        assert!(matches!(client.limit("default", "a").check().await, Err(Error::Protocol(_))));
        let (check, peek) = (client.limit("default", "a").check(), client.limit("default", "a").peek());
        let (check, peek) = tokio::join!(check, peek);
        assert!(check.as_ref().is_err_and(Error::is_ambiguous), "{check:?}");
        assert!(peek.as_ref().is_err_and(Error::is_retryable), "{peek:?}");
    })
    .await;
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let script = |mut talk: Talk| async move {
        let mut asked = Vec::new();
        for _ in 0..100 {
            asked.push(talk.request().await.unwrap());
        }
        for asked in asked.iter().rev() {
            talk.answer(asked).await;
        }
        assert!(talk.request().await.is_none(), "the client finishes its stream");
        talk.send.finish().unwrap();
        talk.connection.closed().await;
    };
    play(script, 1_000, |client| async move {
        assert_eq!((client.welcome().region.as_str(), client.welcome().node), ("eu-west", 7));
        let mut calls = tokio::task::JoinSet::new();
        for key in 0..100_i128 {
            let client = client.clone();
            calls.spawn(async move { (key, client.increment("n", &key.to_string(), 1).await.unwrap()) });
        }
        while let Some(call) = calls.join_next().await {
            let (key, value) = call.unwrap();
            assert_eq!(key, value);
        }
        client.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_answers_each_operation_and_ids_come_as_asked() {
    let script = |mut talk: Talk| async move {
        let asked = talk.request().await.unwrap();
        talk.answer(&asked).await;
        let asked = talk.request().await.unwrap();
        assert_eq!(asked.ask, Ask::Ids(5));
        let runs = vec![IdRun { first: 10, count: 2 }, IdRun { first: 20, count: 3 }];
        talk.say(&Response { id: asked.id, answer: Ok(Answer::Ids(runs)) }).await;
        let asked = talk.request().await.unwrap();
        talk.say(&Response { id: asked.id, answer: Ok(Answer::Ids(vec![IdRun { first: 1, count: 1 }])) }).await;
        talk.connection.closed().await;
    };
    play(script, 8, |client| async move {
        let mut batch = Batch::new();
        batch.increment("n", "7", 1).unwrap().decrement("n", "x", 1).unwrap().get("n", "-9").unwrap();
        assert_eq!(client.batch(&batch).await.unwrap(), [Ok(7), Err(Code::UnknownNamespace), Ok(-9)]);
        assert_eq!(client.batch(&Batch::new()).await.unwrap(), []);
        assert_eq!(client.ids(5).await.unwrap(), [10, 11, 20, 21, 22]);
        assert!(matches!(client.ids(5).await, Err(Error::Protocol(_))), "fewer ids than asked for");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let script = |mut talk: Talk| async move {
        let asked = talk.request().await.unwrap();
        let error = WireError { code: Code::Throttled, detail: "later".into(), retry_after_ms: Some(100) };
        talk.say(&Response { id: asked.id, answer: Err(error) }).await;
        talk.connection.closed().await;
    };
    play(script, 8, |client| async move {
        let error = client.increment("n", "1", 1).await.unwrap_err();
        let retry_after = Some(Duration::from_millis(100));
        assert_eq!(error, Error::Refused { code: Code::Throttled, detail: "later".into(), retry_after });
        assert!(error.is_retryable() && !error.is_ambiguous());
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_tells_what_is_known_of_each_request() {
    let script = |mut talk: Talk| async move {
        talk.request().await.unwrap();
        talk.request().await.unwrap();
        talk.connection.close(VarInt::from_u32(close::SHUTDOWN), b"maintenance");
    };
    play(script, 2, |client| async move {
        // Two are sent; the third waits for a place.
        let (write, read, unsent) =
            tokio::join!(client.increment("n", "1", 1), client.get("n", "1"), client.increment("n", "2", 1));
        assert!(matches!(&write, Err(Error::Ambiguous { reason }) if reason.contains("maintenance")), "{write:?}");
        assert!(matches!(&read, Err(Error::Disconnected { .. })), "{read:?}");
        assert!(matches!(&unsent, Err(Error::Disconnected { .. })), "{unsent:?}");
        let later = client.increment("n", "1", 1).await;
        assert!(later.is_err_and(|error| error.is_retryable()));
        assert!(client.is_closed());
    })
    .await;
}

#[tokio::test]
async fn a_timeout_leaves_a_write_unknown_and_a_queued_one_unsent() {
    let node = Node::bind(ALPN);
    let server = async {
        let connection = node.accept().await;
        let mut talk = Talk::welcome(&connection, 1, 1 << 20).await;
        let first = talk.request().await.unwrap();
        assert_eq!(first.keys, ["1"]);
        assert!(talk.request().await.is_none(), "what timed out in the queue was never sent");
    };
    let run = async {
        let client = Connection::open(node.config().request_timeout(Duration::from_millis(50))).await.unwrap();
        let sent = client.increment("n", "1", 1).await.unwrap_err();
        assert!(matches!(sent, Error::Timeout { may_have_written: true, .. }), "{sent:?}");
        assert!(sent.is_ambiguous() && !sent.is_retryable());
        let queued = client.increment("n", "2", 1).await.unwrap_err();
        assert!(matches!(queued, Error::Busy { .. }), "{queued:?}");
        assert!(queued.is_retryable());
    };
    tokio::join!(server, run);
}

#[tokio::test]
async fn a_node_that_breaks_the_protocol_is_left() {
    let garbage: [(&str, Vec<u8>); 3] = [
        ("a frame over the limit", u32::MAX.to_le_bytes().to_vec()),
        ("a malformed answer", vec![3, 0, 0, 0, 255, 255, 255]),
        ("an answer to nobody", {
            let mut bytes = Vec::new();
            frame::append(&Response { id: 99, answer: Ok(Answer::Batch(vec![Ok(1)])) }, &mut bytes);
            bytes
        }),
    ];
    for (what, bytes) in garbage {
        let script = |mut talk: Talk| async move {
            talk.request().await.unwrap();
            talk.send.write_all(&bytes).await.unwrap();
            match talk.connection.closed().await {
                quinn::ConnectionError::ApplicationClosed(closed) => {
                    assert_eq!(closed.error_code, VarInt::from_u32(close::PROTOCOL), "{what}");
                }
                other => panic!("{what}: {other}"),
            }
        };
        play(script, 8, |client| async move {
            let error = client.increment("n", "1", 1).await.unwrap_err();
            assert!(matches!(&error, Error::Ambiguous { reason } if reason.contains("protocol")), "{what}: {error}");
        })
        .await;
    }
}

#[tokio::test]
async fn limits_are_checked_before_anything_is_sent() {
    let node = Node::bind(ALPN);
    let server = async {
        let connection = node.accept().await;
        let mut talk = Talk::welcome(&connection, 8, 2_000).await;
        assert!(talk.request().await.is_none());
    };
    let run = async {
        let client = Connection::open(node.config()).await.unwrap();
        let long = "k".repeat(513);
        let invalid = |result: Result<i128, Error>| match result {
            Err(Error::InvalidArgument(invalid)) => invalid,
            other => panic!("{other:?}"),
        };
        assert_eq!(invalid(client.get("n", "").await), BadKey::Length(KeyLength(0)).into());
        assert_eq!(invalid(client.get("n", &long).await), BadKey::Length(KeyLength(513)).into());
        assert_eq!(invalid(client.get("n", "..").await), BadKey::DotSegment.into());
        assert_eq!(invalid(client.get("", "k").await), InvalidArgument::NamespaceLength(0));
        assert_eq!(invalid(client.increment("n", "k", 1 << 63).await), InvalidArgument::Amount(1 << 63));
        assert!(matches!(client.ids(0).await, Err(Error::InvalidArgument(InvalidArgument::IdCount(0)))));
        assert!(matches!(client.ids(10_001).await, Err(Error::InvalidArgument(InvalidArgument::IdCount(10_001)))));
        let mut batch = Batch::new();
        for _ in 0..5 {
            batch.get("n", &long[1..]).unwrap();
        }
        let error = client.batch(&batch).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(InvalidArgument::FrameLength { limit: 2_000, .. })), "{error}");
        batch.clear();
        for _ in 0..10_000 {
            batch.get("n", "k").unwrap();
        }
        assert_eq!(batch.get("n", "k").err(), Some(InvalidArgument::TooManyOperations));
    };
    tokio::join!(server, run);
}

#[tokio::test]
async fn a_dropped_client_still_sends_what_was_queued() {
    let script = |mut talk: Talk| async move {
        assert_eq!(talk.request().await.unwrap().keys, ["1"]);
        assert!(talk.request().await.is_none(), "the stream is finished, not torn down");
        talk.send.finish().unwrap();
        talk.connection.closed().await;
    };
    play(script, 8, |client| async move {
        let mut call = Box::pin(client.increment("n", "1", 1));
        // One poll puts the request into the outbox; then the caller loses interest.
        std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context).is_ready())).await;
        drop(call);
        drop(client);
    })
    .await;
}

#[tokio::test]
async fn several_streams_share_the_work() {
    let node = Node::bind(ALPN);
    let server = async {
        let connection = node.accept().await;
        let mut talks = Vec::new();
        for _ in 0..3 {
            talks.push(Talk::welcome(&connection, 8, 1 << 20).await);
        }
        for talk in &mut talks {
            let asked = talk.request().await.unwrap();
            talk.answer(&asked).await;
        }
        for talk in &mut talks {
            assert!(talk.request().await.is_none());
        }
    };
    let run = async {
        let client = Connection::open(node.config().streams(3)).await.unwrap();
        let answers = tokio::join!(client.get("n", "1"), client.get("n", "2"), client.get("n", "3"));
        assert_eq!(answers, (Ok(1), Ok(2), Ok(3)));
    };
    tokio::join!(server, run);
}

/// What connecting to `node` with `config` fails with.
async fn refusal(node: &Node, config: Config) -> ConnectError {
    let accept = async {
        while let Some(incoming) = node.endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                connection.closed().await;
            }
        }
    };
    tokio::select! {
        connected = Connection::open(config) => connected.expect_err("no connection"),
        () = accept => unreachable!("the endpoint stays open"),
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_named_as_the_cause() {
    let (node, other) = (Node::bind(ALPN), Node::bind(ALPN));
    let foreign = Config::new(node.address.to_string()).ca_pem(other.ca_pem.as_bytes()).unwrap();
    for config in [foreign, node.config().server_name("elsewhere.example")] {
        let error = refusal(&node, config).await;
        assert!(matches!(error, ConnectError::Certificate { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_node_of_another_protocol_is_named_as_the_cause() {
    let node = Node::bind(b"snowtide-peer/1");
    let error = refusal(&node, node.config()).await;
    assert!(matches!(error, ConnectError::WrongProtocol { .. }), "{error}");
}

#[tokio::test]
async fn silence_and_bad_configuration_are_told_apart() {
    // A socket that is bound and never read answers nothing.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let node = Node::bind(ALPN);
    let config = Config::new(silent.local_addr().unwrap().to_string()).ca_pem(node.ca_pem.as_bytes()).unwrap();
    let error = Connection::open(config.connect_timeout(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");

    let error = Connection::open(Config::new("127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(reason) if reason.contains("ca.pem")), "{error}");
    let error = Config::new("127.0.0.1:1").ca_pem(b"nonsense").unwrap_err();
    assert!(matches!(&error, ConnectError::Config(_)), "{error}");
    let error = Config::new("127.0.0.1:1").ca_pem_file("/no/such/file").unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    let error = Connection::open(node.config().server_name("bad name")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(_)), "{error}");
}

#[tokio::test]
async fn a_second_address_is_tried_and_a_refused_token_is_reported() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let node = Node::bind(ALPN);
    let server = async {
        let mut talk = Talk::greet(&node.accept().await).await;
        let error = WireError { code: Code::Unauthenticated, detail: "who are you?".into(), retry_after_ms: None };
        talk.say(&Greeting::Refused(error)).await;
        talk.connection.closed().await;
    };
    let config = Config::new(silent.local_addr().unwrap().to_string())
        .or_address(node.address.to_string())
        .ca_pem(node.ca_pem.as_bytes())
        .unwrap();
    let (connected, ()) = tokio::join!(Connection::open(config.connect_timeout(Duration::from_secs(2))), server);
    let error = connected.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { code: Code::Unauthenticated, .. }), "{error}");
}
