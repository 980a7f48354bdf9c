//! SIGTERM: new work is refused, nothing acknowledged is lost, another region has it, the exit code is 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::Signal;
use snowtide_client::{Connection, Error};
use snowtide_dev::{DevError, Ending};
use snowtide_protocol::Code;

use crate::harness::{Bed, DEADLINE, EAST, NAMESPACE, REGIONS, SOUTH, WEST, ensure, eventually, http};

const KEY: &str = "drained";

/// What the loaders were told.
#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

/// One increment after the other, until the node refuses as one that drains, or is gone.
async fn load(client: Connection, tally: Arc<Tally>) {
    loop {
        match client.increment(NAMESPACE, KEY, 1).await {
            Ok(_) => tally.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(Error::Refused { code: Code::Draining, .. } | Error::Disconnected { .. }) => return,
            Err(error) if error.is_ambiguous() => {
                tally.unknown.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => panic!("{error}"),
        };
    }
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing() {
    let mut bed = Bed::start(|options| options).await;
    let tally = Arc::new(Tally::default());
    let mut loaders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        loaders.spawn(load(bed.client(WEST).await, tally.clone()));
    }
    eventually(DEADLINE, "there is load", async || {
        let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
        ensure(acknowledged > 200, || format!("{acknowledged} so far"))
    })
    .await;

    assert_eq!(bed.cluster.terminate(WEST).await.unwrap(), Ending::Drained);
    while let Some(ended) = loaders.join_next().await {
        ended.unwrap();
    }
    let (acknowledged, unknown) = (tally.acknowledged.load(Ordering::Relaxed), tally.unknown.load(Ordering::Relaxed));
    let line = bed.logged(WEST, &["stopped; the region named holds everything"]).await;
    let holder = [EAST, SOUTH].into_iter().find(|region| line.contains(region)).expect("one of the other regions");

    // The node is gone, so what the other regions have is all there is.
    let value = bed.values(holder, &[KEY.to_owned()]).await.unwrap()[0];
    let (least, most) = (i128::from(acknowledged), i128::from(acknowledged + unknown));
    assert!((least..=most).contains(&value), "{value} in {holder}: {acknowledged} acknowledged, {unknown} unknown");
    assert_eq!(bed.agreed(&[EAST, SOUTH], &[KEY.to_owned()]).await, [value]);
    assert_eq!(unknown, 0, "a node that drains answers everything that it has taken");

    bed.start_node(WEST).await;
    bed.counted(&REGIONS, KEY, value).await;
}

#[tokio::test]
async fn a_node_that_drains_refuses_with_a_code_until_another_region_has_everything() {
    let mut bed = Bed::start(|options| options.set("drain.timeout", "10m")).await;
    let client = bed.client(WEST).await;
    // Nobody can take what it has, so it stays in the drain for as long as the test looks at it.
    bed.cluster.cut(WEST).unwrap();
    client.increment(NAMESPACE, KEY, 1_000_003).await.unwrap();
    bed.cluster.signal(WEST, Signal::SIGTERM).unwrap();
    eventually(DEADLINE, "new work is refused over QUIC", async || {
        match client.increment(NAMESPACE, "late", 1).await {
            Err(Error::Refused { code: Code::Draining, retry_after: Some(_), .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let ids = client.ids(1).await.unwrap_err();
    assert!(matches!(ids, Error::Refused { code: Code::Draining, .. }), "{ids}");

    let address = bed.http(WEST);
    for (path, body) in [("/v1/counters/default/late/increment", ""), ("/v1/ids", "")] {
        let refused = http::post(address, path, body).await.unwrap();
        refused.is_problem(503, "draining");
        assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{refused:?}");
    }
    assert_eq!(http::get(address, "/livez").await.unwrap().status, 200);
    assert_eq!(http::get(address, "/readyz").await.unwrap().status, 503);

    bed.cluster.heal(WEST).unwrap();
    let status = eventually(DEADLINE, "it ends", async || match bed.cluster.check() {
        Err(DevError::Died { status, .. }) => Ok(status),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(status.success(), "{status}");
    bed.logged(WEST, &["stopped; the region named holds everything"]).await;
    bed.counted(&[EAST, SOUTH], KEY, 1_000_003).await;
}

#[tokio::test]
async fn a_node_that_nobody_hears_says_that_its_data_is_here_only() {
    let mut bed = Bed::start(|options| options.set("drain.timeout", "300ms")).await;
    bed.cluster.cut(WEST).unwrap();
    bed.client(WEST).await.increment(NAMESPACE, KEY, 1_000_033).await.unwrap();
    assert_eq!(bed.cluster.terminate(WEST).await.unwrap(), Ending::Drained);
    bed.logged(WEST, &["WARN", "no other region confirmed in time"]).await;
    bed.cluster.heal(WEST).unwrap();
    bed.start_node(WEST).await;
    bed.counted(&REGIONS, KEY, 1_000_033).await;
}
