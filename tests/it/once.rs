//! A client that retries by itself while its node is killed again and again: every increment counts once (G6). And what a node
//! answers that cannot know any more, or that is asked by another caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use snowtide_client::{Client, Retries};
use snowtide_dev::Options;

use crate::harness::http::{self, Answer};
use crate::harness::{Bed, DEADLINE, NAMESPACE, WEST, ensure, eventually};

const HOME: &str = "us-east";
/// Each with a counter of its own and one increment after the other, so that it knows every answer beforehand.
const WORKERS: usize = 8;
/// `ONCE_KILLS=1000` takes a few minutes.
const KILLS: usize = 12;
/// Increments that are answered between a start and the next kill.
const PROGRESS: u64 = 40;

struct Progress {
    counted: AtomicU64,
    stop: AtomicBool,
}

async fn count(client: Client, worker: usize, progress: Arc<Progress>) -> i128 {
    let (key, mut counted) = (format!("once-{worker}"), 0);
    while !progress.stop.load(Ordering::Relaxed) {
        let value = client.increment(NAMESPACE, &key, 1).await.unwrap_or_else(|error| panic!("{key}: {error}"));
        counted += 1;
        assert_eq!(value, counted, "{key}");
        progress.counted.fetch_add(1, Ordering::Relaxed);
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn every_increment_of_a_client_that_retries_through_kills_counts_once() {
    counts_once(|bed| bed.quic(HOME).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_over_http() {
    counts_once(|bed| format!("http://{}", bed.http(HOME))).await;
}

async fn counts_once(door: impl FnOnce(&Bed) -> String) {
    let kills = std::env::var("ONCE_KILLS").map_or(KILLS, |text| text.parse().expect("ONCE_KILLS is a number"));
    let mut bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    // From its second start on, the disk is not new, and whoever asks again is not turned away for that.
    bed.cluster.kill(HOME).await.unwrap();
    bed.start_node(HOME).await;
    let retries = Retries::default().attempts(100).within(Duration::from_secs(60)).budget(1_000_000);
    let door = door(&bed);
    let builder = Client::builder().node(&door).ca_pem_file(bed.cluster.folder().ca_file());
    let client = builder.idle_timeout(Duration::from_secs(1)).retries(retries).build().unwrap();

    let progress = Arc::new(Progress { counted: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let workers: Vec<_> =
        (0..WORKERS).map(|worker| tokio::spawn(count(client.clone(), worker, progress.clone()))).collect();
    for kill in 0..kills {
        let enough = progress.counted.load(Ordering::Relaxed) + PROGRESS;
        eventually(DEADLINE, "progress", async || {
            let counted = progress.counted.load(Ordering::Relaxed);
            ensure(counted >= enough, || format!("{counted} of {enough} after {kill} kills"))
        })
        .await;
        bed.cluster.kill(HOME).await.unwrap();
        bed.start_node(HOME).await;
    }
    progress.stop.store(true, Ordering::Relaxed);
    let mut sum = 0;
    for (worker, counting) in workers.into_iter().enumerate() {
        let counted = counting.await.unwrap();
        bed.counted(&[HOME], &format!("once-{worker}"), counted).await;
        sum += counted;
    }
    println!("{door}: {sum} increments over {kills} kills, each counted once");
}

/// An increment of `key` by 1 000 with these headers.
async fn increment(bed: &Bed, key: &str, headers: &str) -> Answer {
    let request = format!(
        "POST /v1/counters/{NAMESPACE}/{key}/increment HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{headers}\r\n\
         content-length: 13\r\n\r\n{{\"by\":\"1000\"}}"
    );
    http::raw_answer(bed.http(HOME), request.as_bytes()).await
}

/// As `GET /v1/cluster` tells it.
async fn replica(bed: &Bed) -> String {
    let cluster = http::get(bed.http(HOME), "/v1/cluster").await.unwrap().json();
    cluster["node"]["replica"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_repetition_is_not_carried_out_on_another_disk_however_often_it_was_started() {
    let mut bed = Bed::start(|options| Options { regions: Some(2), ..options }).await;
    let session = "snowtide-session: 5f0d4f0e-3c1a-4a86-9d1e-0a8f6f6c7b21";
    let turn = async |bed: &Bed, rest: &str| increment(bed, "turns", &format!("{session}; turn={rest}")).await;
    let before = replica(&bed).await;
    for (rest, repeated) in [("1".to_owned(), None), ("1; again".to_owned(), Some("true"))] {
        let answer = turn(&bed, &rest).await;
        assert_eq!((answer.status, answer.json()["value"].as_str()), (200, Some("1000")), "{answer:?}");
        assert_eq!(answer.header("idempotent-replayed"), repeated);
    }
    // Known since, and so is that the turn before was the last.
    let answer = turn(&bed, &format!("2; replica={before}; again=100000")).await;
    assert_eq!((answer.status, answer.json()["value"].as_str()), (200, Some("2000")), "{answer:?}");
    bed.counted(&[WEST], "turns", 2_000).await;

    bed.cluster.kill(HOME).await.unwrap();
    std::fs::remove_dir_all(bed.cluster.folder().data_dir(HOME)).unwrap();
    for _ in 0..2 {
        bed.start_node(HOME).await;
        let now = replica(&bed).await;
        assert_ne!(now, before);
        for rest in [
            "2; again".to_owned(),
            "2; again=1".to_owned(),
            format!("2; replica={before}; again=1"),
            format!("2; replica={before}"),
            // It would have been forgotten by now.
            format!("2; replica={now}; again=301"),
        ] {
            turn(&bed, &rest).await.is_problem(422, "idempotency_mismatch");
        }
        bed.cluster.kill(HOME).await.unwrap();
    }
    bed.start_node(HOME).await;
    bed.counted(&[HOME, WEST], "turns", 2_000).await;
    let now = replica(&bed).await;
    assert_eq!(turn(&bed, &format!("3; replica={now}")).await.json()["value"], "3000");
}

#[tokio::test]
async fn a_caller_is_the_name_of_his_token_however_he_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snowtide.toml");
    let token = |name: &str, secret: &str| {
        format!(
            "[[api.tokens]]\nname = \"{name}\"\ntoken = \"{secret}-0123456789abcdef\"\naccess = [\"read\", \"write\"]\n"
        )
    };
    std::fs::write(&file, token("billing", "old") + &token("billing", "new") + &token("mails", "other")).unwrap();
    let bed = Bed::start(|options| Options { regions: Some(1), config_file: Some(file), ..options }).await;
    for name in [
        "idempotency-key: k",
        "Idempotency-Key: \"k\"",
        "snowtide-session: 5f0d4f0e-3c1a-4a86-9d1e-0a8f6f6c7b21; turn=1",
    ] {
        let key = if name.contains("session") { "session" } else { "key" };
        let ask = async |caller: &str| increment(&bed, key, &format!("{caller}-0123456789abcdef\r\n{name}")).await;
        for caller in [
            "authorization: Bearer old",
            "Authorization: bearer old",
            "AUTHORIZATION:BEARER  old",
            "authorization: Bearer new",
        ] {
            let answer = ask(caller).await;
            assert_eq!((answer.status, answer.json()["value"].as_str()), (200, Some("1000")), "{caller}: {answer:?}");
        }
        let answer = ask("authorization: Bearer other").await;
        assert_eq!(answer.json()["value"], "2000", "another caller: {answer:?}");
    }
}
