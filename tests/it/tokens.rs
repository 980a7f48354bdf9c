//! What version vectors give to users: tokens, acknowledgements by regions, views; over HTTP, QUIC and the command line.

use std::time::Duration;

use snowtide_client::{Error, Terms};
use snowtide_protocol::{Ack, Code, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::http::Answer;
use crate::harness::site::run;
use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, SOUTH, WEST, ensure, eventually, http};

const LIKES: &str = "/v1/counters/default/likes";

/// Asks with these header lines.
async fn ask(bed: &Bed, at: &str, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{headers}\r\n");
    http::raw_answer(bed.http(at), request.as_bytes()).await
}

/// Three regions in which a request may wait longer than anything takes.
async fn patient() -> Bed {
    Bed::start(|options| options.set("api.wait_max", "1m")).await
}

/// A write over HTTP, and the token that comes with it.
async fn write(bed: &Bed, at: &str) -> String {
    let answer = ask(bed, at, "POST", &format!("{LIKES}/increment"), "content-length: 0\r\n").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("snowtide-token").expect("a token").to_owned()
}

#[tokio::test]
async fn a_token_is_honoured_wherever_it_is_brought_or_the_answer_says_what_is_missing() {
    let mut bed = patient().await;
    bed.cluster.cut(WEST).unwrap();
    let token = write(&bed, EAST).await;
    let asking = format!("snowtide-token: {token}\r\n");

    let refused = ask(&bed, WEST, "GET", LIKES, &asking).await;
    refused.is_problem(504, "token_wait_expired");
    let refused = ask(&bed, WEST, "GET", LIKES, &format!("{asking}prefer: wait=1\r\n")).await;
    refused.is_problem(504, "token_wait_expired");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("replica ") && detail.contains("this node holds 0"), "{detail}");
    assert_eq!(refused.json()["retryable"], true);
    // Where it came from, it is held already.
    assert_eq!(ask(&bed, EAST, "GET", LIKES, &asking).await.json()["value"], "1");

    let client = bed.client(WEST).await;
    let waiting = {
        let terms = Terms::new().after(&token.parse().unwrap()).wait(Duration::from_secs(50)).with_token();
        tokio::spawn(async move { client.get_on(NAMESPACE, "likes", &terms).await })
    };
    bed.cluster.heal(WEST).unwrap();
    let read = waiting.await.unwrap().unwrap();
    assert_eq!(read.value, 1);
    let told = read.token.unwrap();
    assert!(!told.is_empty());
    let read = ask(&bed, WEST, "GET", LIKES, &format!("{asking}prefer: wait=25\r\n")).await;
    assert_eq!((read.status, read.header("preference-applied")), (200, Some("wait=25")), "{read:?}");
    assert_eq!(read.json()["value"], "1");
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_among_those_who_wait_back() {
    let mut bed = Bed::start(|options| {
        let options = options.set("api.wait_max", "5m").set("api.waiting_max", "1");
        snowtide_dev::Options { regions: Some(2), ..options }
    })
    .await;
    bed.cluster.cut(WEST).unwrap();
    let path = format!("{LIKES}/increment?ack=all");
    let request =
        |wait: u32| format!("POST {path} HTTP/1.1\r\nhost: node\r\ncontent-length: 0\r\nprefer: wait={wait}\r\n\r\n");
    let place = async || {
        let answer = ask(&bed, EAST, "POST", &path, "content-length: 0\r\nprefer: wait=0\r\n").await;
        ensure(answer.status == 202, || format!("{answer:?}"))
    };
    // Gone without a word, and gone after it has closed its sending side, which alone might mean that it still listens.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(bed.http(EAST)).await.unwrap();
        stream.write_all(request(300).as_bytes()).await.unwrap();
        eventually(DEADLINE, "its place is taken", async || {
            let answer = ask(&bed, EAST, "POST", &path, "content-length: 0\r\nprefer: wait=0\r\n").await;
            ensure(answer.status == 503, || format!("{answer:?}"))
        })
        .await;
        drop(stream);
        eventually(DEADLINE, "its place is free", place).await;
    }
    let mut stream = TcpStream::connect(bed.http(EAST)).await.unwrap();
    stream.write_all(request(300).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("it waits on").unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"pending\""), "{answer}");
    // The same at the other door: a connection that is lost takes its waits with it.
    let client = bed.client(EAST).await;
    let terms = Terms::new().ack(Ack::All).wait(Duration::from_secs(300));
    let waiting = tokio::spawn(async move { client.add_on(NAMESPACE, "likes", 1, &terms).await });
    eventually(DEADLINE, "its place is taken", async || {
        let answer = ask(&bed, EAST, "POST", &path, "content-length: 0\r\nprefer: wait=0\r\n").await;
        ensure(answer.status == 503, || format!("{answer:?}"))
    })
    .await;
    waiting.abort();
    let _ = waiting.await;
    eventually(DEADLINE, "its place is free", place).await;
}

#[tokio::test]
async fn tokens_that_cannot_be_understood_are_refused_at_both_doors() {
    let bed = Bed::start(|options| snowtide_dev::Options { regions: Some(1), ..options }).await;
    let mut foreign = Token::new();
    foreign.raise(1, 2, 3);
    let long = "A".repeat(9_000);
    for (bad, words) in
        [("!", "base64url"), (&*foreign.to_string(), "another cluster"), (&*long, "api.token_bytes_max")]
    {
        let answer = ask(&bed, EAST, "GET", LIKES, &format!("snowtide-token: {bad}\r\n")).await;
        answer.is_problem(400, "invalid_request");
        assert!(answer.body.contains(words), "{answer:?}");
    }
    let refused = bed.client(EAST).await.get_on(NAMESPACE, "likes", &Terms::new().after(&foreign)).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { code: Code::InvalidRequest, .. }), "{refused}");
}

#[tokio::test]
async fn a_write_says_which_regions_have_it_and_never_invites_to_count_twice() {
    let mut bed = patient().await;
    let client = bed.client(EAST).await;
    let all = Terms::new().ack(Ack::All).wait(Duration::from_secs(50));
    let written = client.add_on(NAMESPACE, "likes", 1, &all).await.unwrap();
    assert_eq!(
        (written.value, written.pending, &written.acknowledged_by[..]),
        (1, false, &REGIONS.map(str::to_owned)[..])
    );

    bed.cluster.cut(EAST).unwrap();
    let path = format!("{LIKES}/increment?ack=regions:2");
    let answer = ask(&bed, EAST, "POST", &path, "content-length: 0\r\nprefer: wait=1\r\n").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, Some("wait=1")), "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["value"], &body["ack"]), (&"2".into(), &"pending".into()));
    assert_eq!(body["acknowledged_by"], serde_json::json!([EAST]));

    bed.cluster.heal(EAST).unwrap();
    let answer = ask(&bed, EAST, "POST", &path, "content-length: 0\r\nprefer: wait=25\r\n").await;
    assert_eq!((answer.status, &answer.json()["ack"]), (200, &"done".into()), "{answer:?}");
    let regions = answer.json()["acknowledged_by"].as_array().unwrap().len();
    assert!(regions >= 2, "{answer:?}");
    bed.counted(&REGIONS, "likes", 3).await;

    let answer = ask(&bed, EAST, "POST", &format!("{LIKES}/increment?ack=regions:4"), "content-length: 0\r\n").await;
    answer.is_problem(400, "invalid_request");
    bed.counted(&REGIONS, "likes", 3).await;
}

#[tokio::test]
async fn a_view_shows_shares_that_add_up_and_what_every_region_has() {
    let mut bed = patient().await;
    for (region, by) in [(EAST, 1), (WEST, 10), (SOUTH, 100)] {
        bed.client(region).await.increment(NAMESPACE, "likes", by).await.unwrap();
    }
    bed.counted(&REGIONS, "likes", 111).await;
    let view = async |bed: &Bed| {
        let answer = ask(bed, EAST, "GET", &format!("{LIKES}?view=regions"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let shares = body["view"]["regions"].as_array().unwrap();
        let sum: i128 = shares.iter().map(|share| share["value"].as_str().unwrap().parse::<i128>().unwrap()).sum();
        assert_eq!(sum.to_string(), body["value"].as_str().unwrap(), "{body}");
        body
    };
    let settled = async |bed: &Bed, value: &str| {
        eventually(DEADLINE, &format!("{value} is settled"), async || {
            let body = view(bed).await;
            ensure(body["view"]["settled"] == value, || body.to_string())
        })
        .await;
    };
    settled(&bed, "111").await;
    let body = view(&bed).await;
    for (share, (region, value)) in
        body["view"]["regions"].as_array().unwrap().iter().zip([(EAST, "1"), (WEST, "10"), (SOUTH, "100")])
    {
        assert_eq!((&share["region"], &share["value"]), (&region.into(), &value.into()), "{body}");
        assert!(share["as_of_ms"].is_u64(), "{body}");
    }

    bed.cluster.cut(SOUTH).unwrap();
    bed.client(EAST).await.increment(NAMESPACE, "likes", 1_000).await.unwrap();
    bed.counted(&[WEST], "likes", 1_111).await;
    let body = view(&bed).await;
    assert_eq!((&body["value"], &body["view"]["settled"]), (&"1111".into(), &"111".into()), "{body}");
    assert!(body["view"]["behind"].as_array().unwrap().contains(&SOUTH.into()), "{body}");
    bed.cluster.heal(SOUTH).unwrap();
    settled(&bed, "1111").await;
}

#[tokio::test]
async fn the_command_line_carries_tokens_and_acknowledgements() {
    let bed = patient().await;
    let dir = tempfile::tempdir().unwrap();
    let ca = bed.cluster.folder().ca_file();
    let at = |region: &str| {
        let address = bed.quic(region).to_string();
        vec!["--at".to_owned(), address, "--ca".to_owned(), ca.display().to_string()]
    };
    let call = async |words: &[&str], region: &str| {
        let place = at(region);
        let line: Vec<&str> = words.iter().copied().chain(place.iter().map(String::as_str)).collect();
        let ended = run(dir.path(), &line, &[]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    };
    let written = call(&["counter", "incr", "likes", "--ack", "all", "--wait", "50s", "--show-token"], EAST).await;
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines[..2], ["1", "durable in us-east, eu-west, ap-south"], "{written}");
    let read = call(&["counter", "get", "likes", "--after", lines[2], "--view", "regions"], SOUTH).await;
    assert!(read.starts_with("1\n") && read.contains("  us-east\t1\t") && read.contains("  settled\t"), "{read}");
    let json = call(&["--json", "counter", "get", "likes", "--after", lines[2]], WEST).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["counters"][0]["value"], "1");
    assert!(json["token"].as_str().unwrap().parse::<Token>().is_ok(), "{json}");
}
