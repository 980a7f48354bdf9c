//! Watching counters over sockets, against an engine whose answers the test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::socket_tests::{DEADLINE, Server, exchange, server_with};
use crate::config::Config;
use crate::replica::{Outcome, Refusal};

/// A server that counts what its engine is asked, and whose counters all have one value.
struct Bench {
    server: Server,
    value: Arc<AtomicI64>,
    asked: Arc<AtomicUsize>,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let (value, asked) = (Arc::new(AtomicI64::new(7)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&value), Arc::clone(&asked));
        let engine = move |operations: Vec<_>| {
            counted.fetch_add(operations.len(), Ordering::Relaxed);
            match told.load(Ordering::Relaxed) {
                i64::MIN => Err(Refusal::Throttled),
                value => Ok(vec![Outcome::Value(value.into()); operations.len()]),
            }
        };
        let quick = |config: &mut Config| {
            config.http.watch_interval = Duration::from_millis(10);
            change(config);
        };
        Self { server: server_with(quick, engine).await, value, asked }
    }

    /// A watcher of a counter, once its first event has come.
    async fn watch(&self, key: &str, headers: &str) -> Reader {
        let mut stream = TcpStream::connect(self.server.address).await.unwrap();
        let request = format!("GET /v1/counters/default/{key}/watch HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Reader { stream, text: String::new() };
        reader.until("retry: 2000\n").await;
        assert!(
            reader.text.starts_with("HTTP/1.1 200") && reader.text.contains("text/event-stream"),
            "{}",
            reader.text
        );
        reader
    }

    fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }
}

struct Reader {
    stream: TcpStream,
    text: String,
}

impl Reader {
    /// Reads until all that has come holds these words.
    async fn until(&mut self, words: &str) {
        let reading = async {
            while !self.text.contains(words) {
                let mut bytes = [0; 4_096];
                let count = self.stream.read(&mut bytes).await.unwrap();
                assert!(count > 0, "ended before {words:?}: {}", self.text);
                self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
        };
        let came = tokio::time::timeout(DEADLINE, reading).await;
        assert!(came.is_ok(), "{words:?} never came: {}", self.text);
    }

    async fn ended(&mut self) {
        let mut rest = Vec::new();
        tokio::time::timeout(DEADLINE, self.stream.read_to_end(&mut rest)).await.expect("it stays open").unwrap();
    }
}

#[tokio::test]
async fn a_watcher_is_told_the_value_and_each_newer_one() {
    let bench = Bench::new(|_| {}).await;
    let mut watcher = bench.watch("a%2Fb", "accept: text/event-stream\r\n").await;
    watcher.until("id: 7\ndata: {\"namespace\":\"default\",\"key\":\"a/b\",\"value\":\"7\"}\n\n").await;
    bench.set(9);
    watcher.until("id: 9\n").await;
    // A round that is refused changes nothing, and the next one that is not is told.
    bench.set(i64::MIN);
    let asked = bench.asked.load(Ordering::Relaxed);
    while bench.asked.load(Ordering::Relaxed) < asked + 3 {
        tokio::task::yield_now().await;
    }
    bench.set(-1);
    watcher.until("id: -1\n").await;
    assert_eq!(watcher.text.matches("\ndata: ").count(), 3, "{}", watcher.text);
}

#[tokio::test]
async fn a_watcher_that_comes_back_is_not_told_what_it_knows() {
    let bench = Bench::new(|_| {}).await;
    let mut watcher = bench.watch("k", "last-event-id: 7\r\n").await;
    bench.set(8);
    watcher.until("id: 8\n").await;
    assert!(!watcher.text.contains("\nid: 7\n"), "{}", watcher.text);
    let mut other = bench.watch("k", "last-event-id: 7\r\n").await;
    other.until("id: 8\n").await;
    let mut stream = TcpStream::connect(bench.server.address).await.unwrap();
    let request =
        "GET /v1/counters/default/k/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlast-event-id: x\r\n\r\n";
    let answer = exchange(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Last-Event-ID"), "{answer}");
}

#[tokio::test]
async fn what_is_refused_is_a_problem_and_no_stream() {
    let bench = Bench::new(|_| {}).await;
    bench.set(i64::MIN);
    for (path, status) in [("default/k", "429"), ("nowhere/k", "404"), ("orders/k", "421"), ("default/%ff", "400")] {
        let mut stream = TcpStream::connect(bench.server.address).await.unwrap();
        let request = format!("GET /v1/counters/{path}/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(&mut stream, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn an_event_source_is_told_what_passes_as_an_event_and_the_rest_as_a_status() {
    let bench = Bench::new(|config| config.http.watchers_max = 1).await;
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(bench.server.address).await.unwrap();
        let request = format!(
            "GET /v1/counters/{path}/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: text/event-stream\r\n\r\n"
        );
        exchange(&mut stream, &request).await
    };
    bench.set(i64::MIN);
    let throttled = ask("default/k").await;
    assert!(throttled.starts_with("HTTP/1.1 200") && throttled.contains("\r\ncontent-type: text/event-stream\r\n"));
    assert!(throttled.contains("retry: 2000\nevent: refused\ndata: {") && throttled.contains("\"throttled\""));
    assert!(!throttled.contains("\nid: "), "what it knows stays as it is: {throttled}");
    bench.set(7);
    let _first = bench.watch("k", "").await;
    assert!(ask("default/k").await.contains("http.watchers_max"));
    for (path, status) in [("nowhere/k", "404"), ("orders/k", "421"), ("default/%ff", "400"), ("default/..", "400")] {
        let answer = ask(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn proxies_are_told_to_pass_events_on_as_they_come() {
    let bench = Bench::new(|_| {}).await;
    let watcher = bench.watch("k", "").await;
    for header in ["x-accel-buffering: no", "cache-control: no-store, no-transform"] {
        assert!(watcher.text.contains(header), "{}", watcher.text);
    }
}

#[tokio::test]
async fn a_watcher_that_closes_its_sending_side_goes_on() {
    let bench = Bench::new(|_| {}).await;
    let mut watcher = bench.watch("k", "").await;
    watcher.stream.shutdown().await.unwrap();
    // Looked at closely from now on: one that is gone would not be long without being noticed.
    watcher.until(":\n\n").await;
    bench.set(8);
    watcher.until("id: 8\n").await;
}

#[tokio::test]
async fn one_watcher_too_many_is_refused_and_its_place_comes_back() {
    let bench = Bench::new(|config| config.http.watchers_max = 1).await;
    let first = bench.watch("k", "").await;
    let request = "GET /v1/counters/default/k/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(bench.server.address).await.unwrap();
    let answer = exchange(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("http.watchers_max"), "{answer}");
    drop(first);
    let again = async {
        loop {
            let mut stream = TcpStream::connect(bench.server.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            if &head == b"HTTP/1.1 200" {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("the place never came back");
}

#[tokio::test]
async fn nothing_is_asked_once_nobody_watches() {
    let bench = Bench::new(|_| {}).await;
    drop(bench.watch("k", "").await);
    // The server learns of it by the broken connection; from then on the count rests.
    let resting = async {
        let (mut before, mut rests) = (bench.asked.load(Ordering::Relaxed), 0);
        assert!(before > 0);
        while rests < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = bench.asked.load(Ordering::Relaxed);
            rests = if now == before { rests + 1 } else { 0 };
            before = now;
        }
    };
    tokio::time::timeout(DEADLINE, resting).await.expect("it goes on asking");
}

#[tokio::test]
async fn a_quiet_stream_outlives_the_idle_timeout_and_a_silent_client_on_it_does_not_end_it() {
    let brief = |config: &mut Config| config.http.idle_timeout = Duration::from_millis(1_500);
    let bench = Bench::new(brief).await;
    let mut watcher = bench.watch("k", "").await;
    // Each is sent a third of the timeout after the one before, so five are well past it.
    watcher.until(":\n\n").await;
    let mut comments = 0;
    while comments < 5 {
        let text = std::mem::take(&mut watcher.text);
        comments += text.matches(":\n\n").count();
        watcher.until(":\n\n").await;
    }
    bench.set(8);
    watcher.until("id: 8\n").await;
}

#[tokio::test]
async fn watchers_do_not_hold_up_the_end() {
    let bench = Bench::new(|_| {}).await;
    let mut watcher = bench.watch("k", "").await;
    bench.server.shutdown.cancel();
    watcher.until("retry: 2000\nevent: refused\ndata: {").await;
    watcher.ended().await;
    tokio::time::timeout(DEADLINE, bench.server.ended).await.expect("a watcher holds it up").unwrap();
}
