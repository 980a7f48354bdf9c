//! The HTTP door.

use std::net::SocketAddr;
use std::time::Duration;

use snowtide_dev::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::http::{ask, get, post, raw, raw_answer};
use crate::harness::{Bed, DEADLINE, EAST};

/// One node, whose limits are reached quickly.
async fn node() -> (Bed, SocketAddr) {
    let bed = Bed::start(|options| {
        let options = options.set("api.request_bytes_max", "64KiB").set("http.header_timeout", "300ms");
        Options { regions: Some(1), ..options.set("http.idle_timeout", "300ms") }
    })
    .await;
    let address = bed.http(EAST);
    (bed, address)
}

#[tokio::test]
async fn malformed_requests_get_a_problem_document() {
    let (mut bed, address) = node().await;
    let increment = "/v1/counters/default/k/increment";
    let bad_bodies =
        ["{", "[]", "5", "null", "{\"by\":5.5}", "{\"by\":\"five\"}", "{\"by\":\"1\",\"bye\":\"2\"}", "\u{0}", "{} {}"];
    for body in bad_bodies {
        let refused = post(address, increment, body).await.unwrap();
        assert_eq!(refused.status, 400, "{body:?}: {refused:?}");
        refused.is_problem(400, "invalid_request");
    }
    let huge = "9".repeat(100);
    for by in ["9223372036854775808", "-9223372036854775809", "1.5", "0x10", "", " 1", huge.as_str()] {
        let refused = post(address, increment, &format!("{{\"by\":\"{by}\"}}")).await.unwrap();
        refused.is_problem(400, "invalid_request");
    }
    let deep = "[".repeat(50_000);
    post(address, "/v1/batch", &deep).await.unwrap().is_problem(400, "invalid_request");
    for body in ["{\"count\":0}", "{\"count\":-1}", "{\"count\":\"2\"}", "{\"counts\":2}"] {
        post(address, "/v1/ids", body).await.unwrap().is_problem(400, "invalid_request");
    }
    post(address, "/v1/ids", "{\"count\":10001}").await.unwrap().is_problem(413, "too_large");
    for id in ["abc", "-1", "18446744073709551616", "1e5"] {
        get(address, &format!("/v1/ids/{id}")).await.unwrap().is_problem(400, "invalid_request");
    }
    for path in ["/v1/counters/default/a%2", "/v1/counters/default/a%zz", "/v1/counters/default/%ff%fe"] {
        get(address, path).await.unwrap().is_problem(400, "invalid_request");
    }
    bed.serves(EAST).await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed() {
    let (mut bed, address) = node().await;
    get(address, "/v1/counters/elsewhere/k").await.unwrap().is_problem(404, "unknown_namespace");
    post(address, "/v1/counters/elsewhere/k/increment", "").await.unwrap().is_problem(404, "unknown_namespace");
    for path in ["/", "/v1", "/v2/ids", "/v1/counters", "/v1/counters/default/a/b", "/../etc/passwd", "/v1//ids"] {
        get(address, path).await.unwrap().is_problem(404, "not_found");
    }
    for (method, path) in
        [("DELETE", "/v1/ids"), ("GET", "/v1/batch"), ("PUT", "/v1/counters/default/k"), ("BREW", "/livez")]
    {
        let refused = ask(address, method, path, "").await.unwrap();
        refused.is_problem(405, "method_not_allowed");
        assert!(refused.header("allow").is_some(), "{refused:?}");
    }
    bed.serves(EAST).await;
}

#[tokio::test]
async fn keys_and_batches_that_are_too_large() {
    let (mut bed, address) = node().await;
    let (longest, longer) = ("k".repeat(512), "k".repeat(513));
    assert_eq!(get(address, &format!("/v1/counters/default/{longest}")).await.unwrap().status, 200);
    get(address, &format!("/v1/counters/default/{longer}")).await.unwrap().is_problem(413, "too_large");
    // Percent-encoded it is three times as long on the wire, and still one byte.
    assert_eq!(get(address, &format!("/v1/counters/default/{}", "%2F".repeat(512))).await.unwrap().status, 200);
    drop(bed);

    bed = Bed::start(|options| Options { regions: Some(1), ..options }).await;
    let address = bed.http(EAST);
    let operations = |count: usize| {
        let operation = "{\"get\":{\"namespace\":\"default\",\"key\":\"k\"}}";
        format!("{{\"operations\":[{}]}}", vec![operation; count].join(","))
    };
    let most = post(address, "/v1/batch", &operations(10_000)).await.unwrap();
    assert_eq!((most.status, most.json()["results"].as_array().map(Vec::len)), (200, Some(10_000)));
    post(address, "/v1/batch", &operations(10_001)).await.unwrap().is_problem(413, "too_large");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let (mut bed, address) = node().await;
    for length in ["65537", "9999999999", "9223372036854775807"] {
        let head =
            format!("POST /v1/batch HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        // Not a byte of the body is sent, so the answer can only come of the announcement.
        raw_answer(address, head.as_bytes()).await.is_problem(413, "too_large");
    }
    let announced = "POST /v1/batch HTTP/1.1\r\nhost: node\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let endless = format!("{announced}{}", chunk.repeat(3));
    raw_answer(address, endless.as_bytes()).await.is_problem(413, "too_large");
    bed.serves(EAST).await;
}

#[tokio::test]
async fn heads_that_are_malformed_endless_or_slow() {
    let (mut bed, address) = node().await;
    for nonsense in
        ["\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", "GET /%00 \u{7f}"]
    {
        let answer = raw(address, nonsense.as_bytes()).await.unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{nonsense:?}: {answer:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: node\r\n", "a".repeat(200 << 10));
    let answer = raw(address, long.as_bytes()).await.unwrap_or_default();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    slow(address).await;
    bed.serves(EAST).await;
}

/// Sends a header line now and then, for ever: the node hangs up.
async fn slow(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n").await.unwrap();
    let drip = async {
        let mut answer = Vec::new();
        loop {
            let mut bytes = [0; 1024];
            tokio::select! {
                read = stream.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => return answer,
                    Ok(count) => answer.extend_from_slice(&bytes[..count]),
                },
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    if stream.write_all(b"x: y\r\n").await.is_err() {
                        return answer;
                    }
                }
            }
        }
    };
    let answer = timeout(DEADLINE, drip).await.expect("a slow client is hung up on");
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}
