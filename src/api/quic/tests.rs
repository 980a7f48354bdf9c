//! The door end to end: the real client, or a rogue one, over real QUIC, and a backend that does what a test says.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectionError, Endpoint, RecvStream, SendStream};
use snowtide_client::{Batch, ConnectError, Connection, Error};
use snowtide_protocol::frame::{self, FrameBuffer};
use snowtide_protocol::id::IdScheme;
use snowtide_protocol::wire::{Ask, Greeting, Hello, IdRun, RequestHead, Response, VERSION};
use snowtide_protocol::{Action, Code, codec};
use tokio::sync::oneshot;

use super::*;
use crate::api::budget::Budget;
use crate::api::gate::Counts;
use crate::api::known::KNOWN;
use crate::config::map::ClusterMap;
use crate::config::{Permission, Token};
use crate::engine::{Answer, Applied, Awaited};
use crate::identity::{NamespaceId, ReplicaId};
use crate::ids::IdRefusal;
use crate::replica::{Operation, Outcome, Refusal, Terms};

/// Counts in memory; or leaves requests unanswered.
#[derive(Default)]
struct Memory {
    counters: Mutex<HashMap<(NamespaceId, String), i128>>,
    submissions: AtomicUsize,
    next_id: AtomicU64,
    /// Submissions are kept here and never answered, if there is such a place.
    silent: Option<Mutex<Vec<oneshot::Sender<Answer>>>>,
}

impl Counts for Arc<Memory> {
    fn room(&self) -> usize {
        usize::MAX
    }

    fn submit(&self, operations: Vec<Operation>, _terms: Option<Box<Terms>>) -> Result<Awaited, Refusal> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        if let Some(silent) = &self.silent {
            silent.lock().unwrap().push(reply);
            return Ok(answer.into());
        }
        let mut counters = self.counters.lock().unwrap();
        let outcomes = operations.into_iter().map(|operation| {
            let value = counters.entry((operation.namespace, operation.key.to_string())).or_default();
            if let Action::Increment(by) = operation.action {
                *value += i128::from(by);
            }
            Outcome::Value(*value)
        });
        let _ = reply.send(Ok(Applied { outcomes: outcomes.collect(), receipt: None }));
        Ok(answer.into())
    }
}

impl Mints for Arc<Memory> {
    async fn mint(&self, count: u32) -> Result<Vec<IdRun>, IdRefusal> {
        Ok(vec![IdRun { first: self.next_id.fetch_add(u64::from(count), Ordering::Relaxed), count }])
    }
}

/// A node of which there is only this door.
struct Front {
    endpoint: Endpoint,
    ca_pem: String,
    memory: Arc<Memory>,
    stage: watch::Sender<Stage>,
    bearers: Bearers,
}

const LIMITS: Limits = Limits {
    frame_bytes_max: 100_000,
    requests_max: 256,
    streams_max: 2,
    request_timeout: Duration::from_secs(30),
    write_timeout: Duration::from_secs(30),
};

impl Front {
    /// Opens the door; connections are served until the test ends.
    fn open(memory: Memory, limits: Limits, tokens: &[Token]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let memory = Arc::new(memory);
        let (stage, stage_now) = watch::channel(Stage::Ready);
        let bearers = Bearers::new(tokens);
        let door = Arc::new(Door {
            gate: Arc::new(Gate::before(Arc::clone(&memory), telemetry::Door::Quic, stage_now, limits.request_timeout)),
            decider: KNOWN.decider.clone(),
            limits,
            bearers: bearers.clone(),
            namespaces: Arc::new([("here".to_owned(), NamespaceId(1))].into()),
            terms_codec: Arc::new(TermsCodec::new(&Config::builtin(), &ClusterMap::default())),
            region: "eu-west".into(),
            node: 3,
            id_scheme: IdScheme::new("snowtide-dev", 7, 41),
            incarnation: watch::channel(Some(ReplicaId(77))).1,
            from: Ipv4Addr::LOCALHOST.into(),
        });
        let accepting = endpoint.clone();
        let budget = Budget::new(64 << 20);
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let door = Arc::clone(&door);
                let account = budget.admit(telemetry::Door::Quic, usize::MAX).unwrap();
                tokio::spawn(async move { attend(incoming.await.unwrap(), door, account).await });
            }
        });
        Self { endpoint, ca_pem: made.cert.pem(), memory, stage, bearers }
    }

    fn config(&self) -> snowtide_client::Config {
        let address = self.endpoint.local_addr().unwrap().to_string();
        snowtide_client::Config::new(address).ca_pem(self.ca_pem.as_bytes()).unwrap()
    }

    async fn client(&self) -> Connection {
        Connection::open(self.config()).await.unwrap()
    }

    /// A connection without a client that behaves.
    async fn rogue(&self) -> Rogue {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.ca_pem.as_bytes();
        roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(pem).unwrap()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let address = self.endpoint.local_addr().unwrap();
        let connection = endpoint.connect_with(client, address, "127.0.0.1").unwrap().await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        Rogue { connection, send, recv, buffer: FrameBuffer::new(1 << 20) }
    }
}

/// Sends whatever bytes a test likes.
struct Rogue {
    connection: quinn::Connection,
    send: SendStream,
    recv: RecvStream,
    buffer: FrameBuffer,
}

impl Rogue {
    async fn say(&mut self, frame: &impl bincode::Encode) {
        let mut bytes = Vec::new();
        frame::append(frame, &mut bytes);
        self.send.write_all(&bytes).await.unwrap();
    }

    async fn hear<T: bincode::Decode<()>>(&mut self) -> T {
        loop {
            if let Some(frame) = self.buffer.next_frame().unwrap() {
                return codec::decode(frame).unwrap();
            }
            let count = self.recv.read(self.buffer.room()).await.unwrap().unwrap();
            self.buffer.filled(count);
        }
    }

    async fn greeted(mut self) -> Self {
        self.say(&Hello { versions: (VERSION, VERSION), token: None }).await;
        assert!(matches!(self.hear().await, Greeting::Welcome(_)));
        self
    }

    /// The code and the reason with which the node closes the connection.
    async fn closed(self) -> (u32, String) {
        match self.connection.closed().await {
            ConnectionError::ApplicationClosed(closed) => {
                let code = u32::try_from(closed.error_code.into_inner()).unwrap();
                (code, String::from_utf8(closed.reason.to_vec()).unwrap())
            }
            other => panic!("{other}"),
        }
    }
}

/// A frame for each of these requests: to increment this key by one.
fn increments(key: &str, ids: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in ids {
        frame::append_with(&mut bytes, |bytes| {
            codec::encode_into(&RequestHead { id, ask: Ask::Batch { namespaces: 1, operations: 1 } }, bytes);
            codec::encode_into("here", bytes);
            let action = Action::Increment(1);
            codec::encode_into(&wire::WireOperation { namespace: 0, key, action }, bytes);
        });
    }
    bytes
}

fn token(token: &str, access: &[Permission]) -> Token {
    Token { name: token.into(), token: token.into(), access: access.to_vec(), namespaces: Vec::new() }
}

#[tokio::test]
async fn counters_batches_and_ids_through_the_real_client() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let client = front.client().await;
    assert_eq!((client.welcome().region.as_str(), client.welcome().node), ("eu-west", 3));
    assert_eq!(client.increment("here", "a", 5).await, Ok(5));
    assert_eq!(client.decrement("here", "a", 7).await, Ok(-2));
    assert_eq!(client.get("here", "a").await, Ok(-2));
    let unknown = client.increment("gone", "a", 1).await;
    assert!(matches!(unknown, Err(Error::Refused { code: Code::UnknownNamespace, .. })), "{unknown:?}");
    let mut batch = Batch::new();
    batch.add("here", "a", 10).unwrap().get("gone", "a").unwrap().get("here", "b").unwrap();
    assert_eq!(client.batch(&batch).await.unwrap(), [Ok(8), Err(Code::UnknownNamespace), Ok(0)]);
    assert_eq!(client.ids(3).await.unwrap(), [0, 1, 2]);
    assert_eq!(client.ids(2).await.unwrap(), [3, 4]);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_tasks_and_streams_lose_nothing() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let mut calls = JoinSet::new();
    for streams in [1, 2] {
        let client = Connection::open(front.config().streams(streams)).await.unwrap();
        // More tasks than there are places: the client waits, the node never has to throttle.
        for task in 0..1_000_u64 {
            let client = client.clone();
            calls.spawn(async move {
                for _ in 0..5 {
                    client.increment("here", &format!("k{}", task % 7), 1).await.unwrap();
                }
                client.ids(2).await.unwrap()
            });
        }
    }
    let mut ids = Vec::new();
    while let Some(call) = calls.join_next().await {
        ids.extend(call.unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..4_000).collect::<Vec<u64>>());
    let total: i128 = front.memory.counters.lock().unwrap().values().sum();
    assert_eq!(total, 10_000);
    assert!(front.memory.submissions.load(Ordering::Relaxed) <= 10_000);
}

#[tokio::test]
async fn tokens_open_the_door_as_far_as_they_allow() {
    let tokens = [token("reader", &[Permission::Read]), token("writer", &[Permission::Write])];
    let front = Front::open(Memory::default(), LIMITS, &tokens);
    for config in [front.config(), front.config().token("nonsense")] {
        let refused = Connection::open(config).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Refused { code: Code::Unauthenticated, .. }), "{refused}");
    }
    let reader = Connection::open(front.config().token("reader")).await.unwrap();
    assert_eq!(reader.get("here", "a").await, Ok(0));
    for refused in [reader.increment("here", "a", 1).await.map(drop), reader.ids(1).await.map(drop)] {
        assert!(matches!(refused, Err(Error::Refused { code: Code::Forbidden, .. })), "{refused:?}");
    }
    let writer = Connection::open(front.config().token("writer")).await.unwrap();
    assert_eq!(writer.increment("here", "a", 1).await, Ok(1));

    front.bearers.replace(&tokens[1..]);
    assert_eq!(writer.increment("here", "a", 1).await, Ok(2));
    let refused = reader.get("here", "a").await.unwrap_err();
    assert!(matches!(refused, Error::Refused { code: Code::Unauthenticated, .. }), "{refused}");
}

#[tokio::test]
async fn a_stage_other_than_ready_refuses_at_once_and_may_pass() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let client = front.client().await;
    front.stage.send_replace(Stage::Draining);
    let refused = client.increment("here", "a", 1).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { code: Code::Draining, retry_after: Some(_), .. }), "{refused}");
    assert!(refused.is_retryable());
    front.stage.send_replace(Stage::Ready);
    assert_eq!(client.increment("here", "a", 1).await, Ok(1));
}

#[tokio::test]
async fn an_engine_that_is_silent_or_gone_leaves_a_write_unknown() {
    let limits = Limits { request_timeout: Duration::from_millis(50), ..LIMITS };
    let front = Front::open(Memory { silent: Some(Mutex::default()), ..Memory::default() }, limits, &[]);
    let client = front.client().await;
    let late = client.increment("here", "a", 1).await.unwrap_err();
    assert!(matches!(late, Error::Refused { code: Code::Timeout, .. }) && late.is_ambiguous(), "{late}");

    let front = Front::open(Memory { silent: Some(Mutex::default()), ..Memory::default() }, LIMITS, &[]);
    let client = front.client().await;
    let call = tokio::spawn(async move { client.increment("here", "a", 1).await });
    let waiting = front.memory.silent.as_ref().unwrap();
    let submitted = async {
        while waiting.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), submitted).await.unwrap();
    waiting.lock().unwrap().clear();
    let gone = call.await.unwrap().unwrap_err();
    assert!(matches!(gone, Error::Refused { code: Code::Internal, .. }) && gone.is_ambiguous(), "{gone}");
}

#[tokio::test]
async fn a_key_that_paths_resolve_is_refused_as_at_every_door() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let mut rogue = front.rogue().await.greeted().await;
    for (id, key) in [(1, "."), (2, ".."), (3, "...")] {
        rogue.send.write_all(&increments(key, id..=id)).await.unwrap();
        let Response { answer, .. } = rogue.hear().await;
        assert_eq!(answer.err().map(|error| error.code), (id < 3).then_some(Code::InvalidRequest), "{key}");
    }
}

#[tokio::test]
async fn a_client_that_finishes_its_stream_is_answered() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let mut rogue = front.rogue().await.greeted().await;
    rogue.send.write_all(&increments("k", 1..=3)).await.unwrap();
    rogue.send.finish().unwrap();
    for _ in 1..=3 {
        assert!(rogue.hear::<Response>().await.answer.is_ok());
    }
    assert_eq!(rogue.recv.read(&mut [0; 8]).await.unwrap(), None, "and nothing else");
}

#[tokio::test]
async fn one_unanswered_request_too_many_is_throttled() {
    let limits = Limits { requests_max: 2, ..LIMITS };
    let front = Front::open(Memory { silent: Some(Mutex::default()), ..Memory::default() }, limits, &[]);
    let mut rogue = front.rogue().await.greeted().await;
    for id in 1..=3 {
        rogue.send.write_all(&increments("k", id..=id)).await.unwrap();
    }
    let Response { id, answer } = rogue.hear().await;
    assert_eq!((id, answer.unwrap_err().code), (3, Code::Throttled));
}

#[tokio::test]
async fn rogue_bytes_close_the_connection_with_a_reason() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let cases: [(&[u8], u32, &str); 4] = [
        (&u32::MAX.to_le_bytes(), close::TOO_LARGE, "a frame of 4294967295 bytes exceeds the limit of 100000"),
        (&100_001_u32.to_le_bytes(), close::TOO_LARGE, "a frame of 100001 bytes exceeds the limit of 100000"),
        (&[0, 0, 0, 0], close::PROTOCOL, "malformed"),
        (&[3, 0, 0, 0, 1, 9, 9], close::PROTOCOL, "malformed"),
    ];
    for (bytes, code, reason) in cases {
        let mut rogue = front.rogue().await.greeted().await;
        rogue.send.write_all(bytes).await.unwrap();
        let closed = rogue.closed().await;
        assert!(closed.0 == code && closed.1.contains(reason), "{closed:?}");
    }
    // Before the hello, far less is read.
    let mut rogue = front.rogue().await;
    rogue.send.write_all(&10_000_u32.to_le_bytes()).await.unwrap();
    assert_eq!(rogue.closed().await.0, close::TOO_LARGE);
    let mut rogue = front.rogue().await;
    rogue.send.write_all(&[2, 0, 0, 0, 255, 255]).await.unwrap();
    assert_eq!(rogue.closed().await.0, close::PROTOCOL);
    // And none of it disturbs others.
    assert_eq!(front.client().await.increment("here", "a", 1).await, Ok(1));
}

#[tokio::test]
async fn no_hello_and_no_common_version_end_early() {
    let limits = Limits { request_timeout: Duration::from_millis(50), ..LIMITS };
    let front = Front::open(Memory::default(), limits, &[]);
    let mut rogue = front.rogue().await;
    rogue.send.write_all(&[1]).await.unwrap();
    assert_eq!(rogue.closed().await.0, close::STALLED);

    let front = Front::open(Memory::default(), LIMITS, &[]);
    let mut rogue = front.rogue().await;
    rogue.say(&Hello { versions: (VERSION + 1, VERSION + 5), token: None }).await;
    match rogue.hear().await {
        Greeting::Refused(refusal) => {
            assert!(refusal.detail.contains(&format!("version {VERSION}")), "{}", refusal.detail);
        }
        welcome => panic!("{welcome:?}"),
    }
}

/// Not a measurement, which belongs to the load generator: shows that deep pipelining merges into few submissions.
#[tokio::test]
async fn deeply_pipelined_single_operations_share_submissions() {
    let front = Front::open(Memory::default(), LIMITS, &[]);
    let mut rogue = front.rogue().await.greeted().await;
    rogue.send.write_all(&increments("k", 0..200)).await.unwrap();
    for _ in 0..200 {
        assert!(rogue.hear::<Response>().await.answer.is_ok());
    }
    assert!(front.memory.submissions.load(Ordering::Relaxed) < 200);
}
