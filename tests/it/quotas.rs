//! What a namespace may hold holds across restarts, whether or not what it holds was written to its rows by then.

use snowtide_client::{Connection, Error};
use snowtide_dev::{Ending, Options};
use snowtide_protocol::Code;

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, ensure, eventually, http};

/// Counters that fit.
const FIT: usize = 50;

/// A counter takes 64 bytes and its key: 100 together.
fn counter(number: usize) -> String {
    format!("{number:036}")
}

/// Increments new counters, one after the other, until one is refused; returns how many were not.
async fn fill(client: &Connection, from: usize) -> usize {
    for number in from.. {
        match client.increment(NAMESPACE, &counter(number), 1).await {
            Ok(value) => assert_eq!(value, 1),
            Err(Error::Refused { code: Code::QuotaExceeded, .. }) => return number - from,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("numbers do not end")
}

/// Nothing new is taken, what exists goes on, and the metrics say how much there is.
async fn is_full(bed: &Bed, value: i128) {
    let client = bed.client(EAST).await;
    assert_eq!(fill(&client, FIT).await, 0);
    for number in 0..FIT {
        assert_eq!(client.increment(NAMESPACE, &counter(number), 1).await, Ok(value));
    }
    let held = format!("snowtide_namespace_keys{{namespace=\"{NAMESPACE}\"}} {FIT}");
    eventually(DEADLINE, "the metrics tell", async || {
        let metrics = http::get(bed.http(EAST), "/metrics").await.map_err(|error| error.to_string())?.body;
        ensure(metrics.lines().any(|line| line == held), || metrics)
    })
    .await;
}

async fn holds_across_restarts(key: &str, bound: &str) {
    // At first nothing is written to rows, later everything.
    let bed = |options: Options| Options {
        regions: Some(1),
        ..options.set(&format!("namespace.{NAMESPACE}.{key}"), bound).set("checkpoint.interval", "10m")
    };
    let mut bed = Bed::start(bed).await;
    assert_eq!(fill(&bed.client(EAST).await, 0).await, FIT);
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    is_full(&bed, 2).await;
    assert_eq!(bed.cluster.terminate(EAST).await.unwrap(), Ending::Drained);
    bed.start_node(EAST).await;
    is_full(&bed, 3).await;
    // And once more out of both.
    bed.cluster.kill(EAST).await.unwrap();
    bed.start_node(EAST).await;
    is_full(&bed, 4).await;
}

#[tokio::test]
async fn as_many_counters_as_a_namespace_may_hold_are_as_many_after_a_restart() {
    holds_across_restarts("keys_max", "50").await;
}

#[tokio::test]
async fn what_its_counters_may_take_is_as_much_after_a_restart() {
    holds_across_restarts("bytes_max", "5000B").await;
}
