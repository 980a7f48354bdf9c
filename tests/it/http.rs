//! The HTTP door of real nodes: walks over counters, watching them, and requests found again in the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use snowtide_client::Batch;
use snowtide_dev::{Ending, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::http::{get, post, raw_answer};
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, WEST, ensure, eventually};

const KEYS: usize = 3_000;

/// Increments each of these once.
async fn increment(bed: &Bed, keys: impl Iterator<Item = usize>) {
    let mut batch = Batch::new();
    for key in keys {
        batch.increment(NAMESPACE, &format!("walked/{key}"), 1).unwrap();
    }
    let client = bed.client(EAST).await;
    // A refusal, while changed rows wait to be written, has counted nothing.
    let results = eventually(DEADLINE, "it counts", async || match client.batch(&batch).await {
        Err(error) if !error.is_retryable() => panic!("{error}"),
        counted => counted,
    });
    for result in results.await {
        result.unwrap();
    }
}

/// One page; its counters go to `walked`, and the way to the next comes back.
async fn page(address: SocketAddr, query: &str, walked: &mut BTreeMap<String, String>) -> Option<String> {
    let answer = get(address, &format!("/v1/counters/{NAMESPACE}?prefix=walked/&{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    for counter in page["counters"].as_array().unwrap() {
        let text = |member: &str| counter[member].as_str().unwrap().to_owned();
        assert_eq!(walked.insert(text("key"), text("value")), None, "{counter} comes twice");
    }
    page["next_cursor"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_walk_tells_of_every_counter_whether_it_is_in_memory_or_on_disk_and_goes_on_after_a_crash() {
    // So few rows stay in memory that most are read from disk.
    let small = |options: Options| {
        let options = options.set("memory.bytes_max", "1MiB").set("checkpoint.dirty_rows_max", "500");
        Options { regions: Some(1), ..options.set("checkpoint.interval", "100ms") }
    };
    let mut bed = Bed::start(small).await;
    assert_eq!(post(bed.http(EAST), "/v1/counters/default/other/increment", "").await.unwrap().status, 200);
    increment(&bed, 0..KEYS).await;
    let mut walked = BTreeMap::new();
    let mut next = page(bed.http(EAST), "limit=1000", &mut walked).await;
    increment(&bed, (0..KEYS).step_by(7)).await;
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    let mut pages = 1;
    while let Some(cursor) = next {
        next = page(bed.http(EAST), &format!("limit=250&cursor={cursor}"), &mut walked).await;
        pages += 1;
    }
    assert_eq!(walked.len(), KEYS);
    assert!(walked.values().all(|value| value == "1" || value == "2"), "{walked:?}");
    assert!(pages > KEYS / 1_000, "in {pages} pages");
    bed.serves(EAST).await;
}

/// A client that watches a counter.
struct Watcher {
    stream: TcpStream,
    text: String,
}

impl Watcher {
    async fn new(address: SocketAddr, key: &str) -> Self {
        Self::at(address, &format!("/v1/counters/{NAMESPACE}/{key}/watch")).await
    }

    async fn at(address: SocketAddr, url: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {url} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Waits for an event with this value.
    async fn told(&mut self, value: i128) {
        let event = format!("id: {value}\n");
        while !self.text.contains(&event) {
            assert!(self.read().await, "ended before {value}: {}", self.text);
        }
    }

    /// False at the end.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let count = timeout(DEADLINE, self.stream.read(&mut bytes)).await.expect("nothing comes").unwrap();
        self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }
}

#[tokio::test]
async fn a_watcher_in_one_region_is_told_what_another_counts_until_its_node_shuts_down() {
    let mut bed = Bed::start(|options| options.set("http.watch_interval", "20ms")).await;
    let mut watcher = Watcher::new(bed.http(WEST), "watched").await;
    watcher.told(0).await;
    let client = bed.client(EAST).await;
    client.increment(NAMESPACE, "watched", 5).await.unwrap();
    watcher.told(5).await;
    client.decrement(NAMESPACE, "watched", 7).await.unwrap();
    watcher.told(-2).await;
    assert_eq!(bed.cluster.terminate(WEST).await.unwrap(), Ending::Drained);
    while watcher.read().await {}
}

#[tokio::test]
async fn a_ticket_opens_one_stream_at_every_node_before_and_after_a_restart_until_its_token_goes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let token = |secret: &str| format!("[[api.tokens]]\nname = \"page\"\ntoken = \"{secret}\"\naccess = [\"read\"]\n");
    std::fs::write(&file, token("first-0123456789")).unwrap();
    let config_file = Some(file.clone());
    let mut bed = Bed::start(|options| Options { regions: Some(2), config_file, ..options }).await;
    let body = r#"{"namespace":"default","key":"a b"}"#;
    let request = format!(
        "POST /v1/watch-tickets HTTP/1.1\r\nhost: node\r\nconnection: close\r\nauthorization: Bearer first-0123456789\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let made = raw_answer(bed.http(EAST), request.as_bytes()).await.json();
    let url = made["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/v1/counters/default/a%20b/watch?ticket="), "{made}");
    for region in [EAST, WEST] {
        Watcher::at(bed.http(region), &url).await.told(0).await;
    }
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    let mut open = Watcher::at(bed.http(EAST), &url).await;
    open.told(0).await;
    get(bed.http(EAST), &url.replace("/watch", "")).await.unwrap().is_problem(401, "unauthenticated");
    get(bed.http(EAST), &url.replace("a%20b", "b")).await.unwrap().is_problem(401, "unauthenticated");

    std::fs::write(&file, token("second-0123456789")).unwrap();
    bed.cluster.signal(EAST, Signal::SIGHUP).unwrap();
    while open.read().await {}
    get(bed.http(EAST), &url).await.unwrap().is_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_request_is_found_in_the_log_by_its_id_and_its_trace() {
    let talkative = |options: Options| {
        let options = options.set("log.filter", "info,snowtide=debug,tower_http=debug");
        Options { regions: Some(1), ..options }
    };
    let bed = Bed::start(talkative).await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = format!(
        "GET /v1/counters/elsewhere/secret HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
         x-request-id: find/me-7\r\ntraceparent: 00-{trace}-{parent}-01\r\n\r\n"
    );
    let answer = raw_answer(bed.http(EAST), request.as_bytes()).await;
    answer.is_problem(404, "unknown_namespace");
    assert_eq!(answer.header("x-request-id"), Some("find/me-7"));
    assert_eq!(answer.json()["request_id"], "find/me-7");
    let line = bed.logged(EAST, &["find/me-7", trace, parent, "status=404"]).await;
    assert!(!line.contains("secret"), "{line}");

    let made = get(bed.http(EAST), "/livez").await.unwrap();
    let made = made.header("x-request-id").expect("a name is made up").to_owned();
    bed.logged(EAST, &[&made, "status=200"]).await;
    eventually(DEADLINE, "the door is open", async || {
        let ready = get(bed.http(EAST), "/readyz").await.map_err(|error| error.to_string())?;
        ensure(ready.status == 200, || ready.body.clone())
    })
    .await;
}
